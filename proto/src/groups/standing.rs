//! Which history a member takes part in: founding, joining, rivals, copies.
//!
//! Decisions only: what this member and those that it is bonded with say of themselves goes in, one
//! [`Verdict`] comes out. A member *holds* a lineage if it is a voter by its own log; any other log
//! is only a copy.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::{
    ids::PeerId,
    mutant::{self, Mutant},
    raft::{Lineage, SeatId},
};

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) peer: PeerId,
    pub(super) seat: SeatId,
    pub(super) can_vote: bool,
    /// Whose log it has.
    pub(super) lineage: Option<Lineage>,
    /// It is a voter by that log.
    pub(super) holds: bool,
    /// It leads that lineage.
    pub(super) leads: bool,
    /// It follows somebody who does.
    pub(super) follows: bool,
    /// That lineage never yields.
    pub(super) established: bool,
    /// Commands in its log.
    pub(super) commands: u64,
    /// The lineage that this one was made from, because it could not go on.
    pub(super) parent: Option<Lineage>,
}

/// GRP-12: what decides between lineages. A higher one wins.
pub(super) type Rank = (bool, u64, Reverse<Lineage>);

impl Claim {
    /// The rank of its lineage.
    pub(super) fn rank(&self) -> Option<Rank> {
        let established = self.established && !mutant::on(Mutant::EstablishedOutranked);
        Some((established, self.commands, Reverse(self.lineage?)))
    }

    /// The lineage that it leads.
    fn led(&self) -> Option<Lineage> {
        self.lineage.filter(|_| self.leads)
    }
}

/// What this member knows of itself besides what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// What it says.
    pub(super) claim: Claim,
    /// Every voter that its copy lists is linked and holds that lineage no more (GRP-16).
    pub(super) orphaned: bool,
    /// It has a store: what was in it counts as lost only if an operator says so.
    pub(super) durable: bool,
    /// It met nobody that knows a history for as long as a founder waits.
    pub(super) waited: bool,
    /// Somebody is linked who has not said yet what it knows.
    pub(super) shaking: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stay,
    /// Nothing yet; the time until a founding counts.
    Wait,
    /// Found a lineage.
    Found,
    /// Found one that begins with the copy that is here.
    Fork,
    /// Begin anew: the copy is of no use to anybody.
    Drop,
    /// Begin as an empty member of this lineage.
    Follow(Lineage),
    /// Another lineage that never yields is led by this peer.
    Conflict(PeerId, Lineage),
}

/// Decides. See the rules GRP-10 to 16 in `docs/spec/groups.md`.
pub(super) fn decide(own: &Own, peers: &[Claim]) -> Verdict {
    if own.claim.holds { holder(&own.claim, peers) } else { copy(own, peers) }
}

/// The best of the lineages that these claims name.
fn best<'a>(claims: impl Iterator<Item = &'a Claim>) -> Option<Lineage> {
    claims.max_by_key(|claim| claim.rank()).and_then(|claim| claim.lineage)
}

/// A voter stays, but for a provisional lineage that meets a better one and for one that was
/// declared dead.
fn holder(own: &Claim, peers: &[Claim]) -> Verdict {
    let others =
        || peers.iter().filter(|peer| peer.led().is_some_and(|led| own.lineage != Some(led)));
    if !own.leads {
        // GRP-17: who recovered said that this lineage cannot go on.
        let heir = others().filter(|peer| peer.parent == own.lineage);
        let lives = own.follows || peers.iter().any(|peer| peer.led() == own.lineage);
        return match best(heir) {
            Some(heir) if !lives => Verdict::Follow(heir),
            _ => Verdict::Stay,
        };
    }
    if mutant::on(Mutant::RivalsIgnored) && !own.established {
        return Verdict::Stay;
    }
    if !own.established || mutant::on(Mutant::EstablishedYields) {
        let inverted = mutant::on(Mutant::RankInverted);
        let above = |peer: &&Claim| (peer.rank() > own.rank()) != inverted;
        let mut above: Vec<&Claim> = others().filter(above).collect();
        if own.commands == 0 && above.is_empty() {
            // Nothing is lost by making room for voters that wait for others of theirs.
            let voters = peers.iter().filter(|peer| peer.holds && peer.established);
            above.extend(voters.filter(|peer| peer.lineage != own.lineage));
        }
        return best(above.into_iter()).map_or(Verdict::Stay, Verdict::Follow);
    }
    let rival = others().find(|peer| peer.established);
    rival.map_or(Verdict::Stay, |peer| {
        Verdict::Conflict(peer.peer, peer.lineage.expect("it leads one"))
    })
}

