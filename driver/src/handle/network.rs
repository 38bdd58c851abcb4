//! A running node, and how one is configured.

use std::{collections::BTreeSet, fmt, future::Future, net::SocketAddr, sync::Arc};

use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::{EndpointAddr, EntryError, PeerEntry},
    links::{LimitsError, LinkLimits, Policy},
};

use super::{
    admission::{self, Admission},
    discovery::Discovery,
    groups::Groups,
    network_on::NetworkOn,
    shared::{Life, Shared},
    streams::Streams,
};
use crate::{
    book::Books,
    discovery::{ConfigBuilder, ConfigError},
};

/// A running node. Neutral to the runtime; driver crates start it as a [`NetworkOn`] theirs.
///
/// Dropping it ends the node: streams are closed, a signed farewell is sent and the links are cut,
/// in the background and within a second or two. [`shutdown`](Self::shutdown) does the same and
/// can be awaited. Other handles of the node may outlive it; they resolve as closed.
pub struct Network {
    shared: Arc<Shared>,
    local: LocalNode,
    discovery: Discovery,
    streams: Streams,
    groups: Groups,
    admission: Admission,
}

impl Network {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            local: LocalNode { shared: Arc::clone(&shared) },
            discovery: Discovery { shared: Arc::clone(&shared) },
            streams: Streams { shared: Arc::clone(&shared) },
            groups: Groups { shared: Arc::clone(&shared) },
            admission: Admission { shared: Arc::clone(&shared) },
            shared,
        }
    }

    /// The network that the node is in.
    #[must_use]
    pub fn network_id(&self) -> &NetworkId {
        &self.shared.network
    }

    /// The node itself.
    #[must_use]
    pub const fn local(&self) -> &LocalNode {
        &self.local
    }

    /// Who is there.
    #[must_use]
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Producers and consumers.
    #[must_use]
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Groups of nodes that agree on one order of commands.
    #[must_use]
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Who may have a link with this node at all.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Resolves when the node can be reached by others: at once, since it is bound when it exists.
    pub async fn online(&self) {
        self.shared.life.until(|_| Some(())).await;
    }

    /// Ends the node and resolves when peers have been told and nothing of it runs any more. Later
    /// calls wait for the same end. Cancel safe: the end goes on.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.shared.shut_down();
        self.closed()
    }

    /// Resolves when the node has ended, for whatever reason. Cancel safe.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.life.until(|life| (*life == Life::Stopped).then_some(())).await }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("network", &self.shared.network)
            .field("local", &self.shared.me)
            .finish_non_exhaustive()
    }
}

/// The node itself: its identity and its addresses.
#[derive(Clone)]
pub struct LocalNode {
    shared: Arc<Shared>,
}

impl LocalNode {
    /// Who we are.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.shared.me
    }

    /// The network that we are in.
    #[must_use]
    pub fn network_id(&self) -> &NetworkId {
        &self.shared.network
    }

    /// Where we can be reached.
    #[must_use]
    pub fn addr(&self) -> EndpointAddr {
        self.shared.me().address().clone()
    }

    /// As [`Network::online`].
    pub async fn online(&self) {
        self.shared.life.until(|_| Some(())).await;
    }
}

impl fmt::Display for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalNode({})", self.shared.me)
    }
}

