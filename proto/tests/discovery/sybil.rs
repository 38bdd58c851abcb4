//! Peers that somebody invents: signed entries of keys without a node behind them.

use std::time::Duration;

use mosaik_proto::{
    discovery::{LocalEntry, frames},
    ids::LinkId,
    limits, wire,
};

use crate::world::{World, key, network};

/// Two linked nodes, of which the second invents peers, and their entries.
fn invented(count: usize) -> (World, LinkId, Vec<LocalEntry>) {
    let mut world = World::new(2);
    world.quiet();
    world.dial(1, 0);
    world.run_for(Duration::from_secs(1));
    let link = world.link(0, 1).unwrap();
    let wall = world.clock().wall;
    let fakes = (0..count).map(|n| LocalEntry::new(network(), key(1_000 + n), wall)).collect();
    (world, link, fakes)
}

fn announce(world: &mut World, link: LinkId, fakes: &[LocalEntry]) {
    for some in fakes.chunks(100) {
        let mut payload = Vec::new();
        for fake in some {
            wire::encode_into(&(0u32, fake.signed().to_unverified()), &mut payload);
        }
        world.inject(0, link, frames::ITEMS, payload);
    }
}

/// DISC-38: that thousands of peers were given up costs a bounded number of dials at a time, and
/// those who are really there are noticed as fast as ever.
#[test]
fn disc_38_of_many_given_up_few_are_tried_at_a_time() {
    let (mut world, link, fakes) = invented(2_000);
    announce(&mut world, link, &fakes);
    for some in fakes.chunks(limits::CHECKS_PER_SECOND as usize) {
        for fake in some {
            let (peer, version) = (fake.id(), fake.signed().update_version());
            world.inject(0, link, frames::SUSPECT, wire::encode(&(peer, version)));
        }
        world.run_for(Duration::from_secs(1));
        let checks = (limits::CHECKS_PER_SECOND as usize) * 6;
        assert!(world.nodes[0].wanted.len() <= checks + limits::REVIVALS + 10);
    }
    world.run_for(Duration::from_secs(20));
    let gone = world.nodes[0].gone.len();
    assert!(gone > 1_900, "{gone} given up");
    for _ in 0..200 {
        world.run_for(Duration::from_secs(1));
        assert!(world.nodes[0].wanted.len() <= limits::REVIVALS + 10);
    }
    assert!(world.sees(0, 1) && world.link(0, 1) == Some(link));
    world.kill(1);
    world.run_for(Duration::from_millis(5_200));
    assert!(!world.sees(0, 1));
}

/// DISC-17: a link makes us check a bounded number of signatures; what was not taken is asked for
/// again later, and other links bring theirs.
#[test]
fn disc_17_a_link_brings_news_at_a_bounded_rate() {
    let (mut world, link, mut fakes) = invented(1);
    let (fake, wall) = (&mut fakes[0], world.clock().wall);
    for n in 0..limits::NEWS_AT_ONCE + 50 {
        if n == limits::NEWS_AT_ONCE {
            // What is known costs nothing.
            announce(&mut world, link, std::slice::from_ref(fake));
        }
        fake.raise(wall, fake.signed().update_version());
        announce(&mut world, link, std::slice::from_ref(fake));
    }
    let known = |world: &World, fake: &LocalEntry| {
        let known = world.nodes[0].core.catalog().signed(&fake.id()).unwrap().update_version();
        fake.signed().update_version().counter - known.counter
    };
    let missed = known(&world, fake);
    assert!((1..=50).contains(&missed), "{missed} not taken");
    assert!(world.nodes[0].closes.is_empty(), "who passes on a flood need not have begun it");
    let lists = |world: &World| world.nodes[0].sent.get(&frames::HAVE).copied().unwrap_or(0);
    let before = lists(&world);
    world.run_for(limits::SYNC_TIMEOUT + Duration::from_secs(1));
    assert_eq!(lists(&world), before + 1, "it asks for what it missed");
    announce(&mut world, link, std::slice::from_ref(fake));
    assert_eq!(known(&world, fake), 0);
}

/// DISC-06: a full catalog refuses strangers before their signature is looked at.
#[test]
fn disc_06_no_signature_is_checked_for_whom_there_is_no_room() {
    let (mut world, link, fakes) = invented(limits::CATALOG_PEERS);
    announce(&mut world, link, &fakes);
    assert_eq!(world.nodes[0].core.catalog().held_count(), limits::CATALOG_PEERS);
    // A forged one would end the link, if anybody looked.
    let forged = LocalEntry::new(network(), key(100), world.clock().wall);
    let mut payload = wire::encode(&(0u32, forged.signed().to_unverified())).to_vec();
    *payload.last_mut().unwrap() ^= 1;
    world.inject(0, link, frames::ITEMS, payload);
    assert!(world.nodes[0].closes.is_empty());
    assert!(world.sees(0, 1));
}
