//! A machine that keeps every command that it applied.

use std::collections::VecDeque;

use mosaik_proto::{
    groups::{Applying, Index},
    raft::LogIndex,
    streams::item::Items,
    time::Instant,
};

/// What one host applied, and what waits to be.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    commands: Vec<u64>,
    /// Places of commands, the void ones included.
    last: u64,
    jobs: VecDeque<(Instant, Applying)>,
}

impl Machine {
    pub(crate) fn commands(&self) -> &[u64] {
        &self.commands
    }

    pub(crate) fn apply(&mut self, at: Instant, applying: Applying) {
        let after = self.jobs.back().map_or(at, |(last, _)| *last);
        self.jobs.push_back((at.max(after), applying));
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.jobs.front().map(|(at, _)| *at)
    }

    /// Applies the next run.
    pub(crate) fn work(&mut self) -> LogIndex {
        let (_, applying) = self.jobs.pop_front().expect("something waits");
        assert_eq!(
            applying.first,
            Index(self.last + 1),
            "nothing is left out, nothing comes twice"
        );
        self.last += u64::from(applying.count);
        if !applying.void {
            let items = Items::new(applying.data.clone()).map(|item| item.unwrap());
            let commands = items.map(|item| u64::from_be_bytes(item[..].try_into().unwrap()));
            let before = self.commands.len();
            self.commands.extend(commands);
            assert_eq!(self.commands.len() - before, applying.count as usize);
        }
        applying.through()
    }
}
