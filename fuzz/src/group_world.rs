//! The core of groups alone, in one group of three, and a host that plays its part correctly. The two
//! others know the secret of the group, and say what they like.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mosaik_proto::{
    Core as _, Digest, Outbox, PeerId,
    crypto::SecretKey,
    discovery::{Catalog, LocalEntry},
    groups::{Action, Env, Event, GroupConfig, Groups, Input, InstallFault, Output},
    ids::{ChannelId, LinkId, Side},
    limits,
    links::{DownReason, Path, Paths},
    raft::LogIndex,
    rng::Rng,
    time::{Instant, Now, UnixMillis},
    wire::{FrameReader, decode_first},
};

use super::peers::{WALL, network};

/// Actions of one step, at most.
const ACTIONS: usize = 20_000;
/// Times that a host may be told in a row that something is due already.
const SPINS: usize = 64;
/// Bytes that may be written to a channel above its debt: one frame.
const FRAME: u64 = 9 * 1024 * 1024;

/// A channel as its other end sees it.
#[derive(Debug, Default)]
pub struct Channel {
    /// Whose: 0 has a smaller id than the node, 1 a larger one.
    pub peer: usize,
    /// The peer opened it.
    pub theirs: bool,
    debt: u64,
    reader: FrameReader,
    /// Announcements of the node that came on it.
    pub heard: u32,
}

pub struct GroupWorld {
    groups: Groups,
    out: Outbox<Action>,
    pub now: Now,
    catalog: Catalog,
    paths: Paths,
    pub me: PeerId,
    pub peers: [PeerId; 2],
    entries: [LocalEntry; 2],
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Lineage and seat that the node announced last.
    pub mine: (Option<[u8; 16]>, [u8; 16]),
    ids: u64,
    joined: bool,
    // --- the host ---
    applying: VecDeque<(LogIndex, usize)>,
    applied: LogIndex,
    window: (u64, u64),
    executed: (u64, u64),
    /// Commands without an outcome.
    open: BTreeSet<u64>,
    reads: BTreeSet<u64>,
    chunks: usize,
}

pub fn config(network_of_three: bool) -> GroupConfig {
    let mut config = GroupConfig::new(Digest::from("group"), Digest::from("secret"));
    config.snapshots = network_of_three;
    config.restartable = true;
    config
}

fn member(seed: u8) -> LocalEntry {
    let key = SecretKey::from_bytes(&[seed; 32]);
    let mut entry = LocalEntry::new(network(), key, UnixMillis(WALL));
    let edited = entry.edit(UnixMillis(WALL), |draft| {
        draft.groups().insert(config(true).id);
    });
    assert_eq!(edited, Ok(true));
    entry
}

impl GroupWorld {
    pub fn new() -> Self {
        let mut members = [member(1), member(2), member(3)];
        members.sort_by_key(LocalEntry::id);
        let [small, mine, large] = members;
        let me = mine.id();
        let mut world = Self {
            groups: Groups::new(me, Rng::new([1; 32])),
            out: Outbox::new(),
            now: Now { mono: Instant::ZERO, wall: UnixMillis(WALL) },
            catalog: Catalog::new(network(), me),
            paths: Paths::default(),
            me,
            peers: [small.id(), large.id()],
            entries: [small, large],
            channels: BTreeMap::new(),
            mine: (None, [0; 16]),
            ids: 0,
            joined: false,
            applying: VecDeque::new(),
            applied: LogIndex(0),
            window: (0, 0),
            executed: (0, 0),
            open: BTreeSet::new(),
            reads: BTreeSet::new(),
            chunks: 0,
        };
        world.join();
        world.meet(0);
        world.meet(1);
        world
    }

