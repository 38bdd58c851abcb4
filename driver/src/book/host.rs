//! The book of one host: a directory of small files, one for each published node.
//!
//! # Theory of operation
//!
//! The directory belongs to one user: `$MOSAIK_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/mosaik`, else
//! `<temporary directory>/mosaik-<uid>`. It is created with mode 0700. One that is not ours or that
//! others can write is refused: the book then says so once and is inert until that is mended.
//!
//! A file is called `<peer>-<random>`, both in hexadecimal, and holds a few lines of text
//! ([`mod@file`]). It is written under a name with `.new` behind it, locked, and renamed into place:
//! under its final name it is whole and locked from the first moment. The publisher keeps it open,
//! so that **the lock says whether the publisher lives**, however that ended. A reader tries for a
//! shared lock (shared, so that two readers do not take each other for the publisher). If it gets
//! one and the name still leads to the file that it locked, then the publisher is dead and the file
//! is removed. That cannot hit a living one: a publisher replaces its file by one that is locked
//! already, closes the old one only then, and a random name is never used by a second.
//!
//! Loopback addresses mean nothing in another network namespace, while several namespaces may
//! share a file system; so records carry theirs. A look ignores those of other namespaces. Who asks
//! for a peer by its id gets the other addresses of such a record, which may lead there.
//!
//! # Work and time
//!
//! Publishing and withdrawing only note what is wanted, the latest for each node, and wake the one
//! background thread of the process ([`worker`]), which
//!
//! - writes and removes files, in rounds;
//! - every [`REFRESH`] looks whether our files are still there, rewrites those that somebody
//!   deleted, directory included, and tries again what failed (a full disk, no descriptors);
//! - while there are looks, reads the directory every [`EAGER`] as long as one of them is younger
//!   than [`EAGER_FOR`], otherwise every [`PATIENT`]. One reading serves all looks. The files that
//!   this book wrote are left out: its process knows those nodes.
//!
//! [`resolve`](AddressBook::resolve) alone reads on the caller's thread: the names in the
//! directory, and the files of that one peer.
//!
//! # Bounds
//!
//! The content of the directory is not trusted. At most [`FILES_MAX`] files are looked at and
//! [`file::SIZE_MAX`] bytes read of each; what is not a well-formed record is skipped. What looks
//! remember is bounded by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use mosaik_proto::{NetworkId, PeerId, discovery::EndpointAddr};

mod file;
mod place;
mod worker;

use self::{
    file::{Held, Name, Seen},
    place::Place,
    worker::Chore,
};
use super::{AddressBook, Found, Look, Publication, Published, Record, lock, report};

/// How often a look reads the directory at first.
const EAGER: Duration = Duration::from_millis(500);
/// How long a look is eager.
const EAGER_FOR: Duration = Duration::from_secs(30);
/// How often a look reads the directory later.
const PATIENT: Duration = Duration::from_secs(3);
/// How often our own files are checked, and failed writes tried again.
const REFRESH: Duration = Duration::from_secs(5);
/// Files that one reading looks at; the rest of the directory does not exist for us.
const FILES_MAX: usize = 4096;
/// Directory entries that one reading goes through to find them.
const ENTRIES_MAX: usize = 4 * FILES_MAX;

/// Nodes of one user on one host find each other here. Clones are handles of the same book.
#[derive(Clone)]
pub struct HostBook(Arc<Inner>);

struct Inner {
    place: Place,
    /// The network namespace that we live in.
    netns: Option<String>,
    wanted: Mutex<Wanted>,
    /// Used by the background thread alone.
    kept: Mutex<Kept>,
}

/// What callers want, not yet done.
#[derive(Default)]
struct Wanted {
    tokens: u64,
    /// The latest record of each publication that changed; `None` withdraws.
    changes: BTreeMap<u64, Option<Record>>,
    looks: BTreeMap<u64, Arc<Watch>>,
    /// A look has begun that no reading has served yet.
    fresh: bool,
    flush: bool,
}

/// What has been done.
#[derive(Default)]
struct Kept {
    nodes: BTreeMap<u64, Node>,
    /// What the last reading found for the looks.
    listed: BTreeMap<NetworkId, Arc<Listing>>,
    refresh_at: Option<Instant>,
    read_at: Option<Instant>,
}

