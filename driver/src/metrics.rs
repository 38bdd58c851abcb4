//! What a node counts, through the `metrics` facade. Handles are resolved once, never on a hot path.
//!
//! Install a recorder before the first network is built: handles resolved earlier count nowhere.

use metrics::{Counter, Gauge, SharedString, counter, gauge};
use mosaik_proto::{NetworkId, Short, discovery::News, ids::StreamId};

/// The counters of one node.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    network: SharedString,
    pub(crate) connections_opened: Counter,
    pub(crate) links_refused: Counter,
    pub(crate) violations: Counter,
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
    pub(crate) panics: Counter,
}

impl NodeMetrics {
    pub(crate) fn new(network: &NetworkId) -> Self {
        let network = SharedString::from(Short(network).to_string());
        let label = || [("network", network.clone())];
        Self {
            connections_opened: counter!("mosaik.network.connections.opened"),
            links_refused: counter!("mosaik.network.connections.refused", &label()),
            violations: counter!("mosaik.network.violations", &label()),
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
