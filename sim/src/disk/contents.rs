//! What a store holds.

use bytes::Bytes;
use mosaik_proto::{
    limits,
    raft::{HardState, Kind, Lineage, Log, LogIndex, Seat, SeatId, Snapshot, Stored, Write},
    rng::Rng,
    wire,
};

use super::Loaded;

/// One thing that is written: it counts as a whole or not at all.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A write, with the snapshot that its reset refers to.
    Write(Box<Write>, Option<Bytes>),
    /// The log begins behind this snapshot; entries behind it stay.
    Base(Box<Snapshot>, Bytes),
    Boot(u64),
    Seen(Seat, u64),
}

/// All that a store holds. Clones share the bytes of entries.
#[derive(Clone, Debug)]
pub struct Contents {
    seat: SeatId,
    boot: u64,
    boots: Vec<(Seat, u64)>,
    hard: HardState,
    base: Snapshot,
    /// May begin before the base.
    log: Log,
    snapshot: Option<Bytes>,
}

impl Contents {
    /// Nothing, under a new seat.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut seat = [0; 16];
        seat.copy_from_slice(&rng.bytes()[..16]);
        Self {
            seat: SeatId(seat),
            boot: 0,
            boots: Vec::new(),
            hard: HardState::default(),
            base: Snapshot::default(),
            log: Log::default(),
            snapshot: None,
        }
    }

    /// Names the store.
    #[must_use]
    pub const fn seat(&self) -> SeatId {
        self.seat
    }

    /// The history that its log is of; the default one if it is empty.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.base.lineage
    }

    /// How often it was opened.
    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// By its log its seat decides alone: it is not one of several voters.
    #[must_use]
    pub fn votes_alone(&self) -> bool {
        let mut voters = self.base.membership.clone();
        for run in self.stored().runs.iter().filter(|run| run.kind == Kind::Membership) {
            voters = wire::decode(&run.data).unwrap_or(voters);
        }
        voters.sets().any(|set| set.len() == 1)
    }

    /// The highest boot number seen of another seat.
    #[must_use]
    pub fn seen(&self, seat: &Seat) -> Option<u64> {
        self.boots.iter().find(|(known, _)| known == seat).map(|(_, boot)| *boot)
    }

    /// The snapshot that the log begins with.
    #[must_use]
    pub fn snapshot(&self) -> Option<Bytes> {
        self.snapshot.clone()
    }

    /// What a Raft core starts with.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let from = self.base.last.index.next();
        let runs = self.log.slice(from, LogIndex(u64::MAX), usize::MAX);
        Stored { hard: self.hard, base: self.base.clone(), runs }
    }

    pub(super) fn loaded(&self) -> Loaded {
        Loaded {
            seat: self.seat,
            boot: self.boot,
            boots: self.boots.clone(),
            stored: self.stored(),
            snapshot: self.snapshot(),
            fresh: false,
        }
    }

    /// # Panics
    /// If a write does not fit the log: a defect of who wrote it.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Write(write, snapshot) => self.write(*write, snapshot),
            Change::Base(base, snapshot) => {
                assert!(base.last.index >= self.base.last.index, "the base does not move back");
                if self.log.term_at(base.last.index) == Some(base.last.term) {
                    self.log.compact(base.last.index);
                } else {
                    // What follows may be of another history.
                    self.log = Log::behind(base.last, base.commands);
                }
                (self.base, self.snapshot) = (*base, Some(snapshot));
            }
            Change::Boot(boot) => self.boot = boot,
            Change::Seen(seat, boot) => self.remember(seat, boot),
        }
    }

    fn write(&mut self, write: Write, snapshot: Option<Bytes>) {
        if let Some(base) = write.reset {
            self.log = Log::behind(base.last, base.commands);
            (self.base, self.snapshot) = (base, snapshot);
        }
        if let Some(from) = write.truncate {
            assert!(from > self.base.last.index, "what a snapshot covers stays");
            if from <= self.log.last().index {
                self.log.truncate(from);
            }
        }
        write.runs.into_iter().for_each(|run| self.log.append(run));
        self.hard = write.hard.unwrap_or(self.hard);
    }

    fn remember(&mut self, seat: Seat, boot: u64) {
        let at = self.boots.iter().position(|(known, _)| *known == seat);
        let before = at.map(|at| self.boots.remove(at).1);
        if self.boots.len() == limits::REMEMBERED_BOOTS {
            self.boots.remove(0);
        }
        self.boots.push((seat, before.map_or(boot, |before| before.max(boot))));
    }
}