struct Node {
    record: Record,
    name: Name,
    held: Option<Held>,
    /// The file does not say what the record says.
    stale: bool,
}

struct Watch {
    network: NetworkId,
    me: PeerId,
    found: Found,
    since: Instant,
    /// The listing that was reported last.
    known: Mutex<Arc<Listing>>,
}

type Listing = BTreeMap<PeerId, BTreeSet<SocketAddr>>;

impl HostBook {
    /// The book in this user's runtime directory, the same for the whole process.
    #[must_use]
    pub fn standard() -> Self {
        static STANDARD: LazyLock<HostBook> =
            LazyLock::new(|| HostBook::new(Place::standard(), file::netns()));
        STANDARD.clone()
    }

    /// A book in this directory, which is created when it is first needed.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self::new(Place::at(dir.into()), file::netns())
    }

    /// A book in this directory for a process that lives in this network namespace.
    #[must_use]
    pub fn in_namespace(dir: impl Into<PathBuf>, netns: impl Into<String>) -> Self {
        Self::new(Place::at(dir.into()), Some(netns.into()))
    }

    fn new(place: Place, netns: Option<String>) -> Self {
        let (wanted, kept) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { place, netns, wanted, kept }))
    }

    /// Waits until what was published and withdrawn so far has been written, or has failed to be.
    /// Blocks; meant for tests. Not to be called from a [`Found`].
    pub fn flush(&self) {
        lock(&self.0.wanted).flush = true;
        worker::wait(self.wake());
    }

    fn wake(&self) -> u64 {
        worker::wake(self.0.clone())
    }

    fn set(&self, token: u64, record: Option<Record>) {
        lock(&self.0.wanted).changes.insert(token, record);
        self.wake();
    }
}

impl AddressBook for HostBook {
    fn publish(&self, record: Record) -> Publication {
        let token = lock(&self.0.wanted).token();
        self.set(token, Some(record));
        Publication::new(Entry { book: self.clone(), token })
    }

    fn resolve(&self, peer: &PeerId) -> BTreeSet<SocketAddr> {
        let mut addrs = BTreeSet::new();
        self.0.read(&peer.to_string(), &BTreeSet::new(), |record, near| {
            addrs.extend(record.addrs.into_iter().filter(|addr| near || !addr.ip().is_loopback()));
        });
        addrs
    }

    fn look(&self, network: NetworkId, me: PeerId, found: Found) -> Look {
        let since = Instant::now();
        let watch = Arc::new(Watch { network, me, found, since, known: Mutex::default() });
        let mut wanted = lock(&self.0.wanted);
        let token = wanted.token();
        wanted.looks.insert(token, watch);
        wanted.fresh = true;
        drop(wanted);
        self.wake();
        Look::new(Watching { book: self.clone(), token })
    }
}

impl fmt::Debug for HostBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostBook").field(&self.0.place.path()).finish()
    }
}

impl Wanted {
    const fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}

impl Inner {
    /// Hands over every living record in files whose names begin so, and whether it is of our
    /// network namespace.
    fn read(&self, prefix: &str, except: &BTreeSet<Name>, mut each: impl FnMut(Record, bool)) {
        let Some(dir) = self.place.existing() else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        let names = entries.take(ENTRIES_MAX).flatten().filter_map(|entry| {
            let name = entry.file_name();
            let name =
                name.to_str().filter(|name| name.starts_with(prefix)).and_then(Name::parse)?;
            (!except.contains(&name)).then_some(name)
        });
        for name in names.take(FILES_MAX) {
            match file::read(dir, &name) {
                Ok(Seen::Alive { record, netns }) => each(record, netns == self.netns),
                Ok(_) => (),
                Err(error) => tracing::trace!(%name, %error, "skipped a file of the address book"),
            }
        }
    }

