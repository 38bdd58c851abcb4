//! Fetching a snapshot from the members that hold it.
//!
//! ```text
//!            the leader says what            all chunks are there,
//!   Idle ───────────────────────► Fetching ────────────────────────► Installing ───► Idle
//!    ▲   is to be fetched            │  ▲    the head is what it says   │
//!    └── not needed, or nobody ──────┘  └─────── wrong bytes: again ────┘
//!        has it any more                         from one source
//! ```
//!
//! What is fetched is named by the leader (GRP-42); chunks come from everybody who holds the same
//! bytes. Questions to one member are answered in order, so an answer is told by its question, and a
//! late one by the number of the attempt that the question was asked in (GRP-43).

mod source;
mod target;

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use bytes::Bytes;

use self::{source::Source, target::Target};
use super::{
    InstallFault, Output,
    frames::{Frame, Manifest},
};
use crate::{
    core::Outbox,
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::{Lineage, LogIndex, Position},
    time::Instant,
};

/// What fetching or serving asks for.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Say this to a bonded member.
    Send(PeerId, Frame),
    /// Tell the host.
    Output(Output),
    /// End the channel on which it is asked, unless nothing is left of it: it is silent.
    HangUp(PeerId),
    /// It breaks the protocol: end the channel.
    Violation(PeerId),
    /// It alone sent what is not what it was asked for.
    Faulty(PeerId),
}

/// A snapshot that was fetched and is in force now.
#[derive(Debug)]
pub(super) struct Fetched {
    /// What it is, and the term of the leader that named it: for Raft.
    pub(super) manifest: Manifest,
    /// What the sessions encoded.
    pub(super) sessions: Bytes,
}

/// What one member of a lineage fetches. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// Who named, or is to name, what is fetched, and what that must hold.
    leader: Option<(PeerId, Position)>,
    target: Option<Target>,
    sources: BTreeMap<PeerId, Source>,
    /// Counts what was begun: questions are of one attempt.
    attempt: u64,
    /// Where the search for more sources goes on.
    asked_last: Option<PeerId>,
    /// The host could not take a snapshot: not before this.
    resting: Option<Instant>,
}

impl Fetch {
    /// True while a snapshot is being fetched or installed.
    pub(super) const fn is_busy(&self) -> bool {
        self.target.is_some()
    }

