//! What a producer or consumer knows of its subscriptions.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mosaik_proto::{
    PeerId,
    discovery::PeerEntry,
    ids::{StreamId, SubscriptionId},
    streams::{Change, Criteria, State},
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
    Connected(PeerId),
    /// No more, for now or for good.
    Disconnected(PeerId),
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
    pub(crate) datums: AtomicU64,
    pub(crate) bytes: AtomicU64,
    gaps: AtomicU64,
    since: Option<Instant>,
}

impl Stats {
    pub(crate) fn new(since: Option<Instant>, clock: Clock) -> Self {
        let zero = || AtomicU64::new(0);
        let counters = Counters { datums: zero(), bytes: zero(), gaps: zero(), since };
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

    /// The same counts with another start.
    fn restarted(&self, since: Option<Instant>) -> Self {
        let fresh = Self::new(since, self.clock.clone());
        fresh.set(self.datums(), self.bytes());
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

/// One subscription between a producer and a consumer, as one of its ends knew it when asked.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    pub(crate) subscription: SubscriptionId,
    pub(crate) stream: StreamId,
    pub(crate) local: PeerId,
    pub(crate) local_produces: bool,
    pub(crate) peer: PeerEntry,
    pub(crate) state: State,
    pub(crate) stats: Stats,
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

    /// How far the subscription was.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// True if items could flow.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// What went through; live, not as of the question.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Resolves when this subscription is over. Cancel safe, detached from the handle.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let (status, subscription) = (Arc::clone(&self.status), self.subscription);
        async move {
            status
                .until(|status| {
                    let over = status.closed || !status.channels.contains_key(&subscription);
                    over.then_some(())
                })
                .await;
        }
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
        }
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
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
            status.channels.clear();
        });
    }

    /// Items went through a subscription; running totals.
    pub(crate) fn progress(&self, subscription: SubscriptionId, items: u64, bytes: u64) {
        self.status.read(|status| {
            if let Some(channel) = status.channels.get(&subscription) {
                channel.stats.set(items, bytes);
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
            Change::Channel { subscription, peer, state, .. } => {
                let was = status.channels.get(&subscription).map(ChannelInfo::is_connected);
                match (was.unwrap_or(false), state == State::Connected) {
                    (false, true) => self.events.send(StreamEvent::Connected(peer.id())),
                    (true, false) => self.events.send(StreamEvent::Disconnected(peer.id())),
                    (true, true) | (false, false) => {}
                }
                self.put(status, subscription, peer, state);
                true
            }
            Change::ChannelGone { subscription, .. } => {
                let Some(channel) = status.channels.remove(&subscription) else { return false };
                if channel.is_connected() {
                    self.events.send(StreamEvent::Disconnected(channel.peer.id()));
                }
                true
            }
            Change::Online { online, .. } => {
                status.online = online;
                true
            }
            Change::Progress { subscription, items, bytes, .. } => {
                if let Some(channel) = status.channels.get(&subscription) {
                    channel.stats.set(items, bytes);
                }
                false
            }
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
    ) {
        let connected = state == State::Connected;
        let since = || connected.then(|| self.clock.now().mono);
        let stats = match status.channels.get(&subscription) {
            Some(old) if old.is_connected() == connected => old.stats.clone(),
            Some(old) => old.stats.restarted(since()),
            None => Stats::new(since(), self.clock.clone()),
        };
        let info = ChannelInfo {
            subscription,
            stream: self.stream,
            local: self.local,
            local_produces: self.local_produces,
            peer,
            state,
            stats,
            status: Arc::clone(&self.status),
        };
        status.channels.insert(subscription, info);
    }
}
