//! Voter sets and what a majority of them is.

use alloc::{vec, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
};

/// One store of one peer. An empty store is a new seat, so a peer that lost its disk is never taken
/// for the voter that it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Whose.
    pub peer: PeerId,
    /// Which store: 128 random bits, drawn when it is created.
    pub id: SeatId,
}

/// 128 random bits that name a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeatId(pub [u8; 16]);

impl fmt::Debug for SeatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..3].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.peer, self.id)
    }
}

/// Names one history of a group, from its founding on: 128 random bits. Members of different lineages
/// never count each other's votes or entries.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lineage(pub [u8; 16]);

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..3].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Seats that vote together: sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters(Vec<Seat>);

impl Voters {
    /// The set of these seats.
    #[must_use]
    pub fn new(seats: impl IntoIterator<Item = Seat>) -> Self {
        let mut seats: Vec<_> = seats.into_iter().collect();
        seats.sort_unstable();
        seats.dedup();
        Self(seats)
    }

    /// True if the seat is one of them.
    #[must_use]
    pub fn contains(&self, seat: &Seat) -> bool {
        self.0.binary_search(seat).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The seats, sorted.
    pub fn iter(&self) -> core::slice::Iter<'_, Seat> {
        self.0.iter()
    }

    /// True if it is what a peer may send: not empty, sorted, each seat once, within
    /// [`limits::VOTERS`].
    fn is_sound(&self) -> bool {
        (1..=limits::VOTERS).contains(&self.len()) && self.0.is_sorted_by(|a, b| a < b)
    }

    /// The highest value that a majority has reached, given the value of each seat.
    ///
    /// RAFT-09: exactly half of an even set counts as a majority if every other seat is superseded.
    pub fn agreed(&self, value: impl Fn(&Seat) -> u64, superseded: impl Fn(&Seat) -> bool) -> u64 {
        agreed(self.len(), |at| value(&self.0[at]), |at| superseded(&self.0[at]))
    }
}

/// The highest value that a majority of `len` seats has reached.
///
/// RAFT-09: exactly half of an even set counts as a majority if every other seat of the set is
/// superseded. Safe only because every other change of voters is joint.
pub(super) fn agreed(
    len: usize,
    value: impl Fn(usize) -> u64,
    superseded: impl Fn(usize) -> bool,
) -> u64 {
    let mut values = [0; limits::VOTERS];
    let values = &mut values[..len];
    for (at, slot) in values.iter_mut().enumerate() {
        *slot = value(at);
    }
    values.sort_unstable_by(|a, b| b.cmp(a));
    let majority = values.get(len / 2).copied().unwrap_or(0);
    if !len.is_multiple_of(2) || len == 0 || mutant::on(Mutant::HalfNever) {
        return majority;
    }
    if mutant::on(Mutant::AnyHalfWins) {
        return values[len / 2 - 1];
    }
    let (mut gone, mut half) = (0, u64::MAX);
    for at in 0..len {
        if superseded(at) {
            gone += 1;
        } else {
            half = half.min(value(at));
        }
    }
    if gone * 2 == len { majority.max(half) } else { majority }
}

/// Who votes: one set, or two while a change is under way, each of which must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The set that is being left, if a joint change is under way.
    pub leaving: Option<Voters>,
    /// The set, or the one that is being entered.
    pub voters: Voters,
}

impl Membership {
    /// One set.
    #[must_use]
    pub const fn single(voters: Voters) -> Self {
        Self { leaving: None, voters }
    }

    /// True while both sets must agree.
    #[must_use]
    pub const fn is_joint(&self) -> bool {
        self.leaving.is_some()
    }

    /// True if one of the sets lists the seat.
    #[must_use]
    pub fn lists(&self, seat: &Seat) -> bool {
        self.sets().any(|set| set.contains(seat))
    }

    /// The sets that must agree.
    pub fn sets(&self) -> impl Iterator<Item = &Voters> {
        self.leaving.iter().chain([&self.voters])
    }

