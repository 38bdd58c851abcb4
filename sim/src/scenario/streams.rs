//! Producers and consumers, with faults or without.

use std::{fmt, time::Duration};

use mosaik_proto::{
    Digest,
    ids::StreamId,
    rng::Rng,
    streams::{Replay, StreamKind},
    time::Instant,
};

use super::{cluster, generator};
use crate::{
    checkers::order::{Counts, STAMP},
    host::{ConsumerSpec, ProducerSpec},
    net,
    swarm::Swarm,
    verdict::Failure,
    world::{Options, World},
};

/// The parameters.
#[derive(Clone, Debug)]
pub struct Streams {
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// When faults and offers end.
    pub faults: Duration,
    /// When all must be delivered.
    pub until: Duration,
    /// The kinds of faults.
    pub swarm: Swarm,
    /// Some windows hold less than one item.
    pub tight: bool,
    /// Print the trace to stderr.
    pub trace: bool,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// When everything was delivered.
    pub delivered: Instant,
    /// Items, and what became of those that did not come.
    pub items: Counts,
    /// The most items and bytes that waited in a subscription.
    pub most_waiting: (u64, u64),
    /// The most bytes that were written to a channel and not drained.
    pub most_debt: u64,
    /// The hash of the trace.
    pub trace: Digest,
}

impl Streams {
    /// Five nodes with link resets, stalls and slow consumers for 20 s.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 5,
            faults: Duration::from_secs(20),
            until: Duration::from_secs(120),
            tight: false,
            swarm: Swarm { loss: true, resets: true, stalls: true, slow: true, ..Swarm::NONE },
            trace: false,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What a checker found, or that something was not delivered.
    pub fn run(&self) -> Result<StreamReport, Failure> {
        let mut rng = generator(self.seed);
        let options = Options { net: net::Options::default(), trace: self.trace };
        let mut world = World::new(self.seed, options);
        cluster(&mut world, &mut rng.fork("cluster"), self.nodes, Duration::from_millis(50), 0);
        populate(&mut world, &mut rng.fork("streams"), (self.swarm.slow, self.tight), self.faults);
        let (from, calm) = (Instant::from_millis(1_000), Instant::ZERO + self.faults);
        self.swarm.schedule(&mut world, &mut rng, from, calm);
        world.run_until(calm)?;
        let delivered = world.run_until_holds(Instant::ZERO + self.until, World::delivered)?;
        let checkers = world.checkers();
        Ok(StreamReport {
            delivered,
            items: checkers.order.counts(),
            most_waiting: checkers.credit.most(),
            most_debt: checkers.bounds.most_debt(),
            trace: world.trace_hash(),
        })
    }
}

/// The largest item of any producer.
const LARGEST: u64 = 30_000;

const NAMES: [&str; 2] = ["fast", "large"];

/// The streams of [`populate`].
pub(super) fn names() -> [StreamId; 2] {
    NAMES.map(|name| StreamId::hash(name.as_bytes()))
}

/// Gives the hosts producers and consumers of two streams, drawn by chance. Producers go on for
/// about `time`. `slow`: some consumers take their time; `tight`: some windows hold less than one
/// item.
pub(super) fn populate(
    world: &mut World,
    rng: &mut Rng,
    (slow, tight): (bool, bool),
    time: Duration,
) {
    let hosts: Vec<_> = world.hosts().collect();
    // Apart from the other draws, which decide what a seed that failed once does.
    let mut kinds = rng.fork("kinds");
    for (name, stream) in NAMES.into_iter().zip(names()) {
        let producers = 1 + rng.below(2) as usize;
        let mut order = hosts.clone();
        rng.shuffle(&mut order);
        for (place, host) in order.into_iter().enumerate() {
            if place < producers {
                let mut spec = producer(rng, stream, name == "large", time);
                if kinds.chance(200_000) {
                    spec.config.kind = StreamKind::Lossy;
                }
                world.add_producer(host, spec);
            } else if rng.chance(600_000) || place == producers {
                let mut spec = consumer(rng, stream, slow, tight);
                if kinds.chance(300_000) {
                    let last = Replay::Last(kinds.below(2_000));
                    spec.config.replay = if kinds.chance(300_000) { Replay::Tail } else { last };
                }
                world.add_consumer(host, spec);
            }
        }
    }
}

fn producer(rng: &mut Rng, stream: StreamId, large: bool, time: Duration) -> ProducerSpec {
    // Slower than the narrowest network and window carry, so that a backlog shrinks.
    let every = Duration::from_millis(if large { 50 } else { 10 } + rng.below(100));
    let batch = if large { 2 } else { 1 + rng.below(10) };
    let largest = if large { LARGEST } else { STAMP as u64 + rng.below(200) };
    let ticks = (time.as_nanos() / every.as_nanos()) as u64;
    let mut config = mosaik_proto::streams::ProducerConfig::new(stream);
    if rng.chance(300_000) {
        // A short memory, so that gaps really happen.
        config.tail_items = 64 + rng.below(1_000);
        config.tail_bytes = 4 * LARGEST + rng.below(200_000);
    }
    ProducerSpec {
        config,
        stream,
        items: ticks * batch.div_ceil(2),
        batch,
        every,
        sizes: STAMP as u64..=largest,
    }
}

fn consumer(rng: &mut Rng, stream: StreamId, slow: bool, tight: bool) -> ConsumerSpec {
    let mut spec = ConsumerSpec::new(stream);
    if rng.chance(500_000) {
        spec.config.window_items = if tight { 1 } else { 100 } + rng.below(500);
        let least = if tight { 1 } else { 2 * LARGEST };
        spec.config.window_bytes = least + rng.below(100_000);
    }
    if slow && rng.chance(500_000) {
        spec.batch = 1 + rng.below(64) as usize;
        spec.every = Duration::from_millis(1 + rng.below(200));
    }
    spec
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { items, reported, between, .. } = self.items;
        let (waiting, bytes) = self.most_waiting;
        writeln!(f, "all delivered at    {:?}", self.delivered)?;
        writeln!(f, "items               {items}, reported missing {reported}, between {between}")?;
        writeln!(f, "most waiting        {waiting} items, {bytes} B in one subscription")?;
        writeln!(f, "largest debt        {} B in one channel", self.most_debt)?;
        write!(f, "trace               {}", self.trace)
    }
}
