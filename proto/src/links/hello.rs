//! The hello: what both ends say before anything else.

use bytes::Bytes;

use crate::{
    discovery::{SignedPeerEntry, UnverifiedEntry},
    ids::{NetworkId, PeerId},
    limits,
    wire::{self, CloseCode, PROTOCOL_VERSION},
};

/// Frame kind of a [`Hello`].
pub(super) const HELLO: u8 = 1;
/// Frame kind of the dialler's word that it admitted the listener. Empty.
pub(super) const READY: u8 = 2;

/// The limits of the frames of this file.
pub(super) const fn limit(kind: u8) -> Option<u32> {
    match kind {
        HELLO => Some(limits::HELLO_BYTES),
        READY => Some(0),
        _ => None,
    }
}

/// The limit of a frame, given what this node takes as a hello.
pub(super) fn local_limit(kind: u8, limit: u32, hello_bytes: u32) -> u32 {
    if kind == HELLO { limit.min(hello_bytes) } else { limit }
}

/// Why a hello was refused: the code with which the link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) CloseCode);

/// A hello that passed all checks.
#[derive(Debug)]
pub(super) struct Hello {
    /// Orders the hellos of one incarnation.
    pub(super) serial: u64,
    /// What the peer says of itself, signed by the key that the transport proved.
    pub(super) entry: SignedPeerEntry,
}

impl Hello {
    pub(super) fn encode(network: &NetworkId, serial: u64, entry: &SignedPeerEntry) -> Bytes {
        wire::encode(&(PROTOCOL_VERSION, network, serial, entry))
    }

    /// LINK-01: version, then network, then the entry of exactly this peer, within the limits.
    pub(super) fn check(
        payload: &[u8],
        network: &NetworkId,
        peer: &PeerId,
    ) -> Result<Self, Refusal> {
        let violation = |_| Refusal(CloseCode::PROTOCOL_VIOLATION);
        let (version, rest) = wire::decode_first::<u16>(payload).map_err(violation)?;
        if version != PROTOCOL_VERSION {
            return Err(Refusal(CloseCode::VERSION_MISMATCH));
        }
        let (theirs, rest) = wire::decode_first::<NetworkId>(rest).map_err(violation)?;
        if theirs != *network {
            return Err(Refusal(CloseCode::DIFFERENT_NETWORK));
        }
        let (serial, entry) = wire::decode::<(u64, UnverifiedEntry)>(rest).map_err(violation)?;
        let claimed = entry.claimed();
        let fits = claimed.id() == *peer
            && claimed.network_id() == network
            && claimed.check_limits().is_ok();
        let entry = Some(entry).filter(|_| fits).and_then(UnverifiedEntry::verify);
        entry.map(|entry| Self { serial, entry }).ok_or(Refusal(CloseCode::PROTOCOL_VIOLATION))
    }
}
