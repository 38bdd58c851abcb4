//! How a group was configured, as its handles show it.

use std::{fmt, sync::Arc};

use mosaik_proto::{
    discovery::SignedPeerEntry,
    groups::{ConsensusConfig, GroupKey},
    ids::GroupId,
    raft::Founders,
    tickets::{Expiration, InvalidTicket, TicketValidator, validate_all},
};

use crate::handle::shared::Clock;

/// How a group was configured at this member.
#[derive(Clone)]
pub struct GroupConfig {
    pub(crate) id: GroupId,
    pub(crate) key: GroupKey,
    pub(crate) timing: ConsensusConfig,
    pub(crate) validators: Vec<Arc<dyn TicketValidator>>,
    pub(crate) max_voters: usize,
    pub(crate) founders: Founders,
    pub(crate) durable: bool,
    pub(crate) clock: Clock,
}

impl GroupConfig {
    /// The group.
    #[must_use]
    pub const fn group_id(&self) -> &GroupId {
        &self.id
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &GroupKey {
        &self.key
    }

    /// Its timing.
    #[must_use]
    pub const fn consensus(&self) -> &ConsensusConfig {
        &self.timing
    }

    /// What tickets members need.
    #[must_use]
    pub fn auth(&self) -> &[Arc<dyn TicketValidator>] {
        &self.validators
    }

    /// Seats that the leader fills.
    #[must_use]
    pub const fn max_voters(&self) -> usize {
        self.max_voters
    }

    /// Who must be there before the first command is taken.
    #[must_use]
    pub const fn founders(&self) -> &Founders {
        &self.founders
    }

    /// True if this member has a store that survives its process.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether a peer has the tickets that members need, and until when.
    ///
    /// # Errors
    /// [`InvalidTicket`] if one is missing.
    pub fn authorize_peer(
        &self,
        peer: &SignedPeerEntry,
    ) -> Result<Option<Expiration>, InvalidTicket> {
        if self.validators.is_empty() {
            return Ok(None);
        }
        let now = self.clock.now().wall;
        validate_all(&self.validators, peer.entry(), now).map(Some)
    }
}

impl fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConfig")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("consensus", &self.timing)
            .field("max_voters", &self.max_voters)
            .field("founders", &self.founders)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
