//! Items come in order, none twice, none missing without a word.
//!
//! Every item names its producer and carries its number ([`Stamp`]), so the checker needs no
//! trust in sequence numbers: it compares them with the stamps.
//!
//! The promise is per subscription. A consumer that lost sight of a producer altogether (it left
//! the catalog) follows it later under a new subscription; then nothing may come twice, but what
//! was made in between is counted in [`Counts::between`] only, unless [`Order::strict`] is set.

use std::collections::BTreeMap;

use bytes::Bytes;
use mosaik_proto::{
    PeerId,
    ids::ConsumerId,
    streams::item::{self, Items},
};

use super::{Place, short};
use crate::net::Process;

/// What stands in front of every item of a fake producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The producer's peer ([`short`]).
    pub peer: u64,
    /// Counts the producer's starts: of its process, and within it.
    pub start: u64,
    /// Counts the producer's items from 0.
    pub number: u64,
}

/// Bytes of a stamp.
pub const STAMP: usize = 24;

/// An item as it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Who made it.
    pub stamp: Stamp,
    /// Payload bytes, stamp included.
    pub size: usize,
}

/// Appends an item of `size` payload bytes (at least [`STAMP`]) to a batch.
pub fn write(batch: &mut Vec<u8>, stamp: Stamp, size: usize) {
    match item::short(size) {
        Some(form) => batch.extend(form),
        None => batch.extend(item::long(size)),
    }
    for word in [stamp.peer, stamp.start, stamp.number] {
        batch.extend(word.to_be_bytes());
    }
    batch.resize(batch.len() + size - STAMP, stamp.number as u8);
}

/// Reads the items of a batch.
///
/// # Errors
/// If they are not as [`write()`] made them.
pub fn read(batch: &Bytes) -> Result<Vec<Arrived>, String> {
    let one = |payload: Bytes| {
        let (head, padding) = payload.split_at_checked(STAMP).ok_or("an item is cut off")?;
        let word = |at: usize| {
            head[at..at + 8].iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let stamp = Stamp { peer: word(0), start: word(8), number: word(16) };
        if padding.iter().any(|byte| *byte != stamp.number as u8) {
            return Err(format!("{stamp:?}: the content of the item is damaged"));
        }
        Ok(Arrived { stamp, size: payload.len() })
    };
    Items::new(batch.clone())
        .map(|payload| one(payload.map_err(|error| error.to_string())?))
        .collect()
}

/// The sizes of the items of a batch that somebody made who stamps as he likes.
///
/// # Errors
/// If the batch is not one of whole items.
pub fn sizes(batch: &Bytes) -> Result<Vec<Arrived>, String> {
    let stamp = Stamp { peer: 0, start: 0, number: 0 };
    let one = |payload: Bytes| Arrived { stamp, size: payload.len() };
    Items::new(batch.clone())
        .map(|payload| payload.map(one).map_err(|error| error.to_string()))
        .collect()
}

/// What was seen in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that came in order.
    pub items: u64,
    /// Items that were reported as missing.
    pub reported: u64,
    /// Reports of a producer that started anew.
    pub restarts: u64,
    /// Items missed between two subscriptions to one start of a producer, without a report.
    pub between: u64,
}

/// How far a consumer is with one producer.
#[derive(Debug)]
struct Cursor {
    /// The subscription through which the last item came.
    through: Place,
    start: u64,
    next: u64,
    /// Reported as missing from `next` on, ascending.
    gaps: Vec<(u64, u64)>,
    restarted: bool,
}

/// The checker.
#[derive(Debug, Default)]
pub struct Order {
    producers: BTreeMap<Place, u64>,
    cursors: BTreeMap<(Process, ConsumerId, u64), Cursor>,
    counts: Counts,
    /// Reports of a producer that started anew.
    pub restarts: u64,
    /// Items missed between two subscriptions are a failure too.
    pub strict: bool,
}

