//! A few discovery cores wired to each other by hand: actions become events after a latency.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mosaik_proto::{
    Core, NetworkId, Outbox, PeerId,
    crypto::SecretKey,
    discovery::{
        Action, Change, Command, CommandError, Config, Discovery, EndpointAddr, Env, Event,
        LocalEntry, News, SignedPeerEntry,
    },
    ids::{LinkId, RequestId, Side},
    links::{DownReason, Paths},
    rng::Rng,
    time::{Instant, Now, UnixMillis},
    wire::{CloseCode, HEADER_LEN},
};

pub(crate) const LATENCY: Duration = Duration::from_millis(5);
const WALL: u64 = 1_700_000_000_000;

pub(crate) fn network() -> NetworkId {
    NetworkId::from("test")
}

pub(crate) fn key(n: usize) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    SecretKey::from_bytes(&seed)
}

pub(crate) fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// One node: its core, its editable entry, and what it asked for.
pub(crate) struct Node {
    pub(crate) core: Discovery,
    pub(crate) local: LocalEntry,
    pub(crate) up: bool,
    /// Added to the wall clock.
    pub(crate) wall_offset: i64,
    pub(crate) wanted: BTreeSet<PeerId>,
    pub(crate) news: Vec<(News, PeerId)>,
    pub(crate) gone: Vec<PeerId>,
    pub(crate) changed: Vec<PeerId>,
    pub(crate) replies: BTreeMap<u64, Result<(), CommandError>>,
    pub(crate) raises: usize,
    pub(crate) seeks: Vec<Instant>,
    pub(crate) departed: bool,
    pub(crate) sent: BTreeMap<u8, usize>,
    pub(crate) closes: Vec<CloseCode>,
    pub(crate) wants: usize,
    /// Where links were last told to look for a peer, besides in its visible entry.
    pub(crate) sought: BTreeMap<PeerId, Vec<core::net::SocketAddr>>,
    pub(crate) bytes: usize,
}

/// The nodes, the links between them, and what is under way.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeMap<LinkId, (usize, usize)>,
    /// Pairs that cannot reach each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) trace: Vec<String>,
    queue: BTreeMap<(Instant, u64), Due>,
    seq: u64,
    quiet: bool,
    by_id: BTreeMap<PeerId, usize>,
    by_pair: BTreeMap<(usize, usize), LinkId>,
    timers: BTreeSet<(Instant, usize)>,
    armed: Vec<Option<Instant>>,
}

enum Due {
    Event(usize, Event),
    OnLink(usize, LinkId, Event),
    Dial(usize, PeerId),
    Idle(LinkId),
}

impl World {
    pub(crate) fn new(count: usize) -> Self {
        Self::with(count, |_| Config::default())
    }

