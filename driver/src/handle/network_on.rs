//! A running node, and on which runtime it was started.

use std::{fmt, marker::PhantomData, ops::Deref};

use mosaik_proto::NetworkId;

use super::network::{Error, Launch, Network, NetworkBuilder};

/// A running node with the constructors of one runtime. Dereferences to the neutral [`Network`],
/// where its methods are; that is also what functions for nodes on any runtime take.
pub struct NetworkOn<L> {
    network: Network,
    launched: PhantomData<fn() -> L>,
}

impl<L: Launch> NetworkOn<L> {
    /// Starts a node with the defaults. Works without any network, within milliseconds.
    ///
    /// # Errors
    /// [`Error::Bind`] if no socket can be bound.
    ///
    /// # Panics
    /// On tokio outside of a tokio runtime with timers and I/O enabled; on smol never.
    pub async fn new(network: impl Into<NetworkId>) -> Result<Self, Error> {
        Self::builder(network).build().await
    }

    /// Configures a node.
    pub fn builder(network: impl Into<NetworkId>) -> NetworkBuilder<L> {
        NetworkBuilder::new(network)
    }
}

impl<L> NetworkOn<L> {
    pub(crate) const fn new_running(network: Network) -> Self {
        Self { network, launched: PhantomData }
    }
}

impl<L> Deref for NetworkOn<L> {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl<L> AsRef<Network> for NetworkOn<L> {
    fn as_ref(&self) -> &Network {
        &self.network
    }
}

impl<L> fmt::Debug for NetworkOn<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.network, f)
    }
}