impl fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalNode({:?} in {})", self.shared.me, self.shared.network)
    }
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The addresses could not be bound.
    #[error("the local addresses could not be bound: {0}")]
    Bind(#[source] std::io::Error),
    /// The configuration of discovery makes no sense.
    #[error("discovery is misconfigured: {0}")]
    DiscoveryConfig(#[from] ConfigError),
    /// The limits on links make no sense.
    #[error("the limits on links make no sense: {0}")]
    LinkLimits(#[from] LimitsError),
    /// The configured tags do not fit into an entry.
    #[error("the node's entry would be too large: {0}")]
    Entry(#[from] EntryError),
    /// Metrics could not be served: the port is taken, or the process has a recorder already.
    #[error("metrics cannot be served: {0}")]
    Prometheus(String),
}

/// Everything that can be set before a node starts. Driver crates have a builder over it.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) network: NetworkId,
    pub(crate) key: SecretKey,
    pub(crate) addrs: BTreeSet<SocketAddr>,
    pub(crate) discovery: ConfigBuilder,
    pub(crate) policy: Policy,
    pub(crate) books: Option<Books>,
    pub(crate) limits: LinkLimits,
    #[cfg(feature = "prometheus")]
    pub(crate) prometheus: Option<SocketAddr>,
    #[cfg(feature = "conformance")]
    pub(crate) tap: Option<Arc<dyn crate::conformance::Tap>>,
}

impl Config {
    /// The defaults for a network: a fresh key, all interfaces, a free port.
    #[must_use]
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            key: SecretKey::generate(),
            addrs: BTreeSet::new(),
            discovery: ConfigBuilder::default(),
            policy: Policy::everybody(),
            books: None,
            limits: LinkLimits::default(),
            #[cfg(feature = "prometheus")]
            prometheus: None,
            #[cfg(feature = "conformance")]
            tap: None,
        }
    }

    /// The key that the node proves itself with.
    #[must_use]
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The addresses to bind; empty for all interfaces and a free port.
    #[must_use]
    pub const fn addrs(&self) -> &BTreeSet<SocketAddr> {
        &self.addrs
    }

    /// The network that the node will be in.
    #[must_use]
    pub const fn network(&self) -> &NetworkId {
        &self.network
    }

    /// The same with these address books, unless others were asked for.
    #[must_use]
    pub fn or_books(mut self, books: Books) -> Self {
        self.books.get_or_insert(books);
        self
    }

    /// The same with this tap, unless there is another one.
    #[cfg(feature = "conformance")]
    #[must_use]
    pub fn or_tap(mut self, tap: Arc<dyn crate::conformance::Tap>) -> Self {
        self.tap.get_or_insert(tap);
        self
    }
}

/// Starts nodes on one runtime: what a driver crate is, to [`NetworkBuilder`]. Its default is the
/// runtime that nodes start on which nobody told otherwise.
pub trait Launch: Default {
    /// Starts a node.
    ///
    /// # Errors
    /// [`Error`] says what was wrong; nothing is running then.
    fn launch(self, config: Config) -> Result<Network, Error>;
}

/// Configures a node; [`build`](Self::build) starts it.
#[must_use = "a node is started by build()"]
pub struct NetworkBuilder<L> {
    config: Config,
    launch: L,
}

impl<L: Launch> NetworkBuilder<L> {
    /// The defaults for a network.
    pub fn new(network: impl Into<NetworkId>) -> Self {
        Self { config: Config::new(network.into()), launch: L::default() }
    }

    /// The runtime to start on. Default: the one that the driver crate names.
    pub fn with_runtime(mut self, launch: L) -> Self {
        self.launch = launch;
        self
    }

    /// The network.
    pub fn with_network_id(mut self, network: impl Into<NetworkId>) -> Self {
        self.config.network = network.into();
        self
    }

    /// The key, and with it the identity. Default: a fresh one.
    pub fn with_secret_key(mut self, key: impl Into<SecretKey>) -> Self {
        self.config.key = key.into();
        self
    }

    /// The addresses to bind, in place of those before. Default: all interfaces, a free port.
    pub fn with_addresses(mut self, addrs: impl Into<BTreeSet<SocketAddr>>) -> Self {
        self.config.addrs = addrs.into();
        self
    }

    /// How discovery behaves.
    pub fn with_discovery(mut self, discovery: ConfigBuilder) -> Self {
        self.config.discovery = discovery;
        self
    }

    /// Admits only peers whose entry passes this test; see [`Admission::require`].
    pub fn with_admission(
        mut self,
        test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config.policy = admission::policy(test);
        self
    }

    /// The address books to use. Default: those that all nodes of this process and host share
    /// ([`Books::standard`]).
    pub fn with_books(mut self, books: Books) -> Self {
        self.config.books = Some(books);
        self
    }

    /// Shows every event and action of the node to `tap`.
    #[cfg(feature = "conformance")]
    pub fn with_tap(mut self, tap: Arc<dyn crate::conformance::Tap>) -> Self {
        self.config.tap = Some(tap);
        self
    }

    /// How much others may make the node hold; see [`Admission::set_limits`].
    pub fn with_link_limits(mut self, limits: LinkLimits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Serve this process's metrics in Prometheus' text format at this address. One per process.
    #[cfg(feature = "prometheus")]
    pub fn with_prometheus_addr(mut self, addr: impl Into<Option<SocketAddr>>) -> Self {
        self.config.prometheus = addr.into();
        self
    }

    /// Starts the node. Needs no network and waits for nobody.
    ///
    /// # Errors
    /// [`Error`] says what was wrong; nothing is running then.
    #[expect(clippy::unused_async, reason = "programs await it, and other drivers may have to")]
    pub async fn build(self) -> Result<NetworkOn<L>, Error> {
        self.launch.launch(self.config).map(NetworkOn::new_running)
    }
}

impl<L> fmt::Debug for NetworkBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBuilder").field("config", &self.config).finish()
    }
}
