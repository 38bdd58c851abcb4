//! How state and news spread: sync, relays, departures, requests.

use std::time::Duration;

use mosaik_proto::{
    discovery::{Command, CommandError, Config, EndpointAddr, Event, News, frames},
    limits,
};

use crate::world::{World, key, ms, network};

#[test]
fn disc_10_one_link_makes_two_catalogs_one() {
    let mut world = World::new(7);
    for (a, b) in [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (5, 6)] {
        world.dial(a, b);
    }
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.nodes[0].core.catalog().signed_count(), 2);
    assert_eq!(world.nodes[3].core.catalog().signed_count(), 3);
    world.dial(2, 3);
    world.run_for(Duration::from_secs(2));
    assert!(world.converged());
    // DISC-08: everybody was discovered once, and nothing else was told.
    for node in &world.nodes {
        assert_eq!(node.news.len(), 6);
        assert!(node.news.iter().all(|(news, _)| *news == News::Discovered));
    }
    // DISC-40: a small network is a full mesh.
    assert_eq!(world.links.len(), 21);
}

#[test]
fn disc_20_news_is_relayed_once_per_version() {
    let mut world = World::new(6);
    (1..6).for_each(|n| world.dial(n, 0));
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    world.nodes.iter_mut().for_each(|node| node.sent.clear());
    world.edit(3, "new");
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    let sent = |n: usize| world.nodes[n].sent.get(&frames::ITEMS).copied().unwrap_or(0);
    assert_eq!(sent(3), 5);
    // Each other one relays it to whom it has not heard it from, once at most.
    assert!((0..6).filter(|n| *n != 3).all(|n| sent(n) <= 4));
    assert!((0..6).all(|n| world.nodes[n].sent.keys().all(|kind| *kind == frames::ITEMS)));
    let updates = |n: usize| {
        let id = world.id(3);
        world.nodes[n].news.iter().filter(|news| **news == (News::Updated, id)).count()
    };
    assert!((0..6).filter(|n| *n != 3).all(|n| updates(n) == 1));
}

#[test]
fn disc_08_a_mere_new_signature_is_no_event() {
    let config = |n| Config {
        announce_interval: (n == 1).then_some(Duration::from_secs(1)),
        announce_jitter_millionths: 500_000,
        ..Config::default()
    };
    let mut world = World::with(2, config);
    world.dial(0, 1);
    world.run_for(Duration::from_secs(20));
    assert!(world.sees(0, 1));
    assert!(world.nodes[1].raises >= 10, "DISC-50: announced {}", world.nodes[1].raises);
    assert_eq!(world.nodes[0].news.len(), 1);
    assert_eq!(world.nodes[0].changed.len(), 1);
}

#[test]
fn disc_35_a_departure_is_final_and_reaches_all() {
    let mut world = World::new(5);
    (1..5).for_each(|n| world.dial(n, n - 1));
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    let left = world.id(2);
    world.depart(2);
    world.run_for(Duration::from_millis(100));
    assert!(world.nodes[2].departed);
    for n in [0, 1, 3, 4] {
        assert_eq!(world.nodes[n].gone, [left]);
        assert!(world.nodes[n].core.catalog().get(&left).is_none());
    }
}

/// A peer that missed a departure cannot bring the dead back by a late sync (D2, U10).
#[test]
fn disc_departed_stays_departed() {
    let mut world = World::new(4);
    (1..4).for_each(|n| world.dial(n, 0));
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    // 3 misses the departure of 2 and keeps, for the moment, its entry.
    world.partition(&[3], &[0, 1, 2], true);
    world.depart(2);
    world.run_for(Duration::from_millis(1500));
    let left = world.id(2);
    assert!(world.nodes[3].core.catalog().signed(&left).is_some());
    world.partition(&[3], &[0, 1, 2], false);
    world.run_for(Duration::from_secs(3));
    for n in [0, 1, 3] {
        assert_eq!(world.nodes[n].gone, [left]);
        assert!(world.nodes[n].core.catalog().signed(&left).is_none());
        assert!(world.nodes[n].core.catalog().tombstone(&left).is_some());
    }
    // The same key comes back under a higher version: it is somebody again.
    world.join(2, Config::default());
    world.dial(2, 0);
    world.run_for(Duration::from_secs(3));
    assert!(world.converged());
}