    /// True from [`Output::Install`] to its answer: nothing may be applied meanwhile (GRP-47).
    pub(super) fn is_installing(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.installing)
    }

    /// When silence ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.target.as_ref()?;
        self.sources.values().filter_map(Source::deadline).min()
    }

    /// The history is another one: everything about this one is forgotten.
    pub(super) fn reset(&mut self, out: &mut Outbox<Effect>) {
        self.cancel(out);
        self.leader = None;
        self.resting = None;
        self.sources.values_mut().for_each(|source| source.offer = None);
    }

    /// Raft needs what is only in snapshots; said again with every heartbeat of the leader.
    /// `peers` are the bonded members of this lineage.
    pub(super) fn need(
        &mut self,
        from: PeerId,
        base: Position,
        peers: impl Iterator<Item = PeerId>,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        if self.is_installing() || self.resting.is_some_and(|until| now < until) {
            return;
        }
        self.resting = None;
        self.leader = Some((from, base));
        if self.target.as_ref().is_some_and(|target| target.last() < base.index) {
            self.cancel(out);
        }
        if self.is_hopeless() {
            self.cancel(out);
            self.resting = Some(now + limits::FETCH_SILENCE);
            return;
        }
        if self.holders() == 0 {
            self.source(from, now).ask_manifest(from, now, out);
        }
        self.search(peers, now, out);
        self.pump(now, out);
    }

    /// GRP-47: everything up to here is handed to the machine by other means.
    pub(super) fn passed(&mut self, handed: LogIndex, out: &mut Outbox<Effect>) {
        let is_passed = |target: &Target| !target.installing && target.last() <= handed;
        if self.target.as_ref().is_some_and(is_passed) {
            self.cancel(out);
        }
    }

    /// Bytes of a member arrived.
    pub(super) fn heard(&mut self, from: PeerId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&from) {
            source.hear(now);
        }
    }

    /// What a member can give.
    pub(super) fn on_manifest(
        &mut self,
        from: PeerId,
        manifest: Option<Manifest>,
        lineage: Lineage,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        let Some(source) = self.sources.get_mut(&from).filter(|source| source.asked_manifest)
        else {
            return out.push(Effect::Violation(from));
        };
        source.hear(now);
        source.asked_manifest = false;
        if manifest.as_ref().is_some_and(|manifest| !is_sound(manifest)) {
            return out.push(Effect::Violation(from));
        }
        source.offer = manifest.filter(|manifest| manifest.snapshot.lineage == lineage);
        if source.is_of_no_use() {
            self.sources.remove(&from);
        } else {
            self.consider(from, out);
        }
        self.pump(now, out);
    }

    /// GRP-42: the leader names what is fetched, while nothing is or nobody has that any more.
    fn consider(&mut self, from: PeerId, out: &mut Outbox<Effect>) {
        let Some((leader, base)) = self.leader.filter(|_| !self.is_installing()) else { return };
        let offer = self.sources.get(&from).and_then(|source| source.offer.as_ref());
        let Some(offer) = offer.filter(|offer| offer.snapshot.last.index >= base.index) else {
            return;
        };
        if leader == from && self.resting.is_none() && self.holders() == 0 {
            let offer = offer.clone();
            self.begin(offer, out);
        }
    }

    /// A chunk, or `None` if the member does not have it any more.
    pub(super) fn on_chunk(
        &mut self,
        from: PeerId,
        chunk: u64,
        data: Option<Bytes>,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        let asked = self.sources.get_mut(&from).and_then(|source| source.answer(now));
        match asked.filter(|asked| asked.chunk == chunk) {
            Some(asked) if asked.attempt == self.attempt => {
                self.take(from, chunk, data, now, out);
            }
            // GRP-43: late, but an answer.
            Some(_) => {}
            None => return out.push(Effect::Violation(from)),
        }
        self.pump(now, out);
    }

    fn take(
        &mut self,
        from: PeerId,
        chunk: u64,
        data: Option<Bytes>,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        let Some(target) = self.target.as_mut().filter(|target| !target.installing) else { return };
        match data {
            Some(data) if target.may_come_from(from) && target.is_whole(chunk, &data) => {
                target.take(from, chunk, data, out);
                self.check_end(now, out);
            }
            Some(_) => {
                target.lose([chunk]);
                if target.bad.insert(from) {
                    out.push(Effect::Faulty(from));
                }
            }
            None => {
                target.lose([chunk]);
                if let Some(source) = self.sources.get_mut(&from) {
                    source.offer = None;
                }
            }
        }
    }

    /// The host took one chunk over.
    pub(super) fn kept(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        if let Some(target) = &mut self.target {
            target.keep();
            self.pump(now, out);
        }
    }

    /// A member cannot be asked any more, or only anew: its bond or its channel ended.
    pub(super) fn lost(&mut self, peer: PeerId, now: Instant, out: &mut Outbox<Effect>) {
        let Some(source) = self.sources.remove(&peer) else { return };
        if let Some(target) = &mut self.target
            && !mutant::on(Mutant::ChunksNotAskedAgain)
        {
            target.lose(source.chunks_of(self.attempt));
        }
        self.pump(now, out);
    }

    /// GRP-44: whoever says nothing is not waited for. Its channel ends, so that no late answer is
    /// taken for one to a later question.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        let silent = |source: &Source| source.deadline().is_some_and(|at| at <= now);
        while let Some(peer) = self.sources.iter().find(|(_, s)| silent(s)).map(|(peer, _)| *peer) {
            out.push(Effect::HangUp(peer));
            self.lost(peer, now, out);
        }
    }

    /// The machine is that of the snapshot now.
    pub(super) fn on_installed(&mut self, last: LogIndex) -> Option<Fetched> {
        self.target
            .take_if(|target| target.installing && target.last() == last)
            .map(Target::into_fetched)
    }

    /// It is not: nothing changed.
    pub(super) fn on_install_failed(
        &mut self,
        last: LogIndex,
        why: &InstallFault,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        if !self.target.as_ref().is_some_and(|target| target.installing && target.last() == last) {
            return;
        }
        match why {
            InstallFault::Digest => {
                self.wrong_bytes(now, out);
                self.pump(now, out);
            }
            InstallFault::Refused(what) => self.on_fetch_failed(what, now, out),
        }
    }

    /// The host cannot keep it.
    pub(super) fn on_fetch_failed(&mut self, what: &str, now: Instant, out: &mut Outbox<Effect>) {
        tracing::warn!(%what, "a fetched snapshot was refused here");
        self.cancel(out);
        self.resting = Some(now + limits::FETCH_SILENCE);
    }

    // --- inside ----------------------------------------------------------------------------

    fn source(&mut self, peer: PeerId, now: Instant) -> &mut Source {
        self.sources.entry(peer).or_insert_with(|| Source::new(now))
    }

    fn begin(&mut self, manifest: Manifest, out: &mut Outbox<Effect>) {
        let (snapshot, bytes) = (Box::new(manifest.snapshot.clone()), manifest.bytes);
        out.push(Effect::Output(Output::FetchBegin { snapshot, bytes }));
        self.attempt += 1;
        self.target = Some(Target::new(manifest));
    }

    fn cancel(&mut self, out: &mut Outbox<Effect>) {
        if self.target.take().is_some() {
            self.attempt += 1;
            out.push(Effect::Output(Output::FetchCancel));
        }
    }

    /// How many members have what is being fetched.
    fn holders(&self) -> usize {
        let held = |target: &Target| self.sources.values().filter(|s| target.is_held_by(s)).count();
        self.target.as_ref().map_or(0, held)
    }

    /// GRP-45: whoever holds it sent wrong bytes, and nobody else was asked whether it does. What was
    /// wrong then may be right later: it begins again after a while.
    fn is_hopeless(&self) -> bool {
        let Some(target) = &self.target else { return false };
        let is_bad = |(peer, source): (&PeerId, &Source)| {
            target.bad.contains(peer) || !target.is_held_by(source) && !source.asked_manifest
        };
        self.holders() > 0 && self.sources.iter().all(is_bad)
    }

    /// Asks members of whom it is not known what they hold, a few at a time and in turn.
    fn search(
        &mut self,
        peers: impl Iterator<Item = PeerId>,
        now: Instant,
        out: &mut Outbox<Effect>,
    ) {
        let asked = self.sources.values().filter(|source| source.asked_manifest).count();
        let room = limits::FETCH_SOURCES.saturating_sub(self.holders() + asked);
        let known = |source: &Source| {
            source.asked_manifest || self.target.as_ref().is_some_and(|t| t.is_held_by(source))
        };
        let mut unknown =
            peers.filter(|peer| !self.sources.get(peer).is_some_and(known)).collect::<Vec<_>>();
        unknown.sort_unstable_by_key(|peer| (Some(*peer) <= self.asked_last, *peer));
        for peer in unknown.into_iter().take(room) {
            self.asked_last = Some(peer);
            self.source(peer, now).ask_manifest(peer, now, out);
        }
    }

    /// Asks for chunks, of whoever has least to answer.
    fn pump(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        self.choose();
        let Some(target) = self.target.as_mut().filter(|target| !target.installing) else { return };
        loop {
            let ready = |(peer, source): &(&PeerId, &mut Source)| {
                source.has_room() && target.is_held_by(source) && target.may_come_from(**peer)
            };
            let idle = self.sources.iter_mut().filter(ready);
            let Some((peer, source)) = idle.min_by_key(|(_, source)| source.load()) else { return };
            let Some(chunk) = target.next(source.load() == 0) else { return };
            source.ask(chunk, self.attempt, now);
            let digest = target.manifest.digest;
            let frame = Frame::FetchChunk { last: target.last(), digest, chunk };
            out.push(Effect::Send(*peer, frame));
        }
    }

    /// GRP-45: after wrong bytes one member is asked alone, the leader if it may be; another if that
    /// one does not have it any more.
    fn choose(&mut self) {
        let Some(target) = self.target.as_mut().filter(|target| target.alone) else { return };
        let good = |peer: &PeerId| {
            !target.bad.contains(peer)
                && self.sources.get(peer).is_some_and(|source| target.is_held_by(source))
        };
        if !target.only.as_ref().is_some_and(good) {
            let leader = self.leader.map(|(peer, _)| peer).filter(good);
            target.only = leader.or_else(|| self.sources.keys().copied().find(good));
        }
    }

    /// Everything is there: the host compares, and installs.
    fn check_end(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        let Some(target) = self.target.as_mut().filter(|target| target.is_complete()) else {
            return;
        };
        if !target.open_head() {
            return self.wrong_bytes(now, out);
        }
        target.installing = true;
        let Manifest { snapshot, head, bytes, digest, term: _ } = target.manifest.clone();
        let snapshot = Box::new(snapshot);
        out.push(Effect::Output(Output::Install { snapshot, head, bytes, digest }));
    }

    /// GRP-45: somebody sent wrong bytes. Again, from one member at a time.
    fn wrong_bytes(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        let Some(Target { manifest, used, mut bad, .. }) = self.target.take() else { return };
        if let (Some(culprit), 1) = (used.first(), used.len()) {
            bad.insert(*culprit);
            out.push(Effect::Faulty(*culprit));
        }
        self.begin(manifest, out);
        if let Some(target) = &mut self.target
            && !mutant::on(Mutant::LiarAskedAgain)
        {
            (target.bad, target.alone) = (bad, true);
        }
        self.choose();
        if self.target.as_ref().is_some_and(|target| target.only.is_none()) {
            // All were tried.
            self.cancel(out);
            self.resting = Some(now + limits::FETCH_SILENCE);
        }
    }
}

/// True if it is what a member may say.
fn is_sound(manifest: &Manifest) -> bool {
    let Manifest { term, snapshot, head, bytes, digest: _ } = manifest;
    snapshot.membership.is_sound()
        && (LogIndex(1)..).contains(&snapshot.last.index)
        && snapshot.last.term <= *term
        && *head as usize <= limits::SNAPSHOT_HEAD_BYTES
        && (1..=*bytes).contains(&u64::from(*head))
}

#[cfg(test)]
mod tests;
