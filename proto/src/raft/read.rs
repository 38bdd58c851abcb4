//! Linearizable reads: an index that covers every write acknowledged before (§6.4).

use alloc::{collections::VecDeque, vec::Vec};

use super::{Action, LogIndex, Message, Raft, Refused, Seat, State, Term};
use crate::{
    core::Outbox,
    limits,
    mutant::{self, Mutant},
    time::Instant,
};

/// Who reads.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Local(u64),
    Remote(Seat, u64),
}

/// Reads that share a question.
#[derive(Debug)]
struct Asked {
    /// At the leader the round that answers; elsewhere the name of the question.
    id: u64,
    /// The commit index when the round began.
    index: LogIndex,
    askers: Vec<Asker>,
}

/// Reads under way.
#[derive(Debug)]
pub(super) struct Reads {
    waiting: VecDeque<Asker>,
    asked: Option<Asked>,
    last_id: u64,
}

impl Reads {
    /// No reads. Questions are numbered from a random `first`: an answer to one of an earlier life
    /// must not be taken for an answer of this one (R9).
    pub(super) fn new(first: u64) -> Self {
        let first = if mutant::on(Mutant::ReadIdsRepeat) { 0 } else { first };
        Self { waiting: VecDeque::new(), asked: None, last_id: first }
    }

    /// A member cannot be reached any more: it will ask again.
    pub(super) fn forget(&mut self, seat: Seat) {
        let kept = mutant::on(Mutant::ReadIdsRepeat);
        let stays =
            |asker: &Asker| kept || !matches!(asker, Asker::Remote(asks, _) if *asks == seat);
        self.waiting.retain(stays);
        if let Some(asked) = &mut self.asked {
            asked.askers.retain(stays);
        }
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |asked| asked.askers.len())
    }

    /// The leader is another, or none: what was asked has to be asked again. Other members ask for
    /// themselves.
    pub(super) fn unanswered(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.waiting.extend(asked.askers);
        }
        self.waiting.retain(|asker| matches!(asker, Asker::Local(_)));
    }
}

impl Raft {
    pub(super) fn on_read(&mut self, id: u64, out: &mut Outbox<Action>) {
        if self.reads.len() >= limits::READS {
            return out.push(Action::Refused(Refused::TooManyReads));
        }
        self.reads.waiting.push_back(Asker::Local(id));
        self.ask_reads(out);
    }

    /// A follower asks its leader, one question for all reads that wait.
    pub(super) fn ask_reads(&mut self, out: &mut Outbox<Action>) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.seat()) else { return };
        if self.reads.asked.is_some() || self.reads.waiting.is_empty() {
            return;
        }
        // R9: an answer to an earlier question is not an answer to this one.
        self.reads.last_id = self.reads.last_id.wrapping_add(1);
        let id = self.reads.last_id;
        let askers = self.reads.waiting.drain(..).collect();
        self.reads.asked = Some(Asked { id, index: LogIndex(0), askers });
        self.send(leader, Message::Read { term: self.hard.term, id }, out);
    }

    pub(super) fn on_read_request(&mut self, from: Seat, term: Term, id: u64) {
        let leads = matches!(self.state, State::Leader(_)) && term == self.hard.term;
        // A member has one question at a time, so this one takes the place of the last and never
        // meets a limit: nobody would ask again.
        self.reads.forget(from);
        if leads && !(mutant::on(Mutant::QuestionDropped) && self.reads.len() >= limits::READS) {
            self.reads.waiting.push_back(Asker::Remote(from, id));
        }
    }

    pub(super) fn on_read_reply(
        &mut self,
        term: Term,
        id: u64,
        index: LogIndex,
        out: &mut Outbox<Action>,
    ) {
        if term != self.hard.term {
            return;
        }
        if let Some(asked) = self.reads.asked.take_if(|asked| asked.id == id) {
            self.answer(asked.askers, index, out);
            self.ask_reads(out);
        }
    }

    /// RAFT-13: begins a round for the reads that wait. Not before an entry of this term is
    /// committed: until then the commit index may be behind what earlier leaders acknowledged (R7).
    pub(super) fn begin_round(&mut self, now: Instant, out: &mut Outbox<Action>) {
        let led = self.log.term_at(self.commit) == Some(self.hard.term)
            || mutant::on(Mutant::ReadBeforeOwnTerm);
        let State::Leader(leader) = &mut self.state else { return };
        if !led || self.reads.asked.is_some() || self.reads.waiting.is_empty() {
            return;
        }
        leader.round += 1;
        let askers = self.reads.waiting.drain(..).collect();
        self.reads.asked = Some(Asked { id: leader.round, index: self.commit, askers });
        self.beat(true, now, out);
        self.finish_round(out);
    }

    /// Answers the reads of a round that a majority has answered.
    pub(super) fn finish_round(&mut self, out: &mut Outbox<Action>) {
        let State::Leader(leader) = &self.state else { return };
        let Some(asked) = &self.reads.asked else { return };
        let (me, round) = (self.config.seat, asked.id);
        let answered = |seat: &Seat| {
            *seat == me || leader.member(seat).is_some_and(|member| member.round >= round)
        };
        // The half rule does not hold here: a superseded seat may live on elsewhere.
        let proved = self.history.latest().has_majority(answered, |_| false);
        if !proved && !mutant::on(Mutant::ReadWithoutQuorum) {
            return;
        }
        if let Some(asked) = self.reads.asked.take() {
            self.answer(asked.askers, asked.index, out);
        }
    }

    fn answer(&self, askers: Vec<Asker>, index: LogIndex, out: &mut Outbox<Action>) {
        for asker in askers {
            match asker {
                Asker::Local(id) => out.push(Action::ReadReady { id, index }),
                Asker::Remote(seat, id) => {
                    let term = self.hard.term;
                    self.send(seat, Message::ReadReply { term, id, index }, out);
                }
            }
        }
    }
}
