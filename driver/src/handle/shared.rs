//! What the handles of one node share with its loop.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, Weak},
};

use mosaik_proto::{
    NetworkId, PeerId,
    discovery::{
        Command, CommandError, Draft, EndpointAddr, EntryError, LocalEntry, PeerEntryVersion,
        SignedPeerEntry, Tombstone,
    },
    ids::RequestId,
    links::{LinkLimits, Policy},
    node,
    time::Now,
};

use super::{catalog::CatalogMirror, groups::GroupsRegistry, streams::StreamsRegistry};
use crate::{
    discovery::Event,
    metrics::NodeMetrics,
    sync::{
        broadcast::Broadcast,
        cell::{Watched, lock},
        inbox::Queued,
        reply::{Replies, Reply},
    },
    task::inbox::{Inbox, Source},
};

/// Peers that address books may name before the loop has looked.
const FOUND: usize = 1_024;

/// The clocks of the runtime, without its type.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Now {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How far the node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Running,
    Stopping,
    Stopped,
}

/// What waits for the loop besides links, channels, producers and consumers.
#[derive(Debug, Default)]
struct Host {
    /// Bounded by [`limits::REQUESTS`] through the replies that they wait for.
    requests: VecDeque<(RequestId, Command)>,
    /// Commands without an answer that matters; bounded by the caller's thread, see `post`.
    cancelled: Vec<RequestId>,
    entry_changed: bool,
    /// The latest one wins.
    policy: Option<Policy>,
    /// The latest ones win.
    limits: Option<LinkLimits>,
    found: Vec<EndpointAddr>,
    farewell: Option<Tombstone>,
    /// Failed and finished dials, bounded by [`limits::DIALS`].
    dials: VecDeque<node::Event>,
}

/// Everything that handles and the loop share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) network: NetworkId,
    pub(crate) me: PeerId,
    pub(crate) clock: Clock,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) catalog: CatalogMirror,
    pub(crate) events: Broadcast<Event>,
    pub(crate) streams: StreamsRegistry,
    pub(crate) groups: GroupsRegistry,
    pub(crate) replies: Arc<Replies>,
    pub(crate) life: Watched<Life>,
    pub(crate) metrics: NodeMetrics,
    entry: Mutex<LocalEntry>,
    policy: Mutex<Policy>,
    limits: Mutex<LinkLimits>,
    host: Mutex<Host>,
    queued: Queued,
}

impl Shared {
    pub(crate) fn new(
        entry: LocalEntry,
        policy: Policy,
        network: NetworkId,
        clock: Clock,
        catalog: CatalogMirror,
        events: usize,
    ) -> Self {
        Self {
            network,
            me: entry.id(),
            clock,
            inbox: Arc::default(),
            catalog,
            events: Broadcast::new(events),
            streams: StreamsRegistry::default(),
            groups: GroupsRegistry::default(),
            replies: Arc::default(),
            life: Watched::new(Life::Running),
            metrics: NodeMetrics::new(&network),
            entry: Mutex::new(entry),
            host: Mutex::new(Host {
                entry_changed: true,
                policy: Some(policy.clone()),
                ..Host::default()
            }),
            policy: Mutex::new(policy),
            limits: Mutex::default(),
            queued: Queued::default(),
        }
    }

    // --- our own entry ---------------------------------------------------------------------

    pub(crate) fn me(&self) -> SignedPeerEntry {
        lock(&self.entry).signed().clone()
    }

