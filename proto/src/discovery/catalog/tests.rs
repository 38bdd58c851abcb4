//! The catalog alone: it is a CRDT, it is bounded, and it hides without forgetting.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{crypto::SecretKey, discovery::LocalEntry, time::UnixMillis};

fn network() -> NetworkId {
    NetworkId::from("catalog")
}

fn at(mono: u64) -> Now {
    Now { mono: Instant::from_millis(mono), wall: UnixMillis(1_000_000 + mono) }
}

fn empty() -> Catalog {
    Catalog::new(network(), PeerId::from_bytes([255; 32]))
}

/// Entry (even) or tombstone (odd) of one of a few peers at one of a few versions.
fn item(peer: u8, step: u8) -> (Rank, Result<SignedPeerEntry, Tombstone>) {
    let wall = UnixMillis(1_000_000);
    let mut local = LocalEntry::new(network(), SecretKey::from_bytes(&[peer + 1; 32]), wall);
    for _ in 0..step / 2 {
        let above = local.signed().update_version();
        local.raise(wall, above);
    }
    let version = local.signed().update_version();
    if step.is_multiple_of(2) {
        ((version, false), Ok(local.signed().clone()))
    } else {
        ((version, true), Err(local.depart(wall)))
    }
}

fn merge(catalog: &mut Catalog, (peer, step): (u8, u8)) {
    match item(peer, step).1 {
        Ok(entry) => drop(catalog.merge_entry(Instant::ZERO, entry, false)),
        Err(tombstone) => drop(catalog.merge_tombstone(Instant::ZERO, tombstone)),
    }
}

/// The replicated state, in full.
fn state(catalog: &Catalog) -> Vec<(PeerId, Rank, bool)> {
    let entry = |peer: &PeerId| catalog.signed(peer).is_some();
    catalog.records.iter().map(|(peer, record)| (*peer, record.rank(), entry(peer))).collect()
}

fn counts_hold(catalog: &Catalog) {
    let visible = catalog.records.values().filter(|record| record.visible().is_some()).count();
    let ended = |record: &&Record| !matches!(record.held, Held::Entry(_));
    assert_eq!(catalog.visible, visible);
    assert_eq!(catalog.graves.len(), catalog.records.values().filter(ended).count());
    let down = catalog.records.values().filter(|record| record.down.is_some()).count();
    assert_eq!(catalog.fallen.len(), down);
    let weigh =
        |sum: u128, (peer, record): (&PeerId, &Record)| sum.wrapping_add(record.weight(peer));
    assert_eq!(catalog.fingerprint(), catalog.records.iter().fold(0, weigh));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// DISC-01: whatever the order and however often, the same items give the same state.
    #[test]
    fn disc_01_merge_is_commutative_associative_idempotent(
        items in proptest::collection::vec((0u8..4, 0u8..8), 0..24), seed in any::<u64>()
    ) {
        let mut first = empty();
        items.iter().for_each(|i| merge(&mut first, *i));
        let mut shuffled = items.clone();
        shuffled.extend(items.iter().take(items.len() / 2));
        let mut rng = crate::rng::Rng::new([seed as u8; 32]);
        rng.shuffle(&mut shuffled);
        let mut second = empty();
        shuffled.iter().for_each(|i| merge(&mut second, *i));
        prop_assert_eq!(state(&first), state(&second));
        prop_assert_eq!(first.fingerprint(), second.fingerprint());
        let mut best: BTreeMap<PeerId, Rank> = BTreeMap::new();
        for (peer, step) in items {
            let (rank, item) = item(peer, step);
            let peer = item.map_or_else(|t| t.peer(), |e| e.id());
            let best = best.entry(peer).or_insert(rank);
            *best = rank.max(*best);
        }
        let won: BTreeMap<PeerId, Rank> =
            state(&first).into_iter().map(|(peer, rank, _)| (peer, rank)).collect();
        prop_assert_eq!(won, best);
        counts_hold(&first);
    }

    /// What is hidden, shown, purged and merged in any order keeps the indexes right, and no
    /// version at or below an end is ever visible again (INV-DISC-4).
    #[test]
    fn inv_disc_4_ends_hold(ops in proptest::collection::vec((0u8..6, 0u8..3, 0u8..8), 0..60)) {
        let mut catalog = empty();
        let mut floors: BTreeMap<PeerId, PeerEntryVersion> = BTreeMap::new();
        for (n, (op, peer, step)) in ops.into_iter().enumerate() {
            let now = Instant::from_millis(n as u64);
            let id = SecretKey::from_bytes(&[peer + 1; 32]).public();
            match op {
                0 => drop(catalog.give_up(now, id)),
                1 => drop(catalog.revive(&id)),
                2 => {
                    if catalog.signed(&id).is_some() {
                        floors.insert(id, catalog.rank(&id).unwrap().0);
                    }
                    catalog.purge(now, id);
                }
                _ => merge(&mut catalog, (peer, step)),
            }
            if let Some(tombstone) = catalog.tombstone(&id) {
                floors.insert(id, tombstone.version());
            }
            let visible = catalog.signed(&id).map(|entry| entry.update_version());
            prop_assert!(visible.is_none_or(|v| floors.get(&id).is_none_or(|floor| v > *floor)));
            counts_hold(&catalog);
        }
    }
}

