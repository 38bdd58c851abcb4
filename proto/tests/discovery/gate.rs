//! What comes in, by which path, and what does not.

use bytes::Bytes;
use mosaik_proto::{
    NetworkId, PeerId,
    discovery::{
        Command, Config, Event, LocalEntry, PeerEntryVersion, SignedPeerEntry, Tombstone, frames,
    },
    ids::{LinkId, Side},
    time::UnixMillis,
    wire::{self, CloseCode},
};
use std::time::Duration;

use proptest::prelude::*;

use crate::world::{World, key, network};

/// A frame with these entries.
fn items(entries: &[&SignedPeerEntry]) -> Bytes {
    let mut payload = Vec::new();
    for entry in entries {
        wire::encode_into(&(0u32, entry.to_unverified()), &mut payload);
    }
    payload.into()
}

fn farewell(tombstone: &Tombstone) -> Bytes {
    wire::encode(&(1u32, tombstone))
}

/// Two linked nodes and the link.
fn pair() -> (World, LinkId) {
    let mut world = World::new(2);
    world.dial(1, 0);
    world.run_for(Duration::from_secs(1));
    let link = world.link(0, 1).unwrap();
    (world, link)
}

/// Offers an entry by every path: frame, feed, and the hello of its own peer.
fn offer_everywhere(world: &mut World, link: LinkId, entry: &SignedPeerEntry) {
    world.inject(0, link, frames::ITEMS, items(&[entry]));
    world.command(0, 500, Command::Feed(entry.clone()));
    let hello = LinkId(9999);
    let event = Event::Connected {
        peer: entry.id(),
        link: hello,
        side: Side::Listener,
        entry: entry.clone(),
    };
    world.step(0, event);
    world.nodes[0].replies.remove(&500);
}

fn stranger(wall: u64) -> LocalEntry {
    LocalEntry::new(network(), key(90), UnixMillis(wall))
}

#[test]
fn disc_04_future_dated_entries_are_refused_on_every_path() {
    let (mut world, link) = pair();
    let now = world.clock().wall.0;
    let late = stranger(now + 51_000);
    offer_everywhere(&mut world, link, late.signed());
    assert!(world.nodes[0].core.catalog().get(&late.id()).is_none());
    assert!(world.nodes[0].closes.is_empty(), "a wrong clock is no attack");
    // Ten years ahead, and with a farewell from there.
    let far = stranger(now + 315_360_000_000);
    offer_everywhere(&mut world, link, far.signed());
    world.inject(0, link, frames::ITEMS, farewell(&far.depart(UnixMillis(now + 315_360_000_000))));
    assert!(world.nodes[0].core.catalog().tombstone(&far.id()).is_none());
    // Old ones are fine, however old, and so is a little ahead.
    let old = stranger(1000);
    world.inject(0, link, frames::ITEMS, items(&[old.signed()]));
    assert!(world.nodes[0].core.catalog().get(&old.id()).is_some());
    let mut ahead = old.clone();
    ahead.raise(UnixMillis(now + 49_000), PeerEntryVersion::default());
    world.inject(0, link, frames::ITEMS, items(&[ahead.signed()]));
    assert_eq!(world.nodes[0].core.catalog().signed(&old.id()), Some(ahead.signed()));
}

/// Who comes with an old entry goes with the new one.
#[test]
fn disc_21_an_older_entry_is_answered_with_ours() {
    let (mut world, link) = pair();
    let mut third = stranger(1000);
    let old = third.signed().clone();
    third.raise(UnixMillis(2000), PeerEntryVersion::default());
    world.inject(0, link, frames::ITEMS, items(&[third.signed()]));
    let sent = world.nodes[0].sent.get(&frames::ITEMS).copied().unwrap_or(0);
    world.inject(0, link, frames::ITEMS, items(&[&old]));
    assert_eq!(world.nodes[0].sent[&frames::ITEMS], sent + 1);
    // The same version needs no answer.
    world.inject(0, link, frames::ITEMS, items(&[third.signed()]));
    assert_eq!(world.nodes[0].sent[&frames::ITEMS], sent + 1);
}

