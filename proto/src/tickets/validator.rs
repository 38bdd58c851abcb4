//! Who judges tickets, and how several verdicts become one.

use alloc::{boxed::Box, sync::Arc};

use super::Expiration;
use crate::{
    discovery::PeerEntry,
    ids::{TicketClass, UniqueId},
    time::UnixMillis,
};

/// The ticket is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ticket was refused")]
pub struct InvalidTicket;

/// Judges the tickets of one class.
///
/// Called inside a protocol step: it must be quick, must not block and must not do I/O. A panic is
/// caught by the driver and counts as a refusal.
pub trait TicketValidator: Send + Sync + 'static {
    /// The class of tickets that this validator judges.
    fn class(&self) -> TicketClass;

    /// Identifies the validator together with its configuration.
    fn signature(&self) -> UniqueId;

    /// Judges one ticket of `peer`, and says until when it is good.
    ///
    /// # Errors
    /// [`InvalidTicket`] if the ticket is not acceptable.
    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket>;

    /// As [`validate`](Self::validate), at the wall time of the step. Validators that compare
    /// times override this one, so that they follow simulated clocks too.
    ///
    /// # Errors
    /// [`InvalidTicket`] if the ticket is not acceptable.
    fn validate_at(
        &self,
        ticket: &[u8],
        peer: &PeerEntry,
        now: UnixMillis,
    ) -> Result<Expiration, InvalidTicket> {
        let _ = now;
        self.validate(ticket, peer)
    }
}

macro_rules! forward {
    ($pointer:ident) => {
        impl<T: TicketValidator + ?Sized> TicketValidator for $pointer<T> {
            fn class(&self) -> TicketClass {
                (**self).class()
            }
            fn signature(&self) -> UniqueId {
                (**self).signature()
            }
            fn validate(&self, t: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
                (**self).validate(t, peer)
            }
            fn validate_at(
                &self,
                t: &[u8],
                peer: &PeerEntry,
                now: UnixMillis,
            ) -> Result<Expiration, InvalidTicket> {
                (**self).validate_at(t, peer, now)
            }
        }
    };
}

forward!(Box);
forward!(Arc);

/// Whether `peer` satisfies all `validators` at `now`, and until when: the earliest of their
/// verdicts, each of which is the latest among the tickets of its class. Verdicts that are
/// already over do not count.
///
/// # Errors
/// [`InvalidTicket`] if one validator accepts none of the peer's tickets.
pub fn validate_all(
    validators: &[Arc<dyn TicketValidator>],
    peer: &PeerEntry,
    now: UnixMillis,
) -> Result<Expiration, InvalidTicket> {
    let mut earliest = Expiration::Never;
    for validator in validators {
        let best = peer
            .tickets_of(validator.class())
            .filter_map(|ticket| validator.validate_at(&ticket.data, peer, now).ok())
            .filter(|verdict| !verdict.is_expired_at(now))
            .max()
            .ok_or(InvalidTicket)?;
        earliest = earliest.min(best);
    }
    Ok(earliest)
}
