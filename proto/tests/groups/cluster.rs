//! A few nodes' cores of groups, the links between them, their disks, machines and clients.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    Core, Digest, Outbox, PeerId,
    discovery::{Catalog, LocalEntry},
    groups::{
        Action, Counter, Cursor, Env, Event, GroupConfig, Groups, Input, Notice, OperatorError,
        Outcome, Output, Status,
    },
    ids::{ChannelId, GroupId, LinkId, RequestId, Side},
    links::{DownReason, Path, Paths},
    raft::{Lineage, Role},
    rng::Rng,
    streams::item,
    time::Instant,
};

use crate::{
    common::{WALL, clock, edited, id, local, network},
    disk::Disk,
    invariants::Invariants,
    machine::{Done, Machine},
};

/// What a client asked for: the command's number among all that were ever executed here.
pub(crate) type Command = u64;

/// One node: its core while it runs, and what outlives it.
pub(crate) struct Host {
    pub(crate) groups: Option<Groups>,
    pub(crate) config: GroupConfig,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    later: VecDeque<(Instant, Input)>,
    pub(crate) status: Option<Status>,
    /// How often it said so.
    pub(crate) said: u64,
    pub(crate) log: Cursor,
    pub(crate) notices: Vec<Notice>,
    pub(crate) closed: bool,
    replies: Vec<Reply>,
    /// Commands of the present life, by their number.
    pub(crate) sent: Vec<Command>,
    pub(crate) window: (u64, u64),
    bytes: u64,
    pub(crate) outcomes: BTreeMap<Command, Outcome>,
    /// Reads that ended: how many commands the machine had been handed, unless they failed.
    pub(crate) reads: BTreeMap<u64, Option<u64>>,
    entry: LocalEntry,
    catalog: Catalog,
    paths: Paths,
    next_channel: u64,
    lives: u64,
}

impl Host {
    pub(crate) fn is_up(&self) -> bool {
        self.groups.is_some()
    }

    /// A part in the group begins.
    fn begin(&mut self) {
        self.machine = Machine::default();
        (self.status, self.closed, self.window, self.bytes) = (None, false, (0, 0), 0);
        self.sent.clear();
        self.replies.clear();
    }

    pub(crate) fn status(&self) -> &Status {
        self.status.as_ref().expect("a member says what it is")
    }

    pub(crate) fn leads(&self) -> bool {
        let leads = || self.status.as_ref().is_some_and(|status| status.role == Role::Leader);
        self.is_up() && !self.closed && leads()
    }

    pub(crate) fn lineage(&self) -> Option<Lineage> {
        self.status.as_ref()?.lineage
    }
}

/// How an operator's request ended.
pub(crate) type Reply = (RequestId, Result<(), OperatorError>);

/// One end of a channel.
type End = (usize, ChannelId);

/// What is under way on a link, in order per channel.
#[derive(Debug)]
enum Parcel {
    Opened,
    Data(Bytes),
    Closed,
}

pub(crate) struct Cluster {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) rng: Rng,
    pub(crate) invariants: Invariants,
    /// Pairs that are linked, lower first, and their links.
    pub(crate) links: BTreeMap<(usize, usize), u64>,
    /// Pairs that may not be.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// The other end of each end.
    ends: BTreeMap<End, End>,
    wires: BTreeMap<End, VecDeque<(Instant, Parcel)>>,
    /// What transports took, and cores were not told yet.
    drained: VecDeque<(usize, ChannelId, u32)>,
    next_link: u64,
    next_command: Command,
    pub(crate) delay: (Duration, Duration),
    pub(crate) disk_delay: (Duration, Duration),
    pub(crate) machine_delay: (Duration, Duration),
    /// Who executed a command.
    pub(crate) executed: BTreeMap<Command, usize>,
    pub(crate) trace: bool,
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

pub(crate) fn peer(host: usize) -> PeerId {
    id(&name(host))
}

fn name(host: usize) -> String {
    char::from(b'a' + host as u8).to_string()
}

pub(crate) fn group() -> GroupId {
    Digest::from("the group")
}

