//! A fetching member, members that serve with the real [`Snapshots`], and hosts in between.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use bytes::Bytes;

use crate::{
    Digest,
    core::Outbox,
    groups::{
        FrozenHead, GroupConfig, InstallFault, Output, SnapshotDigest,
        fetch::{Effect, Fetch, Fetched},
        frames::Frame,
        head, head_length,
        serving::Question,
        snapshots::Snapshots,
    },
    ids::PeerId,
    limits,
    raft::{Lineage, LogIndex, Position, Seat, SeatId, Snapshot, Term, sole},
    rng::Rng,
    time::Instant,
};

pub(super) const CHUNK: usize = limits::SNAPSHOT_CHUNK;
pub(super) const LINEAGE: Lineage = Lineage([7; 16]);

pub(super) fn peer(name: u8) -> PeerId {
    PeerId::from_bytes([name; 32])
}

pub(super) fn base(index: u64) -> Position {
    Position { term: Term(2), index: LogIndex(index) }
}

/// A snapshot up to an entry, of a machine whose bytes begin with `fill`.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) snapshot: Snapshot,
    pub(super) head: Bytes,
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

impl Image {
    pub(super) fn new(last: u64, chunks: usize, fill: u8) -> Self {
        let seat = Seat { peer: peer(1), id: SeatId([1; 16]) };
        let (lineage, membership) = (LINEAGE, sole(seat));
        let snapshot = Snapshot { lineage, last: base(last), membership, commands: last - 1 };
        let head = head::encode(&snapshot, b"the sessions").unwrap();
        let mut bytes = head.to_vec();
        // Every chunk is different, and the last is short.
        for chunk in 0..chunks {
            bytes.resize((chunk + 1) * CHUNK, chunk as u8 ^ fill);
        }
        bytes.truncate(chunks * CHUNK - 100);
        let mut digest = SnapshotDigest::new();
        digest.update(&bytes);
        Self { snapshot, head, bytes: bytes.into(), digest: digest.finish() }
    }

    pub(super) fn chunk(&self, number: u64) -> Bytes {
        let from = number as usize * CHUNK;
        self.bytes.slice(from..self.bytes.len().min(from + CHUNK))
    }

    pub(super) fn held_by(&self) -> Snapshots {
        let mut snapshots = Snapshots::new(&GroupConfig {
            snapshots: true,
            ..GroupConfig::new(self.digest, self.digest)
        });
        let FrozenHead { head, bytes, digest } = FrozenHead {
            head: self.head.clone(),
            bytes: self.bytes.len() as u64,
            digest: self.digest,
        };
        snapshots.loaded(self.snapshot.clone(), &FrozenHead { head, bytes, digest });
        snapshots
    }
}

/// A member that serves.
pub(super) struct Server {
    pub(super) snapshots: Snapshots,
    /// What its host reads, which need not be what it says.
    pub(super) image: Image,
    pub(super) term: Term,
    pub(super) asked: VecDeque<Question>,
    pub(super) answers: VecDeque<Frame>,
    pub(super) reads: VecDeque<(u64, LogIndex, u64)>,
    pub(super) mute: bool,
}

