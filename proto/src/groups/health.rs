//! What handles see of a group: its members, its health.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::{Cursor, Index, StoreFault};
use crate::{
    ids::PeerId,
    raft::{Lag, Lineage, Role, Seat, Term},
};

/// A member, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub seat: Seat,
    /// Can be reached, or is this node.
    pub linked: bool,
    /// How far it is; known to the leader only.
    pub lag: Option<Lag>,
}

/// What one member knows of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What this member does.
    pub role: Role,
    /// May vote and lead.
    pub can_vote: bool,
    /// The term.
    pub term: Term,
    /// Who leads.
    pub leader: Option<PeerId>,
    /// This member's seat.
    pub seat: Option<Seat>,
    /// The history that it takes part in.
    pub lineage: Option<Lineage>,
    /// What that history was made from, by [`Input::Recover`](super::Input::Recover) or from a copy in
    /// memory. A member that joined or started behind the entry that says so does not know.
    pub forked_from: Option<(Lineage, Index)>,
    /// The voters in force.
    pub voters: Vec<Member>,
    /// Members that copy the log; known to the leader only.
    pub learners: Vec<Member>,
    /// Whom this member is bonded with.
    pub bonds: BTreeSet<PeerId>,
    /// The end of the log.
    pub log: Cursor,
    /// The last command known to be committed.
    pub committed: Index,
    /// The last command that survives a crash of this member.
    pub durable: Index,
    /// Writes and linearizable reads work here, as far as this member knows.
    pub online: bool,
    /// Why not.
    pub blocked: Option<Blocked>,
    /// How many voters may crash without a stop.
    pub tolerates: usize,
}

/// Why a group is not online at a member, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Blocked {
    /// The store is being opened.
    #[error("the store is being opened")]
    Loading,
    /// Nobody else was met: a group is founded when the bootstrap delay is over.
    #[error("nobody else was met yet")]
    Alone,
    /// No leader is known; an election is under way or due.
    #[error("no leader is known")]
    NoLeader,
    /// Too few voters are linked.
    #[error(
        "{linked} voters are linked, {needed} are needed: if the others are gone for good, call recover on \
         the most advanced survivor"
    )]
    NoQuorum {
        /// How many are.
        linked: usize,
        /// How many must be.
        needed: usize,
    },
    /// The log or a snapshot is being fetched.
    #[error("catching up")]
    CatchingUp,
    /// Founders are missing; commands are refused.
    #[error("not all founders are there")]
    Founders,
    /// Another lineage is established too: an operator must name the one that stays.
    #[error(
        "another history {0} of this group exists: call yield_to on the leader of the one to give up"
    )]
    Conflict(Lineage),
    /// So many voters lost their stores that nobody can be elected: an operator must call `recover`.
    #[error(
        "a majority of the voters lost their stores: call recover on the most advanced survivor"
    )]
    NeedsRecovery {
        /// Voters of which no seat that is listed is there: who is to be called gone.
        lost: Vec<PeerId>,
    },
    /// The machine failed, or its state is not that of the others, or its history was lost and it cannot
    /// begin anew: join again.
    #[error("the state machine serves no reads any more: {0}")]
    Fenced(String),
    /// The store failed. It is begun anew, if that helps; if this stays so, mend what is wrong and join
    /// again: meanwhile commands are rejected with
    /// [`Rejection::StoreFailed`](super::Rejection::StoreFailed), and linearizable reads fail.
    #[error("{0}; if this stays so, mend it and join again")]
    StoreFailed(StoreFault),
    /// The group is being left.
    #[error("the group is being left")]
    Leaving,
}
