//! Identities: peers, digests and the small handles by which cores and drivers name things.

mod digest;
mod hex;
mod peer;

use core::fmt;

pub use self::{
    digest::Digest,
    hex::Hex,
    peer::{ParsePeerIdError, PeerId},
};

/// A 32-byte id derived from a name; the same type as [`Digest`].
pub type UniqueId = Digest;
/// A label that a peer advertises.
pub type Tag = Digest;
/// Names a network. Peers of different networks never talk.
pub type NetworkId = Digest;
/// Names a stream of one datum type.
pub type StreamId = Digest;
/// Names a callable function.
pub type FunctionId = Digest;
/// Names a group.
pub type GroupId = Digest;
/// Names a replicated collection.
pub type StoreId = Digest;
/// Names a kind of ticket and so the validator in charge.
pub type TicketClass = Digest;

macro_rules! handle_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

handle_id! {
    /// One connection to one peer, as named by the driver; never reused within a node's life.
    LinkId, "link"
}
handle_id! {
    /// One bidirectional byte channel on a link; never reused within a node's life.
    ///
    /// Even numbers are allocated by the core ([`ChannelId::core`]), odd ones by the driver
    /// ([`ChannelId::driver`]), so that both sides of that seam allocate without asking.
    ChannelId, "ch"
}
handle_id! {
    /// One request of the application, answered by exactly one reply unless cancelled.
    RequestId, "req"
}
handle_id! {
    /// A local producer.
    ProducerId, "prod"
}
handle_id! {
    /// A local consumer.
    ConsumerId, "cons"
}
handle_id! {
    /// One subscription between a producer and a consumer, as seen by one of its two ends.
    SubscriptionId, "sub"
}

impl ChannelId {
    /// The `n`-th id of the core.
    #[must_use]
    pub const fn core(n: u64) -> Self {
        Self(n << 1)
    }

    /// The `n`-th id of the driver.
    #[must_use]
    pub const fn driver(n: u64) -> Self {
        Self((n << 1) | 1)
    }
}

/// Which end of a link or channel we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// We dialled or opened it.
    Dialer,
    /// The other end dialled or opened it.
    Listener,
}
