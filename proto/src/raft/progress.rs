//! How far one member is, as its leader sees it.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::{Lag, LogIndex, Seat};
use crate::{limits, time::Instant};

/// How entries go to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Where its log agrees is not known: one message at a time.
    Probe {
        /// When that message went, if it is under way.
        asked: Option<Instant>,
    },
    /// One message after the other, within the window.
    Stream,
    /// What it needs is in a snapshot, which it fetches.
    Snapshot,
}

/// One member.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) seat: Seat,
    pub(super) can_vote: bool,
    pub(super) linked: bool,
    pub(super) voter: bool,
    /// Counts as a superseded seat: its peer is linked under another.
    pub(super) superseded: bool,
    pub(super) pace: Pace,
    /// The next entry to send.
    pub(super) next: LogIndex,
    pub(super) received: LogIndex,
    pub(super) durable: LogIndex,
    /// The commit index that it was told.
    pub(super) told: LogIndex,
    /// The last entry that it waits for.
    pub(super) awaits: LogIndex,
    /// The latest round that it answered.
    pub(super) round: u64,
    /// When it answered last.
    pub(super) heard: Instant,
    /// When something was sent to it last.
    pub(super) sent: Instant,
    /// Since when it cannot be reached.
    pub(super) lost: Option<Instant>,
    /// Messages under way: the last entry of each, and its bytes.
    flying: VecDeque<(LogIndex, usize)>,
    bytes: usize,
    /// What a learner must reach within an election timeout to count as caught up, and since when.
    goal: Option<(LogIndex, Instant)>,
    pub(super) caught_up: bool,
}

impl Progress {
    /// It is here, and would lead if asked.
    pub(super) const fn may_lead(&self) -> bool {
        self.linked && self.can_vote
    }

    /// A member of which nothing is known yet but that logs may agree up to `last`.
    pub(super) fn new(seat: Seat, last: LogIndex, now: Instant) -> Self {
        Self {
            seat,
            can_vote: true,
            linked: false,
            voter: false,
            superseded: false,
            pace: Pace::Probe { asked: None },
            next: last.next(),
            received: LogIndex(0),
            durable: LogIndex(0),
            told: LogIndex(0),
            awaits: LogIndex(0),
            round: 0,
            heard: now,
            sent: now,
            lost: Some(now),
            flying: VecDeque::new(),
            bytes: 0,
            goal: None,
            caught_up: false,
        }
    }

    /// The member can be reached, or not; what was under way may be lost.
    pub(super) fn link(&mut self, linked: bool, now: Instant) {
        self.linked = linked;
        self.lost = if linked { None } else { Some(self.lost.unwrap_or(now)) };
        let nothing_known = self.received == LogIndex(0);
        self.restart(if nothing_known { self.next } else { self.received.next() });
    }

    /// Sends from `next` on, one message at a time until logs are known to agree.
    pub(super) fn restart(&mut self, next: LogIndex) {
        self.pace = Pace::Probe { asked: None };
        self.next = next;
        self.flying.clear();
        self.bytes = 0;
    }

    /// The question may be lost where the host's links are not reliable: it is asked again.
    pub(super) fn ask_again(&mut self, patience: Duration, now: Instant) {
        if let Pace::Probe { asked } = &mut self.pace {
            asked.take_if(|at| now.since(*at) >= patience);
        }
    }

    /// True if one more message may go.
    pub(super) fn has_room(&self) -> bool {
        match self.pace {
            Pace::Probe { asked } => asked.is_none(),
            Pace::Stream => {
                self.flying.len() < limits::APPENDS_IN_FLIGHT && self.bytes < limits::APPEND_WINDOW
            }
            Pace::Snapshot => false,
        }
    }

    /// A message with entries up to `last` goes; `bytes` is their size.
    pub(super) fn send(&mut self, last: LogIndex, bytes: usize, now: Instant) {
        self.sent = now;
        match &mut self.pace {
            Pace::Probe { asked } => *asked = Some(now),
            Pace::Stream | Pace::Snapshot => {
                if last >= self.next {
                    self.flying.push_back((last, bytes));
                    self.bytes += bytes;
                    self.next = last.next();
                }
            }
        }
    }

    /// The member has everything up to `received`.
    pub(super) fn matched(&mut self, received: LogIndex, durable: LogIndex) {
        self.received = self.received.max(received);
        self.durable = self.durable.max(durable);
        while let Some((last, bytes)) = self.flying.front().copied() {
            if last > self.received {
                break;
            }
            self.flying.pop_front();
            self.bytes -= bytes;
        }
        // RAFT-15: who answers a heartbeat, or is receiving the question, has not answered it.
        if matches!(self.pace, Pace::Probe { .. }) && received < self.next.prev() {
            return;
        }
        self.next = self.next.max(self.received.next());
        if self.pace != Pace::Stream {
            self.restart(self.received.next());
            self.pace = Pace::Stream;
        }
    }

    /// RAFT-12: a learner is caught up when it got, within an election timeout, what was committed
    /// when that time began (dissertation §4.2.1).
    pub(super) fn judge(&mut self, commit: LogIndex, patience: Duration, now: Instant) -> bool {
        let (goal, since) = *self.goal.get_or_insert((commit, now));
        if self.durable >= goal {
            self.caught_up = now.since(since) < patience || self.durable >= commit;
            self.goal = Some((commit, now));
        }
        self.caught_up
    }

    /// RAFT-12: a learner that did not answer for so long may be gone, linked or not: it is no voter to go
    /// on with.
    pub(super) fn doubt(&mut self, patience: Duration, now: Instant) {
        if now.since(self.heard) > patience {
            (self.caught_up, self.goal) = (false, None);
        }
    }

    pub(super) const fn lag(&self) -> Lag {
        Lag {
            seat: self.seat,
            voter: self.voter,
            linked: self.linked,
            received: self.received,
            durable: self.durable,
        }
    }
}