#[test]
fn disc_12_sync_with_answers_when_both_sides_have_merged() {
    let mut world = World::new(2);
    let peer = world.id(1);
    world.sync_with(0, 1, peer);
    // Before the link is there, both change.
    world.edit(0, "mine");
    world.edit(1, "yours");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.nodes[0].replies.get(&1), Some(&Ok(())));
    assert!(world.converged());
    // DISC-42: the link stays, because they know each other now.
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.links.len(), 1);
    // DISC-11: on a link that is there a round begins at once; calls during a round get the next.
    (2..6).for_each(|request| world.sync_with(0, request, peer));
    let me = world.id(0);
    world.sync_with(0, 9, me);
    assert_eq!(world.nodes[0].replies.get(&9), Some(&Ok(())), "with ourselves: at once");
    world.run_for(Duration::from_millis(100));
    assert!((2..6).all(|request| world.nodes[0].replies.get(&request) == Some(&Ok(()))));
}

#[test]
fn disc_12_sync_with_nobody_ends_in_time_and_releases_the_link() {
    let mut world = World::new(1);
    let nobody = key(77).public();
    world.sync_with(0, 1, nobody);
    world.sync_with(0, 2, nobody);
    world.step(0, Event::Cancel(mosaik_proto::ids::RequestId(2)));
    assert!(world.nodes[0].wanted.contains(&nobody));
    world.run_for(limits::SYNC_TIMEOUT + Duration::from_millis(1));
    assert_eq!(world.nodes[0].replies.get(&1), Some(&Err(CommandError::Unreachable)));
    assert_eq!(world.nodes[0].replies.len(), 1, "a cancelled request has no answer");
    assert!(world.nodes[0].wanted.is_empty());
}

#[test]
fn disc_13_a_link_lost_during_a_sync_is_tried_again_once() {
    let mut world = World::new(2);
    let peer = world.id(1);
    world.sync_with(0, 1, peer);
    world.run_for(Duration::from_millis(12));
    let link = world.link(0, 1).unwrap();
    world.lose(link, Duration::from_millis(50));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.nodes[0].replies.get(&1), Some(&Ok(())));
    world.sync_with(0, 2, peer);
    for _ in 0..2 {
        let link = world.link(0, 1).unwrap();
        world.lose(link, Duration::from_millis(1));
        while world.link(0, 1).is_none() {
            world.run_for(Duration::from_millis(1));
        }
        world.run_for(Duration::from_millis(6));
    }
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.nodes[0].replies.get(&2), Some(&Err(CommandError::LinkLost)));
}

#[test]
fn disc_14_a_peer_of_another_network_is_no_error() {
    let mut world = World::new(1);
    let foreign = key(50).public();
    world.sync_with(0, 1, foreign);
    world.step(0, Event::Unreachable { peer: foreign, foreign: true });
    assert_eq!(world.nodes[0].replies.get(&1), Some(&Ok(())));
    assert!(world.nodes[0].wanted.is_empty());
    assert_eq!(world.nodes[0].core.catalog().held_count(), 0);
}

#[test]
fn disc_12_waiting_requests_are_bounded() {
    let mut world = World::new(1);
    let nobody = key(77).public();
    for request in 0..=limits::REQUESTS as u64 {
        world.sync_with(0, request, nobody);
    }
    let replies = &world.nodes[0].replies;
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[&(limits::REQUESTS as u64)], Err(CommandError::Busy));
    // DISC-35: a shutdown answers all of them.
    world.depart(0);
    assert!(world.nodes[0].departed);
    assert_eq!(world.nodes[0].replies.len(), limits::REQUESTS + 1);
    assert_eq!(world.nodes[0].replies[&0], Err(CommandError::ShuttingDown));
}