    /// The sets that are asked; all of them, but for a mutant.
    pub(super) fn deciding(&self) -> impl Iterator<Item = &Voters> {
        self.sets().skip(usize::from(self.is_joint() && mutant::on(Mutant::JointNeedsNewSetOnly)))
    }

    /// Every seat that is listed, once, sorted.
    #[must_use]
    pub fn seats(&self) -> Vec<Seat> {
        let mut all = self.sets().flat_map(Voters::iter).copied().collect::<Vec<_>>();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The highest value that every set agrees on; see [`Voters::agreed`].
    pub fn agreed(&self, value: impl Fn(&Seat) -> u64, superseded: impl Fn(&Seat) -> bool) -> u64 {
        let agreed = |set: &Voters| set.agreed(&value, &superseded);
        self.deciding().map(agreed).min().unwrap_or(0)
    }

    /// True if every set has a majority of seats for which this holds.
    pub fn has_majority(
        &self,
        holds: impl Fn(&Seat) -> bool,
        superseded: impl Fn(&Seat) -> bool,
    ) -> bool {
        self.agreed(|seat| u64::from(holds(seat)), superseded) == 1
    }

    /// True if it is what a peer may send.
    pub(crate) fn is_sound(&self) -> bool {
        self.sets().all(Voters::is_sound)
    }

    /// The entry that follows a joint one, or `None`.
    pub(super) fn final_set(&self) -> Option<Self> {
        self.is_joint().then(|| Self::single(self.voters.clone()))
    }

    /// The change from one set to another. A set of one is left in one step (RAFT-11): only that
    /// voter can lead before the entry, and any later leader holds it.
    pub(super) fn change(from: &Voters, to: Voters) -> Self {
        let alone = from.len() == 1 || Self::skips_the_joint_phase(from, &to);
        Self { leaving: if alone { None } else { Some(from.clone()) }, voters: to }
    }

    /// Only mutants do: all the time, or where two sets differ by one seat, which is safe as long as
    /// RAFT-10 holds and half of a set is no majority (dissertation §4.1).
    fn skips_the_joint_phase(from: &Voters, to: &Voters) -> bool {
        let by_one = || {
            let only_in =
                |a: &Voters, b: &Voters| a.iter().filter(|seat| !b.contains(seat)).count();
            only_in(from, to) + only_in(to, from) == 1
        };
        mutant::on(Mutant::OneStepChange)
            || (mutant::on(Mutant::ChangeBeforeOwnTerm) || mutant::on(Mutant::HalfWithOneStep))
                && by_one()
    }
}

/// The voter sets of a log from the last one known committed onwards: the first is in force for
/// what is committed, the last for what is not.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// By the index of their entry; never empty. Index 0 stands for "before the log".
    entries: Vec<(u64, Membership)>,
}

impl History {
    pub(super) fn new(index: u64, membership: Membership) -> Self {
        Self { entries: vec![(index, membership)] }
    }

    /// The one in force: the last in the log, committed or not (dissertation §4.1).
    pub(super) fn latest(&self) -> &Membership {
        self.entries.last().map(|(_, membership)| membership).expect("never empty")
    }

    /// The index of the entry in force.
    pub(super) fn latest_at(&self) -> u64 {
        self.entries.last().map_or(0, |(index, _)| *index)
    }

    pub(super) fn push(&mut self, index: u64, membership: Membership) {
        self.entries.push((index, membership));
    }

