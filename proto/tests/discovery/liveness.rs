//! Who is there: silence, hearsay, revival, purging, and our own health.

use std::time::Duration;

use mosaik_proto::{
    discovery::{Config, Event, LocalEntry, News, PeerEntryVersion, Tombstone, frames},
    limits,
    links::DownReason,
    wire,
};

use crate::world::{World, key, network};

fn mesh(count: usize) -> World {
    let mut world = World::new(count);
    (1..count).for_each(|n| world.dial(n, 0));
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    world
}

#[test]
fn disc_31_a_silent_death_hides_a_peer_everywhere() {
    let mut world = mesh(5);
    let dead = world.id(3);
    world.kill(3);
    // Links notice after 1 s; then it has 4 s to come back.
    world.run_for(Duration::from_millis(4900));
    assert!(world.nodes.iter().all(|node| node.gone.is_empty()));
    world.run_for(Duration::from_millis(300));
    for n in [0, 1, 2, 4] {
        assert_eq!(world.nodes[n].gone, [dead]);
        assert!(world.nodes[n].core.catalog().given_up(&dead).is_some());
        assert!(world.nodes[n].changed.contains(&dead));
    }
}

#[test]
fn disc_30_a_lost_link_that_comes_back_is_no_death() {
    let mut world = mesh(4);
    for _ in 0..20 {
        let links: Vec<_> = world.links.keys().copied().collect();
        links.into_iter().for_each(|link| world.lose(link, Duration::from_millis(500)));
        world.run_for(Duration::from_secs(4));
    }
    assert!(world.converged());
    assert!(world.nodes.iter().all(|node| node.gone.is_empty()));
}

#[test]
fn disc_32_hearsay_is_checked_and_never_believed() {
    let mut world = World::new(3);
    world.dial(0, 1);
    world.run_for(Duration::from_secs(2));
    // 0 knows 2 by feed, without a link; it would want one, but the two cannot talk yet.
    let link = world.link(0, 1).unwrap();
    let suspect = world.nodes[2].local.signed().clone();
    let payload = wire::encode(&(suspect.id(), suspect.update_version()));
    world.command(0, 1, mosaik_proto::discovery::Command::Feed(suspect));
    world.inject(0, link, frames::SUSPECT, payload.clone());
    world.run_for(Duration::from_secs(10));
    assert!(world.link(0, 2).is_some(), "it looked for itself");
    assert!(world.nodes[0].gone.is_empty());
    // With a link hearsay means nothing.
    world.inject(0, link, frames::SUSPECT, payload);
    world.run_for(Duration::from_secs(10));
    assert!(world.nodes.iter().all(|node| node.gone.is_empty()));
    assert!(world.nodes.iter().all(|node| !node.sent.contains_key(&frames::SUSPECT)));
}

/// The suspicion of one that really died is passed on by those that checked it.
#[test]
fn disc_32_a_checked_suspicion_reaches_those_without_a_link() {
    let mut world = World::new(3);
    world.dial(0, 1);
    world.run_for(Duration::from_secs(2));
    let dead = LocalEntry::new(network(), key(60), world.clock().wall);
    world.command(0, 1, mosaik_proto::discovery::Command::Feed(dead.signed().clone()));
    world.run_for(Duration::from_secs(15));
    for n in 0..2 {
        assert_eq!(world.nodes[n].gone, [dead.id()]);
        assert!(world.nodes[n].sent.contains_key(&frames::SUSPECT));
    }
}

#[test]
fn disc_32_a_flood_of_suspicions_costs_a_bounded_number_of_dials() {
    let mut world = World::new(2);
    world.dial(1, 0);
    world.run_for(Duration::from_secs(1));
    let link = world.link(0, 1).unwrap();
    let wall = world.clock().wall;
    let strangers: Vec<LocalEntry> =
        (1000..1400).map(|n| LocalEntry::new(network(), key(n), wall)).collect();
    let mut payload = Vec::new();
    for local in &strangers {
        wire::encode_into(&(0u32, local.signed().to_unverified()), &mut payload);
    }
    world.inject(0, link, frames::ITEMS, payload);
    let before = world.nodes[0].wants;
    for _ in 0..5 {
        for local in &strangers {
            let version = local.signed().update_version();
            world.inject(0, link, frames::SUSPECT, wire::encode(&(local.id(), version)));
        }
    }
    let checks = world.nodes[0].wants - before;
    assert!(checks <= limits::CHECKS_PER_SECOND as usize, "{checks} dials");
    // Versions that are not the visible ones, and peers unknown, cost nothing at all.
    world.run_for(Duration::from_millis(500));
    let before = world.nodes[0].wants;
    for local in &strangers {
        let version = PeerEntryVersion { incarnation: 1, counter: 1 };
        world.inject(0, link, frames::SUSPECT, wire::encode(&(local.id(), version)));
    }
    assert_eq!(world.nodes[0].wants, before);
}

