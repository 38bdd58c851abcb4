//! The part of the consumer that never reads, until everything is over.

use mosaik::{
    discovery::{EndpointAddr, Events},
    streams::{ChannelInfo, Consumer, StreamEvent},
    *,
};
use serde::{Deserialize, Serialize};

use crate::{
    common::{gaps, soon},
    datum::Item,
    memory::{self, Memory},
    node, source,
};

/// What its node says of itself.
pub(crate) const TAG: &str = "never";

/// A node that consumes and does not read.
pub(crate) struct NeverReader {
    _network: Network,
    consumer: Consumer<Item>,
    events: Events<StreamEvent>,
    channel: ChannelInfo,
    before: Memory,
}

/// What it held before it read the first item.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) items: u64,
    /// The most bytes allocated at once, beyond those before.
    pub(crate) growth: usize,
    pub(crate) memory: String,
}

/// What it got when it read after all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Got {
    pub(crate) received: u64,
    pub(crate) missed: u64,
    /// What is missing by the numbers of the items, and by the events.
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) told: Vec<(u64, u64)>,
    /// Items before the first gap.
    pub(crate) first_run: u64,
}

impl NeverReader {
    pub(crate) async fn open(network: NetworkId, source: EndpointAddr) -> Self {
        let network = node(network, TAG, Some(source)).await;
        let consumer = network.streams().consumer().with_stream_id(source::FLOOD).build();
        let events = consumer.events();
        soon(consumer.when().subscribed()).await;
        let channel = consumer.producers().next().expect("the only one");
        memory::forget_peak();
        Self { _network: network, consumer, events, channel, before: Memory::now() }
    }

    /// What it costs not to read.
    pub(crate) fn held(&self) -> Held {
        let now = Memory::now();
        Held {
            items: self.channel.stats().datums(),
            growth: now.growth_since(&self.before),
            memory: format!("before: {}; after: {now}", self.before),
        }
    }

    /// Reads up to the last of so many items.
    pub(crate) async fn read(&mut self, items: u64) -> Got {
        let (mut received, mut next, mut first_run) = (0, 0, None);
        let mut missing = Vec::new();
        while next < items {
            let Item(n) = soon(self.consumer.next()).await.expect("an item");
            assert!(n >= next, "in order, and once: {n} after {next}");
            if n > next {
                missing.push((next, n - 1));
                first_run.get_or_insert(received);
            }
            (received, next) = (received + 1, n + 1);
        }
        Got {
            received,
            missed: self.consumer.missed(),
            gaps: missing,
            told: gaps(&mut self.events),
            first_run: first_run.unwrap_or(received),
        }
    }
}
