//! Tickets: opaque credentials in a peer's signed entry, and who judges them.
//!
//! A ticket is a class and some bytes. Where a stream (later a function or a group) requires
//! tickets, each of its [`TicketValidator`]s must accept one ticket of its class: several
//! tickets of one class mean *any valid one*, several validators mean *all must pass*, and the
//! earliest expiry counts. Cores evaluate validators inside a step, so a validator may neither
//! block nor do I/O.

mod expiration;
mod leases;
mod validator;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use self::leases::Leases;
pub use self::{
    expiration::Expiration,
    validator::{InvalidTicket, TicketValidator, validate_all},
};
use crate::ids::{TicketClass, UniqueId};

/// An opaque credential. Public: it travels in the signed entry of its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The kind of ticket, which selects the validator.
    pub class: TicketClass,
    /// What the validator of that class reads.
    pub data: Bytes,
}

impl Ticket {
    /// A ticket of `class` with `data`.
    #[must_use]
    pub const fn new(class: TicketClass, data: Bytes) -> Self {
        Self { class, data }
    }

    /// The ticket's own id: `class.derive(data)`.
    #[must_use]
    pub fn id(&self) -> UniqueId {
        self.class.derive(&self.data)
    }

    /// The bytes that the validator reads.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }
}

impl core::fmt::Display for Ticket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Ticket({},{})", self.class, self.data.len() + 32)
    }
}