#[test]
fn disc_38_a_peer_given_up_revives_by_link_or_by_a_higher_version() {
    let mut world = mesh(4);
    let lost = world.id(3);
    world.partition(&[3], &[0, 1, 2], true);
    world.run_for(Duration::from_secs(8));
    assert!((0..3).all(|n| world.nodes[n].gone == [lost]));
    assert_eq!(world.nodes[3].gone.len(), 3);
    world.nodes.iter_mut().for_each(|node| node.news.clear());
    world.partition(&[3], &[0, 1, 2], false);
    // 3 lost all its links: it thinks that this is its own fault and redials soon (DISC-39).
    world.run_for(Duration::from_secs(12));
    assert!(world.converged());
    assert!((0..3).all(|n| world.nodes[n].news == [(News::Discovered, lost)]));
    // By a higher version, from whomever it comes.
    world.partition(&[3], &[0, 1, 2], true);
    world.run_for(Duration::from_secs(8));
    world.nodes.iter_mut().for_each(|node| node.news.clear());
    let entry = world.edit(3, "alive");
    world.command(0, 1, mosaik_proto::discovery::Command::Feed(entry));
    world.run_for(Duration::from_millis(50));
    assert!((1..3).all(|n| world.nodes[n].news == [(News::Discovered, lost)]));
    assert!((0..3).all(|n| world.sees(n, 3)));
}

/// A peer that was given up is hidden, so links cannot look its addresses up: discovery tells them.
#[test]
fn disc_38_a_peer_given_up_is_sought_where_it_was() {
    let mut world = mesh(3);
    let lost = world.id(2);
    world.edit(2, "here");
    world.run_for(Duration::from_millis(50));
    world.partition(&[2], &[0, 1], true);
    world.run_for(Duration::from_secs(8));
    assert_eq!(world.nodes[0].gone, [lost]);
    world.nodes[0].sought.clear();
    // A small network does not wait a minute.
    world.run_for(limits::REVIVE_MIN * 2);
    assert_eq!(world.nodes[0].sought[&lost], [([10, 0, 0, 1], 3).into()]);
}

/// D13: a partition heals through one link; hearsay of life is checked by dialling.
#[test]
fn disc_33_a_healed_partition_becomes_one_again() {
    let mut world = mesh(8);
    let (left, right) = ([0, 1, 2, 3], [4, 5, 6, 7]);
    world.partition(&left, &right, true);
    world.run_for(Duration::from_secs(600));
    assert!(world.nodes.iter().all(|node| node.gone.len() == 4));
    let late = world.id(1);
    world.depart(1);
    world.run_for(Duration::from_secs(5));
    world.partition(&left, &right, false);
    world.dial(0, 4);
    world.run_for(Duration::from_secs(30));
    assert!(world.converged(), "one link is enough");
    assert!((4..8).all(|n| world.nodes[n].core.catalog().tombstone(&late).is_some()));
}

#[test]
fn disc_33_those_given_up_are_not_offered_to_newcomers() {
    let mut world = mesh(3);
    let dead = world.id(2);
    world.kill(2);
    world.run_for(Duration::from_secs(8));
    world.join(3, Config::default());
    world.dial(3, 0);
    world.run_for(Duration::from_secs(3));
    assert!(world.nodes[3].core.catalog().signed(&dead).is_none());
    assert!(world.converged());
}

/// D11: an overloaded node is late by seconds at random; it must not bury the living.
#[test]
fn disc_34_a_late_loop_doubts_itself_first() {
    let mut world = mesh(4);
    let peer = world.id(2);
    let link = world.link(0, 2).unwrap();
    world.links.remove(&link);
    let reason = DownReason::Timeout;
    world.step(0, Event::Disconnected { peer, link, reason });
    // Our loop sleeps over the deadline; when it wakes the timer comes before the news.
    world.now = world.now + limits::SILENCE_MAX + Duration::from_secs(5);
    world.step(0, Event::Timeout);
    assert!(world.nodes[0].gone.is_empty());
    world.run_for(Duration::from_secs(10));
    assert!(world.converged() && world.nodes[0].gone.is_empty());
}