pub(crate) fn config() -> GroupConfig {
    GroupConfig { restartable: true, ..GroupConfig::new(group(), Digest::from("the secret")) }
}

impl Cluster {
    /// Hosts that are all up, know of each other, and are linked.
    pub(crate) fn new(seed: u64, hosts: usize, config: impl Fn(usize) -> GroupConfig) -> Self {
        let mut cluster = Self::apart(seed, hosts, config);
        cluster.heal();
        cluster
    }

    /// Hosts that are all up and alone.
    pub(crate) fn apart(seed: u64, hosts: usize, config: impl Fn(usize) -> GroupConfig) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let rng = Rng::new(bytes);
        let host = |at: usize| Host {
            groups: None,
            config: config(at),
            disk: Disk::new(rng.fork(&format!("disk {at}"))),
            machine: Machine::default(),
            later: VecDeque::new(),
            status: None,
            said: 0,
            log: Cursor::default(),
            notices: Vec::new(),
            closed: false,
            replies: Vec::new(),
            sent: Vec::new(),
            window: (0, 0),
            bytes: 0,
            outcomes: BTreeMap::new(),
            reads: BTreeMap::new(),
            entry: local(&name(at), network(), WALL),
            catalog: Catalog::new(network(), peer(at)),
            paths: Paths::default(),
            next_channel: 0,
            lives: 0,
        };
        let mut cluster = Self {
            now: Instant::from_millis(1),
            hosts: (0..hosts).map(host).collect(),
            invariants: Invariants::default(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            ends: BTreeMap::new(),
            wires: BTreeMap::new(),
            drained: VecDeque::new(),
            next_link: 0,
            next_command: 0,
            delay: (us(200), us(2_000)),
            disk_delay: (us(500), us(5_000)),
            machine_delay: (us(10), us(1_000)),
            executed: BTreeMap::new(),
            trace: std::env::var("TRACE").is_ok(),
            rng,
        };
        for a in 0..hosts {
            (a + 1..hosts).for_each(|b| {
                cluster.cut.insert((a, b));
            });
        }
        (0..hosts).for_each(|at| cluster.start(at));
        cluster
    }

    // --- lives -----------------------------------------------------------------------------

    /// Starts a host from its disk, if it has one.
    pub(crate) fn start(&mut self, at: usize) {
        let rng = self.rng.fork(&format!("life {at} {}", self.hosts[at].lives));
        let host = &mut self.hosts[at];
        assert!(!host.is_up());
        host.lives += 1;
        host.groups = Some(Groups::new(peer(at), rng));
        host.begin();
        host.catalog = Catalog::new(network(), peer(at));
        host.paths = Paths::default();
        let entry = edited(&mut host.entry, |draft| {
            draft.groups().insert(group());
        });
        let config = host.config.clone();
        for other in 0..self.hosts.len() {
            self.hosts[other].catalog.set(entry.clone());
            if other == at {
                let all: Vec<_> = self.hosts.iter().map(|it| it.entry.signed().clone()).collect();
                all.into_iter().for_each(|entry| self.hosts[at].catalog.set(entry));
            } else {
                self.feed(other, Event::PeerChanged(peer(at)));
            }
        }
        self.input(at, Input::Join(Box::new(config.clone())));
        if config.durable {
            self.load(at);
        }
        (0..self.hosts.len()).for_each(|other| self.link(at, other));
    }

    /// Opens the store and tells the core what is in it.
    fn load(&mut self, at: usize) {
        let after = self.between(self.disk_delay);
        self.hosts[at].disk.open(self.now + after);
    }

    /// The process dies: what was not written is lost.
    pub(crate) fn crash(&mut self, at: usize) {
        (0..self.hosts.len()).for_each(|other| self.unlink(at, other));
        let host = &mut self.hosts[at];
        host.groups = None;
        host.disk.crash(&mut self.rng);
        if self.trace {
            eprintln!("{:?} {at} crashes", self.now);
        }
    }

