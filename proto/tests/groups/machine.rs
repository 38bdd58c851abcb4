//! A machine that keeps every command that it applied, and can be frozen.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use mosaik_proto::{
    Digest,
    groups::{Applying, FrozenHead, Index, Input, InstallFault, SnapshotDigest, head_length},
    limits,
    raft::{LogIndex, Snapshot},
    streams::item::Items,
    time::Instant,
};

/// A whole snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) snapshot: Snapshot,
    pub(crate) bytes: Bytes,
}

impl Frozen {
    fn new(snapshot: Snapshot, bytes: Vec<u8>) -> Self {
        Self { snapshot, bytes: bytes.into() }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = SnapshotDigest::new();
        digest.update(&self.bytes);
        digest.finish()
    }

    pub(crate) fn head(&self) -> FrozenHead {
        let head = self.bytes.slice(..head_length(&self.bytes).unwrap());
        FrozenHead { head, bytes: self.bytes.len() as u64, digest: self.digest() }
    }

    /// What a host says when it can be read.
    pub(crate) fn said(&self) -> Input {
        let (bytes, digest) = (self.bytes.len() as u64, self.digest());
        Input::Frozen { snapshot: Box::new(self.snapshot.clone()), bytes, digest }
    }
}

#[derive(Debug)]
enum Job {
    Apply(Applying),
    Freeze(Snapshot, Bytes),
    Install(Snapshot, u64, Digest),
    Digest(LogIndex),
}

/// What became of a job.
pub(crate) enum Done {
    Said(Input),
    /// A snapshot is whole, and is to be installed or not.
    Whole(Frozen, bool),
}

/// What one host applied, and what waits to be.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    commands: Vec<u64>,
    /// Places of commands, the void ones included.
    last: u64,
    jobs: VecDeque<(Instant, Job)>,
    /// What others can read.
    pub(crate) frozen: Option<Frozen>,
    pub(crate) fetched: Option<(Snapshot, Vec<u8>)>,
    /// Bytes that a snapshot has besides what is in it.
    pub(crate) padding: usize,
    /// It changes bytes of the chunks that others read.
    pub(crate) lies: bool,
    /// Chunks that others read here, and snapshots that were installed.
    pub(crate) served: usize,
    pub(crate) installed: usize,
    /// Commands that it applies otherwise than others do: a bug.
    pub(crate) strays: bool,
    /// What everything takes longer.
    pub(crate) slow: Duration,
}

impl Machine {
    /// Bytes of commands that wait to be applied.
    pub(crate) fn waiting(&self) -> usize {
        let bytes = |(_, job): &(Instant, Job)| match job {
            Job::Apply(applying) => applying.data.len(),
            Job::Freeze(..) | Job::Install(..) | Job::Digest(_) => 0,
        };
        self.jobs.iter().map(bytes).sum()
    }

    /// The machine of a host's next life.
    pub(crate) fn reborn(&self) -> Self {
        Self { padding: self.padding, slow: self.slow, ..Self::default() }
    }

    /// Commands that it was handed, whether it applied them yet or not.
    pub(crate) fn handed(&self) -> u64 {
        self.jobs.iter().fold(self.last, |handed, (_, job)| match job {
            Job::Apply(applying) => applying.first.0 + u64::from(applying.count) - 1,
            Job::Install(snapshot, ..) => snapshot.commands,
            Job::Freeze(..) | Job::Digest(_) => handed,
        })
    }

    pub(crate) fn commands(&self) -> &[u64] {
        &self.commands
    }

    fn job(&mut self, at: Instant, job: Job) {
        let at = at + self.slow;
        let after = self.jobs.back().map_or(at, |(last, _)| *last);
        self.jobs.push_back((at.max(after), job));
    }

    pub(crate) fn apply(&mut self, at: Instant, applying: Applying) {
        self.job(at, Job::Apply(applying));
    }

    pub(crate) fn freeze(&mut self, at: Instant, snapshot: Snapshot, head: Bytes) {
        self.job(at, Job::Freeze(snapshot, head));
    }

    pub(crate) fn install(&mut self, at: Instant, snapshot: Snapshot, bytes: u64, digest: Digest) {
        self.job(at, Job::Install(snapshot, bytes, digest));
    }

    pub(crate) fn take_digest(&mut self, at: Instant, entry: LogIndex) {
        self.job(at, Job::Digest(entry));
    }

    pub(crate) fn reset(&mut self) {
        *self = self.reborn();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.jobs.front().map(|(at, _)| *at)
    }

    pub(crate) fn chunk(&mut self, last: LogIndex, number: u64) -> Option<Bytes> {
        let frozen = self.frozen.as_ref().filter(|held| held.snapshot.last.index == last)?;
        let from = number as usize * limits::SNAPSHOT_CHUNK;
        let to = frozen.bytes.len().min(from + limits::SNAPSHOT_CHUNK);
        self.served += 1;
        let mut chunk = frozen.bytes[from..to].to_vec();
        if self.lies {
            let end = chunk.len() - 1;
            chunk[end] ^= 1;
        }
        Some(chunk.into())
    }

    /// Does the next job.
    pub(crate) fn work(&mut self) -> Done {
        let (_, job) = self.jobs.pop_front().expect("something waits");
        match job {
            Job::Apply(applying) => Done::Said(Input::Applied(self.applied(&applying))),
            Job::Freeze(snapshot, head) => {
                assert_eq!(snapshot.commands, self.last, "all before it, and nothing behind it");
                let bytes = [&head[..], &self.encode()].concat();
                Done::Whole(Frozen::new(snapshot, bytes), false)
            }
            Job::Install(snapshot, bytes, digest) => {
                let fetched = self.fetched.take().map(|(of, bytes)| Frozen::new(of, bytes));
                let right = |it: &Frozen| it.bytes.len() as u64 == bytes && it.digest() == digest;
                match fetched.filter(right) {
                    Some(frozen) => Done::Whole(frozen, true),
                    None => {
                        let (last, why) = (snapshot.last.index, InstallFault::Digest);
                        Done::Said(Input::InstallFailed { last, why })
                    }
                }
            }
            Job::Digest(at) => {
                let mut digest = SnapshotDigest::new();
                digest.update(&self.encode());
                Done::Said(Input::StateDigest { at, digest: digest.finish() })
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.last.to_be_bytes());
        bytes.extend((self.commands.len() as u64).to_be_bytes());
        self.commands.iter().for_each(|command| bytes.extend(command.to_be_bytes()));
        bytes.resize(bytes.len() + self.padding, 7);
        bytes
    }

    /// Its state is that of a snapshot.
    pub(crate) fn restore(&mut self, frozen: &Frozen) {
        let bytes = &frozen.bytes[head_length(&frozen.bytes).unwrap()..];
        let mut numbers =
            bytes.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
        self.last = numbers.next().unwrap();
        assert_eq!(self.last, frozen.snapshot.commands);
        let count = numbers.next().unwrap() as usize;
        self.commands = numbers.take(count).collect();
        self.installed += 1;
    }

    fn applied(&mut self, applying: &Applying) -> LogIndex {
        assert_eq!(
            applying.first,
            Index(self.last + 1),
            "nothing is left out, nothing comes twice"
        );
        self.last += u64::from(applying.count);
        if !applying.void {
            let items = Items::new(applying.data.clone()).map(|item| item.unwrap());
            let commands = items.map(|item| u64::from_be_bytes(item[..].try_into().unwrap()));
            let before = self.commands.len();
            self.commands.extend(commands);
            assert_eq!(self.commands.len() - before, applying.count as usize);
            if self.strays {
                self.commands.pop();
            }
        }
        applying.through()
    }
}