#[test]
fn disc_02_another_network_is_refused_on_every_path() {
    let (mut world, link) = pair();
    let wall = world.clock().wall;
    let foreign = LocalEntry::new(NetworkId::from("other"), key(90), wall);
    offer_everywhere(&mut world, link, foreign.signed());
    world.inject(0, link, frames::ITEMS, farewell(&foreign.depart(wall)));
    assert_eq!(world.nodes[0].core.catalog().signed_count(), 1);
    assert_eq!(world.nodes[0].core.catalog().held_count(), 1);
}

/// D7: each bit of an entry and of a farewell, flipped. Nothing of it is ever taken.
#[test]
fn disc_02_flipped_bits_are_refused() {
    let (mut world, link) = pair();
    let local = stranger(world.clock().wall.0);
    for good in [items(&[local.signed()]), farewell(&local.depart(world.clock().wall))] {
        let mut refused = 0;
        for bit in (0..good.len() * 8).step_by(37) {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (mut fresh, link) = pair();
            fresh.inject(0, link, frames::ITEMS, bad);
            let catalog = fresh.nodes[0].core.catalog();
            assert_eq!(catalog.held_count(), 1, "bit {bit}");
            refused += fresh.nodes[0].closes.len();
        }
        assert!(refused > 0);
    }
    // Bad signatures end the link.
    let mut bad = items(&[local.signed()]).to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    world.inject(0, link, frames::ITEMS, bad);
    assert_eq!(world.nodes[0].closes, [CloseCode::PROTOCOL_VIOLATION]);
    assert!(world.nodes[0].core.catalog().get(&local.id()).is_none());
}

/// DISC-03: a known version costs no signature check, so a wrong signature goes unnoticed.
#[test]
fn disc_03_known_versions_are_not_verified() {
    let (mut world, link) = pair();
    let local = stranger(world.clock().wall.0);
    world.inject(0, link, frames::ITEMS, items(&[local.signed()]));
    let mut bad = items(&[local.signed()]).to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    world.inject(0, link, frames::ITEMS, bad);
    assert!(world.nodes[0].closes.is_empty());
    assert_eq!(world.nodes[0].core.catalog().signed(&local.id()), Some(local.signed()));
}

#[test]
fn disc_22_garbage_ends_the_link() {
    for (kind, payload) in [
        (frames::ITEMS, vec![0u8, 200, 1, 2]),
        (frames::HAVE, vec![1, 2, 3]),
        (frames::DONE, vec![1, 1]),
        (frames::SUSPECT, vec![0; 33]),
    ] {
        let (mut world, link) = pair();
        world.inject(0, link, kind, payload);
        assert_eq!(world.nodes[0].closes, [CloseCode::PROTOCOL_VIOLATION], "kind {kind}");
        // Nothing more is read from it.
        let local = stranger(world.clock().wall.0);
        let peer = world.id(1);
        let payload = items(&[local.signed()]);
        world.step(0, Event::Frame { peer, link, kind: frames::ITEMS, payload });
        assert!(world.nodes[0].core.catalog().get(&local.id()).is_none());
    }
}

#[test]
fn disc_05_a_higher_version_of_ours_makes_us_jump_above() {
    let (mut world, link) = pair();
    let mut other = LocalEntry::new(network(), key(0), world.clock().wall);
    other.raise(world.clock().wall, PeerEntryVersion { incarnation: u64::MAX / 2, counter: 0 });
    world.inject(0, link, frames::ITEMS, items(&[other.signed()]));
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.nodes[0].raises, world.nodes[0].core.clashes()), (1, 1));
    assert!(world.nodes[0].local.signed().update_version() > other.signed().update_version());
    assert!(world.sees(1, 0));
    // A forged one does not.
    other.raise(world.clock().wall, PeerEntryVersion { incarnation: u64::MAX / 2, counter: 9 });
    let mut bad = items(&[other.signed()]).to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    world.inject(0, link, frames::ITEMS, bad);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.nodes[0].raises, 1);
    // Nor a farewell of an earlier life; one of this life does.
    let (mut world, link) = pair();
    let early = LocalEntry::new(network(), key(0), UnixMillis(5)).depart(UnixMillis(5));
    world.inject(0, link, frames::ITEMS, farewell(&early));
    assert_eq!(world.nodes[0].raises, 0);
    let now = world.nodes[0].local.depart(world.clock().wall);
    world.inject(0, link, frames::ITEMS, farewell(&now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.nodes[0].raises, 1);
    assert!(world.sees(1, 0));
}

