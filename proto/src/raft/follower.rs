//! Following: entries that arrive, and what is answered.

use super::{
    Ack, Action, Append, Fault, History, Log, LogIndex, Message, Outcome, Position, Raft, Run,
    Seat, Snapshot, State, Term,
};
use crate::{
    core::Outbox,
    mutant::{self, Mutant},
    time::Instant,
};

/// What the leader is owed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owed {
    /// The last round that was asked for.
    round: u64,
    /// An answer is due at the end of the step.
    now: bool,
}

/// Where entries stop to agree with the log.
enum Match {
    /// The entry before them is not here.
    Missing,
    /// Everything up to here is here already.
    UpTo(LogIndex),
    /// They contradict what is committed.
    Contradiction,
}

impl Raft {
    /// RAFT-04: a message of a leader. False if it leads no more, or does not lead us.
    fn follow(
        &mut self,
        from: Seat,
        term: Term,
        round: u64,
        now: Instant,
        out: &mut Outbox<Action>,
    ) -> bool {
        if term < self.hard.term {
            // It learns the term by this.
            let outcome = Outcome::Conflict { at: LogIndex(0), hint: self.log.last() };
            let ack = Ack { term: self.hard.term, round, outcome };
            self.send(from, Message::Ack(ack), out);
            return false;
        }
        if term == self.hard.term && matches!(self.state, State::Leader(_)) {
            out.push(Action::Faulty { seat: from, fault: Fault::Nonsense });
            return false;
        }
        if self.leader != Some(from) || term > self.hard.term {
            self.step_down(term, now);
            self.leader = Some(from);
            self.ask_reads(out);
        }
        self.heard = Some(now);
        self.election_at = now + self.patience;
        true
    }

    pub(super) fn on_append(
        &mut self,
        from: Seat,
        append: Append,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if !append.is_sound() {
            return out.push(Action::Faulty { seat: from, fault: Fault::Nonsense });
        }
        if !self.follow(from, append.term, append.round, now, out) {
            return;
        }
        let Append { prev, runs, commit, round, .. } = append;
        let last = runs.last().map_or(prev.index, |run| run.end().index);
        self.owed.round = round;
        match self.matching(prev, &runs) {
            Match::Missing => {
                let hint = self.log.last_within(prev.index, prev.term);
                let outcome = Outcome::Conflict { at: prev.index, hint };
                let ack = Ack { term: self.hard.term, round, outcome };
                return self.send(from, Message::Ack(ack), out);
            }
            Match::Contradiction => {
                let fault = Fault::ContradictsCommit;
                return out.push(Action::Faulty { seat: from, fault });
            }
            Match::UpTo(known) => self.take(known, runs, out),
        }
        self.verified = self.verified.max(last);
        let agreed = if mutant::on(Mutant::CommitUnverified) { commit } else { self.verified };
        self.commit_to(commit.min(agreed), out);
        // An answer to entries waits for their write; one to a heartbeat does not.
        self.owed.now = last == prev.index || self.durable() >= last;
    }

    /// §5.3: entries with the same index and term are the same, and so is everything before them.
    fn matching(&self, prev: Position, runs: &[Run]) -> Match {
        let known = self.log.term_at(prev.index);
        if prev.index <= self.commit {
            if known.is_some_and(|term| term != prev.term) {
                return Match::Contradiction;
            }
        } else if known != Some(prev.term) {
            return Match::Missing;
        }
        // RAFT-15: what is committed is not looked at again; a snapshot may hold it.
        let mut agreed = prev.index.max(self.commit);
        for run in runs.iter().filter(|run| run.end().index > self.commit) {
            let same = self.log.last_within(run.end().index, run.term);
            if same.term == run.term && same.index >= run.first {
                agreed = agreed.max(same.index);
            }
            if agreed < run.end().index {
                break;
            }
        }
        if mutant::on(Mutant::EqualTailCut) {
            agreed = prev.index.max(self.commit);
        }
        let wrong = |run: &&Run| {
            let end = run.end().index.min(self.commit);
            end >= run.first && self.log.term_at(end).is_some_and(|term| term != run.term)
        };
        if runs.iter().any(|run| wrong(&run)) {
            return Match::Contradiction;
        }
        Match::UpTo(agreed)
    }

    /// Appends what is behind `known`, in place of what is there.
    fn take(&mut self, known: LogIndex, runs: alloc::vec::Vec<Run>, out: &mut Outbox<Action>) {
        for run in runs {
            if run.end().index <= known {
                continue;
            }
            let run = if run.first <= known { run.behind(known) } else { run };
            if run.first <= self.log.last().index {
                self.truncate(run.first, out);
            }
            self.append(run);
        }
    }

