//! What producers and consumers share within a step: timers, channel routes, wants.

use alloc::collections::BTreeMap;

use super::{Action, Change, Env};
use crate::{
    core::Outbox,
    discovery::{PeerEntry, PeerInfo},
    ids::{ChannelId, ConsumerId, LinkId, PeerId, ProducerId, SubscriptionId},
    rng::Rng,
    tickets::{Expiration, InvalidTicket, Leases, TicketValidator},
    time::{Instant, TimerQueue},
    wire::Protocol,
};

/// The timers of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A channel that a peer opened has not said what it wants.
    Pending(ChannelId),
    /// A consumer of ours may have stalled for too long.
    Lag(ProducerId, SubscriptionId),
    /// Tickets of a consumer of ours are to be looked at.
    ConsumerTickets(ProducerId, SubscriptionId),
    /// A subscription of ours waits to be tried again, or for its answer.
    Attempt(ConsumerId, PeerId),
    /// A producer left the catalog; what it had sent has had its time to arrive.
    Leave(ConsumerId, PeerId),
    /// Tickets of a producer that we consume from are to be looked at.
    ProducerTickets(ConsumerId, PeerId),
}

/// Whose channel it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// Opened by a peer that has not said what it wants.
    Pending,
    /// A consumer of a producer of ours.
    Producer(ProducerId, SubscriptionId),
    /// A producer that a consumer of ours follows.
    Consumer(ConsumerId, PeerId),
}

/// State that belongs to all producers and consumers of a node together.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) timers: TimerQueue<Timer>,
    pub(super) routes: BTreeMap<ChannelId, Route>,
    pub(super) rng: Rng,
    /// How many subscriptions want a link to this peer.
    wants: BTreeMap<PeerId, usize>,
    leases: Leases,
    next_channel: u64,
    next_subscription: u64,
}

impl Shared {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            timers: TimerQueue::new(),
            routes: BTreeMap::new(),
            rng,
            wants: BTreeMap::new(),
            leases: Leases::new(),
            next_channel: 0,
            next_subscription: 0,
        }
    }
}

/// One step: what it may look at, what it shares, where its actions go.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub(super) env: Env<'a>,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Outbox<Action>,
}

impl Cx<'_> {
    pub(super) const fn now(&self) -> Instant {
        self.env.now.mono
    }

    pub(super) fn publish(&mut self, change: Change) {
        self.out.push(Action::Publish(change));
    }

    pub(super) fn set_timer(&mut self, timer: Timer, at: Option<Instant>) {
        self.shared.timers.set(timer, at);
    }

    pub(super) fn next_subscription(&mut self) -> SubscriptionId {
        self.shared.next_subscription += 1;
        SubscriptionId(self.shared.next_subscription)
    }

    /// Opens a channel under an id of streams.
    pub(super) fn open(&mut self, link: LinkId, route: Route) -> ChannelId {
        let channel = Protocol::Stream.channel(self.shared.next_channel);
        self.shared.next_channel += 1;
        self.shared.routes.insert(channel, route);
        self.out.push(Action::Open { link, channel });
        channel
    }

    pub(super) fn want(&mut self, peer: PeerId) {
        let count = self.shared.wants.entry(peer).or_default();
        *count += 1;
        if *count == 1 {
            self.out.push(Action::Want(peer));
        }
    }

    pub(super) fn unwant(&mut self, peer: PeerId) {
        let Some(count) = self.shared.wants.get_mut(&peer) else { return };
        *count -= 1;
        if *count == 0 {
            self.shared.wants.remove(&peer);
            self.out.push(Action::Unwant(peer));
        }
    }

    /// The entry of a peer with the round-trip time to it.
    pub(super) fn info(&self, entry: &PeerEntry) -> PeerInfo {
        PeerInfo::new(entry.clone(), self.env.paths.rtt(&entry.id()))
    }

    /// Whether a peer has the tickets, and until when. STR-11: from the first look on the end is also
    /// a moment of the monotonic clock, so that a wall clock that is set back extends nothing.
    pub(super) fn tickets(
        &mut self,
        validators: &[alloc::sync::Arc<dyn TicketValidator>],
        entry: &PeerEntry,
    ) -> Result<Expiration, InvalidTicket> {
        self.shared.leases.judge(validators, entry, self.env.now)
    }

    /// When tickets that are good until `expiration` have to be looked at again: on expiry, but at
    /// least once a second, because wall clocks jump (STR-11).
    pub(super) fn ticket_check(&self, expiration: Expiration) -> Option<Instant> {
        Leases::next_look(expiration, self.env.now)
    }
}
