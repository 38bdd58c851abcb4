//! A part in a group: a machine, a store, and clients that use it.

mod clients;
mod executor;
mod machine;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    groups::{GroupConfig, SnapshotDigest, Status, StoreFault, head_length},
    raft::Snapshot,
    rng::Rng,
    time::Instant,
};

pub use self::machine::Op;
pub(crate) use self::{
    clients::{Clients, Waiting, Wish},
    executor::{Executor, Job},
    machine::{Command, Machine},
};
use crate::disk::{DiskError, Habits};

/// A host's part in a group.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// How it behaves towards the node. With a store if [`durable`](GroupConfig::durable) is set.
    pub config: GroupConfig,
    /// Its disk.
    pub disk: Habits,
    /// What its machine takes for one batch of commands: at least, at most.
    pub apply: (Duration, Duration),
    /// Clients: each asks for one thing after the other.
    pub clients: u64,
    /// How long a client waits between two questions, at most.
    pub think: Duration,
    /// Registers that the clients use.
    pub keys: u8,
    /// Of a million operations so many are reads.
    pub reads: u32,
    /// Bytes that a command is longer than it must be, at most.
    pub padding: u64,
}

impl GroupSpec {
    /// Three clients that use four registers; a machine that takes no time.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            disk: Habits::default(),
            apply: (Duration::ZERO, Duration::ZERO),
            clients: 3,
            think: Duration::from_millis(200),
            keys: 4,
            reads: 400_000,
            padding: 0,
        }
    }
}

/// Commands of this node: how many were executed, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) commands: u64,
    pub(crate) bytes: u64,
}

/// A snapshot that can be read, or is being fetched.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) snapshot: Snapshot,
    /// This core's part, and the machine's behind it.
    pub(crate) bytes: Bytes,
}

impl Frozen {
    /// The machine's part.
    pub(crate) fn machine(&self) -> Option<Machine> {
        Machine::decode(&self.bytes[head_length(&self.bytes)?..])
    }

    pub(crate) fn head(&self) -> Bytes {
        self.bytes.slice(..head_length(&self.bytes).unwrap_or_default())
    }

    pub(crate) fn digest(&self) -> mosaik_proto::Digest {
        let mut digest = SnapshotDigest::new();
        digest.update(&self.bytes);
        digest.finish()
    }
}

/// What runs of a part in a group while its process does.
#[derive(Debug)]
pub(crate) struct GroupApp {
    pub(crate) spec: GroupSpec,
    pub(crate) machine: Machine,
    pub(crate) executor: Executor,
    pub(crate) clients: Clients,
    pub(crate) window: Used,
    pub(crate) used: Used,
    /// The snapshot that others may read.
    pub(crate) frozen: Option<Frozen>,
    /// What was fetched so far.
    pub(crate) fetched: Option<(Snapshot, BytesMut)>,
    /// A snapshot that the store has not confirmed.
    pub(crate) staging: Option<Frozen>,
    pub(crate) status: Option<Status>,
    pub(crate) leaving: bool,
    /// Once it has left it takes part again.
    pub(crate) again: bool,
    /// The machine begins nothing before this moment.
    pub(crate) paused_until: Instant,
    /// A machine that failed applies nothing more.
    pub(crate) failed: bool,
    /// Draws the time that the machine takes.
    pub(crate) rng: Rng,
}

impl GroupApp {
    pub(crate) fn new(spec: GroupSpec, rng: &Rng) -> Self {
        Self {
            machine: Machine::default(),
            executor: Executor::default(),
            clients: Clients::new(&spec, rng.fork("clients")),
            window: Used::default(),
            used: Used::default(),
            frozen: None,
            fetched: None,
            staging: None,
            status: None,
            leaving: false,
            again: false,
            paused_until: Instant::ZERO,
            failed: false,
            rng: rng.fork("machine"),
            spec,
        }
    }

    /// What the machine takes for its next job.
    pub(crate) fn effort(&mut self) -> Duration {
        let (least, most) = self.spec.apply;
        let range = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(if range == 0 { 0 } else { self.rng.below(range + 1) })
    }
}

/// What an error of a disk means to a group.
pub(crate) fn fault(error: DiskError) -> StoreFault {
    match error {
        DiskError::Damaged => StoreFault::Damaged(error.to_string()),
        DiskError::Full | DiskError::Io | DiskError::NoSnapshot => {
            StoreFault::Failed(error.to_string())
        }
    }
}
