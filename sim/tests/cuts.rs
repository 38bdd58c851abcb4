//! One transfer, interrupted at every place.

use std::time::Duration;

use mosaik_sim::{
    ConsumerSpec, Fault, HostId, Options, ProducerSpec, World,
    scenario::{
        cuts::{Cut, Kind, hundred},
        single::{connected, stream},
    },
};

/// Interrupts after the first message of an end, after the second, and so on to the last.
fn everywhere(kind: Kind) {
    for of_producer in [true, false] {
        let mut message = 1;
        loop {
            let cut = Cut { seed: 1, kind, message, of_producer };
            let happened = cut.run().unwrap_or_else(|failure| panic!("{cut:?}: {failure}"));
            if !happened {
                break;
            }
            message += 1;
        }
        assert!(message > 20, "{kind:?}: only {message} messages");
    }
}

#[test]
fn s4_a_reset_after_every_message() {
    everywhere(Kind::Reset);
}

#[test]
fn s4_a_silence_after_every_message() {
    everywhere(Kind::Silence);
}

#[test]
fn s4_a_one_way_cut_after_every_message() {
    everywhere(Kind::OneWay);
}

/// STR-09: numbering begins anew, is said to, and is never mixed with the old one.
#[test]
fn str_09_a_restart_of_the_producer_after_every_message() {
    everywhere(Kind::ProducerRestarts);
}

#[test]
fn s4_a_restart_of_the_consumer_after_every_message() {
    everywhere(Kind::ConsumerRestarts);
}

#[test]
fn s4_a_hundred_cuts() {
    let world = hundred(1, false).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.reported == 0 && counts.between == 0, "{counts:?}");
}

/// The tail is short, so that cuts do lose something: what, is said at both ends.
#[test]
fn s4_a_hundred_cuts_with_a_short_tail() {
    let world = hundred(2, true).unwrap();
    let counts = world.checkers().order.counts();
    assert!(counts.reported > 0 && counts.between == 0, "{counts:?}");
    assert!(world.checkers().ends.reported() > 0);
}

/// W9, as far as the model goes: half of all packets lost, then ten seconds in which nothing passes.
#[test]
fn w9_loss_and_a_black_hole_lose_nothing() {
    for percent in [5, 20, 50] {
        let spec = ProducerSpec { items: 3_000, ..ProducerSpec::new(stream()) };
        let consumer = ConsumerSpec::new(stream());
        let mut world = connected(percent, 3, spec, &consumer, Options::default()).unwrap();
        world.inject(Fault::Loss(10_000 * percent as u32));
        world.run_for(Duration::from_secs(1)).unwrap();
        let hosts = [HostId(0), HostId(1)];
        let paths = vec![(hosts[0], hosts[1]), (hosts[1], hosts[0])];
        world.inject(Fault::Cut(paths.clone()));
        world.run_for(Duration::from_secs(10)).unwrap();
        world.inject(Fault::Mend(paths));
        let limit = world.now() + Duration::from_secs(120);
        world.run_until_holds(limit, World::delivered).unwrap();
        assert_eq!(world.checkers().order.counts().reported, 0, "{percent} %");
    }
}
