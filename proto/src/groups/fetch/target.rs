//! A snapshot that is being fetched.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::Bytes;

use super::{Effect, Fetched, source::Source};
use crate::{
    core::Outbox,
    groups::{Output, frames::Manifest, head},
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::LogIndex,
};

const CHUNK: u64 = limits::SNAPSHOT_CHUNK as u64;
/// Chunks that are asked for, or arrived out of order, or wait for the host.
const WINDOW: u64 = (limits::FETCH_WINDOW / limits::SNAPSHOT_CHUNK) as u64;

/// How far it is. Chunks pass these in turn: `kept <= delivered <= next <= kept + WINDOW`.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) manifest: Manifest,
    chunks: u64,
    /// The first that was never asked for.
    next: u64,
    /// Asked for in vain.
    again: BTreeSet<u64>,
    /// Arrived before others that come first.
    early: BTreeMap<u64, Bytes>,
    /// The first that was not handed to the host.
    delivered: u64,
    /// The first that the host did not take over.
    kept: u64,
    /// Asked of a second member, because everything waits for it.
    hedged: Option<u64>,
    /// This core's part, as far as it is there; then what the sessions encoded.
    head: Vec<u8>,
    sessions: Bytes,
    /// Who sent chunks.
    pub(super) used: BTreeSet<PeerId>,
    /// Who sent what is no part of it.
    pub(super) bad: BTreeSet<PeerId>,
    /// Somebody sent wrong bytes: one member is asked at a time.
    pub(super) alone: bool,
    /// Which.
    pub(super) only: Option<PeerId>,
    /// The host was told to install it.
    pub(super) installing: bool,
}

impl Target {
    pub(super) fn new(manifest: Manifest) -> Self {
        Self {
            chunks: manifest.bytes.div_ceil(CHUNK),
            manifest,
            next: 0,
            again: BTreeSet::new(),
            early: BTreeMap::new(),
            delivered: 0,
            kept: 0,
            hedged: None,
            head: Vec::new(),
            sessions: Bytes::new(),
            used: BTreeSet::new(),
            bad: BTreeSet::new(),
            alone: false,
            only: None,
            installing: false,
        }
    }

    /// The last entry that it covers.
    pub(super) const fn last(&self) -> LogIndex {
        self.manifest.snapshot.last.index
    }

    /// GRP-42: the same bytes, of the same history up to the same entry.
    pub(super) fn is(&self, manifest: &Manifest) -> bool {
        let Manifest { snapshot, bytes, digest, head, term: _ } = &self.manifest;
        *snapshot == manifest.snapshot
            && (bytes, digest, head) == (&manifest.bytes, &manifest.digest, &manifest.head)
    }

    pub(super) fn may_come_from(&self, peer: PeerId) -> bool {
        !self.bad.contains(&peer) && (!self.alone || self.only == Some(peer))
    }

    /// True if that member has it.
    pub(super) fn is_held_by(&self, source: &Source) -> bool {
        source.offer.as_ref().is_some_and(|offer| self.is(offer))
    }

    /// What to ask a member for.
    pub(super) fn next(&mut self, idle: bool) -> Option<u64> {
        if let Some(chunk) = self.again.pop_first() {
            return Some(chunk);
        }
        if self.next < self.chunks.min(self.kept + WINDOW) {
            self.next += 1;
            return Some(self.next - 1);
        }
        // One slow member must not hold up the others.
        let waited_for = self.delivered < self.next && self.hedged != Some(self.delivered);
        if idle && waited_for && !mutant::on(Mutant::ChunksNotAskedAgain) {
            self.hedged = Some(self.delivered);
            return self.hedged;
        }
        None
    }

    /// These will not come.
    pub(super) fn lose(&mut self, chunks: impl IntoIterator<Item = u64>) {
        for chunk in chunks {
            if self.is_wanted(chunk) {
                self.again.insert(chunk);
            }
        }
    }

    fn is_wanted(&self, chunk: u64) -> bool {
        chunk >= self.delivered && !self.early.contains_key(&chunk)
    }

    /// All chunks but the last have one size.
    pub(super) fn is_whole(&self, chunk: u64, data: &Bytes) -> bool {
        data.len() as u64 == (self.manifest.bytes - chunk * CHUNK).min(CHUNK)
    }

    /// A chunk arrived: what follows what was delivered goes to the host.
    pub(super) fn take(&mut self, from: PeerId, chunk: u64, data: Bytes, out: &mut Outbox<Effect>) {
        if !self.is_wanted(chunk) {
            return;
        }
        self.used.insert(from);
        self.again.remove(&chunk);
        self.early.insert(chunk, data);
        while let Some(data) = self.early.remove(&self.delivered) {
            let missing = self.manifest.head as usize - self.head.len();
            self.head.extend_from_slice(&data[..missing.min(data.len())]);
            self.delivered += 1;
            out.push(Effect::Output(Output::FetchChunk(data)));
        }
    }

    /// The host took one over.
    pub(super) fn keep(&mut self) {
        self.kept = (self.kept + 1).min(self.delivered);
    }

    /// True if the host has all of it.
    pub(super) const fn is_complete(&self) -> bool {
        self.delivered == self.chunks
    }

    /// GRP-42: true if it says of itself what was said of it.
    pub(super) fn open_head(&mut self) -> bool {
        let head = Bytes::from(core::mem::take(&mut self.head));
        let Some((snapshot, sessions)) = head::decode(&head) else { return false };
        self.sessions = sessions;
        snapshot == self.manifest.snapshot
    }

    pub(super) fn into_fetched(self) -> Fetched {
        Fetched { manifest: self.manifest, sessions: self.sessions }
    }
}
