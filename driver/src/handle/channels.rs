//! What a producer or consumer knows of its subscriptions.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mosaik_proto::{
    PeerId,
    discovery::PeerEntry,
    ids::{StreamId, SubscriptionId},
    streams::{Change, Condition, Criteria, EndReason, State, StreamKind, Terms},
    time::Instant,
};

use super::shared::Clock;
use crate::{
    metrics::StreamMetrics,
    sync::{broadcast::Broadcast, cell::Watched},
};

/// What happened to the subscriptions of a producer or consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// Items can flow to or from this peer.
    Connected {
        /// The peer at the other end.
        peer: PeerId,
        /// The number of the first item to come, within the producer's incarnation. With
        /// [`Replay`](mosaik_proto::streams::Replay) it says how far back the producer went.
        first: u64,
    },
    /// No more, for now or for good.
    Disconnected {
        /// The peer at the other end.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// This producer refused us, or did not answer; it is tried again later. Told when a producer
    /// that was tried is given up for the moment, not for each further try.
    Refused {
        /// The producer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// Items of this producer, or for this consumer, were missed: they had left the producer's tail
    /// before they could be sent. Numbered within the producer's incarnation.
    Gap {
        /// The peer at the other end.
        peer: PeerId,
        /// The first item that is missing.
        first: u64,
        /// The last item that is missing.
        last: u64,
    },
    /// This producer started anew: its numbering began again, and what the old one had not sent is
    /// lost.
    Restarted(PeerId),
}

/// Events kept for receivers that are slow.
const EVENTS: usize = 256;

/// How many datums and bytes went through, and since when.
#[derive(Clone)]
pub struct Stats {
    counters: Arc<Counters>,
    clock: Clock,
}

#[derive(Debug)]
pub(crate) struct Counters {
    datums: AtomicU64,
    bytes: AtomicU64,
    gaps: AtomicU64,
    /// The number of the next item to be sent, and payload bytes of all before it.
    next: AtomicU64,
    before: AtomicU64,
    since: Option<Instant>,
}

/// What one end of a subscription is behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Items.
    pub items: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Lag {
    /// What is missing from `done` to `all`; zero if the two were read in the wrong moment.
    pub(crate) const fn between(done: (u64, u64), all: (u64, u64)) -> Self {
        Self { items: all.0.saturating_sub(done.0), bytes: all.1.saturating_sub(done.1) }
    }
}

/// Who can say how far behind a subscription is. Asked only when somebody reads it.
pub(crate) trait Lagging: fmt::Debug + Send + Sync {
    fn lag(&self, subscription: SubscriptionId, stats: &Stats) -> Lag;
}

/// A subscription whose producer or consumer is not known yet, or gone.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Lagging for Nowhere {
    fn lag(&self, _: SubscriptionId, _: &Stats) -> Lag {
        Lag::default()
    }
}

impl Stats {
    pub(crate) fn new(since: Option<Instant>, clock: Clock) -> Self {
        let zero = || AtomicU64::new(0);
        let counters = Counters {
            datums: zero(),
            bytes: zero(),
            gaps: zero(),
            next: zero(),
            before: zero(),
            since,
        };
        Self { counters: Arc::new(counters), clock }
    }

    /// Datums so far.
    #[must_use]
    pub fn datums(&self) -> u64 {
        self.counters.datums.load(Ordering::Relaxed)
    }

    /// Payload bytes so far, without lengths and headers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    /// Datums that were missed: they had left the producer's tail before they could be sent.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.counters.gaps.load(Ordering::Relaxed)
    }

    /// Time since the connection, `None` while there is none.
    #[must_use]
    pub fn uptime(&self) -> Option<Duration> {
        self.counters.since.map(|since| self.clock.now().mono.since(since))
    }

    /// Adds to the counts. For the one owner of a handle: it is not atomic against another `add`.
    pub(crate) fn add(&self, datums: u64, bytes: u64) {
        self.set(self.datums() + datums, self.bytes() + bytes);
    }

    fn set(&self, datums: u64, bytes: u64) {
        self.counters.datums.store(datums, Ordering::Relaxed);
        self.counters.bytes.store(bytes, Ordering::Relaxed);
    }

    /// The next item, and payload bytes of all items before it.
    pub(crate) fn position(&self) -> (u64, u64) {
        let Counters { next, before, .. } = &*self.counters;
        (next.load(Ordering::Relaxed), before.load(Ordering::Relaxed))
    }

    fn proceed(&self, next: u64, before: u64) {
        self.counters.next.store(next, Ordering::Relaxed);
        self.counters.before.store(before, Ordering::Relaxed);
    }

    /// The same counts with another start.
    fn restarted(&self, since: Option<Instant>) -> Self {
        let fresh = Self::new(since, self.clock.clone());
        fresh.set(self.datums(), self.bytes());
        let (next, before) = self.position();
        fresh.proceed(next, before);
        fresh.counters.gaps.store(self.missed(), Ordering::Relaxed);
        fresh
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uptime() {
            Some(uptime) => write!(f, "uptime: {:.1?}", uptime)?,
            None => write!(f, "uptime: N/A")?,
        }
        write!(f, ", datums: {}, bytes: {}", self.datums(), DecimalSize(self.bytes()))
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stats({self})")
    }
}

