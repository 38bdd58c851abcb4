//! `network.streams()`: opening producers and consumers.

use std::{
    any::TypeId,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use mosaik_proto::{
    discovery::{PeerEntry, PeerInfo},
    ids::{ConsumerId, ProducerId, StreamId, TicketClass, UniqueId},
    limits,
    streams::{Backoff, Condition, ConsumerConfig, Criteria, ProducerConfig, Replay, StreamKind},
    tickets::{Expiration, InvalidTicket, TicketValidator},
    time::UnixMillis,
};

use super::{
    channels::Channels,
    consumer::{Consumer, ConsumerCell},
    producer::{Producer, ProducerCell},
    shared::{Clock, Life, Shared},
    undelivered::UndeliveredSink,
    when::ChannelConditions,
};
use crate::{datum::Datum, sync::cell::lock};

/// A stream of one datum type, by id or by the type's own.
pub struct StreamDef<D> {
    /// The id, or `None` for [`Datum::derived_stream_id`].
    pub stream_id: Option<StreamId>,
    datum: PhantomData<fn() -> D>,
}

impl<D> StreamDef<D> {
    /// The stream that the type names itself.
    #[must_use]
    pub const fn new() -> Self {
        Self { stream_id: None, datum: PhantomData }
    }

    /// The stream with this id.
    #[must_use]
    pub const fn with_stream_id(id: StreamId) -> Self {
        Self { stream_id: Some(id), datum: PhantomData }
    }
}

impl<D> Default for StreamDef<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> Clone for StreamDef<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for StreamDef<D> {}

impl<D> fmt::Debug for StreamDef<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDef").field("stream_id", &self.stream_id).finish_non_exhaustive()
    }
}

/// Opens producers and consumers. Get it from `network.streams()`.
#[derive(Clone, Debug)]
pub struct Streams {
    pub(crate) shared: Arc<Shared>,
}

impl Streams {
    /// The producer of the stream that `D` names itself, with the defaults; a handle of the
    /// existing one if there is one already.
    ///
    /// # Panics
    /// If this node produces the same stream id with another datum type.
    #[must_use]
    pub fn produce<D: Datum>(&self) -> Producer<D> {
        match self.producer::<D>().build() {
            Ok(producer) | Err(BuilderError::AlreadyExists(producer)) => producer,
        }
    }

    /// Configures a producer.
    pub fn producer<D: Datum>(&self) -> ProducerBuilder<'_, D> {
        self.producer_of(StreamDef::new())
    }

    /// Configures a producer of a defined stream.
    pub fn producer_of<D: Datum>(&self, stream: StreamDef<D>) -> ProducerBuilder<'_, D> {
        let id = stream.stream_id.unwrap_or_else(D::derived_stream_id);
        ProducerBuilder {
            streams: self,
            config: ProducerConfig::new(id),
            online_when: None,
            buffer: limits::BUFFER_ITEMS,
            undelivered: None,
            datum: PhantomData,
        }
    }

    /// A consumer of the stream that `D` names itself, with the defaults.
    #[must_use]
    pub fn consume<D: Datum>(&self) -> Consumer<D> {
        self.consumer::<D>().build()
    }

    /// Configures a consumer.
    pub fn consumer<D: Datum>(&self) -> ConsumerBuilder<'_, D> {
        self.consumer_of(StreamDef::new())
    }

    /// Configures a consumer of a defined stream.
    pub fn consumer_of<D: Datum>(&self, stream: StreamDef<D>) -> ConsumerBuilder<'_, D> {
        let id = stream.stream_id.unwrap_or_else(D::derived_stream_id);
        ConsumerBuilder { streams: self, config: ConsumerConfig::new(id), datum: PhantomData }
    }
}

/// Why no new producer was made.
pub enum BuilderError<D: Datum> {
    /// This node produces the stream already: here is a handle of that producer, whose
    /// configuration stays as it was.
    AlreadyExists(Producer<D>),
}

impl<D: Datum> fmt::Display for BuilderError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists(producer) => {
                write!(f, "the stream {} has a producer on this node already", producer.stream_id())
            }
        }
    }
}

impl<D: Datum> fmt::Debug for BuilderError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists(producer) => {
                f.debug_tuple("AlreadyExists").field(producer).finish()
            }
        }
    }
}

impl<D: Datum> std::error::Error for BuilderError<D> {}

/// Configures a producer; [`build`](Self::build) opens it.
#[must_use = "a producer is opened by build()"]
pub struct ProducerBuilder<'a, D: Datum> {
    streams: &'a Streams,
    config: ProducerConfig,
    online_when: Option<Condition>,
    buffer: usize,
    undelivered: Option<UndeliveredSink>,
    datum: PhantomData<fn() -> D>,
}

