//! When tickets end by the monotonic clock.

use alloc::{collections::BTreeMap, sync::Arc};
use core::time::Duration;

use super::{Expiration, InvalidTicket, TicketValidator, validate_all};
use crate::{
    discovery::PeerEntry,
    ids::PeerId,
    limits,
    time::{Instant, Now, UnixMillis},
};

/// Remembers, from the first look at a ticket on, when it ends: a wall clock that is set back extends
/// nothing (STR-11).
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// By the owner of the tickets and the moment that they name.
    ends: BTreeMap<(PeerId, UnixMillis), Instant>,
}

impl Leases {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { ends: BTreeMap::new() }
    }

    /// Whether a peer has the tickets, and until when.
    pub(crate) fn judge(
        &mut self,
        validators: &[Arc<dyn TicketValidator>],
        entry: &PeerEntry,
        now: Now,
    ) -> Result<Expiration, InvalidTicket> {
        let verdict = validate_all(validators, entry, now.wall)?;
        let Some(at) = verdict.unix_millis() else { return Ok(verdict) };
        let left = Duration::from_millis(at.0.saturating_sub(now.wall.0));
        let end = self.ends.entry((entry.id(), at)).or_insert(now.mono + left);
        *end = (*end).min(now.mono + left);
        let over = *end <= now.mono;
        if self.ends.len() > limits::LEASES {
            // The one that ends last is the least urgent to remember.
            let last = self.ends.iter().max_by_key(|(_, end)| **end).map(|(lease, _)| *lease);
            last.map(|lease| self.ends.remove(&lease));
        }
        if over { Err(InvalidTicket) } else { Ok(verdict) }
    }

    /// When tickets that are good until `expiration` have to be looked at again: on expiry, but at
    /// least once a second, because wall clocks jump.
    pub(crate) fn next_look(expiration: Expiration, now: Now) -> Option<Instant> {
        let at = expiration.unix_millis()?;
        let left = at.0.saturating_sub(now.wall.0).clamp(1, 1_000);
        Some(now.mono + Duration::from_millis(left))
    }
}
