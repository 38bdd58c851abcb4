//! Who takes part: a few peers, what they signed, and the stream they talk about.

use core::net::SocketAddr;
use std::sync::LazyLock;

use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::{EndpointAddr, LocalEntry, SignedPeerEntry, Tombstone},
    ids::{StreamId, Tag, TicketClass},
    tickets::Ticket,
    time::UnixMillis,
};

/// Wall time when a run starts.
pub const WALL: u64 = 1_000_000_000;
/// All peers; the last is the node itself.
pub const PEERS: usize = 8;
/// The index of the node itself.
pub const ME: usize = PEERS - 1;
/// Entries of each peer.
pub const VERSIONS: usize = 6;

static ALL: LazyLock<Vec<Peer>> = LazyLock::new(|| (0..PEERS).map(Peer::new).collect());

pub struct Peer {
    pub id: PeerId,
    key: SecretKey,
    pub entries: Vec<SignedPeerEntry>,
    pub tombstones: Vec<Tombstone>,
}

pub fn peer(at: usize) -> &'static Peer {
    &ALL[at % PEERS]
}

pub fn network() -> NetworkId {
    NetworkId::from("test")
}

pub fn stream() -> StreamId {
    StreamId::from("s")
}

/// The editable entry of the node under test.
pub fn me() -> LocalEntry {
    LocalEntry::new(network(), peer(ME).key.clone(), UnixMillis(WALL))
}

impl Peer {
    fn new(at: usize) -> Self {
        let key = SecretKey::from_bytes(&[at as u8 + 1; 32]);
        let mut local = LocalEntry::new(network(), key.clone(), UnixMillis(WALL));
        let mut entries = vec![local.signed().clone()];
        let edited = local.edit(UnixMillis(WALL), |draft| {
            draft.streams().insert(stream());
        });
        assert_eq!(edited, Ok(true));
        entries.push(local.signed().clone());
        let edited = local.edit(UnixMillis(WALL + 1_000), |draft| {
            draft.addrs().extend([1, 2].map(|n| SocketAddr::from(([127, 0, 0, n], 9))));
            draft.tags().extend((0..40u8).map(|n| Tag::from_bytes([n; 32])));
            draft.add_ticket(Ticket::new(TicketClass::from("pass"), vec![7; 100].into()));
        });
        assert_eq!(edited, Ok(true));
        entries.push(local.signed().clone());
        let tombstones = entries_end(&local);
        // Started later; of another network; dated far ahead.
        let others = [
            (network(), WALL + 5_000),
            (NetworkId::from("other"), WALL),
            (network(), u64::MAX >> 1),
        ];
        entries.extend(others.map(|(network, wall)| {
            LocalEntry::new(network, key.clone(), UnixMillis(wall)).signed().clone()
        }));
        assert_eq!(entries.len(), VERSIONS);
        Self { id: key.public(), key, entries, tombstones }
    }

    pub fn address(&self) -> EndpointAddr {
        EndpointAddr::new(self.id, [([127, 0, 0, 1], 7).into()])
    }
}

/// Farewells: now, and dated far ahead.
fn entries_end(local: &LocalEntry) -> Vec<Tombstone> {
    [WALL, u64::MAX >> 1].map(|wall| local.depart(UnixMillis(wall))).into()
}