/// A size in decimal units, as people write it.
struct DecimalSize(u64);

impl fmt::Display for DecimalSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
        let mut size = self.0 as f64;
        let mut unit = 0;
        while size >= 1000.0 && unit + 1 < UNITS.len() {
            size /= 1000.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{size:.2} {}", UNITS[unit]) }
    }
}

/// How far one subscription is from when it is shown until it is not any more.
#[derive(Debug, Default)]
struct Listing {
    connected: AtomicBool,
    ended: OnceLock<EndReason>,
}

/// One subscription between a producer and a consumer, as one of its ends knows it. Who the other is
/// and where it began is as of the question; its state, its counts and its end are live.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    pub(crate) subscription: SubscriptionId,
    pub(crate) stream: StreamId,
    pub(crate) local: PeerId,
    pub(crate) local_produces: bool,
    pub(crate) peer: PeerEntry,
    pub(crate) stats: Stats,
    terms: Option<Terms>,
    listing: Arc<Listing>,
    lagging: Weak<dyn Lagging>,
    pub(crate) status: Arc<Watched<Status>>,
}

impl ChannelInfo {
    /// The stream.
    #[must_use]
    pub const fn stream_id(&self) -> &StreamId {
        &self.stream
    }

    /// What the consumer wants to see of it.
    #[must_use]
    pub const fn criteria(&self) -> Criteria {
        Criteria {}
    }

    /// The peer that produces.
    #[must_use]
    pub fn producer_id(&self) -> PeerId {
        if self.local_produces { self.local } else { self.peer.id() }
    }

    /// The peer that consumes.
    #[must_use]
    pub fn consumer_id(&self) -> PeerId {
        if self.local_produces { self.peer.id() } else { self.local }
    }

    /// The peer at the other end.
    #[must_use]
    pub const fn peer(&self) -> &PeerEntry {
        &self.peer
    }

    /// How far the subscription is; live.
    #[must_use]
    pub fn state(&self) -> State {
        if self.ended().is_some() {
            State::Terminated
        } else if self.listing.connected.load(Ordering::Acquire) {
            State::Connected
        } else {
            State::Connecting
        }
    }

    /// True if items can flow; live.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// What went through; live, not as of the question.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether the producer waits for consumers that cannot keep up; `None` until it is connected.
    #[must_use]
    pub fn kind(&self) -> Option<StreamKind> {
        self.terms.map(|terms| terms.kind)
    }

    /// The number of the first item to come when it was connected, within the producer's
    /// incarnation; `None` before.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.terms.map(|terms| terms.first)
    }

    /// How far it is behind; live. At the producer: what it accepted and has not sent to this
    /// consumer yet. At the consumer: what was delivered to this process and not taken yet.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let lagging = self.lagging.upgrade().filter(|_| self.ended().is_none());
        lagging.map_or_else(Lag::default, |source| source.lag(self.subscription, &self.stats))
    }

    /// Why this subscription is over; `None` while it is not. Live. A consumer that reconnects is
    /// listed anew.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.listing.ended.get().copied()
    }

    /// Resolves when this subscription is over, at once if it is; [`ended`](Self::ended) says why.
    /// Cancel safe, detached from the handle.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let (status, listing) = (Arc::clone(&self.status), Arc::clone(&self.listing));
        async move { status.until(|_| listing.ended.get().map(|_| ())).await }
    }
}

/// What handles see of a producer or consumer. All of one step changes together.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) online: bool,
    /// The handle's node has ended, or the producer was closed.
    pub(crate) closed: bool,
    pub(crate) channels: BTreeMap<SubscriptionId, ChannelInfo>,
}

impl Status {
    /// The entries of all connected peers.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &PeerEntry> {
        self.channels.values().filter(|c| c.is_connected()).map(|channel| &channel.peer)
    }
}

/// What a producer and a consumer have in common: their stream and their status.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) stream: StreamId,
    pub(crate) status: Arc<Watched<Status>>,
    /// A copy of `status.online` that can be read without the lock.
    online: AtomicBool,
    local: PeerId,
    local_produces: bool,
    clock: Clock,
    pub(crate) metrics: StreamMetrics,
    pub(crate) events: Broadcast<StreamEvent>,
    /// Items that were missed, over all subscriptions.
    missed: AtomicU64,
    restarts: AtomicU64,
    lagging: OnceLock<Weak<dyn Lagging>>,
}

impl Channels {
    pub(crate) fn new(
        stream: StreamId,
        local: PeerId,
        local_produces: bool,
        clock: Clock,
        metrics: StreamMetrics,
    ) -> Self {
        let status = Arc::new(Watched::new(Status::default()));
        let online = AtomicBool::new(false);
        Self {
            stream,
            status,
            online,
            local,
            local_produces,
            clock,
            metrics,
            events: Broadcast::new(EVENTS),
            missed: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            lagging: OnceLock::new(),
        }
    }

