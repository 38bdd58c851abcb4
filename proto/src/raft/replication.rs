//! Leading: entries go out, answers come in, the commit index follows.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    Ack, Action, Append, Config, Fault, Kind, Lag, LogIndex, Message, Origin, Outcome, Position,
    Raft, Refused, Run, Seat, State, Voters,
    progress::{Pace, Progress},
    vocabulary::encode,
    voters::agreed,
};
use crate::{
    core::Outbox,
    limits,
    mutant::{self, Mutant},
    time::Instant,
};

/// What a leader knows.
#[derive(Debug)]
pub(super) struct Leader {
    /// Every voter, every linked member and itself, sorted by seat.
    pub(super) members: Vec<Progress>,
    /// The voter sets in force, as places in `members`.
    sets: Vec<Vec<usize>>,
    /// Rises with every question whether it still leads.
    pub(super) round: u64,
    pub(super) heartbeat_at: Instant,
    /// When a majority must have answered since the last time.
    pub(super) quorum_at: Instant,
    /// Whom it hands over to, and until when it tries.
    pub(super) transfer: Option<(Seat, Instant)>,
    /// Something happened that may call for other voters.
    pub(super) unsettled: bool,
    /// Everybody hears at once that this entry is committed.
    pub(super) urgent: LogIndex,
    /// When the commit index rose last.
    advanced: Instant,
    /// When members that were sent nothing meanwhile hear of it.
    word_at: Option<Instant>,
}

impl Leader {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self {
            members: Vec::new(),
            sets: Vec::new(),
            round: 0,
            heartbeat_at: now + config.heartbeat,
            quorum_at: now + config.election_timeout,
            transfer: None,
            unsettled: true,
            urgent: LogIndex(0),
            advanced: now,
            word_at: None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let transfer = self.transfer.map(|(_, at)| at);
        let others = transfer.into_iter().chain(self.word_at);
        others.fold(self.heartbeat_at.min(self.quorum_at), Instant::min)
    }

    /// True if members that wait for nothing are to hear of commits now. The timer stays where it is
    /// while entries tell them: to move it with each would cost more than the word.
    fn word_is_due(&mut self, now: Instant) -> bool {
        if self.word_at.take_if(|at| *at <= now).is_none() {
            return false;
        }
        let due = self.advanced + limits::COMMIT_WORD;
        if due > now {
            self.word_at = Some(due);
        }
        due <= now
    }

    pub(super) fn lags(&self) -> impl Iterator<Item = Lag> + '_ {
        self.members.iter().map(Progress::lag)
    }

    pub(super) fn member(&self, seat: &Seat) -> Option<&Progress> {
        let at = self.members.binary_search_by(|member| member.seat.cmp(seat)).ok()?;
        Some(&self.members[at])
    }

    pub(super) fn member_mut(&mut self, seat: &Seat) -> Option<&mut Progress> {
        let at = self.members.binary_search_by(|member| member.seat.cmp(seat)).ok()?;
        Some(&mut self.members[at])
    }
}

impl Raft {
    /// Looks again at who is a member, who is linked and who is superseded.
    pub(super) fn survey(&mut self, now: Instant) {
        let State::Leader(leader) = &mut self.state else { return };
        let mut known = core::mem::take(&mut leader.members);
        let mut seats = self.history.latest().seats();
        seats.extend(self.peers.keys().copied());
        seats.push(self.config.seat);
        seats.sort_unstable();
        seats.dedup();
        let last = self.log.last().index;
        let mut members = Vec::with_capacity(seats.len());
        for seat in seats {
            let at = known.iter().position(|member| member.seat == seat);
            let mut member = match at {
                Some(at) => known.swap_remove(at),
                None => Progress::new(seat, last, now),
            };
            let peer = self.peers.get(&seat);
            let linked = peer.is_some();
            if linked != member.linked {
                member.link(linked, now);
            }
            member.can_vote = peer.map_or(member.can_vote, |peer| peer.can_vote);
            member.voter = self.history.latest().lists(&seat);
            member.superseded = self.is_superseded(&seat);
            if seat == self.config.seat {
                member.lost = None;
                member.heard = now;
                member.can_vote = self.config.can_vote;
            }
            members.push(member);
        }
        let places = |set: &Voters| {
            let place = |seat: &Seat| members.iter().position(|member| member.seat == *seat);
            set.iter().filter_map(place).collect()
        };
        let mut sets: Vec<Vec<usize>> = self.history.latest().deciding().map(places).collect();
        if mutant::on(Mutant::LearnerCounted) {
            sets = alloc::vec![(0..members.len()).collect()];
        }
        if let State::Leader(leader) = &mut self.state {
            leader.members = members;
            leader.sets = sets;
            leader.unsettled = true;
            // RAFT-17: who is gone takes over from nobody; commands are taken again.
            let able = |(to, _)| leader.member(&to).is_some_and(Progress::may_lead);
            if !leader.transfer.is_none_or(able) {
                leader.transfer = None;
            }
        }
    }

