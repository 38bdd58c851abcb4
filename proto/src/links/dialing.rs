//! Whom we want a link to, and when to dial next.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::net::SocketAddr;

use super::Interest;
use crate::{
    ids::{LinkId, PeerId},
    limits,
    rng::Rng,
    time::Instant,
};

/// Where the way to a peer stands, as far as *our* dialling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The next dial is due at this moment.
    Due(Instant),
    /// The transport is connecting.
    Dialing,
    /// The transport connected; the hellos are not exchanged.
    Connected(LinkId),
    /// There is an admitted link, dialled by either end.
    Linked,
}

#[derive(Debug)]
struct Target {
    interests: u8,
    addrs: Vec<SocketAddr>,
    attempt: Attempt,
    failures: u32,
}

/// Wants, attempts and back-off, per peer.
#[derive(Debug)]
pub(super) struct Dialing {
    targets: BTreeMap<PeerId, Target>,
    /// Peers with an attempt in `Dialing`, bounded by [`limits::DIALS`].
    dialing: BTreeSet<PeerId>,
    rng: Rng,
}

impl Dialing {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { targets: BTreeMap::new(), dialing: BTreeSet::new(), rng }
    }

    pub(super) fn want(
        &mut self,
        peer: PeerId,
        interest: Interest,
        addrs: &[SocketAddr],
        linked: bool,
        now: Instant,
    ) {
        let target = self.targets.entry(peer).or_insert_with(|| Target {
            interests: 0,
            addrs: Vec::new(),
            attempt: if linked { Attempt::Linked } else { Attempt::Due(now) },
            failures: 0,
        });
        target.interests |= interest as u8;
        let fresh: Vec<_> =
            addrs.iter().filter(|addr| !target.addrs.contains(addr)).copied().collect();
        if !fresh.is_empty() {
            // The newest hints come first; the oldest are forgotten.
            target.addrs.splice(0..0, fresh);
            target.addrs.truncate(limits::ADDRS_PER_PEER);
            if matches!(target.attempt, Attempt::Due(_)) {
                target.attempt = Attempt::Due(now);
            }
        }
    }

    /// True if this was the last interest in the peer.
    pub(super) fn unwant(&mut self, peer: &PeerId, interest: Interest) -> bool {
        let Some(target) = self.targets.get_mut(peer) else { return false };
        target.interests &= !(interest as u8);
        let last = target.interests == 0;
        if last && matches!(target.attempt, Attempt::Due(_) | Attempt::Linked) {
            self.targets.remove(peer);
        }
        last
    }

    pub(super) fn is_wanted(&self, peer: &PeerId) -> bool {
        self.targets.get(peer).is_some_and(|target| target.interests != 0)
    }

    /// When the peer is to be dialled, if it is.
    pub(super) fn due(&self, peer: &PeerId) -> Option<Instant> {
        match self.targets.get(peer)?.attempt {
            Attempt::Due(at) => Some(at),
            Attempt::Dialing | Attempt::Connected(_) | Attempt::Linked => None,
        }
    }

    /// Starts a dial and returns where to; `None` if it has to wait (then [`due`](Self::due) says
    /// until when) or is not wanted any more.
    pub(super) fn start(
        &mut self,
        peer: &PeerId,
        known: Option<&BTreeSet<SocketAddr>>,
        now: Instant,
    ) -> Option<Vec<SocketAddr>> {
        let busy = self.dialing.len() >= limits::DIALS;
        let wait = if busy { Some(self.rng.jittered(limits::REDIAL_MIN, 2)) } else { None };
        let target = self.targets.get_mut(peer)?;
        if let Some(wait) = wait {
            target.attempt = Attempt::Due(now + wait);
            return None;
        }
        target.attempt = Attempt::Dialing;
        if !self.dialing.insert(*peer) {
            // A dial from before the last link is still under way; its outcome is as good.
            return None;
        }
        let mut addrs = target.addrs.clone();
        addrs.extend(known.into_iter().flatten().filter(|addr| !target.addrs.contains(addr)));
        addrs.truncate(limits::ADDRS_PER_PEER);
        Some(addrs)
    }

    /// The transport connected. False if nobody asked for it (any more).
    pub(super) fn on_connected(&mut self, peer: &PeerId, link: LinkId) -> bool {
        if !self.dialing.remove(peer) {
            return false;
        }
        let Some(target) = self.targets.get_mut(peer) else { return false };
        match target.attempt {
            Attempt::Due(_) | Attempt::Dialing => target.attempt = Attempt::Connected(link),
            Attempt::Connected(_) | Attempt::Linked => return false,
        }
        target.interests != 0
    }

    /// The link of ours to this peer that is connected and not admitted.
    pub(super) fn connected(&self, peer: &PeerId) -> Option<LinkId> {
        match self.targets.get(peer)?.attempt {
            Attempt::Connected(link) => Some(link),
            Attempt::Due(_) | Attempt::Dialing | Attempt::Linked => None,
        }
    }

    /// A dial failed. True if it was ours and is still wanted.
    pub(super) fn on_failed(&mut self, peer: &PeerId, now: Instant) -> bool {
        if !self.dialing.remove(peer) {
            return false;
        }
        if self.targets.get(peer).is_some_and(|target| target.attempt == Attempt::Dialing) {
            self.retry(peer, now, true);
        }
        self.is_wanted(peer)
    }

    /// A link of ours ended before it was admitted.
    pub(super) fn on_ended(&mut self, peer: &PeerId, link: LinkId, now: Instant, failed: bool) {
        if self.connected(peer) == Some(link) {
            self.retry(peer, now, failed);
        }
    }

    /// An admitted link ended. One that lived long resets the back-off.
    pub(super) fn on_lost(&mut self, peer: &PeerId, now: Instant, lived: bool) {
        if let Some(target) = self.targets.get_mut(peer) {
            if lived {
                target.failures = 0;
            }
            if target.attempt == Attempt::Linked {
                self.retry(peer, now, true);
            }
        }
    }

    pub(super) fn on_admitted(&mut self, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.attempt = Attempt::Linked;
            if target.interests == 0 {
                self.targets.remove(peer);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.targets.clear();
    }

    /// Schedules the next attempt, or forgets a peer that nobody wants.
    fn retry(&mut self, peer: &PeerId, now: Instant, failed: bool) {
        let Some(target) = self.targets.get_mut(peer) else { return };
        if target.interests == 0 {
            self.targets.remove(peer);
            return;
        }
        let doubled = limits::REDIAL_MIN * (1 << target.failures.min(10));
        let wait = self.rng.jittered(doubled.min(limits::REDIAL_MAX), 4);
        if failed {
            target.failures = target.failures.saturating_add(1);
        }
        target.attempt = Attempt::Due(now + wait);
    }
}
