//! The frames of discovery on the control channel: kinds, limits, and how they are cut.
//!
//! Lists have no length in front: items repeat until the payload ends, so nothing is ever
//! allocated from a number that a peer announced (DISC-22).

use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{PeerEntryVersion, Tombstone, UnverifiedEntry};
use crate::{
    ids::PeerId,
    limits,
    wire::{self, DecodeError},
};

/// The versions that the initiator of a sync holds in a range of ids.
pub const HAVE: u8 = 16;
/// The ids that the responder of a sync wants.
pub const NEED: u8 = 17;
/// Entries and tombstones.
pub const ITEMS: u8 = 18;
/// The initiator has sent all that was needed.
pub const DONE: u8 = 19;
/// The responder has merged all that was sent.
pub const SYNCED: u8 = 20;
/// The sender could not reach a peer for too long.
pub const SUSPECT: u8 = 21;
/// The fingerprint of all that the initiator of a sync holds, in place of a long list.
pub const PROBE: u8 = 22;
/// The fingerprints differ: the responder needs the list.
pub const LIST: u8 = 23;

/// The longest payload of a frame of discovery; `None` for kinds that are not ours.
#[must_use]
pub const fn limit(kind: u8) -> Option<u32> {
    match kind {
        HAVE | NEED | ITEMS => Some(limits::SYNC_FRAME_BYTES),
        DONE | SYNCED | LIST => Some(10),
        PROBE => Some(10 + 19),
        SUSPECT => Some(32 + 10 + 10),
        _ => None,
    }
}

/// An item of the replicated state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Item {
    /// An entry, not yet believed.
    Entry(UnverifiedEntry),
    /// A departure, not yet believed.
    Tombstone(Tombstone),
}

impl Item {
    /// Whom it claims to be about.
    pub(super) fn peer(&self) -> PeerId {
        match self {
            Self::Entry(entry) => entry.id(),
            Self::Tombstone(tombstone) => tombstone.peer(),
        }
    }

    /// The version that it claims, and whether it ends it.
    pub(super) fn rank(&self) -> (PeerEntryVersion, bool) {
        match self {
            Self::Entry(entry) => (entry.version(), false),
            Self::Tombstone(tombstone) => (tombstone.version(), true),
        }
    }
}

/// How the sender of a list holds a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Listed {
    /// It has the entry.
    Entry,
    /// It has the tombstone.
    Tombstone,
    /// It has the entry but could not reach the peer.
    Down,
    /// It neither has nor wants this version.
    Floor,
}

/// The front of a `Have`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    /// Names the round.
    pub(super) nonce: u64,
    /// The range begins behind this id.
    pub(super) after: Option<PeerId>,
    /// The range ends with this id.
    pub(super) upto: Option<PeerId>,
    /// No other range follows in this round.
    pub(super) last: bool,
}

/// One element of a `Have`.
pub(super) type Holding = (PeerId, PeerEntryVersion, Listed);

/// A frame of discovery.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Have { range: Range, holdings: Vec<Holding> },
    Need { nonce: u64, last: bool, peers: Vec<PeerId> },
    Items(Vec<Item>),
    Done(u64),
    Synced(u64),
    Probe { nonce: u64, fingerprint: u128 },
    List(u64),
    Suspect { peer: PeerId, version: PeerEntryVersion },
}

impl Message {
    /// True if the sender says in it that it leaves.
    pub(super) fn is_farewell_of(&self, sender: &PeerId) -> bool {
        let farewell = |item: &Item| match item {
            Item::Tombstone(tombstone) => tombstone.peer() == *sender && tombstone.verify(),
            Item::Entry(_) => false,
        };
        matches!(self, Self::Items(items) if items.iter().any(farewell))
    }

    /// Reads a frame. Everything in it must be of the layout, up to the last byte (DISC-22).
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            HAVE => {
                let (range, rest): (Range, _) = wire::decode_first(payload)?;
                let holdings: Vec<Holding> = repeated(rest)?;
                in_order(&range, &holdings)
                    .then_some(Self::Have { range, holdings })
                    .ok_or(DecodeError)
            }
            NEED => {
                let ((nonce, last), rest) = wire::decode_first(payload)?;
                Ok(Self::Need { nonce, last, peers: repeated(rest)? })
            }
            ITEMS => repeated(payload).map(Self::Items),
            DONE => wire::decode(payload).map(Self::Done),
            SYNCED => wire::decode(payload).map(Self::Synced),
            PROBE => {
                wire::decode(payload).map(|(nonce, fingerprint)| Self::Probe { nonce, fingerprint })
            }
            LIST => wire::decode(payload).map(Self::List),
            SUSPECT => wire::decode(payload).map(|(peer, version)| Self::Suspect { peer, version }),
            _ => Err(DecodeError),
        }
    }
}

/// The payload of a `Suspect`.
pub(super) fn suspect(peer: PeerId, version: PeerEntryVersion) -> Bytes {
    wire::encode(&(peer, version))
}

/// The payload of a `Need`.
pub(super) fn need(nonce: u64, last: bool, peers: &[PeerId]) -> Bytes {
    let mut payload = Vec::with_capacity(16 + peers.len() * 32);
    wire::encode_into(&(nonce, last), &mut payload);
    peers.iter().for_each(|peer| wire::encode_into(peer, &mut payload));
    payload.into()
}

/// Values until the payload ends.
fn repeated<T: serde::de::DeserializeOwned>(mut rest: &[u8]) -> Result<Vec<T>, DecodeError> {
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (value, behind) = wire::decode_first(rest)?;
        if behind.len() == rest.len() {
            return Err(DecodeError);
        }
        values.push(value);
        rest = behind;
    }
    Ok(values)
}

/// True if the ids of a list rise and stay within the range that it claims to cover.
fn in_order(range: &Range, holdings: &[Holding]) -> bool {
    let mut before = range.after;
    let rising = holdings.iter().all(|(peer, ..)| {
        let rises = before.is_none_or(|before| before < *peer);
        before = Some(*peer);
        rises
    });
    rising && range.upto.is_none_or(|upto| before.is_none_or(|last| last <= upto))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// DISC-22: no payload makes decoding panic, and what is read accounts for every byte.
        #[test]
        fn disc_22_any_payload_is_read_or_refused(
            kind in 0u8..=255, payload in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            if limit(kind).is_none() {
                prop_assert!(Message::decode(kind, &payload).is_err());
            } else {
                let _ = Message::decode(kind, &payload);
            }
        }
    }

    #[test]
    fn disc_22_a_list_out_of_order_or_range_is_refused() {
        let peer = |n| PeerId::from_bytes([n; 32]);
        let have = |after, upto, peers: &[u8]| {
            let mut payload = Vec::new();
            let range = Range { nonce: 1, after, upto, last: false };
            wire::encode_into(&range, &mut payload);
            for n in peers {
                let holding = (peer(*n), PeerEntryVersion::default(), Listed::Entry);
                wire::encode_into(&holding, &mut payload);
            }
            Message::decode(HAVE, &payload).is_ok()
        };
        assert!(have(None, None, &[1, 2, 3]));
        assert!(have(Some(peer(1)), Some(peer(3)), &[2, 3]));
        assert!(!have(None, None, &[2, 2]));
        assert!(!have(None, None, &[3, 2]));
        assert!(!have(Some(peer(2)), None, &[2, 3]));
        assert!(!have(None, Some(peer(2)), &[2, 3]));
        assert!(!have(Some(peer(3)), Some(peer(2)), &[]));
    }
}