#[test]
fn disc_06_strangers_find_no_room_but_the_known_and_connected_do() {
    let mut catalog = empty();
    let fake = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    let (_, entry) = item(1, 0);
    let entry = entry.unwrap();
    for n in 0..limits::CATALOG_PEERS {
        catalog.install(Instant::ZERO, fake(n), Held::Entry(entry.clone()));
    }
    assert_eq!(catalog.merge_entry(Instant::ZERO, entry.clone(), false), Err(Refused::Full));
    let (_, tombstone) = item(2, 1);
    let result = catalog.merge_tombstone(Instant::ZERO, tombstone.unwrap_err());
    assert_eq!(result, Err(Refused::Full));
    assert_eq!(catalog.merge_entry(Instant::ZERO, entry, true), Ok(Merged::Discovered));
    assert_eq!(catalog.held_count(), limits::CATALOG_PEERS + 1);
    // Who was given up makes room; who is there does not.
    assert!(catalog.give_up(Instant::ZERO, fake(7)));
    assert!(catalog.give_up(Instant::ZERO, fake(8)));
    let stranger = item(3, 0).1.unwrap();
    assert_eq!(catalog.merge_entry(Instant::ZERO, stranger, false), Ok(Merged::Discovered));
    assert!(catalog.rank(&fake(7)).is_none() && catalog.rank(&fake(9)).is_some());
    counts_hold(&catalog);
}

#[test]
fn disc_07_unsigned_entries_are_local_bounded_and_give_way() {
    let mut catalog = empty();
    let entry = item(1, 0).1.unwrap();
    let peer = entry.id();
    assert_eq!(catalog.insert_unsigned(entry.entry().clone()), Ok(true));
    assert_eq!(catalog.peers().count(), 1);
    assert_eq!(catalog.get(&peer).unwrap().id(), peer);
    assert!(catalog.item(&peer).is_none() && catalog.listed(at(0), &peer).is_none());
    catalog.merge_entry(Instant::ZERO, entry.clone(), false).unwrap();
    assert_eq!(catalog.peers().count(), 1, "one entry per peer");
    assert_eq!(catalog.insert_unsigned(entry.entry().clone()), Ok(false));
    assert!(catalog.remove_unsigned(&peer) && !catalog.remove_unsigned(&peer));
}

#[test]
fn ranges_are_in_order_and_contain_ourselves() {
    let mut catalog = Catalog::new(network(), SecretKey::from_bytes(&[9; 32]).public());
    for peer in 0..6 {
        merge(&mut catalog, (peer, 0));
    }
    let local = LocalEntry::new(network(), SecretKey::from_bytes(&[9; 32]), UnixMillis(5));
    assert!(catalog.set_local(local.signed().clone()));
    assert!(!catalog.set_local(local.signed().clone()));
    let all: Vec<PeerId> = catalog.range(None, None).collect();
    assert_eq!(all.len(), 7);
    assert!(all.is_sorted() && all.contains(&local.id()));
    for (a, after) in all.iter().enumerate() {
        for (b, upto) in all.iter().enumerate() {
            let expected: &[PeerId] = if a < b { &all[a + 1..=b] } else { &[] };
            let range: Vec<PeerId> = catalog.range(Some(*after), Some(*upto)).collect();
            assert_eq!(range, expected);
        }
    }
}

#[test]
fn disc_36_old_tombstones_are_not_listed_but_still_answer() {
    let mut catalog = empty();
    let tombstone = item(1, 1).1.unwrap_err();
    let peer = tombstone.peer();
    catalog.merge_tombstone(Instant::ZERO, tombstone).unwrap();
    assert!(catalog.listed(at(0), &peer).is_some());
    let day = 23 * 3600 * 1000 + 1;
    assert!(catalog.listed(at(day), &peer).is_none());
    assert!(catalog.item(&peer).is_some());
    catalog.forget_tombstone(&peer);
    assert_eq!(catalog.held_count(), 0);
}
