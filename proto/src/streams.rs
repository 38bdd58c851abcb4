//! Streams: typed data from producers to consumers, with credit from application to application.
//!
//! # Theory of operation
//!
//! A node advertises the streams that it produces in its signed entry. A consumer follows every
//! peer whose entry lists its stream and passes its predicate and tickets: it asks links for a
//! link, opens a channel of its own, and sends `SUBSCRIBE`. The producer checks the same from its
//! side and answers `ACCEPT` or closes the channel with a code that says why. From then on items
//! flow one way and credit the other.
//!
//! ```text
//! application        core of the producer                    core of the consumer     application
//!  send ─► lane ─► Offer ─► log ─► cursor per consumer ─► ITEMS ─► check ─► Deliver ─► lane ─► next
//!            ▲               │            ▲                                              │
//!            └─── Window ────┘            └───────────── CREDIT ◄────── Consumed ◄───────┘
//! ```
//!
//! **Batches.** Items travel as contiguous bytes ([`item`]); a batch is encoded once, kept once in
//! the producer's log and shared by reference with every subscriber. Nothing here copies an item.
//!
//! **Credit** (STR-05) counts items *and* payload bytes, as running totals per channel, from what
//! the application took. A consumer that stops reading stops the producer; nothing grows. An item
//! larger than what is left may be sent alone when half the byte window is free (STR-06).
//!
//! **The log** (STR-07) is bounded. The host may offer at most half of it ahead of the slowest
//! consumer; the other half is the tail from which a consumer that lost its link resumes.
//!
//! **Numbering** (STR-09). Items are numbered within the producer's incarnation, from 0, without
//! holes. A resuming consumer says what it expects next; it continues there, or the gap is reported
//! exactly, or the producer is a new incarnation and that is reported. Duplicates are refused.
//!
//! **Slow consumers** (STR-08). A consumer that could not be sent anything for the producer's lag
//! timeout is cut off with `STREAM_TOO_SLOW`, so that it cannot hold the others.
//!
//! **Lossy streams** (STR-18) wait for nobody: no consumer holds the log, so what a slow one has not
//! got leaves the tail under its cursor, and the cursor goes on at the oldest item kept. The numbers
//! make the gap exact at both ends; nothing else is different.
//!
//! **Replay** (STR-19). A consumer that has nothing of an incarnation may start in its tail. On the
//! way through it is treated like a consumer of a lossy stream; near the end it begins to hold.
//!
//! **Undelivered** (STR-20). If the host asks, the producer keeps the ranges of items that were sent
//! to nobody (`unsent`) and hands them over when nobody will get them any more.
//!
//! | subscription, seen by the consumer | left by |
//! |---|---|
//! | `Unlinked` | the link is admitted |
//! | `Waiting` | 50 ms doubling to 1 s; at once when the peer's entry changes |
//! | `Subscribing` | `ACCEPT`, close, 5 s |
//! | `Active` | close, link lost, entry or tickets no longer fit |
//!
//! # Invariants
//!
//! - INV-STR-1: granted − sent is never negative but for one item above a free window, both ends.
//! - INV-STR-2: per subscription, sequence numbers only rise; what is skipped was reported.
//! - INV-STR-3: a channel belongs to at most one subscription, and its route goes with it.
//! - INV-STR-4: a producer's log holds at most its bounds, one batch, and what it granted to its host.
//!
//! References: `docs/spec/streams.md` (STR rules), decisions §3; credit after HTTP/2 flow control
//! (RFC 9113 §5.2) and reactive streams; batch layout after `datapath.md`.

mod condition;
mod consumer;
mod context;
mod frames;
mod incoming;
pub mod item;
mod log;
mod outgoing;
mod producer;
mod terms;
mod unsent;
mod vocabulary;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::Bytes;

pub use self::{
    condition::Condition,
    terms::{EndReason, Replay, StreamKind, Terms},
    vocabulary::{
        Action, Backoff, Change, ConsumerConfig, Counter, Criteria, Delivery, Env, Event, Owner,
        Predicate, ProducerConfig, State,
    },
};
use self::{
    consumer::Consumer,
    context::{Cx, Route, Shared, Timer},
    frames::{Credit, Subscribe},
    producer::Producer,
    terms::End,
};
use crate::{
    core::{Core, Outbox},
    ids::{ChannelId, ConsumerId, PeerId, ProducerId, StreamId},
    limits,
    rng::Rng,
    time::Instant,
    wire::{CloseCode, FrameReader},
};

/// A channel on which a peer has not said yet what it wants.
#[derive(Debug)]
struct Pending {
    peer: PeerId,
    reader: FrameReader,
}

