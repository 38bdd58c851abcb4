//! Where nodes and the program around them run: a runtime that is chosen while the bench runs.

use std::{
    future::{Future, pending},
    net::SocketAddr,
    sync::Arc,
    thread,
};

use mosaik::{
    NetworkId,
    discovery::ConfigBuilder,
    driver::{Launch, Network, NetworkOn},
    network::Tokio,
};
use mosaik_driver_smol::{Executor, Smol, block_on};
use mosaik_driver_tokio::TokioRuntime;
use tokio::{runtime::Handle, sync::oneshot};

/// A node on any runtime; it stops when this is dropped.
pub(crate) type Node = Box<dyn AsRef<Network> + Send + Sync>;

/// A runtime for nodes and loops.
#[derive(Clone)]
pub(crate) struct Home {
    on: On,
    tasks: Arc<dyn quinn::Runtime>,
}

#[derive(Clone)]
enum On {
    Tokio(Tokio),
    Smol(Smol),
}

impl Home {
    /// This runtime of tokio.
    pub(crate) fn tokio(handle: Handle) -> Self {
        let tasks = TokioRuntime::with_handle(handle.clone()).quinn();
        Self { on: On::Tokio(Tokio::on(handle)), tasks }
    }

    /// smol with the pool that is the default, or with one thread.
    pub(crate) fn smol(one: bool) -> Self {
        let smol = if one {
            let executor = Arc::new(Executor::new());
            let here = Arc::clone(&executor);
            thread::spawn(move || block_on(here.run(pending::<()>())));
            Smol::on(executor)
        } else {
            Smol::default()
        };
        Self { tasks: smol.clone().runtime().quinn(), on: On::Smol(smol) }
    }

    /// Starts a node on a port of loopback.
    pub(crate) async fn node(&self, network: NetworkId, discovery: ConfigBuilder) -> Node {
        match self.on.clone() {
            On::Tokio(tokio) => node(network, discovery, tokio).await,
            On::Smol(smol) => node(network, discovery, smol).await,
        }
    }

    /// Runs a task there. It goes on if nobody waits for its result.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        self.tasks.spawn(Box::pin(async move { drop(done.send(task.await)) }));
        result
    }
}

async fn node<L: Launch + 'static>(network: NetworkId, discovery: ConfigBuilder, on: L) -> Node {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = NetworkOn::builder(network).with_runtime(on).with_addresses([loopback]);
    Box::new(builder.with_discovery(discovery).build().await.expect("a node"))
}
