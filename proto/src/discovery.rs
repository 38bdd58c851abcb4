//! Who is there: signed entries, the catalog, and how they spread.
//!
//! # Theory of operation
//!
//! Every node signs an *entry* about itself. Discovery brings the latest entry of every node to
//! every node, says who is there, and decides to whom a link is kept only for that purpose. Three
//! concerns are kept apart:
//!
//! - **State** is a CRDT, the [`Catalog`]: per peer the highest version wins, and a signed
//!   departure ([`Tombstone`]) beats the entry of its version. Two catalogs become one by a *sync*
//!   of two round trips ([`frames`]): list, what is missing and wanted, what was wanted, confirmed.
//! - **News** is state that is new here: each accepted item goes once to every link but the one it
//!   came by. Ids wait, not items, so slow links coalesce and nothing queues without bound.
//! - **Liveness** is local. A link proves life. Who has no link and cannot be reached for
//!   [`SILENCE_MAX`] is given up at its version: hidden here, never deleted. Others are told that
//!   we suspect it, and check for themselves; nobody believes hearsay, of death or of life.
//!
//! # States of a peer
//!
//! | state | means | left by |
//! |---|---|---|
//! | unknown | nothing held | entry → visible; tombstone → ended |
//! | visible | entry held, believed alive | silence → given up; tombstone → ended; purge → floor |
//! | silent | visible, no link, a deadline runs | link → visible; deadline → given up |
//! | given up | entry held, hidden at this version | link or higher version → visible |
//! | ended | tombstone held for [`TOMBSTONE_LIFE`] | higher version → visible |
//! | floor | purged: only the version held | higher version → visible |
//!
//! # Events and actions
//!
//! Links tell who came, went or could not be reached, and carry frames both ways; discovery tells
//! them whom it wants. The host signs (`Local`, asked for by `Raise`), looks into address books
//! (`Seek`, answered by `Found`) and mirrors the catalog for the application (`Publish`). Siblings
//! hear `Changed` and read the catalog. `sync_with` is answered when the other side has merged.
//!
//! # Timers
//!
//! One queue: announce, raise, seek, choice of standing links and farewell for the node; silence,
//! redial, courtesy, hint, purge and the end of tombstones per peer; rounds per link; deadlines per
//! request. A step that comes late by more than half a second pushes verdicts of silence back by
//! as much: then it is us who are ill.
//!
//! # Invariants
//!
//! - INV-DISC-1: merging is commutative, associative and idempotent.
//! - INV-DISC-2: what is in the catalog passed the gate (`admit.rs`), on every path.
//! - INV-DISC-3: no signature is checked for a version that is known.
//! - INV-DISC-4: a version at or below a tombstone or floor never becomes visible.
//! - INV-DISC-5: a peer with a link is never given up.
//! - INV-DISC-6: known and connected peers never make room for strangers.
//! - INV-DISC-7: bytes under way per link stay below [`CHANNEL_DEBT`] plus one frame.
//! - INV-DISC-8: `Synced` follows, in order, everything that both sides owed for the round.
//! - INV-DISC-9: every `Want` is matched by one `Unwant` once its last reason is gone.
//! - INV-DISC-10: each request is answered exactly once, unless cancelled.
//! - INV-DISC-11: our own entry is replaced by [`Event::Local`] only.
//!
//! # References
//!
//! Rules DISC-01 … in `docs/spec/discovery.md`; decisions §2; SWIM (Das et al. 2002) for suspicion,
//! Lifeguard (Dadgar et al. 2018) for doubting oneself first, CRDTs after Shapiro et al. 2011.
//!
//! [`SILENCE_MAX`]: crate::limits::SILENCE_MAX
//! [`TOMBSTONE_LIFE`]: crate::limits::TOMBSTONE_LIFE
//! [`CHANNEL_DEBT`]: crate::limits::CHANNEL_DEBT