/// D19: two processes with one key do not race: each raise waits longer than the one before.
#[test]
fn disc_05_a_race_for_one_key_is_bounded() {
    let (mut world, link) = pair();
    let mut rival = LocalEntry::new(network(), key(0), world.clock().wall);
    for _ in 0..6000 {
        let wall = world.clock().wall;
        rival.raise(wall, world.nodes[0].local.signed().update_version());
        world.inject(0, link, frames::ITEMS, items(&[rival.signed()]));
        world.run_for(Duration::from_millis(100));
    }
    let node = &world.nodes[0];
    assert!(node.core.clashes() > 10);
    assert!((6..=20).contains(&node.raises), "{} raises in 10 minutes", node.raises);
}

/// D4: the process comes back with a clock gone back; it learns of its old version and jumps.
#[test]
fn disc_05_a_restart_with_an_old_clock_is_visible_again() {
    let mut world = World::new(3);
    (1..3).for_each(|n| world.dial(n, 0));
    world.run_for(Duration::from_secs(2));
    world.kill(2);
    world.run_for(Duration::from_millis(1200));
    world.join(2, Config::default());
    let local = LocalEntry::new(network(), key(2), UnixMillis(1_000_000));
    let seed = mosaik_proto::rng::Rng::new([2; 32]);
    let core = mosaik_proto::discovery::Discovery::new(
        Config::default(),
        network(),
        local.id(),
        seed,
        world.clock(),
    );
    world.nodes[2].core = core;
    world.nodes[2].local = local.clone();
    world.step(2, Event::Local(local.signed().clone()));
    world.dial(2, 0);
    world.run_for(Duration::from_secs(3));
    assert!(world.nodes[2].raises >= 1);
    assert!(world.converged());
}

#[test]
fn disc_06_a_flood_of_strangers_leaves_the_known_alone() {
    let (mut world, link) = pair();
    let wall = world.clock().wall;
    let mut payload = Vec::new();
    for n in 1000..1400 {
        let local = LocalEntry::new(network(), key(n), wall);
        wire::encode_into(&(0u32, local.signed().to_unverified()), &mut payload);
    }
    world.inject(0, link, frames::ITEMS, payload);
    assert!(world.sees(0, 1));
    assert_eq!(world.nodes[0].core.catalog().signed_count(), 401);
    // DISC-40: beyond a full mesh nobody wants everybody.
    world.run_for(Duration::from_millis(400));
    assert!(world.nodes[0].wanted.len() <= 2 + mosaik_proto::limits::RANDOM_LINKS + 1);
}

#[test]
fn disc_08_feed_is_silent_but_spreads() {
    let (mut world, _) = pair();
    let mut local = stranger(world.clock().wall.0);
    world.command(0, 7, Command::Feed(local.signed().clone()));
    assert_eq!(world.nodes[0].replies.get(&7), Some(&Ok(())));
    assert_eq!(world.nodes[0].news.len(), 1, "only the neighbour's");
    assert!(world.nodes[0].changed.contains(&local.id()));
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.nodes[1].core.catalog().signed(&local.id()), Some(local.signed()));
    // A lower version changes nothing, here or there.
    let old = local.signed().clone();
    local.raise(world.clock().wall, old.update_version());
    world.command(0, 8, Command::Feed(local.signed().clone()));
    world.command(0, 9, Command::Feed(old));
    assert_eq!(world.nodes[0].core.catalog().signed(&local.id()), Some(local.signed()));
}