impl<D: Datum> ProducerBuilder<'_, D> {
    /// Accepts only consumers that also pass this test. Called inside the event loop: it must be
    /// quick and must not block; if it panics the consumer is refused.
    pub fn require(mut self, test: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        let test = guarded(&self.streams.shared, test);
        self.config.require = self.config.require.and(test);
        self
    }

    /// Accepts only consumers with a ticket that this validator accepts; all validators must pass.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        let guarded = Guarded::new(validator, &self.streams.shared);
        self.config.validators.push(Arc::new(guarded));
        self
    }

    /// Online while this condition over its consumers is met. Default: at least one; for a lossy
    /// producer none, because it waits for nobody.
    pub fn online_when(
        mut self,
        condition: impl FnOnce(ChannelConditions) -> ChannelConditions,
    ) -> Self {
        self.online_when = Some(evaluate(condition));
        self
    }

    /// What happens to consumers that cannot keep up. Default: [`StreamKind::Lossless`].
    ///
    /// A lossy producer never waits for a consumer: [`send`](Producer::send) waits at most until the
    /// node's own loop has taken what was sent before. A consumer that falls out of the
    /// [tail](Self::with_tail) goes on at the oldest item kept; it is never cut off as too slow, and
    /// both ends are told what it missed ([`StreamEvent::Gap`](super::channels::StreamEvent)).
    pub const fn with_kind(mut self, kind: StreamKind) -> Self {
        self.config.kind = kind;
        self
    }

    /// The same as `with_kind(StreamKind::Lossy)`.
    pub const fn lossy(self) -> Self {
        self.with_kind(StreamKind::Lossy)
    }

    /// What is kept for consumers that are behind, come back, or ask for a
    /// [replay](ConsumerBuilder::with_replay): so many items or payload bytes, whichever is reached
    /// first, from 1 up, and less than one batch more (64 KiB or one item). A lossless producer gets
    /// ahead of its slowest consumer by half of it. Defaults: [`limits::TAIL_ITEMS`],
    /// [`limits::TAIL_BYTES`].
    pub const fn with_tail(mut self, items: u64, bytes: u64) -> Self {
        self.config.tail_items = if items == 0 { 1 } else { items };
        self.config.tail_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Gets every datum that was accepted and went to nobody: no consumer was connected when its
    /// turn came, or all of them ended before it was sent and it left the tail, or the producer or
    /// its node ended before. Of a lossy producer, whatever left the tail before it was sent to
    /// anybody. In no particular order.
    ///
    /// The function runs in the event loop (and once more in whatever ends the node): it must be
    /// quick and must not block. A panic costs that datum and is counted.
    pub fn with_undelivered_sink(mut self, sink: impl Fn(D) + Send + Sync + 'static) -> Self {
        self.config.undelivered = true;
        self.undelivered = Some(UndeliveredSink::new(sink));
        self
    }

    /// Cut off consumers that keep their window full (default: yes, after 5 s). If not, the slowest
    /// consumer sets the pace of all.
    pub const fn disconnect_lagging(mut self, yes: bool) -> Self {
        self.config.disconnect_lagging = yes;
        self
    }

    /// How long a consumer may keep its window full before it is cut off.
    pub const fn with_lag_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.config.lag_timeout = timeout;
        self
    }

    /// Items that wait to be sent, from 1 up. Default: [`limits::BUFFER_ITEMS`].
    pub const fn with_buffer_size(mut self, items: usize) -> Self {
        self.buffer = if items == 0 { 1 } else { items };
        self
    }

    /// Active consumers at once. Default: no limit.
    pub const fn with_max_consumers(mut self, consumers: usize) -> Self {
        self.config.max_consumers = consumers;
        self
    }

    /// The id of the stream.
    pub fn with_stream_id(mut self, id: impl Into<StreamId>) -> Self {
        self.config.stream = id.into();
        self
    }

    /// Opens the producer; it is advertised when this returns.
    ///
    /// # Errors
    /// [`BuilderError::AlreadyExists`] with a handle of the producer that this node has already;
    /// nothing that was set here counts, the sink of undelivered items included.
    ///
    /// # Panics
    /// If this node produces the same stream id with another datum type, or has
    /// [`limits::STREAMS`] producers.
    pub fn build(self) -> Result<Producer<D>, BuilderError<D>> {
        let Self { streams, mut config, online_when, buffer, undelivered, .. } = self;
        let least = usize::from(config.kind == StreamKind::Lossless);
        config.online_when = online_when.unwrap_or_else(|| Condition::at_least(least));
        let shared = &streams.shared;
        let (cell, fresh) = shared.streams.producer::<D>(shared, config, buffer, undelivered);
        let producer = Producer::of(cell, Arc::clone(shared));
        if fresh { Ok(producer) } else { Err(BuilderError::AlreadyExists(producer)) }
    }
}

