//! The producer's part.

use std::time::{Duration, Instant};

use mosaik::{
    discovery::{EndpointAddr, Events},
    streams::{Producer, StreamEvent},
    *,
};
use serde::{Deserialize, Serialize};

use crate::{
    READERS,
    common::{gaps, soon},
    datum::Item,
    memory::{self, Memory},
    never, node,
};

/// A stream without anybody who does not read, for comparison.
pub(crate) const CALM: &str = "flood.calm";
pub(crate) const FLOOD: &str = "flood";

/// How many of them are sent before a flood.
pub(crate) const fn calm_items(flood: u64) -> u64 {
    flood / 5
}

/// A node that produces.
pub(crate) struct Source {
    network: Network,
    producer: Producer<Item>,
    events: Events<StreamEvent>,
}

/// What it measured: items per second, and seconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Before, with consumers that read.
    pub(crate) calm: f64,
    /// Until nothing was accepted any more.
    pub(crate) free: f64,
    /// From the first item on.
    pub(crate) cut_after: f64,
    /// The longest time in which no item was accepted.
    pub(crate) stalled: f64,
    /// From then on.
    pub(crate) after: f64,
    /// The most bytes allocated at once, beyond those before.
    pub(crate) growth: usize,
    pub(crate) memory: String,
}

/// How fast items were accepted.
struct Pace {
    start: Instant,
    last: Instant,
    /// The longest wait, the items before it, and when it ended.
    stall: (Duration, u64, Instant),
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, stall: (Duration::ZERO, 0, now) }
    }

    fn accepted(&mut self, before: u64) {
        let now = Instant::now();
        let wait = now - self.last;
        if wait > self.stall.0 {
            self.stall = (wait, before, now);
        }
        self.last = now;
    }
}

fn rate(items: u64, time: Duration) -> f64 {
    items as f64 / time.as_secs_f64()
}

impl Source {
    pub(crate) async fn open(network: NetworkId, lag: Duration) -> Self {
        let network = node(network, "source", None).await;
        let builder = network.streams().producer().with_stream_id(FLOOD).with_lag_timeout(lag);
        let producer = builder.build().expect("the only one");
        let events = producer.events();
        Self { network, producer, events }
    }

    pub(crate) fn address(&self) -> EndpointAddr {
        self.network.local().addr()
    }

    /// Sends all items as fast as they are accepted.
    pub(crate) async fn run(&mut self, items: u64) -> Sent {
        let calm = self.calm(calm_items(items)).await;
        let producer = &self.producer;
        soon(producer.when().subscribed().minimum_of(READERS + 1)).await;
        let stuck = producer.consumers().find(|c| c.peer().tags().contains(&never::TAG.into()));
        let cut = stuck.expect("it consumes").disconnected();
        let cut = tokio::spawn(async move {
            cut.await;
            Instant::now()
        });
        memory::forget_peak();
        let before = Memory::now();
        let mut pace = Pace::new();
        for n in 0..items {
            producer.send(Item(n)).await.expect("sent");
            pace.accepted(n);
        }
        let cut = soon(cut).await.expect("it was cut off") - pace.start;
        let after = Memory::now();
        let (stalled, free, resumed) = pace.stall;
        Sent {
            calm,
            free: rate(free, resumed - stalled - pace.start),
            cut_after: cut.as_secs_f64(),
            stalled: stalled.as_secs_f64(),
            after: rate(items - free, pace.last - resumed),
            growth: after.growth_since(&before),
            memory: format!("before: {before}; after: {after}"),
        }
    }

    async fn calm(&self, items: u64) -> f64 {
        let producer = self.network.streams().producer().with_stream_id(CALM).build();
        let producer = producer.expect("the only one");
        soon(producer.when().subscribed().minimum_of(READERS)).await;
        let start = Instant::now();
        for n in 0..items {
            producer.send(Item(n)).await.expect("sent");
        }
        let over = producer.when().offline();
        drop(producer);
        // The subscriptions end behind the last item.
        soon(over).await;
        rate(items, start.elapsed())
    }

    /// The gaps that it was told of so far.
    pub(crate) fn gaps(&mut self) -> Vec<(u64, u64)> {
        gaps(&mut self.events)
    }
}
