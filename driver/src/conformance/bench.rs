//! Where scenarios run: nodes, links that can be cut, clocks that jump.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik_proto::{Digest, NetworkId, PeerId, crypto::SecretKey, time::UnixMillis};

use super::{
    Harness, Tap,
    clock::{BenchRuntime, Handles, sleep, within},
    wires::{BenchTransport, Wires},
};
use crate::{
    Config, Network, book::Books, discovery::ConfigBuilder, runtime::Runtime, start,
    sync::cell::lock,
};

/// How a node of a scenario differs from the others.
#[derive(Debug, Default)]
pub struct NodeOptions {
    /// Its discovery; by default it dials nobody by itself.
    pub discovery: Option<ConfigBuilder>,
    /// Another network than that of the scenario.
    pub network: Option<NetworkId>,
    /// Who sees its events and actions.
    pub tap: Option<Arc<dyn Tap>>,
}

/// Where a scenario runs.
pub struct Bench<H: Harness> {
    harness: H,
    runtime: H::Runtime,
    network: NetworkId,
    books: Books,
    wires: Wires,
    nodes: Mutex<BTreeMap<PeerId, Arc<Handles>>>,
}

impl<H: Harness> Bench<H> {
    /// How long a scenario waits for anything: far beyond what it takes on a busy machine.
    pub const LIMIT: Duration = Duration::from_secs(60);

    pub(super) fn new(harness: H) -> Self {
        let runtime = harness.runtime();
        Self {
            harness,
            runtime,
            network: Digest::hash(b"conformance"),
            books: Books::isolated(),
            wires: Wires::default(),
            nodes: Mutex::default(),
        }
    }

    /// Starts the node with this name, which is its key too.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn node(&self, name: &str) -> Network {
        self.node_with(name, NodeOptions::default())
    }

    /// Starts a node.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn node_with(&self, name: &str, options: NodeOptions) -> Network {
        let mut config = Config::new(options.network.unwrap_or(self.network));
        config.key = Self::key(name);
        config.addrs = [([127, 0, 0, 1], 0).into()].into();
        config.discovery =
            options.discovery.unwrap_or_else(|| ConfigBuilder::default().no_auto_bootstrap());
        config.books = Some(self.books.clone());
        config.tap = options.tap;
        let me = config.key.public();
        let handles = Arc::<Handles>::default();
        lock(&self.nodes).insert(me, Arc::clone(&handles));
        let runtime = self.harness.runtime();
        let transport = self.harness.transport(&runtime, &config);
        let transport = BenchTransport::new(transport, me, self.wires.clone());
        let runtime = BenchRuntime::new(runtime, handles, *Self::digest(name).as_bytes());
        start(runtime, transport, config).expect("a node starts")
    }

    /// The id of the node with this name.
    #[must_use]
    pub fn id(name: &str) -> PeerId {
        Self::key(name).public()
    }

    fn key(name: &str) -> SecretKey {
        SecretKey::from(*Self::digest(name).as_bytes())
    }

    fn digest(name: &str) -> Digest {
        Digest::hash(name.as_bytes())
    }

    /// Breaks all links between two nodes; dials between them fail until [`mend`](Self::mend).
    pub fn cut(&self, a: &Network, b: &Network) {
        self.wires.cut(a.local().id(), b.local().id());
    }

    /// Lets two nodes reach each other again.
    pub fn mend(&self, a: &Network, b: &Network) {
        self.wires.mend(a.local().id(), b.local().id());
    }

    /// The ends of links between two nodes that are up: two for each link.
    pub fn ends(&self, a: &Network, b: &Network) -> usize {
        self.wires.ends(a.local().id(), b.local().id())
    }

    /// Makes the wall clock of a node jump.
    ///
    /// # Panics
    /// If the bench did not start the node.
    pub fn jump(&self, node: &Network, by_ms: i64) {
        self.handles(node.local().id()).jump(by_ms);
    }

    /// Wall time, of a node that was not made to jump.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.runtime.now().wall
    }

    /// Tasks of a node that have not ended; also when it has ended itself.
    ///
    /// # Panics
    /// If the bench did not start the node.
    #[must_use]
    pub fn tasks(&self, node: PeerId) -> usize {
        self.handles(node).tasks()
    }

    fn handles(&self, node: PeerId) -> Arc<Handles> {
        lock(&self.nodes).get(&node).cloned().expect("a node of this bench")
    }

    /// Resolves after this time by the runtime's clock.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send + use<H> {
        sleep(&self.runtime, time)
    }

    /// Runs something beside the scenario.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits for something that must happen.
    ///
    /// # Panics
    /// If it does not within [`LIMIT`](Self::LIMIT).
    #[track_caller]
    pub fn soon<T>(&self, what: impl Future<Output = T>) -> impl Future<Output = T> {
        let at = Location::caller();
        let limit = self.sleep(Self::LIMIT);
        async move {
            match within(limit, what).await {
                Some(value) => value,
                None => panic!("nothing happened within {:?} at {at}", Self::LIMIT),
            }
        }
    }

    /// Waits until a look finds what it looks for. For what has no event of its own.
    ///
    /// # Panics
    /// If it does not within [`LIMIT`](Self::LIMIT).
    #[track_caller]
    pub fn until(&self, mut look: impl FnMut() -> bool) -> impl Future<Output = ()> {
        self.soon(async move {
            while !look() {
                self.sleep(Duration::from_millis(2)).await;
            }
        })
    }
}

impl<H: Harness> fmt::Debug for Bench<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("nodes", &lock(&self.nodes).len()).finish_non_exhaustive()
    }
}