    /// The first entry of a term; of a lineage it is its membership, so that every copy of the log
    /// says who votes.
    pub(super) fn append_first(&mut self) {
        let (term, first) = (self.hard.term, self.log.last().index.next());
        let run = if first == LogIndex(1) {
            let data = encode(self.history.latest());
            Run { data, ..Run::empty(term, first, Kind::Membership) }
        } else {
            Run::empty(term, first, Kind::Noop)
        };
        self.append(run);
    }

    pub(super) fn propose(
        &mut self,
        kind: Kind,
        count: u32,
        origin: Origin,
        data: Bytes,
        out: &mut Outbox<Action>,
    ) {
        assert!(matches!(kind, Kind::Commands | Kind::Control), "the others are ours");
        if let Some(refused) = self.refusal(kind) {
            return out.push(Action::Refused(refused));
        }
        let (term, index) = (self.hard.term, self.log.last().index.next());
        let run = Run { term, first: index, count, kind, origin, data };
        assert!(run.is_sound(), "the host proposes whole entries");
        if self.log.commands() == 0
            && let State::Leader(leader) = &mut self.state
        {
            leader.unsettled = true;
        }
        self.append(run);
        out.push(Action::Accepted { first: Position { term, index }, count });
    }

    /// The asker waits for the last entry.
    pub(super) fn await_word(&mut self, asker: Option<Seat>) {
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(member) = asker.and_then(|asker| leader.member_mut(&asker)) {
            member.awaits = last;
        }
    }

    fn refusal(&self, kind: Kind) -> Option<Refused> {
        let State::Leader(leader) = &self.state else { return Some(Refused::NotLeader) };
        if leader.transfer.is_some() {
            return Some(Refused::Transferring);
        }
        if self.log.weight() >= limits::LOG_BYTES {
            return Some(Refused::LogFull);
        }
        let first = kind == Kind::Commands && self.log.commands() == 0;
        (first && !self.founders_are_here()).then_some(Refused::Founders)
    }

    /// What a leader does at the end of every step.
    pub(super) fn lead(&mut self, now: Instant, out: &mut Outbox<Action>) {
        loop {
            let changed = self.change_voters(now);
            let advanced = self.advance(now, out);
            if !changed && !advanced {
                break;
            }
        }
        self.begin_round(now, out);
        self.feed_all(now, out);
        self.resign_if_removed(now, out);
    }

