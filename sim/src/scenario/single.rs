//! Small worlds with one fault each: what the fault world does not show soon enough.
//!
//! Each is a function of its seed and fails if what its documentation says does not hold.

use std::time::Duration;

use mosaik_proto::{ids::StreamId, time::Instant};

use super::{cluster, generator, network};
use crate::{
    host::{ConsumerSpec, NodeSpec, ProducerSpec},
    net::{self, HostId},
    swarm::both_ways,
    verdict::Failure,
    world::{Fault, Options, World},
};

/// The stream of all these worlds.
#[must_use]
pub fn stream() -> StreamId {
    StreamId::hash(b"numbers")
}

/// A strict world with a producer on the first host and a consumer on each of the others, all
/// connected.
///
/// # Errors
/// What a checker found, or that they did not connect.
pub fn connected(
    seed: u64,
    nodes: usize,
    producer: ProducerSpec,
    consumer: &ConsumerSpec,
    options: Options,
) -> Result<World, Failure> {
    let mut world = World::new(seed, options);
    world.be_strict();
    cluster(&mut world, &mut generator(seed), nodes, Duration::ZERO, 0);
    world.add_producer(HostId(0), producer);
    for host in 1..nodes {
        world.add_consumer(HostId(host), consumer.clone());
    }
    world.run_for(Duration::from_millis(10))?;
    world.run_until_holds(Instant::ZERO + Duration::from_secs(10), World::subscribed)?;
    Ok(world)
}

fn joined(seed: u64, nodes: usize) -> Result<World, Failure> {
    let mut world = World::new(seed, Options::default());
    cluster(&mut world, &mut generator(seed), nodes, Duration::from_millis(100), 2);
    world.run_for(Duration::from_millis(100))?;
    world.run_until_converged(Duration::from_secs(10))?;
    Ok(world)
}

fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Liveness(what())) }
}

/// S13, STR-13: a producer whose last handle is dropped sends what it had accepted.
///
/// # Errors
/// If something is not delivered.
pub fn drain(seed: u64) -> Result<(), Failure> {
    let spec = ProducerSpec { items: 2_000, batch: 400, ..ProducerSpec::new(stream()) };
    let mut consumer = ConsumerSpec::new(stream());
    // Slow enough that much waits when the producer closes.
    (consumer.config.window_items, consumer.batch) = (20, 5);
    let mut world = connected(seed, 3, spec, &consumer, Options::default())?;
    world.run_for(Duration::from_millis(100))?;
    let offered = world.offered(HostId(0));
    world.close_producers(HostId(0));
    let all = |world: &World| {
        let items = world.checkers().order.counts().items;
        let idle = world.backlog(HostId(1)) + world.backlog(HostId(2)) == 0;
        let whole = (1..3).all(|host| world.got(HostId(host), HostId(0)) == Some(offered));
        if whole && idle { Ok(()) } else { Err(format!("{items} of {offered} items, twice")) }
    };
    world.run_until_holds(world.now() + Duration::from_secs(60), all)?;
    Ok(())
}

/// The window of a producer opens again when the consumer that held it dies.
///
/// # Errors
/// If the producer stands still.
pub fn holder_dies(seed: u64) -> Result<(), Failure> {
    let mut spec = ProducerSpec { items: 5_000, batch: 50, ..ProducerSpec::new(stream()) };
    (spec.config.tail_items, spec.config.disconnect_lagging) = (256, false);
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 64;
    let mut world = connected(seed, 2, spec, &consumer, Options::default())?;
    world.inject(Fault::Pause(HostId(1), Duration::from_secs(1_000)));
    world.run_for(Duration::from_secs(3))?;
    let held = world.offered(HostId(0));
    must(held < 5_000, || "nobody was held".to_owned())?;
    world.inject(Fault::Crash(HostId(1)));
    let goes_on = |world: &World| match world.offered(HostId(0)) {
        5_000 => Ok(()),
        offered => Err(format!("{offered} items offered, {held} when its consumer died")),
    };
    world.run_until_holds(world.now() + Duration::from_secs(20), goes_on)?;
    Ok(())
}

/// STR-08: a consumer that took everything is not cut off, however long nothing comes.
///
/// # Errors
/// If somebody is cut off.
pub fn idle(seed: u64) -> Result<(), Failure> {
    let mut spec = ProducerSpec { items: 500, batch: 40, ..ProducerSpec::new(stream()) };
    spec.config.lag_timeout = Duration::from_secs(1);
    let mut consumer = ConsumerSpec::new(stream());
    (consumer.config.window_items, consumer.every) = (10, Duration::from_millis(2));
    let mut world = connected(seed, 3, spec, &consumer, Options::default())?;
    for _ in 0..4 {
        world.run_for(Duration::from_secs(5))?;
        world.top_up(100);
    }
    world.run_until_holds(world.now() + Duration::from_secs(20), World::delivered)?;
    let cut_off = world.checkers().ends.cut_off();
    must(cut_off == 0, || format!("{cut_off} times cut off"))
}

