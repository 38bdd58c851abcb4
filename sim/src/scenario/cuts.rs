//! One transfer, interrupted after its n-th message: every n in turn.

use std::time::Duration;

use mosaik_proto::rng::Rng;

use super::{generator, single};
use crate::{
    host::{ConsumerSpec, ProducerSpec},
    net::HostId,
    swarm::both_ways,
    verdict::Failure,
    world::{Fault, Options, World},
};

/// The two hosts.
const ENDS: [HostId; 2] = [HostId(0), HostId(1)];

/// How the transfer is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The link breaks; both ends notice at once.
    Reset,
    /// Nothing gets through for longer than the idle time.
    Silence,
    /// Only what the consumer says gets lost for that long.
    OneWay,
    /// The producer's process dies and starts again with the same key.
    ProducerRestarts,
    /// The consumer's does.
    ConsumerRestarts,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Reset, Self::Silence, Self::OneWay, Self::ProducerRestarts, Self::ConsumerRestarts];

    fn faults(self) -> Vec<(Duration, Fault)> {
        let (now, soon) = (Duration::ZERO, Duration::from_millis(700));
        let cut = |paths: Vec<_>| {
            vec![(now, Fault::Cut(paths.clone())), (Duration::from_secs(8), Fault::Mend(paths))]
        };
        match self {
            Self::Reset => vec![(now, Fault::Reset(ENDS[0], ENDS[1]))],
            Self::Silence => cut(both_ways(&ENDS[..1], &ENDS[1..])),
            Self::OneWay => cut(vec![(ENDS[1], ENDS[0])]),
            Self::ProducerRestarts => {
                vec![(now, Fault::Crash(ENDS[0])), (soon, Fault::Start(ENDS[0]))]
            }
            Self::ConsumerRestarts => {
                vec![(now, Fault::Crash(ENDS[1])), (soon, Fault::Start(ENDS[1]))]
            }
        }
    }
}

/// A short transfer with one interruption.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The seed of the world.
    pub seed: u64,
    /// How it is interrupted.
    pub kind: Kind,
    /// After how many messages.
    pub message: u64,
    /// Of the producer's end, or of the consumer's.
    pub of_producer: bool,
}

impl Cut {
    /// Runs it. False if the transfer had fewer messages than that.
    ///
    /// # Errors
    /// If items are lost, doubled, mixed or late.
    pub fn run(self) -> Result<bool, Failure> {
        let spec = ProducerSpec {
            items: 120,
            batch: 3,
            every: Duration::from_millis(2),
            ..ProducerSpec::new(single::stream())
        };
        let mut consumer = ConsumerSpec::new(single::stream());
        // Small enough that grants go out all the time.
        (consumer.config.window_items, consumer.config.window_bytes) = (16, 4_096);
        let mut world = World::new(self.seed, Options::default());
        world.be_strict();
        super::cluster(&mut world, &mut generator(self.seed), 2, Duration::ZERO, 0);
        world.add_producer(ENDS[0], spec);
        world.add_consumer(ENDS[1], consumer);
        let path = if self.of_producer { (ENDS[0], ENDS[1]) } else { (ENDS[1], ENDS[0]) };
        world.after_messages(path, self.message, self.kind.faults());
        world.run_for(Duration::from_secs(2))?;
        let cut = world.is_sprung();
        world.run_for(Duration::from_secs(14))?;
        let limit = world.now() + Duration::from_secs(30);
        world.run_until_holds(limit, World::subscribed)?;
        world.top_up(20);
        world.run_until_holds(limit, World::delivered)?;
        // The tail holds everything, so there is nothing to excuse a gap.
        let counts = world.checkers().order.counts();
        if counts.reported > 0 {
            return Err(Failure::safety(format_args!("{self:?}: {counts:?}")));
        }
        Ok(cut)
    }
}

/// S4: a long transfer with a hundred interruptions at random. With a `short` tail there are gaps,
/// which both ends report alike.
///
/// # Errors
/// If items are lost without a word, doubled, mixed or late.
pub fn hundred(seed: u64, short: bool) -> Result<World, Failure> {
    let mut rng = generator(seed).fork("cuts");
    let every = Duration::from_millis(10);
    let mut spec = ProducerSpec { items: 60_000, every, ..ProducerSpec::new(single::stream()) };
    if short {
        spec.config.tail_items = 300;
    }
    let mut consumer = ConsumerSpec::new(single::stream());
    consumer.config.window_items = 64;
    let mut world = single::connected(seed, 3, spec, &consumer, Options::default())?;
    for _ in 0..100 {
        world.run_for(between(&mut rng, 20, 900))?;
        let other = HostId(1 + rng.below(2) as usize);
        match rng.below(8) {
            0 => interrupt(&mut world, other, 4_000 + rng.below(4_000)),
            1..4 => interrupt(&mut world, other, 1 + rng.below(400)),
            _ => world.inject(Fault::Reset(ENDS[0], other)),
        }
    }
    let limit = world.now() + Duration::from_secs(400);
    world.run_until_holds(limit, World::delivered)?;
    Ok(world)
}

fn between(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + rng.below(most - least))
}

fn interrupt(world: &mut World, other: HostId, millis: u64) {
    let paths = both_ways(&ENDS[..1], &[other]);
    world.schedule(world.now() + Duration::from_millis(millis), Fault::Mend(paths.clone()));
    world.inject(Fault::Cut(paths));
}