    /// A member that left joins again.
    pub(crate) fn again(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        assert!(host.closed);
        host.begin();
        let config = host.config.clone();
        self.input(at, Input::Join(Box::new(config.clone())));
        if config.durable {
            self.load(at);
        }
    }

    /// What the host has on disk is gone.
    pub(crate) fn wipe(&mut self, at: usize) {
        assert!(!self.hosts[at].is_up());
        self.hosts[at].disk.wipe();
    }

    // --- links -----------------------------------------------------------------------------

    pub(crate) fn link(&mut self, a: usize, b: usize) {
        let both = a != b && self.hosts[a].is_up() && self.hosts[b].is_up();
        if !both || self.cut.contains(&pair(a, b)) || self.links.contains_key(&pair(a, b)) {
            return;
        }
        self.next_link += 1;
        let number = self.next_link;
        self.links.insert(pair(a, b), number);
        let mut binding = [0; 32];
        binding[..8].copy_from_slice(&number.to_be_bytes());
        let link = LinkId(number);
        for (at, of) in [(a, b), (b, a)] {
            let side = if at < of { Side::Dialer } else { Side::Listener };
            let path = Path { link, rtt: us(1_000), side };
            self.hosts[at].paths.set(peer(of), Some(path));
            self.feed(at, Event::Connected { peer: peer(of), link, binding });
        }
    }

