//! What follows from the records so far, but for the entries themselves.

use mosaik_proto::{
    limits,
    raft::{HardState, LogIndex, Position, Seat, SeatId, Snapshot, Term},
};
use serde::{Deserialize, Serialize};

use super::{record::Record, snapshot_file::SnapshotFile};

/// Everything small. Each segment begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) seat: SeatId,
    pub(super) boot: u64,
    pub(super) boots: Vec<(Seat, u64)>,
    pub(super) hard: HardState,
    pub(super) base: Snapshot,
    /// The file of the base; a base at index 0 has none.
    pub(super) file: Option<SnapshotFile>,
    /// Where the terms of the log begin, behind the base.
    terms: Vec<(LogIndex, Term)>,
    last: LogIndex,
}

/// A record does not fit; says why.
pub(super) type Misfit = &'static str;

impl State {
    pub(super) fn new(seat: SeatId) -> Self {
        Self {
            seat,
            boot: 0,
            boots: Vec::new(),
            hard: HardState::default(),
            base: Snapshot::default(),
            file: None,
            terms: Vec::new(),
            last: LogIndex(0),
        }
    }

    /// The last entry.
    pub(super) fn last(&self) -> Position {
        let term = self.terms.last().map_or(self.base.last.term, |(_, term)| *term);
        Position { term, index: self.last }
    }

    /// What one more record makes of it.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Checkpoint(_) => Err("a checkpoint begins a segment"),
            Record::Hard(hard) => {
                self.hard = *hard;
                Ok(())
            }
            Record::Boot(boot) if *boot > self.boot => {
                self.boot = *boot;
                Ok(())
            }
            Record::Boot(_) => Err("boot numbers rise"),
            Record::Seen(seat, boot) => {
                self.remember(*seat, *boot);
                Ok(())
            }
            Record::Reset(base, file) => {
                self.rebase(base, file.as_ref());
                self.empty();
                Ok(())
            }
            Record::Base(base, file) => self.compact(base, file.as_ref()),
            Record::Truncate(index) => self.truncate(*index),
            Record::Run(run) => self.append(run.term, run.first, run.count),
        }
    }

    fn rebase(&mut self, base: &Snapshot, file: Option<&SnapshotFile>) {
        self.base = base.clone();
        self.file = file.cloned();
    }

    /// Nothing behind the base is left.
    fn empty(&mut self) {
        self.terms.clear();
        self.last = self.base.last.index;
    }

    fn compact(&mut self, base: &Snapshot, file: Option<&SnapshotFile>) -> Result<(), Misfit> {
        let index = base.last.index;
        if index < self.base.last.index {
            return Err("the base does not move back");
        }
        let agrees = self.term_at(index) == Some(base.last.term);
        self.rebase(base, file);
        if !agrees {
            // What follows may be of another history: it goes.
            self.empty();
            return Ok(());
        }
        let gone = self.terms.partition_point(|(first, _)| *first <= index);
        if let Some(at) = gone.checked_sub(1) {
            self.terms.drain(..at);
            self.terms[0].0 = index.next();
        }
        if self.last == index {
            self.terms.clear();
        }
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex) -> Result<(), Misfit> {
        if from <= self.base.last.index {
            return Err("what a snapshot covers stays");
        }
        if from <= self.last {
            self.last = from.prev();
            let kept = self.terms.partition_point(|(first, _)| *first < from);
            self.terms.truncate(kept);
        }
        Ok(())
    }

    fn append(&mut self, term: Term, first: LogIndex, count: u32) -> Result<(), Misfit> {
        let last = self.last();
        if first != last.index.next() || count == 0 {
            return Err("entries are contiguous");
        }
        if term < last.term {
            return Err("terms do not fall");
        }
        self.last = LogIndex(first.0.checked_add(u64::from(count) - 1).ok_or("indices end")?);
        if self.terms.last().is_none_or(|(_, newest)| *newest != term) {
            self.terms.push((first, term));
        }
        Ok(())
    }

    /// The term of an entry that is in the log or the last of the base.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.last.index {
            return Some(self.base.last.term);
        }
        if index > self.last {
            return None;
        }
        let at = self.terms.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
        Some(self.terms[at].1)
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
