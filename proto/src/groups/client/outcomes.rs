//! How the log ends this node's commands: what was applied, what the table of sessions knows, and what a
//! lost session or lineage leaves open.

use super::{Client, Session};
use crate::{
    core::Outbox,
    groups::{Index, Outcome, Output, Rejection, batch::Batch, places::Place, sessions::Sessions},
    ids::PeerId,
    raft::LogIndex,
};

impl Client {
    /// The session named `id` was opened.
    pub(in crate::groups) fn on_opened(&mut self, id: u64, peer: &PeerId, nonce: u64) {
        if *peer == self.me
            && matches!(self.session, Session::Opening { nonce: ours, .. } if ours == nonce)
        {
            self.session = Session::Open { id, next: 0, unresolved: 0 };
            self.waiting = None;
        }
    }

    /// GRP-35: numbers of our session are applied here, or used up by nothing.
    pub(in crate::groups) fn on_applied(&mut self, place: Place, out: &mut Outbox<Output>) {
        match &mut self.session {
            Session::Open { unresolved, .. } => *unresolved = place.end(),
            // The leader was ahead of this member when it said that the session is over.
            Session::Ending(_) => {}
            Session::None | Session::Opening { .. } => return,
        }
        self.resolve(place, |index| Outcome::Committed { index }, out);
    }

    /// Ends what `place` covers, the first numbers that are unresolved.
    fn resolve(
        &mut self,
        place: Place,
        outcome: impl Fn(Index) -> Outcome,
        out: &mut Outbox<Output>,
    ) {
        let (mut left, mut done) = (place.count, 0);
        while left > 0
            && let Some(mut batch) = self.batches.pop_front()
        {
            debug_assert_eq!(batch.number, Some(place.number + done), "numbers resolve in order");
            let whole = u64::from(batch.count) <= left;
            let rest = if whole { None } else { batch.split(left as u32) };
            left -= u64::from(batch.count);
            if !batch.told {
                let end = place.index.map(|index| outcome(Index(index.0 + done)));
                self.tell(&mut batch, end.unwrap_or(Outcome::Unknown), out);
            }
            done += u64::from(batch.count);
            match rest {
                Some(rest) => self.batches.push_front(rest),
                None => {
                    self.sent = self.sent.saturating_sub(1);
                    self.taken = self.taken.saturating_sub(1);
                }
            }
        }
        if self.taken == self.sent {
            self.waiting = None;
        }
    }

    /// Commands of our session were found to be void: the table dropped it. Nothing of it that is
    /// unresolved was or will be applied, so it goes on in a new one (GRP-31).
    pub(in crate::groups) fn on_session_over(&mut self) {
        self.begin_again();
        self.session = Session::None;
        self.batches.retain_mut(|batch| {
            batch.number = None;
            batch.doubt = false;
            !batch.told
        });
    }

    /// Looks whether the session is over by the table as it is at `at`.
    pub(in crate::groups) fn check_session(&mut self, sessions: &Sessions, at: LogIndex) {
        if self.session().is_some_and(|id| sessions.next(id, at).is_none()) {
            self.on_session_over();
        }
    }

    /// True if the leader said that the session is over.
    pub(in crate::groups) const fn is_ending(&self) -> bool {
        matches!(self.session, Session::Ending(_))
    }

    /// The table was replaced by that of a snapshot up to `at`: what it holds is resolved by it.
    pub(in crate::groups) fn on_installed(
        &mut self,
        sessions: &Sessions,
        at: LogIndex,
        out: &mut Outbox<Output>,
    ) {
        match self.session {
            Session::None => {}
            Session::Opening { nonce, .. } => {
                if let Some(id) = sessions.opened_by(&self.me, nonce) {
                    let me = self.me;
                    self.on_opened(id, &me, nonce);
                }
            }
            Session::Open { id, .. } | Session::Ending(id) => match sessions.next(id, at) {
                Some((_, next)) => self.resolve_below(sessions, id, next, out),
                None => self.drop_session(Outcome::Unknown, out),
            },
        }
    }

    fn resolve_below(&mut self, sessions: &Sessions, id: u64, next: u64, out: &mut Outbox<Output>) {
        while let Some(Batch { number: Some(number), .. }) = self.batches.front()
            && *number < next
        {
            // What is older than the table remembers was committed, but nobody knows where.
            let number = *number;
            let lost = Place { number, count: 1, index: None };
            let mut place = sessions.place(id, number).unwrap_or(lost);
            place.count = place.count.min(next - number);
            self.resolve(place, |index| Outcome::Committed { index }, out);
        }
        if let Session::Open { unresolved, .. } = &mut self.session {
            *unresolved = next.max(*unresolved);
        }
    }

    /// The session is gone, and what was sent in it ends like this. The others go on in a new one.
    fn drop_session(&mut self, sent: Outcome, out: &mut Outbox<Output>) {
        self.begin_again();
        self.session = Session::None;
        let batches = core::mem::take(&mut self.batches);
        for mut batch in batches {
            if batch.doubt && !batch.told {
                self.tell(&mut batch, sent, out);
            }
            if !batch.told {
                batch.number = None;
                self.batches.push_back(batch);
            }
        }
    }

    /// GRP-37: this member leaves its lineage. What may be in that one's log is unknown, or, if
    /// nothing of it that is uncommitted can live on anywhere, `superseded`.
    pub(in crate::groups) fn on_lineage_left(
        &mut self,
        superseded: bool,
        out: &mut Outbox<Output>,
    ) {
        let sent =
            if superseded { Outcome::Rejected(Rejection::Superseded) } else { Outcome::Unknown };
        self.drop_session(sent, out);
        self.leader = None;
        self.retry_at = None;
        self.obstacle = Rejection::Offline;
    }

    /// Everything ends: this member applies nothing more. New commands are rejected.
    pub(in crate::groups) fn close(&mut self, rejection: Rejection, out: &mut Outbox<Output>) {
        self.refuse(Some(rejection));
        self.begin_again();
        for mut batch in core::mem::take(&mut self.batches) {
            if !batch.told {
                let outcome =
                    if batch.doubt { Outcome::Unknown } else { Outcome::Rejected(rejection) };
                self.tell(&mut batch, outcome, out);
            }
        }
        self.session = Session::None;
    }
}
