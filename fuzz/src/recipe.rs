//! What a hostile peer may say: well-formed frames of every kind with contents of its choice, the
//! same with a few bytes changed, and anything at all.

use mosaik_proto::{
    NetworkId, PeerId,
    discovery::PeerEntryVersion,
    ids::StreamId,
    streams::{Criteria, item},
    wire::{PROTOCOL_VERSION, encode, header},
};

use super::{
    input::Input,
    peers::{ME, VERSIONS, network, peer, stream},
};

/// What a peer may have overheard of the node, and so can use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// The nonce of the last sync that the node began.
    pub nonce: u64,
    /// The incarnation of the node's producer.
    pub incarnation: u64,
    /// Where the producer will begin, or the next number that its consumer waits for.
    pub next: u64,
}

/// A frame of the handshake.
pub fn handshake(input: &mut Input<'_>, speaker: usize) -> Vec<u8> {
    match input.below(4) {
        0 => input.bytes().to_vec(),
        1 => frame(2, Vec::new()),
        _ => changed(hello(input, speaker), input),
    }
}

/// A frame of discovery.
pub fn discovery(input: &mut Input<'_>, heard: Heard) -> Vec<u8> {
    let kind = 16 + input.below(9);
    let payload = match kind {
        16 => have(input),
        17 => {
            let mut payload = encode(&(nonce(input, heard), input.flag())).to_vec();
            for _ in 0..input.below(9) {
                payload.extend(encode(&id(input)));
            }
            payload
        }
        18 => (0..input.below(5)).flat_map(|_| catalog_item(input)).collect(),
        19 | 20 | 23 => encode(&nonce(input, heard)).to_vec(),
        21 => encode(&(id(input), version(input))).to_vec(),
        22 => {
            let fingerprint = u128::from(input.number());
            encode(&(nonce(input, heard), fingerprint)).to_vec()
        }
        _ => return input.bytes().to_vec(),
    };
    changed(frame(kind, payload), input)
}

/// A frame of a stream.
pub fn streams(input: &mut Input<'_>, heard: Heard) -> Vec<u8> {
    let bytes = match input.below(6) {
        0 => return input.bytes().to_vec(),
        1 => {
            let of = if input.below(8) == 0 { StreamId::zero() } else { stream() };
            let resume = input.flag().then(|| position(input, heard));
            let (window, grant) = (credit(input), credit(input));
            let replay = if input.flag() { input.number() } else { 0 };
            frame(1, encode(&(of, Criteria::default(), window, grant, resume, replay)).to_vec())
        }
        2 => frame(2, encode(&credit(input)).to_vec()),
        3 => frame(3, encode(&(position(input, heard), input.below(3))).to_vec()),
        _ => {
            let first = heard.next.saturating_add(input.byte().saturating_sub(0xf0).into());
            let count = input.below(20).max(1);
            let (size, wrong) = (size(input), input.byte() == 0xff);
            let mut payload = first.to_be_bytes().to_vec();
            payload.extend((u32::from(count) + u32::from(wrong)).to_be_bytes());
            payload.extend(batch(count.into(), size));
            frame(4, payload)
        }
    };
    changed(bytes, input)
}

/// Sizes of items: mostly small, sometimes larger than a chunk or a window's share.
pub fn size(input: &mut Input<'_>) -> usize {
    match input.byte() {
        small @ 0..=0xef => small.into(),
        0xf0..=0xfc => input.short().into(),
        _ => 300_000,
    }
}

/// `count` items of `size` bytes.
pub fn batch(count: u32, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        match item::short(size) {
            Some(form) => bytes.extend(form),
            None => bytes.extend(item::long(size)),
        }
        bytes.resize(bytes.len() + size, 7);
    }
    bytes
}

fn frame(kind: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = header(kind, payload.len() as u32).to_vec();
    bytes.extend(payload);
    bytes
}

/// A hello that is right but for what the input says.
pub fn hello(input: &mut Input<'_>, speaker: usize) -> Vec<u8> {
    let wrong = input.byte();
    let network = if wrong == 0xff { NetworkId::from("other") } else { network() };
    let protocol = PROTOCOL_VERSION + u16::from(wrong == 0xfe);
    let speaker = if wrong == 0xfd { input.index(ME) } else { speaker };
    let (serial, version) = (input.number(), input.index(VERSIONS));
    let entry = &peer(speaker).entries[version];
    frame(1, encode(&(protocol, network, serial, entry)).to_vec())
}

fn have(input: &mut Input<'_>) -> Vec<u8> {
    let nonce = input.number();
    let (after, upto) = (input.flag().then(|| id(input)), input.flag().then(|| id(input)));
    let mut payload = encode(&(nonce, after, upto, input.flag())).to_vec();
    let listed = input.byte();
    let mut peers: Vec<PeerId> =
        (0..=ME).filter(|at| listed >> at & 1 == 1).map(|at| peer(at).id).collect();
    peers.sort_unstable();
    for peer in peers {
        payload.extend(encode(&(peer, version(input), input.below(5))));
    }
    payload
}

fn catalog_item(input: &mut Input<'_>) -> Vec<u8> {
    let (of, at) = (peer(input.index(ME + 1)), input.index(8));
    let item = match of.entries.get(at) {
        Some(entry) => encode(&(0u8, entry)),
        None => encode(&(1u8, &of.tombstones[at - VERSIONS])),
    };
    changed(item.to_vec(), input)
}

fn id(input: &mut Input<'_>) -> PeerId {
    match input.byte() {
        at @ 0..=0xef => peer(at.into()).id,
        stranger => PeerId::from_bytes([stranger; 32]),
    }
}

fn version(input: &mut Input<'_>) -> PeerEntryVersion {
    match input.byte() {
        0xff => PeerEntryVersion { incarnation: input.number(), counter: input.number() },
        at => peer(0).entries[usize::from(at) % VERSIONS].update_version(),
    }
}

fn nonce(input: &mut Input<'_>, heard: Heard) -> u64 {
    if input.flag() { heard.nonce } else { input.number() }
}

fn position(input: &mut Input<'_>, heard: Heard) -> (u64, u64) {
    match input.byte() {
        0..=0x7f => (heard.incarnation, heard.next),
        0x80..=0xbf => (heard.incarnation, input.number()),
        _ => (input.number(), input.number()),
    }
}

fn credit(input: &mut Input<'_>) -> (u64, u64) {
    (input.number(), input.number() << 8)
}

/// One time in sixteen, a byte is not what it should be; one time in sixteen, the end is missing.
fn changed(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    let how = input.byte();
    let at = if how >= 0xe0 { usize::from(input.short()) % bytes.len().max(1) } else { 0 };
    match how {
        0xe0..=0xef => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= input.byte().max(1);
            }
        }
        0xf0.. => bytes.truncate(at),
        _ => {}
    }
    bytes
}
