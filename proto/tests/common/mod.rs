//! Benches for one core each: commands as text in, actions as text out.
//!
//! Peers are letters in the order of their ids; the core under test is `m`, so `b` is smaller and
//! `x` is larger. A bench also holds the core to its invariants after every step.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub(crate) mod args;
pub(crate) mod links;
pub(crate) mod script;
pub(crate) mod streams;

use std::sync::LazyLock;

use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::{Draft, LocalEntry, SignedPeerEntry},
    ids::TicketClass,
    time::{Instant, Now, UnixMillis},
};

/// Wall time when a bench starts; also the incarnation of whatever starts then.
pub(crate) const WALL: u64 = 1_000_000;

static KEYS: LazyLock<Vec<SecretKey>> = LazyLock::new(|| {
    let mut keys: Vec<_> = (0..26).map(|seed| SecretKey::from_bytes(&[seed; 32])).collect();
    keys.sort_by_key(SecretKey::public);
    keys
});

pub(crate) fn key(name: &str) -> &'static SecretKey {
    let letter = name.bytes().next().unwrap();
    assert!(name.len() == 1 && letter.is_ascii_lowercase(), "a peer is one letter: {name}");
    &KEYS[usize::from(letter - b'a')]
}

pub(crate) fn id(name: &str) -> PeerId {
    key(name).public()
}

pub(crate) fn name(peer: &PeerId) -> String {
    let at = KEYS.iter().position(|key| key.public() == *peer).expect("a peer of the bench");
    char::from(b'a' + at as u8).to_string()
}

pub(crate) fn network() -> NetworkId {
    NetworkId::from("test")
}

/// The class of the tickets of a bench; a ticket is the wall time of its expiry.
pub(crate) fn class() -> TicketClass {
    TicketClass::from("pass")
}

pub(crate) fn clock(mono: Instant) -> Now {
    Now { mono, wall: UnixMillis(WALL + mono.as_millis()) }
}

/// The editable entry of a peer that started at `incarnation`.
pub(crate) fn local(name: &str, network: NetworkId, incarnation: u64) -> LocalEntry {
    LocalEntry::new(network, key(name).clone(), UnixMillis(incarnation))
}

pub(crate) fn entry(name: &str) -> SignedPeerEntry {
    local(name, network(), WALL).signed().clone()
}

/// The next version of an entry.
pub(crate) fn edited(local: &mut LocalEntry, edit: impl FnOnce(&mut Draft<'_>)) -> SignedPeerEntry {
    local.edit(UnixMillis(WALL), edit).unwrap();
    local.signed().clone()
}
