//! The replicated log: contiguous runs of entries that share a term.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::Bytes;

use super::{Kind, LogIndex, Origin, Position, Run, Term};
use crate::{limits, streams::item};

/// Runs that are looked through before the log is searched.
const NEWEST: usize = 8;

/// Entries from behind the snapshot to the last one. A run's bytes are shared with the messages
/// that carry it; nothing here copies an entry.
#[derive(Clone, Debug, Default)]
pub struct Log {
    runs: VecDeque<Run>,
    /// What lies before the first run: the last entry of the snapshot.
    base: Position,
    last: Position,
    commands: u64,
    bytes: u64,
}

impl Log {
    /// A log that begins behind a snapshot with this many commands.
    #[must_use]
    pub fn behind(base: Position, commands: u64) -> Self {
        Self { base, last: base, commands, ..Self::default() }
    }

    /// The last entry of the snapshot, before the first entry kept.
    #[must_use]
    pub const fn base(&self) -> Position {
        self.base
    }

    /// The last entry.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.last
    }

    /// Commands from the beginning of the log to its end, those in the snapshot included.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.commands
    }

    /// Payload bytes kept.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory that the log costs, about: payload, and what each run needs besides.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.bytes + (self.runs.len() * limits::RUN_COST) as u64
    }

    /// The last entry that can go if so many bytes of the log are to stay.
    #[must_use]
    pub fn before_tail(&self, bytes: u64) -> LogIndex {
        let mut kept = 0;
        for run in self.runs.iter().rev() {
            if kept >= bytes {
                return run.end().index;
            }
            kept += (run.data.len() + limits::RUN_COST) as u64;
        }
        self.base.index
    }

    /// The runs that are kept.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// The runs that are kept, the last first.
    pub fn runs_from_the_end(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().rev()
    }

    /// The term of an entry; `None` if it is not known here.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.last.index {
            return Some(self.last.term);
        }
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.run_of(index).map(|at| self.runs[at].term)
    }

    /// The run that holds an entry.
    fn run_of(&self, index: LogIndex) -> Option<usize> {
        if index <= self.base.index || index > self.last.index {
            return None;
        }
        // What is asked for is almost always among the newest; a search would touch all of the log.
        let mut newest = self.runs.iter().enumerate().rev().take(NEWEST);
        match newest.find(|(_, run)| run.first <= index) {
            Some((at, _)) => Some(at),
            None => self.runs.partition_point(|run| run.first <= index).checked_sub(1),
        }
    }

    /// Appends a run behind the last entry.
    ///
    /// # Panics
    /// If it does not follow, or its term is below that of the last entry.
    pub fn append(&mut self, run: Run) {
        assert!(run.first == self.last.index.next(), "runs are contiguous");
        assert!(run.term >= self.last.term, "terms do not fall");
        self.last = run.end();
        self.bytes += run.data.len() as u64;
        self.commands += run.commands();
        self.runs.push_back(run);
    }

    /// Cuts off the entries from `index` on.
    pub fn truncate(&mut self, index: LogIndex) {
        while let Some(newest) = self.runs.back() {
            if newest.end().index < index {
                break;
            }
            let run = self.runs.pop_back().expect("there is one");
            self.bytes -= run.data.len() as u64;
            self.commands -= run.commands();
            if run.first < index {
                let count = (index.0 - run.first.0) as u32;
                let (kept, _) = run.split(count);
                self.bytes += kept.data.len() as u64;
                self.commands += kept.commands();
                self.runs.push_back(kept);
            }
        }
        self.last = self.runs.back().map_or(self.base, Run::end);
    }

    /// Drops the entries up to `index`, which a snapshot replaces; whole runs only, so that what is
    /// still kept may begin a little earlier. Returns where it begins now.
    pub fn compact(&mut self, index: LogIndex) -> Position {
        while let Some(oldest) = self.runs.front() {
            if oldest.end().index > index {
                break;
            }
            let run = self.runs.pop_front().expect("there is one");
            self.bytes -= run.data.len() as u64;
            self.base = run.end();
        }
        self.base
    }

    /// The entries from `from` to `to`, both included, as far as `bytes` reach; at least one.
    #[must_use]
    pub fn slice(&self, from: LogIndex, to: LogIndex, bytes: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        self.visit(from, to, bytes, |run| runs.push(run));
        runs
    }

    /// Calls `take` with the entries of [`slice`](Self::slice), run by run.
    pub fn visit(&self, from: LogIndex, to: LogIndex, bytes: usize, mut take: impl FnMut(Run)) {
        let Some(mut at) = self.run_of(from) else { return };
        let (mut from, mut left) = (from, bytes);
        while from <= to && at < self.runs.len() && left > 0 {
            let mut run = self.runs[at].clone();
            if run.first < from {
                run = run.behind(from.prev());
            }
            if run.end().index > to {
                run = run.split((to.0 - from.0 + 1) as u32).0;
            }
            if run.data.len() > left {
                // At least one entry goes, or a large one would never.
                let fits = run.fitting(left).max(u32::from(left == bytes));
                if fits == 0 {
                    return;
                }
                if fits < run.count {
                    return take(run.split(fits).0);
                }
            }
            // Bounds the runs as well: small ones cost more than their bytes (GRP-08).
            left = left.saturating_sub(run.data.len().saturating_add(limits::RUN_COST));
            from = run.end().index.next();
            take(run);
            at += 1;
        }
    }

    /// The last entry at or before `index` whose term is at most `term`.
    pub(super) fn last_within(&self, index: LogIndex, term: Term) -> Position {
        let index = index.min(self.last.index);
        let Some(mut at) = self.run_of(index) else { return self.base };
        loop {
            let run = &self.runs[at];
            if run.term <= term {
                return Position { term: run.term, index: run.end().index.min(index) };
            }
            match at.checked_sub(1) {
                Some(before) => at = before,
                None => return self.base,
            }
        }
    }
}