impl Order {
    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The number of the next item that a consumer expects of a peer, with the producer's start.
    #[must_use]
    pub fn next(
        &self,
        process: Process,
        consumer: ConsumerId,
        peer: &PeerId,
    ) -> Option<(u64, u64)> {
        let cursor = self.cursors.get(&(process, consumer, short(peer)))?;
        let missing = cursor
            .gaps
            .iter()
            .fold(cursor.next, |next, (first, last)| if *first == next { last + 1 } else { next });
        Some((cursor.start, missing))
    }

    /// A subscription follows this peer.
    pub fn subscribed(&mut self, place: Place, peer: PeerId) {
        self.producers.insert(place, short(&peer));
    }

    /// Items `first..=last` are reported as missing.
    ///
    /// # Errors
    /// If some of them came, or the range is empty.
    pub fn gap(&mut self, place: Place, first: u64, last: u64) -> Result<(), String> {
        if last < first {
            return Err(format!("{place:?}: an empty gap {first}..={last}"));
        }
        self.counts.reported += last - first + 1;
        let Some(cursor) = self.cursor(place) else { return Ok(()) };
        let expected = cursor.gaps.last().map_or(cursor.next, |(_, last)| last + 1);
        let same = cursor.through == place && !cursor.restarted;
        if same && first < expected {
            return Err(format!("{place:?}: gap {first}..={last} reported, {expected} is next"));
        }
        cursor.gaps.push((first, last));
        Ok(())
    }

    /// The producer is reported as started anew.
    pub fn restarted(&mut self, place: Place) {
        self.counts.restarts += 1;
        if let Some(cursor) = self.cursor(place) {
            cursor.restarted = true;
            cursor.gaps.clear();
        }
    }

    /// Items arrive.
    ///
    /// # Errors
    /// If they are out of order, repeated, of somebody else, or others are missing.
    pub fn delivered(&mut self, place: Place, first: u64, items: &[Arrived]) -> Result<(), String> {
        for (sequence, Arrived { stamp, .. }) in (first..).zip(items) {
            if sequence != stamp.number {
                return Err(format!("{place:?}: {stamp:?} came as number {sequence}"));
            }
            if *self.producers.entry(place).or_insert(stamp.peer) != stamp.peer {
                return Err(format!("{place:?}: {stamp:?} is of another producer"));
            }
            self.one(place, *stamp).map_err(|what| format!("{place:?}: {stamp:?} {what}"))?;
            self.counts.items += 1;
        }
        Ok(())
    }

    fn one(&mut self, place: Place, stamp: Stamp) -> Result<(), String> {
        let key = (place.process, place.consumer, stamp.peer);
        let fresh = Cursor {
            through: place,
            start: stamp.start,
            next: stamp.number,
            gaps: Vec::new(),
            restarted: false,
        };
        let cursor = self.cursors.entry(key).or_insert(fresh);
        let new = cursor.through != place;
        cursor.through = place;
        if stamp.start < cursor.start {
            return Err(format!("is of an old start, {} was seen", cursor.start));
        }
        if stamp.start > cursor.start {
            if !cursor.restarted && !new {
                return Err(format!("is of a new start behind {}, unreported", cursor.start));
            }
            (cursor.start, cursor.next) = (stamp.start, stamp.number);
            cursor.gaps.clear();
        }
        while let Some((first, last)) = cursor.gaps.first().copied() {
            if first != cursor.next || stamp.number <= last {
                break;
            }
            cursor.next = last + 1;
            cursor.gaps.remove(0);
        }
        if new && !self.strict && stamp.number > cursor.next {
            self.counts.between += stamp.number - cursor.next;
        } else if stamp.number != cursor.next {
            return Err(format!("came when {} was next, gaps {:?}", cursor.next, cursor.gaps));
        }
        cursor.restarted = false;
        cursor.gaps.clear();
        cursor.next = stamp.number + 1;
        Ok(())
    }

    fn cursor(&mut self, place: Place) -> Option<&mut Cursor> {
        let peer = self.producers.get(&place)?;
        self.cursors.get_mut(&(place.process, place.consumer, *peer))
    }
}
