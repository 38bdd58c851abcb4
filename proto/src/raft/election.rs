//! Elections: pre-vote, votes, and who is helped into office.

use alloc::collections::BTreeSet;

use super::{
    Action, HardState, Membership, Message, Position, Raft, Seat, State, Term, replication::Leader,
    store::Held,
};
use crate::{
    core::Outbox,
    mutant::{self, Mutant},
    time::Instant,
};

/// Votes for this member.
#[derive(Debug)]
pub(super) struct Ballot {
    granted: BTreeSet<Seat>,
    /// Our own vote survives a crash, so that we may tell others of it.
    announced: bool,
}

impl Ballot {
    fn of(me: Seat) -> Self {
        Self { granted: BTreeSet::from([me]), announced: false }
    }

    fn wins(&self, membership: &Membership, superseded: impl Fn(&Seat) -> bool) -> bool {
        membership.has_majority(|seat| self.granted.contains(seat), superseded)
    }
}

impl Raft {
    /// Begins a fresh, random wait for a leader.
    pub(super) fn rest(&mut self, now: Instant) {
        let jitter = u64::try_from(self.config.election_jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = core::time::Duration::from_nanos(self.rng.below(jitter));
        // Who wishes to go lets the others try first.
        let timeouts = if self.config.can_vote { 1 } else { 2 };
        self.patience = self.config.election_timeout * timeouts + jitter;
        self.election_at = now + self.patience;
    }

    /// RAFT-03: a leader was heard within the shortest election timeout, or is us.
    fn is_sticky(&self, now: Instant) -> bool {
        let heard = self.heard.is_some_and(|at| now.since(at) < self.config.election_timeout);
        (heard || matches!(self.state, State::Leader(_))) && !mutant::on(Mutant::NoStickiness)
    }

    /// §5.4.1: who has less than us may lack what is committed.
    fn may_lead_us(&self, last: Position) -> bool {
        last >= self.log.last() || mutant::on(Mutant::VoteWithoutLogCheck)
    }

    /// RAFT-07: a set of its log, from the last one it knows committed onwards, lists it. Also if it
    /// wishes to go (R31): others may need its vote for that, and not get it because its log is longer.
    fn may_campaign(&self) -> bool {
        let in_force = || self.membership().lists(&self.config.seat);
        if mutant::on(Mutant::LatestSetCampaigns) { in_force() } else { self.holds() }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox<Action>) {
        if matches!(self.state, State::Leader(_)) {
            return self.on_leader_timeout(now, out);
        }
        if now < self.election_at {
            return;
        }
        self.leader = None;
        self.heard = None;
        self.reads.unanswered();
        self.state = State::Follower;
        self.rest(now);
        let speaks = self.config.can_vote || !mutant::on(Mutant::LeaverIsMute);
        if speaks && self.may_campaign() {
            self.pre_campaign(now, out);
        }
    }

    /// RAFT-01: asks whether an election would succeed; nobody's term changes.
    fn pre_campaign(&mut self, now: Instant, out: &mut Outbox<Action>) {
        let ballot = Ballot::of(self.seat());
        let alone = ballot.wins(self.membership(), |seat| self.is_superseded(seat));
        if alone || mutant::on(Mutant::NoPreVote) {
            return self.campaign(false, now, out);
        }
        self.state = State::PreCandidate(ballot);
        let message = Message::PreVote { term: self.hard.term.next(), last: self.log.last() };
        self.ask_voters(&message, out);
    }

    /// RAFT-02: votes for itself in the next term; asks the others once that is durable.
    pub(super) fn campaign(&mut self, transfer: bool, now: Instant, out: &mut Outbox<Action>) {
        let term = self.hard.term.next();
        self.set_hard(HardState { term, vote: Some(self.seat()) });
        self.state = State::Candidate(Ballot::of(self.seat()));
        self.leader = None;
        self.heard = None;
        if !mutant::on(Mutant::QuestionKept) {
            self.reads.unanswered();
        }
        self.rest(now);
        self.hold(Held::Campaign { term, transfer, now }, out);
    }

    /// Our own vote is durable.
    pub(super) fn announce(
        &mut self,
        term: Term,
        transfer: bool,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        let State::Candidate(ballot) = &mut self.state else { return };
        if term != self.hard.term {
            return;
        }
        ballot.announced = true;
        self.ask_voters(&Message::Vote { term, last: self.log.last(), transfer }, out);
        self.count_votes(now, out);
    }

    fn ask_voters(&self, message: &Message, out: &mut Outbox<Action>) {
        for seat in self.membership().seats() {
            self.send(seat, message.clone(), out);
        }
    }

    fn count_votes(&mut self, now: Instant, out: &mut Outbox<Action>) {
        let superseded = |seat: &Seat| self.is_superseded(seat);
        match &self.state {
            State::PreCandidate(ballot) if ballot.wins(self.membership(), superseded) => {
                self.campaign(false, now, out);
            }
            State::Candidate(ballot)
                if ballot.announced && ballot.wins(self.membership(), superseded) =>
            {
                self.lead_from(now);
            }
            _ => {}
        }
    }

    /// Won: the first entry of the term makes everything before it committable (§5.4.2).
    fn lead_from(&mut self, now: Instant) {
        self.leader = Some(self.seat());
        self.heard = None;
        self.state = State::Leader(Leader::new(now, &self.config));
        self.survey(now);
        self.append_first();
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: Seat,
        term: Term,
        last: Position,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        let granted = term > self.hard.term && !self.is_sticky(now) && self.may_lead_us(last);
        let term = if granted { term } else { self.hard.term };
        self.send(from, Message::PreVoteReply { term, granted }, out);
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        from: Seat,
        term: Term,
        granted: bool,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if !granted && term > self.hard.term {
            return self.step_down(term, now);
        }
        let current = granted && term == self.hard.term.next();
        if let (State::PreCandidate(ballot), true) = (&mut self.state, current) {
            ballot.granted.insert(from);
            self.count_votes(now, out);
        }
    }

    pub(super) fn on_vote(
        &mut self,
        from: Seat,
        term: Term,
        last: Position,
        transfer: bool,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if self.is_sticky(now) && !transfer {
            return;
        }
        if term > self.hard.term {
            self.step_down(term, now);
        }
        let free = self.hard.vote.is_none_or(|vote| vote == from);
        let granted = term == self.hard.term && free && self.may_lead_us(last);
        let reply = Message::VoteReply { term: self.hard.term, granted };
        if !granted {
            return self.send(from, reply, out);
        }
        self.rest(now);
        if self.hard.vote.is_none() {
            self.set_hard(HardState { term, vote: Some(from) });
        }
        // RAFT-05: a vote that a crash could undo is no vote.
        self.hold(Held::Send(from, reply), out);
    }

    pub(super) fn on_vote_reply(
        &mut self,
        from: Seat,
        term: Term,
        granted: bool,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if term > self.hard.term {
            return self.step_down(term, now);
        }
        let current = granted && term == self.hard.term;
        if let (State::Candidate(ballot), true) = (&mut self.state, current) {
            ballot.granted.insert(from);
            self.count_votes(now, out);
        }
    }

    /// The leader hands over (§3.10).
    pub(super) fn on_campaign(&mut self, term: Term, now: Instant, out: &mut Outbox<Action>) {
        let follows = matches!(self.state, State::Follower) && term == self.hard.term;
        if follows && self.config.can_vote && self.may_campaign() {
            self.campaign(true, now, out);
        }
    }
}
