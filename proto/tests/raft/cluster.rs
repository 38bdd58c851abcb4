//! A few members, the links between them, and their disks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    Core, Outbox, PeerId,
    raft::{
        Action, Config, Event, Kind, LogIndex, Message, Origin, Raft, Role, Run, Seat, SeatId,
        Snapshot, Stored, Ticket, Write,
    },
    rng::Rng,
    streams::item,
    time::Instant,
};

use crate::invariants::Invariants;

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Stored);

impl Disk {
    fn apply(&mut self, write: Write) {
        let Stored { hard, base, runs } = &mut self.0;
        if let Some(reset) = write.reset {
            *base = reset;
            runs.clear();
        }
        if let Some(cut) = write.truncate {
            let mut log = mosaik_proto::raft::Log::behind(base.last, base.commands);
            runs.drain(..).for_each(|run| log.append(run));
            log.truncate(cut);
            runs.extend(log.runs().cloned());
        }
        runs.extend(write.runs);
        *hard = write.hard.unwrap_or(*hard);
    }
}

/// An applied entry: where, of which term, and what.
pub(crate) type Applied = (u64, u64, Bytes);

/// One peer: its member while it runs, and what outlives it.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    writes: VecDeque<(Instant, Ticket, Write)>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) reads: BTreeMap<u64, LogIndex>,
    seats: u8,
}

impl Host {
    pub(crate) fn raft(&self) -> &Raft {
        self.raft.as_ref().expect("it runs")
    }

    pub(crate) fn commands(&self) -> Vec<u64> {
        let commands = self.applied.iter().filter(|(_, _, data)| data.len() == 8);
        commands.map(|(_, _, data)| u64::from_be_bytes(data[..].try_into().unwrap())).collect()
    }
}

pub(crate) struct Cluster {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) rng: Rng,
    pub(crate) invariants: Invariants,
    /// Pairs that can talk, lower first.
    links: BTreeSet<(usize, usize)>,
    /// Pairs that may not, whatever the faults say.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Bytes of entries that were sent to each host.
    pub(crate) sent: BTreeMap<usize, usize>,
    /// Who sends and hears nothing.
    pub(crate) deaf: BTreeSet<usize>,
    wires: BTreeMap<(usize, usize), VecDeque<(Instant, Message)>>,
    fetches: Vec<(Instant, usize, LogIndex)>,
    pub(crate) delay: (Duration, Duration),
    pub(crate) disk_delay: (Duration, Duration),
    /// Commands by the place that a leader gave them.
    pub(crate) proposed: BTreeMap<(u64, u64), u64>,
    pub(crate) acknowledged: Vec<u64>,
    /// The last entry that was acknowledged, now and when each read began.
    acknowledged_to: u64,
    asked: BTreeMap<u64, u64>,
    pub(crate) refused: u64,
    next_command: u64,
    out: Outbox<Action>,
    pub(crate) trace: bool,
}

