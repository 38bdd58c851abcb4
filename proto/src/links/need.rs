//! Who needs a link: wants and dials, and when a link that nobody needs ends.

use super::{Action, Env, Interest, Link, Links, Phase, Timer};
use crate::{
    core::Outbox,
    ids::{LinkId, PeerId, Side},
    limits,
    wire::CloseCode,
};

/// How long a link that the dialler does not need stays before it is closed.
const IDLE_GRACE: core::time::Duration = core::time::Duration::from_secs(10);

impl Links {
    pub(super) fn on_want(
        &mut self,
        env: Env<'_>,
        interest: Interest,
        peer: PeerId,
        addrs: &[core::net::SocketAddr],
    ) {
        if peer == self.me || self.closed {
            return;
        }
        let linked = self.paths.get(&peer).is_some();
        self.dialing.want(peer, interest, addrs, linked, env.now.mono);
        match self.chosen.get(&peer) {
            Some(link) => self.timers.cancel(&Timer::Idle(*link)),
            None => self.arm_dial(peer),
        }
    }

    pub(super) fn on_unwant(&mut self, env: Env<'_>, interest: Interest, peer: PeerId) {
        if self.dialing.unwant(&peer, interest) {
            self.timers.cancel(&Timer::Dial(peer));
            if let Some(link) = self.chosen.get(&peer).copied() {
                self.consider_idle(env, link);
            }
        }
    }

    /// LINK-08: ends a link whose peer said farewell, but lets what it sent before arrive.
    pub(super) fn on_retire(&mut self, env: Env<'_>, link: LinkId, out: &mut Outbox<Action>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.retiring = true;
        self.timers.set(Timer::Retire(link), Some(env.now.mono + limits::FAREWELL));
        self.channel_ended(env, link, out);
    }

    /// A channel ended: the link may have nothing left to be there for.
    pub(super) fn channel_ended(&mut self, env: Env<'_>, link: LinkId, out: &mut Outbox<Action>) {
        let retiring = self.links.get(&link).is_some_and(|state| state.retiring);
        if !retiring {
            self.consider_idle(env, link);
        } else if self.channels.only_control(link) {
            self.close(env, link, CloseCode::GRACEFUL_SHUTDOWN, out);
        }
    }

    /// LINK-07: starts the grace period of a link that only its dialler, we, kept up.
    pub(super) fn consider_idle(&mut self, env: Env<'_>, link: LinkId) {
        let Some(state) = self.links.get(&link) else { return };
        if self.is_idle(link, state) {
            self.timers.set(Timer::Idle(link), Some(env.now.mono + IDLE_GRACE));
        }
    }

    pub(super) fn is_idle(&self, link: LinkId, state: &Link) -> bool {
        state.side == Side::Dialer
            && matches!(state.phase, Phase::Admitted)
            && !self.dialing.is_wanted(&state.peer)
            && self.channels.only_control(link)
    }

    pub(super) fn arm_dial(&mut self, peer: PeerId) {
        let at = if self.chosen.contains_key(&peer) { None } else { self.dialing.due(&peer) };
        self.timers.set(Timer::Dial(peer), at);
    }

    pub(super) fn on_timeout(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        while let Some(timer) = self.timers.pop_due(env.now.mono) {
            match timer {
                Timer::Handshake(link) => self.refuse(env, link, CloseCode::TIMEOUT, out),
                Timer::Retire(link) => self.close(env, link, CloseCode::GRACEFUL_SHUTDOWN, out),
                Timer::Idle(link) => {
                    if self.links.get(&link).is_some_and(|state| self.is_idle(link, state)) {
                        self.close(env, link, CloseCode::IDLE, out);
                    }
                }
                Timer::Dial(peer) if self.chosen.contains_key(&peer) => {}
                // Looked at again as long as somebody wants it: the policy may change.
                Timer::Dial(peer) if !self.policy.may_try(&peer) => {
                    self.timers.set(timer, Some(env.now.mono + limits::REDIAL_MAX));
                }
                Timer::Dial(peer) => {
                    self.dialing.queue(&peer);
                    self.start_waiting(env, out);
                }
            }
        }
    }

    /// Starts dials that wait, as far as there is room (LINK-17).
    pub(super) fn start_waiting(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        while let Some(peer) = self.dialing.next() {
            // It came to us meanwhile, or is denied by now.
            if self.chosen.contains_key(&peer) || !self.policy.may_try(&peer) {
                self.dialing.put_off(&peer, env.now.mono + limits::REDIAL_MAX);
                self.arm_dial(peer);
                continue;
            }
            let known = env.catalog.get(&peer).map(|entry| &entry.address().addrs);
            if let Some(addrs) = self.dialing.start(&peer, known) {
                out.push(Action::Dial { peer, addrs });
            }
        }
    }
}
