//! A local producer: whom it serves, what it keeps, how much it may be offered.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;

use super::{
    Action, Change, Counter, Owner, ProducerConfig, State,
    context::{Cx, Route, Timer},
    frames::{self, Credit, Position, Subscribe},
    log::Log,
    outgoing::Outgoing,
};
use crate::{
    discovery::PeerEntry,
    ids::{ChannelId, PeerId, ProducerId, SubscriptionId},
    wire::{CloseCode, FrameReader},
};

/// One local producer.
#[derive(Debug)]
pub(super) struct Producer {
    id: ProducerId,
    pub(super) config: ProducerConfig,
    incarnation: u64,
    log: Log,
    consumers: BTreeMap<SubscriptionId, Outgoing>,
    /// What the host may offer in all, as last told.
    window: Credit,
    offered: Credit,
    online: bool,
    /// The last handle is gone: send what there is, accept nobody, then end.
    closing: bool,
}

impl Producer {
    pub(super) fn open(
        id: ProducerId,
        config: ProducerConfig,
        incarnation: u64,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut producer = Self {
            id,
            config,
            incarnation,
            log: Log::default(),
            consumers: BTreeMap::new(),
            window: Credit::default(),
            offered: Credit::default(),
            online: false,
            closing: false,
        };
        producer.open_window(cx);
        producer.update_online(cx);
        producer
    }

    const fn owner(&self) -> Owner {
        Owner::Producer(self.id)
    }

