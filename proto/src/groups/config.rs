//! How a group behaves, and what one member brings along.

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use crate::{
    Digest, ids::GroupId, limits, raft::Founders, streams::Predicate, tickets::TicketValidator,
};

/// The timing of a group. Heartbeat settings are part of the group's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsensusConfig {
    /// How often an idle leader is heard.
    pub heartbeat_interval: Duration,
    /// Not used: kept because it is part of the id.
    pub heartbeat_jitter: Duration,
    /// Not used: kept because it is part of the id.
    pub max_missed_heartbeats: u32,
    /// Silence of the leader after which a follower asks for votes, at least.
    pub election_timeout: Duration,
    /// Added at random to `election_timeout`.
    pub election_timeout_jitter: Duration,
    /// How long a member that meets nobody waits, besides an election timeout, before it founds.
    pub bootstrap_delay: Duration,
    /// How long a member waits for the leader's word on a forwarded command before it sends it again.
    pub forward_timeout: Duration,
    /// How long a linearizable read may take.
    pub query_timeout: Duration,
    /// How long a command may take, from the call to its outcome.
    pub command_timeout: Duration,
    /// Silence after which a voter is replaced, or dropped if enough others are left.
    pub dead_voter_timeout: Duration,
    /// How long a leaving member tries to hand over.
    pub leave_timeout: Duration,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_jitter: Duration::from_millis(150),
            max_missed_heartbeats: 10,
            election_timeout: Duration::from_secs(2),
            election_timeout_jitter: Duration::from_millis(500),
            bootstrap_delay: Duration::from_secs(3),
            forward_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(30),
            dead_voter_timeout: Duration::from_secs(60),
            leave_timeout: Duration::from_secs(1),
        }
    }
}

/// One member's part in a group.
#[derive(Clone)]
pub struct GroupConfig {
    /// The group: what all members agree on, hashed.
    pub id: GroupId,
    /// The secret that members prove to each other. Never sent.
    pub secret: Digest,
    /// May vote, lead and write. A member that may not stays a learner for ever.
    pub can_vote: bool,
    /// True if there is a store: then [`Input::Loaded`](super::Input::Loaded) comes first.
    pub durable: bool,
    /// True if the machine can be frozen and restored: then the log is compacted.
    pub snapshots: bool,
    /// Bytes of the log, besides the tail, at which the machine is frozen.
    pub snapshot_after: u64,
    /// Bytes of the log that a snapshot covers and that are kept nevertheless.
    pub log_tail: u64,
    /// True if the machine can tell a digest of its state: then states are compared.
    pub digests: bool,
    /// True if the host can replace the machine by a new one when its history was lost.
    pub restartable: bool,
    /// The timing.
    pub timing: ConsensusConfig,
    /// Seats that the leader fills.
    pub max_voters: usize,
    /// Who must be there before the first command is taken.
    pub founders: Founders,
    /// Whom this member bonds with.
    pub require: Predicate,
    /// What tickets others need to be bonded with.
    pub validators: Vec<Arc<dyn TicketValidator>>,
}

impl GroupConfig {
    /// The defaults: a voter in memory, with everybody.
    #[must_use]
    pub fn new(id: GroupId, secret: Digest) -> Self {
        Self {
            id,
            secret,
            can_vote: true,
            durable: false,
            snapshots: false,
            snapshot_after: limits::SNAPSHOT_AFTER_BYTES,
            log_tail: limits::LOG_TAIL_BYTES,
            digests: false,
            restartable: false,
            timing: ConsensusConfig::default(),
            max_voters: limits::MAX_VOTERS,
            founders: Founders::Anybody,
            require: Predicate::everybody(),
            validators: Vec::new(),
        }
    }
}

impl fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConfig")
            .field("id", &self.id)
            .field("can_vote", &self.can_vote)
            .field("durable", &self.durable)
            .field("snapshots", &self.snapshots)
            .field("founders", &self.founders)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}