#[test]
fn disc_07_unsigned_entries_stay_here() {
    let (mut world, _) = pair();
    let local = stranger(world.clock().wall.0);
    let peer = local.id();
    world.command(0, 1, Command::Insert(local.signed().entry().clone()));
    assert!(world.nodes[0].core.catalog().get(&peer).is_some());
    world.run_for(Duration::from_secs(1));
    assert!(world.nodes[1].core.catalog().get(&peer).is_none());
    world.command(0, 2, Command::Remove(peer));
    assert!(world.nodes[0].core.catalog().get(&peer).is_none());
    world.command(0, 3, Command::Insert(local.signed().entry().clone()));
    world.command(0, 4, Command::ClearUnsigned);
    assert_eq!(world.nodes[0].changed.iter().filter(|p| **p == peer).count(), 4);
    let me = world.nodes[0].local.signed().entry().clone();
    world.command(0, 5, Command::Insert(me));
    assert_eq!(world.nodes[0].core.catalog().unsigned_count(), 0);
}

/// DISC-15: what a peer can make us send and walk is bounded by what it reads, and by a rate.
#[test]
fn disc_15_a_peer_that_only_asks_is_cut_off() {
    let (mut world, link) = pair();
    let range = wire::encode(&(1u64, None::<PeerId>, None::<PeerId>, true));
    let peer = world.id(1);
    for _ in 0..100_000 {
        let payload = range.clone();
        world.step(0, Event::Frame { peer, link, kind: frames::HAVE, payload });
        if !world.nodes[0].closes.is_empty() {
            break;
        }
    }
    assert_eq!(world.nodes[0].closes, [CloseCode::BUSY]);
    let sent: usize = world.nodes[0].sent.values().sum();
    assert!(sent < 50_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// DISC-22: no sequence of frames, well-formed or not, makes a node panic or believe anything.
    #[test]
    fn disc_22_any_frames_are_survived(
        frames in proptest::collection::vec(
            (14u8..26, proptest::collection::vec(any::<u8>(), 0..120), any::<bool>()), 0..40
        )
    ) {
        let (mut world, _) = pair();
        let known = world.id(1);
        for (kind, payload, honest) in frames {
            let Some(link) = world.link(0, 1) else { break };
            let payload = if honest { shaped(kind, &payload, known) } else { payload.into() };
            world.inject(0, link, kind, payload);
            world.run_for(Duration::from_millis(3));
        }
        let catalog = world.nodes[0].core.catalog();
        prop_assert_eq!(catalog.signed_count(), 1);
        prop_assert_eq!(catalog.held_count(), 1);
    }
}

/// A payload of the right layout with arbitrary content.
fn shaped(kind: u8, noise: &[u8], known: PeerId) -> Bytes {
    let number = noise.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let version = PeerEntryVersion { incarnation: number, counter: number / 3 };
    let peers: Vec<PeerId> = noise.chunks(8).map(|c| PeerId::from_bytes([c[0]; 32])).collect();
    let mut payload = Vec::new();
    match kind {
        frames::HAVE => {
            let last = number % 2 == 0;
            wire::encode_into(&(number, None::<PeerId>, None::<PeerId>, last), &mut payload);
            let mut peers = peers;
            peers.push(known);
            peers.sort_unstable();
            peers.dedup();
            for (n, peer) in peers.into_iter().enumerate() {
                wire::encode_into(&(peer, version, (n % 4) as u32), &mut payload);
            }
        }
        frames::NEED => {
            wire::encode_into(&(number, number % 2 == 0), &mut payload);
            peers.iter().for_each(|peer| wire::encode_into(peer, &mut payload));
        }
        frames::SUSPECT => wire::encode_into(&(known, version), &mut payload),
        frames::PROBE => wire::encode_into(&(number, u128::from(number)), &mut payload),
        _ => wire::encode_into(&number, &mut payload),
    }
    payload.into()
}
