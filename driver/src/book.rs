//! Address books: how nodes of one process and of one host find each other unconfigured.
//!
//! # Theory of operation
//!
//! A node hands its addresses to every book with [`AddressBook::publish`] as soon as it has any,
//! without a network: whoever knows its id can then [`resolve`](AddressBook::resolve) it, and
//! nobody else learns that it exists. A node that seeks company does two things more: it
//! [`update`](Publication::update)s its record with its network id, by which it becomes *listed*,
//! and it [`look`](AddressBook::look)s for others that are listed under the same network.
//!
//! | book | reach | news travels by |
//! |---|---|---|
//! | [`ProcessBook`] | this process | a call from the publisher, at once |
//! | [`HostBook`] | this user on this host | small files, read twice a second at first |
//!
//! [`Books`] is all of them together and what a node uses. Further books (multicast DNS, the
//! Mainline DHT) fit behind the same trait.
//!
//! A book is a rumour, not an authority: what it says is only ever dialled, and the transport
//! accepts nobody but the holder of the peer's key.
//!
//! # Rules for a book
//!
//! 1. No call blocks: the most that one does is to read a few small files. What takes longer
//!    happens on a thread of the book's own. A slow book resolves from what it has learnt so far.
//! 2. A look is level-triggered: it reports first what is listed already, then what is listed or
//!    changes later, and a peer that was gone in between again. Departures are not reported.
//! 3. Guards own: dropping a [`Publication`] withdraws it, and only it; dropping a [`Look`] ends
//!    it. A report that is already under way may still arrive.
//! 4. What comes from outside is bounded and never makes a book panic.

use std::{
    any::Any,
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use mosaik_proto::{NetworkId, PeerId, discovery::EndpointAddr};

mod host;
mod process;

pub use self::{host::HostBook, process::ProcessBook};

/// What a node publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The node.
    pub peer: PeerId,
    /// Where it answers.
    pub addrs: BTreeSet<SocketAddr>,
    /// The network under which it is listed. Without one it can be resolved, but not found.
    pub network: Option<NetworkId>,
}

/// Takes the reports of a [`Look`]: peers that are new or have other addresses than before, each
/// with all its addresses.
///
/// It is called from any thread, also before [`AddressBook::look`] returns. One book reports in
/// order, one report at a time; two books know nothing of each other. It must not block.
pub type Found = Arc<dyn Fn(Vec<EndpointAddr>) + Send + Sync>;

/// A place where nodes leave their addresses for others. See the [module](self) for the rules.
pub trait AddressBook: fmt::Debug + Send + Sync {
    /// Makes this record known until the publication is dropped. Several records of one peer stand
    /// side by side.
    fn publish(&self, record: Record) -> Publication;

    /// Every address that is known for this peer, listed or not.
    fn resolve(&self, peer: &PeerId) -> BTreeSet<SocketAddr>;

    /// Looks for the peers listed under `network`, except for `me`, until the guard is dropped.
    fn look(&self, network: NetworkId, me: PeerId, found: Found) -> Look;
}

/// The book's side of a [`Publication`]. Dropping it withdraws the record.
pub trait Published: fmt::Debug + Send + Sync {
    /// Replaces the record by another one of the same peer.
    fn update(&self, record: Record);
}

/// Keeps a record published; dropping it withdraws the record.
#[derive(Debug)]
#[must_use = "dropping a publication withdraws it"]
pub struct Publication(Box<dyn Published>);

impl Publication {
    /// A publication that is kept by `published`.
    pub fn new(published: impl Published + 'static) -> Self {
        Self(Box::new(published))
    }

    /// Replaces the record by another one of the same peer.
    pub fn update(&self, record: Record) {
        self.0.update(record);
    }
}

/// Keeps a look going; dropping it ends the look.
#[must_use = "dropping a look ends it"]
pub struct Look(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl Look {
    /// A look that ends when `guard` is dropped.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}

/// The books of this process and of this host, combined. Clones are handles of the same books.
#[derive(Clone, Debug)]
pub struct Books {
    process: ProcessBook,
    host: Option<HostBook>,
}

impl Books {
    /// The books that every node of this process shares.
    #[must_use]
    pub fn standard() -> Self {
        static STANDARD: LazyLock<Books> = LazyLock::new(|| Books {
            process: ProcessBook::standard(),
            host: Some(HostBook::standard()),
        });
        STANDARD.clone()
    }

    /// The book of this process, and a host book in this directory.
    #[must_use]
    pub fn with_host_dir(dir: impl Into<PathBuf>) -> Self {
        Self { process: ProcessBook::standard(), host: Some(HostBook::at(dir)) }
    }

    /// A book of its own and nothing else: only nodes with a clone of these books find each other
    /// by them, and nothing is written anywhere. For tests and simulators.
    #[must_use]
    pub fn isolated() -> Self {
        Self { process: ProcessBook::isolated(), host: None }
    }

    /// Waits until what was published and withdrawn so far has been written, or has failed to be.
    /// Blocks; meant for tests. Not to be called from a [`Found`].
    pub fn flush(&self) {
        self.host.iter().for_each(HostBook::flush);
    }

    fn all(&self) -> impl Iterator<Item = &dyn AddressBook> {
        let host = self.host.iter().map(|book| -> &dyn AddressBook { book });
        std::iter::once::<&dyn AddressBook>(&self.process).chain(host)
    }
}

impl AddressBook for Books {
    fn publish(&self, record: Record) -> Publication {
        Publication::new(InEach(self.all().map(|book| book.publish(record.clone())).collect()))
    }

    fn resolve(&self, peer: &PeerId) -> BTreeSet<SocketAddr> {
        self.all().flat_map(|book| book.resolve(peer)).collect()
    }

    fn look(&self, network: NetworkId, me: PeerId, found: Found) -> Look {
        let looks: Vec<_> = self.all().map(|book| book.look(network, me, found.clone())).collect();
        Look::new(looks)
    }
}

#[derive(Debug)]
struct InEach(Vec<Publication>);

impl Published for InEach {
    fn update(&self, record: Record) {
        self.0.iter().for_each(|publication| publication.update(record.clone()));
    }
}

/// Books hold no half-done state over a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports, unless there is nothing to report. A panic ends with the report, not with the book.
fn report(found: &Found, peers: Vec<EndpointAddr>) {
    if !peers.is_empty() && catch_unwind(AssertUnwindSafe(|| found(peers))).is_err() {
        tracing::error!("the receiver of an address book's report panicked");
    }
}
