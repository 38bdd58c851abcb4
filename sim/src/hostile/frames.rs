//! Frames, written without the cores: nothing here keeps anybody from lying.

use bytes::Bytes;
use mosaik_proto::{
    NetworkId, PeerId,
    discovery::{PeerEntryVersion, SignedPeerEntry, Tombstone, frames as discovery},
    ids::StreamId,
    streams::item,
    wire::{self, PROTOCOL_VERSION, header},
};

pub(super) use discovery::{ITEMS, SUSPECT};

pub(super) const HELLO: u8 = 1;
pub(super) const READY: u8 = 2;
pub(super) const SUBSCRIBE: u8 = 1;
pub(super) const CREDIT: u8 = 2;
pub(super) const ACCEPT: u8 = 3;
pub(super) const ITEMS_OF_STREAM: u8 = 4;

pub(super) fn frame(kind: u8, payload: &[u8]) -> Bytes {
    [&header(kind, payload.len() as u32), payload].concat().into()
}

pub(super) fn hello(network: &NetworkId, serial: u64, entry: &SignedPeerEntry) -> Bytes {
    wire::encode(&(PROTOCOL_VERSION, network, serial, entry))
}

/// An entry as an item of a sync.
pub(super) fn entry(entry: &SignedPeerEntry) -> Vec<u8> {
    wire::encode(&(0u8, entry)).to_vec()
}

/// A farewell as an item of a sync.
pub(super) fn farewell(tombstone: &Tombstone) -> Vec<u8> {
    wire::encode(&(1u8, tombstone)).to_vec()
}

/// The bytes with `old` replaced by `new` wherever it stands.
pub(super) fn replace(mut bytes: Vec<u8>, old: &[u8; 32], new: &[u8; 32]) -> Vec<u8> {
    for at in 0..bytes.len().saturating_sub(31) {
        if bytes[at..at + 32] == old[..] {
            bytes[at..at + 32].copy_from_slice(new);
        }
    }
    bytes
}

pub(super) fn suspect(peer: &PeerId, version: PeerEntryVersion) -> Bytes {
    wire::encode(&(peer, version))
}

pub(super) fn subscribe(
    stream: StreamId,
    window: (u64, u64),
    grant: (u64, u64),
    resume: Option<(u64, u64)>,
    replay: u64,
) -> Bytes {
    wire::encode(&(stream, (), window, grant, resume, replay))
}

pub(super) fn accept(incarnation: u64, next: u64, kind: u8) -> Bytes {
    wire::encode(&(incarnation, next, kind))
}

pub(super) fn numbers(a: u64, b: u64) -> Bytes {
    wire::encode(&(a, b))
}

/// Items of a stream: `count` are there, `said` are announced.
pub(super) fn items(first: u64, said: u32, count: u32, size: usize) -> Vec<u8> {
    let mut payload = [&first.to_be_bytes()[..], &said.to_be_bytes()].concat();
    for _ in 0..count {
        payload.extend(item::long(size));
        payload.resize(payload.len() + size, 0);
    }
    payload
}
