//! Three cores of groups and what lies between them: queues without delay.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use mosaik_proto::{
    Core as _, Digest, NetworkId, Outbox, PeerId,
    crypto::SecretKey,
    discovery::{Catalog, LocalEntry},
    groups::{Action, Env, Event, GroupConfig, Groups, Input, Outcome, Output},
    ids::{ChannelId, GroupId, LinkId, Side},
    links::{Path, Paths},
    raft::{LogIndex, Role},
    rng::Rng,
    streams::item,
    time::{Instant, Now, UnixMillis},
};

const PAYLOAD: usize = 16;
const WALL: UnixMillis = UnixMillis(1_000_000);

struct Host {
    groups: Groups,
    catalog: Catalog,
    paths: Paths,
    leads: bool,
    next_channel: u64,
    /// What is to be reported back to the core.
    reports: VecDeque<Input>,
}

pub(crate) struct World {
    hosts: Vec<Host>,
    peers: Vec<PeerId>,
    now: Instant,
    ends: BTreeMap<(usize, ChannelId), (usize, ChannelId)>,
    queue: VecDeque<(usize, Event)>,
    out: Outbox<Action>,
    batch: BytesMut,
    outstanding: u32,
    /// Who executes.
    at: usize,
    executed: u64,
    committed: u64,
    read: u64,
    frames: u64,
}

fn group() -> GroupId {
    Digest::from("bench")
}

const fn link(a: usize, b: usize) -> LinkId {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    LinkId((low * 3 + high) as u64)
}

impl World {
    pub(crate) fn new(leader: bool, outstanding: u32) -> Self {
        let network = NetworkId::from("bench");
        let mut keys: Vec<_> = (0..3).map(|n| SecretKey::from_bytes(&[n + 1; 32])).collect();
        keys.sort_by_key(SecretKey::public);
        let peers: Vec<PeerId> = keys.iter().map(SecretKey::public).collect();
        let entries: Vec<_> = keys
            .iter()
            .map(|key| {
                let mut entry = LocalEntry::new(network, key.clone(), WALL);
                entry.edit(WALL, |draft| _ = draft.groups().insert(group())).expect("it fits");
                entry.signed().clone()
            })
            .collect();
        let host = |at: usize| {
            let (mut catalog, mut paths) = (Catalog::new(network, peers[at]), Paths::default());
            entries.iter().for_each(|entry| catalog.set(entry.clone()));
            for other in (0..3).filter(|other| *other != at) {
                let side = if at < other { Side::Dialer } else { Side::Listener };
                let rtt = Duration::from_micros(50);
                paths.set(peers[other], Some(Path { link: link(at, other), rtt, side }));
            }
            let groups = Groups::new(peers[at], Rng::new([at as u8; 32]));
            let reports = VecDeque::new();
            Host { groups, catalog, paths, leads: false, next_channel: 0, reports }
        };
        let mut world = Self {
            hosts: (0..3).map(host).collect(),
            peers: peers.clone(),
            now: Instant::from_millis(1),
            ends: BTreeMap::new(),
            queue: VecDeque::new(),
            out: Outbox::new(),
            batch: BytesMut::new(),
            outstanding,
            at: 0,
            executed: 0,
            committed: 0,
            read: 0,
            frames: 0,
        };
        world.begin(leader);
        world
    }

    fn begin(&mut self, leader: bool) {
        for at in 0..3 {
            let mut config = GroupConfig::new(group(), Digest::from("secret"));
            config.snapshots = true;
            self.input(at, Input::Join(Box::new(config)));
            for other in (0..3).filter(|other| *other != at) {
                let binding = [link(at, other).0 as u8; 32];
                let (peer, link) = (self.peers[other], link(at, other));
                self.step(at, Event::Connected { peer, link, binding });
            }
        }
        self.deliver();
        for _ in 0..100 {
            self.pass(Duration::from_millis(50));
        }
        let leads = self.hosts.iter().position(|host| host.leads).expect("somebody leads");
        self.at = if leader { leads } else { (leads + 1) % 3 };
        // The first command brings the other voters.
        let outstanding = std::mem::replace(&mut self.outstanding, 1);
        self.execute();
        for _ in 0..100 {
            self.pass(Duration::from_millis(50));
        }
        self.outstanding = outstanding;
        assert_eq!(self.committed, 1, "it works");
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for at in 0..3 {
            if self.hosts[at].groups.deadline().is_some_and(|at| at <= self.now) {
                self.step(at, Event::Timeout);
            }
        }
        self.deliver();
    }

