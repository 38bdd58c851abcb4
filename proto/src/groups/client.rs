//! This node's commands, from the call to the outcome.
//!
//! ```text
//!  execute ─► unnumbered ──sent──► numbered ──taken──► in the leader's log ──applied here──► outcome
//!                  │                  │  ▲                    │
//!                  └── deadline: ─────┤  └── leader lost: ────┘
//!                      rejected       └── deadline: unknown, unless every copy was refused;
//!                                         the number is used up by nothing
//! ```
//!
//! Commands stay in order, and get their number in the session when they are first sent; a number
//! never names another command. A batch of them costs as much as one: its bytes are kept by
//! reference until it is resolved.

mod outcomes;

use alloc::collections::VecDeque;
use core::time::Duration;

use bytes::Bytes;

use super::{Index, Outcome, Output, Rejection, batch::Batch, intake::Why};
use crate::{
    core::Outbox,
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::Term,
    time::Instant,
};

/// The session in the present lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    /// Asked for by the leader's log, or to be asked for.
    Opening {
        nonce: u64,
        asked: bool,
    },
    Open {
        id: u64,
        /// The number for the next batch.
        next: u64,
        /// The first number that is not applied here.
        unresolved: u64,
    },
    /// The leader does not know it: it is over when the table here says so.
    Ending(u64),
}

/// What to ask the leader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Open a session.
    Open {
        /// Tells the openings of this peer apart.
        nonce: u64,
        /// Which attempt.
        attempt: u64,
    },
    /// Take commands.
    Commands {
        /// The session.
        session: u64,
        /// The number of the first.
        number: u64,
        /// How many.
        count: u32,
        /// Which attempt.
        attempt: u64,
        /// The commands; nothing if the numbers are to be used up by nothing.
        data: Bytes,
    },
}

/// This node's commands. See the module's documentation.
#[derive(Debug)]
pub(super) struct Client {
    me: PeerId,
    command_timeout: Duration,
    forward_timeout: Duration,
    nonce: u64,
    session: Session,
    /// In the order of execution; the numbered ones first.
    batches: VecDeque<Batch>,
    leader: Option<(PeerId, Term)>,
    /// Rises whenever something has to be sent again (GRP-34).
    attempt: u64,
    /// So many batches were sent in this attempt.
    sent: usize,
    /// So many of them are in the leader's log.
    taken: usize,
    /// Since when the leader owes a word.
    waiting: Option<Instant>,
    /// Nothing is sent before this.
    retry_at: Option<Instant>,
    /// What is told to those that were never taken.
    obstacle: Rejection,
    /// New commands are not accepted.
    refusing: Option<Rejection>,
    /// Commands and bytes whose outcome was told, ever.
    told: (u64, u64),
    announced: (u64, u64),
}

impl Client {
    /// No commands. `nonce` is random: openings of an earlier life must not be taken for ours.
    pub(super) const fn new(
        me: PeerId,
        nonce: u64,
        command_timeout: Duration,
        forward_timeout: Duration,
    ) -> Self {
        Self {
            me,
            command_timeout,
            forward_timeout,
            nonce,
            session: Session::None,
            batches: VecDeque::new(),
            leader: None,
            attempt: 0,
            sent: 0,
            taken: 0,
            waiting: None,
            retry_at: None,
            obstacle: Rejection::Offline,
            refusing: None,
            told: (0, 0),
            announced: (0, 0),
        }
    }

    /// The session whose commands are this node's.
    pub(super) const fn session(&self) -> Option<u64> {
        match self.session {
            Session::Open { id, .. } | Session::Ending(id) => Some(id),
            Session::None | Session::Opening { .. } => None,
        }
    }

    /// True if nothing waits for its outcome.
    pub(super) fn is_idle(&self) -> bool {
        self.batches.iter().all(|batch| batch.told)
    }

    /// Commands of this node. Their numbers are the host's.
    pub(super) fn execute(
        &mut self,
        first: u64,
        count: u32,
        data: Bytes,
        now: Instant,
        out: &mut Outbox<Output>,
    ) {
        let deadline = now + self.command_timeout;
        let mut batch = Batch { first, count, data, deadline, told: false, ..Batch::NOTHING };
        if let Some(rejection) = self.refusing {
            return self.tell(&mut batch, Outcome::Rejected(rejection), out);
        }
        while let Some(rest) = batch.split_large() {
            self.batches.push_back(core::mem::replace(&mut batch, rest));
        }
        self.batches.push_back(batch);
    }

