//! Leaving in good order.

use super::{Output, Rejection, context::Cx, frames::Announcement, group::Group, state::State};
use crate::{
    mutant::{self, Mutant},
    raft::{self, Raft, Seat},
    time::Instant,
};

/// A leave under way.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Then it leaves as it is.
    until: Instant,
    /// It led: another is to, before it goes.
    led: bool,
}

impl Leaving {
    pub(super) const fn deadline(&self) -> Instant {
        self.until
    }
}

impl Group {
    /// GRP-24: a voter in memory has its removal committed, as long as another voter stays; what it
    /// knows is gone with it. One with a store keeps its seat, and only sees to it that another leads: a
    /// group whose members all stop must find its voters again.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>) {
        if self.leaving.is_some() || self.closed {
            return;
        }
        let until = cx.now() + self.config.timing.leave_timeout;
        let led = self.claim().leads && !mutant::on(Mutant::LeaverLeads);
        self.leaving = Some(Leaving { until, led });
        self.judge_calls();
        self.dirty.bonds = true;
        self.published.dirty = true;
        if self.config.durable && mutant::on(Mutant::LeaverLeads) {
            // It goes as it is.
        } else if self.config.durable {
            self.raft(raft::Event::Transfer(None), cx);
        } else {
            self.raft(raft::Event::CanVote(false), cx);
        }
    }

    pub(super) fn leaving_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.leaving.as_ref().is_some_and(|leaving| leaving.until <= cx.now()) {
            self.close(cx);
        }
    }

    /// Leaves when nobody counts on this member any more.
    pub(super) fn go_on_leaving(&mut self, cx: &mut Cx<'_>) {
        let Some(leaving) = self.leaving.as_ref().filter(|_| !self.closed) else { return };
        let State::Member(standing) = &self.state else { return self.close(cx) };
        let raft = &standing.raft;
        let met = || self.bonds.peers().map(|(_, said)| said);
        let deserted = met().count() > 0 && met().all(|said| said.left);
        // Another leads only with this member's vote, maybe.
        let succeeded = raft.leader().is_some_and(|leader| leader != raft.seat());
        let kept = self.config.durable && leaving.led && !succeeded;
        // What was executed before is given the time that is left, but not by those who have left.
        let idle = self.calls.client.is_idle();
        if deserted || idle && !kept && (self.config.durable || self.is_let_go(raft)) {
            return self.close(cx);
        }
        if kept && !raft.is_handing_over() {
            // Whom it asked to lead is gone.
            self.raft(raft::Event::Transfer(None), cx);
        }
    }

    /// True if the voters do without this member in memory, or have to.
    fn is_let_go(&self, raft: &Raft) -> bool {
        if !raft.holds() || mutant::on(Mutant::LeaverStaysListed) {
            return true;
        }
        let me = raft.seat();
        let would_vote = |said: &Announcement| !said.left && said.can_vote;
        let said = |seat: &Seat| self.bonds.get(&seat.peer);
        let mut others =
            raft.membership().seats().into_iter().filter(|seat| *seat != me).peekable();
        if others.peek().is_none() {
            // A sole voter that has commands waits for who may take them over.
            let heir = |lag: raft::Lag| {
                lag.linked && lag.seat != me && said(&lag.seat).is_some_and(would_vote)
            };
            return raft.log().commands() == 0 || !raft.lags().any(heir);
        }
        // All leave: the set stays as it is, because nobody would take over.
        !self.bonds.peers().any(|(_, said)| would_vote(said))
            && others.all(|seat| said(&seat).is_some())
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        self.announce(cx);
        self.end_requests(cx);
        self.end_calls(Rejection::Closed, cx);
        self.output(cx, Output::Closed);
    }
}
