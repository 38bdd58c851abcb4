//! Groups: members that agree on one order of commands.
//!
//! # Theory of operation
//!
//! A node takes part in any number of groups; this core is their registry. It knows links, channels and
//! timers and hands each thing to the group concerned. A group is put together from:
//!
//! ```text
//! node ── Groups: which group, whose channel, whose timer
//!           └ Group
//!               ├ Bonds       who is a member, proof, announcements, channels
//!               ├ standing    founding, joining, rivals, copies; Raft under one lineage
//!               ├ commands    sessions, this node's commands, the leader's intake, reads
//!               └ snapshots   freezing, serving, fetching, comparing states
//! ```
//!
//! **Finding each other** (GRP-03). Who takes part lists the group in its signed entry. Two members that
//! accept each other by predicate and tickets keep a link, and the one with the smaller id opens the
//! channel of their bond. Bonds hold between every two members, learners included; all groups of two
//! nodes share one link.
//!
//! **Proof** (GRP-02). Each end proves that it knows the group's secret, bound to the link (TLS exporter),
//! to its own key, to its end of the channel and to what it announces: a proof is of no use on any other
//! link and for nobody else. Who cannot prove it learns nothing, not even that the group is here.
//!
//! ```text
//! smaller id                          larger id
//!    OPEN + announcement ────────────────►   checks proof, predicate, tickets
//!    ◄──────────────────────────── ANNOUNCE
//!    READY ──────────────────────────────►   up
//!    up                                      from now on: ANNOUNCE when something changes, Raft
//! ```
//!
//! **Announcements** (GRP-05, GRP-06). A bond's channel is ordered, so what its ends announced last is known
//! exactly at every point of it. Raft messages name neither lineage nor seat: they are said in the
//! lineage and by the seat announced last, and carry the number of the announcement that the sender
//! had heard last. What was meant for an earlier lineage or seat of the receiver is dropped there.
//!
//! **Further channels** (GRP-07) for commands and snapshots are opened by who asks, on the link of a bond
//! that is up, and end with it. Answers come back on the channel of the question. So no snapshot and
//! no burst of commands stands before a heartbeat.
//!
//! # Invariants
//!
//! - INV-GRP-1: a channel has a route to a bond exactly as long as the bond has the channel.
//! - INV-GRP-2: a group sees `Up`, then frames and changes, then `Down`, for every bond; and each frame
//!   with the announcement that was in force when it was sent.
//! - INV-GRP-3: nothing of a peer reaches a group before its proof, its predicate and its tickets did.
//!
//! References: `docs/spec/groups.md` (GRP rules), decisions §4; RFC 9266 (channel bindings).

mod announcing;
mod applying;
mod batch;
mod bond;
mod bonds;
mod boots;
mod calls;
mod client;
mod commands;
mod config;
mod context;
mod control;
mod digests;
mod fetch;
mod frames;
mod gate;
mod group;
mod head;
mod health;
mod index;
mod intake;
mod key;
mod leaving;
mod lineages;
mod loaded;
mod places;
mod reads;
mod recovery;
#[cfg(test)]
mod schedules;
mod serving;
mod sessions;
mod snapshot_digest;
mod snapshots;
mod standing;
mod state;
mod state_sync;
mod status;
mod vocabulary;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;

pub use self::{
    config::{ConsensusConfig, GroupConfig},
    head::head_length,
    health::{Blocked, Member, Status},
    index::{Cursor, Index, IndexRange},
    key::{GroupKey, GroupTerms},
    loaded::{FrozenHead, Loaded, StoreFault},
    snapshot_digest::SnapshotDigest,
    vocabulary::{
        Action, Applying, Counter, Env, Event, Input, InstallFault, Notice, OperatorError, Outcome,
        Output, Rejection,
    },
};
use self::{
    context::{Cx, Link, Route, Shared, Timer},
    group::Group,
};
use crate::{
    core::{Core, Outbox},
    ids::{ChannelId, GroupId, PeerId},
    limits,
    rng::Rng,
    time::Instant,
    wire::{CloseCode, FrameReader},
};

/// A channel on which a peer has not said yet what it wants.
#[derive(Debug)]
struct Pending {
    peer: PeerId,
    reader: FrameReader,
}

/// The core of groups. See the module's documentation.
#[derive(Debug)]
pub struct Groups {
    me: PeerId,
    groups: BTreeMap<GroupId, Group>,
    /// Groups that are to be joined again as soon as they have been left.
    again: BTreeMap<GroupId, Box<GroupConfig>>,
    pending: BTreeMap<ChannelId, Pending>,
    shared: Shared,
    /// The node ends: nothing is joined any more.
    ending: bool,
    /// [`Action::Left`] is owed.
    owes_end: bool,
}

