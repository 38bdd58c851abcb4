//! The application's view of the catalog: cheap, consistent snapshots.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use mosaik_proto::{
    NetworkId, PeerId,
    discovery::{Change, Config, PeerEntry, PeerEntryVersion, SignedPeerEntry},
    limits,
    time::Instant,
};
use rpds::RedBlackTreeMapSync;

use super::shared::Clock;
use crate::sync::cell::{Watched, lock};

#[derive(Clone, Debug)]
struct Known {
    entry: SignedPeerEntry,
    since: Instant,
}

/// Who is there, as of the moment of the snapshot. Cheap to clone; never changes.
///
/// Iterators are ordered by peer id, signed entries first.
#[derive(Clone, Debug)]
pub struct Catalog {
    local: SignedPeerEntry,
    signed: RedBlackTreeMapSync<PeerId, Known>,
    unsigned: RedBlackTreeMapSync<PeerId, PeerEntry>,
    /// Round-trip times of the links that there are.
    rtts: RedBlackTreeMapSync<PeerId, Duration>,
    /// Signed entries whose version is older than this are hidden.
    hidden_before: Option<Instant>,
    max_rtt: Option<Duration>,
}

impl Catalog {
    /// Our own signed entry.
    #[must_use]
    pub const fn local(&self) -> &SignedPeerEntry {
        &self.local
    }

    /// Our own id.
    #[must_use]
    pub fn local_id(&self) -> PeerId {
        self.local.id()
    }

    /// The network.
    #[must_use]
    pub fn network_id(&self) -> &NetworkId {
        self.local.network_id()
    }

    /// All other peers, signed entries first, then unsigned ones. Without peers that are known to
    /// be further away than `max_rtt`.
    pub fn peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        let near = self.known().filter(|known| self.is_near(known));
        near.map(|known| known.entry.entry()).chain(self.unsigned_peers())
    }

    /// The other peers' signed entries.
    pub fn signed_peers(&self) -> impl DoubleEndedIterator<Item = &SignedPeerEntry> {
        self.known().map(|known| &known.entry)
    }

    /// Entries that the application inserted and that no signed entry replaced.
    pub fn unsigned_peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        self.unsigned.values()
    }

    /// All entries, our own included.
    pub fn iter(&self) -> impl Iterator<Item = &PeerEntry> {
        self.iter_signed().map(SignedPeerEntry::entry).chain(self.unsigned_peers())
    }

    /// All signed entries, our own included.
    pub fn iter_signed(&self) -> impl Iterator<Item = &SignedPeerEntry> {
        std::iter::once(&self.local).chain(self.signed_peers())
    }

    /// The entry of a peer or of ourselves: signed, or else unsigned.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<&PeerEntry> {
        if *peer == self.local.id() {
            return Some(self.local.entry());
        }
        match self.signed.get(peer).filter(|known| self.is_fresh(known)) {
            Some(known) => self.is_near(known).then(|| known.entry.entry()),
            None => self.unsigned.get(peer),
        }
    }

    /// The signed entry of a peer or of ourselves.
    #[must_use]
    pub fn get_signed(&self, peer: &PeerId) -> Option<&SignedPeerEntry> {
        if *peer == self.local.id() {
            return Some(&self.local);
        }
        self.signed.get(peer).filter(|known| self.is_fresh(known)).map(|known| &known.entry)
    }

    /// The smoothed round-trip time to a peer, if there is a link to it.
    #[must_use]
    pub fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.rtts.get(peer).copied()
    }

    /// The number of other peers, unsigned entries included.
    #[must_use]
    pub fn peers_count(&self) -> usize {
        self.signed_peers_count() + self.unsigned.size()
    }

    /// The number of other peers with a signed entry.
    #[must_use]
    pub fn signed_peers_count(&self) -> usize {
        self.known().count()
    }

    fn known(&self) -> impl DoubleEndedIterator<Item = &Known> {
        self.signed.values().filter(|known| self.is_fresh(known))
    }

    fn is_fresh(&self, known: &Known) -> bool {
        self.hidden_before.is_none_or(|moment| known.since > moment)
    }

    fn is_near(&self, known: &Known) -> bool {
        match (self.max_rtt, self.rtt(&known.entry.id())) {
            (Some(limit), Some(rtt)) => rtt <= limit,
            _ => true,
        }
    }
}

/// The catalog, and what it does not show any more.
#[derive(Debug)]
struct State {
    catalog: Catalog,
    /// The last version of peers that left, which is not shown again; bounded like the catalog.
    gone: BTreeMap<PeerId, PeerEntryVersion>,
}

/// What snapshots are made of: written by the loop, and at once by handles that add entries.
#[derive(Debug)]
pub(crate) struct CatalogMirror {
    state: Mutex<State>,
    /// Counts changes; `catalog_watch` waits on it.
    pub(crate) version: Watched<u64>,
    purge_after: Option<Duration>,
    /// Entries dated further ahead are refused.
    drift: Duration,
    clock: Clock,
}