#[test]
fn disc_37_purge_after_ends_a_version_whatever_the_link_says() {
    let purge = Duration::from_secs(10);
    let config = |n| Config { purge_after: (n == 0).then_some(purge), ..Config::default() };
    let mut world = World::with(3, config);
    (1..3).for_each(|n| world.dial(n, 0));
    world.run_for(Duration::from_secs(5));
    assert!(world.converged());
    world.edit(1, "still here");
    world.run_for(Duration::from_secs(6));
    // 2 did not advance for 10 s, 1 did.
    let silent = world.id(2);
    assert_eq!(world.nodes[0].gone, [silent]);
    assert!(world.link(0, 2).is_some());
    assert!(world.sees(0, 1) && world.sees(1, 2));
    // Its version is not admitted again, by sync or feed.
    let peer = world.id(1);
    world.sync_with(0, 1, peer);
    let entry = world.nodes[2].local.signed().clone();
    world.command(0, 2, mosaik_proto::discovery::Command::Feed(entry));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.nodes[0].replies[&1], Ok(()));
    assert!(world.nodes[0].core.catalog().signed(&silent).is_none());
    // A higher one is.
    world.nodes[0].news.clear();
    world.edit(2, "back");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.nodes[0].news, [(News::Discovered, silent)]);
    assert!(world.sees(0, 2));
}

#[test]
fn disc_36_tombstones_end_by_their_age_and_are_not_prolonged() {
    let mut world = mesh(3);
    let left = LocalEntry::new(network(), key(60), world.clock().wall);
    let farewell: Tombstone = left.depart(world.clock().wall);
    let link = world.link(0, 1).unwrap();
    let payload = wire::encode(&(1u32, &farewell));
    world.inject(0, link, frames::ITEMS, payload.clone());
    world.run_for(Duration::from_secs(1));
    let holds =
        |world: &World, n: usize| world.nodes[n].core.catalog().tombstone(&left.id()).is_some();
    assert!(holds(&world, 0) && holds(&world, 2));
    world.run_for(limits::TOMBSTONE_LIFE);
    assert!((0..3).all(|n| world.nodes[n].core.catalog().held_count() == 2));
    let link = world.link(0, 1).unwrap();
    world.inject(0, link, frames::ITEMS, payload);
    assert_eq!(world.nodes[0].core.catalog().held_count(), 2);
}

/// DISC-35: who closes in good order but leaves no farewell is given up all the same.
#[test]
fn disc_35_a_lost_farewell_is_a_silence() {
    let mut world = mesh(3);
    let left = world.id(2);
    world.nodes[2].up = false;
    for n in 0..2 {
        let link = world.link(n, 2).unwrap();
        world.links.remove(&link);
        let reason = DownReason::Closed(wire::CloseCode::GRACEFUL_SHUTDOWN);
        world.step(n, Event::Disconnected { peer: left, link, reason });
    }
    world.run_for(limits::SILENCE_MAX + Duration::from_millis(10));
    assert!((0..2).all(|n| world.nodes[n].gone == [left]));
}

/// Links that back off may not have dialled at all within the silence: that is no evidence.
#[test]
fn disc_31_without_a_failed_dial_there_is_more_time() {
    let mut world = World::new(1);
    let peer = LocalEntry::new(network(), key(60), world.clock().wall);
    let link = mosaik_proto::ids::LinkId(1);
    let side = mosaik_proto::ids::Side::Listener;
    let up = |link| Event::Connected { peer: peer.id(), link, side, entry: peer.signed().clone() };
    let down = |link| Event::Disconnected { peer: peer.id(), link, reason: DownReason::Lost };
    // Stepped by hand: the world's own dials would fail.
    world.step(0, up(link));
    world.step(0, down(link));
    for _ in 0..70 {
        world.now = world.now + Duration::from_millis(100);
        world.step(0, Event::Timeout);
    }
    assert!(world.nodes[0].gone.is_empty());
    world.step(0, Event::Unreachable { peer: peer.id(), foreign: false });
    world.step(0, Event::Timeout);
    assert_eq!(world.nodes[0].gone, [peer.id()]);
}