    /// RAFT-04: no timeout depends on the size of a message. Only entries take long, and only leaders
    /// send them.
    pub(super) fn on_receiving(&mut self, from: Seat, now: Instant) {
        if !self.peers.contains_key(&from) {
            return;
        }
        match &mut self.state {
            State::Leader(leader) => {
                if let Some(member) = leader.member_mut(&from) {
                    member.heard = now;
                }
            }
            State::Follower => {
                self.election_at = now + self.patience;
                if self.leader == Some(from) {
                    self.heard = Some(now);
                    // Its heartbeats stand behind the message: it is told by itself that we are here.
                    self.owe_ack();
                }
            }
            State::PreCandidate(_) | State::Candidate(_) => {}
        }
    }

    pub(super) fn on_commit(
        &mut self,
        from: Seat,
        term: Term,
        commit: LogIndex,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if term == self.hard.term && self.leader == Some(from) && from != self.seat() {
            self.heard = Some(now);
            self.election_at = now + self.patience;
            self.commit_to(commit.min(self.verified), out);
        }
    }

    pub(super) fn on_behind(
        &mut self,
        from: Seat,
        term: Term,
        base: Position,
        round: u64,
        now: Instant,
        out: &mut Outbox<Action>,
    ) {
        if !self.follow(from, term, round, now, out) {
            return;
        }
        self.owed.round = round;
        if base.index <= self.commit || self.log.term_at(base.index) == Some(base.term) {
            // It is here already, or was installed meanwhile.
            self.verified = self.verified.max(base.index);
            self.owed.now = true;
            return;
        }
        let outcome = Outcome::Conflict { at: base.index, hint: self.log.last() };
        let ack = Ack { term: self.hard.term, round, outcome };
        self.send(from, Message::Ack(ack), out);
        out.push(Action::Fetch { from, base });
    }

    pub(super) fn on_install(&mut self, term: Term, snapshot: Snapshot, now: Instant) {
        let last = snapshot.last;
        if last.index <= self.commit {
            return;
        }
        // Somebody knew in this term that it is committed. An older leader may not have it, and
        // must not be told that our logs agree.
        if term > self.hard.term && !mutant::on(Mutant::InstallKeepsTerm) {
            self.step_down(term, now);
        }
        if matches!(self.state, State::Leader(_)) {
            return;
        }
        if self.log.term_at(last.index) == Some(last.term) {
            // What follows may have been acknowledged: it stays.
            self.commit = last.index;
            self.history.commit(last.index.0);
        } else {
            self.log = Log::behind(last, snapshot.commands);
            self.history = History::new(last.index.0, snapshot.membership.clone());
            self.commit = last.index;
            self.reset_store(snapshot);
        }
        self.verified = self.verified.max(last.index);
        self.owe_ack();
    }

    pub(super) fn owe_ack(&mut self) {
        self.owed.now = true;
    }

    /// Answers the leader if that is due.
    pub(super) fn acknowledge(&mut self, out: &mut Outbox<Action>) {
        if !core::mem::take(&mut self.owed.now) {
            return;
        }
        let Some(leader) = self.leader.filter(|leader| *leader != self.seat()) else { return };
        let whole = mutant::on(Mutant::AckClaimsWholeLog);
        let received = if whole { self.log.last().index } else { self.verified };
        let kept = if mutant::on(Mutant::AckBeforeDurable) { received } else { self.durable() };
        let outcome = Outcome::Matched { received, durable: kept.min(received) };
        let ack = Ack { term: self.hard.term, round: self.owed.round, outcome };
        self.send(leader, Message::Ack(ack), out);
    }

    pub(super) fn on_compact(&mut self, index: LogIndex) {
        self.log.compact(index.min(self.commit));
    }
}