mod address;
mod admit;
mod catalog;
mod config;
mod entry;
pub mod frames;
mod info;
mod liveness;
mod local;
mod merge;
mod outlet;
mod requests;
mod seek;
mod standing;
mod sync;
mod timer;
mod tombstone;
mod vocabulary;
mod wants;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::Bytes;

pub use self::{
    address::{EndpointAddr, ParseEndpointAddrError},
    admit::Refused,
    catalog::Catalog,
    config::Config,
    entry::{PeerEntry, PeerEntryVersion, SignedPeerEntry, UnverifiedEntry},
    info::PeerInfo,
    local::{Draft, EntryError, LocalEntry},
    tombstone::Tombstone,
    vocabulary::{Action, Change, Command, CommandError, Counter, Env, Event, News},
};
use self::{
    admit::Candidate,
    frames::Message,
    liveness::Liveness,
    merge::{Clash, Source},
    outlet::Outlet,
    requests::Requests,
    standing::Standing,
    sync::Round,
    timer::Timer,
    wants::Wants,
};
use crate::{
    core::{Core, Outbox},
    ids::{LinkId, NetworkId, PeerId, Side},
    limits,
    links::DownReason,
    rng::Rng,
    time::{Instant, Now, TimerQueue},
    wire::{self, CloseCode},
};

/// The discovery core. See the [module](self) for how it works.
#[derive(Debug)]
pub struct Discovery {
    me: PeerId,
    config: Config,
    rng: Rng,
    catalog: Catalog,
    links: BTreeMap<PeerId, LinkId>,
    outlets: BTreeMap<LinkId, Outlet>,
    /// Outlets that may have something to send.
    ready: BTreeSet<LinkId>,
    rounds: BTreeMap<LinkId, Round>,
    requests: Requests,
    wants: Wants,
    standing: Standing,
    liveness: Liveness,
    clash: Clash,
    timers: TimerQueue<Timer>,
    /// Peers that the application named.
    named: usize,
    /// Peers named by address books that are being tried.
    hints: usize,
    started: bool,
    sought: bool,
    departing: bool,
    /// Our tombstone as a frame, while departing.
    farewell: Bytes,
    departed: bool,
}

/// What a step works with besides its state.
struct Step<'a> {
    now: Now,
    out: &'a mut Outbox<Action>,
}

impl Discovery {
    /// The discovery of node `me` in `network`, which starts at `now`. Its own entry comes with
    /// the first [`Event::Local`], before any link.
    #[must_use]
    pub fn new(config: Config, network: NetworkId, me: PeerId, rng: Rng, now: Now) -> Self {
        let mut timers = TimerQueue::new();
        timers.set(Timer::Start, Some(now.mono));
        if !config.no_automatic_bootstrap {
            timers.set(Timer::Seek, Some(now.mono + limits::LONELY_AFTER));
        }
        let mut discovery = Self {
            me,
            config,
            rng,
            catalog: Catalog::new(network, me),
            links: BTreeMap::new(),
            outlets: BTreeMap::new(),
            ready: BTreeSet::new(),
            rounds: BTreeMap::new(),
            requests: Requests::default(),
            wants: Wants::default(),
            standing: Standing::new(me),
            liveness: Liveness::new(now.mono),
            clash: Clash::new(),
            timers,
            named: 0,
            hints: 0,
            started: false,
            sought: false,
            departing: false,
            farewell: Bytes::new(),
            departed: false,
        };
        discovery.sought = discovery.config.no_automatic_bootstrap;
        discovery.arm_announce(now.mono);
        discovery
    }

    /// Who is known.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How often a version of our own entry turned up that was not below ours: after a restart
    /// with a clock gone back, once; more often if another process uses our key.
    #[must_use]
    pub const fn clashes(&self) -> u64 {
        self.clash.count()
    }

