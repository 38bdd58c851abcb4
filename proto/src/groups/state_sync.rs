//! How machines of members come to hold the same: snapshots are frozen, served, fetched and
//! installed, and states are compared. Puts the parts together and to work within a group.

use alloc::{boxed::Box, collections::VecDeque, string::String};

use super::{
    FrozenHead, GroupConfig, Input, Notice, Output,
    applying::Handing,
    bonds::BondEvent,
    context::Cx,
    control::Control,
    digests::{self, Digests},
    fetch::{Effect, Fetch},
    frames::{Class, Frame, Manifest, Told},
    group::Group,
    head,
    serving::Question,
    snapshots::Snapshots,
    state::State,
};
use crate::{
    Digest,
    core::Outbox,
    ids::PeerId,
    limits,
    raft::{self, Kind, LogIndex, Origin, Position, Role, Run, Seat, Snapshot},
    time::Instant,
    wire::CloseCode,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct StateSync {
    pub(super) snapshots: Snapshots,
    pub(super) fetch: Fetch,
    digests: Digests,
    /// Digests that the host was asked for, and in which tenure of a lineage: it answers in order.
    asked: VecDeque<(LogIndex, u64)>,
    /// Commands up to the last entry at which states are compared.
    compared: u64,
    effects: Outbox<Effect>,
}

impl StateSync {
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            snapshots: Snapshots::new(config),
            fetch: Fetch::default(),
            digests: Digests::default(),
            asked: VecDeque::new(),
            compared: 0,
            effects: Outbox::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.fetch.deadline()
    }

    /// True while the host replaces the machine: nothing may be handed to it (GRP-47).
    pub(super) fn is_installing(&self) -> bool {
        self.fetch.is_installing()
    }

    /// True while a snapshot is on its way to this member.
    pub(super) const fn is_fetching(&self) -> bool {
        self.fetch.is_busy()
    }
}

impl Group {
    // --- what happens ------------------------------------------------------------------------

    /// The history is another one.
    pub(super) fn reset_sync(&mut self, cx: &mut Cx<'_>) {
        self.sync.snapshots.reset();
        self.sync.digests.reset();
        self.sync.compared = 0;
        self.with_sync(cx, |sync, _, out| sync.fetch.reset(out));
    }

    /// The store has a snapshot that the log begins with, and the machine was restored from it. False if
    /// it is not what the log needs.
    pub(super) fn sync_loaded(&mut self, base: Snapshot, frozen: Option<&FrozenHead>) -> bool {
        let at = base.last.index;
        if at == LogIndex(0) {
            return true;
        }
        let Some(frozen) = frozen else { return false };
        let Some((covers, sessions)) = head::decode(&frozen.head) else { return false };
        if !self.restore_sessions(&sessions, at) {
            return false;
        }
        // A lineage that was made from another has a snapshot of that one, of no use to newcomers.
        let fits = covers.last == base.last;
        if covers == base {
            self.sync.snapshots.loaded(base, frozen);
        }
        fits
    }