/// S1, S14: a consumer that stands still is cut off and does not come back before it can take
/// something: subscriptions per minute are few.
///
/// # Errors
/// If it comes back too often.
pub fn stuck(seed: u64) -> Result<(), Failure> {
    let mut spec = ProducerSpec { items: 100_000, batch: 20, ..ProducerSpec::new(stream()) };
    (spec.config.tail_items, spec.config.lag_timeout) = (512, Duration::from_secs(1));
    spec.config.max_consumers = 1;
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 64;
    let mut world = World::new(seed, Options::default());
    cluster(&mut world, &mut generator(seed), 3, Duration::ZERO, 0);
    world.add_producer(HostId(0), spec);
    (1..3).for_each(|host| world.add_consumer(HostId(host), consumer.clone()));
    world.run_for(Duration::from_secs(3))?;
    let begin = world.trace_lines();
    world.run_for(Duration::from_secs(60))?;
    // One of the two is refused, once a second.
    let refused = world.checkers().refused();
    must(refused < 200, || format!("{refused} refusals in a minute, {begin} lines before"))
}

/// D2, DISC-30: who leaves is gone within 3 s for all who hear of it, and whoever missed the
/// farewell does not bring it back.
///
/// # Errors
/// If somebody sees it.
pub fn farewell(seed: u64) -> Result<(), Failure> {
    let (mut world, leaver) = (joined(seed, 8)?, HostId(4));
    let late = [HostId(6), HostId(7)];
    let rest: Vec<_> = world.hosts().filter(|host| !late.contains(host)).collect();
    let cut = both_ways(&late, &rest);
    world.inject(Fault::Cut(cut.clone()));
    world.run_for(Duration::from_millis(500))?;
    world.inject(Fault::Shutdown(leaver));
    let others = |world: &World| match rest.iter().find(|host| world.sees(**host, leaver)) {
        Some(host) => Err(format!("{host} sees who left")),
        None => Ok(()),
    };
    world.run_until_holds(world.now() + Duration::from_secs(3), others)?;
    world.inject(Fault::Mend(cut));
    for _ in 0..100 {
        world.run_for(Duration::from_millis(100))?;
        others(&world).map_err(Failure::Safety)?;
    }
    unseen(&world, leaver).map_err(Failure::Liveness)
}

fn unseen(world: &World, gone: HostId) -> Result<(), String> {
    match world.hosts().find(|host| *host != gone && world.sees(*host, gone)) {
        Some(host) => Err(format!("{host} sees {gone}, which is gone")),
        None => Ok(()),
    }
}

/// Beyond the full mesh most nodes have no link to who dies; all must learn of it within 15 s.
///
/// # Errors
/// If somebody does not.
pub fn silent_death(seed: u64) -> Result<(), Failure> {
    let mut world = joined(seed, 48)?;
    // Links that nobody needs end.
    world.run_for(Duration::from_secs(20))?;
    let dead = HostId(20);
    world.inject(Fault::Crash(dead));
    world.run_until_holds(world.now() + Duration::from_secs(15), |world| unseen(world, dead))?;
    Ok(())
}

/// LINK-04: two nodes that dial each other at the same time have one link before either would have
/// dialled again.
///
/// # Errors
/// If they have none, or two.
pub fn crossed(seed: u64) -> Result<(), Failure> {
    let mut world = World::new(seed, Options::default());
    for node in 0..2 {
        let mut spec = NodeSpec::new(network());
        spec.bootstrap = vec![HostId(1 - node)];
        world.add_node(spec);
    }
    // Both run: of nobody it is easily true that all know all.
    world.run_for(Duration::from_millis(1))?;
    world.run_until_converged(Duration::from_millis(100))?;
    world.run_for(Duration::from_secs(2))?;
    world.settled().map_err(Failure::Liveness)
}

/// D11: a loop that stands still for less than the idle time removes nobody.
///
/// # Errors
/// If somebody is removed.
pub fn late_loop(seed: u64) -> Result<(), Failure> {
    let options = Options { net: net::Options::wan(), ..Options::default() };
    let mut world = World::new(seed, options);
    cluster(&mut world, &mut generator(seed), 6, Duration::from_millis(100), 0);
    world.run_for(Duration::from_millis(100))?;
    world.run_until_converged(Duration::from_secs(10))?;
    world.run_for(Duration::from_secs(5))?;
    let ill = HostId(2);
    let others: Vec<_> = world.hosts().filter(|host| *host != ill).collect();
    // All its links break, it tries to dial, and cannot run: all deadlines pass at once for it.
    world.inject(Fault::DialFailures(1_000_000));
    for other in &others {
        world.inject(Fault::Reset(ill, *other));
    }
    world.run_for(Duration::from_millis(600))?;
    world.inject(Fault::DialFailures(0));
    world.inject(Fault::Freeze(ill, Duration::from_secs(6)));
    for _ in 0..200 {
        world.run_for(Duration::from_millis(100))?;
        let lost = others.iter().find(|other| !world.sees(ill, **other));
        must(lost.is_none(), || format!("{ill} was late and blames {lost:?}"))?;
    }
    Ok(())
}