    /// Who answers for lags, and whether it is online while nobody is connected.
    pub(crate) fn begin(&self, lagging: Weak<dyn Lagging>, online_when: &Condition) {
        // A second time would be a bug that only makes lags wrong.
        let _ = self.lagging.set(lagging);
        if online_when.is_met(std::iter::empty()) {
            self.status.change(|status| status.online = true);
            self.online.store(true, Ordering::Release);
        }
    }

    /// Counts of their own that begin now.
    pub(crate) fn stats(&self) -> Stats {
        Stats::new(Some(self.clock.now().mono), self.clock.clone())
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn list(&self) -> Vec<ChannelInfo> {
        self.status.read(|status| status.channels.values().cloned().collect())
    }

    pub(crate) fn close(&self) {
        self.events.close();
        self.online.store(false, Ordering::Release);
        self.status.change(|status| {
            self.metrics.connected(status.connected().count(), 0);
            status.online = false;
            status.closed = true;
            while let Some((_, channel)) = status.channels.pop_first() {
                let _ = channel.listing.ended.set(EndReason::Cancelled);
            }
        });
    }

    /// Items went through a subscription; running totals.
    pub(crate) fn progress(&self, change: &Change) {
        let &Change::Progress { subscription, items, bytes, next, before, .. } = change else {
            return;
        };
        self.status.read(|status| {
            if let Some(channel) = status.channels.get(&subscription) {
                channel.stats.set(items, bytes);
                channel.stats.proceed(next, before);
            }
        });
    }

    /// Applies the changes of one step; they become visible together.
    pub(crate) fn apply(&self, changes: Vec<Change>) {
        self.status.change_if(|status| {
            let before = status.connected().count();
            let mut visible = false;
            for change in changes {
                visible |= self.apply_one(status, change);
            }
            if visible {
                self.metrics.connected(before, status.connected().count());
            }
            self.online.store(status.online, Ordering::Release);
            visible
        });
    }

    fn apply_one(&self, status: &mut Status, change: Change) -> bool {
        match change {
            Change::Channel { subscription, peer, state, terms, .. } => {
                let was = status.channels.get(&subscription).is_some_and(ChannelInfo::is_connected);
                if let Some(Terms { first, .. }) = terms.filter(|_| !was) {
                    self.events.send(StreamEvent::Connected { peer: peer.id(), first });
                }
                self.put(status, subscription, peer, state, terms);
                true
            }
            Change::ChannelGone { subscription, reason, .. } => {
                let Some(channel) = status.channels.remove(&subscription) else { return false };
                let (peer, connected) = (channel.peer.id(), channel.is_connected());
                let _ = channel.listing.ended.set(reason);
                self.events.send(if connected {
                    StreamEvent::Disconnected { peer, reason }
                } else {
                    StreamEvent::Refused { peer, reason }
                });
                true
            }
            Change::Online { online, .. } => {
                status.online = online;
                true
            }
            // Not through here: on the hot path.
            Change::Progress { .. } => false,
            Change::Gap { subscription, first, last, .. } => {
                tracing::warn!(stream = %self.stream, first, last, "items were missed");
                let missed = last - first + 1;
                self.missed.fetch_add(missed, Ordering::Relaxed);
                if let Some(channel) = status.channels.get(&subscription) {
                    channel.stats.counters.gaps.fetch_add(missed, Ordering::Relaxed);
                    let peer = channel.peer.id();
                    self.events.send(StreamEvent::Gap { peer, first, last });
                }
                false
            }
            Change::Restarted { subscription, .. } => {
                tracing::info!(stream = %self.stream, "the producer started anew");
                self.restarts.fetch_add(1, Ordering::Relaxed);
                if let Some(channel) = status.channels.get(&subscription) {
                    self.events.send(StreamEvent::Restarted(channel.peer.id()));
                }
                false
            }
        }
    }

    fn put(
        &self,
        status: &mut Status,
        subscription: SubscriptionId,
        peer: PeerEntry,
        state: State,
        terms: Option<Terms>,
    ) {
        let connected = state == State::Connected;
        let since = || connected.then(|| self.clock.now().mono);
        let old = status.channels.get(&subscription);
        let stats = match old {
            Some(old) if old.is_connected() == connected => old.stats.clone(),
            Some(old) => old.stats.restarted(since()),
            None => Stats::new(since(), self.clock.clone()),
        };
        if let Some(Terms { first, before, .. }) = terms.filter(|_| old.is_none()) {
            stats.proceed(first, before);
        }
        let listing = old.map(|old| Arc::clone(&old.listing)).unwrap_or_default();
        listing.connected.store(connected, Ordering::Release);
        let info = ChannelInfo {
            subscription,
            stream: self.stream,
            local: self.local,
            local_produces: self.local_produces,
            peer,
            stats,
            terms,
            listing,
            lagging: self.lagging.get().cloned().unwrap_or_else(|| Weak::<Nowhere>::new()),
            status: Arc::clone(&self.status),
        };
        status.channels.insert(subscription, info);
    }
}