    /// RAFT-08: commits what a majority of every set holds, by counting only entries of this term.
    fn advance(&mut self, now: Instant, out: &mut Outbox<Action>) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let me = self.config.seat;
        let kept = self.durable();
        let value = |member: &Progress| if member.seat == me { kept } else { member.durable };
        let in_set = |set: &Vec<usize>| {
            let at = |place: usize| &leader.members[set[place]];
            agreed(set.len(), |place| value(at(place)).0, |place| at(place).superseded)
        };
        // RAFT-11: a change that leaves a set of one counts for nothing before that voter has it on
        // its disk: after a crash it would vote alone again, and elect itself without what others have.
        let agreed = if self.leaves_one_unwritten() {
            kept
        } else {
            LogIndex(leader.sets.iter().map(in_set).min().unwrap_or(0))
        };
        let ours = self.log.term_at(agreed) == Some(self.hard.term);
        if agreed <= self.commit || !ours && !mutant::on(Mutant::OldTermCounted) {
            return false;
        }
        self.commit_to(agreed, out);
        if let State::Leader(leader) = &mut self.state {
            // A change that is committed may call for the next.
            leader.unsettled |= self.history.is_settled(agreed.0);
            leader.advanced = now;
        }
        true
    }

    /// Sends every member what it lacks, and the commit index to those that lack nothing else.
    fn feed_all(&mut self, now: Instant, out: &mut Outbox<Action>) {
        let State::Leader(leader) = &mut self.state else { return };
        let due = leader.word_is_due(now);
        let mut members = core::mem::take(&mut leader.members);
        let (round, urgent) = (leader.round, leader.urgent);
        let (me, mut owed) = (self.config.seat, false);
        for member in members.iter_mut().filter(|member| member.linked && member.seat != me) {
            self.feed(member, round, now, out);
            let idle = member.pace == Pace::Stream && member.next > self.limit_of(member);
            if !idle || member.told >= self.commit {
                continue;
            }
            // RAFT-08: a word of its own costs as much as an entry, and the next entry has it as well.
            if due || member.told < member.awaits.max(urgent) {
                member.told = self.commit;
                let (term, commit) = (self.hard.term, self.commit);
                self.send(member.seat, Message::Commit { term, commit }, out);
            } else {
                owed = true;
            }
        }
        if let State::Leader(leader) = &mut self.state {
            leader.members = members;
            if owed {
                leader.word_at.get_or_insert(now + limits::COMMIT_WORD);
            }
        }
    }

    /// The last entry that a member may be sent. RAFT-12: a learner gets committed entries only.
    /// RAFT-11: the change that leaves a set of one is sent when it is durable here.
    fn limit_of(&self, member: &Progress) -> LogIndex {
        let all = [Mutant::LearnerGetsUncommitted, Mutant::LearnerCounted].map(mutant::on);
        if !member.voter && all == [false; 2] {
            return self.commit;
        }
        if self.leaves_one_unwritten() {
            LogIndex(self.history.latest_at()).prev()
        } else {
            self.log.last().index
        }
    }

    /// The change in force leaves a set of one, and that one has not written it yet.
    fn leaves_one_unwritten(&self) -> bool {
        LogIndex(self.history.latest_at()) > self.durable()
            && self.history.leaves_one()
            && !mutant::on(Mutant::SoleVoterSendsFirst)
    }

    fn feed(&self, member: &mut Progress, round: u64, now: Instant, out: &mut Outbox<Action>) {
        let limit = self.limit_of(member);
        if !member.voter && member.next > limit.next() {
            member.next = limit.next();
        }
        let mut probing = matches!(member.pace, Pace::Probe { asked: None });
        while member.has_room() && (member.next <= limit || probing) {
            probing = false;
            if member.next <= self.log.base().index {
                member.pace = Pace::Snapshot;
                return self.point_to_snapshot(member, round, now, out);
            }
            let mut runs = self.log.slice(member.next, limit, limits::APPEND_BYTES);
            let mut bytes = runs.iter().map(|run| run.data.len()).sum();
            if bytes > limits::APPEND_BYTES && matches!(member.pace, Pace::Probe { .. }) {
                // RAFT-04: who knows of no leader yet must hear of one soon.
                (runs, bytes) = (Vec::new(), 0);
            }
            let last = runs.last().map_or_else(|| member.next.prev(), |run| run.end().index);
            self.send_append(member, member.next.prev(), runs, round, out);
            member.send(last, bytes, now);
        }
    }

    /// Sends entries that stand behind `index`.
    fn send_append(
        &self,
        member: &mut Progress,
        index: LogIndex,
        runs: Vec<Run>,
        round: u64,
        out: &mut Outbox<Action>,
    ) {
        let term = self.log.term_at(index).expect("what is behind the base is known");
        let prev = Position { term, index };
        member.told = self.commit;
        let append = Append { term: self.hard.term, prev, runs, commit: self.commit, round };
        out.push(Action::Send { to: member.seat, message: Message::Append(append) });
    }

    fn point_to_snapshot(
        &self,
        member: &mut Progress,
        round: u64,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        member.sent = now;
        let message = Message::Behind { term: self.hard.term, round, base: self.log.base() };
        out.push(Action::Send { to: member.seat, message });
    }

    /// Says to every member that the leader is there: those that heard nothing lately, or all if a
    /// new round asks.
    pub(super) fn beat(&mut self, all: bool, now: Instant, out: &mut Outbox<Action>) {
        let State::Leader(leader) = &mut self.state else { return };
        let mut members = core::mem::take(&mut leader.members);
        let (round, me) = (leader.round, self.config.seat);
        for member in members.iter_mut().filter(|member| member.linked && member.seat != me) {
            if !all && now.since(member.sent) < self.config.heartbeat / 2 {
                continue;
            }
            // The log may have been compacted past what it needs next.
            if member.next <= self.log.base().index {
                member.pace = Pace::Snapshot;
            }
            match member.pace {
                Pace::Snapshot => self.point_to_snapshot(member, round, now, out),
                Pace::Probe { .. } => {
                    member.ask_again(self.config.election_timeout, now);
                    if member.has_room() {
                        self.feed(member, round, now, out);
                    } else {
                        // RAFT-15: each question may be large, and each is answered: an answer that comes
                        // when entries stream already would begin them anew.
                        let agreed = member.received.max(self.log.base().index);
                        self.send_append(member, agreed, Vec::new(), round, out);
                        member.sent = now;
                    }
                }
                Pace::Stream => {
                    self.send_append(member, member.next.prev(), Vec::new(), round, out);
                    member.sent = now;
                }
            }
        }
        if let State::Leader(leader) = &mut self.state {
            leader.members = members;
        }
    }

    pub(super) fn on_leader_timeout(&mut self, now: Instant, out: &mut Outbox<Action>) {
        let State::Leader(leader) = &mut self.state else { return };
        if leader.transfer.is_some_and(|(_, at)| at <= now) {
            leader.transfer = None;
        }
        if leader.quorum_at <= now {
            leader.quorum_at = now + self.config.election_timeout;
            leader.unsettled = true;
        }
        if leader.heartbeat_at <= now {
            leader.heartbeat_at = now + self.config.heartbeat;
            for learner in leader.members.iter_mut().filter(|member| !member.voter) {
                learner.doubt(self.config.election_timeout, now);
            }
            if !self.is_heard(now) && !mutant::on(Mutant::NoCheckQuorum) {
                // Who hears nobody may be heard all the same.
                return self.make_room(now, out);
            }
            self.beat(false, now, out);
        }
    }

    /// RAFT-04: a majority answered within the last election timeout (check-quorum, §6.2).
    fn is_heard(&self, now: Instant) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let me = self.config.seat;
        let recent = |seat: &Seat| {
            leader.member(seat).is_some_and(|member| {
                *seat == me || now.since(member.heard) <= self.config.election_timeout
            })
        };
        let superseded = |seat: &Seat| leader.member(seat).is_some_and(|member| member.superseded);
        self.history.latest().has_majority(recent, superseded)
    }

    pub(super) fn on_ack(&mut self, from: Seat, ack: Ack, now: Instant, out: &mut Outbox<Action>) {
        if ack.term > self.hard.term {
            return self.step_down(ack.term, now);
        }
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        if ack.term < self.hard.term {
            return;
        }
        let round = leader.round;
        let Some(member) = leader.member_mut(&from) else { return };
        let sound = match ack.outcome {
            Outcome::Matched { received, durable } => received <= last && durable <= received,
            Outcome::Conflict { at, hint } => hint.index <= at || member.pace == Pace::Snapshot,
        };
        if !sound || ack.round > round {
            return out.push(Action::Faulty { seat: from, fault: Fault::Nonsense });
        }
        member.heard = now;
        member.round = member.round.max(ack.round);
        match ack.outcome {
            Outcome::Matched { received, durable } => {
                member.matched(received, durable);
                let caught_up = member.caught_up;
                if !member.voter
                    && member.judge(self.commit, self.config.election_timeout, now) != caught_up
                {
                    leader.unsettled = true;
                }
                self.hand_over_if_ready(from, out);
            }
            Outcome::Conflict { at, hint } => self.on_conflict(from, at, hint, out),
        }
        self.finish_round(out);
    }

    /// Steps back to where the logs may agree: a term at a time, not an entry (§5.3).
    fn on_conflict(&mut self, from: Seat, at: LogIndex, hint: Position, out: &mut Outbox<Action>) {
        let agree = self.log.last_within(hint.index, hint.term);
        let base = self.log.base();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(member) = leader.member_mut(&from) else { return };
        let late = match member.pace {
            Pace::Snapshot => return,
            Pace::Probe { .. } => at != member.next.prev(),
            Pace::Stream => at <= member.received,
        };
        if at <= member.durable && at > LogIndex(0) {
            return out.push(Action::Faulty { seat: from, fault: Fault::LostStore });
        }
        if late {
            return;
        }
        // Where even the base does not agree, only a snapshot helps.
        let disagrees = hint.index < base.index || agree == base && base.term > hint.term;
        let next = if disagrees { base.index } else { agree.index.next() };
        member.restart(next.min(at).max(LogIndex(1)));
    }
}
