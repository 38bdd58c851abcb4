//! What a group hands to its machine, one after the other.

use std::collections::VecDeque;

use bytes::Bytes;
use mosaik_proto::{
    Digest,
    groups::{Applying, Outcome},
    limits,
    raft::{Lineage, LogIndex, Snapshot},
};

/// Something for the machine.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Apply commands of this lineage.
    Apply(Lineage, Applying),
    /// Tell clients how commands ended, in this lineage.
    Outcome { of: Option<Lineage>, first: u64, count: u32, outcome: Outcome },
    /// Serve a read, in this lineage.
    Read(Option<Lineage>, u64),
    /// Freeze the machine.
    Freeze(Box<Snapshot>, Bytes),
    /// Replace it by what was fetched.
    Install { snapshot: Box<Snapshot>, bytes: u64, digest: Digest },
    /// Say the digest of its state.
    Digest(LogIndex),
    /// Begin anew.
    Reset,
}

impl Job {
    /// Only these take time.
    pub(crate) const fn takes_time(&self) -> bool {
        matches!(self, Self::Apply(..) | Self::Freeze(..) | Self::Install { .. })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Apply(_, applying) => applying.data.len(),
            Self::Outcome { .. }
            | Self::Read(..)
            | Self::Freeze(..)
            | Self::Install { .. }
            | Self::Digest(_)
            | Self::Reset => 0,
        }
    }
}

/// The queue in front of a machine.
#[derive(Debug, Default)]
pub(crate) struct Executor {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// The first job is under way.
    pub(crate) busy: bool,
    /// The first job is done but for the store's word.
    pub(crate) staging: bool,
}

impl Executor {
    pub(crate) fn push(&mut self, job: Job) {
        self.bytes += job.bytes();
        self.jobs.push_back(job);
    }

    pub(crate) fn first(&self) -> Option<&Job> {
        self.jobs.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.bytes -= job.bytes();
        Some(job)
    }

    /// I12: what waits in front of a machine is bounded.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (jobs, bytes) = (self.jobs.len(), self.bytes);
        if bytes > limits::APPLY_BYTES + limits::COMMANDS_BYTES as usize {
            return Err(format!("{jobs} jobs with {bytes} B wait"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mosaik_proto::{groups::Index, raft::Term};

    use super::*;

    fn commands(bytes: usize) -> Job {
        let data = vec![0; bytes].into();
        let (entry, first) = (LogIndex(1), Index(1));
        let applying = Applying { term: Term(1), entry, first, count: 1, data, void: false };
        Job::Apply(Lineage::default(), applying)
    }

    #[test]
    fn a_machine_that_is_flooded_is_noticed() {
        let mut executor = Executor::default();
        let bound = limits::APPLY_BYTES + limits::COMMANDS_BYTES as usize;
        executor.push(commands(bound));
        assert_eq!(executor.check(), Ok(()));
        executor.push(commands(1));
        assert!(executor.check().is_err());
        executor.pop();
        assert_eq!(executor.check(), Ok(()), "what is done does not wait");
    }
}
