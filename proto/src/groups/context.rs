//! What all groups of a node share within a step: links, channel routes, timers, wants.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::Bytes;

use super::{Action, Counter, Env, Output};
use crate::{
    core::Outbox,
    ids::{ChannelId, GroupId, LinkId, PeerId},
    rng::Rng,
    tickets::Leases,
    time::{Instant, TimerQueue},
    wire::{CloseCode, Head, Protocol},
};

/// The timers of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A channel that a peer opened has not said what it wants.
    Pending(ChannelId),
    /// The handshake of a bond is overdue, or it is to be tried again.
    Bond(GroupId, PeerId),
    /// Tickets of a member are to be looked at.
    Tickets(GroupId, PeerId),
    /// The group's own deadline.
    Group(GroupId),
}

/// Whose channel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Opened by a peer that has not said what it wants.
    Pending,
    /// Of a bond. A channel has this route exactly as long as the bond has the channel.
    Bond(GroupId, PeerId),
}

/// An admitted link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) link: LinkId,
    /// What both ends know and nobody else.
    pub(super) binding: [u8; 32],
}

/// State that belongs to all groups of a node together.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) timers: TimerQueue<Timer>,
    pub(super) routes: BTreeMap<ChannelId, Route>,
    pub(super) links: BTreeMap<PeerId, Link>,
    pub(super) leases: Leases,
    pub(super) rng: Rng,
    /// For encoding: its capacity stays.
    pub(super) scratch: Vec<u8>,
    /// Which groups want a link to which peer.
    wants: BTreeSet<(PeerId, GroupId)>,
    next_channel: u64,
    next_serial: u64,
}

impl Shared {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            timers: TimerQueue::new(),
            routes: BTreeMap::new(),
            links: BTreeMap::new(),
            leases: Leases::new(),
            rng,
            scratch: Vec::new(),
            wants: BTreeSet::new(),
            next_channel: 0,
            next_serial: 0,
        }
    }

    /// The groups that have to do with a peer.
    pub(super) fn concerned(&self, peer: PeerId) -> impl Iterator<Item = GroupId> + '_ {
        let all = (peer, GroupId::zero())..=(peer, GroupId::from_bytes([u8::MAX; 32]));
        self.wants.range(all).map(|(_, group)| *group)
    }
}

/// One step: what it may look at, what it shares, where its actions go.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub(super) env: Env<'a>,
    pub(super) me: PeerId,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Outbox<Action>,
}

impl Cx<'_> {
    pub(super) const fn now(&self) -> Instant {
        self.env.now.mono
    }

    /// Tells the host something about a group.
    pub(super) fn output(&mut self, group: GroupId, output: Output) {
        self.out.push(Action::Output { group, output });
    }

    pub(super) fn count(&mut self, counter: Counter) {
        self.out.push(Action::Count(counter));
    }

    pub(super) fn set_timer(&mut self, timer: Timer, at: Option<Instant>) {
        self.shared.timers.set(timer, at);
    }

    /// Opens a channel under an id of groups.
    pub(super) fn open(&mut self, link: LinkId, route: Route) -> ChannelId {
        let channel = Protocol::Group.channel(self.shared.next_channel);
        self.shared.next_channel += 1;
        self.shared.routes.insert(channel, route);
        self.out.push(Action::Open { link, channel });
        channel
    }

    /// A number for the next `OPEN`.
    pub(super) const fn next_serial(&mut self) -> u64 {
        self.shared.next_serial += 1;
        self.shared.next_serial
    }

    pub(super) fn write(&mut self, channel: ChannelId, head: Head, body: Bytes) {
        self.out.push(Action::Write { channel, head, body });
    }

    /// Ends a channel and its route.
    pub(super) fn close(&mut self, channel: ChannelId, code: CloseCode) {
        if self.shared.routes.remove(&channel).is_some() {
            self.out.push(Action::Close { channel, code });
        }
    }

    pub(super) fn want(&mut self, peer: PeerId, group: GroupId) {
        if self.shared.concerned(peer).next().is_none() {
            self.out.push(Action::Want(peer));
        }
        self.shared.wants.insert((peer, group));
    }

    pub(super) fn unwant(&mut self, peer: PeerId, group: GroupId) {
        if self.shared.wants.remove(&(peer, group)) && self.shared.concerned(peer).next().is_none()
        {
            self.out.push(Action::Unwant(peer));
        }
    }
}
