//! A store in memory that a test is asked about.

use mosaik_driver::storage::{InMemoryLogStore, Loaded, LogStore, SnapshotReader, StoreError};
use mosaik_proto::raft::{Position, Seat, Snapshot, Write};

/// What a store is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Load,
    Write,
    Sync,
    SnapshotChunk,
    Settle,
    Wipe,
}

/// Asks before each [`Call`], and fails as it is answered.
#[derive(Debug)]
pub(crate) struct AskedStore<A> {
    inner: InMemoryLogStore,
    ask: A,
}

impl<A: FnMut(Call) -> Result<(), StoreError> + Send + 'static> AskedStore<A> {
    pub(crate) fn new(ask: A) -> Self {
        Self { inner: InMemoryLogStore::default(), ask }
    }
}

impl<A: FnMut(Call) -> Result<(), StoreError> + Send + 'static> LogStore for AskedStore<A> {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        (self.ask)(Call::Load)?;
        self.inner.load()
    }

    fn raise_boot(&mut self) -> Result<u64, StoreError> {
        self.inner.raise_boot()
    }

    fn remember_boot(&mut self, seat: Seat, boot: u64) -> Result<(), StoreError> {
        self.inner.remember_boot(seat, boot)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        (self.ask)(Call::Write)?;
        self.inner.write(write)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        (self.ask)(Call::Sync)?;
        self.inner.sync()
    }

    fn begin_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.inner.begin_snapshot(snapshot)
    }

    fn snapshot_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        (self.ask)(Call::SnapshotChunk)?;
        self.inner.snapshot_chunk(chunk)
    }

    fn finish_snapshot(&mut self) -> Result<(), StoreError> {
        self.inner.finish_snapshot()
    }

    fn compact(&mut self, last: Position) -> Result<(), StoreError> {
        self.inner.compact(last)
    }

    fn open_snapshot(&mut self) -> Result<Option<Box<dyn SnapshotReader>>, StoreError> {
        self.inner.open_snapshot()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        (self.ask)(Call::Settle)?;
        self.inner.settle()
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        (self.ask)(Call::Wipe)?;
        self.inner.wipe()
    }
}