    /// New commands are rejected from now on, or accepted again; what is closed stays closed.
    pub(super) fn refuse(&mut self, rejection: Option<Rejection>) {
        if self.refusing != Some(Rejection::Closed) {
            self.refusing = rejection;
        }
    }

    /// Opens the window of the host as far as outcomes allow, in steps of a quarter.
    pub(super) fn open_window(&mut self, out: &mut Outbox<Output>) {
        let commands = self.told.0 + limits::COMMANDS_IN_FLIGHT;
        let bytes = self.told.1 + limits::COMMANDS_BYTES;
        if commands - self.announced.0 >= limits::COMMANDS_IN_FLIGHT / 4
            || bytes - self.announced.1 >= limits::COMMANDS_BYTES / 4
        {
            self.announced = (commands, bytes);
            out.push(Output::Window { commands, bytes });
        }
    }

    // --- sending ---------------------------------------------------------------------------

    /// The next thing to ask the leader for; call again until there is nothing.
    pub(super) fn next(&mut self, now: Instant) -> Option<Ask> {
        if self.leader.is_none()
            || self.sent == self.batches.len()
            || self.retry_at.is_some_and(|at| now < at)
        {
            return None;
        }
        self.retry_at = None;
        let attempt = self.attempt;
        match &mut self.session {
            Session::None => {
                self.nonce = self.nonce.wrapping_add(1);
                self.session = Session::Opening { nonce: self.nonce, asked: true };
                self.waiting = Some(now);
                Some(Ask::Open { nonce: self.nonce, attempt })
            }
            Session::Opening { nonce, asked } if !*asked => {
                *asked = true;
                self.waiting = Some(now);
                Some(Ask::Open { nonce: *nonce, attempt })
            }
            Session::Opening { .. } | Session::Ending(_) => None,
            Session::Open { id, next, unresolved } => {
                let batch = &mut self.batches[self.sent];
                let number = match batch.number {
                    Some(number) => number,
                    None => {
                        let under_way = *next - *unresolved;
                        let most = limits::SESSION_WINDOW.max(u64::from(batch.count));
                        if under_way + u64::from(batch.count) > most {
                            return None;
                        }
                        *next += u64::from(batch.count);
                        *next - u64::from(batch.count)
                    }
                };
                batch.number = Some(number);
                self.sent += 1;
                self.waiting.get_or_insert(now);
                let (session, count, data) = (*id, batch.count, batch.data.clone());
                Some(Ask::Commands { session, number, count, attempt, data })
            }
        }
    }

    /// Another leader, or none: what it did not apply yet is sent again (GRP-34).
    pub(super) fn on_leader(&mut self, leader: Option<(PeerId, Term)>) {
        if self.leader != leader {
            self.leader = leader;
            if !mutant::on(Mutant::NothingSentAgain) {
                self.begin_again();
            }
            self.retry_at = None;
        }
    }

    /// What was sent may not have arrived: the way to the leader was cut.
    pub(super) fn on_cut(&mut self, now: Instant) {
        if self.waiting.is_some() || self.taken < self.sent {
            self.begin_again();
            self.retry_at = Some(now + limits::COMMAND_RETRY);
        }
    }

    /// Bytes of ours are still moving towards the leader: its word is not due yet.
    pub(super) fn on_progress(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.waiting {
            *waiting = now;
        }
    }

    fn begin_again(&mut self) {
        self.batches.range_mut(..self.sent).for_each(|batch| batch.doubt = true);
        self.withdraw(0);
    }

    /// The batches from `at` on count as not sent.
    fn withdraw(&mut self, at: usize) {
        self.sent = self.sent.min(at);
        self.taken = self.taken.min(at);
        self.attempt += 1;
        self.waiting = (self.taken < self.sent).then_some(self.waiting).flatten();
        if let Session::Opening { asked, .. } = &mut self.session {
            *asked = false;
        }
    }

    // --- answers ---------------------------------------------------------------------------

    /// The batch whose numbers begin at or contain `number`, among those that were sent.
    fn sent_at(&self, number: u64) -> Option<usize> {
        let end = |batch: &Batch| batch.number.map(|number| number + u64::from(batch.count));
        let (mut low, mut high) = (0, self.sent);
        while low < high {
            let middle = usize::midpoint(low, high);
            if end(&self.batches[middle]).is_some_and(|end| end <= number) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.sent).then_some(low)
    }

