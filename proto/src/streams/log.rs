//! What a producer keeps: items that somebody still has to get, and the tail for resuming.

use alloc::collections::VecDeque;

use bytes::Bytes;

use super::item;

/// Items that were offered together.
#[derive(Clone, Debug)]
struct Batch {
    first: u64,
    items: u32,
    /// Payload bytes of all items before this batch.
    before: u64,
    payload: u64,
    data: Bytes,
}

impl Batch {
    /// The sequence number behind its last item.
    const fn end(&self) -> u64 {
        self.first + self.items as u64
    }
}

/// A place in the log: the next item to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Its sequence number.
    pub(super) seq: u64,
    /// Payload bytes of all items before it.
    pub(super) payload: u64,
    /// Bytes of its batch before it.
    offset: usize,
}

/// A slice of a batch, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) first: u64,
    pub(super) items: u32,
    pub(super) payload: u64,
    pub(super) data: Bytes,
}

/// A bounded, contiguous run of items. Sequence numbers start at 0 and never skip.
#[derive(Debug, Default)]
pub(super) struct Log {
    batches: VecDeque<Batch>,
    next: u64,
    /// Payload bytes of all items ever offered.
    payload_next: u64,
}

impl Log {
    /// The sequence number of the oldest item that is kept.
    pub(super) fn first(&self) -> u64 {
        self.batches.front().map_or(self.next, |batch| batch.first)
    }

    /// The sequence number of the next item to be offered.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The place behind the last item.
    pub(super) const fn end(&self) -> Cursor {
        Cursor { seq: self.next, payload: self.payload_next, offset: 0 }
    }

    /// Appends a batch of whole items. The driver made it a moment ago and counted; to walk it here
    /// would fetch into the cache what nobody else needs to look at.
    ///
    /// # Panics
    /// In debug builds, if `data` is not exactly `items` whole items of `payload` bytes: that is a
    /// bug of the driver.
    pub(super) fn append(&mut self, items: u32, payload: u64, data: Bytes) {
        debug_assert_eq!(
            item::prefix(&data, 0, u64::from(items), u64::MAX, usize::MAX),
            Ok(item::Prefix { items, payload, end: data.len() }),
            "an offered batch is a sequence of whole items"
        );
        let (first, before) = (self.next, self.payload_next);
        self.batches.push_back(Batch { first, items, before, payload, data });
        self.next += u64::from(items);
        self.payload_next += payload;
    }

    /// The place of an item, or of the oldest one kept if it is gone, or of the end.
    pub(super) fn seek(&self, seq: u64) -> Cursor {
        if seq >= self.next || self.batches.is_empty() {
            return self.end();
        }
        let at = self.batches.partition_point(|batch| batch.first <= seq).saturating_sub(1);
        let batch = &self.batches[at];
        let skip = seq.saturating_sub(batch.first);
        let before = item::prefix(&batch.data, 0, skip, u64::MAX, usize::MAX)
            .expect("batches are checked when they are appended");
        Cursor {
            seq: batch.first + skip,
            payload: batch.before + before.payload,
            offset: before.end,
        }
    }

    /// The next items at `cursor` within a budget; at least one if `force`. Advances the cursor.
    pub(super) fn take(
        &self,
        cursor: &mut Cursor,
        items: u64,
        payload: u64,
        force: bool,
    ) -> Option<Slice> {
        // Nearly always it is the newest batch.
        let at = match self.batches.back() {
            Some(newest) if newest.first <= cursor.seq => self.batches.len() - 1,
            _ => self.batches.partition_point(|batch| batch.first <= cursor.seq).checked_sub(1)?,
        };
        let batch = &self.batches[at];
        let left = u64::from(batch.items) - (cursor.seq - batch.first);
        if left == 0 {
            return None;
        }
        let left_payload = batch.before + batch.payload - cursor.payload;
        let (taken, taken_payload, end) = if left <= items && left_payload <= payload {
            (left as u32, left_payload, batch.data.len())
        } else {
            let prefix = |items, payload| {
                item::prefix(&batch.data, cursor.offset, items, payload, usize::MAX)
                    .expect("batches are checked when they are appended")
            };
            let fitting = prefix(items, payload);
            let alone = fitting.items == 0 && force;
            let taken = if alone { prefix(1, u64::MAX) } else { fitting };
            (taken.items, taken.payload, taken.end)
        };
        if taken == 0 {
            return None;
        }
        let data = batch.data.slice(cursor.offset..end);
        let slice = Slice { first: cursor.seq, items: taken, payload: taken_payload, data };
        cursor.seq += u64::from(taken);
        cursor.payload += taken_payload;
        cursor.offset = if end == batch.data.len() { 0 } else { end };
        Some(slice)
    }

