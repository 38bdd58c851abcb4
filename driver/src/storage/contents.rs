//! State and entries: all that a store holds, but for the bytes of its snapshot.

use mosaik_proto::raft::{Log, LogIndex, Stored};

use super::{
    record::Record,
    state::{Misfit, State},
};

/// What the records so far amount to.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) state: State,
    /// May begin before the base of the state; or behind it, if segments are missing.
    log: Log,
}

impl Contents {
    /// What is known at the beginning of a segment: its entries are in earlier ones.
    pub(super) fn at(state: State) -> Self {
        let log = Log::behind(state.last(), 0);
        Self { state, log }
    }

    pub(super) fn apply(&mut self, record: Record) -> Result<(), Misfit> {
        self.state.apply(&record)?;
        let last = self.state.last();
        match record {
            Record::Reset(..) => self.log = Log::behind(last, 0),
            Record::Base(base, _) => {
                if last == base.last {
                    self.log = Log::behind(last, 0);
                } else {
                    self.log.compact(base.last.index);
                }
            }
            Record::Truncate(from) => {
                if from <= self.log.base().index {
                    // All of it, and some that are in earlier segments.
                    self.log = Log::behind(last, 0);
                } else {
                    self.log.truncate(from);
                }
            }
            Record::Run(run) => self.log.append(run),
            Record::Checkpoint(_) | Record::Hard(_) | Record::Boot(_) | Record::Seen(..) => {}
        }
        Ok(())
    }

    /// What a Raft core starts with; `None` if entries behind the base are missing.
    pub(super) fn stored(&self) -> Option<Stored> {
        let State { hard, base, .. } = &self.state;
        if self.log.base().index > base.last.index {
            return None;
        }
        let all = LogIndex(u64::MAX);
        let runs = self.log.slice(base.last.index.next(), all, usize::MAX);
        Some(Stored { hard: *hard, base: base.clone(), runs })
    }
}
