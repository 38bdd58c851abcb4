//! What a node counts, through the `metrics` facade. Handles are resolved once, never on a hot path.
//!
//! Install a recorder before the first network is built: handles resolved earlier count nowhere.

pub(crate) mod groups;

use metrics::{Counter, Gauge, SharedString, counter, gauge};
use mosaik_proto::{NetworkId, Short, discovery::News, ids::StreamId, wire::CloseCode};

/// Why an entry was refused, as a label.
pub(crate) type EntryRefusal = &'static str;

/// One counter per reason.
#[derive(Debug)]
pub(crate) struct ByReason<K> {
    known: Vec<(K, Counter)>,
    other: Counter,
}

impl<K: PartialEq> ByReason<K> {
    fn new<const N: usize>(
        reasons: [(K, &'static str); N],
        make: impl Fn(&'static str) -> Counter,
    ) -> Self {
        let known = reasons.into_iter().map(|(key, reason)| (key, make(reason))).collect();
        Self { known, other: make("other") }
    }

    pub(crate) fn of(&self, reason: &K) -> &Counter {
        self.known.iter().find(|(key, _)| key == reason).map_or(&self.other, |(_, counter)| counter)
    }
}

/// The counters of one node.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    network: SharedString,
    pub(crate) connections_opened: Counter,
    pub(crate) dials: Counter,
    pub(crate) links_refused: ByReason<CloseCode>,
    pub(crate) channels_refused: Counter,
    pub(crate) violations: Counter,
    pub(crate) entries_refused: ByReason<EntryRefusal>,
    pub(crate) stream_violations: Counter,
    pub(crate) egress: Counter,
    pub(crate) ingress: Counter,
    pub(crate) catalog_size: Gauge,
    pub(crate) discovered: Counter,
    pub(crate) updated: Counter,
    pub(crate) departed: Counter,
    pub(crate) syncs: Counter,
    pub(crate) neighbors: Gauge,
    pub(crate) producers: Gauge,
    pub(crate) streams_accepted: Counter,
    pub(crate) streams_rejected: Counter,
    pub(crate) groups: Gauge,
    pub(crate) panics: Counter,
}

impl NodeMetrics {
    pub(crate) fn new(network: &NetworkId) -> Self {
        let network = SharedString::from(Short(network).to_string());
        let label = || [("network", network.clone())];
        Self {
            connections_opened: counter!("mosaik.network.connections.opened"),
            dials: counter!("mosaik.links.dials", &label()),
            links_refused: links_refused(&network),
            channels_refused: counter!("mosaik.links.channels.refused", &label()),
            violations: counter!("mosaik.links.violations", &label()),
            entries_refused: entries_refused(&network),
            stream_violations: counter!("mosaik.streams.violations", &label()),
            egress: counter!("mosaik.network.egress.bytes"),
            ingress: counter!("mosaik.network.ingress.bytes"),
            catalog_size: gauge!("mosaik.discovery.catalog.size", &label()),
            discovered: counter!("mosaik.discovery.peers.discovered", &label()),
            updated: counter!("mosaik.discovery.peers.updated", &label()),
            departed: counter!("mosaik.discovery.peers.departed", &label()),
            syncs: counter!("mosaik.discovery.catalog.syncs", &label()),
            neighbors: gauge!("mosaik.discovery.gossip.neighbors", &label()),
            producers: gauge!("mosaik.streams.producers.active", &label()),
            streams_accepted: counter!("mosaik.streams.connections.accepted", &label()),
            streams_rejected: counter!("mosaik.streams.connections.rejected", &label()),
            groups: gauge!("mosaik.groups.active", &label()),
            panics: counter!("mosaik.predicates.panicked", &label()),
            network,
        }
    }

    pub(crate) fn news(&self, news: News) {
        match news {
            News::Discovered => self.discovered.increment(1),
            News::Updated => self.updated.increment(1),
        }
    }

    /// The counters of one stream at a producer or consumer of this node.
    pub(crate) fn stream(&self, stream: &StreamId, produces: bool) -> StreamMetrics {
        let stream = SharedString::from(Short(stream).to_string());
        let label = || [("stream", stream.clone()), ("network", self.network.clone())];
        StreamMetrics {
            connected: if produces {
                gauge!("mosaik.streams.producer.consumers", &label())
            } else {
                gauge!("mosaik.streams.consumer.producers", &label())
            },
            consumers_active: gauge!("mosaik.streams.consumers.active", &label()),
            accepted: counter!("mosaik.streams.producer.consumers.accepted", &label()),
            rejected: counter!("mosaik.streams.producer.consumers.rejected", &label()),
            items_sent: counter!("mosaik.streams.producer.items.sent", &label()),
            bytes_sent: counter!("mosaik.streams.producer.bytes.sent", &label()),
            items_dropped: counter!("mosaik.streams.producer.items.dropped", &label()),
            items_received: counter!("mosaik.streams.consumer.items.received", &label()),
            bytes_received: counter!("mosaik.streams.consumer.bytes.received", &label()),
            datums: counter!("mosaik.streams.datums.total", &label()),
            bytes: counter!("mosaik.streams.bytes.total", &label()),
        }
    }
}

fn links_refused(network: &SharedString) -> ByReason<CloseCode> {
    let reasons = [
        (CloseCode::BUSY, "busy"),
        (CloseCode::DIFFERENT_NETWORK, "different_network"),
        (CloseCode::DUPLICATE, "duplicate"),
        (CloseCode::NOT_ADMITTED, "not_admitted"),
        (CloseCode::PROTOCOL_VIOLATION, "protocol_violation"),
        (CloseCode::TIMEOUT, "timeout"),
        (CloseCode::UNKNOWN_PEER, "unproved_key"),
        (CloseCode::VERSION_MISMATCH, "version_mismatch"),
    ];
    ByReason::new(reasons, |reason| {
        let labels = [("network", network.clone()), ("reason", SharedString::from(reason))];
        counter!("mosaik.links.refused", &labels)
    })
}

fn entries_refused(network: &SharedString) -> ByReason<EntryRefusal> {
    let reasons =
        ["drift", "expired", "flood", "full", "limits", "network", "own", "protocol", "signature"];
    ByReason::new(reasons.map(|reason| (reason, reason)), |reason| {
        let labels = [("network", network.clone()), ("reason", SharedString::from(reason))];
        counter!("mosaik.discovery.entries.refused", &labels)
    })
}

/// The counters of one stream.
#[derive(Debug)]
pub(crate) struct StreamMetrics {
    connected: Gauge,
    pub(crate) consumers_active: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) rejected: Counter,
    items_sent: Counter,
    bytes_sent: Counter,
    pub(crate) items_dropped: Counter,
    items_received: Counter,
    bytes_received: Counter,
    datums: Counter,
    bytes: Counter,
}

impl StreamMetrics {
    pub(crate) fn connected(&self, before: usize, now: usize) {
        if now >= before {
            self.connected.increment((now - before) as f64);
        } else {
            self.connected.decrement((before - now) as f64);
        }
    }

    pub(crate) fn sent(&self, items: u64, bytes: u64) {
        self.items_sent.increment(items);
        self.bytes_sent.increment(bytes);
        self.datums.increment(items);
        self.bytes.increment(bytes);
    }

    /// The application took items. Counted once, not on arrival as well.
    pub(crate) fn taken(&self, items: u64, bytes: u64) {
        self.items_received.increment(items);
        self.bytes_received.increment(bytes);
        self.datums.increment(items);
        self.bytes.increment(bytes);
    }
}