    /// The first item that [`trim`](Self::trim) would keep.
    pub(super) fn kept_by_trim(&self, items: u64, bytes: u64, needed: u64) -> u64 {
        let excess = |batch: &&Batch| self.is_excess(batch, items, bytes, needed);
        let dropped = self.batches.iter().take_while(excess).last();
        dropped.map_or_else(|| self.first(), Batch::end)
    }

    /// True if nobody waits for a batch, and those behind it are a whole tail.
    fn is_excess(&self, batch: &Batch, items: u64, bytes: u64, needed: u64) -> bool {
        let behind = self.payload_next - batch.before - batch.payload;
        batch.end() <= needed && (self.next - batch.end() >= items || behind >= bytes)
    }

    /// Drops the oldest batches that nobody before `needed` waits for, as long as those behind them
    /// reach one of the bounds: so many items or bytes are kept, and less than one batch more.
    pub(super) fn trim(&mut self, items: u64, bytes: u64, needed: u64) {
        while self.batches.front().is_some_and(|batch| self.is_excess(batch, items, bytes, needed))
        {
            self.batches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn batch(payloads: &[u8]) -> Bytes {
        let mut bytes = Vec::new();
        for length in payloads {
            bytes.extend(item::short(usize::from(*length)).unwrap());
            bytes.extend(core::iter::repeat_n(*length, usize::from(*length)));
        }
        bytes.into()
    }

    proptest! {
        /// Whatever the budgets, a reader gets every item once, in order, and totals agree.
        #[test]
        fn slices_add_up(
            batches in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..6), 1..8),
            budgets in proptest::collection::vec((1u64..4, 1u64..600), 1..200),
            start in 0u64..20,
        ) {
            let mut log = Log::default();
            for b in &batches {
                let payload = b.iter().map(|length| u64::from(*length)).sum();
                log.append(b.len() as u32, payload, batch(b));
            }
            let all: Vec<u8> = batches.concat();
            let mut cursor = log.seek(start);
            let start = start.min(all.len() as u64);
            prop_assert_eq!(cursor.seq, start);
            let mut got = Vec::new();
            // In the end a budget that everything fits.
            let enough = core::iter::repeat_n(&(9, 600), 50);
            for (items, payload) in budgets.iter().cycle().take(200).chain(enough) {
                let Some(slice) = log.take(&mut cursor, *items, *payload, *payload > 300) else {
                    if cursor.seq == log.next() { break } else { continue }
                };
                prop_assert_eq!(slice.first, start + got.len() as u64);
                let items: Vec<_> = item::Items::new(slice.data).map(Result::unwrap).collect();
                prop_assert_eq!(items.len(), slice.items as usize);
                prop_assert_eq!(items.iter().map(|i| i.len() as u64).sum::<u64>(), slice.payload);
                got.extend(items.iter().map(|i| i.len() as u8));
            }
            prop_assert_eq!(&got[..], &all[start as usize..]);
            prop_assert_eq!(cursor, log.end());
        }
    }

    #[test]
    fn trimming_keeps_what_is_needed() {
        let mut log = Log::default();
        (0..10).for_each(|_| log.append(2, 10, batch(&[5, 5])));
        assert_eq!(log.kept_by_trim(4, 1000, 9), 8);
        log.trim(4, 1000, 9);
        assert_eq!(log.first(), 8, "an item of the batch at 8 is needed");
        assert_eq!((log.kept_by_trim(4, 1000, 9), log.kept_by_trim(4, 1000, 20)), (8, 16));
        log.trim(4, 1000, 20);
        assert_eq!(log.first(), 16);
        log.trim(100, 10, 20);
        assert_eq!(log.first(), 18);
        log.trim(1, 1, 20);
        assert_eq!(log.first(), 18, "a part of a batch is not dropped");
        assert_eq!(log.seek(3).seq, 18, "gone items resume at the oldest kept");
        assert_eq!(log.seek(99), log.end());
    }
}
