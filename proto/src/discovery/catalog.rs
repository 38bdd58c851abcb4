//! Everything known about peers: the replicated state, and what this node knows for itself.

use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

use super::{
    PeerEntry, PeerEntryVersion, SignedPeerEntry, Tombstone,
    admit::Refused,
    frames::{Item, Listed},
};
use crate::{
    ids::{NetworkId, PeerId},
    limits,
    mutant::{self, Mutant},
    time::{Instant, Now},
};

/// Everything known about peers.
///
/// The replicated part is a CRDT: per peer the highest (version, tombstone beats entry) wins, so
/// merging is commutative, associative and idempotent (DISC-01). What this node alone knows, that
/// a peer was given up or purged and when its version last advanced, is kept beside it and decides
/// what is *visible*, never what wins.
#[derive(Clone, Debug)]
pub struct Catalog {
    network: NetworkId,
    me: PeerId,
    local: Option<SignedPeerEntry>,
    records: BTreeMap<PeerId, Record>,
    unsigned: BTreeMap<PeerId, PeerEntry>,
    /// Tombstones and floors by age: the first to go when there are too many.
    graves: BTreeSet<(Instant, PeerId)>,
    /// Peers given up by age: the next to go.
    fallen: BTreeSet<(Instant, PeerId)>,
    visible: usize,
    /// The sum of all [`weight`]s: equal for equal catalogs.
    fingerprint: u128,
}

/// What is held about one peer.
#[derive(Clone, Debug)]
struct Record {
    held: Held,
    /// When the version last advanced here.
    since: Instant,
    /// Since when the peer is given up at this version.
    down: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Held {
    Entry(SignedPeerEntry),
    Tombstone(Tombstone),
    /// Purged here: neither this version nor a lower one comes back.
    Floor(PeerEntryVersion),
}

/// Orders what is known of one peer: the version, then an end beats an entry.
pub(super) type Rank = (PeerEntryVersion, bool);

impl Record {
    fn rank(&self) -> Rank {
        match &self.held {
            Held::Entry(entry) => (entry.update_version(), false),
            Held::Tombstone(tombstone) => (tombstone.version(), true),
            Held::Floor(version) => (*version, true),
        }
    }

    fn weight(&self, peer: &PeerId) -> u128 {
        let (version, _) = self.rank();
        let kind = match self.held {
            Held::Tombstone(_) => Listed::Tombstone,
            Held::Entry(_) if self.down.is_some() => Listed::Down,
            // Neither side has anything to give to or take from the other.
            Held::Entry(_) | Held::Floor(_) => Listed::Entry,
        };
        weight(peer, version, kind)
    }

    fn visible(&self) -> Option<&SignedPeerEntry> {
        match &self.held {
            Held::Entry(entry) if self.down.is_none() => Some(entry),
            Held::Entry(_) | Held::Tombstone(_) | Held::Floor(_) => None,
        }
    }
}

/// What merging an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// The peer was not visible before.
    Discovered,
    /// A visible entry has new content.
    Updated,
    /// A visible entry has a new version but the same content.
    Resigned,
}

impl Catalog {
    /// The empty catalog of node `me` in `network`.
    #[must_use]
    pub const fn new(network: NetworkId, me: PeerId) -> Self {
        Self {
            network,
            me,
            local: None,
            records: BTreeMap::new(),
            unsigned: BTreeMap::new(),
            graves: BTreeSet::new(),
            fallen: BTreeSet::new(),
            visible: 0,
            fingerprint: 0,
        }
    }

