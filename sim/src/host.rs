//! A host: its key and entry, its clocks, its process with the node, and what runs on top.

mod apps;
mod group;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::{self, CommandError, EndpointAddr, LocalEntry, PeerEntryVersion},
    groups::OperatorError,
    ids::{ConsumerId, GroupId, ProducerId, RequestId, StreamId, SubscriptionId, Tag},
    node::{Event, Node},
    raft::SeatId,
    streams::{Owner, State},
    time::Instant,
};

pub(crate) use self::apps::{ConsumerApp, ProducerApp};
pub use self::apps::{ConsumerSpec, ProducerSpec};
pub(crate) use self::group::{Command, Frozen, GroupApp, Job, Machine, Waiting, Wish, fault};
pub use self::group::{GroupSpec, Op};
use crate::{
    clock::Clock,
    disk::{Contents, Disk},
    hostile::Hostile,
    net::{HostId, Process},
};

/// What a host is like.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its network.
    pub network: NetworkId,
    /// When its process starts first, in the world's time.
    pub start: Duration,
    /// Hosts whose addresses it is given.
    pub bootstrap: Vec<HostId>,
    /// Its clocks.
    pub clock: Clock,
    /// What it says of itself.
    pub tags: Vec<Tag>,
    /// Its discovery; `bootstrap` is added.
    pub discovery: discovery::Config,
}

impl NodeSpec {
    /// A node of a network that starts at once and knows nobody.
    #[must_use]
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            start: Duration::ZERO,
            bootstrap: Vec::new(),
            clock: Clock::default(),
            tags: Vec::new(),
            discovery: discovery::Config::default(),
        }
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) entry: LocalEntry,
    pub(crate) producers: BTreeMap<ProducerId, ProducerApp>,
    pub(crate) consumers: BTreeMap<ConsumerId, ConsumerApp>,
    pub(crate) groups: BTreeMap<GroupId, GroupApp>,
    pub(crate) group_replies: BTreeMap<RequestId, Result<(), OperatorError>>,
    /// What the published changes of the catalog add up to.
    pub(crate) view: BTreeMap<PeerId, PeerEntryVersion>,
    /// The subscriptions of all producers and consumers, as published.
    pub(crate) subscriptions: BTreeMap<(Owner, SubscriptionId), (PeerId, State)>,
    pub(crate) replies: BTreeMap<RequestId, Result<(), CommandError>>,
    /// The node's deadline as the world knows it, and the number of the timer armed for it.
    pub(crate) armed: Option<Instant>,
    pub(crate) timer: u64,
    /// Timeouts at one moment in a row.
    pub(crate) spins: (Instant, u32),
    /// The loop does not run before this moment; what comes meanwhile waits.
    pub(crate) frozen_until: Instant,
    pub(crate) inbox: Vec<Event>,
    pub(crate) leaving: bool,
}

/// A host with whatever runs on it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) key: SecretKey,
    pub(crate) peer: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) spec: NodeSpec,
    pub(crate) clock: Clock,
    pub(crate) boots: u32,
    pub(crate) running: Option<Running>,
    /// Runs instead of a node, for ever.
    pub(crate) hostile: Option<Hostile>,
    pub(crate) producers: Vec<ProducerSpec>,
    pub(crate) consumers: Vec<ConsumerSpec>,
    pub(crate) groups: Vec<GroupSpec>,
    /// The stores of its parts in groups: they outlive processes.
    pub(crate) disks: BTreeMap<GroupId, Disk>,
    /// What a store held at some time before.
    pub(crate) copies: BTreeMap<GroupId, Option<Contents>>,
    /// The seats of stores that such a copy took the place of.
    pub(crate) rolled_back: BTreeMap<GroupId, SeatId>,
    /// Dies when its groups ask for so many writes more; if true, before the last reaches the disk.
    pub(crate) dies_at_write: Option<(u32, bool)>,
    /// Numbers handles of the application; never reused.
    pub(crate) handles: u64,
}

impl Host {
    pub(crate) fn new(id: HostId, key: SecretKey, addr: SocketAddr, spec: NodeSpec) -> Self {
        Self {
            id,
            peer: key.public(),
            key,
            addr,
            clock: spec.clock,
            spec,
            boots: 0,
            running: None,
            hostile: None,
            producers: Vec::new(),
            consumers: Vec::new(),
            groups: Vec::new(),
            disks: BTreeMap::new(),
            copies: BTreeMap::new(),
            rolled_back: BTreeMap::new(),
            dies_at_write: None,
            handles: 0,
        }
    }

    /// The present process, or the next one if none runs.
    pub(crate) const fn process(&self) -> Process {
        Process { host: self.id, boot: self.boots }
    }

    pub(crate) fn address(&self) -> EndpointAddr {
        EndpointAddr::new(self.peer, [self.addr])
    }

    /// The entry of a process that starts now.
    pub(crate) fn first_entry(&self, now: Instant) -> LocalEntry {
        let wall = self.clock.read(now).wall;
        let mut entry = LocalEntry::new(self.spec.network, self.key.clone(), wall);
        let edited = entry.edit(wall, |draft| {
            draft.addrs().insert(self.addr);
            draft.tags().extend(self.spec.tags.iter().copied());
        });
        assert!(edited.is_ok(), "the entry of {} is within the limits", self.id);
        entry
    }

    pub(crate) const fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }
}

impl Running {
    pub(crate) const fn new(node: Node, entry: LocalEntry) -> Self {
        Self {
            node,
            entry,
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_replies: BTreeMap::new(),
            view: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            replies: BTreeMap::new(),
            armed: None,
            timer: 0,
            spins: (Instant::ZERO, 0),
            frozen_until: Instant::ZERO,
            inbox: Vec::new(),
            leaving: false,
        }
    }

    /// The streams that open producers offer.
    pub(crate) fn produced(&self) -> Vec<StreamId> {
        self.producers.values().map(|app| app.spec.stream).collect()
    }
}