/// The origin of entries that are nobody's commands.
const NOBODY: Origin = Origin { session: 0, number: 0 };

impl Origin {
    /// The origin of what stands `count` commands further on.
    #[must_use]
    pub const fn behind(self, count: u32) -> Self {
        Self { number: self.number.wrapping_add(count as u64), ..self }
    }
}

impl Run {
    /// A run of one entry without content.
    #[must_use]
    pub const fn empty(term: Term, first: LogIndex, kind: Kind) -> Self {
        Self { term, first, count: 1, kind, origin: NOBODY, data: Bytes::new() }
    }

    /// Its last entry.
    #[must_use]
    pub const fn end(&self) -> Position {
        Position { term: self.term, index: LogIndex(self.first.0 + self.count as u64 - 1) }
    }

    /// How many of its entries are commands.
    #[must_use]
    pub fn commands(&self) -> u64 {
        if self.kind == Kind::Commands { u64::from(self.count) } else { 0 }
    }

    /// The entries behind `index`, which is one of them but not the last.
    pub(super) fn behind(self, index: LogIndex) -> Self {
        let count = (index.0 + 1 - self.first.0) as u32;
        self.split(count).1
    }

    /// How many of its entries fit into so many bytes.
    fn fitting(&self, bytes: usize) -> u32 {
        if self.kind != Kind::Commands {
            return u32::from(self.data.len() <= bytes);
        }
        let (mut at, mut fits) = (0, 0);
        while let Ok((start, length)) = item::locate(&self.data, at) {
            at = start + length;
            if at > bytes || fits == self.count {
                break;
            }
            fits += 1;
        }
        fits
    }

    /// The first `count` entries, and the others.
    ///
    /// # Panics
    /// Unless both parts have entries: only runs of commands have several.
    fn split(self, count: u32) -> (Self, Self) {
        assert!(count > 0 && count < self.count, "both parts have entries");
        let end = item::prefix(&self.data, 0, u64::from(count), u64::MAX, usize::MAX)
            .expect("runs are checked when they arrive")
            .end;
        let tail = Self {
            first: LogIndex(self.first.0 + u64::from(count)),
            count: self.count - count,
            origin: self.origin.behind(count),
            data: self.data.slice(end..),
            ..self
        };
        let head = Self { count, data: self.data.slice(..end), ..self };
        (head, tail)
    }