#[test]
fn disc_51_a_lonely_node_looks_for_its_network_once() {
    // Alone: at the age of 8 s.
    let mut world = World::new(1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.nodes[0].seeks, [ms(8000)]);
    // Configured to look at once, or never.
    let mut world = World::with(2, |n| Config {
        local_discovery: n == 0,
        no_automatic_bootstrap: n == 1,
        ..Config::default()
    });
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.nodes[0].seeks, [ms(0)]);
    assert!(world.nodes[1].seeks.is_empty());
    // In company: not, but 8 s after it is lost.
    let mut world = World::new(2);
    world.dial(0, 1);
    world.run_for(Duration::from_secs(20));
    assert!(world.nodes[0].seeks.is_empty());
    world.depart(1);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.nodes[0].seeks.len(), 1);
    let at = world.nodes[0].seeks[0].as_millis();
    assert!((28_000..28_100).contains(&at), "sought at {at} ms");
}

#[test]
fn disc_52_found_strangers_are_tried_for_a_while() {
    let mut world = World::new(2);
    let ghosts = (100..100 + 2 * limits::HINTS).map(|n| EndpointAddr::from(key(n).public()));
    let mut found: Vec<EndpointAddr> = vec![world.id(1).into()];
    found.extend(ghosts);
    world.step(0, Event::Found(found));
    assert_eq!(world.nodes[0].wanted.len(), limits::HINTS);
    world.run_for(limits::ATTEMPT + Duration::from_millis(1));
    let friend = world.id(1);
    assert_eq!(world.nodes[0].wanted.iter().collect::<Vec<_>>(), [&friend]);
    assert!(world.converged() && world.links.len() == 1);
}

#[test]
fn disc_53_bootstrap_peers_are_wanted_from_the_first_step_and_for_ever() {
    let seed = key(0).public();
    let config = |n| Config {
        bootstrap: if n == 1 { vec![seed.into()] } else { Vec::new() },
        ..Config::default()
    };
    let mut world = World::with(2, config);
    assert!(world.nodes[1].wanted.contains(&seed));
    world.kill(0);
    world.run_for(Duration::from_secs(3600));
    assert!(world.nodes[1].wanted.contains(&seed));
    world.join(0, config(0));
    world.run_for(Duration::from_secs(2));
    assert!(world.converged());
}

#[test]
fn disc_20_a_large_catalog_is_paced() {
    let mut world = World::new(3);
    // 400 entries of 4 kB, more than a link's debt.
    for n in 100..500 {
        let wall = world.clock().wall;
        let mut local = mosaik_proto::discovery::LocalEntry::new(network(), key(n), wall);
        local
            .edit(wall, |draft| {
                (0..120u32)
                    .for_each(|t| _ = draft.tags().insert(format!("{n}/{t}").as_str().into()));
            })
            .unwrap();
        world.command(0, n as u64, Command::Feed(local.signed().clone()));
    }
    world.dial(1, 0);
    world.run_for(Duration::from_millis(14));
    world.run_for(Duration::from_secs(1));
    assert!(world.nodes[0].core.catalog().signed_count() >= 400);
    let (a, b) = (world.nodes[0].core.catalog(), world.nodes[1].core.catalog());
    let (a, b): (Vec<_>, Vec<_>) = (
        a.signed_peers().filter(|e| e.id() != key(1).public()).collect(),
        b.signed_peers().filter(|e| e.id() != key(0).public()).collect(),
    );
    assert_eq!(a, b);
}