/// The core of streams. See the module's documentation.
#[derive(Debug)]
pub struct Streams {
    me: PeerId,
    producers: BTreeMap<ProducerId, Producer>,
    /// The producer that serves a stream now; one that is closing serves none.
    serving: BTreeMap<StreamId, ProducerId>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    by_stream: BTreeSet<(StreamId, ConsumerId)>,
    pending: BTreeMap<ChannelId, Pending>,
    shared: Shared,
    last_incarnation: u64,
}

impl Streams {
    /// A core without streams.
    #[must_use]
    pub const fn new(me: PeerId, rng: Rng) -> Self {
        Self {
            me,
            producers: BTreeMap::new(),
            serving: BTreeMap::new(),
            consumers: BTreeMap::new(),
            by_stream: BTreeSet::new(),
            pending: BTreeMap::new(),
            shared: Shared::new(rng),
            last_incarnation: 0,
        }
    }

    // --- producers -------------------------------------------------------------------------

    fn open_producer(
        &mut self,
        env: Env<'_>,
        id: ProducerId,
        config: ProducerConfig,
        out: &mut Outbox<Action>,
    ) {
        assert!(self.producers.len() < limits::STREAMS, "the host bounds its producers");
        // Wall time orders incarnations across restarts; within a process it must rise as well.
        self.last_incarnation = env.now.wall.0.max(self.last_incarnation + 1);
        self.serving.insert(config.stream, id);
        let mut cx = Cx { env, shared: &mut self.shared, out };
        let producer = Producer::open(id, config, self.last_incarnation, &mut cx);
        self.producers.insert(id, producer);
    }

    fn close_producer(&mut self, env: Env<'_>, id: ProducerId, out: &mut Outbox<Action>) {
        let Some(producer) = self.producers.get(&id) else { return };
        if self.serving.get(&producer.config.stream) == Some(&id) {
            self.serving.remove(&producer.config.stream);
        }
        self.with_producer(env, id, out, Producer::close);
    }

    fn with_producer(
        &mut self,
        env: Env<'_>,
        id: ProducerId,
        out: &mut Outbox<Action>,
        act: impl FnOnce(&mut Producer, &mut Cx<'_>),
    ) {
        let Some(producer) = self.producers.get_mut(&id) else { return };
        let cx = &mut Cx { env, shared: &mut self.shared, out };
        act(producer, cx);
        if producer.is_done() {
            producer.finish(cx);
            self.producers.remove(&id);
        }
    }

    // --- consumers -------------------------------------------------------------------------

    fn open_consumer(
        &mut self,
        env: Env<'_>,
        id: ConsumerId,
        config: ConsumerConfig,
        out: &mut Outbox<Action>,
    ) {
        assert!(self.consumers.len() < limits::STREAMS, "the host bounds its consumers");
        self.by_stream.insert((config.stream, id));
        let mut cx = Cx { env, shared: &mut self.shared, out };
        let consumer = Consumer::open(id, config, &mut cx);
        self.consumers.insert(id, consumer);
    }

    fn close_consumer(&mut self, env: Env<'_>, id: ConsumerId, out: &mut Outbox<Action>) {
        if let Some(mut consumer) = self.consumers.remove(&id) {
            self.by_stream.remove(&(consumer.config.stream, id));
            consumer.close(&mut Cx { env, shared: &mut self.shared, out });
        }
    }

    fn with_consumer(
        &mut self,
        env: Env<'_>,
        id: ConsumerId,
        out: &mut Outbox<Action>,
        act: impl FnOnce(&mut Consumer, &mut Cx<'_>),
    ) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            act(consumer, &mut Cx { env, shared: &mut self.shared, out });
        }
    }

    // --- peers -----------------------------------------------------------------------------

    /// STR-02: consumers look at the peer again, producers at their subscribers from there.
    fn on_peer_changed(&mut self, env: Env<'_>, peer: PeerId, out: &mut Outbox<Action>) {
        if peer == self.me {
            return;
        }
        let entry = env.catalog.get(&peer);
        let mut concerned: BTreeSet<ConsumerId> =
            self.consumers.iter().filter(|(_, c)| c.follows(&peer)).map(|(id, _)| *id).collect();
        for stream in entry.iter().flat_map(|entry| entry.streams()) {
            let range = (*stream, ConsumerId(0))..=(*stream, ConsumerId(u64::MAX));
            concerned.extend(self.by_stream.range(range).map(|(_, id)| *id));
        }
        for id in concerned {
            self.with_consumer(env, id, out, |consumer, cx| consumer.consider(&peer, entry, cx));
        }
        for id in self.producers.keys().copied().collect::<Vec<_>>() {
            self.with_producer(env, id, out, |producer, cx| {
                producer.on_peer_changed(&peer, entry, cx);
            });
        }
    }