    /// Reads the directory and reports to the looks.
    fn serve(&self, looks: &[Arc<Watch>], kept: &mut Kept) {
        let mut listed: BTreeMap<_, _> =
            looks.iter().map(|watch| (watch.network, Listing::new())).collect();
        let own = kept.nodes.values().map(|node| node.name.clone()).collect();
        self.read("", &own, |record, near| {
            if near
                && let Some(listing) = record.network.and_then(|network| listed.get_mut(&network))
                && !record.addrs.is_empty()
            {
                listing.entry(record.peer).or_default().extend(record.addrs);
            }
        });
        // What has not changed stays the same in memory, so that looks need not compare it.
        let mut before = std::mem::take(&mut kept.listed);
        let listed = listed.into_iter().map(|(network, listing)| {
            let same = before.remove(&network).filter(|before| **before == listing);
            (network, same.unwrap_or_else(|| Arc::new(listing)))
        });
        kept.listed = listed.collect();
        looks.iter().for_each(|watch| watch.compare(&kept.listed[&watch.network]));
    }

    /// Makes the file say what the record says.
    fn write(&self, node: &mut Node) -> io::Result<()> {
        let dir = self.place.made()?;
        let text = file::compose(&node.record, self.netns.as_deref());
        node.held = Some(file::write(dir, &node.name, &text)?);
        node.stale = false;
        Ok(())
    }

    fn change(&self, kept: &mut Kept, token: u64, record: Option<Record>) {
        match (record, kept.nodes.get_mut(&token)) {
            (Some(record), Some(node)) => {
                node.stale |= node.record != record;
                node.record = record;
            }
            (Some(record), None) => {
                let name = Name::unique(record.peer);
                kept.nodes.insert(token, Node { record, name, held: None, stale: true });
            }
            (None, _) => {
                if let Some(node) = kept.nodes.remove(&token)
                    && let (Some(held), Some(dir)) = (node.held, self.place.existing())
                {
                    held.remove(dir, &node.name);
                }
            }
        }
    }

    /// Marks the nodes whose files are gone.
    fn check(&self, kept: &mut Kept) {
        let dir = self.place.existing();
        for node in kept.nodes.values_mut() {
            let there =
                dir.zip(node.held.as_ref()).is_some_and(|(dir, held)| held.is_at(dir, &node.name));
            node.stale |= !there;
        }
    }
}

impl Chore for Inner {
    fn round(&self) -> Option<Instant> {
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        let mut wanted = lock(&self.wanted);
        let changes = std::mem::take(&mut wanted.changes);
        let looks: Vec<_> = wanted.looks.values().cloned().collect();
        let flush = std::mem::take(&mut wanted.flush);
        let fresh = std::mem::take(&mut wanted.fresh);
        drop(wanted);

        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let retry = flush || due(kept.refresh_at);
        if retry {
            self.check(kept);
            kept.refresh_at = Some(now + REFRESH);
        }
        let touched: BTreeSet<_> = changes.keys().copied().collect();
        changes.into_iter().for_each(|(token, record)| self.change(kept, token, record));
        for (token, node) in &mut kept.nodes {
            if node.stale && (retry || touched.contains(token)) {
                self.write(node).unwrap_or_else(|error| self.place.complain(&error));
            }
        }
        if kept.nodes.is_empty() {
            kept.refresh_at = None;
        }

        if looks.is_empty() {
            kept.read_at = None;
            kept.listed.clear();
        } else if fresh || due(kept.read_at) {
            self.serve(&looks, kept);
            let eager = looks.iter().any(|watch| now.duration_since(watch.since) < EAGER_FOR);
            kept.read_at = Some(now + if eager { EAGER } else { PATIENT });
        }
        [kept.refresh_at, kept.read_at].into_iter().flatten().min()
    }
}

impl Watch {
    /// Reports what is new in this listing.
    fn compare(&self, listing: &Arc<Listing>) {
        let known = std::mem::replace(&mut *lock(&self.known), listing.clone());
        if Arc::ptr_eq(&known, listing) {
            return;
        }
        let news = listing
            .iter()
            .filter(|(peer, addrs)| **peer != self.me && known.get(peer) != Some(*addrs))
            .map(|(peer, addrs)| EndpointAddr::new(*peer, addrs.iter().copied()));
        report(&self.found, news.collect());
    }
}

#[derive(Debug)]
struct Entry {
    book: HostBook,
    token: u64,
}

impl Published for Entry {
    fn update(&self, record: Record) {
        self.book.set(self.token, Some(record));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.book.set(self.token, None);
    }
}

struct Watching {
    book: HostBook,
    token: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The receiver is dropped outside the lock: it may hold anything.
        let watch = lock(&self.book.0.wanted).looks.remove(&self.token);
        drop(watch);
    }
}