    /// A number that was not given out before.
    pub const fn fresh(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub fn join(&mut self) {
        if !self.joined {
            self.joined = true;
            (self.window, self.executed, self.applied) = ((0, 0), (0, 0), LogIndex(0));
            self.input(Input::Join(Box::new(config(true))));
        }
    }

    pub fn input(&mut self, input: Input) {
        self.step(Event::Input { group: config(true).id, input });
    }

    /// A link to a peer, and its entry.
    pub fn meet(&mut self, peer: usize) {
        let id = self.peers[peer];
        self.catalog.set(self.entries[peer].signed().clone());
        if self.paths.get(&id).is_none() {
            let link = LinkId(self.fresh());
            let path = Path { link, rtt: Duration::ZERO, side: Side::Dialer };
            self.paths.set(id, Some(path));
            self.step(Event::Connected { peer: id, link, binding: self.binding(peer) });
        }
        self.step(Event::PeerChanged(id));
    }

    /// What both ends of the present link know.
    pub fn binding(&self, peer: usize) -> [u8; 32] {
        [self.paths.get(&self.peers[peer]).map_or(0, |path| path.link.0 as u8); 32]
    }

    pub fn lose(&mut self, peer: usize) {
        let id = self.peers[peer];
        if self.paths.get(&id).is_some() {
            self.paths.set(id, None);
            let of = |channel: &Channel| channel.peer == peer;
            let gone: Vec<_> =
                self.channels.iter().filter(|(_, c)| of(c)).map(|(id, _)| *id).collect();
            for channel in gone {
                self.down(channel);
            }
            self.step(Event::Disconnected { peer: id });
        }
    }

    pub fn down(&mut self, channel: ChannelId) {
        if self.channels.remove(&channel).is_some() {
            self.step(Event::ChannelDown { channel, reason: DownReason::Finished });
        }
    }

    /// A channel that a peer opens.
    pub fn accept(&mut self, peer: usize) -> Option<ChannelId> {
        self.paths.get(&self.peers[peer])?;
        let channel = ChannelId::driver(self.fresh());
        self.channels.insert(channel, Channel { peer, theirs: true, ..Channel::default() });
        self.step(Event::Accepted { peer: self.peers[peer], channel });
        Some(channel)
    }

    pub fn say(&mut self, channel: ChannelId, bytes: Vec<u8>, cut: usize) {
        let cut = cut.min(bytes.len());
        for chunk in [&bytes[..cut], &bytes[cut..]] {
            if self.channels.contains_key(&channel) && !chunk.is_empty() {
                self.step(Event::Data { channel, chunk: Bytes::copy_from_slice(chunk) });
            }
        }
    }

    pub fn drain(&mut self, channel: ChannelId) {
        if let Some(open) = self.channels.get_mut(&channel) {
            let bytes = core::mem::take(&mut open.debt) as u32;
            self.step(Event::Drained { channel, bytes });
        }
    }

    pub fn advance(&mut self, by: Duration) {
        self.now.mono = self.now.mono + by;
        self.now.wall.0 += by.as_millis() as u64;
        self.step(Event::Timeout);
    }

    // --- the host --------------------------------------------------------------------------

    /// The machine applies what it was handed.
    pub fn apply(&mut self) {
        if let Some((through, _)) = self.applying.pop_front() {
            self.applied = through;
            self.input(Input::Applied(through));
        }
    }

    pub fn execute(&mut self, count: u32, size: usize) {
        let data = super::recipe::batch(count, size);
        let (first, bytes) = self.executed;
        let after = (first + u64::from(count), bytes + data.len() as u64);
        if self.joined && after.0 <= self.window.0 && after.1 <= self.window.1 {
            self.executed = after;
            self.open.extend(first..after.0);
            self.input(Input::Execute { first, count, data: data.into() });
        }
    }

    pub fn read(&mut self) {
        let read = self.fresh();
        if self.joined {
            self.reads.insert(read);
            self.input(Input::Read(read));
        }
    }

    pub fn keep_chunk(&mut self) {
        if self.chunks > 0 {
            self.chunks -= 1;
            self.input(Input::ChunkKept);
        }
    }

    fn output(&mut self, output: Output, answers: &mut Vec<Input>) {
        match output {
            Output::Apply(applying) => {
                let last = self.applying.back().map_or(self.applied, |(through, _)| *through);
                assert!(applying.entry > last, "{:?} behind {last:?}", applying.entry);
                self.applying.push_back((applying.through(), applying.data.len()));
                let waiting: usize = self.applying.iter().map(|(_, bytes)| bytes).sum();
                assert!(waiting <= limits::APPLY_BYTES + FRAME as usize, "{waiting} bytes wait");
            }
            Output::Reset | Output::Closed => {
                self.applying.clear();
                self.applied = LogIndex(0);
                if matches!(output, Output::Closed) {
                    assert!(self.joined, "closed once");
                    self.joined = false;
                    self.reads.clear();
                    self.open.clear();
                    self.chunks = 0;
                }
            }
            Output::Outcome { first, count, .. } => {
                for number in first..first + u64::from(count) {
                    assert!(self.open.remove(&number), "{number} has one outcome");
                }
            }
            Output::Window { commands, bytes } => {
                assert!(commands >= self.window.0 && bytes >= self.window.1, "it only grows");
                self.window = (commands, bytes);
            }
            Output::ReadReady(read) | Output::ReadFailed(read) => {
                assert!(self.reads.remove(&read), "a read ends once");
            }
            Output::Freeze { snapshot, .. } => {
                answers.push(Input::FreezeFailed(snapshot.last.index));
            }
            Output::ReadChunk { read, .. } => answers.push(Input::Chunk { read, data: None }),
            Output::FetchBegin { .. } | Output::FetchCancel => self.chunks = 0,
            Output::FetchChunk(_) => {
                self.chunks += 1;
                assert!(self.chunks <= limits::FETCH_ASKS + 1, "no more than the window");
            }
            Output::Install { snapshot, .. } => {
                let (last, why) = (snapshot.last.index, InstallFault::Digest);
                answers.push(Input::InstallFailed { last, why });
            }
            Output::Persist { .. } | Output::Wipe | Output::RememberBoot { .. } => {
                panic!("it has no store")
            }
            _ => {}
        }
    }

    // --- a step ----------------------------------------------------------------------------

    /// One step; afterwards everything that is promised of it holds.
    pub fn step(&mut self, event: Event) {
        let due = matches!(event, Event::Timeout);
        self.handle(event);
        let mut spins = 0;
        while due && self.groups.deadline().is_some_and(|at| at <= self.now.mono) {
            spins += 1;
            assert!(spins < SPINS, "a timeout makes progress");
            self.handle(Event::Timeout);
        }
    }

    fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let env = Env { now: self.now, catalog: &self.catalog, paths: &self.paths };
            self.groups.handle(env, event, &mut self.out);
            assert!(self.out.len() < ACTIONS, "a step does bounded work: {}", self.out.len());
            let mut answers = Vec::new();
            for action in self.out.drain().collect::<Vec<_>>() {
                self.act(action, &mut answers);
            }
            let group = config(true).id;
            events.extend(answers.into_iter().rev().map(|input| Event::Input { group, input }));
        }
    }

    fn act(&mut self, action: Action, answers: &mut Vec<Input>) {
        match action {
            Action::Open { link, channel } => {
                let up = |at: &usize| {
                    self.paths.get(&self.peers[*at]).is_some_and(|path| path.link == link)
                };
                let peer = (0..2).find(up).expect("a link that is up");
                let known = self.channels.insert(channel, Channel { peer, ..Channel::default() });
                assert!(known.is_none(), "a channel is named once");
            }
            Action::Write { channel, head, body } => {
                let Some(open) = self.channels.get_mut(&channel) else {
                    panic!("{channel:?} is written to, but it is not open");
                };
                open.debt += (head.len() + body.len()) as u64;
                assert!(open.debt <= limits::BOND_DEBT + FRAME, "it owes {} bytes", open.debt);
                let mut chunk: Bytes = [head.as_slice(), &body].concat().into();
                let limit = |_| Some(FRAME as u32);
                while let Ok(Some(frame)) = open.reader.read(&mut chunk, limit) {
                    let sealed = match frame.kind {
                        1 => decode_first::<(Digest, u8, u64)>(&frame.payload)
                            .ok()
                            .filter(|((_, class, _), _)| *class == 0)
                            .map(|(_, sealed)| sealed),
                        2 => Some(&frame.payload[..]),
                        _ => None,
                    };
                    let said = sealed.and_then(|sealed| sealed.get(32..));
                    if let Some((mine, _)) = said.and_then(|said| decode_first(said).ok()) {
                        self.mine = mine;
                        open.heard += 1;
                    }
                }
            }
            Action::Close { channel, .. } => {
                assert!(self.channels.remove(&channel).is_some(), "{channel:?} ends once");
            }
            Action::Output { output, .. } => self.output(output, answers),
            _ => {}
        }
    }
}