    fn input(&mut self, at: usize, input: Input) {
        self.step(at, Event::Input { group: group(), input });
    }

    fn step(&mut self, at: usize, event: Event) {
        let host = &mut self.hosts[at];
        let now = Now { mono: self.now, wall: WALL };
        let env = Env { now, catalog: &host.catalog, paths: &host.paths };
        let mut out = std::mem::take(&mut self.out);
        host.groups.handle(env, event, &mut out);
        for action in out.drain() {
            self.act(at, action);
        }
        self.out = out;
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Open { link: on, channel } => {
                let to = (0..3).find(|to| *to != at && link(at, *to) == on).expect("a link");
                self.hosts[to].next_channel += 1;
                let theirs = ChannelId::driver(self.hosts[to].next_channel);
                self.ends.insert((at, channel), (to, theirs));
                self.ends.insert((to, theirs), (at, channel));
                let accepted = Event::Accepted { peer: self.peers[at], channel: theirs };
                self.queue.push_back((to, accepted));
            }
            Action::Write { channel, head, body } => {
                let bytes = (head.as_slice().len() + body.len()) as u32;
                let (to, theirs) = self.ends[&(at, channel)];
                self.queue.push_back((at, Event::Drained { channel, bytes }));
                for chunk in [Bytes::copy_from_slice(head.as_slice()), body] {
                    if !chunk.is_empty() {
                        self.queue.push_back((to, Event::Data { channel: theirs, chunk }));
                    }
                }
                self.frames += 1;
            }
            Action::Output { output, .. } => self.output(at, output),
            _ => {}
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        let reports = &mut self.hosts[at].reports;
        match output {
            Output::Apply(applying) => reports.push_back(Input::Applied(applying.through())),
            Output::Outcome { count, outcome: Outcome::Committed { .. }, .. } => {
                self.committed += u64::from(count);
            }
            Output::ReadReady(_) => self.read += 1,
            Output::Freeze { snapshot, head } => {
                let (bytes, digest) = (head.len() as u64, Digest::from("frozen"));
                reports.push_back(Input::Frozen { snapshot, bytes, digest });
            }
            Output::Status(status) => self.hosts[at].leads = status.role == Role::Leader,
            _ => {}
        }
    }

    fn deliver(&mut self) {
        loop {
            while let Some((to, event)) = self.queue.pop_front() {
                self.step(to, event);
            }
            for at in 0..3 {
                // One report for all that was applied meanwhile, as a machine gives.
                let mut applied = LogIndex(0);
                while let Some(report) = self.hosts[at].reports.pop_front() {
                    match report {
                        Input::Applied(through) => applied = through,
                        other => self.input(at, other),
                    }
                }
                if applied > LogIndex(0) {
                    self.input(at, Input::Applied(applied));
                }
            }
            if self.queue.is_empty() && self.hosts.iter().all(|host| host.reports.is_empty()) {
                return;
            }
        }
    }

    fn execute(&mut self) {
        let count = self.outstanding;
        self.batch.reserve(count as usize * (item::SHORT + PAYLOAD));
        for n in 0..count {
            let length = item::short(PAYLOAD).expect("a short one");
            self.batch.put_slice(&length);
            self.batch.put_bytes(n as u8, PAYLOAD);
        }
        let (first, data) = (self.executed, self.batch.split().freeze());
        self.executed += u64::from(count);
        self.input(self.at, Input::Execute { first, count, data });
    }

    /// Fills the window and delivers everything; the number of commands committed.
    pub(crate) fn turn(&mut self) -> u64 {
        let before = self.committed;
        self.execute();
        self.deliver();
        self.committed - before
    }

    /// One linearizable read.
    pub(crate) fn read(&mut self) -> u64 {
        let before = self.read;
        self.input(self.at, Input::Read(before));
        self.deliver();
        self.read - before
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }
}