    /// Entries from `index` on were cut off the log.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.entries.len() > 1 && self.latest_at() >= index {
            self.entries.pop();
        }
    }

    /// The log is committed up to `index`.
    pub(super) fn commit(&mut self, index: u64) {
        let committed = self.entries.partition_point(|(at, _)| *at <= index);
        self.entries.drain(..committed.saturating_sub(1));
    }

    /// True if the log is committed up to the set in force: no change is under way.
    pub(super) fn is_settled(&self, commit: u64) -> bool {
        self.latest_at() <= commit
    }

    /// True if the change in force leaves a set of one voter, in one step (RAFT-11).
    pub(super) fn leaves_one(&self) -> bool {
        let before = self.entries.len().checked_sub(2).map(|at| &self.entries[at].1);
        before.is_some_and(|before| before.voters.len() == 1) && !self.latest().is_joint()
    }

    /// RAFT-07: true if any set from the last one known committed onwards lists the seat.
    pub(super) fn lists(&self, seat: &Seat) -> bool {
        self.entries.iter().any(|(_, membership)| membership.lists(seat))
    }

    /// The membership in force at an index that is not below the last commit.
    pub(super) fn at(&self, index: u64) -> &Membership {
        let known = self.entries.partition_point(|(at, _)| *at <= index).max(1);
        &self.entries[known - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn seat(n: u8) -> Seat {
        Seat { peer: PeerId::from_bytes([n; 32]), id: SeatId([n; 16]) }
    }

    fn set(seats: &[u8]) -> Voters {
        Voters::new(seats.iter().map(|n| seat(*n)))
    }

    /// The value that a set agrees on when seat `n` has value `values[n]`.
    fn agreed(seats: &[u8], values: &[u64], superseded: &[u8]) -> u64 {
        set(seats).agreed(
            |seat| values[usize::from(seat.id.0[0])],
            |seat| superseded.contains(&seat.id.0[0]),
        )
    }

    #[test]
    fn raft_08_a_majority_agrees() {
        assert_eq!(agreed(&[0], &[7], &[]), 7);
        assert_eq!(agreed(&[0, 1], &[7, 5], &[]), 5);
        assert_eq!(agreed(&[0, 1, 2], &[7, 5, 3], &[]), 5);
        assert_eq!(agreed(&[0, 1, 2, 3], &[7, 5, 3, 1], &[]), 3);
        assert_eq!(agreed(&[0, 1, 2, 3, 4], &[7, 5, 3, 1, 0], &[]), 3);
    }

    #[test]
    fn raft_09_half_is_enough_if_the_others_are_superseded() {
        assert_eq!(agreed(&[0, 1], &[7, 0], &[1]), 7);
        assert_eq!(agreed(&[0, 1], &[7, 0], &[0]), 0, "the other half is not ours to count");
        assert_eq!(agreed(&[0, 1, 2, 3], &[7, 5, 0, 0], &[2, 3]), 5);
        assert_eq!(agreed(&[0, 1, 2, 3], &[7, 5, 0, 0], &[3]), 0, "one of them is only silent");
        assert_eq!(agreed(&[0, 1, 2, 3], &[7, 0, 0, 0], &[1, 2, 3]), 0, "less than half is left");
        assert_eq!(agreed(&[0, 1, 2], &[7, 0, 0], &[1, 2]), 0, "an odd set has no half");
    }

    #[test]
    fn joint_sets_must_both_agree() {
        let joint = Membership { leaving: Some(set(&[0, 1, 2])), voters: set(&[2, 3, 4]) };
        let has = |who: &[u8]| joint.has_majority(|seat| who.contains(&seat.id.0[0]), |_| false);
        assert!(!has(&[0, 1, 2]) && !has(&[2, 3, 4]) && has(&[1, 2, 3]));
        assert_eq!(joint.final_set(), Some(Membership::single(set(&[2, 3, 4]))));
    }

    #[test]
    fn history_follows_the_log() {
        let mut history = History::new(0, Membership::single(set(&[0])));
        history.push(4, Membership::single(set(&[0, 1])));
        history.push(9, Membership::single(set(&[0, 2])));
        assert!(history.lists(&seat(1)) && history.at(8).lists(&seat(1)));
        history.truncate(9);
        assert_eq!(history.latest_at(), 4);
        history.push(7, Membership::single(set(&[0, 2])));
        history.commit(6);
        assert!(history.lists(&seat(1)), "the last one committed still counts");
        history.commit(7);
        assert!(!history.lists(&seat(1)));
    }
}