impl Groups {
    /// A core without groups.
    #[must_use]
    pub const fn new(me: PeerId, rng: Rng) -> Self {
        Self {
            me,
            groups: BTreeMap::new(),
            again: BTreeMap::new(),
            pending: BTreeMap::new(),
            shared: Shared::new(rng),
            ending: false,
            owes_end: false,
        }
    }

    // --- groups ----------------------------------------------------------------------------

    fn join(&mut self, env: Env<'_>, config: Box<GroupConfig>, out: &mut Outbox<Action>) {
        let id = config.id;
        if self.groups.contains_key(&id) {
            // It is being left; a new part in it begins when the old one has ended.
            self.again.insert(id, config);
            return;
        }
        assert!(self.groups.len() < limits::GROUPS, "the host bounds its groups");
        let mut cx = Cx { env, me: self.me, shared: &mut self.shared, out };
        let group = Group::join(*config, &mut cx);
        self.groups.insert(id, group);
        self.with_group(env, id, out, |_, _| {});
    }

    /// Lets a group act, and takes the consequences: its timer, its end.
    fn with_group<R>(
        &mut self,
        env: Env<'_>,
        id: GroupId,
        out: &mut Outbox<Action>,
        act: impl FnOnce(&mut Group, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(&id)?;
        let cx = &mut Cx { env, me: self.me, shared: &mut self.shared, out };
        let result = act(group, cx);
        group.settle(cx);
        if !group.is_closed() {
            cx.set_timer(Timer::Group(id), group.deadline());
            return Some(result);
        }
        group.bonds.close_all(CloseCode::GRACEFUL_SHUTDOWN, cx);
        cx.set_timer(Timer::Group(id), None);
        self.groups.remove(&id);
        if let Some(config) = self.again.remove(&id) {
            self.join(env, config, out);
        }
        self.finish(out);
        Some(result)
    }

    fn on_input(&mut self, env: Env<'_>, group: GroupId, input: Input, out: &mut Outbox<Action>) {
        match input {
            Input::Join(config) if !self.ending => self.join(env, config, out),
            Input::Join(_) => out.push(Action::Output { group, output: Output::Closed }),
            Input::Leave => {
                self.again.remove(&group);
                self.with_group(env, group, out, |group, cx| group.on_input(Input::Leave, cx));
            }
            input => {
                self.with_group(env, group, out, |group, cx| group.on_input(input, cx));
            }
        }
    }

    fn on_shutdown(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        (self.ending, self.owes_end) = (true, true);
        self.again.clear();
        let all: alloc::vec::Vec<_> = self.groups.keys().copied().collect();
        for id in all {
            self.with_group(env, id, out, |group, cx| group.on_input(Input::Leave, cx));
        }
        self.finish(out);
    }

    fn finish(&mut self, out: &mut Outbox<Action>) {
        if self.owes_end && self.groups.is_empty() {
            self.owes_end = false;
            out.push(Action::Left);
        }
    }

    // --- peers -----------------------------------------------------------------------------

    fn on_connected(&mut self, env: Env<'_>, peer: PeerId, link: Link, out: &mut Outbox<Action>) {
        if self.shared.links.insert(peer, link).is_some() {
            // Links says first that the other is gone; a proof must not outlive its link.
            self.on_disconnected(env, peer, out);
            self.shared.links.insert(peer, link);
        }
        // With a link there is a round-trip time, which predicates may ask for.
        self.on_peer_changed(env, peer, out);
    }

    fn on_peer_changed(&mut self, env: Env<'_>, peer: PeerId, out: &mut Outbox<Action>) {
        let mut concerned: BTreeSet<GroupId> = self.shared.concerned(peer).collect();
        if let Some(entry) = env.catalog.get(&peer) {
            let ours = entry.groups().iter().filter(|id| self.groups.contains_key(id));
            concerned.extend(ours);
        }
        for id in concerned {
            self.with_group(env, id, out, |group, cx| group.bonds.consider(&peer, cx));
        }
    }

    fn on_disconnected(&mut self, env: Env<'_>, peer: PeerId, out: &mut Outbox<Action>) {
        self.shared.links.remove(&peer);
        self.pending.retain(|channel, pending| {
            let gone = pending.peer == peer;
            if gone {
                self.shared.routes.remove(channel);
                self.shared.timers.cancel(&Timer::Pending(*channel));
            }
            !gone
        });
        let concerned: BTreeSet<GroupId> = self.shared.concerned(peer).collect();
        for id in concerned {
            self.with_group(env, id, out, |group, cx| group.bonds.on_disconnected(&peer, cx));
        }
    }

    // --- channels --------------------------------------------------------------------------

    fn on_accepted(&mut self, env: Env<'_>, peer: PeerId, channel: ChannelId) {
        self.pending.insert(channel, Pending { peer, reader: FrameReader::new() });
        self.shared.routes.insert(channel, Route::Pending);
        let deadline = env.now.mono + limits::BOND_TIMEOUT;
        self.shared.timers.set(Timer::Pending(channel), Some(deadline));
    }

    fn on_data(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        mut chunk: Bytes,
        out: &mut Outbox<Action>,
    ) {
        // The route may change with each frame: looked up again after every one.
        while let Some(route) = self.shared.routes.get(&channel).copied() {
            let more = match route {
                Route::Pending => self.on_opening(env, channel, &mut chunk, out),
                Route::Bond(id, peer) => self
                    .with_group(env, id, out, |group, cx| {
                        group.bonds.on_data(&peer, channel, &mut chunk, cx)
                    })
                    .unwrap_or(false),
            };
            if !more || chunk.is_empty() {
                return;
            }
        }
    }

    /// The first frame of a channel that a peer opened. False if it is not complete, or of no use.
    fn on_opening(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        chunk: &mut Bytes,
        out: &mut Outbox<Action>,
    ) -> bool {
        let Some(pending) = self.pending.get_mut(&channel) else { return false };
        let frame = match pending.reader.read(chunk, frames::opening_limit) {
            Ok(Some(frame)) => frame,
            Ok(None) => return false,
            Err(_) => {
                self.refuse(channel, CloseCode::PROTOCOL_VIOLATION, out);
                return false;
            }
        };
        let Ok((open, sealed)) = frames::read_open(&frame.payload) else {
            self.refuse(channel, CloseCode::PROTOCOL_VIOLATION, out);
            return false;
        };
        let Some(Pending { peer, reader }) = self.pending.remove(&channel) else { return false };
        self.shared.routes.remove(&channel);
        self.shared.timers.cancel(&Timer::Pending(channel));
        let kept = self.with_group(env, open.group, out, |group, cx| {
            let result = group.bonds.on_opened(peer, (channel, reader), &open, &sealed, cx);
            result.inspect_err(|code| cx.count(Counter::BondRefused(open.group, *code)))
        });
        match kept.unwrap_or(Err(CloseCode::GROUP_NOT_FOUND)) {
            Ok(()) => true,
            Err(code) => {
                out.push(Action::Close { channel, code });
                false
            }
        }
    }

    fn refuse(&mut self, channel: ChannelId, code: CloseCode, out: &mut Outbox<Action>) {
        self.pending.remove(&channel);
        self.shared.routes.remove(&channel);
        self.shared.timers.cancel(&Timer::Pending(channel));
        out.push(Action::Close { channel, code });
    }

    fn on_drained(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        bytes: u32,
        out: &mut Outbox<Action>,
    ) {
        if let Some(Route::Bond(id, peer)) = self.shared.routes.get(&channel).copied() {
            self.with_group(env, id, out, |group, _| {
                group.bonds.on_drained(&peer, channel, bytes);
            });
        }
    }

    fn on_channel_down(&mut self, env: Env<'_>, channel: ChannelId, out: &mut Outbox<Action>) {
        match self.shared.routes.remove(&channel) {
            Some(Route::Pending) => {
                self.pending.remove(&channel);
                self.shared.timers.cancel(&Timer::Pending(channel));
            }
            Some(Route::Bond(id, peer)) => {
                self.with_group(env, id, out, |group, cx| {
                    group.bonds.on_channel_down(&peer, channel, cx);
                });
            }
            None => {}
        }
    }

    fn on_timeout(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        while let Some(timer) = self.shared.timers.pop_due(env.now.mono) {
            match timer {
                Timer::Pending(channel) => self.refuse(channel, CloseCode::GROUP_TIMEOUT, out),
                Timer::Bond(id, peer) => {
                    self.with_group(env, id, out, |group, cx| group.bonds.on_timer(&peer, cx));
                }
                Timer::Tickets(id, peer) => {
                    self.with_group(env, id, out, |group, cx| group.bonds.check_tickets(&peer, cx));
                }
                Timer::Group(id) => {
                    self.with_group(env, id, out, Group::on_timeout);
                }
            }
        }
    }
}

impl Core for Groups {
    type Env<'a> = Env<'a>;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, env: Env<'_>, event: Event, out: &mut Outbox<Action>) {
        match event {
            Event::Timeout => self.on_timeout(env, out),
            Event::Connected { peer, link, binding } => {
                self.on_connected(env, peer, Link { link, binding }, out);
            }
            Event::Disconnected { peer } => self.on_disconnected(env, peer, out),
            Event::PeerChanged(peer) => self.on_peer_changed(env, peer, out),
            Event::Accepted { peer, channel } => self.on_accepted(env, peer, channel),
            Event::Data { channel, chunk } => self.on_data(env, channel, chunk, out),
            Event::Drained { channel, bytes } => self.on_drained(env, channel, bytes, out),
            Event::ChannelDown { channel, reason: _ } => self.on_channel_down(env, channel, out),
            Event::Input { group, input } => self.on_input(env, group, input, out),
            Event::Shutdown => self.on_shutdown(env, out),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.shared.timers.next()
    }
}

#[cfg(test)]
mod tests;