    fn is_linked(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    fn step(&mut self, event: Event, step: &mut Step<'_>) {
        match event {
            Event::Timeout => self.expire(step),
            Event::Local(entry) => self.local(entry),
            Event::Connected { peer, link, side, entry } => {
                self.connected(peer, link, side, entry, step);
            }
            Event::Disconnected { peer, link, reason } => {
                self.disconnected(peer, link, reason, step);
            }
            Event::Unreachable { peer, foreign } => {
                if foreign {
                    self.is_foreign(peer, step);
                }
                self.dial_failed(peer, step);
            }
            Event::Frame { peer: _, link, kind, payload } => {
                if self.outlets.get(&link).is_some_and(|outlet| !outlet.closed) {
                    match Message::decode(kind, &payload) {
                        Ok(message) => self.received(link, message, step),
                        Err(_) => self.violated(link, step),
                    }
                }
            }
            Event::Drained { link, bytes } => self.drained(link, bytes),
            Event::Found(peers) => self.found(peers, step),
            Event::Command { request, command } => self.command(request, command, step),
            Event::Cancel(request) => self.cancel(request, step),
            Event::Depart(tombstone) => self.depart(&tombstone, step),
        }
    }

    /// While farewells go out nothing else matters.
    fn step_departing(&mut self, event: Event, step: &mut Step<'_>) {
        match event {
            Event::Timeout => self.expire(step),
            Event::Drained { link, bytes } => self.drained(link, bytes),
            Event::Disconnected { link, .. } => {
                self.outlets.remove(&link);
            }
            Event::Command { request, command } => self.command(request, command, step),
            Event::Frame { peer, link, kind, payload } => {
                // Two that leave together: each takes the other's farewell as the end of the link.
                if Message::decode(kind, &payload).is_ok_and(|m| m.is_farewell_of(&peer)) {
                    step.out.push(Action::Retire(link));
                }
            }
            // Who comes in the last moment is told as well.
            Event::Connected { peer, link, .. } => {
                self.outlets.insert(link, Outlet::new(peer, step.now.mono));
                self.say_farewell(link, step);
            }
            Event::Local(_)
            | Event::Unreachable { .. }
            | Event::Found(_)
            | Event::Cancel(_)
            | Event::Depart(_) => {}
        }
        // Whoever got the farewell ends its link. That the transport took our bytes would not do:
        // closing the link might overtake them (DISC-35).
        if self.outlets.is_empty() {
            self.departed(step);
        }
    }

    fn local(&mut self, entry: SignedPeerEntry) {
        debug_assert_eq!(entry.id(), self.me);
        if self.catalog.set_local(entry) {
            self.relay(self.me, None);
        }
    }

    fn connected(
        &mut self,
        peer: PeerId,
        link: LinkId,
        side: Side,
        entry: SignedPeerEntry,
        step: &mut Step<'_>,
    ) {
        debug_assert_eq!(entry.id(), peer);
        let before = self.links.insert(peer, link).filter(|before| *before != link);
        let old = before.and_then(|before| {
            self.abandon_round(before, step);
            self.outlets.remove(&before)
        });
        let now = step.now.mono;
        let outlet = old.map_or_else(|| Outlet::new(peer, now), Outlet::renewed);
        self.outlets.insert(link, outlet);
        self.ready.insert(link);
        let rank = (entry.update_version(), false);
        let merged = self.merge_entry(Candidate::Signed(entry), Source::Hello(link), step);
        self.alive(peer, step);
        if merged.is_err() && self.catalog.rank(&peer) > Some(rank) {
            // It forgot a version of its own: told of it, it jumps above.
            self.outlets.entry(link).and_modify(|outlet| outlet.tell(peer));
        }
        self.company_changed(step);
        self.choose_standing(step);
        self.want_standing(peer, step);
        self.end_hint(peer, step);
        if side == Side::Dialer || self.requests.waits(peer) {
            self.begin_round(link, step);
        }
    }

    fn disconnected(
        &mut self,
        peer: PeerId,
        link: LinkId,
        reason: DownReason,
        step: &mut Step<'_>,
    ) {
        if self.outlets.remove(&link).is_none() {
            return;
        }
        self.ready.remove(&link);
        self.abandon_round(link, step);
        if self.links.get(&peer) == Some(&link) {
            self.links.remove(&peer);
            self.link_lost(peer, reason, step);
        }
        self.company_changed(step);
    }

    fn drained(&mut self, link: LinkId, bytes: u32) {
        if let Some(outlet) = self.outlets.get_mut(&link) {
            outlet.drained(bytes);
            self.ready.insert(link);
        }
    }

    /// Sends what waits on the links that this step touched, as far as they have room.
    fn flush(&mut self, step: &mut Step<'_>) {
        while let Some(link) = self.ready.pop_first() {
            let Some(outlet) = self.outlets.get_mut(&link) else { continue };
            while let Some((kind, payload)) = outlet.next(&self.catalog, step.now) {
                step.out.push(Action::Send { link, kind, payload });
            }
        }
    }

    fn violated(&mut self, link: LinkId, step: &mut Step<'_>) {
        self.close(link, CloseCode::PROTOCOL_VIOLATION, step);
    }

    /// Ends a link. Nothing more is read from it or sent on it; `Disconnected` follows.
    fn close(&mut self, link: LinkId, code: CloseCode, step: &mut Step<'_>) {
        step.out.push(Action::Close { link, code });
        if let Some(outlet) = self.outlets.get_mut(&link) {
            outlet.clear();
            outlet.closed = true;
        }
    }

    fn announce(&mut self, step: &mut Step<'_>) {
        if let Some(entry) = self.catalog.local() {
            step.out.push(Action::Raise { above: entry.update_version() });
        }
        self.arm_announce(step.now.mono);
    }

    fn arm_announce(&mut self, now: Instant) {
        let Some(interval) = self.config.announce_interval else { return };
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1_000_000);
        let jitter = u64::from(self.config.announce_jitter_millionths.min(1_000_000));
        let spread = u64::try_from(u128::from(nanos) * u128::from(jitter) / 1_000_000);
        let spread = spread.unwrap_or(0);
        let drawn = self.rng.below(spread.saturating_mul(2).saturating_add(1));
        let wait = (nanos - spread).saturating_add(drawn).max(1_000_000);
        self.timers.set(Timer::Announce, Some(now + core::time::Duration::from_nanos(wait)));
    }

