//! One participant: links, discovery, streams and groups, put together.
//!
//! # Theory of operation
//!
//! A `Node` has fields and a routing table; it has no protocol state of its own and no `if` on
//! protocol facts. A step maps the outer event to one internal event and then works off a queue:
//! pop, call the one child concerned, drain its outbox at once. Each drained action either leaves
//! the node or becomes an internal event for a sibling. Nothing is left over when the step ends,
//! and the work is iterative, so no chain of consequences can overflow the stack.
//!
//! ```text
//!              ┌───────────────────────────── Node ─────────────────────────────┐
//!   Event ───► │  work queue ──► links ──────┐                                  │ ───► Action
//!              │      ▲          discovery ──┼── actions: out, or to a sibling ─┤
//!              │      │          streams ────┤            (node/route.rs)       │
//!              │      └────────── groups ────┘                                  │
//!              └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Children see their siblings' facts as read-only views in their `Env` (the catalog, the admitted
//! links), never as copies. `route.rs` is the only file that names two children.
//!
//! A farewell waits in the node until groups have been left (NODE-02): a group hands its work over on
//! links, and a departed node has none.
//!
//! # Invariants
//!
//! - INV-NODE-1: after a step the work queue and all scratch outboxes are empty.
//! - INV-NODE-2: a step passes at most [`limits::HOPS`] internal events.

mod route;
mod vocabulary;

use alloc::collections::VecDeque;

use self::route::Internal;
pub use self::vocabulary::{Action, Event};
use crate::{
    core::{Core, Outbox},
    discovery::{self, Catalog, Discovery, Tombstone},
    groups::{self, Groups},
    ids::{NetworkId, PeerId},
    limits,
    links::{self, Links, Paths},
    rng::Rng,
    streams::{self, Streams},
    time::{Instant, Now},
};

/// The configuration of a node: those of its cores.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Discovery.
    pub discovery: discovery::Config,
}

/// One participant of a network. See the module's documentation.
#[derive(Debug)]
pub struct Node {
    links: Links,
    discovery: Discovery,
    streams: Streams,
    groups: Groups,
    /// Said once every group has been left.
    farewell: Option<Tombstone>,
    work: VecDeque<Internal>,
    scratch: Scratch,
}

/// One reusable outbox per child.
#[derive(Debug, Default)]
struct Scratch {
    links: Outbox<links::Action>,
    discovery: Outbox<discovery::Action>,
    streams: Outbox<streams::Action>,
    groups: Outbox<groups::Action>,
}

impl Node {
    /// A node that knows nobody. All its randomness comes from `seed`; its first event must be
    /// [`Event::LocalEntry`].
    #[must_use]
    pub fn new(config: Config, network: NetworkId, me: PeerId, seed: [u8; 32], now: Now) -> Self {
        let rng = Rng::new(seed);
        Self {
            links: Links::new(network, me, rng.fork("links")),
            discovery: Discovery::new(config.discovery, network, me, rng.fork("discovery"), now),
            streams: Streams::new(me, rng.fork("streams")),
            groups: Groups::new(me, rng.fork("groups")),
            farewell: None,
            work: VecDeque::new(),
            scratch: Scratch::default(),
        }
    }

    /// Who is there.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        self.discovery.catalog()
    }

    /// The admitted links.
    #[must_use]
    pub const fn paths(&self) -> &Paths {
        self.links.paths()
    }
}

impl Core for Node {
    type Env<'a> = Now;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, now: Now, event: Event, out: &mut Outbox<Action>) {
        debug_assert!(self.work.is_empty(), "INV-NODE-1");
        route::enter(event, &mut self.farewell, &mut self.work);
        let mut hops = 0;
        while let Some(internal) = self.work.pop_front() {
            hops += 1;
            assert!(hops < limits::HOPS, "INV-NODE-2: cores feed each other for ever");
            match internal {
                Internal::Links(event) => {
                    let env = links::Env { now, catalog: self.discovery.catalog() };
                    self.links.handle(env, event, &mut self.scratch.links);
                    for action in self.scratch.links.drain() {
                        route::from_links(action, &mut self.work, out);
                    }
                }
                Internal::Discovery(event) => {
                    let env = discovery::Env { now, paths: self.links.paths() };
                    self.discovery.handle(env, event, &mut self.scratch.discovery);
                    for action in self.scratch.discovery.drain() {
                        route::from_discovery(action, &mut self.work, out);
                    }
                }
                Internal::Streams(event) => {
                    let env = streams::Env {
                        now,
                        catalog: self.discovery.catalog(),
                        paths: self.links.paths(),
                    };
                    self.streams.handle(env, event, &mut self.scratch.streams);
                    for action in self.scratch.streams.drain() {
                        route::from_streams(action, &mut self.work, out);
                    }
                }
                Internal::Groups(event) => {
                    let env = groups::Env {
                        now,
                        catalog: self.discovery.catalog(),
                        paths: self.links.paths(),
                    };
                    self.groups.handle(env, event, &mut self.scratch.groups);
                    for action in self.scratch.groups.drain() {
                        route::from_groups(action, &mut self.farewell, &mut self.work, out);
                    }
                }
                Internal::Stopped => out.push(Action::Stopped),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let streams_and_groups = [self.streams.deadline(), self.groups.deadline()];
        let others = [self.links.deadline(), self.discovery.deadline()];
        others.into_iter().chain(streams_and_groups).flatten().min()
    }
}