/// Who is no voter follows whoever leads, and founds where nobody knows a history.
fn copy(own: &Own, peers: &[Claim]) -> Verdict {
    let mine = own.claim.lineage;
    if mine.is_some() && peers.iter().any(|peer| peer.led() == mine) {
        return Verdict::Stay;
    }
    if let Some(led) = best(peers.iter().filter(|peer| peer.leads)) {
        return Verdict::Follow(led);
    }
    let holders = || peers.iter().filter(|peer| peer.holds);
    if let Some(held) = best(holders()).filter(|_| !mutant::on(Mutant::HoldersIgnored)) {
        // A copy waits for the next leader, whoever that is; an empty member helps to elect it.
        return if mine.is_none() { Verdict::Follow(held) } else { Verdict::Stay };
    }
    if !own.claim.can_vote || peers.iter().any(|peer| peer.follows) {
        return Verdict::Stay;
    }
    match own.claim.commands {
        0 if own.orphaned => return Verdict::Drop,
        1.. if own.orphaned && !own.durable => return fork(&own.claim, peers),
        _ => {}
    }
    let at_once = !own.shaking && may_found_at_once(&own.claim, peers);
    if own.waited || at_once { Verdict::Found } else { Verdict::Wait }
}

/// GRP-16: of those that have a copy of a lost lineage the most advanced one makes it the beginning
/// of a new one.
fn fork(own: &Claim, peers: &[Claim]) -> Verdict {
    let key = |claim: &Claim| (claim.commands, Reverse(claim.peer));
    let better = peers
        .iter()
        .any(|peer| peer.can_vote && peer.lineage == own.lineage && key(peer) > key(own));
    if better { Verdict::Stay } else { Verdict::Fork }
}