impl Append {
    /// True if it is what a leader sends: whole entries that follow each other.
    fn is_sound(&self) -> bool {
        let mut last = self.prev;
        self.runs.iter().all(|run| {
            let follows = run.is_sound()
                && run.first == last.index.next()
                && run.term >= last.term
                && run.term <= self.term;
            last = if follows { run.end() } else { last };
            follows
        })
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{
        core::{Core as _, Outbox},
        ids::PeerId,
        raft::{Config, Event, Lineage, Membership, Role, SeatId, Stored, Voters},
        rng::Rng,
    };

    fn seat(n: u8) -> Seat {
        Seat { peer: PeerId::from_bytes([n; 32]), id: SeatId([n; 16]) }
    }

    /// A voter of three that hears the second lead.
    fn follower() -> Raft {
        let lineage = Lineage([1; 16]);
        let config = Config { lineage, ..Config::new(seat(1)) };
        let membership = Membership::single(Voters::new([1, 2, 3].map(seat)));
        let stored = Stored {
            base: Snapshot { lineage, membership, ..Snapshot::default() },
            ..Stored::default()
        };
        let mut raft = Raft::new(config, stored, Rng::new([1; 32]), Instant::ZERO);
        let mut out = Outbox::new();
        for n in [2, 3] {
            raft.handle(Instant::ZERO, Event::Linked { seat: seat(n), can_vote: true }, &mut out);
        }
        let (term, prev, commit) = (Term(1), Position::default(), LogIndex(0));
        let message = Message::Append(Append { term, prev, runs: alloc::vec![], commit, round: 1 });
        raft.handle(Instant::ZERO, Event::Message { from: seat(2), message }, &mut out);
        assert_eq!(raft.leader(), Some(seat(2)));
        raft
    }

    fn asks(out: &mut Outbox<Action>) -> (usize, usize) {
        let (mut votes, mut acks) = (0, 0);
        for action in out.drain() {
            match action {
                Action::Send { message: Message::PreVote { .. }, .. } => votes += 1,
                Action::Send { to, message: Message::Ack(_) } if to == seat(2) => acks += 1,
                _ => {}
            }
        }
        (votes, acks)
    }

    /// RAFT-04: eight megabytes on a slow path topple nobody, however long they take.
    #[test]
    fn raft_04_who_receives_entries_hears_the_leader() {
        for (from, votes, acks) in [(Some(2), 0, 20), (Some(3), 0, 0), (None, 2, 0)] {
            let (mut raft, mut out) = (follower(), Outbox::new());
            let mut asked = (0, 0);
            for step in 1..=20 {
                let now = Instant::ZERO + Duration::from_millis(500 * step);
                if let Some(from) = from {
                    raft.handle(now, Event::Receiving(seat(from)), &mut out);
                }
                if raft.deadline().is_some_and(|at| at <= now) && raft.role() == Role::Follower {
                    raft.handle(now, Event::Timeout, &mut out);
                }
                let (votes, acks) = asks(&mut out);
                asked = (asked.0 + votes, asked.1 + acks);
            }
            assert_eq!(asked, (votes, acks), "{from:?}");
        }
    }

    /// RAFT-04: a new leader asks whether logs agree before it sends what takes long.
    #[test]
    fn raft_04_a_large_entry_comes_behind_a_word_of_the_leader() {
        let mut raft = follower();
        let (mut out, from, mut now) = (Outbox::new(), seat(2), Instant::ZERO);
        let (term, index) = (Term(1), LogIndex(0));
        let data = alloc::vec![1; crate::limits::APPEND_BYTES + 1].into();
        let run = Run { data, ..Run::empty(term, index.next(), crate::raft::Kind::Control) };
        let prev = Position::default();
        let append = Append { term, prev, runs: alloc::vec![run], commit: index, round: 2 };
        let message = Message::Append(append);
        raft.handle(now, Event::Message { from, message }, &mut out);
        // It is elected by the third, which has nothing.
        let from = seat(3);
        while raft.role() != Role::Leader {
            now = now + Duration::from_millis(100);
            raft.handle(now, Event::Timeout, &mut out);
            for action in out.drain().collect::<alloc::vec::Vec<_>>() {
                let (term, granted) = (Term(2), true);
                let message = match action {
                    Action::Send { to, message: Message::PreVote { .. } } if to == from => {
                        Message::PreVoteReply { term, granted }
                    }
                    Action::Send { to, message: Message::Vote { .. } } if to == from => {
                        Message::VoteReply { term, granted }
                    }
                    _ => continue,
                };
                raft.handle(now, Event::Message { from, message }, &mut out);
            }
        }
        let mut ack = |outcome, out: &mut Outbox<Action>| {
            out.drain();
            let message = Message::Ack(Ack { term: Term(2), round: 0, outcome });
            raft.handle(now, Event::Message { from, message }, out);
            let sent = |action: &Action| match action {
                Action::Send { to, message: Message::Append(append) } if *to == from => {
                    Some((append.prev.index.0, append.runs.len()))
                }
                _ => None,
            };
            out.iter().find_map(sent)
        };
        let outcome = Outcome::Conflict { at: LogIndex(1), hint: Position::default() };
        assert_eq!(ack(outcome, &mut out), Some((0, 0)));
        let outcome = Outcome::Matched { received: index, durable: index };
        assert_eq!(ack(outcome, &mut out), Some((0, 1)));
    }
}