    /// The visible entry of another peer: signed, or else unsigned.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<&PeerEntry> {
        self.signed(peer).map(SignedPeerEntry::entry).or_else(|| self.unsigned.get(peer))
    }

    /// The visible signed entry of another peer.
    #[must_use]
    pub fn signed(&self, peer: &PeerId) -> Option<&SignedPeerEntry> {
        self.records.get(peer)?.visible()
    }

    /// The unsigned entry of a peer, if the application inserted one.
    #[must_use]
    pub fn unsigned(&self, peer: &PeerId) -> Option<&PeerEntry> {
        self.unsigned.get(peer)
    }

    /// All visible entries of others in the order of their ids, unsigned ones included.
    pub fn peers(&self) -> impl Iterator<Item = &PeerEntry> {
        let mut signed = self.signed_peers().map(SignedPeerEntry::entry).peekable();
        let mut unsigned = self.unsigned.values().peekable();
        core::iter::from_fn(move || match (signed.peek(), unsigned.peek()) {
            (Some(a), Some(b)) if a.id() == b.id() => {
                unsigned.next();
                signed.next()
            }
            (Some(a), Some(b)) if a.id() > b.id() => unsigned.next(),
            (Some(_), _) => signed.next(),
            (None, _) => unsigned.next(),
        })
    }

    /// All visible signed entries of others in the order of their ids.
    pub fn signed_peers(&self) -> impl Iterator<Item = &SignedPeerEntry> {
        self.records.values().filter_map(Record::visible)
    }

    /// Our own entry; `None` until it was signed for the first time.
    #[must_use]
    pub const fn local(&self) -> Option<&SignedPeerEntry> {
        self.local.as_ref()
    }

    /// Our own id.
    #[must_use]
    pub const fn local_id(&self) -> PeerId {
        self.me
    }

    /// The network that this is the catalog of.
    #[must_use]
    pub const fn network_id(&self) -> &NetworkId {
        &self.network
    }

    /// The number of visible signed entries of others.
    #[must_use]
    pub const fn signed_count(&self) -> usize {
        self.visible
    }

    /// The number of unsigned entries.
    #[must_use]
    pub fn unsigned_count(&self) -> usize {
        self.unsigned.len()
    }

    /// The number of peers that something is held about, tombstones and hidden ones included.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.records.len()
    }

    /// The tombstone of a peer that left and did not come back.
    #[must_use]
    pub fn tombstone(&self, peer: &PeerId) -> Option<&Tombstone> {
        match &self.records.get(peer)?.held {
            Held::Tombstone(tombstone) => Some(tombstone),
            Held::Entry(_) | Held::Floor(_) => None,
        }
    }

    /// The version at which this node gave a peer up, if it did.
    #[must_use]
    pub fn given_up(&self, peer: &PeerId) -> Option<PeerEntryVersion> {
        let record = self.records.get(peer)?;
        record.down.map(|_| record.rank().0)
    }

    /// Where a peer that this node gave up was last known to be.
    pub(super) fn last_addrs(&self, peer: &PeerId) -> alloc::vec::Vec<core::net::SocketAddr> {
        match self.records.get(peer).map(|record| &record.held) {
            Some(Held::Entry(entry)) => entry.address().addrs.iter().copied().collect(),
            Some(Held::Tombstone(_) | Held::Floor(_)) | None => alloc::vec::Vec::new(),
        }
    }

    /// When the version of a peer's entry last advanced here.
    #[must_use]
    pub fn since(&self, peer: &PeerId) -> Option<Instant> {
        self.records.get(peer).map(|record| record.since)
    }

    /// Puts a signed entry in by hand, whatever its version: for tests of siblings.
    pub fn set(&mut self, entry: SignedPeerEntry) {
        if entry.id() == self.me {
            self.set_local(entry);
        } else {
            self.install(Instant::ZERO, entry.id(), Held::Entry(entry));
        }
    }

    // --- the replicated state ---------------------------------------------------------------

    /// Takes over our own entry. False if it is not newer than the one we have.
    pub(super) fn set_local(&mut self, entry: SignedPeerEntry) -> bool {
        let newer =
            self.local.as_ref().is_none_or(|old| entry.update_version() > old.update_version());
        if newer {
            let old = self.local.as_ref().map_or(0, |old| weigh_local(old));
            let new = weigh_local(&entry);
            self.fingerprint = self.fingerprint.wrapping_sub(old).wrapping_add(new);
            self.local = Some(entry);
        }
        newer
    }

    /// The rank of what is held about a peer, ourselves included.
    pub(super) fn rank(&self, peer: &PeerId) -> Option<Rank> {
        if *peer == self.me {
            return self.local.as_ref().map(|entry| (entry.update_version(), false));
        }
        self.records.get(peer).map(Record::rank)
    }

    /// Merges an entry that passed admission; `kept` peers are taken even if the catalog is full.
    pub(super) fn merge_entry(
        &mut self,
        now: Instant,
        entry: SignedPeerEntry,
        kept: bool,
    ) -> Result<Merged, Refused> {
        let peer = entry.id();
        debug_assert_ne!(peer, self.me);
        match self.records.get(&peer) {
            None if !kept => self.make_room()?,
            None => {}
            Some(record)
                if record.rank() >= (entry.update_version(), false)
                    && !(mutant::on(Mutant::OlderAccepted)
                        && record.rank() > (entry.update_version(), false)) =>
            {
                return Err(Refused::Known);
            }
            Some(_) => {}
        }
        let merged = match self.signed(&peer) {
            None => Merged::Discovered,
            Some(old) if old.says_the_same_as(&entry) => Merged::Resigned,
            Some(_) => Merged::Updated,
        };
        self.install(now, peer, Held::Entry(entry));
        Ok(merged)
    }

    /// Merges a tombstone that passed admission. True if an entry became invisible by it. Those of
    /// strangers are refused when there is no room: they must not push out the ends that we need.
    pub(super) fn merge_tombstone(
        &mut self,
        now: Instant,
        tombstone: Tombstone,
    ) -> Result<bool, Refused> {
        let peer = tombstone.peer();
        debug_assert_ne!(peer, self.me);
        match self.rank(&peer) {
            Some(rank) if rank >= (tombstone.version(), true) => return Err(Refused::Known),
            None if !self.has_room_for_end_of(&peer) => return Err(Refused::Full),
            Some(_) | None => {}
        }
        let gone = self.signed(&peer).is_some();
        self.install(now, peer, Held::Tombstone(tombstone));
        Ok(gone)
    }

    /// Drops a tombstone whose life is over.
    pub(super) fn forget_tombstone(&mut self, peer: &PeerId) {
        if self.tombstone(peer).is_some() {
            self.remove(peer);
        }
    }

    // --- what this node knows for itself ----------------------------------------------------

    /// Hides a visible peer that cannot be reached at its present version. True if it did.
    pub(super) fn give_up(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(record) = self.records.get_mut(&peer) else { return false };
        if record.visible().is_none() {
            return false;
        }
        let before = record.weight(&peer);
        record.down = Some(now);
        let change = record.weight(&peer).wrapping_sub(before);
        self.fingerprint = self.fingerprint.wrapping_add(change);
        self.fallen.insert((now, peer));
        self.visible -= 1;
        true
    }

    /// Shows a peer again that was given up. True if it did.
    pub(super) fn revive(&mut self, peer: &PeerId) -> bool {
        let Some(record) = self.records.get_mut(peer) else { return false };
        let before = record.weight(peer);
        let Some(at) = record.down.take() else { return false };
        let change = record.weight(peer).wrapping_sub(before);
        self.fingerprint = self.fingerprint.wrapping_add(change);
        self.fallen.remove(&(at, *peer));
        self.visible += 1;
        true
    }

    /// Ends an entry whose version did not advance for too long. True if it was visible.
    pub(super) fn purge(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(Record { held: Held::Entry(entry), .. }) = self.records.get(&peer) else {
            return false;
        };
        let version = entry.update_version();
        let gone = self.signed(&peer).is_some();
        self.install(now, peer, Held::Floor(version));
        gone
    }

    // --- unsigned ---------------------------------------------------------------------------

    /// Remembers an unsigned entry. `Ok(false)` if there is a signed one, or it is not for us.
    pub(super) fn insert_unsigned(&mut self, entry: PeerEntry) -> Result<bool, Refused> {
        let peer = entry.id();
        let ours = peer == self.me || *entry.network_id() != self.network;
        if ours || self.signed(&peer).is_some() {
            return Ok(false);
        }
        let full = self.unsigned.len() >= limits::UNSIGNED_PEERS;
        if full && !self.unsigned.contains_key(&peer) {
            return Err(Refused::Full);
        }
        self.unsigned.insert(peer, entry);
        Ok(true)
    }

    /// Forgets an unsigned entry. True if there was one.
    pub(super) fn remove_unsigned(&mut self, peer: &PeerId) -> bool {
        self.unsigned.remove(peer).is_some()
    }

    /// Forgets all unsigned entries and says whose they were.
    pub(super) fn clear_unsigned(&mut self) -> BTreeMap<PeerId, PeerEntry> {
        core::mem::take(&mut self.unsigned)
    }

    // --- for sync and news ------------------------------------------------------------------

    /// What we send about a peer: our own entry, a visible one, or a tombstone of any age.
    pub(super) fn item(&self, peer: &PeerId) -> Option<Item> {
        if *peer == self.me {
            return self.local.as_ref().map(|entry| Item::Entry(entry.to_unverified()));
        }
        let record = self.records.get(peer)?;
        match &record.held {
            Held::Tombstone(tombstone) => Some(Item::Tombstone(tombstone.clone())),
            Held::Entry(_) | Held::Floor(_) => {
                record.visible().map(|entry| Item::Entry(entry.to_unverified()))
            }
        }
    }

    /// How a peer is listed in a sync, or nothing if it is not (an old tombstone).
    pub(super) fn listed(&self, now: Now, peer: &PeerId) -> Option<(PeerEntryVersion, Listed)> {
        if *peer == self.me {
            return self.local.as_ref().map(|entry| (entry.update_version(), Listed::Entry));
        }
        let record = self.records.get(peer)?;
        let listed = match &record.held {
            Held::Entry(_) if record.down.is_some() => Listed::Down,
            Held::Entry(_) => Listed::Entry,
            Held::Tombstone(tombstone) if is_aged(now, record.since, tombstone) => return None,
            Held::Tombstone(_) => Listed::Tombstone,
            Held::Floor(_) => Listed::Floor,
        };
        Some((record.rank().0, listed))
    }

    /// Equal for two catalogs that have nothing to tell each other.
    pub(super) const fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// The peers held in a range of ids, ourselves included, in order.
    pub(super) fn range(
        &self,
        after: Option<PeerId>,
        upto: Option<PeerId>,
    ) -> impl Iterator<Item = PeerId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = upto.map_or(Bound::Unbounded, Bound::Included);
        let empty = matches!((after, upto), (Some(after), Some(upto)) if after >= upto);
        let range = (!empty).then(|| self.records.range((from, to))).into_iter().flatten();
        let mut others = range.map(|(peer, _)| *peer).peekable();
        let me = self.me;
        let within = !empty
            && after.is_none_or(|after| me > after)
            && upto.is_none_or(|upto| me <= upto)
            && self.local.is_some();
        let mut mine = within.then_some(me);
        core::iter::from_fn(move || match (mine, others.peek()) {
            (Some(me), Some(other)) if *other < me => others.next(),
            (Some(_), _) => mine.take(),
            (None, _) => others.next(),
        })
    }

    // --- bounds -----------------------------------------------------------------------------

    /// True if an entry of this peer could be taken, though it is a stranger (DISC-06).
    pub(super) fn has_room_for(&self, peer: &PeerId) -> bool {
        self.records.len() < limits::CATALOG_PEERS
            || self.records.contains_key(peer)
            || !self.fallen.is_empty()
            || self.graves.len() > limits::CATALOG_PEERS / 2
    }

    /// The same of a tombstone.
    pub(super) fn has_room_for_end_of(&self, peer: &PeerId) -> bool {
        let room = self.records.len() < limits::CATALOG_PEERS
            && self.graves.len() <= limits::CATALOG_PEERS / 2;
        room || self.records.contains_key(peer)
    }

    /// Makes room for a stranger: an old end of somebody goes, or a peer that was given up.
    fn make_room(&mut self) -> Result<(), Refused> {
        if self.records.len() < limits::CATALOG_PEERS {
            return Ok(());
        }
        // As `has_room_for` promised: one of the two has somebody who can go.
        let graves = self.graves.len() > limits::CATALOG_PEERS / 2;
        let oldest = if graves { self.graves.first() } else { self.fallen.first() };
        let (_, peer) = *oldest.ok_or(Refused::Full)?;
        self.remove(&peer);
        Ok(())
    }

    fn install(&mut self, now: Instant, peer: PeerId, held: Held) {
        self.remove(&peer);
        match &held {
            Held::Entry(_) => self.visible += 1,
            Held::Tombstone(_) | Held::Floor(_) => {
                self.graves.insert((now, peer));
            }
        }
        let record = Record { held, since: now, down: None };
        self.fingerprint = self.fingerprint.wrapping_add(record.weight(&peer));
        self.records.insert(peer, record);
    }

    fn remove(&mut self, peer: &PeerId) {
        let Some(record) = self.records.remove(peer) else { return };
        self.fingerprint = self.fingerprint.wrapping_sub(record.weight(peer));
        match (&record.held, record.down) {
            (Held::Entry(_), None) => self.visible -= 1,
            (Held::Entry(_), Some(at)) => {
                self.fallen.remove(&(at, *peer));
            }
            (Held::Tombstone(_) | Held::Floor(_), _) => {
                self.graves.remove(&(record.since, *peer));
            }
        }
    }
}

impl Default for Catalog {
    /// A catalog of nobody in particular: for tests of siblings.
    fn default() -> Self {
        Self::new(NetworkId::zero(), PeerId::from_bytes([0; 32]))
    }
}

/// True if a tombstone is not passed on any more: close to the end of its life, here or by the
/// clock of whom it ends (else each newcomer would prolong it for ever).
pub(super) fn is_aged(now: Now, since: Instant, tombstone: &Tombstone) -> bool {
    let life = limits::TOMBSTONE_LIFE - limits::TOMBSTONE_LIFE / 24;
    let age = now.wall.ahead_of(tombstone.wall());
    now.mono.since(since) >= life || age >= i64::try_from(life.as_millis()).unwrap_or(i64::MAX)
}

/// What one peer adds to the fingerprint.
fn weight(peer: &PeerId, version: PeerEntryVersion, listed: Listed) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(peer.as_bytes());
    hasher.update(&version.incarnation.to_le_bytes());
    hasher.update(&version.counter.to_le_bytes());
    hasher.update(&[listed as u8]);
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

fn weigh_local(entry: &PeerEntry) -> u128 {
    weight(&entry.id(), entry.update_version(), Listed::Entry)
}

#[cfg(test)]
mod tests;
