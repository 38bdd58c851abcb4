//! A new lineage that begins with the log of one that cannot go on.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Config, HardState, Kind, Raft, Run, Snapshot, Stored, sole, vocabulary};
use crate::{rng::Rng, time::Instant};

impl Raft {
    /// The sole voter of a lineage that begins behind `base`, with everything that `old`'s log has there,
    /// and behind that with `mark`, an entry of the host's own. It leads with the first timeout, which
    /// is due at once. `base` is the snapshot that `old`'s log begins with or a later one, under the new
    /// lineage and with this seat as its voter.
    ///
    /// Safe only where the caller knows that `old`'s lineage cannot go on, or was told so: what its
    /// voters decide without this member is not in the new one.
    ///
    /// # Panics
    /// If the log does not reach back to `base`.
    #[must_use]
    pub fn fork(
        config: Config,
        old: &Self,
        base: Snapshot,
        mark: Bytes,
        rng: Rng,
        now: Instant,
    ) -> Self {
        assert!(base.last.index >= old.log.base().index, "the log begins no later than the base");
        let last = old.log.last();
        let mut runs = Vec::new();
        old.log.visit(base.last.index.next(), last.index, usize::MAX, |run| {
            // Who voted in the old lineage does not vote in this one.
            runs.push(match run.kind {
                Kind::Membership => Run::empty(run.term, run.first, Kind::Noop),
                Kind::Noop | Kind::Commands | Kind::Control => run,
            });
        });
        let data = vocabulary::encode(&sole(config.seat));
        let first = last.index.next();
        runs.push(Run { data, ..Run::empty(last.term, first, Kind::Membership) });
        runs.push(Run { data: mark, ..Run::empty(last.term, first.next(), Kind::Control) });
        let hard = HardState { term: old.hard.term.max(last.term), vote: None };
        let durable = config.durable;
        let stored = Stored { hard, base: base.clone(), runs: runs.clone() };
        let mut raft = Self::new(config, stored, rng, now);
        // Reports of what the old one had written may still come: they are about none of these writes.
        raft.store.number_after(&old.store);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{Core as _, Outbox},
        ids::PeerId,
        raft::{Action, Event, Lineage, LogIndex, Role, Seat, SeatId, Ticket},
    };

    fn config(lineage: u8) -> Config {
        let seat = Seat { peer: PeerId::from_bytes([1; 32]), id: SeatId([1; 16]) };
        Config { durable: true, lineage: Lineage([lineage; 16]), ..Config::new(seat) }
    }

    fn tickets(raft: &mut Raft, event: Event) -> Vec<Ticket> {
        let mut out = Outbox::new();
        raft.handle(Instant::from_millis(1), event, &mut out);
        let ticket = |action| match action {
            Action::Persist { ticket, .. } => Some(ticket),
            _ => None,
        };
        out.drain().filter_map(ticket).collect()
    }

    /// RAFT-05: a late report of the old lineage's writes says nothing about those of the new one.
    #[test]
    fn raft_05_reports_of_the_old_lineage_do_not_count() {
        let rng = || Rng::new([1; 32]);
        let mut old = Raft::found(config(1), rng(), Instant::ZERO);
        let under_way = tickets(&mut old, Event::Timeout);
        assert!(!under_way.is_empty());
        let (config, mark) = (config(2), Bytes::from_static(b"mark"));
        let membership = sole(config.seat);
        let base = Snapshot { lineage: config.lineage, membership, ..Snapshot::default() };
        let mut new = Raft::fork(config, &old, base, mark, rng(), Instant::ZERO);
        let mut written = tickets(&mut new, Event::Timeout);
        assert!(written.iter().all(|ticket| !under_way.contains(ticket)), "{written:?}");
        for ticket in under_way {
            written.extend(tickets(&mut new, Event::Persisted(ticket)));
        }
        assert!(new.durable() == LogIndex(0) && new.commit() == LogIndex(0));
        while let Some(ticket) = written.pop() {
            written.extend(tickets(&mut new, Event::Persisted(ticket)));
        }
        assert_eq!((new.role(), new.commit()), (Role::Leader, new.log().last().index));
    }
}
