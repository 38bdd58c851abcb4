//! Who may be a member.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use super::{
    GroupConfig,
    context::{Cx, Timer},
};
use crate::{
    discovery::{PeerEntry, PeerInfo},
    ids::GroupId,
    streams::Predicate,
    tickets::{Leases, TicketValidator},
    wire::CloseCode,
};

/// Judges peers by predicate and tickets.
pub(super) struct Gate {
    group: GroupId,
    require: Predicate,
    validators: Vec<Arc<dyn TicketValidator>>,
}

impl Gate {
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            group: config.id,
            require: config.require.clone(),
            validators: config.validators.clone(),
        }
    }

    /// GRP-04: whether a peer may be a member, or go on to be one. Sets the time of the next look.
    pub(super) fn judge(&self, entry: &PeerEntry, cx: &mut Cx<'_>) -> Result<(), CloseCode> {
        let info = PeerInfo::new(entry.clone(), cx.env.paths.rtt(&entry.id()));
        if !self.require.accepts(&info) {
            return Err(CloseCode::GROUP_NOT_ALLOWED);
        }
        if self.validators.is_empty() {
            return Ok(());
        }
        let now = cx.env.now;
        let verdict = cx.shared.leases.judge(&self.validators, entry, now);
        let until = verdict.map_err(|_| CloseCode::GROUP_NOT_ALLOWED)?;
        cx.set_timer(Timer::Tickets(self.group, entry.id()), Leases::next_look(until, now));
        Ok(())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} validators)", self.validators.len())
    }
}