impl<D: Datum> fmt::Debug for ProducerBuilder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Configures a consumer; [`build`](Self::build) opens it.
#[must_use = "a consumer is opened by build()"]
pub struct ConsumerBuilder<'a, D: Datum> {
    streams: &'a Streams,
    config: ConsumerConfig,
    datum: PhantomData<fn() -> D>,
}

impl<D: Datum> ConsumerBuilder<'_, D> {
    /// Follows only producers that also pass this test; asked again whenever their entry changes.
    /// Called inside the event loop: it must be quick and must not block; a panic refuses.
    pub fn require(mut self, test: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        let test = guarded(&self.streams.shared, test);
        self.config.require = self.config.require.and(test);
        self
    }

    /// Follows only producers with a ticket that this validator accepts; all must pass.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        let guarded = Guarded::new(validator, &self.streams.shared);
        self.config.validators.push(Arc::new(guarded));
        self
    }

    /// Online while this condition over its producers is met. Default: always.
    pub fn online_when(
        mut self,
        condition: impl FnOnce(ChannelConditions) -> ChannelConditions,
    ) -> Self {
        self.config.online_when = evaluate(condition);
        self
    }

    /// What to see of the stream. Reserved: everything.
    pub const fn with_criteria(mut self, criteria: Criteria) -> Self {
        self.config.criteria = criteria;
        self
    }

    /// Where to begin with a producer of which nothing was received yet, also when it has started
    /// anew. Default: [`Replay::Live`]. Where it really began is in
    /// [`ChannelInfo::first`](super::channels::ChannelInfo::first).
    ///
    /// A replay has the window to itself like everything from that producer, and the producer does
    /// not wait for it until it has nearly caught up: what leaves the tail meanwhile is reported as
    /// a gap.
    pub const fn with_replay(mut self, replay: Replay) -> Self {
        self.config.replay = replay;
        self
    }

    /// How soon a producer that refused is tried again.
    pub const fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Items and payload bytes that each producer may send ahead of what was taken, from 1 up to
    /// [`limits::GRANT_ITEMS`] and [`limits::GRANT_BYTES`]. Defaults: [`limits::WINDOW_ITEMS`],
    /// [`limits::WINDOW_BYTES`].
    pub fn with_window(mut self, items: u64, bytes: u64) -> Self {
        self.config.window_items = items.clamp(1, limits::GRANT_ITEMS);
        self.config.window_bytes = bytes.clamp(1, limits::GRANT_BYTES);
        self
    }

    /// The id of the stream.
    pub fn with_stream_id(mut self, id: impl Into<StreamId>) -> Self {
        self.config.stream = id.into();
        self
    }

    /// Opens the consumer.
    ///
    /// # Panics
    /// If this node has [`limits::STREAMS`] consumers.
    #[must_use]
    pub fn build(self) -> Consumer<D> {
        let shared = &self.streams.shared;
        Consumer::of(shared.streams.consumer(shared, self.config), Arc::clone(shared))
    }
}

impl<D: Datum> fmt::Debug for ConsumerBuilder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

fn evaluate(condition: impl FnOnce(ChannelConditions) -> ChannelConditions) -> Condition {
    condition(ChannelConditions::new(Condition::at_least(1), None)).into_condition()
}

/// A predicate that denies when it panics: the loop must survive it.
pub(super) fn guarded(
    shared: &Arc<Shared>,
    test: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static,
) -> impl Fn(&PeerInfo) -> bool + Send + Sync + 'static {
    let shared = Arc::downgrade(shared);
    move |peer| {
        catch_unwind(AssertUnwindSafe(|| test(peer))).unwrap_or_else(|_| {
            panicked(shared.upgrade().as_deref());
            false
        })
    }
}

fn panicked(shared: Option<&Shared>) {
    tracing::error!("a predicate or validator panicked; the peer is refused");
    if let Some(shared) = shared {
        shared.metrics.panics.increment(1);
    }
}

/// A validator that denies when it panics.
pub(super) struct Guarded<V> {
    inner: V,
    clock: Clock,
    shared: Weak<Shared>,
}

impl<V> Guarded<V> {
    pub(super) fn new(inner: V, shared: &Arc<Shared>) -> Self {
        Self { inner, clock: shared.clock.clone(), shared: Arc::downgrade(shared) }
    }
}

impl<V: TicketValidator> TicketValidator for Guarded<V> {
    fn class(&self) -> TicketClass {
        self.inner.class()
    }

    fn signature(&self) -> UniqueId {
        self.inner.signature()
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.validate_at(ticket, peer, self.clock.now().wall)
    }