    pub(super) fn sync_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.sync.deadline().is_some_and(|at| at <= cx.now()) {
            self.with_sync(cx, |sync, now, out| sync.fetch.on_timeout(now, out));
        }
    }

    pub(super) fn on_sync_input(&mut self, input: Input, cx: &mut Cx<'_>) {
        match input {
            Input::StateDigest { at, digest } => self.on_digest(at, digest, cx),
            Input::Frozen { snapshot, bytes, digest } => {
                self.on_frozen(&snapshot, bytes, digest, cx);
            }
            Input::FreezeFailed(at) => self.sync.snapshots.on_freeze_failed(at),
            Input::Chunk { read, data } => {
                self.with_sync(cx, |sync, _, out| sync.snapshots.on_read(read, data, out));
            }
            Input::ChunkKept => self.with_sync(cx, |sync, now, out| sync.fetch.kept(now, out)),
            Input::FetchFailed(what) => {
                self.with_sync(cx, |sync, now, out| sync.fetch.on_fetch_failed(&what, now, out));
            }
            Input::Installed(last) => self.on_installed(last, cx),
            Input::InstallFailed { last, why } => {
                self.with_sync(cx, |sync, now, out| {
                    sync.fetch.on_install_failed(last, &why, now, out);
                });
            }
            _ => {}
        }
    }

    pub(super) fn on_sync_bond(&mut self, event: &BondEvent, cx: &mut Cx<'_>) {
        match *event {
            BondEvent::Down(peer) => {
                self.sync.digests.lost(peer);
                self.with_sync(cx, |sync, now, out| {
                    sync.snapshots.lost(peer);
                    sync.fetch.lost(peer, now, out);
                });
            }
            BondEvent::Closed { peer, class: Class::Snapshot, accepted } => {
                self.with_sync(cx, |sync, now, out| match accepted {
                    true => sync.snapshots.lost(peer),
                    false => sync.fetch.lost(peer, now, out),
                });
            }
            BondEvent::Progress { peer, .. } => self.sync.fetch.heard(peer, cx.now()),
            BondEvent::Drained { class: Class::Snapshot, .. } => self.with_sync(cx, |_, _, _| {}),
            _ => {}
        }
    }

    pub(super) fn on_sync_frame(&mut self, peer: PeerId, frame: Frame, cx: &mut Cx<'_>) {
        let question = match frame {
            Frame::FetchManifest => Question::Manifest,
            Frame::FetchChunk { last, digest, chunk } => Question::Chunk { last, digest, chunk },
            Frame::Manifest(manifest) => return self.on_manifest(peer, manifest, cx),
            Frame::Chunk { chunk, data } => return self.on_chunk(peer, chunk, Some(data), cx),
            Frame::NoChunk { chunk } => return self.on_chunk(peer, chunk, None, cx),
            Frame::Digest { lineage, at, digest } => {
                let State::Member(standing) = &self.state else { return };
                if standing.lineage == lineage {
                    self.sync.digests.theirs(peer, at, digest);
                    self.compare(cx);
                }
                return;
            }
            Frame::Told(Told::Diverged { lineage, at }) => {
                let State::Member(standing) = &self.state else { return };
                let leads = standing.raft.leader().is_some_and(|leader| leader.peer == peer);
                if standing.lineage == lineage && leads && self.sync.digests.has(at) {
                    self.diverged(at, cx);
                }
                return;
            }
            _ => return,
        };
        self.with_sync(cx, |sync, _, out| sync.snapshots.on_ask(peer, question, out));
    }

    fn on_chunk(&mut self, from: PeerId, chunk: u64, data: Option<bytes::Bytes>, cx: &mut Cx<'_>) {
        self.with_sync(cx, |sync, now, out| sync.fetch.on_chunk(from, chunk, data, now, out));
    }

    fn on_manifest(&mut self, from: PeerId, manifest: Option<Box<Manifest>>, cx: &mut Cx<'_>) {
        let lineage = match &self.state {
            State::Member(standing) => standing.lineage,
            State::Loading | State::Empty => return,
        };
        let manifest = manifest.map(|manifest| *manifest);
        self.with_sync(cx, |sync, now, out| {
            sync.fetch.on_manifest(from, manifest, lineage, now, out);
        });
    }

    /// Raft cut its log.
    pub(super) fn on_truncated(&mut self, from: LogIndex) {
        self.sync.snapshots.truncated(from);
    }

    /// Raft needs what is only in snapshots.
    pub(super) fn on_behind(&mut self, from: Seat, base: Position, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        // The host is busy with one of our own.
        if self.sync.snapshots.is_freezing() {
            return;
        }
        let lineage = Some(standing.lineage);
        let members = self.bonds.peers().filter(|(_, said)| said.lineage == lineage);
        let members = members.map(|(peer, _)| peer).collect::<alloc::vec::Vec<_>>();
        self.with_sync(cx, |sync, now, out| {
            sync.fetch.need(from.peer, base, members.into_iter(), now, out);
        });
    }

    /// Who leads changed.
    pub(super) fn on_sync_leader(&mut self, role: Role, leader: Option<Seat>, cx: &mut Cx<'_>) {
        if role == Role::Leader {
            return;
        }
        self.sync.snapshots.deposed();
        self.sync.digests.deposed();
        let State::Member(standing) = &self.state else { return };
        let (Some(leader), lineage) = (leader, standing.lineage) else { return };
        for (at, digest) in self.sync.digests.latest() {
            self.bonds.send(&leader.peer, &Frame::Digest { lineage, at, digest }, cx);
        }
    }

    // --- marks and snapshots -----------------------------------------------------------------

    /// The log was handed over up to here: what is being fetched may not be needed any more.
    pub(super) fn passed(&mut self, cx: &mut Cx<'_>) {
        if self.sync.is_fetching() {
            let handed = self.handing.handed();
            self.with_sync(cx, |sync, _, out| sync.fetch.passed(handed, out));
        }
    }

    /// What the leader has to put into the log.
    pub(super) fn append_marks(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let raft = &standing.raft;
        if raft.role() != Role::Leader || self.fenced.is_some() {
            return;
        }
        let (log, base) = (raft.log(), raft.log().base().index);
        let fetched = || raft.lags().any(|lag| lag.linked && lag.received < base);
        if self.sync.snapshots.wants_mark(log, fetched)
            && let Some(at) = self.append_control(&Control::Mark, cx)
        {
            self.sync.snapshots.marked(at);
        }
        let State::Member(standing) = &self.state else { return };
        let commands = standing.raft.log().commands();
        if self.config.digests
            && commands >= self.sync.compared + limits::DIGEST_EVERY
            && self.append_control(&Control::Compare, cx).is_some()
        {
            self.sync.compared = commands;
        }
    }

    /// Appends an entry of the group's own, as the leader. `None` if Raft does not take it now.
    fn append_control(&mut self, control: &Control, cx: &mut Cx<'_>) -> Option<LogIndex> {
        let end = |group: &Self| match &group.state {
            State::Member(standing) => standing.raft.log().last().index,
            State::Loading | State::Empty => LogIndex(0),
        };
        let before = end(self);
        let (kind, origin, data) = (Kind::Control, Origin::default(), control.encode());
        let asker = None;
        self.raft(raft::Event::Propose { kind, count: 1, origin, data, asker }, cx);
        (end(self) > before).then(|| before.next())
    }

    /// GRP-41: a mark is handed over: the machine is frozen with everything up to it.
    pub(super) fn on_mark(&mut self, run: &Run, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let snapshot = Snapshot {
            lineage: standing.lineage,
            last: run.end(),
            membership: standing.voters.clone(),
            commands: self.handing.index().0,
        };
        let sessions = self.encoded_sessions(run.first);
        let idle = !self.sync.is_fetching() && self.fenced.is_none();
        self.with_sync(cx, |sync, _, out| {
            sync.snapshots.freeze(snapshot, &sessions, idle, out);
        });
    }

    fn on_frozen(&mut self, snapshot: &Snapshot, bytes: u64, digest: Digest, cx: &mut Cx<'_>) {
        if self.on_frozen_for_fork(snapshot, bytes, digest, cx) {
            return;
        }
        let State::Member(standing) = &self.state else { return };
        let mut effects = core::mem::take(&mut self.sync.effects);
        let log = standing.raft.log();
        let kept = self.sync.snapshots.on_frozen(snapshot, bytes, digest, log, &mut effects);
        self.sync.effects = effects;
        if let Some(index) = kept {
            self.raft(raft::Event::Compact(index), cx);
        }
        self.with_sync(cx, |_, _, _| {});
    }

    /// The machine is that of the snapshot: so are Raft's log, the voters and the sessions.
    fn on_installed(&mut self, last: LogIndex, cx: &mut Cx<'_>) {
        let Some(fetched) = self.sync.fetch.on_installed(last) else { return };
        let State::Member(standing) = &mut self.state else { return };
        let Manifest { term, snapshot, .. } = fetched.manifest.clone();
        let (last, commands) = (snapshot.last, snapshot.commands);
        self.handing = Handing::behind(&snapshot);
        standing.voters = snapshot.membership.clone();
        let base = standing.raft.log().base();
        self.restore_sessions(&fetched.sessions, last.index);
        self.sync.digests.reset();
        self.sync.snapshots.installed(fetched.manifest);
        self.raft(raft::Event::Install { term, snapshot }, cx);
        let State::Member(standing) = &mut self.state else { return };
        if standing.raft.commit() >= last.index {
            standing.committed = standing.committed.max(commands);
        }
        if standing.raft.log().base() == base {
            // The log goes on behind it: it stays, and the store drops what the snapshot covers.
            self.raft(raft::Event::Compact(last.index), cx);
            self.output(cx, Output::Compact(last));
        }
        cx.count(super::Counter::SnapshotFetched(self.config.id));
        self.dirty.standing = true;
        self.published.dirty = true;
    }

    // --- states ------------------------------------------------------------------------------

    /// GRP-48: states are compared behind this entry.
    pub(super) fn on_compare(&mut self, run: &Run, cx: &mut Cx<'_>) {
        self.sync.compared = self.sync.compared.max(self.handing.index().0);
        let room = self.sync.asked.len() < limits::DIGESTS;
        if self.config.digests && self.fenced.is_none() && room {
            self.sync.asked.push_back((run.first, self.tenure));
            self.output(cx, Output::TakeDigest(run.first));
        }
    }

    fn on_digest(&mut self, at: LogIndex, digest: Digest, cx: &mut Cx<'_>) {
        // What was asked in an earlier history says nothing about this one.
        let asked = &mut self.sync.asked;
        let found = core::iter::from_fn(|| asked.pop_front()).find(|(asked, _)| *asked == at);
        if found != Some((at, self.tenure)) {
            return;
        }
        let State::Member(standing) = &self.state else { return };
        self.sync.digests.mine(at, digest);
        let (leader, lineage) = (standing.raft.leader(), standing.lineage);
        if standing.raft.role() == Role::Leader {
            self.compare(cx);
        } else if let Some(leader) = leader {
            self.bonds.send(&leader.peer, &Frame::Digest { lineage, at, digest }, cx);
        }
    }

    fn compare(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let raft = &standing.raft;
        if raft.role() != Role::Leader || self.fenced.is_some() {
            return;
        }
        let (lineage, bonds) = (standing.lineage, &self.bonds);
        let linked = |peer: &PeerId| bonds.get(peer).is_some_and(|s| s.lineage == Some(lineage));
        let verdicts = self.sync.digests.verdicts(self.me, raft.membership(), linked);
        for verdict in verdicts {
            match verdict {
                digests::Verdict::Mine(at) => self.diverged(at, cx),
                digests::Verdict::Theirs(peer, at) => {
                    self.bonds.send(&peer, &Frame::Told(Told::Diverged { lineage, at }), cx);
                }
            }
        }
    }

    /// GRP-48: this machine went another way than the others.
    fn diverged(&mut self, at: LogIndex, cx: &mut Cx<'_>) {
        if self.fenced.is_none() {
            self.notice(Notice::Diverged { at }, cx);
            self.sync.snapshots.reset();
            self.fence(String::from("its state is not that of the others"), cx);
        }
    }

    // --- effects -----------------------------------------------------------------------------

    /// Does something, and what it asks for; then answers whom it can.
    fn with_sync(
        &mut self,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut StateSync, Instant, &mut Outbox<Effect>),
    ) {
        let mut effects = core::mem::take(&mut self.sync.effects);
        act(&mut self.sync, cx.now(), &mut effects);
        self.carry_out(&mut effects, cx);
        if let State::Member(standing) = &self.state {
            let (term, bonds) = (standing.raft.term(), &self.bonds);
            let debt = |peer: PeerId| bonds.debt(&peer, Class::Snapshot);
            self.sync.snapshots.serve(term, debt, &mut effects);
            self.carry_out(&mut effects, cx);
        }
        self.sync.effects = effects;
    }

    fn carry_out(&mut self, effects: &mut Outbox<Effect>, cx: &mut Cx<'_>) {
        let now = cx.now();
        while !effects.is_empty() {
            let mut next = Outbox::new();
            for effect in effects.drain() {
                match effect {
                    Effect::Output(output) => self.output(cx, output),
                    Effect::Send(to, frame) => {
                        if self.bonds.send(&to, &frame, cx) {
                            continue;
                        }
                        // Its questions and answers would not fit each other any more.
                        let accepted = frame.is_answer();
                        self.bonds.hang_up(&to, Class::Snapshot, accepted, cx);
                        match accepted {
                            true => self.sync.snapshots.lost(to),
                            false => self.sync.fetch.lost(to, now, &mut next),
                        }
                    }
                    Effect::HangUp(peer) => {
                        self.bonds.hang_up(&peer, Class::Snapshot, false, cx);
                    }
                    Effect::Violation(peer) => {
                        cx.count(super::Counter::Violation(self.config.id));
                        self.bonds.refuse(&peer, CloseCode::PROTOCOL_VIOLATION, cx);
                    }
                    Effect::Faulty(peer) => self.notice(Notice::Faulty(peer), cx),
                }
            }
            *effects = next;
        }
    }
}
