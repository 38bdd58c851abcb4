//! One part in a group: what it hands to its machine, and what it says of itself.

use std::collections::VecDeque;

use mosaik_proto::{
    groups::{Applying, Index, Status},
    raft::{Lineage, LogIndex, Seat, Snapshot, Stored, Term},
};

/// What a step says, in its order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ahead {
    /// The machine begins anew.
    Reset,
    /// A status names the lineage.
    Lineage(Option<Lineage>),
}

/// What is known of one part.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) durable: bool,
    lineage: Option<Lineage>,
    /// What this step is still to say of its lineage.
    ahead: VecDeque<Ahead>,
    /// The last command and entry that were handed over.
    handed: (Index, LogIndex),
    /// The same before a snapshot that is being installed: where the machine is if that fails.
    before: Option<(Index, LogIndex)>,
    /// Term and commit are those of a seat: a new one may follow the same lineage from the beginning.
    seat: Option<Seat>,
    committed: Index,
    term: Term,
}

impl Member {
    pub(super) fn new(durable: bool) -> Self {
        Self {
            durable,
            lineage: None,
            ahead: VecDeque::new(),
            handed: (Index::ZERO, LogIndex(0)),
            before: None,
            seat: None,
            committed: Index::ZERO,
            term: Term(0),
        }
    }

    /// The lineage whose commands are handed over: a status names it behind them, and a reset ends it.
    pub(super) fn present(&self) -> Option<Lineage> {
        match self.ahead.front() {
            Some(Ahead::Lineage(next)) => *next,
            Some(Ahead::Reset) | None => self.lineage,
        }
    }

    // --- a step, before anything of it is done -----------------------------------------------

    pub(super) fn will_be(&mut self, lineage: Option<Lineage>) {
        self.ahead.push_back(Ahead::Lineage(lineage));
    }

    pub(super) fn will_reset(&mut self) {
        self.ahead.push_back(Ahead::Reset);
    }

    // --- one by one --------------------------------------------------------------------------

    pub(super) fn loaded(&mut self, stored: &Stored) {
        let Snapshot { lineage, last, commands, .. } = &stored.base;
        self.lineage = Some(*lineage).filter(|lineage| *lineage != Lineage::default());
        self.handed = (Index(*commands), last.index);
        (self.committed, self.term) = (Index::ZERO, Term(0));
    }

    /// Commands are handed over; in which lineage.
    pub(super) fn apply(&mut self, applying: &Applying) -> Result<Lineage, String> {
        self.turn(self.present());
        let (index, entry) = self.handed;
        if applying.first != index.next() || applying.entry <= entry {
            return Err(format!(
                "{:?} at {:?} is handed over behind {index} at {entry:?}",
                applying.first, applying.entry
            ));
        }
        self.handed = (Index(index.0 + u64::from(applying.count)), applying.through());
        self.lineage.ok_or_else(|| "a command is applied outside of a lineage".to_owned())
    }

    pub(super) fn install(&mut self, snapshot: &Snapshot) {
        self.turn(Some(snapshot.lineage));
        self.before = Some(self.handed);
        self.handed = (Index(snapshot.commands), snapshot.last.index);
    }

    /// The machine is as it was (GRP-47), unless it began anew meanwhile.
    pub(super) fn install_failed(&mut self) {
        self.handed = self.before.take().unwrap_or(self.handed);
    }

    pub(super) fn reset(&mut self) {
        self.before = None;
        self.ahead.pop_front_if(|ahead| *ahead == Ahead::Reset);
        self.handed = (Index::ZERO, LogIndex(0));
        self.turn(self.present());
    }

    pub(super) fn status(&mut self, status: &Status) -> Result<(), String> {
        self.ahead.pop_front_if(|ahead| *ahead == Ahead::Lineage(status.lineage));
        self.turn(status.lineage);
        if status.seat.is_some() && self.seat != status.seat {
            self.seat = status.seat;
            (self.committed, self.term) = (Index::ZERO, Term(0));
        }
        if status.term < self.term {
            return Err(format!("its term goes back from {:?} to {:?}", self.term, status.term));
        }
        if status.committed < self.committed {
            let (before, after) = (self.committed, status.committed);
            return Err(format!("what is committed goes back from {before} to {after}"));
        }
        (self.term, self.committed) = (status.term, status.committed);
        Ok(())
    }

    fn turn(&mut self, lineage: Option<Lineage>) {
        if self.lineage != lineage {
            self.lineage = lineage;
            (self.committed, self.term) = (Index::ZERO, Term(0));
        }
    }
}
