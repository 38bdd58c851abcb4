//! A local consumer: whom it follows, and what it hands to the application.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use bytes::Bytes;

use super::{
    Action, Backoff, Change, ConsumerConfig, Counter, Delivery, EndReason, Owner, State,
    context::{Cx, Route, Timer},
    frames::{self, Accept, Credit, Position},
    incoming::{Arrival, Incoming, Phase, Violation},
    item,
};
use crate::{
    discovery::PeerEntry,
    ids::{ConsumerId, PeerId, SubscriptionId},
    limits,
    links::DownReason,
    mutant::{self, Mutant},
    wire::{CloseCode, FrameReader},
};

/// One local consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    id: ConsumerId,
    pub(super) config: ConsumerConfig,
    producers: BTreeMap<PeerId, Incoming>,
    /// Where producers stopped that left the catalog, should they come back; oldest first.
    left: VecDeque<(PeerId, Position)>,
    online: bool,
}

impl Consumer {
    /// Opens a consumer and begins to follow all producers that are known.
    pub(super) fn open(id: ConsumerId, config: ConsumerConfig, cx: &mut Cx<'_>) -> Self {
        let mut consumer =
            Self { id, config, producers: BTreeMap::new(), left: VecDeque::new(), online: false };
        consumer.update_online(cx);
        let stream = consumer.config.stream;
        let known: Vec<_> =
            cx.env.catalog.peers().filter(|e| e.streams().contains(&stream)).collect();
        for entry in known {
            consumer.consider(&entry.id(), Some(entry), cx);
        }
        consumer
    }

    const fn owner(&self) -> Owner {
        Owner::Consumer(self.id)
    }

