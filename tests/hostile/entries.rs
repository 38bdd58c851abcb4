//! Entries written field by field, so that every one of them can be wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::SystemTime,
};

use mosaik::{
    Bytes, NetworkId, PeerId, SecretKey, StreamId, Tag, UniqueId,
    proto::{
        discovery::PeerEntryVersion,
        time::UnixMillis,
        wire::{self, PROTOCOL_VERSION},
    },
};

/// The wall clock.
pub(crate) fn wall() -> UnixMillis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    UnixMillis(now.as_millis() as u64)
}

/// The fields of an entry in wire order (`proto/src/discovery/entry.rs`).
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Fields {
    pub(crate) protocol: u16,
    pub(crate) network: NetworkId,
    pub(crate) version: PeerEntryVersion,
    pub(crate) wall: UnixMillis,
    pub(crate) started: UnixMillis,
    pub(crate) id: PeerId,
    pub(crate) addrs: BTreeSet<SocketAddr>,
    pub(crate) tags: BTreeSet<Tag>,
    pub(crate) streams: BTreeSet<StreamId>,
    pub(crate) functions: BTreeSet<UniqueId>,
    pub(crate) groups: BTreeSet<UniqueId>,
    pub(crate) tickets: BTreeMap<UniqueId, ()>,
}

impl Fields {
    /// What an honest peer with this key would say.
    pub(crate) fn honest(network: NetworkId, key: &SecretKey) -> Self {
        let wall = wall();
        Self {
            protocol: PROTOCOL_VERSION,
            network,
            version: PeerEntryVersion { incarnation: wall.0, counter: 0 },
            wall,
            started: wall,
            id: key.public(),
            addrs: BTreeSet::new(),
            tags: BTreeSet::new(),
            streams: BTreeSet::new(),
            functions: BTreeSet::new(),
            groups: BTreeSet::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// As one whose addresses lead nowhere.
    pub(crate) fn nowhere(network: NetworkId, key: &SecretKey) -> Self {
        let mut fields = Self::honest(network, key);
        // Nobody listens at the discard port, and packets that fail there are lost without a word.
        fields.addrs.insert(([127, 0, 0, 1], 9).into());
        fields
    }

    /// The signed entry as it goes over the wire.
    pub(crate) fn signed(&self, key: &SecretKey) -> Vec<u8> {
        signed(&wire::encode(self), key)
    }
}

/// A payload, whatever it is, signed as an entry.
pub(crate) fn signed(payload: &[u8], key: &SecretKey) -> Vec<u8> {
    let signature = key.sign("mosaik v1 peer entry", payload);
    wire::encode(&(Bytes::copy_from_slice(payload), signature)).to_vec()
}

/// A hello with this entry.
pub(crate) fn hello(version: u16, network: NetworkId, serial: u64, entry: &[u8]) -> Vec<u8> {
    let mut payload = wire::encode(&(version, network, serial)).to_vec();
    payload.extend_from_slice(entry);
    payload
}

/// An entry as an item of a frame.
pub(crate) fn item(entry: &[u8]) -> Vec<u8> {
    [&[0], entry].concat()
}