/// GRP-11: the smallest of those that could found does not wait, where nobody knows of a history: the
/// voter of one may be about to come back.
fn may_found_at_once(own: &Claim, peers: &[Claim]) -> bool {
    let blank = |claim: &Claim| claim.lineage.is_none();
    let mut others = peers.iter().filter(|peer| peer.can_vote).peekable();
    others.peek().is_some()
        && blank(own)
        && peers.iter().all(blank)
        && others.all(|peer| peer.peer > own.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: Lineage = Lineage([1; 16]);
    const M: Lineage = Lineage([2; 16]);
    const N: Lineage = Lineage([3; 16]);

    fn empty(peer: u8) -> Claim {
        Claim {
            peer: PeerId::from_bytes([peer; 32]),
            seat: SeatId([peer; 16]),
            can_vote: true,
            lineage: None,
            holds: false,
            leads: false,
            follows: false,
            established: false,
            commands: 0,
            parent: None,
        }
    }

    fn copy_of(peer: u8, lineage: Lineage, commands: u64) -> Claim {
        Claim { lineage: Some(lineage), commands, ..empty(peer) }
    }

    fn voter(peer: u8, lineage: Lineage, commands: u64) -> Claim {
        Claim { holds: true, established: commands > 0, ..copy_of(peer, lineage, commands) }
    }

    fn leader(peer: u8, lineage: Lineage, commands: u64) -> Claim {
        Claim { leads: true, ..voter(peer, lineage, commands) }
    }

    fn own(claim: Claim) -> Own {
        Own { claim, orphaned: false, durable: false, waited: false, shaking: false }
    }

    fn waited(claim: Claim) -> Own {
        Own { waited: true, ..own(claim) }
    }

    #[test]
    fn grp_10_who_meets_nobody_founds_after_a_while() {
        assert_eq!(decide(&own(empty(1)), &[]), Verdict::Wait);
        assert_eq!(decide(&waited(empty(1)), &[]), Verdict::Found);
        let observer = Claim { can_vote: false, ..empty(1) };
        assert_eq!(decide(&waited(observer), &[]), Verdict::Stay, "an observer never founds");
        assert_eq!(decide(&waited(voter(1, L, 0)), &[]), Verdict::Stay, "a holder never founds");
        assert_eq!(decide(&waited(copy_of(1, L, 7)), &[]), Verdict::Found, "a copy is only a copy");
    }

    #[test]
    fn grp_11_the_smallest_founds_at_once() {
        assert_eq!(decide(&own(empty(1)), &[empty(2), empty(3)]), Verdict::Found);
        assert_eq!(decide(&own(empty(2)), &[empty(1), empty(3)]), Verdict::Wait);
        let observer = |peer| Claim { can_vote: false, ..empty(peer) };
        assert_eq!(decide(&own(empty(2)), &[observer(1), empty(3)]), Verdict::Found);
        assert_eq!(decide(&own(empty(2)), &[observer(3)]), Verdict::Wait, "nobody to found with");
        assert_eq!(
            decide(&own(empty(1)), &[empty(2), copy_of(3, L, 0)]),
            Verdict::Wait,
            "a copy says that a voter may be about to come back"
        );
        assert_eq!(decide(&own(copy_of(1, L, 0)), &[empty(2)]), Verdict::Wait);
        let shaking = Own { shaking: true, ..own(empty(1)) };
        assert_eq!(decide(&shaking, &[empty(2)]), Verdict::Wait, "another may know more");
    }

    #[test]
    fn grp_10_nobody_founds_beside_a_holder() {
        assert_eq!(decide(&waited(empty(1)), &[voter(2, L, 3)]), Verdict::Follow(L));
        assert_eq!(decide(&waited(copy_of(1, M, 3)), &[voter(2, L, 3)]), Verdict::Stay);
        let follower = Claim { follows: true, ..copy_of(2, L, 3) };
        assert_eq!(decide(&waited(empty(1)), &[follower]), Verdict::Stay);
    }

    #[test]
    fn grp_13_provisional_lineages_yield_to_a_higher_rank() {
        let meets = |mine: Claim, other: Claim| decide(&own(mine), &[other]);
        assert_eq!(meets(leader(1, M, 0), leader(2, L, 0)), Verdict::Follow(L), "the smaller id");
        assert_eq!(meets(leader(1, L, 0), leader(2, M, 0)), Verdict::Stay);
        let open = |peer, lineage, n| Claim { established: false, ..leader(peer, lineage, n) };
        assert_eq!(meets(open(1, L, 2), open(2, M, 3)), Verdict::Follow(M), "more commands");
        assert_eq!(meets(open(1, L, 9), leader(2, M, 3)), Verdict::Follow(M), "established");
        assert_eq!(meets(leader(1, L, 3), open(2, M, 9)), Verdict::Stay);
        assert_eq!(meets(open(1, M, 1), voter(2, L, 3)), Verdict::Stay, "leaders only speak");
        assert_eq!(meets(leader(1, M, 0), voter(2, L, 3)), Verdict::Follow(L), "nothing is lost");
    }

    #[test]
    fn grp_14_established_lineages_never_yield() {
        let (a, b) = (leader(1, L, 3), leader(2, M, 9));
        assert_eq!(decide(&own(a), &[b]), Verdict::Conflict(b.peer, M));
        assert_eq!(decide(&own(b), &[a]), Verdict::Conflict(a.peer, L));
    }

    #[test]
    fn grp_15_copies_follow_the_first_leader() {
        let mine = copy_of(1, L, 5);
        assert_eq!(decide(&own(mine), &[leader(2, L, 5), leader(3, M, 9)]), Verdict::Stay);
        assert_eq!(decide(&own(mine), &[leader(3, M, 0)]), Verdict::Follow(M));
        assert_eq!(decide(&own(empty(1)), &[leader(3, M, 0), leader(2, L, 1)]), Verdict::Follow(L));
        assert_eq!(decide(&own(empty(1)), &[voter(2, L, 9), leader(3, M, 0)]), Verdict::Follow(M));
    }

    #[test]
    fn grp_16_the_most_advanced_copy_of_a_lost_lineage_goes_on() {
        let orphan = |claim| Own { orphaned: true, ..own(claim) };
        let stored = Own { durable: true, ..orphan(copy_of(3, L, 5)) };
        assert_eq!(decide(&stored, &[empty(1), empty(2)]), Verdict::Wait, "the operator may");
        assert_eq!(decide(&orphan(copy_of(3, L, 0)), &[empty(1)]), Verdict::Drop, "nothing in it");
        assert_eq!(decide(&orphan(copy_of(3, L, 5)), &[empty(1), empty(2)]), Verdict::Fork);
        assert_eq!(decide(&orphan(copy_of(3, L, 5)), &[empty(1), copy_of(2, L, 6)]), Verdict::Stay);
        assert_eq!(decide(&orphan(copy_of(3, L, 5)), &[empty(1), copy_of(2, L, 5)]), Verdict::Stay);
        assert_eq!(decide(&orphan(copy_of(2, L, 5)), &[empty(1), copy_of(3, L, 5)]), Verdict::Fork);
        assert_eq!(decide(&orphan(copy_of(2, L, 5)), &[voter(1, M, 1)]), Verdict::Stay);
    }

    #[test]
    fn grp_17_voters_follow_the_fork_of_a_lineage_that_cannot_go_on() {
        let heir = Claim { parent: Some(L), ..leader(2, N, 5) };
        assert_eq!(decide(&own(voter(1, L, 5)), &[heir]), Verdict::Follow(N));
        let served = Claim { follows: true, ..voter(1, L, 5) };
        assert_eq!(decide(&own(served), &[heir]), Verdict::Stay, "it does go on");
        let stranger = leader(2, N, 5);
        assert_eq!(decide(&own(voter(1, L, 5)), &[stranger]), Verdict::Stay);
    }
}