    /// The leader has commands in its log.
    pub(super) fn on_taken(
        &mut self,
        attempt: u64,
        number: u64,
        index: Option<Index>,
        now: Instant,
        out: &mut Outbox<Output>,
    ) {
        if attempt != self.attempt {
            return;
        }
        self.obstacle = Rejection::Offline;
        if let Some(at) = self.sent_at(number) {
            self.taken = self.taken.max(at + 1);
            let batch = &mut self.batches[at];
            if let Some(index) = index.filter(|_| batch.number == Some(number))
                && !batch.taken
                && !batch.told
            {
                batch.taken = true;
                let (first, count) = (batch.first, batch.count);
                out.push(Output::Taken { first, count, index });
                if mutant::on(Mutant::TakenIsInForce) {
                    batch.told = true;
                    let outcome = Outcome::Committed { index };
                    out.push(Output::Outcome { first, count, outcome });
                }
            }
        }
        self.waiting = (self.taken < self.sent).then_some(now);
    }

    /// The leader did not take commands from `number` on, nor an opening (then `number` is of no
    /// meaning).
    pub(super) fn on_refused(
        &mut self,
        attempt: u64,
        number: u64,
        why: Why,
        now: Instant,
        out: &mut Outbox<Output>,
    ) {
        if attempt != self.attempt {
            return;
        }
        let at = match self.session {
            Session::Open { .. } => self.sent_at(number).unwrap_or(self.sent),
            _ => 0,
        };
        self.withdraw(at);
        self.retry_at = Some(now + limits::COMMAND_RETRY);
        match why {
            Why::NotLeader => {}
            Why::Gap => self.begin_again(),
            Why::NoSession => {
                if let Session::Open { id, .. } = self.session {
                    self.begin_again();
                    self.session = Session::Ending(id);
                }
            }
            Why::Founders => self.obstacle = Rejection::Founders,
            Why::LogFull => self.reject_from(at, Rejection::LogFull, out),
            Why::ReadOnly => self.reject_from(at, Rejection::ReadOnly, out),
        }
    }

    /// Rejects the batches from `at` on, which are not sent, if no copy of them can be anywhere.
    fn reject_from(&mut self, at: usize, rejection: Rejection, out: &mut Outbox<Output>) {
        let rest = self.batches.split_off(at.min(self.batches.len()));
        for mut batch in rest {
            if !batch.doubt && !batch.told {
                self.tell(&mut batch, Outcome::Rejected(rejection), out);
            }
            if batch.told && batch.number.is_none() {
                continue;
            }
            let joins = batch.told && self.batches.len() > at;
            match self.batches.back_mut() {
                Some(last) if joins && last.told => last.join(&batch),
                _ => self.batches.push_back(batch),
            }
        }
    }

    // --- time ------------------------------------------------------------------------------

    /// Carries out what is due (GRP-36).
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox<Output>) {
        let mut at = 0;
        while at < self.batches.len() && (self.batches[at].told || self.batches[at].deadline <= now)
        {
            at = self.expire(at, out);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.waiting.is_some_and(|since| since + self.forward_timeout <= now) {
            self.begin_again();
        }
    }

    /// Ends the batch at `at`, before which all are told; returns where the next one is.
    fn expire(&mut self, at: usize, out: &mut Outbox<Output>) -> usize {
        let mut batch = core::mem::replace(&mut self.batches[at], Batch::NOTHING);
        if !batch.told {
            let anywhere = batch.doubt || at < self.sent;
            let rejected = Outcome::Rejected(self.obstacle);
            self.tell(&mut batch, if anywhere { Outcome::Unknown } else { rejected }, out);
        }
        let joins = at > 0 && at != self.sent && at != self.taken && self.batches[at - 1].told;
        if batch.number.is_none() {
            self.batches.remove(at);
            at
        } else if joins {
            self.batches[at - 1].join(&batch);
            self.batches.remove(at);
            self.sent -= usize::from(at < self.sent);
            self.taken -= usize::from(at < self.taken);
            at
        } else {
            self.batches[at] = batch;
            at + 1
        }
    }

    /// When [`on_timeout`](Self::on_timeout) would change something, or something can be sent again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let live = self.batches.iter().find(|batch| !batch.told);
        let end = live.map(|batch| batch.deadline);
        let word = self.waiting.map(|since| since + self.forward_timeout);
        let unsent = self.leader.is_some() && self.sent < self.batches.len();
        let retry = self.retry_at.filter(|_| unsent);
        [end, word, retry].into_iter().flatten().min()
    }

    /// Says how a batch ended.
    fn tell(&mut self, batch: &mut Batch, outcome: Outcome, out: &mut Outbox<Output>) {
        batch.told = true;
        self.told.0 += u64::from(batch.count);
        self.told.1 += core::mem::take(&mut batch.data).len() as u64;
        out.push(Output::Outcome { first: batch.first, count: batch.count, outcome });
    }
}

#[cfg(test)]
mod tests;