pub(super) struct World {
    pub(super) fetch: Fetch,
    pub(super) now: Instant,
    pub(super) servers: BTreeMap<PeerId, Server>,
    pub(super) rng: Rng,
    /// What the host got of the present attempt, and of this did not take over.
    pub(super) got: Vec<Bytes>,
    pub(super) unkept: usize,
    pub(super) begun: usize,
    pub(super) cancelled: usize,
    pub(super) install: Option<(LogIndex, Digest)>,
    /// Questions for chunks so far, and by whom each chunk was sent.
    pub(super) asked: usize,
    pub(super) faulty: Vec<PeerId>,
    pub(super) hung_up: Vec<PeerId>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            fetch: Fetch::default(),
            now: Instant::ZERO,
            servers: BTreeMap::new(),
            rng: Rng::new(bytes),
            got: Vec::new(),
            unkept: 0,
            begun: 0,
            cancelled: 0,
            install: None,
            asked: 0,
            faulty: Vec::new(),
            hung_up: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: u8, image: &Image) {
        let (snapshots, image, term) = (image.held_by(), image.clone(), Term(3));
        let (asked, answers, reads) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let server = Server { snapshots, image, term, asked, answers, reads, mute: false };
        self.servers.insert(peer(name), server);
    }

    /// The leader says that the log begins behind `index`.
    pub(super) fn need(&mut self, leader: u8, index: u64) {
        let peers = self.servers.keys().copied().collect::<Vec<_>>();
        let mut out = Outbox::new();
        self.fetch.need(peer(leader), base(index), peers.into_iter(), self.now, &mut out);
        self.absorb(out);
    }

    pub(super) fn act(&mut self, act: impl FnOnce(&mut Fetch, Instant, &mut Outbox<Effect>)) {
        let mut out = Outbox::new();
        act(&mut self.fetch, self.now, &mut out);
        self.absorb(out);
    }

    /// Carries out what the fetching member asks for.
    pub(super) fn absorb(&mut self, mut out: Outbox<Effect>) {
        for effect in out.drain() {
            match effect {
                Effect::Send(to, frame) => {
                    let question = match frame {
                        Frame::FetchManifest => Question::Manifest,
                        Frame::FetchChunk { last, digest, chunk } => {
                            self.asked += 1;
                            Question::Chunk { last, digest, chunk }
                        }
                        other => panic!("{other:?}"),
                    };
                    if let Some(server) = self.servers.get_mut(&to) {
                        server.asked.push_back(question);
                    }
                }
                Effect::Output(Output::FetchBegin { .. }) => {
                    self.got.clear();
                    (self.unkept, self.begun) = (0, self.begun + 1);
                }
                Effect::Output(Output::FetchChunk(data)) => {
                    self.got.push(data);
                    self.unkept += 1;
                    assert!(self.unkept * CHUNK <= limits::FETCH_WINDOW);
                }
                Effect::Output(Output::FetchCancel) => {
                    self.got.clear();
                    (self.unkept, self.cancelled) = (0, self.cancelled + 1);
                }
                Effect::Output(Output::Install { snapshot, digest, head, bytes }) => {
                    assert_eq!(bytes as usize, self.got.iter().map(Bytes::len).sum::<usize>());
                    assert_eq!(head_length(&self.got[0]), Some(head as usize));
                    self.install = Some((snapshot.last.index, digest));
                }
                Effect::Faulty(peer) => self.faulty.push(peer),
                Effect::HangUp(peer) => {
                    self.hung_up.push(peer);
                    self.reopen(peer);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A channel ends with all that is under way on it.
    pub(super) fn reopen(&mut self, name: PeerId) {
        if let Some(server) = self.servers.get_mut(&name) {
            server.asked.clear();
            server.answers.clear();
            server.snapshots.lost(name);
        }
    }

    pub(super) fn drop_server(&mut self, name: u8) {
        self.servers.remove(&peer(name));
        self.act(|fetch, now, out| fetch.lost(peer(name), now, out));
    }

    /// One thing of those that can happen; false if there is none.
    pub(super) fn step(&mut self) -> bool {
        let mut can = Vec::new();
        for (name, server) in &self.servers {
            can.extend((!server.asked.is_empty()).then_some((*name, 0)));
            can.extend((!server.reads.is_empty()).then_some((*name, 1)));
            can.extend((!server.answers.is_empty() && !server.mute).then_some((*name, 2)));
        }
        can.extend((self.unkept > 0).then_some((peer(0), 3)));
        if can.is_empty() {
            return false;
        }
        let (name, what) = can[self.rng.below(can.len() as u64) as usize];
        match what {
            0 => self.serve(name, |server, name, out| {
                let question = server.asked.pop_front().unwrap();
                server.snapshots.on_ask(name, question, out);
            }),
            1 => self.serve(name, |server, _, out| {
                let (read, last, chunk) = server.reads.pop_front().unwrap();
                let is_there = server.image.snapshot.last.index == last;
                let data = is_there.then(|| server.image.chunk(chunk));
                server.snapshots.on_read(read, data, out);
            }),
            2 => self.deliver(name),
            _ => {
                self.unkept -= 1;
                self.act(Fetch::kept);
            }
        }
        true
    }

    pub(super) fn serve(
        &mut self,
        name: PeerId,
        act: impl FnOnce(&mut Server, PeerId, &mut Outbox<Effect>),
    ) {
        let server = self.servers.get_mut(&name).unwrap();
        let mut out = Outbox::new();
        act(server, name, &mut out);
        // The test's channels take everything at once.
        for _ in 0..2 * limits::FETCH_ASKS {
            server.snapshots.serve(server.term, |_| 0, &mut out);
        }
        for effect in out.drain() {
            match effect {
                Effect::Send(_, frame) => server.answers.push_back(frame),
                Effect::Output(Output::ReadChunk { read, last, chunk }) => {
                    server.reads.push_back((read, last, chunk));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) fn deliver(&mut self, name: PeerId) {
        let frame = self.servers.get_mut(&name).unwrap().answers.pop_front().unwrap();
        self.act(|fetch, now, out| match frame {
            Frame::Manifest(manifest) => {
                fetch.on_manifest(name, manifest.map(|boxed| *boxed), LINEAGE, now, out);
            }
            Frame::Chunk { chunk, data } => fetch.on_chunk(name, chunk, Some(data), now, out),
            Frame::NoChunk { chunk } => fetch.on_chunk(name, chunk, None, now, out),
            other => panic!("{other:?}"),
        });
    }

    /// Until nothing can happen.
    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// What the host finds out when it is told to install.
    pub(super) fn installs(&mut self) -> Option<Fetched> {
        let (last, digest) = self.install.take()?;
        let mut found = SnapshotDigest::new();
        self.got.iter().for_each(|chunk| found.update(chunk));
        if found.finish() == digest {
            return self.fetch.on_installed(last);
        }
        self.act(|fetch, now, out| {
            fetch.on_install_failed(last, &InstallFault::Digest, now, out);
        });
        None
    }

    /// Heartbeats until it is installed, at most so many.
    pub(super) fn fetch_from(&mut self, leader: u8, index: u64, beats: usize) -> Option<Fetched> {
        for _ in 0..beats {
            self.need(leader, index);
            self.run();
            if let Some(fetched) = self.installs() {
                return Some(fetched);
            }
            self.now = self.now + core::time::Duration::from_millis(500);
            self.act(Fetch::on_timeout);
        }
        None
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now = self.now + core::time::Duration::from_secs(seconds);
        self.act(Fetch::on_timeout);
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.got.concat()
    }
}