    /// True if it ended and has nobody left to serve.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.consumers.is_empty()
    }

    /// STR-03: may this peer consume? Who is not allowed does not learn whether there is room.
    pub(super) fn admit(&self, entry: &PeerEntry, cx: &mut Cx<'_>) -> Result<(), CloseCode> {
        if self.closing {
            return Err(CloseCode::STREAM_NOT_FOUND);
        }
        let allowed = self.config.require.accepts(&cx.info(entry))
            && cx.tickets(&self.config.validators, entry).is_ok();
        if !allowed {
            return Err(CloseCode::STREAM_NOT_ALLOWED);
        }
        if self.consumers.len() >= self.config.max_consumers {
            return Err(CloseCode::STREAM_NO_CAPACITY);
        }
        Ok(())
    }

    /// Accepts an admitted consumer. It is counted before it is told (STR-04).
    pub(super) fn accept(
        &mut self,
        entry: PeerEntry,
        channel: ChannelId,
        reader: FrameReader,
        subscribe: &Subscribe,
        cx: &mut Cx<'_>,
    ) -> Result<SubscriptionId, CloseCode> {
        let cursor = match subscribe.resume {
            Some(at) if at.incarnation == self.incarnation => {
                if at.next > self.log.next() {
                    return Err(CloseCode::PROTOCOL_VIOLATION);
                }
                self.log.seek(at.next.max(self.log.first()))
            }
            _ => self.log.end(),
        };
        let peer = entry.id();
        let mut consumer = Outgoing::new(peer, entry.clone(), channel, reader, subscribe, cursor)
            .map_err(|_| CloseCode::PROTOCOL_VIOLATION)?;
        let subscription = cx.next_subscription();
        let start = Position { incarnation: self.incarnation, next: cursor.seq };
        let (head, body) = frames::message(frames::ACCEPT, &start);
        consumer.owe(head.len() + body.len());
        self.consumers.insert(subscription, consumer);
        cx.shared.routes.insert(channel, Route::Producer(self.id, subscription));
        let owner = self.owner();
        cx.publish(Change::Channel { owner, subscription, peer: entry, state: State::Connected });
        self.update_online(cx);
        cx.out.push(Action::Write { channel, head, body });
        cx.out.push(Action::Count(Counter::Accepted(self.config.stream)));
        if let Some(at) = subscribe.resume.filter(|at| at.incarnation == self.incarnation) {
            self.missed(subscription, at.next, cursor.seq, cx);
        }
        self.check_tickets(subscription, cx);
        self.pump(subscription, cx);
        Ok(subscription)
    }

    /// Takes a batch from the host.
    pub(super) fn offer(&mut self, items: u32, data: Bytes, cx: &mut Cx<'_>) {
        assert!(
            self.offered.items < self.window.items && self.offered.bytes < self.window.bytes,
            "the host offers only what the window allows"
        );
        let before = self.log.end();
        self.log.append(items, data);
        self.offered.items += u64::from(items);
        self.offered.bytes += self.log.end().payload - before.payload;
        self.pump_all(cx);
        self.open_window(cx);
    }

    /// A frame of one of the consumers.
    pub(super) fn on_frame(
        &mut self,
        subscription: SubscriptionId,
        kind: u8,
        payload: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let Some(consumer) = self.consumers.get_mut(&subscription) else { return };
        let granted = match kind {
            frames::CREDIT => frames::read::<Credit>(payload).ok(),
            _ => None,
        };
        if granted.is_some_and(|total| consumer.grant(total).is_ok()) {
            self.pump(subscription, cx);
            self.open_window(cx);
        } else {
            cx.out.push(Action::Count(Counter::Violation(self.config.stream)));
            self.end(subscription, Some(CloseCode::PROTOCOL_VIOLATION), cx);
        }
    }

    /// The reader of one of the consumers.
    pub(super) fn reader(&mut self, subscription: SubscriptionId) -> Option<&mut FrameReader> {
        self.consumers.get_mut(&subscription).map(|consumer| &mut consumer.reader)
    }

    pub(super) fn on_drained(&mut self, subscription: SubscriptionId, bytes: u32, cx: &mut Cx<'_>) {
        let Some(consumer) = self.consumers.get_mut(&subscription) else { return };
        consumer.drained(bytes);
        // What is being taken, however slowly, is not standing still: no timeout depends on size.
        if consumer.stalled_since.is_some() {
            consumer.stalled_since = Some(cx.env.now.mono);
        }
        self.pump(subscription, cx);
        self.open_window(cx);
    }

    /// Ends a subscription; `None` if its channel is down already.
    pub(super) fn end(
        &mut self,
        subscription: SubscriptionId,
        code: Option<CloseCode>,
        cx: &mut Cx<'_>,
    ) {
        let Some(consumer) = self.consumers.remove(&subscription) else { return };
        cx.shared.routes.remove(&consumer.channel);
        cx.shared.timers.cancel(&Timer::Lag(self.id, subscription));
        cx.shared.timers.cancel(&Timer::ConsumerTickets(self.id, subscription));
        if let Some(code) = code {
            tracing::debug!(peer = ?consumer.peer, %code, "subscription closed");
            cx.out.push(Action::Close { channel: consumer.channel, code });
        }
        let owner = self.owner();
        cx.publish(Change::ChannelGone { owner, subscription });
        self.update_online(cx);
        self.open_window(cx);
    }

    /// A peer's entry changed or went: looks at its subscriptions again.
    pub(super) fn on_peer_changed(
        &mut self,
        peer: &PeerId,
        entry: Option<&PeerEntry>,
        cx: &mut Cx<'_>,
    ) {
        for subscription in self.of_peer(peer) {
            let Some(entry) = entry else {
                self.end(subscription, Some(CloseCode::UNKNOWN_PEER), cx);
                continue;
            };
            if !self.config.require.accepts(&cx.info(entry)) {
                self.end(subscription, Some(CloseCode::STREAM_NOT_ALLOWED), cx);
                continue;
            }
            if let Some(consumer) = self.consumers.get_mut(&subscription) {
                consumer.entry = entry.clone();
            }
            let (owner, peer) = (self.owner(), entry.clone());
            cx.publish(Change::Channel { owner, subscription, peer, state: State::Connected });
            self.check_tickets(subscription, cx);
        }
        self.update_online(cx);
    }

    /// STR-11: closes a subscription whose tickets are over, or says when to look again.
    pub(super) fn check_tickets(&mut self, subscription: SubscriptionId, cx: &mut Cx<'_>) {
        let Some(consumer) = self.consumers.get(&subscription) else { return };
        if self.config.validators.is_empty() {
            return;
        }
        match cx.tickets(&self.config.validators, &consumer.entry) {
            Ok(expiration) => {
                let at = cx.ticket_check(expiration);
                cx.set_timer(Timer::ConsumerTickets(self.id, subscription), at);
            }
            Err(_) => self.end(subscription, Some(CloseCode::STREAM_NOT_ALLOWED), cx),
        }
    }

    /// STR-08: cuts off a consumer that could not be sent anything for the whole lag timeout.
    pub(super) fn check_lag(&mut self, subscription: SubscriptionId, cx: &mut Cx<'_>) {
        let Some(consumer) = self.consumers.get(&subscription) else { return };
        let Some(since) = consumer.stalled_since else { return };
        let at = since + self.config.lag_timeout;
        if at > cx.now() {
            return cx.set_timer(Timer::Lag(self.id, subscription), Some(at));
        }
        let items = self.log.next() - consumer.cursor.seq;
        let stream = self.config.stream;
        cx.out.push(Action::Count(Counter::Dropped { stream, items }));
        self.end(subscription, Some(CloseCode::STREAM_TOO_SLOW), cx);
    }

    /// The last handle is gone.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        self.closing = true;
        let all: Vec<_> = self.consumers.keys().copied().collect();
        all.into_iter().for_each(|subscription| self.pump(subscription, cx));
    }

    /// STR-09: a consumer asked for `from` and continues at `to`.
    fn missed(&self, subscription: SubscriptionId, from: u64, to: u64, cx: &mut Cx<'_>) {
        if from < to {
            let (owner, first, last) = (self.owner(), from, to - 1);
            cx.publish(Change::Gap { owner, subscription, first, last });
        }
    }

    fn of_peer(&self, peer: &PeerId) -> Vec<SubscriptionId> {
        let of_peer = self.consumers.iter().filter(|(_, consumer)| consumer.peer == *peer);
        of_peer.map(|(subscription, _)| *subscription).collect()
    }

    fn pump_all(&mut self, cx: &mut Cx<'_>) {
        // Ids are dense enough that walking them needs no list of its own.
        let mut next = SubscriptionId(0);
        while let Some((&subscription, _)) = self.consumers.range(next..).next() {
            self.pump(subscription, cx);
            next = SubscriptionId(subscription.0 + 1);
        }
    }

    /// Sends a consumer what its credit and its channel's debt allow.
    fn pump(&mut self, subscription: SubscriptionId, cx: &mut Cx<'_>) {
        let Some(consumer) = self.consumers.get_mut(&subscription) else { return };
        let (stream, channel) = (self.config.stream, consumer.channel);
        let mut progress = false;
        let owner = Owner::Producer(self.id);
        while let Some(outgo) = consumer.next(&self.log) {
            if let Some((first, last)) = outgo.gap {
                cx.publish(Change::Gap { owner, subscription, first, last });
            }
            let (items, bytes) = (outgo.items, outgo.payload as u32);
            cx.out.push(Action::Write { channel, head: outgo.head, body: outgo.body });
            cx.out.push(Action::Count(Counter::Sent { stream, items, bytes }));
            progress = true;
        }
        let behind = consumer.cursor.seq < self.log.next();
        if !behind {
            if consumer.stalled_since.take().is_some() {
                cx.shared.timers.cancel(&Timer::Lag(self.id, subscription));
            }
        } else if progress || consumer.stalled_since.is_none() {
            let fresh = consumer.stalled_since.replace(cx.env.now.mono).is_none();
            if fresh && self.config.disconnect_lagging {
                let at = cx.env.now.mono + self.config.lag_timeout;
                cx.set_timer(Timer::Lag(self.id, subscription), Some(at));
            }
        }
        if progress {
            let Credit { items, bytes } = consumer.sent;
            cx.publish(Change::Progress { owner, subscription, items, bytes });
        }
        if self.closing && !behind {
            self.end(subscription, Some(CloseCode::GRACEFUL_SHUTDOWN), cx);
        }
    }

    /// Tells the host how much more it may offer: what the log can keep besides the half that is
    /// reserved for consumers that come back (STR-07).
    fn open_window(&mut self, cx: &mut Cx<'_>) {
        let end = self.log.end();
        let holding = self.consumers.values().filter(|consumer| consumer.holds);
        let slowest = holding.map(|consumer| consumer.cursor).min_by_key(|cursor| cursor.seq);
        let slowest = slowest.unwrap_or(end);
        self.log.trim(self.config.tail_items, self.config.tail_bytes, slowest.seq);
        let half = Credit {
            items: (self.config.tail_items / 2).max(1),
            bytes: (self.config.tail_bytes / 2).max(1),
        };
        let backlog = Credit { items: end.seq - slowest.seq, bytes: end.payload - slowest.payload };
        let window = Credit {
            items: self.offered.items + half.items.saturating_sub(backlog.items),
            bytes: self.offered.bytes + half.bytes.saturating_sub(backlog.bytes),
        };
        // A window that was opened is never taken back; a new consumer starts at the end anyway.
        let window = Credit {
            items: window.items.max(self.window.items),
            bytes: window.bytes.max(self.window.bytes),
        };
        let grown = window.items - self.window.items >= half.items / 4
            || window.bytes - self.window.bytes >= half.bytes / 4
            || self.window.items <= self.offered.items
            || self.window.bytes <= self.offered.bytes;
        if grown && !self.closing && window != self.window {
            self.window = window;
            let Credit { items, bytes } = window;
            cx.out.push(Action::Window { producer: self.id, items, bytes });
        }
    }

    fn update_online(&mut self, cx: &mut Cx<'_>) {
        let online = self.config.online_when.is_met(self.consumers.values().map(|c| &c.entry));
        if online != self.online {
            self.online = online;
            let owner = self.owner();
            cx.publish(Change::Online { owner, online });
        }
    }
}
