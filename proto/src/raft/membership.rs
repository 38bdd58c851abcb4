//! Who votes: the leader fills seats, replaces lost ones, and lets go who wants to leave.

use super::{
    Action, Founders, Kind, Membership, Message, Raft, Run, Seat, State, Voters,
    progress::Progress, vocabulary::encode,
};
use crate::{
    core::Outbox,
    mutant::{self, Mutant},
    time::Instant,
};

/// Voters below which a silent one is not dropped without a replacement.
const SPARE: usize = 3;

impl Raft {
    /// Begins, or completes, a change of voters if one is called for. True if an entry was appended.
    ///
    /// RAFT-10: one change at a time, and none before an entry of this term is committed: otherwise
    /// two leaders could each count a majority of their own (dissertation §4.1, R1).
    pub(super) fn change_voters(&mut self, now: Instant) -> bool {
        let State::Leader(leader) = &mut self.state else { return false };
        // Who is to lead next must have the whole log: it gets no longer meanwhile (RAFT-17).
        if !leader.unsettled || leader.transfer.is_some() {
            return false;
        }
        let settled =
            self.history.is_settled(self.commit.0) || mutant::on(Mutant::SecondChangeInFlight);
        let led = self.log.term_at(self.commit) == Some(self.hard.term)
            || mutant::on(Mutant::ChangeBeforeOwnTerm);
        if !settled || !led {
            return false;
        }
        leader.unsettled = false;
        // RAFT-11: who votes alone leaves that set itself. Another could not know that it wrote the
        // change, and it might lead without.
        let listed = self.history.latest().lists(&self.config.seat);
        if !listed && !mutant::on(Mutant::RemovedLeaderChanges) {
            return false;
        }
        let membership = match self.history.latest().final_set() {
            Some(last) => last,
            None => match self.wanted(now) {
                Some(voters) => Membership::change(&self.history.latest().voters, voters),
                None => return false,
            },
        };
        let (term, first) = (self.hard.term, self.log.last().index.next());
        let data = encode(&membership);
        self.append(Run { data, ..Run::empty(term, first, Kind::Membership) });
        self.survey(now);
        true
    }

    /// The set that should vote, if it is not the one that does.
    fn wanted(&self, now: Instant) -> Option<Voters> {
        // The second voter enters with the first command: an empty lineage has one, whose reset is
        // its own affair.
        if self.log.commands() == 0 {
            return None;
        }
        let State::Leader(leader) = &self.state else { return None };
        let current = &self.history.latest().voters;
        let stays = |seat: &&Seat| leader.member(seat).is_none_or(|member| member.can_vote);
        let mut wanted: alloc::vec::Vec<Seat> = current.iter().filter(stays).copied().collect();
        let mut ready: alloc::vec::Vec<Seat> = leader
            .members
            .iter()
            .filter(|member| !member.voter && member.linked && member.can_vote)
            .filter(|member| member.caught_up || mutant::on(Mutant::LearnerPromotedBehind))
            .map(|member| member.seat)
            .collect();
        // A peer that lost its store comes back under a new seat, in place of the old one.
        for seat in &mut wanted {
            if let Some(at) = ready.iter().position(|new| new.peer == seat.peer) {
                *seat = ready.swap_remove(at);
            }
        }
        ready.retain(|new| !wanted.iter().any(|seat| seat.peer == new.peer));
        // The last come first: those that the founder named, before anybody else.
        ready.sort_unstable_by_key(|seat| (self.config.founders.names(&seat.peer), *seat));
        let dead = |seat: &Seat| {
            let lost = leader.member(seat).and_then(|member| member.lost);
            lost.is_some_and(|since| now.since(since) >= self.config.dead_voter_timeout)
        };
        let mut at = 0;
        while at < wanted.len() {
            if !dead(&wanted[at]) {
                at += 1;
            } else if let Some(new) = ready.pop() {
                wanted[at] = new;
            } else if wanted.len() > SPARE || mutant::on(Mutant::LastSpareDropped) {
                wanted.remove(at);
            } else {
                at += 1;
            }
        }
        while wanted.len() < self.config.max_voters
            && let Some(new) = ready.pop()
        {
            wanted.push(new);
        }
        let wanted = Voters::new(wanted);
        (!wanted.is_empty() && wanted != *current).then_some(wanted)
    }

    /// RAFT-14: true if the change that follows the first command can list the founders.
    #[must_use]
    pub fn founders_are_here(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let ready = || {
            leader.members.iter().filter(|member| {
                member.seat == self.config.seat
                    || member.linked && member.can_vote && member.caught_up
            })
        };
        match &self.config.founders {
            Founders::Anybody => true,
            _ if mutant::on(Mutant::FoundersNotAwaited) => true,
            Founders::Count(count) => ready().count() >= *count,
            Founders::Named(named) => {
                named.iter().all(|peer| ready().any(|member| member.seat.peer == *peer))
            }
        }
    }

    pub(super) fn on_transfer(&mut self, to: Option<Seat>, now: Instant, out: &mut Outbox<Action>) {
        let Some(to) = to.or_else(|| self.successor()) else { return };
        let State::Leader(leader) = &mut self.state else { return };
        let able = leader.member(&to).is_some_and(Progress::may_lead);
        if to == self.config.seat || !able || !self.history.latest().lists(&to) {
            return;
        }
        leader.transfer = Some((to, now + self.config.election_timeout));
        self.hand_over_if_ready(to, out);
    }

    /// RAFT-17: true while it leads, takes nothing, and waits for another to take over.
    #[must_use]
    pub const fn is_handing_over(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.transfer.is_some())
    }

    /// The linked voter that has most of the log.
    fn successor(&self) -> Option<Seat> {
        let State::Leader(leader) = &self.state else { return None };
        let others = leader
            .members
            .iter()
            .filter(|member| member.voter && member.may_lead() && member.seat != self.config.seat);
        others.max_by_key(|member| member.received).map(|member| member.seat)
    }

    /// Tells the one who is to lead, once it has the whole log.
    pub(super) fn hand_over_if_ready(&mut self, seat: Seat, out: &mut Outbox<Action>) {
        let last = self.log.last().index;
        let State::Leader(leader) = &self.state else { return };
        let wanted = leader.transfer.is_some_and(|(to, _)| to == seat);
        if wanted && leader.member(&seat).is_some_and(|member| member.received == last) {
            self.send(seat, Message::Campaign { term: self.hard.term }, out);
        }
    }

    /// A leader that the committed set does not list any more makes room (§4.2.2).
    pub(super) fn resign_if_removed(&mut self, now: Instant, out: &mut Outbox<Action>) {
        if !matches!(self.state, State::Leader(_)) || self.history.lists(&self.config.seat) {
            return;
        }
        if !self.history.is_settled(self.commit.0) {
            return;
        }
        self.make_room(now, out);
    }

    /// Steps down, and has another campaign that hears of it: it need not wait until it misses us.
    pub(super) fn make_room(&mut self, now: Instant, out: &mut Outbox<Action>) {
        if let Some(successor) = self.successor() {
            self.send(successor, Message::Campaign { term: self.hard.term }, out);
        }
        self.step_down(self.hard.term, now);
    }
}
