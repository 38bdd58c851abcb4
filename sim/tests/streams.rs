//! Items: order, gaps, restarts, slow consumers.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use mosaik_proto::{
    ids::StreamId,
    streams::{ProducerConfig, Replay, StreamKind},
    time::Instant,
};
use mosaik_sim::{
    ConsumerSpec, Fault, HostId, Options, ProducerSpec, Swarm, World,
    scenario::{Streams, cluster, generator},
};

fn stream() -> StreamId {
    StreamId::hash(b"numbers")
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A producer on the first host, consumers on all others.
fn world(seed: u64, nodes: usize, producer: ProducerSpec, consumer: &ConsumerSpec) -> World {
    let trace = std::env::var_os("SIM_TRACE").is_some();
    let mut world = World::new(seed, Options { trace, ..Options::default() });
    cluster(&mut world, &mut generator(seed), nodes, Duration::ZERO, 0);
    world.add_producer(HostId(0), producer);
    for host in 1..nodes {
        world.add_consumer(HostId(host), consumer.clone());
    }
    world.run_for(Duration::from_millis(10)).unwrap();
    world.run_until_holds(Instant::ZERO + secs(5), World::subscribed).unwrap();
    world
}

#[test]
fn everything_arrives_in_order() {
    let mut world = world(1, 4, ProducerSpec::new(stream()), &ConsumerSpec::new(stream()));
    world.run_until_holds(Instant::ZERO + secs(20), World::delivered).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.items > 1_000 && counts.reported == 0 && counts.between == 0, "{counts:?}");
}

/// S4: the link dies again and again; nothing is lost and nothing comes twice.
fn s4(rounds: u64, pause: Duration) {
    let items = 10 + rounds * (pause.as_millis() as u64) * 3 / 5;
    let spec = ProducerSpec { items, ..ProducerSpec::new(stream()) };
    let mut world = world(2, 3, spec, &ConsumerSpec::new(stream()));
    world.be_strict();
    for round in 0..rounds {
        world.run_for(pause + Duration::from_millis(round % 7 * 30)).unwrap();
        world.inject(Fault::Reset(HostId(0), HostId(1 + (round % 2) as usize)));
    }
    world.run_until_holds(world.now() + secs(30), World::delivered).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.items > items && counts.reported == 0, "{counts:?}");
}

#[test]
fn s4_resets_lose_nothing() {
    s4(8, Duration::from_millis(3_200));
}

/// The back-off of links must not grow above the silence after which a peer is given up: with the
/// entry goes the place to resume, and what was offered meanwhile is lost without a word.
#[test]
fn s4_a_storm_of_resets_loses_nothing() {
    s4(40, Duration::from_millis(100));
}

/// STR-05: items above three quarters of a window behind small ones. The application takes all at
/// once, so all of the window is free, and nobody has to wait for a lag timeout.
#[test]
fn str_05_a_free_window_is_granted() {
    let spec = ProducerSpec { items: 200, sizes: 24..=30_000, ..ProducerSpec::new(stream()) };
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_bytes = 25_000;
    let mut world = world(7, 2, spec, &consumer);
    world.run_until_holds(world.now() + secs(20), World::delivered).unwrap();
}

/// Several worlds with resets, stalls, loss and slow consumers.
#[test]
fn faults_of_links_never_break_the_order() {
    for seed in 10..16 {
        let run = Streams { faults: secs(6), until: secs(120), ..Streams::new(seed) };
        let report = run.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert!(report.items.items > 0);
    }
}

/// A short tail and a long stall: the gap is reported exactly, or the checker would complain.
#[test]
fn s14_gaps_are_reported() {
    let mut config = ProducerConfig::new(stream());
    (config.tail_items, config.lag_timeout) = (64, secs(1));
    let spec = ProducerSpec { config, items: 4_000, ..ProducerSpec::new(stream()) };
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 16;
    let mut world = world(3, 3, spec, &consumer);
    world.run_for(secs(1)).unwrap();
    world.inject(Fault::Pause(HostId(1), secs(4)));
    world.run_until_holds(world.now() + secs(60), World::delivered).unwrap();
    assert!(world.checkers().order.counts().reported > 0);
}

#[test]
fn a_restarted_producer_is_reported() {
    let spec = ProducerSpec { items: 500, ..ProducerSpec::new(stream()) };
    let mut world = world(4, 3, spec, &ConsumerSpec::new(stream()));
    world.run_for(secs(1)).unwrap();
    world.inject(Fault::Crash(HostId(0)));
    world.inject(Fault::Start(HostId(0)));
    // The old links are silent for the idle time; then the consumers subscribe again.
    world.run_for(secs(7)).unwrap();
    world.run_until_holds(world.now() + secs(20), World::subscribed).unwrap();
    world.top_up(50);
    world.run_until_holds(world.now() + secs(20), World::delivered).unwrap();
    assert_eq!(world.checkers().order.counts().restarts, 2, "one per consumer");
}

