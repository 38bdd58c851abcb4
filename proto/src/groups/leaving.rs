//! Leaving in good order.

use super::{Output, context::Cx, group::Group, state::State};
use crate::{
    mutant::{self, Mutant},
    raft,
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
        let led = leaving.led;
        let State::Member(standing) = &self.state else { return self.close(cx) };
        let raft = &standing.raft;
        let me = raft.seat();
        let others = raft.membership().seats().iter().any(|seat| *seat != me);
        let succeeded = !led || raft.leader().is_some_and(|leader| leader != me);
        let removed = !raft.holds() || mutant::on(Mutant::LeaverStaysListed);
        let done = if self.config.durable { succeeded } else { removed };
        // A sole voter in memory that has commands waits for who may take them over.
        let heir = |lag: raft::Lag| {
            let said = self.bonds.get(&lag.seat.peer);
            lag.linked && lag.seat != me && said.is_some_and(|said| said.can_vote)
        };
        let heirs = !self.config.durable && raft.log().commands() > 0 && raft.lags().any(heir);
        // What was executed before is given the time that is left.
        if (done || !others && !heirs) && self.calls.client.is_idle() {
            self.close(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        self.announce(cx);
        self.end_requests(cx);
        self.end_calls(cx);
        self.output(cx, Output::Closed);
    }
}
