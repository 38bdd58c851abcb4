//! Whom we want a link to, and when to dial next.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    /// It is due and waits for others to end, at this place of the queue.
    Waiting(Place),
    /// The transport is connecting.
    Dialing,
    /// The transport connected; the hellos are not exchanged.
    Connected(LinkId),
    /// There is an admitted link, dialled by either end.
    Linked,
}

/// A place in the queue of dials: who is known stands before strangers, else first come first
/// served. So many strangers delay each other, but neither those that we know nor the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stranger: bool,
    number: u64,
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
    /// Peers with an attempt in `Dialing`, bounded by [`limits::DIALS`], and if they are strangers.
    dialing: BTreeMap<PeerId, bool>,
    /// How many of them are strangers, bounded by [`limits::STRANGER_DIALS`].
    strangers: usize,
    /// Targets in `Waiting`.
    queue: BTreeMap<Place, PeerId>,
    next_place: u64,
    /// Peers whose link was lost, the latest [`limits::LOST_PEERS`] of them.
    lost: BTreeSet<PeerId>,
    lost_order: VecDeque<PeerId>,
    rng: Rng,
}

impl Dialing {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            targets: BTreeMap::new(),
            dialing: BTreeMap::new(),
            strangers: 0,
            queue: BTreeMap::new(),
            next_place: 0,
            lost: BTreeSet::new(),
            lost_order: VecDeque::new(),
            rng,
        }
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
            match target.attempt {
                Attempt::Due(_) => target.attempt = Attempt::Due(now),
                // Somebody told us where it is: no stranger any more.
                Attempt::Waiting(place) if place.stranger => {
                    self.queue.remove(&place);
                    target.attempt = Attempt::Due(now);
                }
                Attempt::Waiting(_)
                | Attempt::Dialing
                | Attempt::Connected(_)
                | Attempt::Linked => {}
            }
        }
    }

    /// True if this was the last interest in the peer.
    pub(super) fn unwant(&mut self, peer: &PeerId, interest: Interest) -> bool {
        let Some(target) = self.targets.get_mut(peer) else { return false };
        target.interests &= !(interest as u8);
        let last = target.interests == 0;
        match target.attempt {
            Attempt::Due(_) | Attempt::Waiting(_) | Attempt::Linked if last => self.forget(peer),
            _ => {}
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
            Attempt::Waiting(_) | Attempt::Dialing | Attempt::Connected(_) | Attempt::Linked => {
                None
            }
        }
    }

    /// A dial that is due takes its place among those that wait.
    pub(super) fn queue(&mut self, peer: &PeerId) {
        let Some(target) = self.targets.get_mut(peer) else { return };
        if matches!(target.attempt, Attempt::Due(_)) {
            let stranger = target.addrs.is_empty() && !self.lost.contains(peer);
            let place = Place { stranger, number: self.next_place };
            self.next_place += 1;
            target.attempt = Attempt::Waiting(place);
            self.queue.insert(place, *peer);
        }
    }

    /// Whose turn it is, if there is room for another dial.
    pub(super) fn next(&mut self) -> Option<PeerId> {
        if self.dialing.len() >= limits::DIALS {
            return None;
        }
        let (place, peer) = self.queue.first_key_value()?;
        (!place.stranger || self.strangers < limits::STRANGER_DIALS).then_some(*peer)
    }

    /// A dial that waited is due later.
    pub(super) fn put_off(&mut self, peer: &PeerId, until: Instant) {
        if let Some(target) = self.targets.get_mut(peer)
            && let Attempt::Waiting(place) = target.attempt
        {
            self.queue.remove(&place);
            target.attempt = Attempt::Due(until);
        }
    }

    /// Starts the dial of a peer that waits and returns where to; `None` if an earlier one runs.
    pub(super) fn start(
        &mut self,
        peer: &PeerId,
        known: Option<&BTreeSet<SocketAddr>>,
    ) -> Option<Vec<SocketAddr>> {
        let target = self.targets.get_mut(peer)?;
        let Attempt::Waiting(place) = target.attempt else { return None };
        self.queue.remove(&place);
        target.attempt = Attempt::Dialing;
        if self.dialing.contains_key(peer) {
            // A dial from before the last link is still under way; its outcome is as good.
            return None;
        }
        self.dialing.insert(*peer, place.stranger);
        self.strangers += usize::from(place.stranger);
        let mut addrs = target.addrs.clone();
        addrs.extend(known.into_iter().flatten().filter(|addr| !target.addrs.contains(addr)));
        addrs.truncate(limits::ADDRS_PER_PEER);
        Some(addrs)
    }

    /// The transport connected. False if nobody asked for it (any more).
    pub(super) fn on_connected(&mut self, peer: &PeerId, link: LinkId) -> bool {
        if !self.ended(peer) {
            return false;
        }
        let Some(target) = self.targets.get_mut(peer) else { return false };
        match target.attempt {
            Attempt::Due(_) | Attempt::Dialing => {}
            Attempt::Waiting(place) => {
                self.queue.remove(&place);
            }
            Attempt::Connected(_) | Attempt::Linked => return false,
        }
        target.attempt = Attempt::Connected(link);
        target.interests != 0
    }

    /// The link of ours to this peer that is connected and not admitted.
    pub(super) fn connected(&self, peer: &PeerId) -> Option<LinkId> {
        match self.targets.get(peer)?.attempt {
            Attempt::Connected(link) => Some(link),
            Attempt::Due(_) | Attempt::Waiting(_) | Attempt::Dialing | Attempt::Linked => None,
        }
    }

    /// A dial failed. True if it was ours and is still wanted.
    pub(super) fn on_failed(&mut self, peer: &PeerId, now: Instant) -> bool {
        if !self.ended(peer) {
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
        if self.lost.insert(*peer) {
            self.lost_order.push_back(*peer);
        }
        if self.lost_order.len() > limits::LOST_PEERS
            && let Some(oldest) = self.lost_order.pop_front()
        {
            self.lost.remove(&oldest);
        }
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
        let Some(target) = self.targets.get_mut(peer) else { return };
        if let Attempt::Waiting(place) = target.attempt {
            self.queue.remove(&place);
        }
        target.attempt = Attempt::Linked;
        if target.interests == 0 {
            self.targets.remove(peer);
        }
    }

    pub(super) fn clear(&mut self) {
        self.targets.clear();
        self.queue.clear();
    }

    /// A dial came to its end. False if it was not ours.
    fn ended(&mut self, peer: &PeerId) -> bool {
        let Some(stranger) = self.dialing.remove(peer) else { return false };
        self.strangers -= usize::from(stranger);
        true
    }

    fn forget(&mut self, peer: &PeerId) {
        if let Some(Target { attempt: Attempt::Waiting(place), .. }) = self.targets.remove(peer) {
            self.queue.remove(&place);
        }
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
