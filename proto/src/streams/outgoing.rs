//! One consumer of a local producer: its credit, its place in the log, its debt.

use super::{
    StreamKind, Terms,
    frames::{self, Credit, Subscribe},
    incoming::half,
    log::{Cursor, Log, Slice},
};
use crate::{
    discovery::PeerEntry,
    ids::{ChannelId, PeerId},
    limits,
    mutant::{self, Mutant},
    time::Instant,
    wire::{FrameReader, Head},
};

/// The consumer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// One accepted consumer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) peer: PeerId,
    /// The consumer's entry, as known now.
    pub(super) entry: PeerEntry,
    pub(super) channel: ChannelId,
    pub(super) reader: FrameReader,
    pub(super) cursor: Cursor,
    pub(super) terms: Terms,
    /// The sequence number that the consumer waits for.
    expected: u64,
    window: Credit,
    granted: Credit,
    /// It could take something: a quarter of its window was free (STR-08).
    ready: bool,
    /// Still on its way through the tail that it asked for (STR-19).
    pub(super) replaying: bool,
    pub(super) sent: Credit,
    /// Bytes written and not drained.
    debt: u64,
    /// Since when something could be sent but for the consumer's credit or the channel's debt.
    pub(super) stalled_since: Option<Instant>,
}

/// A frame of items to write.
#[derive(Debug)]
pub(super) struct Outgo {
    pub(super) head: Head,
    pub(super) body: bytes::Bytes,
    pub(super) first: u64,
    pub(super) items: u32,
    pub(super) payload: u64,
    /// The first and last item in front of it that left the tail before they could be sent.
    pub(super) gap: Option<(u64, u64)>,
}

impl Outgoing {
    /// An accepted subscription whose first item is at `cursor`.
    pub(super) fn new(
        peer: PeerId,
        entry: PeerEntry,
        channel: ChannelId,
        reader: FrameReader,
        subscribe: &Subscribe,
        (cursor, kind): (Cursor, StreamKind),
    ) -> Result<Self, Overflow> {
        let mut outgoing = Self {
            peer,
            entry,
            channel,
            reader,
            cursor,
            terms: Terms { kind, first: cursor.seq, before: cursor.payload },
            expected: cursor.seq,
            window: subscribe.window,
            granted: Credit::default(),
            ready: false,
            replaying: false,
            sent: Credit::default(),
            debt: 0,
            stalled_since: None,
        };
        outgoing.grant(subscribe.grant)?;
        Ok(outgoing)
    }

    /// Raises the totals that may be sent. STR-05: totals never fall and are bounded.
    pub(super) fn grant(&mut self, total: Credit) -> Result<(), Overflow> {
        let falls = total.items < self.granted.items || total.bytes < self.granted.bytes;
        let excessive = total.items - self.sent.items.min(total.items) > limits::GRANT_ITEMS
            || total.bytes - self.sent.bytes.min(total.bytes) > limits::GRANT_BYTES;
        if falls || excessive {
            return Err(Overflow);
        }
        self.granted = total;
        self.ready |= total.items >= self.window.items.div_ceil(4)
            && total.bytes >= self.window.bytes.div_ceil(4);
        Ok(())
    }

    /// True if the producer waits for it when it is behind. Not before it could take anything
    /// (STR-08), nor while it is on its way through the tail (STR-19).
    pub(super) const fn holds(&self) -> bool {
        self.ready && !self.replaying
    }

    /// The next frame that credit and debt allow; `None` if there is nothing to send or no leave.
    pub(super) fn next(&mut self, log: &Log) -> Option<Outgo> {
        if self.debt >= limits::CHANNEL_DEBT || self.cursor.seq >= log.next() {
            return None;
        }
        let items = self.granted.items.saturating_sub(self.sent.items);
        let bytes = if mutant::on(Mutant::CreditIgnoresBytes) {
            u64::MAX
        } else {
            self.granted.bytes.saturating_sub(self.sent.bytes)
        };
        // Behind an item above the credit nothing goes, not even an item without bytes.
        if items == 0 || self.sent.bytes > self.granted.bytes && bytes < u64::MAX {
            return None;
        }
        // What left the tail while this one could not take it is a gap, which the numbers show.
        if self.cursor.seq < log.first() {
            self.cursor = log.seek(log.first());
        }
        // STR-06: with half the window free, an item of any size goes, alone.
        let force = bytes >= half(self.window.bytes) && !mutant::on(Mutant::LargeItemStuck);
        let slice = log.take(&mut self.cursor, items, bytes, force)?;
        let gap = (slice.first > self.expected).then(|| (self.expected, slice.first - 1));
        self.expected = self.cursor.seq;
        let head = frames::items_head(slice.first, slice.items, slice.data.len());
        self.sent.items += u64::from(slice.items);
        self.sent.bytes += slice.payload;
        self.debt += (head.len() + slice.data.len()) as u64;
        let Slice { first, items, payload, data: body } = slice;
        Some(Outgo { head, body, first, items, payload, gap })
    }

    /// Counts a control frame into the channel's debt.
    pub(super) fn owe(&mut self, bytes: usize) {
        self.debt += bytes as u64;
    }

    /// The transport took bytes.
    pub(super) fn drained(&mut self, bytes: u32) {
        self.debt = self.debt.saturating_sub(u64::from(bytes));
    }
}
