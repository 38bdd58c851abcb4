//! (placeholder while the seam is drawn)
use crate::{discovery::PeerEntry, ids::PeerId};

/// Everything known about peers.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    peers: alloc::collections::BTreeMap<PeerId, PeerEntry>,
}

impl Catalog {
    /// The visible entry of a peer: signed, or else unsigned.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<&PeerEntry> {
        self.peers.get(peer)
    }

    /// All visible entries of others in the order of their ids, unsigned ones included.
    pub fn peers(&self) -> impl Iterator<Item = &PeerEntry> {
        self.peers.values()
    }
}