    fn depart(&mut self, tombstone: &Tombstone, step: &mut Step<'_>) {
        self.departing = true;
        self.timers = TimerQueue::new();
        self.refuse_requests(step);
        self.rounds.clear();
        self.farewell = wire::encode(&frames::Item::Tombstone(tombstone.clone()));
        for link in self.outlets.keys().copied().collect::<Vec<_>>() {
            self.say_farewell(link, step);
        }
        if self.outlets.is_empty() {
            self.departed(step);
        } else {
            self.timers.set(Timer::Farewell, Some(step.now.mono + limits::FAREWELL));
        }
    }

    fn say_farewell(&mut self, link: LinkId, step: &mut Step<'_>) {
        let payload = self.farewell.clone();
        if let Some(outlet) = self.outlets.get_mut(&link) {
            outlet.clear();
            outlet.sent(&payload);
            step.out.push(Action::Send { link, kind: frames::ITEMS, payload });
        }
    }

    fn departed(&mut self, step: &mut Step<'_>) {
        self.timers = TimerQueue::new();
        if !core::mem::replace(&mut self.departed, true) {
            step.out.push(Action::Departed);
        }
    }
}

impl Core for Discovery {
    type Env<'a> = Env<'a>;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, env: Env<'_>, event: Event, out: &mut Outbox<Action>) {
        let mut step = Step { now: env.now, out };
        self.liveness.observe(env.now, self.timers.next());
        if !core::mem::replace(&mut self.started, true) {
            self.start(&mut step);
        }
        if self.departing {
            self.step_departing(event, &mut step);
        } else {
            self.step(event, &mut step);
        }
        self.flush(&mut step);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}