/// S1: one consumer never takes anything; returns the world after 40 s of 1 MB/s and more.
fn s1() -> World {
    let spec = ProducerSpec {
        items: 20_000,
        batch: 60,
        sizes: 500..=1_500,
        ..ProducerSpec::new(stream())
    };
    let mut consumer = ConsumerSpec::new(stream());
    (consumer.config.window_items, consumer.config.window_bytes) = (100, 100_000);
    let mut world = world(5, 4, spec, &consumer);
    world.inject(Fault::Pause(HostId(1), secs(1_000)));
    world.run_for(secs(40)).unwrap();
    world
}

#[test]
fn s1_a_slow_consumer_is_bounded() {
    let world = s1();
    assert!(world.backlog(HostId(1)) <= 100, "{}", world.backlog(HostId(1)));
    assert!(world.backlog(HostId(1)) > 0, "it really stopped");
    let (items, bytes) = world.checkers().credit.most();
    assert!(items <= 100 && bytes <= 100_000, "{items} items, {bytes} B");
}

#[test]
fn s1_a_slow_consumer_holds_nobody() {
    assert_eq!(s1().offered(HostId(0)), 20_000, "the others go on");
}

/// S2: the application stops for a while, within the lag timeout; nothing is lost.
#[test]
fn s2_a_pause_loses_nothing() {
    let mut world = world(6, 3, ProducerSpec::new(stream()), &ConsumerSpec::new(stream()));
    world.be_strict();
    world.inject(Fault::Pause(HostId(1), secs(4)));
    world.run_until_holds(world.now() + secs(30), World::delivered).unwrap();
    assert_eq!(world.checkers().order.counts().reported, 0);
}

/// S16: ten minutes in which nothing is taken; then a lossy stream delivers again within a second.
#[test]
fn s16_a_lossy_stream_delivers_again_at_once() {
    let mut config = ProducerConfig::new(stream());
    (config.kind, config.tail_items, config.lag_timeout) = (StreamKind::Lossy, 64, secs(1));
    let every = Duration::from_millis(100);
    let spec = ProducerSpec { config, items: 20_000, every, ..ProducerSpec::new(stream()) };
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 16;
    let mut world = world(8, 3, spec, &consumer);
    world.run_for(secs(1)).unwrap();
    world.inject(Fault::Pause(HostId(1), secs(600)));
    world.run_for(secs(600)).unwrap();
    assert_eq!(world.offered(HostId(0)), 20_000, "it waited for nobody");
    let reported = world.checkers().order.counts().reported;
    world.run_until_holds(world.now() + secs(1), World::delivered).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.reported > reported + 15_000, "{counts:?}");
}

/// S9, F6: who joins late for all that is kept, and takes nothing, holds nobody.
#[test]
fn s9_a_late_joiner_holds_nobody() {
    let mut config = ProducerConfig::new(stream());
    (config.disconnect_lagging, config.tail_items) = (false, 1_000);
    let spec = ProducerSpec { config, items: 10_000, ..ProducerSpec::new(stream()) };
    let mut world = World::new(9, Options::default());
    cluster(&mut world, &mut generator(9), 3, Duration::ZERO, 0);
    world.add_producer(HostId(0), spec);
    world.add_consumer(HostId(1), ConsumerSpec::new(stream()));
    world.run_for(secs(5)).unwrap();
    let mut late = ConsumerSpec::new(stream());
    (late.config.replay, late.config.window_items) = (Replay::Tail, 16);
    world.add_consumer(HostId(2), late);
    world.inject(Fault::Pause(HostId(2), secs(60)));
    world.run_until_holds(world.now() + secs(5), World::subscribed).unwrap();
    world.run_for(secs(30)).unwrap();
    assert_eq!(world.offered(HostId(0)), 10_000, "the live consumer goes on");
    world.run_until_holds(world.now() + secs(60), World::delivered).unwrap();
    assert!(world.checkers().order.counts().reported > 5_000);
}

#[test]
fn many_seeds_of_resets_only() {
    let swarm = Swarm { resets: true, ..Swarm::NONE };
    for seed in 30..36 {
        let run = Streams { swarm, faults: secs(5), until: secs(60), ..Streams::new(seed) };
        run.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}