    fn on_disconnected(&mut self, env: Env<'_>, peer: PeerId, out: &mut Outbox<Action>) {
        self.pending.retain(|channel, pending| {
            let gone = pending.peer == peer;
            if gone {
                self.shared.routes.remove(channel);
                self.shared.timers.cancel(&Timer::Pending(*channel));
            }
            !gone
        });
        for consumer in self.consumers.values_mut().filter(|c| c.follows(&peer)) {
            let cx = &mut Cx { env, shared: &mut self.shared, out };
            consumer.on_disconnected(&peer, cx);
        }
    }

    // --- channels --------------------------------------------------------------------------

    fn on_accepted(&mut self, env: Env<'_>, peer: PeerId, channel: ChannelId) {
        self.pending.insert(channel, Pending { peer, reader: FrameReader::new() });
        self.shared.routes.insert(channel, Route::Pending);
        let deadline = env.now.mono + limits::SUBSCRIBE_TIMEOUT;
        self.shared.timers.set(Timer::Pending(channel), Some(deadline));
    }

    fn on_data(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        mut chunk: Bytes,
        out: &mut Outbox<Action>,
    ) {
        // The route may change with each frame: looked up again after every one.
        while let Some(route) = self.shared.routes.get(&channel).copied() {
            let reader = match route {
                Route::Pending => self.pending.get_mut(&channel).map(|p| &mut p.reader),
                Route::Producer(id, subscription) => {
                    self.producers.get_mut(&id).and_then(|p| p.reader(subscription))
                }
                Route::Consumer(id, peer) => {
                    self.consumers.get_mut(&id).and_then(|c| c.reader(&peer))
                }
            };
            let Some(reader) = reader else { return };
            let limit = match route {
                Route::Pending | Route::Producer(..) => frames::to_producer,
                Route::Consumer(..) => frames::to_consumer,
            };
            let frame = match reader.read(&mut chunk, limit) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => return self.on_nonsense(env, channel, route, out),
            };
            match route {
                Route::Pending => self.on_subscribe(env, channel, frame.kind, &frame.payload, out),
                Route::Producer(id, subscription) => {
                    self.with_producer(env, id, out, |producer, cx| {
                        producer.on_frame(subscription, frame.kind, &frame.payload, cx);
                    });
                }
                Route::Consumer(id, peer) => self.with_consumer(env, id, out, |consumer, cx| {
                    consumer.on_frame(&peer, frame.kind, frame.payload, cx);
                }),
            }
        }
    }

    /// Bytes that are no frames of this protocol: the channel ends, nobody else is disturbed.
    fn on_nonsense(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        route: Route,
        out: &mut Outbox<Action>,
    ) {
        match route {
            Route::Pending => self.refuse(channel, CloseCode::PROTOCOL_VIOLATION, out),
            Route::Producer(id, subscription) => {
                self.with_producer(env, id, out, |producer, cx| {
                    let stream = producer.config.stream;
                    cx.out.push(Action::Count(Counter::Violation(stream)));
                    producer.end(subscription, End::Close(CloseCode::PROTOCOL_VIOLATION), cx);
                });
            }
            Route::Consumer(id, peer) => {
                self.with_consumer(env, id, out, |consumer, cx| consumer.on_violation(&peer, cx));
            }
        }
    }

    /// STR-03: the first frame of a consumer.
    fn on_subscribe(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        kind: u8,
        payload: &[u8],
        out: &mut Outbox<Action>,
    ) {
        let subscribe = match frames::read::<Subscribe>(payload) {
            Ok(subscribe) if kind == frames::SUBSCRIBE => subscribe,
            _ => return self.refuse(channel, CloseCode::PROTOCOL_VIOLATION, out),
        };
        let Some(pending) = self.pending.get(&channel) else { return };
        let Some(entry) = env.catalog.get(&pending.peer) else {
            return self.refuse(channel, CloseCode::UNKNOWN_PEER, out);
        };
        let serving = self.serving.get(&subscribe.stream).copied();
        let Some(producer) = serving.and_then(|id| self.producers.get_mut(&id)) else {
            return self.refuse(channel, CloseCode::STREAM_NOT_FOUND, out);
        };
        let mut cx = Cx { env, shared: &mut self.shared, out };
        let refused = match producer.admit(entry, &mut cx) {
            Ok(()) => {
                let reader = self.pending.remove(&channel).map(|p| p.reader).unwrap_or_default();
                cx.set_timer(Timer::Pending(channel), None);
                producer.accept(entry.clone(), channel, reader, &subscribe, &mut cx).err()
            }
            Err(code) => Some(code),
        };
        if let Some(code) = refused {
            out.push(Action::Count(Counter::Rejected(subscribe.stream, code)));
            self.refuse(channel, code, out);
        }
    }

    fn refuse(&mut self, channel: ChannelId, code: CloseCode, out: &mut Outbox<Action>) {
        self.pending.remove(&channel);
        self.shared.routes.remove(&channel);
        self.shared.timers.cancel(&Timer::Pending(channel));
        out.push(Action::Count(Counter::Refused(code)));
        out.push(Action::Close { channel, code });
    }

    fn on_timeout(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        while let Some(timer) = self.shared.timers.pop_due(env.now.mono) {
            match timer {
                Timer::Pending(channel) => self.refuse(channel, CloseCode::TIMEOUT, out),
                Timer::Lag(id, subscription) => {
                    self.with_producer(env, id, out, |p, cx| p.check_lag(subscription, cx));
                }
                Timer::ConsumerTickets(id, subscription) => {
                    self.with_producer(env, id, out, |p, cx| p.check_tickets(subscription, cx));
                }
                Timer::Attempt(id, peer) => {
                    self.with_consumer(env, id, out, |c, cx| c.on_attempt_timer(&peer, cx));
                }
                Timer::Leave(id, peer) => {
                    self.with_consumer(env, id, out, |c, cx| {
                        c.leave(&peer, EndReason::UnknownPeer, cx);
                    });
                }
                Timer::ProducerTickets(id, peer) => {
                    self.with_consumer(env, id, out, |c, cx| c.check_tickets(&peer, cx));
                }
            }
        }
    }

    fn on_shutdown(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        self.serving.clear();
        for id in self.producers.keys().copied().collect::<Vec<_>>() {
            self.close_producer(env, id, out);
        }
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.close_consumer(env, id, out);
        }
    }
}

