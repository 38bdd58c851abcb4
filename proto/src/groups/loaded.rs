//! What a host finds in a store.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    Digest, PeerId,
    raft::{Kind, Membership, Seat, SeatId, Stored},
};

/// What a store held.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Names the store.
    pub seat: SeatId,
    /// The number of this start.
    pub boot: u64,
    /// The highest boot number seen of other seats.
    pub boots: Vec<(Seat, u64)>,
    /// What Raft starts with. The lineage is in its base.
    pub stored: Stored,
    /// Head and size of the snapshot that the log begins with ([`Output::Freeze`](super::Output::Freeze)).
    pub snapshot: Option<FrozenHead>,
}

/// A snapshot that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenHead {
    /// What this core put in front of the machine's bytes.
    pub head: Bytes,
    /// Size of all of it.
    pub bytes: u64,
    /// The digest of all of it.
    pub digest: Digest,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// What was durable is not there any more, or is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A write or sync failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// It is the part of another peer: what it holds is not touched, and this member takes no part
    /// until it is joined again with the key or the directory that belong together.
    #[error("the store belongs to {0}: start with the key of that peer, or elsewhere")]
    Foreign(PeerId),
}

impl Loaded {
    /// Whose store it is, as far as it says: the peer that has its seat in a set of voters or in a vote.
    /// Nobody, if it never was more than a learner's.
    pub(super) fn owner(&self) -> Option<PeerId> {
        let memberships = self.stored.runs.iter().filter(|run| run.kind == Kind::Membership);
        let logged =
            memberships.filter_map(|run| crate::wire::decode::<Membership>(&run.data).ok());
        let mut seats = self.stored.base.membership.seats();
        seats.extend(logged.flat_map(|membership| membership.seats()));
        seats.extend(self.stored.hard.vote);
        seats.into_iter().find(|seat| seat.id == self.seat).map(|seat| seat.peer)
    }
}
