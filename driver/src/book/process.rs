//! The book of one process: a table in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use mosaik_proto::{NetworkId, PeerId, discovery::EndpointAddr};

use super::{AddressBook, Found, Look, Publication, Published, Record, lock, report};

/// Nodes of one process find each other here at once. Clones are handles of the same book.
///
/// Nothing polls: whoever lists a node tells the looks of its network, on its own thread. A look
/// keeps the ids of the peers that changed until it has reported them and reads their addresses
/// only then, so that the last report is the present state, however publishers interleave.
#[derive(Clone)]
pub struct ProcessBook(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    tokens: u64,
    records: BTreeMap<(PeerId, u64), Record>,
    looks: BTreeMap<(NetworkId, u64), Arc<Watch>>,
}

struct Watch {
    network: NetworkId,
    me: PeerId,
    found: Found,
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    peers: BTreeSet<PeerId>,
    /// Somebody is reporting, and will go on until `peers` is empty.
    telling: bool,
}

impl ProcessBook {
    /// The one book of this process.
    #[must_use]
    pub fn standard() -> Self {
        static STANDARD: LazyLock<ProcessBook> = LazyLock::new(ProcessBook::isolated);
        STANDARD.clone()
    }

    /// A book apart from [`standard`](Self::standard), as if in a process of its own.
    #[must_use]
    pub fn isolated() -> Self {
        Self(Arc::default())
    }

    /// Replaces one record and tells the looks for which that made a difference.
    fn set(&self, peer: PeerId, token: u64, record: Option<Record>) {
        let mut table = lock(&self.0);
        let key = (peer, token);
        let before = table.records.get(&key).and_then(|record| record.network);
        let after = record.as_ref().and_then(|record| record.network);
        let networks: BTreeSet<_> = before.into_iter().chain(after).collect();
        let old: Vec<_> = networks.iter().map(|network| table.listing(network, &peer)).collect();
        match record {
            Some(record) => table.records.insert(key, record),
            None => table.records.remove(&key),
        };
        let mut concerned = Vec::new();
        for (network, old) in networks.iter().zip(old) {
            if table.listing(network, &peer) != old {
                let looks = table.looks.range((*network, 0)..=(*network, u64::MAX));
                concerned.extend(looks.map(|(_, watch)| watch.clone()));
            }
        }
        drop(table);
        concerned.iter().for_each(|watch| self.tell(watch, [peer]));
    }

    /// Reports these peers to a look, or leaves that to whoever is reporting to it right now.
    fn tell(&self, watch: &Watch, peers: impl IntoIterator<Item = PeerId>) {
        {
            let mut due = lock(&watch.due);
            due.peers.extend(peers);
            if due.telling {
                return;
            }
            due.telling = true;
        }
        loop {
            let peers = {
                let mut due = lock(&watch.due);
                due.telling = !due.peers.is_empty();
                if !due.telling {
                    return;
                }
                std::mem::take(&mut due.peers)
            };
            let table = lock(&self.0);
            let found = peers.into_iter().filter(|peer| *peer != watch.me).filter_map(|peer| {
                let addrs = table.listing(&watch.network, &peer);
                (!addrs.is_empty()).then(|| EndpointAddr::new(peer, addrs))
            });
            let found = found.collect();
            drop(table);
            report(&watch.found, found);
        }
    }
}

impl Table {
    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn of(&self, peer: &PeerId) -> impl Iterator<Item = &Record> {
        self.records.range((*peer, 0)..=(*peer, u64::MAX)).map(|(_, record)| record)
    }

    fn listing(&self, network: &NetworkId, peer: &PeerId) -> BTreeSet<SocketAddr> {
        let listed = self.of(peer).filter(|record| record.network.as_ref() == Some(network));
        listed.flat_map(|record| record.addrs.iter().copied()).collect()
    }
}

impl AddressBook for ProcessBook {
    fn publish(&self, record: Record) -> Publication {
        let token = lock(&self.0).token();
        let entry = Entry { book: self.clone(), peer: record.peer, token };
        entry.update(record);
        Publication::new(entry)
    }

    fn resolve(&self, peer: &PeerId) -> BTreeSet<SocketAddr> {
        lock(&self.0).of(peer).flat_map(|record| record.addrs.iter().copied()).collect()
    }

    fn look(&self, network: NetworkId, me: PeerId, found: Found) -> Look {
        let watch = Arc::new(Watch { network, me, found, due: Mutex::default() });
        let mut table = lock(&self.0);
        let token = table.token();
        table.looks.insert((network, token), watch.clone());
        let listed = table.records.values().filter(|record| record.network == Some(network));
        let peers: BTreeSet<_> = listed.map(|record| record.peer).collect();
        drop(table);
        self.tell(&watch, peers);
        Look::new(Watching { book: self.clone(), key: (network, token) })
    }
}

impl fmt::Debug for ProcessBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = lock(&self.0);
        f.debug_struct("ProcessBook")
            .field("records", &table.records.len())
            .field("looks", &table.looks.len())
            .finish()
    }
}

#[derive(Debug)]
struct Entry {
    book: ProcessBook,
    peer: PeerId,
    token: u64,
}

impl Published for Entry {
    fn update(&self, record: Record) {
        debug_assert_eq!(record.peer, self.peer, "a publication is one peer's");
        self.book.set(self.peer, self.token, Some(record));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.book.set(self.peer, self.token, None);
    }
}

struct Watching {
    book: ProcessBook,
    key: (NetworkId, u64),
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The receiver is dropped outside the lock: it may hold anything.
        let watch = lock(&self.book.0).looks.remove(&self.key);
        drop(watch);
    }
}