impl Core for Streams {
    type Env<'a> = Env<'a>;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, env: Env<'_>, event: Event, out: &mut Outbox<Action>) {
        match event {
            Event::Timeout => self.on_timeout(env, out),
            // With a link there is a round-trip time, which predicates may ask for.
            Event::Connected { peer, .. } => self.on_peer_changed(env, peer, out),
            Event::Disconnected { peer, .. } => self.on_disconnected(env, peer, out),
            Event::PeerChanged(peer) => self.on_peer_changed(env, peer, out),
            Event::Accepted { peer, channel } => self.on_accepted(env, peer, channel),
            Event::Data { channel, chunk } => self.on_data(env, channel, chunk, out),
            Event::Drained { channel, bytes } => match self.shared.routes.get(&channel).copied() {
                Some(Route::Producer(id, subscription)) => {
                    self.with_producer(env, id, out, |producer, cx| {
                        producer.on_drained(subscription, bytes, cx);
                    });
                }
                Some(Route::Consumer(id, peer)) => {
                    self.with_consumer(env, id, out, |c, cx| c.on_drained(&peer, bytes, cx));
                }
                Some(Route::Pending) | None => {}
            },
            Event::ChannelDown { channel, reason } => match self.shared.routes.remove(&channel) {
                Some(Route::Pending) => {
                    self.pending.remove(&channel);
                    self.shared.timers.cancel(&Timer::Pending(channel));
                }
                Some(Route::Producer(id, subscription)) => {
                    self.with_producer(env, id, out, |p, cx| {
                        p.end(subscription, End::Down(reason), cx);
                    });
                }
                Some(Route::Consumer(id, peer)) => {
                    self.with_consumer(env, id, out, |c, cx| c.on_channel_down(&peer, reason, cx));
                }
                None => {}
            },
            Event::OpenProducer { producer, config } => {
                self.open_producer(env, producer, config, out);
            }
            Event::CloseProducer(producer) => self.close_producer(env, producer, out),
            Event::OpenConsumer { consumer, config } => {
                self.open_consumer(env, consumer, config, out);
            }
            Event::CloseConsumer(consumer) => self.close_consumer(env, consumer, out),
            Event::Offer { producer, items, payload, data } => {
                self.with_producer(env, producer, out, |p, cx| p.offer(items, payload, data, cx));
            }
            Event::Consumed { consumer, subscription, items, bytes } => {
                self.with_consumer(env, consumer, out, |c, cx| {
                    c.on_consumed(subscription, Credit { items, bytes }, cx);
                });
            }
            Event::Shutdown => self.on_shutdown(env, out),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.shared.timers.next()
    }
}