    pub(crate) fn with(count: usize, config: impl Fn(usize) -> Config) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            nodes: Vec::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            trace: Vec::new(),
            queue: BTreeMap::new(),
            seq: 0,
            quiet: false,
            by_id: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            timers: BTreeSet::new(),
            armed: Vec::new(),
        };
        for n in 0..count {
            world.join(n, config(n));
        }
        world
    }

    /// Adds the node with key `n`, or starts it anew.
    pub(crate) fn join(&mut self, n: usize, config: Config) {
        let now = self.clock();
        let local = LocalEntry::new(network(), key(n), now.wall);
        let seed = Rng::new([n as u8; 32]);
        let core = Discovery::new(config, network(), local.id(), seed, now);
        let entry = local.signed().clone();
        let node = Node {
            core,
            local,
            up: true,
            wall_offset: 0,
            wanted: BTreeSet::new(),
            news: Vec::new(),
            gone: Vec::new(),
            changed: Vec::new(),
            replies: BTreeMap::new(),
            raises: 0,
            seeks: Vec::new(),
            departed: false,
            sent: BTreeMap::new(),
            closes: Vec::new(),
            wants: 0,
            sought: BTreeMap::new(),
            bytes: 0,
        };
        if n < self.nodes.len() {
            self.nodes[n] = node;
        } else {
            self.by_id.insert(node.local.id(), n);
            self.nodes.push(node);
            self.armed.push(None);
        }
        self.step(n, Event::Local(entry));
    }

    pub(crate) fn clock(&self) -> Now {
        Now { mono: self.now, wall: UnixMillis(WALL + self.now.as_millis()) }
    }

    pub(crate) fn id(&self, n: usize) -> PeerId {
        self.nodes[n].local.id()
    }

    pub(crate) fn index(&self, peer: &PeerId) -> Option<usize> {
        self.by_id.get(peer).copied()
    }

    /// No trace: for large worlds.
    pub(crate) fn quiet(&mut self) {
        self.quiet = true;
    }

    pub(crate) fn dial(&mut self, n: usize, to: usize) {
        let peer = EndpointAddr::from(self.id(to));
        self.command(n, 1_000_000 + to as u64, Command::Dial(vec![peer]));
    }

    pub(crate) fn command(&mut self, n: usize, request: u64, command: Command) {
        self.step(n, Event::Command { request: RequestId(request), command });
    }

    pub(crate) fn sync_with(&mut self, n: usize, request: u64, to: PeerId) {
        self.command(n, request, Command::SyncWith(to.into()));
    }

    pub(crate) fn edit(&mut self, n: usize, tag: &str) -> SignedPeerEntry {
        let wall = self.clock().wall;
        let changed = self.nodes[n].local.edit(wall, |draft| {
            draft.tags().insert(tag.into());
            draft.addrs().insert(([10, 0, 0, 1], n as u16 + 1).into());
        });
        assert!(changed.unwrap());
        let entry = self.nodes[n].local.signed().clone();
        self.step(n, Event::Local(entry.clone()));
        entry
    }

    pub(crate) fn depart(&mut self, n: usize) {
        let tombstone = self.nodes[n].local.depart(self.clock().wall);
        self.step(n, Event::Depart(tombstone));
    }

    /// The process dies; its links are noticed to be gone a second later.
    pub(crate) fn kill(&mut self, n: usize) {
        self.nodes[n].up = false;
        let links: Vec<LinkId> = self.links_of(n).collect();
        links.into_iter().for_each(|link| self.lose(link, Duration::from_secs(1)));
    }

    pub(crate) fn links_of(&self, n: usize) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(move |(_, (a, b))| *a == n || *b == n).map(|(link, _)| *link)
    }

    pub(crate) fn link(&self, a: usize, b: usize) -> Option<LinkId> {
        let link = self.by_pair.get(&(a.min(b), a.max(b))).copied();
        link.filter(|link| self.links.contains_key(link))
    }

    /// A link fails; both ends notice after a while.
    pub(crate) fn lose(&mut self, link: LinkId, after: Duration) {
        let Some((a, b)) = self.links.remove(&link) else { return };
        for (n, other) in [(a, b), (b, a)] {
            let reason = DownReason::Timeout;
            let event = Event::Disconnected { peer: self.id(other), link, reason };
            self.push(after, Due::Event(n, event));
        }
    }

    /// Cuts (or heals) every path between two sets of nodes.
    pub(crate) fn partition(&mut self, left: &[usize], right: &[usize], cut: bool) {
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            for pair in [(a, b), (b, a)] {
                if cut {
                    self.cut.insert(pair)
                } else {
                    self.cut.remove(&pair)
                };
            }
            if let Some(link) = self.link(a, b).filter(|_| cut) {
                self.lose(link, Duration::from_secs(1));
            }
        }
    }

    /// Hands a frame to a node as if the other end of the link had sent it.
    pub(crate) fn inject(
        &mut self,
        to: usize,
        link: LinkId,
        kind: u8,
        payload: impl Into<bytes::Bytes>,
    ) {
        let (a, b) = self.links[&link];
        let peer = self.id(if a == to { b } else { a });
        self.step(to, Event::Frame { peer, link, kind, payload: payload.into() });
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = self.timers.first().copied();
            let due = self.queue.keys().next().copied();
            match (due, timer) {
                (Some((at, seq)), timer) if timer.is_none_or(|(t, _)| at <= t) && at <= end => {
                    self.now = self.now.max(at);
                    let due = self.queue.remove(&(at, seq)).unwrap();
                    self.carry(due);
                }
                (_, Some((at, n))) if at <= end => {
                    self.now = self.now.max(at);
                    if self.nodes[n].up {
                        self.step(n, Event::Timeout);
                    } else {
                        self.timers.remove(&(at, n));
                        self.armed[n] = None;
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(crate) fn step(&mut self, n: usize, event: Event) {
        if !self.nodes[n].up {
            return;
        }
        let mut now = self.clock();
        now.wall.0 = now.wall.0.saturating_add_signed(self.nodes[n].wall_offset);
        let paths = Paths::default();
        let mut out = Outbox::new();
        self.nodes[n].core.handle(Env { now, paths: &paths }, event, &mut out);
        let deadline = self.nodes[n].core.deadline();
        if deadline != self.armed[n] {
            self.armed[n].into_iter().for_each(|at| _ = self.timers.remove(&(at, n)));
            self.timers.extend(deadline.map(|at| (at, n)));
            self.armed[n] = deadline;
        }
        let actions: Vec<Action> = out.drain().collect();
        for action in actions {
            if !self.quiet {
                self.trace.push(format!("{:?} {n} {action:?}", self.now));
            }
            self.act(n, action);
        }
    }

    fn push(&mut self, after: Duration, due: Due) {
        self.seq += 1;
        self.queue.insert((self.now + after, self.seq), due);
    }

    fn act(&mut self, n: usize, action: Action) {
        let node = &mut self.nodes[n];
        match action {
            Action::Want { peer, addrs } => {
                node.wants += 1;
                node.sought.insert(peer, addrs);
                node.wanted.insert(peer);
                self.push(LATENCY, Due::Dial(n, peer));
            }
            Action::Unwant(peer) => {
                assert!(node.wanted.remove(&peer), "INV-DISC-9");
                let other = self.index(&peer);
                if let Some(link) = other.and_then(|other| self.link(n, other)) {
                    self.push(Duration::from_millis(500), Due::Idle(link));
                }
            }
            Action::Send { link, kind, payload } => {
                *node.sent.entry(kind).or_insert(0) += 1;
                node.bytes += payload.len() + HEADER_LEN;
                let Some((a, b)) = self.links.get(&link).copied() else { return };
                let bytes = (payload.len() + HEADER_LEN) as u32;
                let to = if a == n { b } else { a };
                let peer = self.id(n);
                let frame = Event::Frame { peer, link, kind, payload };
                self.push(LATENCY, Due::OnLink(to, link, frame));
                self.push(LATENCY, Due::OnLink(n, link, Event::Drained { link, bytes }));
            }
            Action::Close { link, code } => {
                node.closes.push(code);
                self.close(n, link, code);
            }
            Action::Retire(link) => self.close(n, link, CloseCode::GRACEFUL_SHUTDOWN),
            Action::Changed(peer) => node.changed.push(peer),
            Action::Publish(Change::Entry { entry, news, .. }) => {
                node.news.extend(news.map(|news| (news, entry.id())));
            }
            Action::Publish(Change::Gone { peer, departed }) => {
                if departed {
                    node.gone.push(peer);
                }
            }
            Action::Publish(Change::Unsigned(_) | Change::UnsignedGone(_)) => {}
            Action::Reply { request, result } => {
                assert!(node.replies.insert(request.0, result).is_none(), "INV-DISC-10");
            }
            Action::Raise { above } => {
                node.raises += 1;
                let wall = UnixMillis(WALL + self.now.as_millis());
                node.local.raise(wall, above);
                let entry = node.local.signed().clone();
                self.push(Duration::ZERO, Due::Event(n, Event::Local(entry)));
            }
            Action::Seek => node.seeks.push(self.now),
            Action::Count(_) => {}
            Action::Departed => {
                node.departed = true;
                let links: Vec<LinkId> = self.links_of(n).collect();
                for link in links {
                    self.close(n, link, CloseCode::GRACEFUL_SHUTDOWN);
                }
                self.nodes[n].up = false;
            }
        }
    }

    fn close(&mut self, n: usize, link: LinkId, code: CloseCode) {
        let Some((a, b)) = self.links.remove(&link) else { return };
        let other = if a == n { b } else { a };
        let (me, peer) = (self.id(n), self.id(other));
        let local = Event::Disconnected { peer, link, reason: DownReason::Local(code) };
        let remote = Event::Disconnected { peer: me, link, reason: DownReason::Closed(code) };
        self.push(Duration::ZERO, Due::Event(n, local));
        self.push(LATENCY, Due::Event(other, remote));
    }

    fn carry(&mut self, due: Due) {
        match due {
            Due::Event(n, event) => self.step(n, event),
            Due::OnLink(n, link, event) => {
                if self.links.contains_key(&link) {
                    self.step(n, event);
                }
            }
            Due::Idle(link) => {
                let Some((a, b)) = self.links.get(&link).copied() else { return };
                let (ida, idb) = (self.id(a), self.id(b));
                if !self.nodes[a].wanted.contains(&idb) && !self.nodes[b].wanted.contains(&ida) {
                    self.close(a, link, CloseCode::IDLE);
                }
            }
            Due::Dial(n, peer) => self.connect(n, peer),
        }
    }

    fn connect(&mut self, n: usize, peer: PeerId) {
        if !self.nodes[n].up || !self.nodes[n].wanted.contains(&peer) {
            return;
        }
        let reachable = self.index(&peer).filter(|other| {
            self.nodes[*other].up
                && !self.nodes[*other].departed
                && !self.cut.contains(&(n, *other))
        });
        let Some(other) = reachable else {
            self.push(Duration::from_millis(700), Due::Dial(n, peer));
            return self.step(n, Event::Unreachable { peer, foreign: false });
        };
        if self.link(n, other).is_some() {
            // Look again later: a wanted link is dialled anew when it is lost.
            return self.push(Duration::from_millis(500), Due::Dial(n, peer));
        }
        self.seq += 1;
        let link = LinkId(self.seq);
        self.links.insert(link, (n, other));
        self.by_pair.insert((n.min(other), n.max(other)), link);
        for (at, from, side) in [(n, other, Side::Dialer), (other, n, Side::Listener)] {
            let entry = self.nodes[from].local.signed().clone();
            let event = Event::Connected { peer: self.id(from), link, side, entry };
            self.push(LATENCY, Due::OnLink(at, link, event));
        }
        self.push(Duration::from_millis(500), Due::Dial(n, peer));
    }

    /// True if `n` sees `other` with its latest entry.
    pub(crate) fn sees(&self, n: usize, other: usize) -> bool {
        let latest = self.nodes[other].local.signed();
        self.nodes[n].core.catalog().signed(&latest.id()) == Some(latest)
    }

    /// True if all that are up see all others that are up, and nobody else.
    pub(crate) fn converged(&self) -> bool {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].up).collect();
        up.iter().all(|n| {
            self.nodes[*n].core.catalog().signed_count() == up.len() - 1
                && up.iter().all(|other| n == other || self.sees(*n, *other))
        })
    }
}
