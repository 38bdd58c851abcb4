//! Entries of a group's own: not commands of users, and not counted as such.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ids::PeerId, raft::Lineage, wire};

/// What a [`Kind::Control`](crate::raft::Kind::Control) entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Control {
    /// Opens a session, named by the place of this entry (GRP-30).
    OpenSession {
        /// Whose.
        peer: PeerId,
        /// Tells openings of one peer apart.
        nonce: u64,
    },
    /// So many numbers of the run's origin are used up by nothing (GRP-33).
    Skip {
        /// How many.
        count: u32,
    },
    /// A snapshot is frozen here (GRP-41).
    Mark,
    /// States are compared here (GRP-48).
    Compare,
    /// The first own entry of a lineage made from another: sessions of that one end here (GRP-37).
    Fork {
        /// What it was made from.
        from: Lineage,
    },
    /// The operator ended this lineage for another (GRP-14): who applies this leaves it.
    Yield {
        /// The one that stays.
        to: Lineage,
    },
}

impl Control {
    /// As an entry holds it.
    pub(super) fn encode(&self) -> Bytes {
        wire::encode(self)
    }

    /// What an entry holds; `None` if this version does not know it. Such an entry changes nothing.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        wire::decode(data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_round_trip() {
        let all = [
            Control::OpenSession { peer: PeerId::from_bytes([7; 32]), nonce: 9 },
            Control::Skip { count: 300 },
            Control::Mark,
            Control::Compare,
            Control::Fork { from: Lineage([1; 16]) },
            Control::Yield { to: Lineage([2; 16]) },
        ];
        for control in all {
            assert_eq!(Control::decode(&control.encode()), Some(control));
        }
        assert_eq!(Control::decode(&[99]), None);
    }
}
