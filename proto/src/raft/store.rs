//! Writes under way, and what may be said when they are done.

use alloc::{boxed::Box, collections::VecDeque};
use core::mem::take;

use super::{Action, HardState, LogIndex, Message, Raft, Seat, State, Term, Ticket, Write};
use crate::{
    core::Outbox,
    mutant::{self, Mutant},
    time::Instant,
};

/// Waits for a write.
#[derive(Debug)]
pub(super) enum Held {
    /// A message that promises what is being written.
    Send(Seat, Message),
    /// Our vote for ourselves.
    Campaign { term: Term, transfer: bool, now: Instant },
}

/// One write.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    /// The last entry of the log that it makes durable; moves back when the log is cut.
    last: LogIndex,
    done: bool,
}

/// The store as this member knows it.
#[derive(Debug)]
pub(super) struct Store {
    /// What the present step wants written.
    pub(super) write: Write,
    pending: VecDeque<Pending>,
    held: VecDeque<(Ticket, Held)>,
    /// Held by the present step.
    fresh: VecDeque<Held>,
    last_ticket: Ticket,
    durable: LogIndex,
}

impl Store {
    pub(super) fn new(durable: LogIndex) -> Self {
        Self {
            write: Write::default(),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            fresh: VecDeque::new(),
            last_ticket: Ticket(0),
            durable,
        }
    }

    pub(super) const fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Writes are numbered behind those of another.
    pub(super) const fn number_after(&mut self, other: &Self) {
        self.last_ticket = other.last_ticket;
    }

    /// Nothing of the log is written yet.
    pub(super) const fn unwritten(&mut self) {
        self.durable = LogIndex(0);
    }

    /// The log is cut: what is written of the part behind it says nothing about what will be there.
    fn truncate(&mut self, index: LogIndex) {
        let kept = index.prev();
        self.durable = self.durable.min(kept);
        if !mutant::on(Mutant::OldWriteCounts) {
            self.pending.iter_mut().for_each(|pending| pending.last = pending.last.min(kept));
        }
        let cut = self.write.truncate.map_or(index, |cut| cut.min(index));
        self.write.truncate = Some(cut);
        debug_assert!(self.write.runs.is_empty(), "a step cuts before it appends");
    }
}

impl Raft {
    pub(super) fn set_hard(&mut self, hard: HardState) {
        self.hard = hard;
        if self.config.durable {
            self.store.write.hard = Some(hard);
        }
    }

    /// RAFT-05: does `held` when everything that the present step changes is durable.
    pub(super) fn hold(&mut self, held: Held, out: &mut Outbox<Action>) {
        if self.config.durable && !mutant::on(Mutant::VoteBeforePersist) {
            self.store.fresh.push_back(held);
        } else {
            self.release(held, out);
        }
    }

    fn release(&mut self, held: Held, out: &mut Outbox<Action>) {
        match held {
            // A promise of an earlier term is of no use to anybody.
            Held::Send(to, message) if message.term() == self.hard.term => {
                self.send(to, message, out);
            }
            Held::Send(..) => {}
            Held::Campaign { term, transfer, now } => self.announce(term, transfer, now, out),
        }
    }

    /// Hands the step's changes to the store.
    pub(super) fn flush(&mut self, out: &mut Outbox<Action>) {
        if !self.config.durable {
            return;
        }
        if !self.store.write.is_empty() {
            self.store.last_ticket.0 += 1;
            let (ticket, last) = (self.store.last_ticket, self.log.last().index);
            self.store.pending.push_back(Pending { ticket, last, done: false });
            let write = Box::new(take(&mut self.store.write));
            out.push(Action::Persist { ticket, write });
        }
        while let Some(held) = self.store.fresh.pop_front() {
            if self.store.pending.is_empty() {
                self.release(held, out);
            } else {
                self.store.held.push_back((self.store.last_ticket, held));
            }
        }
    }

    /// RAFT-06: a write counts when all before it are done, and only for what is still in the log.
    pub(super) fn on_persisted(&mut self, ticket: Ticket, now: Instant, out: &mut Outbox<Action>) {
        if let Some(pending) = self.store.pending.iter_mut().find(|p| p.ticket == ticket) {
            pending.done = true;
        }
        let before = self.store.durable;
        let mut done = Ticket(0);
        while self.store.pending.front().is_some_and(|pending| pending.done) {
            let pending = self.store.pending.pop_front().expect("there is one");
            self.store.durable = self.store.durable.max(pending.last);
            done = pending.ticket;
        }
        while self.store.held.front().is_some_and(|(ticket, _)| *ticket <= done) {
            let (_, mut held) = self.store.held.pop_front().expect("there is one");
            if let Held::Campaign { now: at, .. } = &mut held {
                *at = now;
            }
            self.release(held, out);
        }
        if self.store.durable > before && matches!(self.state, State::Follower) {
            self.owe_ack();
        }
    }

    /// Cuts the log.
    ///
    /// # Panics
    /// INV-RAFT-5: if that would cut what is committed; callers check.
    pub(super) fn truncate(&mut self, index: LogIndex, out: &mut Outbox<Action>) {
        assert!(index > self.commit, "what is committed stays");
        self.log.truncate(index);
        self.history.truncate(index.0);
        if self.config.durable {
            self.store.truncate(index);
        }
        out.push(Action::Truncated(index));
    }

    /// Replaces the log by what follows a snapshot.
    pub(super) fn reset_store(&mut self, snapshot: super::Snapshot) {
        if self.config.durable {
            self.store.truncate(snapshot.last.index.next());
            self.store.pending.iter_mut().for_each(|pending| pending.last = LogIndex(0));
            self.store.durable = LogIndex(0);
            let hard = self.store.write.hard.take();
            self.store.write = Write { reset: Some(snapshot), hard, ..Write::default() };
        }
    }
}
