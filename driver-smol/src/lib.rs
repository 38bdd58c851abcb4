//! mosaik on smol: the runtime adapter and the constructors. Everything else is in
//! `mosaik-driver`.
//!
//! Sockets and timers are those of `async-io`, as everywhere in the world of smol. Tasks run on a
//! pool of a few threads that all nodes of the process share, or where [`Smol`] is told; so a node
//! starts anywhere: in `smol::block_on`, in a task of `smol::spawn`, in any other executor.

mod pool;
mod runtime;
mod socket;
mod tasks;
mod timer;

use std::{future::Future, pin::Pin, sync::Arc};

use mosaik_driver::{Config, Error, Launch, quic::QuicTransport, start};

pub use async_executor::Executor;
pub use async_io::block_on;
pub use runtime::{SmolRuntime, SmolTimer};

use crate::tasks::Tasks;

/// A running node on smol.
pub type Network = mosaik_driver::NetworkOn<Smol>;

/// Configures a node on smol.
pub type NetworkBuilder = mosaik_driver::NetworkBuilder<Smol>;

/// Starts nodes on smol. By default their tasks run on a pool that all nodes of the process share,
/// with as many threads as there are processors, at most four; the environment variable
/// `MOSAIK_SMOL_THREADS` sets another number. The threads start with the first node.
///
/// ```
/// use std::sync::Arc;
///
/// use mosaik_driver_smol::{Executor, Network, Smol, block_on};
///
/// let executor = Arc::new(Executor::new());
/// block_on(executor.run(async {
///     // All of this node runs here, in one thread.
///     let here = Smol::on(Arc::clone(&executor));
///     let network = Network::builder("my-app").with_runtime(here).build().await.unwrap();
///     network.shutdown().await;
/// }));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Smol {
    tasks: Tasks,
}

impl Smol {
    /// Tasks of the node run on this executor. The node stands still while nobody runs it.
    #[must_use]
    pub fn on(executor: Arc<Executor<'static>>) -> Self {
        Self { tasks: Tasks::Executor(executor) }
    }

    /// Tasks of the node run where this function puts them, for instance
    /// `|task| smol::spawn(task).detach()`.
    #[must_use]
    pub fn spawning(
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        Self { tasks: Tasks::Function(Arc::new(spawn)) }
    }

    /// The runtime on which nodes are started by this value.
    #[must_use]
    pub fn runtime(self) -> SmolRuntime {
        SmolRuntime::new(self.tasks)
    }
}

impl Launch for Smol {
    fn launch(self, config: Config) -> Result<mosaik_driver::Network, Error> {
        let runtime = self.runtime();
        let transport = QuicTransport::bind(runtime.quinn(), config.key(), config.addrs())
            .map_err(Error::Bind)?;
        start(runtime, transport, config)
    }
}
