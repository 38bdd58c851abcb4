//! Consumers that are slow or stand still, and items too large for their path.

use std::time::Duration;

use mosaik_proto::{ids::StreamId, time::Instant};
use mosaik_sim::{
    ConsumerSpec, Fault, HostId, Options, ProducerSpec, World, net,
    scenario::single::{connected, stream},
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// S2: the application stands still for a minute, then reads. Nothing is lost, and what comes next is
/// on its way one round trip after the first read.
#[test]
fn s2_a_minute_without_reading_loses_nothing() {
    let mut spec = ProducerSpec { items: 30_000, ..ProducerSpec::new(stream()) };
    spec.config.disconnect_lagging = false;
    (spec.config.tail_items, spec.config.tail_bytes) = (2_000, 1_000_000);
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 100;
    let options = Options { net: net::Options::wan(), ..Options::default() };
    let mut world = connected(1, 2, spec, &consumer, options).unwrap();
    world.inject(Fault::Pause(HostId(1), secs(60)));
    // The moment before the first read.
    world.run_for(Duration::from_millis(59_999)).unwrap();
    let (waiting, before) = (world.backlog(HostId(1)), world.got(HostId(1), HostId(0)));
    assert!((50..=100).contains(&waiting), "{waiting} wait for the application");
    // Two flights of at most 50 ms and a tenth more, and the tick of the application.
    world.run_for(Duration::from_millis(113)).unwrap();
    assert!(world.got(HostId(1), HostId(0)) > before, "one round trip after the first read");
    world.run_until_holds(world.now() + secs(300), World::delivered).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.reported == 0 && world.checkers().ends.cut_off() == 0, "{counts:?}");
}

/// S14: for an hour the application reads for a moment and stands still for longer than the producer
/// waits. It is cut off again and again, not too often, and every item is accounted for at both ends.
#[test]
fn s14_an_hour_of_being_too_slow() {
    let mut spec =
        ProducerSpec { items: 0, every: Duration::from_millis(20), ..ProducerSpec::new(stream()) };
    (spec.config.tail_items, spec.config.lag_timeout) = (400, secs(1));
    spec.batch = 4;
    let mut consumer = ConsumerSpec::new(stream());
    consumer.config.window_items = 32;
    let mut world = connected(3, 2, spec, &consumer, Options::default()).unwrap();
    world.top_up(u64::from(u32::MAX));
    let hour = Instant::ZERO + secs(3_600);
    let mut pause = 0;
    while world.now() < hour {
        world.inject(Fault::Pause(HostId(1), Duration::from_millis(1_500 + pause % 7 * 900)));
        world.run_for(secs(8)).unwrap();
        pause += 1;
    }
    let cut_off = world.checkers().ends.cut_off();
    assert!((400..=900).contains(&cut_off), "{cut_off} times cut off");
    // It reads on, the producer stops, and all is said.
    world.close_producers(HostId(0));
    world.run_for(secs(30)).unwrap();
    let (counts, ends) = (world.checkers().order.counts(), world.checkers().ends.reported());
    assert!(counts.reported > 1_000 && counts.between == 0, "{counts:?}");
    assert_eq!(counts.reported, ends, "both ends report the same");
    assert_eq!(world.got(HostId(1), HostId(0)), Some(counts.items + counts.reported));
}

/// S8, S11: a large item over a slow path that loses packets arrives, whatever the time it takes, and
/// small ones of another stream pass meanwhile.
#[test]
fn s8_s11_a_huge_item_arrives_and_holds_no_other_stream() {
    let huge = StreamId::hash(b"huge");
    let net = net::Options {
        uplink: 125_000,
        loss_ppm: 20_000,
        window: 64 * 1024,
        ..net::Options::wan()
    };
    let spec = ProducerSpec {
        items: 100_000,
        batch: 1,
        every: Duration::from_millis(50),
        ..ProducerSpec::new(stream())
    };
    let options = Options { net, ..Options::default() };
    let mut world = connected(5, 2, spec, &ConsumerSpec::new(stream()), options).unwrap();
    let large = ProducerSpec { items: 0, sizes: 5_000_000..=5_000_000, ..ProducerSpec::new(huge) };
    world.add_producer(HostId(0), large);
    world.add_consumer(HostId(1), ConsumerSpec::new(huge));
    world.run_until_holds(world.now() + secs(10), World::subscribed).unwrap();
    world.offer(HostId(0), huge, 1);
    let offered = |world: &World| world.offered(HostId(0));
    let (begin, mut late, mut arrived) = (world.now(), 0, None);
    while world.now() < begin + secs(200) && arrived.is_none() {
        let then = offered(&world);
        world.run_for(secs(2)).unwrap();
        // Offered includes the huge one; two seconds later all small ones offered then are there.
        let small = world.got(HostId(1), HostId(0)).unwrap_or_default();
        late = late.max(then.saturating_sub(small + 1));
        arrived = world.got_of(HostId(1), HostId(0), huge).filter(|next| *next == 1);
    }
    assert!(arrived.is_some(), "the huge item arrives");
    assert!(world.now() > begin + secs(40), "5 MB at 1 Mbit/s take 40 s");
    assert_eq!(late, 0, "small items are less than two seconds late");
    assert_eq!(world.checkers().ends.cut_off(), 0);
}

/// S12: ten thousand subscriptions in ten seconds leave nothing behind, and `max_consumers` is exact.
#[test]
fn s12_ten_thousand_subscriptions_leave_nothing() {
    let mut spec = ProducerSpec { items: 0, ..ProducerSpec::new(stream()) };
    spec.config.max_consumers = 2;
    let mut world =
        connected(7, 3, spec, &ConsumerSpec::new(stream()), Options::default()).unwrap();
    world.top_up(u64::from(u32::MAX));
    let whole = |world: &World| world.subscriptions(HostId(0));
    assert_eq!(whole(&world), 2);
    for round in 0..5_000 {
        for host in [HostId(1), HostId(2)] {
            world.close_consumers(host);
            // A third one, for which there may be no room.
            let more = if round % 3 == 0 { 2 } else { 1 };
            (0..more).for_each(|_| world.add_consumer(host, ConsumerSpec::new(stream())));
        }
        world.run_for(Duration::from_millis(2)).unwrap();
        assert!(whole(&world) <= 2, "{} consumers of two", whole(&world));
    }
    (1..3).for_each(|host| world.close_consumers(HostId(host)));
    world.run_for(secs(2)).unwrap();
    assert_eq!(whole(&world), 0, "nobody is counted");
    assert_eq!(world.subscriptions(HostId(1)) + world.subscriptions(HostId(2)), 0);
    assert_eq!(world.channels(), world.links().len(), "only the control channels are left");
    // And it still works.
    world.add_consumer(HostId(1), ConsumerSpec::new(stream()));
    world.run_until_holds(world.now() + secs(5), World::subscribed).unwrap();
}
