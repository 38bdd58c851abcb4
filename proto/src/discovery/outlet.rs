//! What waits to be sent on one link, and how much of it is under way.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use bytes::Bytes;

use super::{
    Catalog, PeerEntryVersion,
    frames::{self, Range},
};
use crate::{
    ids::PeerId,
    limits,
    time::{Instant, Now},
    wire::{self, HEADER_LEN},
};

/// The sending half of discovery on one link.
///
/// Items wait as ids, so a peer that changes often or a slow link costs one place in a set, and
/// what is sent is what is known when it is sent (DISC-20). Frames leave while less than half of
/// [`limits::CHANNEL_DEBT`] is under way. Items promised in a sync go first, then the marks that
/// must follow them, then news, then suspicions.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) peer: PeerId,
    /// We asked for its end: nothing is read from it or sent on it any more.
    pub(super) closed: bool,
    /// Items that a mark in `marks` follows.
    promised: BTreeSet<PeerId>,
    marks: VecDeque<Mark>,
    /// News.
    dirty: BTreeSet<PeerId>,
    suspects: BTreeMap<PeerId, PeerEntryVersion>,
    debt: u64,
    /// Catalog records that the peer may still make us walk; see [`limits::SYNC_WALK`].
    walk: u64,
    walk_at: Instant,
    /// News that the peer may still bring; see [`limits::NEWS_PER_SECOND`].
    news: u64,
    news_at: Instant,
}

/// A frame that keeps its place behind the promised items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The fingerprint of all that we hold.
    Probe(u64),
    /// We hold something else: we need the list.
    List(u64),
    /// Our list, from behind this id on.
    Have { nonce: u64, after: Option<PeerId> },
    /// What we want of a list.
    Need { nonce: u64, last: bool, peers: Vec<PeerId> },
    /// All that was needed is sent.
    Done(u64),
    /// All that came is merged.
    Synced(u64),
}

/// A frame: its kind and its payload.
pub(super) type Cut = (u8, Bytes);

impl Outlet {
    pub(super) const fn new(peer: PeerId, now: Instant) -> Self {
        Self {
            peer,
            closed: false,
            promised: BTreeSet::new(),
            marks: VecDeque::new(),
            dirty: BTreeSet::new(),
            suspects: BTreeMap::new(),
            debt: 0,
            walk: limits::SYNC_WALK,
            walk_at: now,
            news: limits::NEWS_AT_ONCE,
            news_at: now,
        }
    }

    /// The outlet of a new link to the same peer: news goes on, rounds begin anew.
    pub(super) fn renewed(mut self) -> Self {
        self.dirty.append(&mut self.promised);
        self.marks.clear();
        self.debt = 0;
        self.closed = false;
        self
    }

    /// News about this peer is to go out.
    pub(super) fn tell(&mut self, peer: PeerId) {
        self.dirty.insert(peer);
    }

    /// The other end knows about this peer what we know.
    pub(super) fn untell(&mut self, peer: &PeerId) {
        self.dirty.remove(peer);
    }

    /// An item that a sync owes.
    pub(super) fn promise(&mut self, peer: PeerId) {
        self.promised.insert(peer);
    }

    /// A suspicion is to go out.
    pub(super) fn suspect(&mut self, peer: PeerId, version: PeerEntryVersion) {
        self.suspects.insert(peer, version);
    }

    /// Puts a frame behind the promised items. False if too many wait: nothing was added.
    pub(super) fn mark(&mut self, mark: Mark) -> bool {
        let room = self.marks.len() < limits::SYNC_MARKS;
        if room {
            self.marks.push_back(mark);
        }
        room
    }

    /// Begins a round of our own: our list goes out, or first only its fingerprint.
    pub(super) fn begin(&mut self, nonce: u64, probe: bool) {
        let list = Mark::Have { nonce, after: None };
        self.marks.push_back(if probe { Mark::Probe(nonce) } else { list });
    }

    /// Forgets everything but what is under way.
    pub(super) fn clear(&mut self) {
        self.promised.clear();
        self.marks.clear();
        self.dirty.clear();
        self.suspects.clear();
    }

    /// Bytes went out.
    pub(super) const fn sent(&mut self, payload: &Bytes) {
        self.debt += (payload.len() + HEADER_LEN) as u64;
    }

    /// The transport took bytes. Links drain bytes of their own here too, hence saturating.
    pub(super) fn drained(&mut self, bytes: u32) {
        self.debt = self.debt.saturating_sub(u64::from(bytes));
    }