    fn validate_at(
        &self,
        ticket: &[u8],
        peer: &PeerEntry,
        now: UnixMillis,
    ) -> Result<Expiration, InvalidTicket> {
        catch_unwind(AssertUnwindSafe(|| self.inner.validate_at(ticket, peer, now))).unwrap_or_else(
            |_| {
                panicked(self.shared.upgrade().as_deref());
                Err(InvalidTicket)
            },
        )
    }
}

/// The open producers and consumers of a node.
#[derive(Debug, Default)]
pub(crate) struct StreamsRegistry {
    producers: Mutex<BTreeMap<StreamId, Arc<ProducerCell>>>,
    consumers: Mutex<BTreeMap<ConsumerId, Weak<ConsumerCell>>>,
    last: AtomicU64,
}

impl StreamsRegistry {
    /// The producer of a stream, with one handle more; true if it is new.
    fn producer<D: Datum>(
        &self,
        shared: &Arc<Shared>,
        config: ProducerConfig,
        buffer: usize,
        undelivered: Option<UndeliveredSink>,
    ) -> (Arc<ProducerCell>, bool) {
        let mut producers = lock(&self.producers);
        let datum = TypeId::of::<D>();
        if let Some(cell) = producers.get(&config.stream) {
            assert!(
                cell.datum == datum,
                "this node produces the stream {} with another datum type",
                config.stream
            );
            if cell.adopt() {
                return (Arc::clone(cell), false);
            }
        }
        assert!(producers.len() < limits::STREAMS, "too many producers on one node");
        let stream = config.stream;
        let metrics = shared.metrics.stream(&stream, true);
        let channels = Channels::new(stream, shared.me, true, shared.clock.clone(), metrics);
        let id = ProducerId(self.last.fetch_add(1, Ordering::Relaxed));
        let cell = ProducerCell::new(id, datum, config, buffer, channels, undelivered);
        let cell = Arc::new(cell);
        let this: Weak<ProducerCell> = Arc::downgrade(&cell);
        cell.channels.begin(this, &cell.config.online_when);
        cell.adopt();
        producers.insert(stream, Arc::clone(&cell));
        if shared.life.read(|life| *life != Life::Running) {
            cell.end(shared);
        } else {
            shared.metrics.producers.increment(1.0);
            cell.announce(shared);
            // An entry that is full of streams keeps this one to itself.
            if let Err(error) = shared.edit(|entry| {
                entry.streams().insert(stream);
            }) {
                tracing::error!(%error, "the stream cannot be advertised");
            }
        }
        (cell, true)
    }

    /// The last handle of a producer is gone: the stream is not advertised any more.
    pub(crate) fn forget_producer(&self, cell: &Arc<ProducerCell>, shared: &Shared) {
        let mut producers = lock(&self.producers);
        let stream = cell.channels.stream;
        let ours = producers.get(&stream).is_some_and(|known| Arc::ptr_eq(known, cell));
        if ours && cell.has_ended() {
            producers.remove(&stream);
            shared.metrics.producers.decrement(1.0);
            let _ = shared.edit(|entry| {
                entry.streams().remove(&stream);
            });
        }
    }

    fn consumer(&self, shared: &Arc<Shared>, config: ConsumerConfig) -> Arc<ConsumerCell> {
        let metrics = shared.metrics.stream(&config.stream, false);
        metrics.consumers_active.increment(1.0);
        let clock = shared.clock.clone();
        let channels = Channels::new(config.stream, shared.me, false, clock, metrics);
        let id = ConsumerId(self.last.fetch_add(1, Ordering::Relaxed));
        let cell = Arc::new(ConsumerCell::new(id, config, channels));
        let this: Weak<ConsumerCell> = Arc::downgrade(&cell);
        cell.channels.begin(this, &cell.config.online_when);
        {
            let mut consumers = lock(&self.consumers);
            assert!(consumers.len() < limits::STREAMS, "too many consumers on one node");
            consumers.insert(id, Arc::downgrade(&cell));
        }
        if shared.life.read(|life| *life == Life::Stopped) {
            cell.end();
        } else {
            cell.announce(shared);
        }
        cell
    }

    /// A consumer's handle is gone.
    pub(crate) fn forget_consumer(&self, cell: &ConsumerCell) {
        lock(&self.consumers).remove(&cell.id);
        cell.channels.metrics.consumers_active.decrement(1.0);
    }

    /// The node has ended: every handle resolves.
    pub(crate) fn end(&self, shared: &Shared) {
        // Without the lock: it calls functions of the application.
        let producers: Vec<_> = lock(&self.producers).values().cloned().collect();
        producers.iter().for_each(|cell| cell.end(shared));
        let consumers: Vec<_> = lock(&self.consumers).values().filter_map(Weak::upgrade).collect();
        consumers.iter().for_each(|cell| cell.end());
    }
}
