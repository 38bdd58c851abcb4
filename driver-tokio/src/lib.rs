//! mosaik on tokio: the runtime adapter and the constructors. Everything else is in
//! `mosaik-driver`.

mod runtime;

use std::{fmt, ops::Deref};

use mosaik_driver::{Config, Error, Launch, quic::QuicTransport, start};
use mosaik_proto::NetworkId;

pub use runtime::{TokioRuntime, TokioTimer};

/// Configures a node on the tokio runtime of the caller.
pub type NetworkBuilder = mosaik_driver::NetworkBuilder<Tokio>;

/// Starts nodes on the tokio runtime that runs the caller.
#[derive(Clone, Copy, Debug)]
pub enum Tokio {}

impl Launch for Tokio {
    type Network = Network;

    fn launch(config: Config) -> Result<Network, Error> {
        let runtime = TokioRuntime::current();
        let transport = QuicTransport::bind(runtime.quinn(), config.key(), config.addrs())
            .map_err(Error::Bind)?;
        start(runtime, transport, config).map(Network)
    }
}

/// A running node on tokio. Dereferences to the neutral [`mosaik_driver::Network`], where its
/// methods are.
pub struct Network(mosaik_driver::Network);

impl Network {
    /// Starts a node with the defaults. Works without any network, within milliseconds.
    ///
    /// # Errors
    /// [`Error::Bind`] if no socket can be bound.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers and I/O enabled.
    pub async fn new(network: impl Into<NetworkId>) -> Result<Self, Error> {
        Self::builder(network).build().await
    }

    /// Configures a node.
    pub fn builder(network: impl Into<NetworkId>) -> NetworkBuilder {
        NetworkBuilder::new(network)
    }
}

impl Deref for Network {
    type Target = mosaik_driver::Network;

    fn deref(&self) -> &mosaik_driver::Network {
        &self.0
    }
}

impl AsRef<mosaik_driver::Network> for Network {
    fn as_ref(&self) -> &mosaik_driver::Network {
        &self.0
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
