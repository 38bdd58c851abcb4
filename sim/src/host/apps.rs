//! Fake applications: producers that number their items, consumers that take them at a speed.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    ids::{ConsumerId, ProducerId, StreamId, SubscriptionId},
    limits,
    node::Event,
    rng::Rng,
    streams::{ConsumerConfig, Delivery, ProducerConfig, item::Items},
    time::Instant,
};

use crate::checkers::order::{STAMP, Stamp, write};

/// A fake producer.
#[derive(Clone, Debug)]
pub struct ProducerSpec {
    /// How it behaves towards the node.
    pub config: ProducerConfig,
    /// Its stream.
    pub stream: StreamId,
    /// Items that it makes in one life of its process.
    pub items: u64,
    /// Items that it makes at once, at most.
    pub batch: u64,
    /// How often it does.
    pub every: Duration,
    /// Payload bytes of an item.
    pub sizes: RangeInclusive<u64>,
}

impl ProducerSpec {
    /// Up to ten items of 24 to 200 bytes every 10 ms, 1,000 in all.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self {
            config: ProducerConfig::new(stream),
            stream,
            items: 1_000,
            batch: 10,
            every: Duration::from_millis(10),
            sizes: STAMP as u64..=200,
        }
    }
}

/// A fake consumer.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// How it behaves towards the node.
    pub config: ConsumerConfig,
    /// Its stream.
    pub stream: StreamId,
    /// Items that it takes at once, at most.
    pub batch: usize,
    /// How often it does while items wait.
    pub every: Duration,
}

impl ConsumerSpec {
    /// Takes what there is every millisecond.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self {
            config: ConsumerConfig::new(stream),
            stream,
            batch: usize::MAX,
            every: Duration::from_millis(1),
        }
    }
}

/// A producer with its application.
#[derive(Debug)]
pub(crate) struct ProducerApp {
    pub(crate) spec: ProducerSpec,
    peer: u64,
    start: u64,
    rng: Rng,
    window: (u64, u64),
    offered: (u64, u64),
    /// The size of the next item, drawn before there is room for it.
    next_size: Option<u64>,
}

impl ProducerApp {
    pub(crate) const fn new(spec: ProducerSpec, peer: u64, start: u64, rng: Rng) -> Self {
        Self { spec, peer, start, rng, window: (0, 0), offered: (0, 0), next_size: None }
    }

    pub(crate) const fn open(&mut self, items: u64, bytes: u64) {
        self.window = (items, bytes);
    }

    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    pub(crate) const fn offered(&self) -> u64 {
        self.offered.0
    }

    /// Makes some more.
    pub(crate) const fn top_up(&mut self, items: u64) {
        self.spec.items += items;
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.offered.0 >= self.spec.items
    }

    /// The next batch, if the window has room and there is something left to offer.
    pub(crate) fn tick(&mut self, producer: ProducerId) -> Option<Event> {
        let wanted = 1 + self.rng.below(self.spec.batch);
        let (mut data, mut items, mut payload) = (Vec::new(), 0, 0);
        let (least, most) = (*self.spec.sizes.start(), *self.spec.sizes.end());
        while u64::from(items) < wanted && !self.is_done() {
            let drawn = self.next_size.take();
            let size = drawn.unwrap_or_else(|| least + self.rng.below(most - least + 1));
            // The last item may exceed the bytes: nobody can split it.
            let room = self.offered.0 < self.window.0 && self.offered.1 < self.window.1;
            let full = items > 0 && data.len() + size as usize > limits::BATCH_BYTES as usize;
            if !room || full {
                self.next_size = Some(size);
                break;
            }
            let stamp = Stamp { peer: self.peer, start: self.start, number: self.offered.0 };
            write(&mut data, stamp, size as usize);
            self.offered.0 += 1;
            self.offered.1 += size;
            payload += size;
            items += 1;
        }
        (items > 0).then(|| Event::Offer { producer, items, payload, data: Bytes::from(data) })
    }
}

/// A consumer with its application.
#[derive(Debug)]
pub(crate) struct ConsumerApp {
    pub(crate) spec: ConsumerSpec,
    /// What waits: subscription and payload bytes of each item.
    waiting: VecDeque<(SubscriptionId, u64)>,
    taken: BTreeMap<SubscriptionId, (u64, u64)>,
    /// Takes nothing before this moment.
    pub(crate) paused_until: Instant,
    pub(crate) ticking: bool,
}

impl ConsumerApp {
    pub(crate) const fn new(spec: ConsumerSpec) -> Self {
        Self {
            spec,
            waiting: VecDeque::new(),
            taken: BTreeMap::new(),
            paused_until: Instant::ZERO,
            ticking: false,
        }
    }

    pub(crate) fn deliver(&mut self, delivery: &Delivery) {
        for item in Items::new(delivery.data.clone()).flatten() {
            self.waiting.push_back((delivery.subscription, item.len() as u64));
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Takes items and says so: one event per subscription concerned.
    pub(crate) fn tick(&mut self, consumer: ConsumerId) -> Vec<Event> {
        let mut touched = BTreeMap::new();
        for (subscription, size) in self.waiting.drain(..self.spec.batch.min(self.waiting.len())) {
            let taken = self.taken.entry(subscription).or_default();
            taken.0 += 1;
            taken.1 += size;
            touched.insert(subscription, *taken);
        }
        let event = |(subscription, (items, bytes))| Event::Consumed {
            consumer,
            subscription,
            items,
            bytes,
        };
        touched.into_iter().map(event).collect()
    }
}