    /// The peers that it follows.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.producers.keys().copied()
    }

    pub(super) fn follows(&self, peer: &PeerId) -> bool {
        self.producers.contains_key(peer)
    }

    /// STR-02: looks at a peer anew: follow it, go on, or leave it.
    pub(super) fn consider(&mut self, peer: &PeerId, entry: Option<&PeerEntry>, cx: &mut Cx<'_>) {
        let Some(entry) = entry else { return self.on_gone(peer, cx) };
        cx.set_timer(Timer::Leave(self.id, *peer), None);
        if !self.is_allowed(entry, cx) {
            return self.leave(peer, EndReason::NotAllowed, cx);
        }
        if !entry.streams().contains(&self.config.stream) {
            // STR-13: a producer that closes is not advertised any more but still sends what it
            // accepted; it ends the channel itself.
            let draining = self.producers.get(peer).and_then(Incoming::channel);
            if draining.is_none() {
                self.leave(peer, EndReason::NotProduced, cx);
            }
            return;
        }
        if !self.producers.contains_key(peer) {
            self.follow(entry, cx);
        }
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        let changed = incoming.entry != *entry;
        incoming.entry = entry.clone();
        match incoming.phase {
            Phase::Unlinked => {
                self.list(peer, cx);
                self.attempt(peer, cx);
            }
            // The entry changed, so the reason of the refusal may be gone.
            Phase::Waiting => self.attempt(peer, cx),
            Phase::Subscribing(..) | Phase::Active(..) if changed => self.list(peer, cx),
            Phase::Subscribing(..) | Phase::Active(..) => {}
        }
        self.check_tickets(peer, cx);
        self.update_online(cx);
    }

    fn follow(&mut self, entry: &PeerEntry, cx: &mut Cx<'_>) {
        let peer = entry.id();
        let window = Credit { items: self.config.window_items, bytes: self.config.window_bytes };
        let known = self.left.iter().position(|(left, _)| *left == peer);
        let position = known.and_then(|at| self.left.remove(at)).map(|(_, position)| position);
        let subscription = cx.next_subscription();
        self.producers.insert(peer, Incoming::new(subscription, entry.clone(), window, position));
        cx.want(peer);
    }

    /// STR-12: the peer is not in the catalog any more. What it sent before it left may still be
    /// under way; and should it come back, it continues where it stopped.
    fn on_gone(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get(peer) else { return };
        let timer = Timer::Leave(self.id, *peer);
        if incoming.channel().is_none() {
            self.leave(peer, EndReason::UnknownPeer, cx);
        } else if cx.shared.timers.at(&timer).is_none() {
            cx.set_timer(timer, Some(cx.now() + limits::FAREWELL));
        }
    }

    fn is_allowed(&self, entry: &PeerEntry, cx: &mut Cx<'_>) -> bool {
        self.config.require.accepts(&cx.info(entry))
            && cx.tickets(&self.config.validators, entry).is_ok()
    }

    /// Subscribes if there is a link; else waits for one.
    pub(super) fn attempt(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        if incoming.channel().is_some() {
            return;
        }
        let timer = Timer::Attempt(self.id, *peer);
        if !incoming.can_take() {
            // The application still has a window full; `on_consumed` comes back to it.
            incoming.phase = Phase::Waiting;
            return cx.set_timer(timer, Some(cx.now() + limits::RESUBSCRIBE_MAX));
        }
        let Some(path) = cx.env.paths.get(peer).copied() else {
            incoming.phase = Phase::Unlinked;
            return cx.set_timer(timer, None);
        };
        let channel = cx.open(path.link, Route::Consumer(self.id, *peer));
        let subscribe = incoming.subscribe(&self.config);
        incoming.phase = Phase::Subscribing(channel, FrameReader::new());
        let (head, body) = frames::message(frames::SUBSCRIBE, &subscribe);
        cx.out.push(Action::Write { channel, head, body });
        cx.set_timer(timer, Some(cx.now() + limits::SUBSCRIBE_TIMEOUT));
    }

    /// The attempt timer of a peer fired: the answer is overdue, or the wait is over.
    pub(super) fn on_attempt_timer(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get(peer) else { return };
        match incoming.phase {
            Phase::Subscribing(channel, _) => {
                cx.out.push(Action::Close { channel, code: CloseCode::TIMEOUT });
                self.interrupted(peer, EndReason::TimedOut, cx);
            }
            Phase::Waiting | Phase::Unlinked => self.attempt(peer, cx),
            Phase::Active(..) => {}
        }
    }

    /// The channel to a producer ended by the other end.
    pub(super) fn on_channel_down(&mut self, peer: &PeerId, reason: DownReason, cx: &mut Cx<'_>) {
        tracing::debug!(?peer, ?reason, "subscription ended");
        self.interrupted(peer, reason.into(), cx);
    }

    /// The link to a producer is gone; its channels were before.
    pub(super) fn on_disconnected(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        if incoming.channel().is_none() {
            incoming.phase = Phase::Unlinked;
            cx.set_timer(Timer::Attempt(self.id, *peer), None);
        }
    }

    /// A frame from a producer.
    pub(super) fn on_frame(&mut self, peer: &PeerId, kind: u8, payload: Bytes, cx: &mut Cx<'_>) {
        let result = match kind {
            frames::ACCEPT => self.on_accept(peer, &payload, cx),
            frames::ITEMS => self.on_items(peer, payload, cx),
            _ => Err(Violation),
        };
        if result.is_err() {
            self.on_violation(peer, cx);
        }
    }

    /// The producer broke the protocol: ends the channel, and waits before the next attempt.
    pub(super) fn on_violation(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        cx.out.push(Action::Count(Counter::Violation(self.config.stream)));
        if let Some(channel) = self.producers.get(peer).and_then(Incoming::channel) {
            cx.out.push(Action::Close { channel, code: CloseCode::PROTOCOL_VIOLATION });
        }
        self.interrupted(peer, EndReason::Violation, cx);
    }

    /// The reader of the channel to a producer.
    pub(super) fn reader(&mut self, peer: &PeerId) -> Option<&mut FrameReader> {
        match &mut self.producers.get_mut(peer)?.phase {
            Phase::Subscribing(_, reader) | Phase::Active(_, reader) => Some(reader),
            Phase::Unlinked | Phase::Waiting => None,
        }
    }

    fn on_accept(
        &mut self,
        peer: &PeerId,
        payload: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let incoming = self.producers.get_mut(peer).ok_or(Violation)?;
        if !matches!(incoming.phase, Phase::Subscribing(..)) {
            return Err(Violation);
        }
        let accept = frames::read::<Accept>(payload).map_err(|_| Violation)?;
        let arrival = incoming.accepted(accept)?;
        let phase = core::mem::replace(&mut incoming.phase, Phase::Unlinked);
        if let Phase::Subscribing(channel, reader) = phase {
            incoming.phase = Phase::Active(channel, reader);
        }
        cx.set_timer(Timer::Attempt(self.id, *peer), None);
        self.list(peer, cx);
        self.report(peer, arrival, cx);
        self.update_online(cx);
        self.regrant(peer, cx);
        Ok(())
    }

    /// STR-05: what the application took while the answer was under way counts from now on.
    fn regrant(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        if let (Some(grant), Some(channel)) = (incoming.regrant(), incoming.channel()) {
            let (head, body) = frames::message(frames::CREDIT, &grant);
            incoming.owe(head.len() + body.len());
            cx.out.push(Action::Write { channel, head, body });
        }
    }

    /// The transport took bytes of ours: there may be room for a grant that had to wait.
    pub(super) fn on_drained(&mut self, peer: &PeerId, bytes: u32, cx: &mut Cx<'_>) {
        if let Some(incoming) = self.producers.get_mut(peer) {
            incoming.drained(bytes);
            self.regrant(peer, cx);
        }
    }

    fn on_items(
        &mut self,
        peer: &PeerId,
        payload: Bytes,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let incoming = self.producers.get_mut(peer).ok_or(Violation)?;
        if !incoming.is_active() {
            return Err(Violation);
        }
        let (first, items, data) = frames::read_items(payload).map_err(|_| Violation)?;
        let whole = item::prefix(&data, 0, u64::from(items), u64::MAX, usize::MAX)
            .ok()
            .filter(|prefix| prefix.items == items && prefix.end == data.len())
            .ok_or(Violation)?;
        let arrival = incoming.receive(first, items, whole.payload)?;
        let subscription = incoming.subscription;
        let delivered = incoming.delivered;
        let next = first + u64::from(items);
        self.report(peer, arrival, cx);
        let delivery = Delivery { consumer: self.id, subscription, first, items, data };
        cx.out.push(Action::Deliver(delivery));
        let (owner, Credit { items, bytes }) = (self.owner(), delivered);
        cx.publish(Change::Progress { owner, subscription, items, bytes, next, before: 0 });
        Ok(())
    }

    /// The application took items: running totals of one subscription.
    pub(super) fn on_consumed(
        &mut self,
        subscription: SubscriptionId,
        total: Credit,
        cx: &mut Cx<'_>,
    ) {
        let Some(incoming) =
            self.producers.values_mut().find(|incoming| incoming.subscription == subscription)
        else {
            return;
        };
        let could_take = incoming.can_take();
        incoming.consumed(total);
        let again = !could_take && incoming.can_take() && matches!(incoming.phase, Phase::Waiting);
        let peer = incoming.entry.id();
        self.regrant(&peer, cx);
        if again {
            self.attempt(&peer, cx);
        }
    }

    /// STR-11: leaves a producer whose tickets are over, or says when to look again.
    pub(super) fn check_tickets(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get(peer) else { return };
        if self.config.validators.is_empty() {
            return;
        }
        match cx.tickets(&self.config.validators, &incoming.entry) {
            Ok(expiration) => {
                let at = cx.ticket_check(expiration);
                cx.set_timer(Timer::ProducerTickets(self.id, *peer), at);
            }
            Err(_) => self.leave(peer, EndReason::NotAllowed, cx),
        }
    }

    /// Stops following a peer.
    pub(super) fn leave(&mut self, peer: &PeerId, reason: EndReason, cx: &mut Cx<'_>) {
        if let Some(channel) = self.producers.get(peer).and_then(Incoming::channel) {
            cx.shared.routes.remove(&channel);
            cx.out.push(Action::Close { channel, code: reason.code() });
        }
        self.hide(peer, reason, cx);
        if let Some(incoming) = self.producers.remove(peer) {
            // STR-12. Also of one that does not fit any more: it may fit again, and must not send
            // what it sent before, whatever is asked for on a first visit.
            if let Some(position) = incoming.position() {
                if self.left.len() >= limits::REMEMBERED_PRODUCERS {
                    self.left.pop_front();
                }
                self.left.push_back((*peer, position));
            }
            cx.set_timer(Timer::Leave(self.id, *peer), None);
            cx.set_timer(Timer::Attempt(self.id, *peer), None);
            cx.set_timer(Timer::ProducerTickets(self.id, *peer), None);
            cx.unwant(*peer);
            self.update_online(cx);
        }
    }

    /// The handle is gone, or the node ends.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        for peer in self.peers().collect::<Vec<_>>() {
            self.leave(&peer, EndReason::Cancelled, cx);
        }
    }

    /// The channel is of no use any more: not listed, tried again after a while (STR-10).
    fn interrupted(&mut self, peer: &PeerId, reason: EndReason, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        if let Some(channel) = incoming.channel() {
            cx.shared.routes.remove(&channel);
        }
        let advertised = |entry: &PeerEntry| entry.streams().contains(&self.config.stream);
        let over = cx.shared.timers.at(&Timer::Leave(self.id, *peer)).is_some()
            || !cx.env.catalog.get(peer).is_some_and(advertised);
        if over {
            incoming.phase = Phase::Unlinked;
            return self.leave(peer, reason, cx);
        }
        let Backoff { min, max } = self.config.backoff;
        let min = min.max(limits::RESUBSCRIBE_FLOOR);
        let doubled = min.saturating_mul(1 << incoming.failures.min(8));
        let wait = cx.shared.rng.jittered(doubled.min(max), 4).max(min);
        incoming.failures = incoming.failures.saturating_add(1);
        let at = if mutant::on(Mutant::RetryWithoutWait) { cx.now() } else { cx.now() + wait };
        incoming.phase = Phase::Waiting;
        cx.set_timer(Timer::Attempt(self.id, *peer), Some(at));
        self.hide(peer, reason, cx);
        self.update_online(cx);
    }

    /// Shows a subscription to the application as it is now.
    fn list(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let owner = self.owner();
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        let subscription = incoming.subscription;
        let active = incoming.is_active();
        let state = if active { State::Connected } else { State::Connecting };
        let (peer, terms) = (incoming.entry.clone(), incoming.terms.filter(|_| active));
        cx.publish(Change::Channel { owner, subscription, peer, state, terms });
        let fresh = !core::mem::replace(&mut incoming.listed, true);
        // Who is shown again goes on with the counts that it had.
        let Credit { items, bytes } = incoming.delivered;
        if let Some(position) = incoming.position().filter(|_| fresh && items > 0) {
            let next = position.next;
            cx.publish(Change::Progress { owner, subscription, items, bytes, next, before: 0 });
        }
    }

    /// Does not show it any more, and says why (STR-21).
    fn hide(&mut self, peer: &PeerId, reason: EndReason, cx: &mut Cx<'_>) {
        let owner = self.owner();
        let Some(incoming) = self.producers.get_mut(peer) else { return };
        let subscription = incoming.subscription;
        if core::mem::replace(&mut incoming.listed, false) {
            cx.publish(Change::ChannelGone { owner, subscription, reason });
        }
    }

    fn report(&self, peer: &PeerId, arrival: Arrival, cx: &mut Cx<'_>) {
        let Some(incoming) = self.producers.get(peer) else { return };
        let (owner, subscription) = (self.owner(), incoming.subscription);
        if arrival.restarted {
            cx.publish(Change::Restarted { owner, subscription });
        }
        let gap = arrival.gap.filter(|_| !mutant::on(Mutant::GapHiddenFromConsumer));
        if let Some((first, last)) = gap {
            cx.publish(Change::Gap { owner, subscription, first, last });
        }
    }

    fn update_online(&mut self, cx: &mut Cx<'_>) {
        let connected = self.producers.values().filter(|incoming| incoming.is_active());
        let online = self.config.online_when.is_met(connected.map(|incoming| &incoming.entry));
        if online != self.online {
            self.online = online;
            let owner = self.owner();
            cx.publish(Change::Online { owner, online });
        }
    }
}