    /// Charges a walk over this many records; false if the peer asks for too many.
    pub(super) fn charge(&mut self, now: Instant, records: u64) -> bool {
        let elapsed = u64::try_from(now.since(self.walk_at).as_millis()).unwrap_or(u64::MAX);
        if elapsed > 0 {
            let more = (limits::SYNC_WALK / 1000).saturating_mul(elapsed);
            self.walk = self.walk.saturating_add(more).min(limits::SYNC_WALK);
            self.walk_at = now;
        }
        let allowed = self.walk >= records;
        self.walk = self.walk.saturating_sub(records);
        allowed
    }

    /// Takes one of the news that [`limits::NEWS_PER_SECOND`] allows the peer to bring.
    pub(super) fn takes_news(&mut self, now: Instant) -> bool {
        let elapsed = u64::try_from(now.since(self.news_at).as_millis()).unwrap_or(u64::MAX);
        let more = limits::NEWS_PER_SECOND.saturating_mul(elapsed) / 1000;
        if more > 0 {
            self.news = self.news.saturating_add(more).min(limits::NEWS_AT_ONCE);
            self.news_at = now;
        }
        let allowed = self.news > 0;
        self.news = self.news.saturating_sub(1);
        allowed
    }

    /// The next frame, if there is one and the link has room for it.
    pub(super) fn next(&mut self, catalog: &Catalog, now: Now) -> Option<Cut> {
        if self.closed || self.debt >= limits::CHANNEL_DEBT / 2 {
            return None;
        }
        let cut = self.cut(catalog, now)?;
        self.sent(&cut.1);
        Some(cut)
    }

    fn cut(&mut self, catalog: &Catalog, now: Now) -> Option<Cut> {
        if let Some(items) = batch(catalog, &mut self.promised, &mut self.dirty) {
            return Some((frames::ITEMS, items));
        }
        if let Some(mark) = self.marks.pop_front() {
            return Some(self.cut_mark(mark, catalog, now));
        }
        if let Some(items) = batch(catalog, &mut self.dirty, &mut BTreeSet::new()) {
            return Some((frames::ITEMS, items));
        }
        let (peer, version) = self.suspects.pop_first()?;
        Some((frames::SUSPECT, frames::suspect(peer, version)))
    }

    fn cut_mark(&mut self, mark: Mark, catalog: &Catalog, now: Now) -> Cut {
        match mark {
            Mark::Probe(nonce) => (frames::PROBE, wire::encode(&(nonce, catalog.fingerprint()))),
            Mark::List(nonce) => (frames::LIST, wire::encode(&nonce)),
            Mark::Have { nonce, after } => {
                let (payload, upto) = have(catalog, now, nonce, after);
                if upto.is_some() {
                    self.marks.push_front(Mark::Have { nonce, after: upto });
                }
                (frames::HAVE, payload)
            }
            Mark::Need { nonce, last, peers } => (frames::NEED, frames::need(nonce, last, &peers)),
            Mark::Done(nonce) => (frames::DONE, wire::encode(&nonce)),
            Mark::Synced(nonce) => (frames::SYNCED, wire::encode(&nonce)),
        }
    }
}

/// One frame full of items, taken from `from`; what is sent needs not be sent from `also`.
fn batch(
    catalog: &Catalog,
    from: &mut BTreeSet<PeerId>,
    also: &mut BTreeSet<PeerId>,
) -> Option<Bytes> {
    let mut payload = Vec::new();
    while payload.len() < limits::SYNC_BATCH {
        let Some(peer) = from.pop_first() else { break };
        also.remove(&peer);
        if let Some(item) = catalog.item(&peer) {
            wire::encode_into(&item, &mut payload);
        }
    }
    debug_assert!(payload.len() <= limits::SYNC_FRAME_BYTES as usize);
    (!payload.is_empty()).then(|| payload.into())
}

/// One frame of our list from behind `after` on, and where the next begins if it was not the last.
fn have(catalog: &Catalog, now: Now, nonce: u64, after: Option<PeerId>) -> (Bytes, Option<PeerId>) {
    let mut list = Vec::with_capacity(1024);
    let mut peers = catalog.range(after, None).peekable();
    let mut end = None;
    while list.len() < limits::SYNC_BATCH {
        let Some(peer) = peers.next() else { break };
        end = Some(peer);
        if let Some((version, listed)) = catalog.listed(now, &peer) {
            wire::encode_into(&(peer, version, listed), &mut list);
        }
    }
    let upto = if peers.peek().is_some() { end } else { None };
    let mut payload = Vec::with_capacity(80 + list.len());
    wire::encode_into(&Range { nonce, after, upto, last: upto.is_none() }, &mut payload);
    payload.extend_from_slice(&list);
    (payload.into(), upto)
}