    /// Edits and signs our entry in the caller's thread, and lets the loop know. Behind the farewell
    /// nothing is signed any more: a later version would outlive it.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Draft<'_>)) -> Result<(), EntryError> {
        let changed = {
            let mut entry = lock(&self.entry);
            if self.has_departed() {
                return Ok(());
            }
            let changed = entry.edit(self.clock.now().wall, edit)?;
            if changed {
                // Under the entry's lock, so that the snapshot never goes back in versions.
                self.catalog.set_local(entry.signed().clone());
            }
            changed
        };
        if changed {
            self.post(|host| host.entry_changed = true);
        }
        Ok(())
    }

    /// Asked with the entry locked: a farewell is signed behind all that was signed before it.
    fn has_departed(&self) -> bool {
        self.life.read(|life| *life != Life::Running)
    }

    /// Signs our entry anew above a version.
    pub(crate) fn raise(&self, above: PeerEntryVersion) {
        {
            let mut entry = lock(&self.entry);
            if self.has_departed() {
                return;
            }
            entry.raise(self.clock.now().wall, above);
            self.catalog.set_local(entry.signed().clone());
        }
        self.post(|host| host.entry_changed = true);
    }

    /// Changes who is admitted.
    pub(crate) fn change_policy(&self, change: impl FnOnce(&mut Policy)) {
        let mut policy = lock(&self.policy);
        change(&mut policy);
        let latest = policy.clone();
        self.post(|host| host.policy = Some(latest));
    }

    /// Changes how much others may make us hold. The limits were checked.
    pub(crate) fn change_limits(&self, limits: LinkLimits) {
        let mut latest = lock(&self.limits);
        *latest = limits;
        self.post(|host| host.limits = Some(limits));
    }

    /// How much others may make us hold.
    pub(crate) fn limits(&self) -> LinkLimits {
        *lock(&self.limits)
    }

    // --- requests --------------------------------------------------------------------------

    /// Sends a request to discovery; it is on its way when this returns.
    pub(crate) fn request(self: &Arc<Self>, command: Command) -> Reply {
        let id = self.replies.open();
        if let Ok(id) = id {
            self.post(|host| host.requests.push_back((id, command)));
        }
        let weak: Weak<Self> = Arc::downgrade(self);
        Reply::new(Arc::clone(&self.replies), id, move |id| {
            if let Some(shared) = weak.upgrade() {
                shared.post(|host| host.cancelled.push(id));
            }
        })
    }

    /// Sends a request whose answer nobody needs. False if too many wait already.
    pub(crate) fn tell(self: &Arc<Self>, command: Command) -> Result<(), CommandError> {
        let id = self.replies.open()?;
        self.post(|host| host.requests.push_back((id, command)));
        self.replies.ignore(id);
        Ok(())
    }

    pub(crate) fn found(&self, peers: Vec<EndpointAddr>) {
        self.post(|host| {
            let room = FOUND - host.found.len().min(FOUND);
            host.found.extend(peers.into_iter().take(room));
        });
    }

    pub(crate) fn dial_failed(&self, event: node::Event) {
        self.post(|host| host.dials.push_back(event));
    }

    /// Starts the end of the node; later calls change nothing.
    pub(crate) fn shut_down(&self) {
        let mut first = false;
        self.life.change_if(|life| {
            first = *life == Life::Running;
            if first {
                *life = Life::Stopping;
            }
            first
        });
        if first {
            let farewell = lock(&self.entry).depart(self.clock.now().wall);
            self.post(|host| host.farewell = Some(farewell));
        }
    }

    /// The loop has ended: every handle resolves.
    pub(crate) fn end(&self) {
        self.replies.close();
        self.streams.end(self);
        self.groups.end();
        self.events.close();
    }

    fn post(&self, change: impl FnOnce(&mut Host)) {
        change(&mut lock(&self.host));
        if self.queued.raise() {
            self.inbox.push(Source::Host);
        }
    }

    /// What the loop has to tell the core. A farewell comes behind everything before it.
    pub(crate) fn take(&self, events: &mut VecDeque<node::Event>) {
        self.queued.lower();
        let host = std::mem::take(&mut *lock(&self.host));
        if host.entry_changed {
            events.push_back(node::Event::LocalEntry(self.me()));
        }
        events.extend(host.policy.map(node::Event::Admission));
        events.extend(host.limits.map(node::Event::Limits));
        events.extend(host.dials);
        if !host.found.is_empty() {
            events.push_back(node::Event::Found(host.found));
        }
        let requests = host.requests.into_iter();
        events
            .extend(requests.map(|(request, command)| node::Event::Discovery { request, command }));
        events.extend(host.cancelled.into_iter().map(node::Event::Cancel));
        events.extend(host.farewell.map(node::Event::Shutdown));
    }

    /// Makes the loop look at the host's events once, at its start.
    pub(crate) fn kick(&self) {
        self.post(|_| {});
    }
}