    pub(crate) fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&pair(a, b)).is_none() {
            return;
        }
        for (at, of) in [(a, b), (b, a)] {
            let mine = |end: &End, other: &End| end.0 == at && other.0 == of;
            let lost: Vec<End> =
                self.ends.iter().filter(|(end, other)| mine(end, other)).map(|(e, _)| *e).collect();
            self.hosts[at].paths.set(peer(of), None);
            for end in lost {
                self.ends.remove(&end);
                self.wires.remove(&end);
                let reason = DownReason::Lost;
                self.feed(at, Event::ChannelDown { channel: end.1, reason });
            }
            self.feed(at, Event::Disconnected { peer: peer(of) });
        }
    }

    /// Links everybody with everybody.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for a in 0..self.hosts.len() {
            (a + 1..self.hosts.len()).for_each(|b| self.link(a, b));
        }
    }

    /// Cuts these hosts off from the others.
    pub(crate) fn partition(&mut self, side: &[usize]) {
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                if side.contains(&a) != side.contains(&b) {
                    self.unlink(a, b);
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// These hosts can be linked with each other.
    pub(crate) fn join(&mut self, side: &[usize]) {
        for a in side {
            for b in side {
                self.cut.remove(&pair(*a, *b));
                self.link(*a, *b);
            }
        }
    }

    // --- what tests do ---------------------------------------------------------------------

    /// Executes a fresh command at a host; its number.
    pub(crate) fn execute(&mut self, at: usize) -> Command {
        self.execute_many(at, 1)
    }

    /// Executes so many commands at once; the number of the first.
    pub(crate) fn execute_many(&mut self, at: usize, count: u32) -> Command {
        let first = self.next_command;
        let mut data = Vec::new();
        for command in first..first + u64::from(count) {
            item::append(&mut data, &command.to_be_bytes());
            self.executed.insert(command, at);
            self.hosts[at].sent.push(command);
        }
        self.next_command += u64::from(count);
        let host = &mut self.hosts[at];
        host.bytes += data.len() as u64;
        let number = host.sent.len() as u64 - u64::from(count);
        assert!(number < host.window.0, "within the window of {:?}", host.window);
        self.input(at, Input::Execute { first: number, count, data: data.into() });
        first
    }

    pub(crate) fn input(&mut self, at: usize, input: Input) {
        self.feed(at, Event::Input { group: group(), input });
    }

    /// How the requests at a host ended.
    pub(crate) fn replies(&self, at: usize) -> &[Reply] {
        &self.hosts[at].replies
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until something holds; how long that took.
    pub(crate) fn until(
        &mut self,
        what: &str,
        time: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(self.step(begin + time), "{what}: not within {time:?}\n{}", self.describe());
        }
        self.now.since(begin)
    }

    // --- the world -------------------------------------------------------------------------

    pub(crate) fn between(&mut self, (low, high): (Duration, Duration)) -> Duration {
        let span = (high - low).as_nanos() as u64;
        low + Duration::from_nanos(self.rng.below(span + 1))
    }

    pub(crate) fn feed(&mut self, at: usize, event: Event) {
        let host = &mut self.hosts[at];
        let Some(groups) = &mut host.groups else { return };
        if self.trace && !matches!(event, Event::Data { .. } | Event::Drained { .. }) {
            eprintln!("{:?} {at} < {event:?}", self.now);
        }
        let env = Env { now: clock(self.now), catalog: &host.catalog, paths: &host.paths };
        let mut out = Outbox::new();
        groups.handle(env, event, &mut out);
        for action in out.drain().collect::<Vec<_>>() {
            self.act(at, action);
        }
        self.invariants.check(at, &self.hosts);
        // Behind everything that the step asked for.
        while let Some((at, channel, bytes)) = self.drained.pop_front() {
            self.feed(at, Event::Drained { channel, bytes });
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        if self.trace && !matches!(action, Action::Write { .. } | Action::Count(_)) {
            eprintln!("{:?} {at} > {action:?}", self.now);
        }
        match action {
            Action::Open { link, channel } => self.open(at, link, channel),
            Action::Write { channel, head, body } => {
                let bytes = [head.as_slice(), &body[..]].concat();
                let drained = bytes.len() as u32;
                self.ship((at, channel), Parcel::Data(bytes.into()));
                self.drained.push_back((at, channel, drained));
            }
            Action::Close { channel, .. } => {
                self.ship((at, channel), Parcel::Closed);
                self.ends.remove(&(at, channel));
            }
            Action::Output { group: of, output } => {
                assert_eq!(of, group());
                self.output(at, output);
            }
            Action::Count(Counter::Violation(_)) => panic!("nobody here breaks the rules"),
            Action::Want(_) | Action::Unwant(_) | Action::Count(_) | Action::Left => {}
        }
    }

    fn open(&mut self, at: usize, link: LinkId, channel: ChannelId) {
        let found = self.links.iter().find(|(_, number)| LinkId(**number) == link);
        let Some((&(a, b), _)) = found else { return };
        let other = if a == at { b } else { a };
        self.hosts[other].next_channel += 1;
        let theirs = (other, ChannelId::driver(self.hosts[other].next_channel));
        self.ends.insert((at, channel), theirs);
        self.ends.insert(theirs, (at, channel));
        self.ship((at, channel), Parcel::Opened);
    }

    /// Sends something from one end of a channel to the other.
    fn ship(&mut self, from: End, parcel: Parcel) {
        let Some(to) = self.ends.get(&from).copied() else { return };
        let delay = self.between(self.delay);
        let wire = self.wires.entry(to).or_default();
        let after = wire.back().map_or(self.now, |(last, _)| *last);
        wire.push_back((after.max(self.now + delay), parcel));
    }

    fn deliver(&mut self, to: End) {
        let Some((_, parcel)) = self.wires.get_mut(&to).and_then(VecDeque::pop_front) else {
            return;
        };
        let (at, channel) = to;
        match parcel {
            Parcel::Opened => {
                let Some((from, _)) = self.ends.get(&to).copied() else { return };
                self.feed(at, Event::Accepted { peer: peer(from), channel });
            }
            Parcel::Data(chunk) if self.ends.contains_key(&to) => {
                self.feed(at, Event::Data { channel, chunk });
            }
            Parcel::Data(_) => {}
            Parcel::Closed => {
                self.wires.remove(&to);
                if self.ends.remove(&to).is_some() {
                    self.feed(at, Event::ChannelDown { channel, reason: DownReason::Lost });
                }
            }
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        let disk = self.between(self.disk_delay);
        let work = self.between(self.machine_delay);
        let (disk, work) = (self.now + disk, self.now + work);
        let host = &mut self.hosts[at];
        match output {
            Output::Persist { ticket, write } => host.disk.write(disk, ticket, *write),
            Output::RememberBoot { seat, boot } => host.disk.remember(seat, boot),
            Output::Wipe => host.disk.renew(disk),
            Output::Apply(applying) => host.machine.apply(work, applying),
            Output::Reset => host.machine.reset(),
            Output::TakeDigest(entry) => host.machine.take_digest(work, entry),
            Output::Freeze { snapshot, head } => host.machine.freeze(work, *snapshot, head),
            Output::Install { snapshot, bytes, digest, .. } => {
                host.machine.install(work, *snapshot, bytes, digest);
            }
            Output::Compact(last) if host.config.durable => host.disk.compact(disk, last),
            Output::ReadChunk { read, last, chunk } => {
                let data = host.machine.chunk(last, chunk);
                self.soon(at, Input::Chunk { read, data });
            }
            Output::FetchBegin { snapshot, .. } => {
                host.machine.fetched = Some((*snapshot, Vec::new()));
            }
            Output::FetchChunk(chunk) => {
                if let Some((_, fetched)) = &mut host.machine.fetched {
                    fetched.extend(chunk);
                }
                self.soon(at, Input::ChunkKept);
            }
            Output::FetchCancel => host.machine.fetched = None,
            Output::Outcome { first, count, outcome } => {
                for at in 0..u64::from(count) {
                    let command = host.sent[(first + at) as usize];
                    let outcome = match outcome {
                        Outcome::Committed { index } => {
                            Outcome::Committed { index: (index.0 + at).into() }
                        }
                        other => other,
                    };
                    let before = host.outcomes.insert(command, outcome);
                    assert_eq!(before, None, "{command} ends once");
                }
            }
            Output::Status(status) => (host.status, host.said) = (Some(*status), host.said + 1),
            Output::LogPosition(log) => host.log = log,
            Output::Notice(notice) => host.notices.push(notice),
            Output::Window { commands, bytes } => host.window = (commands, bytes),
            Output::ReadReady(id) => {
                host.reads.insert(id, Some(host.machine.handed()));
            }
            Output::ReadFailed(id) => {
                host.reads.insert(id, None);
            }
            Output::Closed => host.closed = true,
            Output::Reply { request, result } => host.replies.push((request, result)),
            _ => {}
        }
    }

    /// Something for the core, behind what is being done.
    fn soon(&mut self, at: usize, input: Input) {
        self.hosts[at].later.push_back((self.now, input));
    }

    /// Does what comes next before `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let wires = self.wires.iter().filter_map(|(to, queue)| Some((queue.front()?.0, 0, *to)));
        let nobody = ChannelId(0);
        let hosts = || self.hosts.iter().enumerate().filter(|(_, host)| host.is_up());
        let timers = hosts()
            .filter_map(|(at, host)| Some((host.groups.as_ref()?.deadline()?, 3, (at, nobody))));
        let disks = hosts().filter_map(|(at, host)| Some((host.disk.next()?, 1, (at, nobody))));
        let jobs = hosts().filter_map(|(at, host)| Some((host.machine.next()?, 2, (at, nobody))));
        let later = hosts().filter_map(|(at, h)| Some((h.later.front()?.0, 4, (at, nobody))));
        let wires = wires.chain(later);
        let next = wires.chain(timers).chain(disks).chain(jobs).min();
        let Some((at, what, who)) = next.filter(|(at, ..)| *at <= end) else { return false };
        self.now = self.now.max(at);
        let host = who.0;
        match what {
            0 => self.deliver(who),
            1 => {
                if let Some(input) = self.hosts[host].disk.work() {
                    self.on_disk(host, input);
                }
            }
            2 => match self.hosts[host].machine.work() {
                Done::Said(input) => self.input(host, input),
                Done::Whole(frozen, install) => self.on_whole(host, frozen, install),
            },
            4 => {
                let input = self.hosts[host].later.pop_front().map(|(_, input)| input);
                input.into_iter().for_each(|input| self.input(host, input));
            }
            _ => self.feed(host, Event::Timeout),
        }
        true
    }
}