/// The same events give the same actions.
#[test]
fn disc_60_a_run_is_a_function_of_its_seed() {
    let run = || {
        let mut world = World::with(40, |n| Config {
            announce_interval: (n % 7 == 0).then_some(Duration::from_secs(3)),
            announce_jitter_millionths: 300_000,
            ..Config::default()
        });
        (1..40).for_each(|n| world.dial(n, n / 3));
        world.run_for(Duration::from_secs(5));
        world.kill(7);
        world.depart(8);
        world.edit(9, "x");
        world.run_for(Duration::from_secs(20));
        world.trace
    };
    let (a, b) = (run(), run());
    assert!(a.len() > 1000);
    assert!(a == b, "two runs of one seed differ");
}

/// A thousand nodes that know one seed know each other soon, over a ring with chords.
#[test]
#[ignore = "large: run in release"]
fn disc_40_a_thousand_nodes_meet_through_one_seed() {
    let count = 1000;
    let mut world = World::new(count);
    world.quiet();
    (1..count).for_each(|n| world.dial(n, 0));
    for _ in 0..20 {
        world.run_for(Duration::from_millis(250));
        let known: usize = world.nodes.iter().map(|n| n.core.catalog().signed_count()).sum();
        let bytes: usize = world.nodes.iter().map(|n| n.bytes).sum();
        let seed = world.nodes[0].bytes;
        println!(
            "{:?}: known {:.4} links {} sent {} kB per node, seed {} kB",
            world.now,
            known as f64 / (count * (count - 1)) as f64,
            world.links.len(),
            bytes / count / 1000,
            seed / 1000
        );
    }
    assert!(world.converged());
    let dead = world.id(500);
    world.kill(500);
    for _ in 0..16 {
        world.run_for(Duration::from_secs(1));
        let hidden = |n: &&crate::world::Node| n.core.catalog().given_up(&dead).is_some();
        println!("{:?}: given up by {}", world.now, world.nodes.iter().filter(hidden).count());
    }
}

#[test]
fn disc_16_equal_catalogs_are_known_by_their_fingerprint() {
    let mut world = World::new(2);
    let feed = |world: &mut World, n: usize| {
        let wall = world.clock().wall;
        let local = mosaik_proto::discovery::LocalEntry::new(network(), key(n), wall);
        world.command(0, n as u64, Command::Feed(local.signed().clone()));
    };
    (100..200).for_each(|n| feed(&mut world, n));
    world.dial(0, 1);
    let total = |world: &World, kind: u8| -> usize {
        world.nodes.iter().filter_map(|node| node.sent.get(&kind)).sum()
    };
    world.run_for(Duration::from_millis(100));
    assert_eq!((total(&world, frames::PROBE), total(&world, frames::LIST)), (1, 1));
    assert_eq!(world.nodes[1].core.catalog().signed_count(), 101);
    // The link comes back: both know the same, and no list goes out.
    let before = total(&world, frames::HAVE);
    let link = world.link(0, 1).unwrap();
    world.lose(link, Duration::from_millis(1));
    world.run_for(Duration::from_millis(600));
    assert_eq!((total(&world, frames::PROBE), total(&world, frames::LIST)), (2, 1));
    assert_eq!(total(&world, frames::HAVE), before);
    // One entry more on one side, and the lists are compared.
    let link = world.link(0, 1).unwrap();
    world.lose(link, Duration::from_millis(1));
    world.run_for(Duration::from_millis(2));
    feed(&mut world, 300);
    world.run_for(Duration::from_millis(600));
    assert_eq!(total(&world, frames::LIST), 2);
    assert!(world.nodes[1].core.catalog().signed(&key(300).public()).is_some());
    // Who waits for an answer gets it in two round trips.
    let peer = world.id(1);
    let before = total(&world, frames::PROBE);
    world.sync_with(0, 1, peer);
    world.run_for(Duration::from_millis(21));
    assert_eq!(world.nodes[0].replies.get(&1), Some(&Ok(())));
    assert_eq!(total(&world, frames::PROBE), before);
}
