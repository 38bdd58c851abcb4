//! mosaik on tokio: the runtime adapter and the constructors. Everything else is in
//! `mosaik-driver`.

mod runtime;
mod socket;

use mosaik_driver::{Config, Error, Launch, quic::QuicTransport, start};
use tokio::runtime::Handle;

pub use runtime::{TokioRuntime, TokioTimer};

/// A running node on tokio.
pub type Network = mosaik_driver::NetworkOn<Tokio>;

/// Configures a node on tokio.
pub type NetworkBuilder = mosaik_driver::NetworkBuilder<Tokio>;

/// Starts nodes on a tokio runtime; by default on the one that runs the caller.
#[derive(Clone, Debug, Default)]
pub struct Tokio {
    handle: Option<Handle>,
}

impl Tokio {
    /// This runtime, whose timers and I/O must be enabled.
    #[must_use]
    pub const fn on(handle: Handle) -> Self {
        Self { handle: Some(handle) }
    }
}

impl Launch for Tokio {
    fn launch(self, config: Config) -> Result<mosaik_driver::Network, Error> {
        let runtime = self.handle.map_or_else(TokioRuntime::current, TokioRuntime::with_handle);
        let transport = QuicTransport::bind(runtime.quinn(), config.key(), config.addrs())
            .map_err(Error::Bind)?;
        start(runtime, transport, config)
    }
}