    /// True if it is what a peer may send: whole entries, as many as it says.
    pub(super) fn is_sound(&self) -> bool {
        let whole = match self.kind {
            Kind::Commands => {
                item::prefix(&self.data, 0, u64::from(self.count), u64::MAX, usize::MAX)
                    .is_ok_and(|prefix| prefix.items == self.count && prefix.end == self.data.len())
            }
            Kind::Noop => self.count == 1 && self.data.is_empty(),
            Kind::Control | Kind::Membership => self.count == 1,
        };
        whole && self.count > 0 && self.first.0.checked_add(u64::from(self.count)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A run of commands whose payloads have these lengths.
    fn run(term: u64, first: u64, lengths: &[usize]) -> Run {
        let mut data = Vec::new();
        for length in lengths {
            data.extend(item::short(*length).unwrap());
            data.extend(core::iter::repeat_n(term as u8, *length));
        }
        let count = lengths.len() as u32;
        let (term, first) = (Term(term), LogIndex(first));
        Run {
            term,
            first,
            count,
            kind: Kind::Commands,
            origin: Origin::default(),
            data: data.into(),
        }
    }

    fn log() -> Log {
        let mut log = Log::default();
        log.append(run(1, 1, &[10, 10, 10]));
        log.append(Run::empty(Term(3), LogIndex(4), Kind::Noop));
        log.append(run(3, 5, &[10, 100, 10]));
        log
    }

    fn ends(runs: &[Run]) -> Vec<(u64, u64)> {
        runs.iter().map(|run| (run.first.0, run.end().index.0)).collect()
    }

    #[test]
    fn slices_respect_both_ends_and_the_budget() {
        let log = log();
        let slice = |from, to, bytes| ends(&log.slice(LogIndex(from), LogIndex(to), bytes));
        assert_eq!(slice(1, 7, 1_000), [(1, 3), (4, 4), (5, 7)]);
        assert_eq!(slice(2, 6, 1_000), [(2, 3), (4, 4), (5, 6)]);
        assert_eq!(slice(1, 7, 24), [(1, 2)]);
        assert_eq!(slice(1, 7, 37 + limits::RUN_COST), [(1, 3), (4, 4)]);
        assert_eq!(slice(1, 7, 36 + limits::RUN_COST), [(1, 3)], "nothing is left of the budget");
        assert_eq!(slice(6, 7, 5), [(6, 6)], "one goes whatever its size");
        assert_eq!(slice(8, 9, 100), []);
    }

    #[test]
    fn truncating_and_compacting_keep_the_totals() {
        let mut log = log();
        log.truncate(LogIndex(6));
        assert_eq!((log.last().index.0, log.commands(), log.bytes()), (5, 4, 48));
        assert_eq!(log.compact(LogIndex(3)), Position { term: Term(1), index: LogIndex(3) });
        assert_eq!(log.term_at(LogIndex(3)), Some(Term(1)));
        assert_eq!(log.term_at(LogIndex(2)), None);
        assert_eq!((log.commands(), log.bytes()), (4, 12));
        log.truncate(LogIndex(4));
        assert_eq!((log.last(), log.commands(), log.bytes()), (log.base(), 3, 0));
    }

    /// Entries without content cost memory too.
    #[test]
    fn the_tail_is_measured_in_what_it_costs() {
        let log = log();
        let run = limits::RUN_COST as u64;
        assert_eq!(log.weight(), log.bytes() + 3 * run);
        let before = |bytes| log.before_tail(bytes).0;
        let newest = log.runs().last().unwrap().data.len() as u64 + run;
        assert_eq!((before(0), before(1), before(newest), before(newest + 1)), (7, 4, 4, 3));
        assert_eq!((before(newest + run), before(newest + run + 1)), (3, 0));
        assert_eq!(before(u64::MAX), 0);
    }

    #[test]
    fn conflicts_are_skipped_by_term() {
        let log = log();
        let within = |index, term| log.last_within(LogIndex(index), Term(term)).index.0;
        assert_eq!((within(7, 3), within(7, 2), within(2, 9), within(9, 0)), (7, 3, 2, 0));
    }

    proptest! {
        /// Whatever the budgets, walking a log gives each entry once.
        #[test]
        fn slices_add_up(
            batches in proptest::collection::vec(proptest::collection::vec(0usize..40, 1..5), 1..8),
            budget in 1usize..120,
        ) {
            let mut log = Log::default();
            for lengths in &batches {
                log.append(run(1, log.last().index.0 + 1, lengths));
            }
            let (mut next, mut bytes) = (LogIndex(1), 0);
            while next <= log.last().index {
                let slice = log.slice(next, log.last().index, budget);
                prop_assert!(!slice.is_empty() && slice.iter().all(Run::is_sound));
                for run in slice {
                    prop_assert_eq!(run.first, next);
                    next = run.end().index.next();
                    bytes += run.data.len() as u64;
                }
            }
            prop_assert_eq!(bytes, log.bytes());
        }
    }
}
