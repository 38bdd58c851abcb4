//! A local producer: whom it serves, what it keeps, how much it may be offered.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;

use super::{
    Action, Change, Counter, Owner, ProducerConfig, State, StreamKind,
    context::{Cx, Route, Timer},
    frames::{self, Accept, Credit, Position, Subscribe},
    log::{Cursor, Log},
    outgoing::Outgoing,
    terms::End,
    unsent::Unsent,
};
use crate::{
    discovery::PeerEntry,
    ids::{ChannelId, PeerId, ProducerId, SubscriptionId},
    mutant::{self, Mutant},
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
    /// Kept only if somebody wants to know (STR-20).
    unsent: Option<Unsent>,
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
        let unsent = config.undelivered.then(Unsent::default);
        let mut producer = Self {
            id,
            config,
            unsent,
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
        let resume = subscribe.resume.filter(|at| self.is_mine(*at));
        if resume.is_some_and(|at| at.next > self.log.next()) {
            return Err(CloseCode::PROTOCOL_VIOLATION);
        }
        // STR-09, STR-19: where it stopped; else as far back as it asks for and the tail goes.
        let wanted = self.log.next().saturating_sub(subscribe.replay);
        let wanted = match resume.map_or(wanted, |at| at.next) {
            next if mutant::on(Mutant::ResumeLate) && resume.is_some() => next + 1,
            next if mutant::on(Mutant::ResumeEarly) && resume.is_some() => next.saturating_sub(1),
            next => next,
        };
        let cursor = self.log.seek(wanted.max(self.log.first()));
        let (peer, kind) = (entry.id(), self.config.kind);
        let shown = entry.clone();
        let mut consumer = Outgoing::new(peer, entry, channel, reader, subscribe, (cursor, kind))
            .map_err(|_| CloseCode::PROTOCOL_VIOLATION)?;
        consumer.replaying = resume.is_none() && cursor.seq < self.log.next();
        let subscription = cx.next_subscription();
        let start = Position { incarnation: self.incarnation, next: cursor.seq };
        let (head, body) = frames::message(frames::ACCEPT, &Accept { start, kind });
        consumer.owe(head.len() + body.len());
        let terms = Some(consumer.terms);
        self.consumers.insert(subscription, consumer);
        cx.shared.routes.insert(channel, Route::Producer(self.id, subscription));
        let owner = self.owner();
        if !mutant::on(Mutant::CountedLate) {
            let state = State::Connected;
            cx.publish(Change::Channel { owner, subscription, peer: shown, state, terms });
        }
        self.update_online(cx);
        cx.out.push(Action::Write { channel, head, body });
        cx.out.push(Action::Count(Counter::Accepted(self.config.stream)));
        if let Some(at) = resume {
            self.missed(subscription, at.next, cursor.seq, cx);
        }
        self.check_tickets(subscription, cx);
        self.pump(subscription, cx);
        Ok(subscription)
    }

    /// Takes a batch from the host.
    pub(super) fn offer(&mut self, items: u32, payload: u64, data: Bytes, cx: &mut Cx<'_>) {
        assert!(
            self.offered.items < self.window.items && self.offered.bytes < self.window.bytes,
            "the host offers only what the window allows"
        );
        let before = self.log.next();
        self.log.append(items, payload, data);
        self.offered.items += u64::from(items);
        self.offered.bytes += payload;
        if let Some(unsent) = &mut self.unsent {
            unsent.add(before, self.log.next());
        }
        self.pump_all(cx);
        if self.consumers.is_empty() && self.config.kind == StreamKind::Lossless {
            self.undelivered(before, self.log.next(), cx);
        }
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
            if mutant::on(Mutant::CountedLate) {
                let (owner, peer) = (Owner::Producer(self.id), consumer.entry.clone());
                let (state, terms) = (State::Connected, Some(consumer.terms));
                cx.publish(Change::Channel { owner, subscription, peer, state, terms });
            }
            self.pump(subscription, cx);
            self.open_window(cx);
        } else {
            cx.out.push(Action::Count(Counter::Violation(self.config.stream)));
            self.end(subscription, End::Close(CloseCode::PROTOCOL_VIOLATION), cx);
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

    /// Ends a subscription.
    pub(super) fn end(&mut self, subscription: SubscriptionId, how: End, cx: &mut Cx<'_>) {
        let Some(consumer) = self.consumers.remove(&subscription) else { return };
        cx.shared.routes.remove(&consumer.channel);
        cx.shared.timers.cancel(&Timer::Lag(self.id, subscription));
        cx.shared.timers.cancel(&Timer::ConsumerTickets(self.id, subscription));
        if let End::Close(code) = how {
            tracing::debug!(peer = ?consumer.peer, %code, "subscription closed");
            cx.out.push(Action::Close { channel: consumer.channel, code });
        }
        let (owner, reason) = (self.owner(), how.reason());
        cx.publish(Change::ChannelGone { owner, subscription, reason });
        self.update_online(cx);
        if !mutant::on(Mutant::WindowNotReopened) {
            self.open_window(cx);
        }
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
                self.end(subscription, End::Close(CloseCode::UNKNOWN_PEER), cx);
                continue;
            };
            if !self.config.require.accepts(&cx.info(entry)) {
                self.end(subscription, End::Close(CloseCode::STREAM_NOT_ALLOWED), cx);
                continue;
            }
            let (owner, peer, state) = (self.owner(), entry.clone(), State::Connected);
            let Some(consumer) = self.consumers.get_mut(&subscription) else { continue };
            consumer.entry = entry.clone();
            let terms = Some(consumer.terms);
            cx.publish(Change::Channel { owner, subscription, peer, state, terms });
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
            Err(_) => self.end(subscription, End::Close(CloseCode::STREAM_NOT_ALLOWED), cx),
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
        // STR-18: a lossy producer waits for nobody, so nobody is too slow; but it has to end.
        let lossy = self.config.kind == StreamKind::Lossy;
        let code = if lossy { CloseCode::GRACEFUL_SHUTDOWN } else { CloseCode::STREAM_TOO_SLOW };
        self.end(subscription, End::Close(code), cx);
    }

    /// True if who stands still is cut off (STR-08, STR-18).
    const fn is_impatient(&self) -> bool {
        match self.config.kind {
            StreamKind::Lossless => self.config.disconnect_lagging,
            StreamKind::Lossy => self.closing,
        }
    }

    /// The last handle is gone.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        self.closing = true;
        if mutant::on(Mutant::CloseDropsQueue) {
            self.log = Log::default();
            self.consumers.values_mut().for_each(|consumer| consumer.cursor = self.log.end());
        }
        let all: Vec<_> = self.consumers.keys().copied().collect();
        for subscription in all {
            self.pump(subscription, cx);
            let Some(consumer) = self.consumers.get_mut(&subscription) else { continue };
            if self.config.kind == StreamKind::Lossy && consumer.stalled_since.is_some() {
                // Until now nobody watched how long it stands still.
                consumer.stalled_since = Some(cx.now());
                self.check_lag(subscription, cx);
            }
        }
    }

    /// It ended and has nobody left to serve: what nobody got is told.
    pub(super) fn finish(&mut self, cx: &mut Cx<'_>) {
        self.undelivered(0, self.log.next(), cx);
        cx.out.push(Action::Finished(self.id));
    }

    /// STR-20: those of items `first..end` that went to nobody.
    fn undelivered(&mut self, first: u64, end: u64, cx: &mut Cx<'_>) {
        let Some(unsent) = &mut self.unsent else { return };
        for (first, end) in unsent.remove(first, end) {
            let mut cursor = self.log.seek(first);
            while cursor.seq < end {
                let left = end - cursor.seq;
                let Some(slice) = self.log.take(&mut cursor, left, u64::MAX, false) else { break };
                let (items, data) = (slice.items, slice.data);
                cx.out.push(Action::Undelivered { producer: self.id, items, data });
            }
        }
    }

    /// STR-09: a consumer asked for `from` and continues at `to`.
    fn missed(&self, subscription: SubscriptionId, from: u64, to: u64, cx: &mut Cx<'_>) {
        if from < to && !mutant::on(Mutant::GapHiddenFromProducer) {
            let (owner, first, last) = (self.owner(), from, to - 1);
            cx.publish(Change::Gap { owner, subscription, first, last });
        }
    }

    /// True if a place to resume from is one in our numbering.
    fn is_mine(&self, at: Position) -> bool {
        at.incarnation == self.incarnation || mutant::on(Mutant::IncarnationIgnored)
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
        let impatient = self.is_impatient();
        let Some(consumer) = self.consumers.get_mut(&subscription) else { return };
        let (stream, channel) = (self.config.stream, consumer.channel);
        let mut progress = false;
        let owner = Owner::Producer(self.id);
        if mutant::on(Mutant::LateLiveEdge) && consumer.sent == Credit::default() {
            consumer.cursor = self.log.end();
        }
        while let Some(outgo) = consumer.next(&self.log) {
            if let Some((first, last)) =
                outgo.gap.filter(|_| !mutant::on(Mutant::GapHiddenFromProducer))
            {
                cx.publish(Change::Gap { owner, subscription, first, last });
                if self.config.kind == StreamKind::Lossy {
                    let items = last - first + 1;
                    cx.out.push(Action::Count(Counter::Dropped { stream, items }));
                }
            }
            if let Some(unsent) = &mut self.unsent {
                unsent.remove(outgo.first, outgo.first + u64::from(outgo.items));
            }
            let (items, bytes) = (outgo.items, outgo.payload as u32);
            cx.out.push(Action::Write { channel, head: outgo.head, body: outgo.body });
            cx.out.push(Action::Count(Counter::Sent { stream, items, bytes }));
            progress = true;
        }
        let behind = consumer.cursor.seq < self.log.next();
        if !behind && !mutant::on(Mutant::LagTimerKept) {
            if consumer.stalled_since.take().is_some() {
                cx.shared.timers.cancel(&Timer::Lag(self.id, subscription));
            }
        } else if progress || consumer.stalled_since.is_none() {
            let fresh = consumer.stalled_since.replace(cx.env.now.mono).is_none();
            if fresh && impatient {
                let at = cx.env.now.mono + self.config.lag_timeout;
                cx.set_timer(Timer::Lag(self.id, subscription), Some(at));
            }
        }
        if progress {
            let Credit { items, bytes } = consumer.sent;
            let Cursor { seq: next, payload: before, .. } = consumer.cursor;
            cx.publish(Change::Progress { owner, subscription, items, bytes, next, before });
        }
        if consumer.replaying {
            self.check_replay(subscription);
        }
        if self.closing && !behind {
            self.end(subscription, End::Close(CloseCode::GRACEFUL_SHUTDOWN), cx);
        }
    }

    /// STR-19: a replay is over, and the consumer one like all others, when it is at most a quarter
    /// of the log behind, or no further than one that is waited for already.
    fn check_replay(&mut self, subscription: SubscriptionId) {
        let held = self.consumers.values().filter(|consumer| consumer.holds());
        let held = held.map(|consumer| consumer.cursor.seq).min();
        let end = self.log.end();
        let Some(consumer) = self.consumers.get_mut(&subscription) else { return };
        let Cursor { seq, payload, .. } = consumer.cursor;
        let near = end.seq - seq <= self.config.tail_items / 4
            && end.payload - payload <= self.config.tail_bytes / 4;
        consumer.replaying = !near && held.is_none_or(|held| seq < held);
    }

    /// Tells the host how much more it may offer: what the log can keep besides the half that is
    /// reserved for consumers that come back (STR-07).
    fn open_window(&mut self, cx: &mut Cx<'_>) {
        let end = self.log.end();
        let slowest = self.slowest();
        let (items, bytes) = (self.config.tail_items, self.config.tail_bytes);
        if self.unsent.is_some() {
            self.undelivered(0, self.log.kept_by_trim(items, bytes, slowest.seq), cx);
        }
        self.log.trim(items, bytes, slowest.seq);
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

    /// How far the slowest consumer is that the producer waits for.
    fn slowest(&self) -> Cursor {
        let end = self.log.end();
        if self.config.kind == StreamKind::Lossy {
            return end;
        }
        let holding = self.consumers.values().filter(|consumer| consumer.holds());
        let slowest = holding.map(|consumer| consumer.cursor).min_by_key(|cursor| cursor.seq);
        slowest.unwrap_or(end)
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
