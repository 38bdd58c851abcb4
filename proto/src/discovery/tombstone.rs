//! A departure that nobody can take back.

use serde::{Deserialize, Serialize};

use super::PeerEntryVersion;
use crate::{
    crypto::{SecretKey, Signature},
    ids::{NetworkId, PeerId},
    time::UnixMillis,
    wire,
};

const DOMAIN: &str = "mosaik v1 peer departure";

/// A peer's signed statement that it left: all its versions up to this one are over.
///
/// It outlives every copy of the entry, so no sync can bring the dead back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    network: NetworkId,
    peer: PeerId,
    version: PeerEntryVersion,
    wall: UnixMillis,
    signature: Signature,
}

impl Tombstone {
    pub(super) fn sign(
        network: NetworkId,
        version: PeerEntryVersion,
        wall: UnixMillis,
        key: &SecretKey,
    ) -> Self {
        let peer = key.public();
        let signature = key.sign(DOMAIN, &wire::encode(&(network, peer, version, wall)));
        Self { network, peer, version, wall, signature }
    }

    /// Who left.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// The network that it left.
    #[must_use]
    pub const fn network_id(&self) -> &NetworkId {
        &self.network
    }

    /// The last version that is over.
    #[must_use]
    pub const fn version(&self) -> PeerEntryVersion {
        self.version
    }

    /// When it left, by its own clock.
    #[must_use]
    pub const fn wall(&self) -> UnixMillis {
        self.wall
    }

    /// True if the peer itself signed this. All fields are of fixed meaning and size, so here the
    /// re-encoding *is* canonical.
    #[must_use]
    pub fn verify(&self) -> bool {
        let message = wire::encode(&(self.network, self.peer, self.version, self.wall));
        self.signature.verify(&self.peer, DOMAIN, &message)
    }
}
