//! Who is let in: hellos, duplicates, replacement, and the moment of admission.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    Action, Counter, Env, Links, Path, Phase, Policy, Timer,
    hello::{self, Hello, Refusal},
};
use crate::{
    core::Outbox,
    ids::{ChannelId, LinkId, PeerId, Side},
    mutant::{self, Mutant},
    wire::{CloseCode, Head, header},
};

impl Links {
    pub(super) fn on_hello(
        &mut self,
        env: Env<'_>,
        link: LinkId,
        payload: &[u8],
        out: &mut Outbox<Action>,
    ) {
        let Some(state) = self.links.get(&link) else { return };
        let (peer, side) = (state.peer, state.side);
        let hello = match Hello::check(payload, &self.network, &peer) {
            Ok(hello) => hello,
            Err(Refusal(CloseCode::PROTOCOL_VIOLATION)) => return self.violation(env, link, out),
            Err(Refusal(code)) => return self.refuse(env, link, code, out),
        };
        if !self.policy.admits(hello.entry.entry()) {
            return self.refuse(env, link, CloseCode::NOT_ADMITTED, out);
        }
        let order = (hello.entry.update_version().incarnation, hello.serial);
        if side == Side::Listener {
            if let Err(code) = self.resolve_duplicate(env, peer, order, out) {
                return self.refuse(env, link, code, out);
            }
            if self.chosen.len() >= self.limits.links {
                return self.refuse(env, link, CloseCode::BUSY, out);
            }
        } else if self.chosen.contains_key(&peer) {
            return self.refuse(env, link, CloseCode::DUPLICATE, out);
        }
        self.chosen.insert(peer, link);
        let Some(state) = self.links.get_mut(&link) else { return };
        state.order = order;
        state.phase = Phase::AwaitReady(hello.entry);
        let Some(control) = state.control else { return };
        if side == Side::Listener {
            self.send_hello(control, Head::new(), out);
        } else {
            let head = Head::new().with(&header(hello::READY, 0));
            out.push(Action::Write { channel: control, head, body: Bytes::new() });
            self.admit(env, link, out);
        }
    }

    /// LINK-14: a new policy holds for the links that there are, too.
    pub(super) fn on_policy(&mut self, env: Env<'_>, policy: Policy, out: &mut Outbox<Action>) {
        self.policy = policy;
        for peer in self.paths.by_peer.keys().copied().collect::<Vec<_>>() {
            self.on_entry_changed(env, &peer, out);
        }
    }

    /// LINK-14: who does not fit any more is put out.
    pub(super) fn on_entry_changed(
        &mut self,
        env: Env<'_>,
        peer: &PeerId,
        out: &mut Outbox<Action>,
    ) {
        let Some(link) = self.paths.get(peer).map(|path| path.link) else { return };
        let admitted = match env.catalog.get(peer) {
            Some(entry) => self.policy.admits(entry),
            None => self.policy.may_try(peer),
        };
        if !admitted {
            self.refuse(env, link, CloseCode::NOT_ADMITTED, out);
        }
    }

    /// LINK-04 and LINK-05: decides between an arriving hello and what we have with this peer.
    fn resolve_duplicate(
        &mut self,
        env: Env<'_>,
        peer: PeerId,
        order: (u64, u64),
        out: &mut Outbox<Action>,
    ) -> Result<(), CloseCode> {
        if let Some(chosen) = self.chosen.get(&peer).copied() {
            if self.links[&chosen].order >= order {
                return Err(CloseCode::DUPLICATE);
            }
            if !mutant::on(Mutant::DuplicateKept) {
                self.close(env, chosen, CloseCode::REPLACED, out);
            }
        } else if let Some(ours) = self.dialing.connected(&peer) {
            if self.me < peer || mutant::on(Mutant::BothDialsDropped) {
                return Err(CloseCode::DUPLICATE);
            }
            self.close(env, ours, CloseCode::DUPLICATE, out);
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, env: Env<'_>, link: LinkId, out: &mut Outbox<Action>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let phase = core::mem::replace(&mut state.phase, Phase::Admitted);
        let Phase::AwaitReady(entry) = phase else { return };
        let (peer, side, rtt, binding) = (state.peer, state.side, state.rtt, state.binding);
        state.admitted_at = Some(env.now.mono);
        if side == Side::Listener {
            self.strangers -= 1;
        }
        assert_eq!(self.chosen.get(&peer), Some(&link), "INV-LINK-1");
        self.timers.cancel(&Timer::Handshake(link));
        self.timers.cancel(&Timer::Dial(peer));
        self.dialing.on_admitted(&peer);
        self.paths.by_peer.insert(peer, Path { link, rtt, side });
        tracing::debug!(?peer, ?link, ?side, "admitted");
        out.push(Action::Count(Counter::Admitted));
        out.push(Action::Path { peer, rtt: Some(rtt) });
        out.push(Action::Connected { peer, link, side, entry, binding });
        self.consider_idle(env, link);
    }

    pub(super) fn send_hello(&mut self, channel: ChannelId, head: Head, out: &mut Outbox<Action>) {
        let local = self.local.as_ref().expect("a node knows its entry before its first link");
        let body = Hello::encode(&self.network, self.serial, local);
        self.serial += 1;
        let head = head.with(&header(hello::HELLO, body.len() as u32));
        out.push(Action::Write { channel, head, body });
    }
}
