//! What must hold after every step (dissertation, figure 3.2).

use std::collections::BTreeMap;

use bytes::Bytes;
use mosaik_proto::{
    raft::{LogIndex, Role, Seat, Term},
    time::Instant,
};

use crate::cluster::Host;

#[derive(Default)]
pub(crate) struct Invariants {
    /// Who led each term.
    leaders: BTreeMap<Term, Seat>,
    /// What was applied anywhere.
    committed: BTreeMap<u64, (u64, Bytes)>,
    /// What each host has shown: term, commit index, entries checked.
    seen: BTreeMap<usize, (Term, LogIndex, usize)>,
    steps: u64,
}

impl Invariants {
    /// The host is gone; it may come back with less.
    pub(crate) fn stopped(&mut self, host: usize) {
        self.seen.remove(&host);
    }

    pub(crate) fn check(&mut self, now: Instant, host: usize, hosts: &[Host]) {
        let it = &hosts[host];
        let raft = it.raft();
        let (term, commit, checked) = self.seen.get(&host).copied().unwrap_or_default();
        assert!(raft.term() >= term, "{now:?} {host}: terms do not fall");
        assert!(raft.commit() >= commit, "{now:?} {host}: commits do not fall");
        let checked = checked.min(it.applied.len());
        for (index, term, data) in &it.applied[checked..] {
            let known = self.committed.entry(*index).or_insert_with(|| (*term, data.clone()));
            assert_eq!(*known, (*term, data.clone()), "{now:?} {host}: one log, entry {index}");
        }
        self.seen.insert(host, (raft.term(), raft.commit(), it.applied.len()));
        if raft.role() == Role::Leader {
            let leader = *self.leaders.entry(raft.term()).or_insert_with(|| raft.seat());
            assert_eq!(leader, raft.seat(), "{now:?}: two leaders in {:?}", raft.term());
            // One that was replaced and does not know it yet may lack what its successors committed.
            if self.leaders.last_key_value().is_some_and(|(last, _)| *last > raft.term()) {
                return;
            }
            for (index, (term, _)) in self.committed.range(raft.log().base().index.0 + 1..) {
                let own = raft.log().term_at(LogIndex(*index));
                assert_eq!(own, Some(Term(*term)), "{now:?} {host} leads without entry {index}");
            }
        }
        self.steps += 1;
        if self.steps.is_multiple_of(64) {
            logs_match(now, hosts);
        }
    }
}

/// If two logs have an entry of the same index and term, they are the same up to it.
fn logs_match(now: Instant, hosts: &[Host]) {
    let running: Vec<_> = hosts.iter().filter_map(|host| host.raft.as_ref()).collect();
    for (at, a) in running.iter().enumerate() {
        for b in &running[at + 1..] {
            let first = a.log().base().index.max(b.log().base().index).0 + 1;
            let last = a.log().last().index.min(b.log().last().index).0;
            let mut agreed = false;
            for index in (first..=last).rev() {
                let (left, right) =
                    (a.log().term_at(LogIndex(index)), b.log().term_at(LogIndex(index)));
                agreed |= left == right;
                assert!(!agreed || left == right, "{now:?}: logs differ at {index}");
            }
        }
    }
}
