//! Comparing what machines hold, so that one that went another way serves nobody (GRP-48).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    Digest,
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::{LogIndex, Membership},
};

/// What a comparison found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This member's state is not that of the others.
    Mine(LogIndex),
    /// The state of another member is not.
    Theirs(PeerId, LogIndex),
}

/// The digests of machines, by the entry behind which they were taken.
#[derive(Debug, Default)]
pub(super) struct Digests {
    mine: BTreeMap<LogIndex, Digest>,
    /// To the leader: what others have, at most [`limits::DIGESTS`] of each.
    theirs: BTreeMap<PeerId, BTreeMap<LogIndex, Digest>>,
    /// Who was found out.
    told: BTreeSet<PeerId>,
}

impl Digests {
    /// The history is another one, or the machine was replaced.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// This member's machine.
    pub(super) fn mine(&mut self, at: LogIndex, digest: Digest) {
        keep(&mut self.mine, at, digest);
    }

    /// The latest of this member, for a leader that was not told yet.
    pub(super) fn latest(&self) -> impl Iterator<Item = (LogIndex, Digest)> + '_ {
        self.mine.iter().map(|(at, digest)| (*at, *digest))
    }

    /// True if this member has a digest of that place: the leader may say that it is the wrong one.
    pub(super) fn has(&self, at: LogIndex) -> bool {
        self.mine.contains_key(&at)
    }

    /// Another member's machine.
    pub(super) fn theirs(&mut self, peer: PeerId, at: LogIndex, digest: Digest) {
        keep(self.theirs.entry(peer).or_default(), at, digest);
    }

    /// A member is not bonded with any more; it says all it has when it is again.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.theirs.remove(&peer);
        self.told.remove(&peer);
    }

    /// This member does not lead any more.
    pub(super) fn deposed(&mut self) {
        self.theirs.clear();
        self.told.clear();
    }

    /// What the leader, `me`, makes of it. A state that a majority of the voters has is the right one.
    /// If there is none though all voters that are linked have spoken, it is the leader's: two states
    /// must not be served.
    pub(super) fn verdicts(
        &mut self,
        me: PeerId,
        voters: &Membership,
        linked: impl Fn(&PeerId) -> bool,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (at, mine) in &self.mine {
            let of = |peer: &PeerId| {
                if *peer == me { Some(mine) } else { self.theirs.get(peer)?.get(at) }
            };
            let agree = |digest: &Digest| {
                voters.has_majority(|seat| of(&seat.peer) == Some(digest), |_| false)
            };
            let right = self.theirs.values().filter_map(|all| all.get(at)).chain([mine]);
            let right = right.copied().find(agree);
            let spoken = |seat: &crate::raft::Seat| of(&seat.peer).is_some();
            let waits = |seat: &crate::raft::Seat| linked(&seat.peer) && !spoken(seat);
            let right = match right {
                Some(right) => right,
                None if voters.seats().iter().any(waits) => continue,
                None => *mine,
            };
            if mutant::on(Mutant::DivergenceIgnored) {
                continue;
            }
            if right != *mine {
                return [Verdict::Mine(*at)].into();
            }
            for (peer, all) in &self.theirs {
                if all.get(at).is_some_and(|theirs| *theirs != right) && self.told.insert(*peer) {
                    verdicts.push(Verdict::Theirs(*peer, *at));
                }
            }
        }
        verdicts
    }
}

/// The latest digests; older ones go.
fn keep(all: &mut BTreeMap<LogIndex, Digest>, at: LogIndex, digest: Digest) {
    all.insert(at, digest);
    while all.len() > limits::DIGESTS {
        all.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Seat, SeatId, Voters};

    fn peer(name: u8) -> PeerId {
        PeerId::from_bytes([name; 32])
    }

    fn voters(names: &[u8]) -> Membership {
        let seat = |name: &u8| Seat { peer: peer(*name), id: SeatId([0; 16]) };
        Membership::single(Voters::new(names.iter().map(seat)))
    }

    /// What a leader, member 1, makes of digests of entry 9: its own first.
    fn judge(votes: &[u8], all: &[(u8, &str)], linked: &[u8]) -> Vec<(u8, u64)> {
        let mut digests = Digests::default();
        for (name, digest) in all {
            match name {
                1 => digests.mine(LogIndex(9), Digest::from(*digest)),
                _ => digests.theirs(peer(*name), LogIndex(9), Digest::from(*digest)),
            }
        }
        let linked = |peer: &PeerId| linked.iter().any(|name| self::peer(*name) == *peer);
        let verdicts = digests.verdicts(peer(1), &voters(votes), linked);
        assert!(digests.verdicts(peer(1), &voters(votes), linked).len() <= 1, "told once");
        let name = |verdict| match verdict {
            Verdict::Mine(at) => (1, at.0),
            Verdict::Theirs(peer, at) => (peer.as_bytes()[0], at.0),
        };
        verdicts.into_iter().map(name).collect()
    }

    /// GRP-48: what a majority of the voters has is right.
    #[test]
    fn grp_48_a_majority_says_what_is_right() {
        let three = [1, 2, 3];
        assert_eq!(judge(&three, &[(1, "a"), (2, "a"), (3, "a")], &three), []);
        assert_eq!(judge(&three, &[(1, "a"), (2, "a"), (3, "b")], &three), [(3, 9)]);
        assert_eq!(judge(&three, &[(1, "a"), (2, "b"), (3, "b")], &three), [(1, 9)]);
        // A member that does not vote does not count, but is told.
        assert_eq!(judge(&three, &[(1, "a"), (2, "a"), (7, "b")], &three), [(7, 9)]);
        assert_eq!(judge(&[1], &[(1, "a"), (6, "b"), (7, "b")], &three), [(6, 9), (7, 9)]);
    }

    /// GRP-48: no verdict before all who can have spoken, or a majority agrees.
    #[test]
    fn grp_48_no_verdict_without_knowing() {
        let three = [1, 2, 3];
        assert_eq!(judge(&three, &[(1, "a"), (2, "b")], &three), [], "the third will tell");
        assert_eq!(judge(&three, &[(1, "a"), (2, "b")], &[2]), [(2, 9)], "nobody else will");
        assert_eq!(judge(&three, &[(1, "a"), (2, "b"), (3, "c")], &three), [(2, 9), (3, 9)]);
        assert_eq!(judge(&three, &[(2, "b"), (3, "b")], &three), [], "not applied here yet");
        assert_eq!(judge(&[1, 2], &[(1, "a"), (2, "b")], &[2]), [(2, 9)]);
    }

    /// GRP-48: digests are compared at equal places only, and what is kept is bounded.
    #[test]
    fn grp_48_only_equal_places_are_compared() {
        let mut digests = Digests::default();
        digests.mine(LogIndex(9), Digest::from("a"));
        digests.theirs(peer(2), LogIndex(10), Digest::from("b"));
        assert_eq!(digests.verdicts(peer(1), &voters(&[1, 2]), |_| true), []);
        for at in 0..100 {
            digests.mine(LogIndex(at), Digest::from("a"));
            digests.theirs(peer(2), LogIndex(at), Digest::from("a"));
        }
        assert_eq!(digests.latest().count(), limits::DIGESTS);
        assert_eq!(digests.theirs[&peer(2)].len(), limits::DIGESTS);
        assert!(digests.has(LogIndex(99)) && !digests.has(LogIndex(9)));
        digests.lost(peer(2));
        assert!(digests.theirs.is_empty());
    }
}
