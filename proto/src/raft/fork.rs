//! A new lineage that begins with the log of one that cannot go on.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Config, HardState, Kind, Raft, Run, Snapshot, Stored, sole, vocabulary};
use crate::{rng::Rng, time::Instant};

impl Raft {
    /// The sole voter of a lineage that begins with everything in `old`'s log, and behind that with `mark`,
    /// an entry of the host's own. It leads with the first timeout, which is due at once.
    ///
    /// Safe only where the caller knows that `old`'s lineage cannot go on, or was told so: what its
    /// voters decide without this member is not in the new one.
    #[must_use]
    pub fn fork(config: Config, old: &Self, mark: Bytes, rng: Rng, now: Instant) -> Self {
        let (base, last) = (old.log.base(), old.log.last());
        let membership = sole(config.seat);
        // Who voted in the old lineage does not vote in this one.
        let blank = |run: &Run| match run.kind {
            Kind::Membership => Run::empty(run.term, run.first, Kind::Noop),
            Kind::Noop | Kind::Commands | Kind::Control => run.clone(),
        };
        let mut runs: Vec<_> = old.log.runs().map(blank).collect();
        let data = vocabulary::encode(&membership);
        let first = last.index.next();
        runs.push(Run { data, ..Run::empty(last.term, first, Kind::Membership) });
        runs.push(Run { data: mark, ..Run::empty(last.term, first.next(), Kind::Control) });
        let commands = old.log.commands() - old.log.runs().map(Run::commands).sum::<u64>();
        let base = Snapshot { lineage: config.lineage, last: base, membership, commands };
        let hard = HardState { term: old.hard.term.max(last.term), vote: None };
        let durable = config.durable;
        let stored = Stored { hard, base: base.clone(), runs: runs.clone() };
        let mut raft = Self::new(config, stored, rng, now);
        if durable {
            raft.store.write.reset = Some(base);
            raft.store.write.runs = runs;
            raft.store.write.hard = Some(hard);
            raft.store.unwritten();
        }
        raft.election_at = now;
        raft
    }
}