impl CatalogMirror {
    pub(crate) fn new(local: SignedPeerEntry, config: &Config, clock: Clock) -> Self {
        let catalog = Catalog {
            local,
            signed: RedBlackTreeMapSync::new_sync(),
            unsigned: RedBlackTreeMapSync::new_sync(),
            rtts: RedBlackTreeMapSync::new_sync(),
            hidden_before: None,
            max_rtt: config.max_rtt,
        };
        Self {
            state: Mutex::new(State { catalog, gone: BTreeMap::new() }),
            version: Watched::new(0),
            purge_after: config.purge_after,
            drift: config.max_time_drift.unwrap_or(limits::DRIFT_MAX),
            clock,
        }
    }

    /// The catalog of this moment.
    pub(crate) fn snapshot(&self) -> Catalog {
        let mut catalog = lock(&self.state).catalog.clone();
        catalog.hidden_before = self.purge_after.and_then(|after| {
            let now = self.clock.now().mono;
            (now.since(Instant::ZERO) >= after).then(|| now - after)
        });
        catalog
    }

    pub(crate) fn set_local(&self, entry: SignedPeerEntry) {
        self.write(|state| state.catalog.local = entry);
    }

    pub(crate) fn set_rtt(&self, peer: &PeerId, rtt: Option<Duration>) {
        let rtts = &mut lock(&self.state).catalog.rtts;
        match rtt {
            Some(rtt) => rtts.insert_mut(*peer, rtt),
            None => {
                rtts.remove_mut(peer);
            }
        }
    }

    /// Shows a signed entry at once, before the loop has seen it. True if it is acceptable and newer
    /// than what is or was there; the loop has the last word.
    pub(crate) fn feed(&self, entry: &SignedPeerEntry) -> bool {
        let now = self.clock.now();
        let (peer, version) = (entry.id(), entry.update_version());
        let ahead = entry.wall().ahead_of(now.wall);
        let early = u128::try_from(ahead).is_ok_and(|ahead| ahead > self.drift.as_millis());
        if early || entry.check_limits().is_err() {
            return false;
        }
        let newer = |state: &State| {
            let known = state.catalog.signed.get(&peer).map(|known| known.entry.update_version());
            known.max(state.gone.get(&peer).copied()) < Some(version)
        };
        self.write_if(newer, |State { catalog, .. }| {
            catalog.unsigned.remove_mut(&peer);
            catalog.signed.insert_mut(peer, Known { entry: entry.clone(), since: now.mono });
        })
    }

    /// Shows an unsigned entry at once. False if a signed one is there.
    pub(crate) fn insert(&self, entry: &PeerEntry) -> bool {
        let free = |state: &State| !state.catalog.signed.contains_key(&entry.id());
        self.write_if(free, |State { catalog, .. }| {
            catalog.unsigned.insert_mut(entry.id(), entry.clone());
        })
    }

    pub(crate) fn remove(&self, peer: &PeerId) -> bool {
        let there = |state: &State| state.catalog.unsigned.contains_key(peer);
        self.write_if(there, |State { catalog, .. }| {
            catalog.unsigned.remove_mut(peer);
        })
    }

    pub(crate) fn clear_unsigned(&self) -> bool {
        let any = |state: &State| !state.catalog.unsigned.is_empty();
        self.write_if(any, |state| state.catalog.unsigned = RedBlackTreeMapSync::new_sync())
    }

    /// Applies what the core published. Returns the number of signed peers.
    pub(crate) fn apply(&self, change: &Change) -> usize {
        self.write(|State { catalog, gone }| match change {
            Change::Entry { entry, since, .. } => {
                gone.remove(&entry.id());
                let known = Known { entry: entry.clone(), since: *since };
                catalog.signed.insert_mut(entry.id(), known);
            }
            Change::Gone { peer, .. } => {
                if let Some(known) = catalog.signed.get(peer) {
                    gone.insert(*peer, known.entry.update_version());
                    if gone.len() > limits::CATALOG_PEERS {
                        gone.pop_first();
                    }
                }
                catalog.signed.remove_mut(peer);
            }
            Change::Unsigned(entry) => {
                catalog.unsigned.insert_mut(entry.id(), entry.clone());
            }
            Change::UnsignedGone(peer) => {
                catalog.unsigned.remove_mut(peer);
            }
        });
        lock(&self.state).catalog.signed.size()
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.version.change(|version| *version += 1);
    }

    fn write_if(
        &self,
        condition: impl FnOnce(&State) -> bool,
        change: impl FnOnce(&mut State),
    ) -> bool {
        {
            let mut state = lock(&self.state);
            if !condition(&state) {
                return false;
            }
            change(&mut state);
        }
        self.version.change(|version| *version += 1);
        true
    }
}