pub(crate) fn seat(host: usize, seat: u8) -> Seat {
    let mut id = [seat; 16];
    id[0] = host as u8;
    Seat { peer: PeerId::from_bytes([host as u8 + 1; 32]), id: SeatId(id) }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Cluster {
    /// Hosts that all hold the lineage which the first founds; linked, and nothing delivered yet.
    pub(crate) fn new(seed: u64, hosts: usize, durable: impl Fn(usize) -> bool) -> Self {
        let at = |config: &Config| usize::from(config.seat.id.0[0]);
        Self::with(seed, hosts, |config| Config { durable: durable(at(&config)), ..config })
    }

    /// The same, of members that are otherwise.
    pub(crate) fn with(seed: u64, hosts: usize, config: impl Fn(Config) -> Config) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut cluster = Self {
            now: Instant::from_millis(1),
            hosts: Vec::new(),
            rng: Rng::new(bytes),
            invariants: Invariants::default(),
            links: BTreeSet::new(),
            cut: BTreeSet::new(),
            sent: BTreeMap::new(),
            deaf: BTreeSet::new(),
            wires: BTreeMap::new(),
            fetches: Vec::new(),
            delay: (ms(1), ms(10)),
            disk_delay: (ms(1), ms(5)),
            proposed: BTreeMap::new(),
            acknowledged: Vec::new(),
            acknowledged_to: 0,
            asked: BTreeMap::new(),
            refused: 0,
            next_command: 0,
            out: Outbox::new(),
            trace: false,
        };
        for host in 0..hosts {
            let config = config(Config::new(seat(host, 0)));
            let rng = cluster.rng.fork(&format!("host {host}"));
            let raft = if host == 0 {
                Raft::found(config.clone(), rng, cluster.now)
            } else {
                Raft::new(config.clone(), Stored::default(), rng, cluster.now)
            };
            cluster.hosts.push(Host {
                config,
                raft: Some(raft),
                disk: Disk::default(),
                writes: VecDeque::new(),
                applied: Vec::new(),
                reads: BTreeMap::new(),
                seats: 0,
            });
        }
        for a in 0..hosts {
            (a + 1..hosts).for_each(|b| cluster.link(a, b));
        }
        cluster
    }

    // --- what tests do ---------------------------------------------------------------------

    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Raft)> {
        self.hosts.iter().enumerate().filter_map(|(at, host)| Some((at, host.raft.as_ref()?)))
    }

    /// The leader of the highest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leaders = self.running().filter(|(_, raft)| raft.role() == Role::Leader);
        leaders.max_by_key(|(_, raft)| raft.term()).map(|(at, _)| at)
    }

    /// Offers a fresh command to a host; true if it was taken.
    pub(crate) fn propose(&mut self, host: usize) -> bool {
        self.next_command += 1;
        let command = self.next_command;
        let mut data = item::short(8).unwrap().to_vec();
        data.extend(command.to_be_bytes());
        let before = self.proposed.len();
        let data = data.into();
        let (kind, origin, asker) = (Kind::Commands, Origin::default(), None);
        self.feed(host, Event::Propose { kind, count: 1, origin, data, asker });
        self.proposed.len() > before
    }

    /// Begins a read, which must cover everything acknowledged by now.
    pub(crate) fn read(&mut self, host: usize) -> u64 {
        let id = self.asked.len() as u64;
        self.asked.insert(id, self.acknowledged_to);
        self.feed(host, Event::Read { id });
        id
    }

    pub(crate) fn feed(&mut self, host: usize, event: Event) {
        let Some(raft) = &mut self.hosts[host].raft else { return };
        if self.trace {
            eprintln!("{:?} {host} < {event:?}", self.now);
        }
        raft.handle(self.now, event, &mut self.out);
        let actions: Vec<_> = self.out.drain().collect();
        for action in actions {
            if self.trace {
                eprintln!("{:?} {host} > {action:?}", self.now);
            }
            self.execute(host, action);
        }
        self.invariants.check(self.now, host, &self.hosts);
    }

    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    pub(crate) fn link(&mut self, a: usize, b: usize) {
        let both = self.hosts[a].raft.is_some() && self.hosts[b].raft.is_some();
        if both && !self.cut.contains(&(a.min(b), a.max(b))) && !self.is_linked(a, b) {
            self.links.insert((a.min(b), a.max(b)));
            for (at, of) in [(a, b), (b, a)] {
                let (seat, can_vote) = (self.hosts[of].config.seat, self.hosts[of].config.can_vote);
                self.feed(at, Event::Linked { seat, can_vote });
            }
        }
    }

    pub(crate) fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            for (at, of) in [(a, b), (b, a)] {
                self.wires.remove(&(at, of));
                let seat = self.hosts[of].config.seat;
                self.feed(at, Event::Unlinked(seat));
            }
        }
    }

    /// Links everybody again.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for a in 0..self.hosts.len() {
            (a + 1..self.hosts.len()).for_each(|b| self.link(a, b));
        }
    }

    /// Cuts the hosts of one side off from the others.
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

    /// The host dies: of the writes under way a random number is done, and never reported.
    pub(crate) fn crash(&mut self, host: usize) {
        let done = self.rng.below(self.hosts[host].writes.len() as u64 + 1) as usize;
        self.crash_after(host, done);
    }

    /// The host dies: of the writes under way so many are done, and never reported.
    pub(crate) fn crash_after(&mut self, host: usize, done: usize) {
        for other in 0..self.hosts.len() {
            if other != host {
                self.unlink(host, other);
            }
        }
        let it = &mut self.hosts[host];
        it.raft = None;
        for (_, _, write) in it.writes.drain(..).take(done) {
            it.disk.apply(write);
        }
        self.fetches.retain(|(_, to, _)| *to != host);
        self.invariants.stopped(host);
    }

    /// Starts a host from its disk; one without is a new seat.
    pub(crate) fn restart(&mut self, host: usize) {
        let rng = self.rng.fork(&format!("restart {host} {:?}", self.now));
        let it = &mut self.hosts[host];
        assert!(it.raft.is_none());
        if !it.config.durable {
            it.seats += 1;
            it.config.seat = seat(host, it.seats);
            it.disk = Disk::default();
        }
        // The machine is rebuilt from a snapshot, which holds what the base says.
        it.applied.retain(|(index, _, _)| *index <= it.disk.0.base.last.index.0);
        it.raft = Some(Raft::new(it.config.clone(), it.disk.0.clone(), rng, self.now));
        for other in 0..self.hosts.len() {
            if other != host {
                self.link(host, other);
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until something holds; panics if it does not in time.
    pub(crate) fn until(&mut self, what: &str, time: Duration, holds: impl Fn(&Self) -> bool) {
        let end = self.now + time;
        while !holds(self) {
            assert!(self.step(end), "{what}: not within {time:?}\n{}", self.describe());
        }
    }

    pub(crate) fn describe(&self) -> String {
        let one = |(at, raft): (usize, &Raft)| {
            format!(
                "{at}: {:?} {:?} leader {:?} last {:?} commit {:?} durable {:?} voters {:?}\n",
                raft.role(),
                raft.term(),
                raft.leader(),
                raft.log().last(),
                raft.commit(),
                raft.durable(),
                raft.membership()
            )
        };
        self.running().map(one).collect()
    }

    // --- by hand ---------------------------------------------------------------------------

    /// Delivers what is under way, and what follows from it, but no timer fires.
    pub(crate) fn pump(&mut self) {
        for _ in 0..100_000 {
            self.write_all();
            let Some((wire, _)) = self.wires.iter().find(|(_, queue)| !queue.is_empty()) else {
                return;
            };
            let wire = *wire;
            self.deliver(wire);
        }
        panic!("they never stop to talk");
    }

    /// Delivers from the first to the second of each pair in turn, with everything written in
    /// between, until something holds.
    pub(crate) fn play(&mut self, wires: &[(usize, usize)], holds: impl Fn(&Self) -> bool) {
        for _ in 0..50 {
            for (from, to) in wires {
                if holds(self) {
                    return;
                }
                self.write_all();
                self.deliver_one(*from, *to);
            }
        }
        panic!("it does not come to that\n{}", self.describe());
    }

    /// Delivers the next message from one host to another; true if there was one.
    pub(crate) fn deliver_one(&mut self, from: usize, to: usize) -> bool {
        let waits = self.wires.get(&(from, to)).is_some_and(|queue| !queue.is_empty());
        if waits {
            self.deliver((from, to));
        }
        waits
    }

    /// The next message from one host to another.
    pub(crate) fn waiting(&self, from: usize, to: usize) -> Option<&Message> {
        self.wires.get(&(from, to))?.front().map(|(_, message)| message)
    }

    /// What is being written is written and reported.
    pub(crate) fn write_all(&mut self) {
        (0..self.hosts.len()).for_each(|host| self.write_of(host));
    }

    /// What one host is writing is written and reported.
    pub(crate) fn write_of(&mut self, host: usize) {
        while !self.hosts[host].writes.is_empty() {
            self.write_one(host);
        }
    }

    /// The oldest write of a host is done and reported.
    pub(crate) fn write_one(&mut self, host: usize) {
        if let Some((_, ticket, write)) = self.hosts[host].writes.pop_front() {
            self.hosts[host].disk.apply(write);
            self.feed(host, Event::Persisted(ticket));
        }
    }

    /// The host says whether it may vote and lead.
    pub(crate) fn can_vote(&mut self, host: usize, can_vote: bool) {
        self.hosts[host].config.can_vote = can_vote;
        let seat = self.hosts[host].config.seat;
        self.feed(host, Event::CanVote(can_vote));
        for other in 0..self.hosts.len() {
            if other != host && self.is_linked(host, other) {
                self.feed(other, Event::Linked { seat, can_vote });
            }
        }
    }

    /// The host asks for votes, ten seconds from now; only those linked to it hear.
    pub(crate) fn campaign(&mut self, host: usize) {
        self.now = self.now + Duration::from_secs(10);
        self.feed(host, Event::Timeout);
    }

    /// Only these are linked, all with each other.
    pub(crate) fn island(&mut self, hosts: &[usize]) {
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                self.unlink(a, b);
                if hosts.contains(&a) && hosts.contains(&b) {
                    self.cut.remove(&(a, b));
                    self.link(a, b);
                } else {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// Offers a fresh command of so many bytes.
    pub(crate) fn propose_large(&mut self, host: usize, bytes: usize) {
        self.next_command += 1;
        let mut data = item::long(bytes).to_vec();
        data.resize(item::LONG + bytes, self.next_command as u8);
        let data = data.into();
        let (kind, origin, asker) = (Kind::Commands, Origin::default(), None);
        self.feed(host, Event::Propose { kind, count: 1, origin, data, asker });
    }

    // --- the world -------------------------------------------------------------------------

    fn between(&mut self, (low, high): (Duration, Duration)) -> Duration {
        let span = (high - low).as_nanos() as u64;
        low + Duration::from_nanos(self.rng.below(span + 1))
    }

    /// Does what comes next before `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let message = self.wires.iter().filter_map(|(wire, queue)| Some((queue.front()?.0, *wire)));
        let message = message.min();
        let timer = self.running().filter_map(|(at, raft)| Some((raft.deadline()?, at))).min();
        let hosts = self.hosts.iter().enumerate();
        let write = hosts.filter_map(|(at, host)| Some((host.writes.front()?.0, at))).min();
        let fetch = self.fetches.iter().map(|(at, host, _)| (*at, *host)).min();
        let next =
            [message.map(|m| m.0), timer.map(|t| t.0), write.map(|w| w.0), fetch.map(|f| f.0)];
        let Some(at) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        if let Some((_, wire)) = message.filter(|message| message.0 == at) {
            self.deliver(wire);
        } else if let Some((_, host)) = write.filter(|write| write.0 == at) {
            let (_, ticket, write) = self.hosts[host].writes.pop_front().unwrap();
            self.hosts[host].disk.apply(write);
            self.feed(host, Event::Persisted(ticket));
        } else if let Some((_, host)) = fetch.filter(|fetch| fetch.0 == at) {
            self.install(host);
        } else if let Some((_, host)) = timer {
            self.feed(host, Event::Timeout);
        }
        true
    }

    fn deliver(&mut self, (from, to): (usize, usize)) {
        let queue = self.wires.get_mut(&(from, to)).expect("it has a message");
        let (_, message) = queue.pop_front().expect("it has a message");
        let from = self.hosts[from].config.seat;
        self.feed(to, Event::Message { from, message });
    }

    fn execute(&mut self, host: usize, action: Action) {
        match action {
            Action::Send { to, message } => {
                let Some(other) = self.hosts.iter().position(|h| h.config.seat == to) else {
                    return;
                };
                if let Message::Append(append) = &message {
                    let bytes: usize = append.runs.iter().map(|run| run.data.len()).sum();
                    *self.sent.entry(other).or_default() += bytes;
                }
                if self.is_linked(host, other) && !self.deaf.contains(&other) {
                    let at = self.now + self.between(self.delay);
                    let wire = self.wires.entry((host, other)).or_default();
                    let at = wire.back().map_or(at, |(last, _)| at.max(*last));
                    wire.push_back((at, message));
                }
            }
            Action::Persist { ticket, write } => {
                let at = self.now + self.between(self.disk_delay);
                let writes = &mut self.hosts[host].writes;
                let at = writes.back().map_or(at, |(last, ..)| at.max(*last));
                writes.push_back((at, ticket, *write));
            }
            Action::Accepted { first, .. } => {
                self.proposed.insert((first.term.0, first.index.0), self.next_command);
            }
            Action::Refused(_) => self.refused += 1,
            Action::Apply(run) => self.apply(host, &run),
            Action::ReadReady { id, index } => {
                assert!(index.0 >= self.asked[&id], "host {host}: read {id} is stale");
                self.hosts[host].reads.insert(id, index);
            }
            Action::Fetch { base, .. } => {
                let at = self.now + Duration::from_millis(50);
                self.fetches.retain(|(_, to, _)| *to != host);
                self.fetches.push((at, host, base.index));
            }
            Action::Truncated(_) | Action::Role { .. } => {}
            Action::Faulty { seat, fault } => panic!("{host} finds {seat:?} faulty: {fault:?}"),
        }
    }

    fn apply(&mut self, host: usize, run: &Run) {
        let mut contents: Vec<Bytes> = match run.kind {
            Kind::Commands => item::Items::new(run.data.clone()).map(Result::unwrap).collect(),
            _ => vec![run.data.clone()],
        };
        let leads = self.hosts[host].raft().role() == Role::Leader;
        for (at, data) in contents.drain(..).enumerate() {
            let index = run.first.0 + at as u64;
            let of_term = self.proposed.get(&(run.term.0, index)).copied();
            if let (true, Some(command)) = (leads, of_term) {
                self.acknowledged.push(command);
                self.acknowledged_to = self.acknowledged_to.max(index);
            }
            let it = &mut self.hosts[host];
            let last = it.applied.last().map_or(0, |(index, ..)| *index);
            assert_eq!(last + 1, index, "host {host} skips or repeats entries");
            it.applied.push((index, run.term.0, data));
        }
    }

    /// A snapshot arrives: of any running host that has what is asked for.
    fn install(&mut self, host: usize) {
        let at = self.fetches.iter().position(|(_, to, _)| *to == host).expect("it was asked for");
        let (_, _, base) = self.fetches.remove(at);
        let source = self.running().find(|(at, raft)| *at != host && raft.commit() >= base);
        let Some((source, _)) = source else { return };
        self.install_from(host, source);
    }

    /// A snapshot arrives of what a host applied.
    pub(crate) fn install_from(&mut self, host: usize, source: usize) {
        let raft = self.hosts[source].raft();
        let (commit, of_term) = (raft.commit(), raft.term());
        let membership = raft.membership_at(commit).clone();
        let applied = self.hosts[source].applied.clone();
        let Some((index, term, _)) = applied.last().cloned() else { return };
        assert_eq!(index, commit.0);
        let last = mosaik_proto::raft::Position {
            term: mosaik_proto::raft::Term(term),
            index: LogIndex(index),
        };
        let commands = applied.iter().filter(|(_, _, data)| data.len() == 8).count() as u64;
        if self.hosts[host].raft().commit() < last.index {
            self.hosts[host].applied = applied;
            let snapshot = Snapshot { last, membership, commands, ..Snapshot::default() };
            self.feed(host, Event::Install { term: of_term, snapshot });
        }
    }
}
