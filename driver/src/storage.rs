//! What a Raft member keeps across crashes: its log, its hard state, its snapshot, who it is.
//!
//! # Theory of operation
//!
//! A [`LogStore`] is blocking and single-threaded; a [`StoreThread`] owns one, so that no fsync ever
//! stops an event loop. Writes come in the order of their tickets. What waits when the disk is free
//! again is written together and made durable by one sync (group commit), so a slow disk costs
//! latency and not throughput.
//!
//! ```text
//!  event loop                 StoreThread                                  directory
//!  ──────────                 ───────────                                  ─────────
//!  Persist{7} ─┐                                                           0…01.wal  sealed
//!  Persist{8} ─┼─► queue ───► write 7, 8, 9 ──► one append, one fdatasync ─► 0…02.wal  grows
//!  Persist{9} ─┘   (bounded)  Done 7, 8, 9  ◄── mark "synced up to here"     0…01.snap
//! ```
//!
//! [`InMemoryLogStore`] forgets everything with the process. [`Wal`] is a log of checksummed
//! records, each of which covers all before it; its format and the reasons are in
//! `docs/spec/store.md` (rules STORE-nn). The order of things, in short:
//!
//! - An entry is durable when a sync after its write succeeded. Then the *mark*, in a second place,
//!   says how far syncs reached. What is broken before the mark is **damage** ([`StoreError::Damaged`]):
//!   the caller wipes the store and joins as an empty member, under a new seat. What is broken behind
//!   it is the **torn tail** of a crash: nobody was told of it, and it is cut.
//! - After any failed write or sync the store is **poisoned**. It is never tried again, because an
//!   operating system may drop what it could not write and then report success.
//! - Everything derived from records (`state.rs`) is derived by one function, whether
//!   they are being written or read back; each segment begins with it, and the reader compares.
//!
//! # Reading order
//!
//! 1. this file: the trait; `memory.rs`, its simplest implementation over `contents.rs`, the model.
//! 2. `record.rs` and `state.rs`: what is written and what follows from it.
//! 3. `chain.rs`, `segment.rs`, `snapshot_file.rs`: how bytes prove that they are the ones written.
//! 4. `wal.rs` (writing) and `recovery.rs` (reading back); [`disk`], the files underneath.
//! 5. `thread.rs`: group commit.

mod chain;
mod contents;
pub mod disk;
mod error;
mod memory;
mod record;
mod recovery;
mod segment;
mod snapshot_file;
mod state;
mod thread;
mod wal;

use bytes::Bytes;
use mosaik_proto::raft::{Position, Seat, SeatId, Snapshot, Stored, Write};

pub use self::{
    error::{Damage, StoreError},
    memory::InMemoryLogStore,
    thread::{Busy, Report, StoreThread, Task},
    wal::Wal,
};

/// What a store held when it was opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Names the store: drawn when it was created.
    pub seat: SeatId,
    /// The boot number of the last start; 0 if there was none. Raise it before the first vote.
    pub boot: u64,
    /// The highest boot number seen of other seats, the one raised last at the end.
    pub boots: Vec<(Seat, u64)>,
    /// What the Raft core starts with.
    pub stored: Stored,
    /// Bytes of the snapshot; `None` if the base of the log has none.
    pub snapshot: Option<u64>,
    /// True if no start has used it yet.
    pub fresh: bool,
    /// Bytes that a crash left half-written and that were cut off; nobody was told of them.
    pub cut: u64,
}

/// Keeps what one member of one lineage must not forget. All calls block.
///
/// [`load`](Self::load) comes first. An error of any call but those for snapshots means that the
/// store failed: from then on every call gives [`StoreError::Poisoned`], and only
/// [`wipe`](Self::wipe) helps.
pub trait LogStore: Send + 'static {
    /// False if it forgets everything with the process: then it need not be asked at all.
    fn is_durable(&self) -> bool {
        true
    }

    /// Opens the store, or creates it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if what was durable is not there any more: it must not be used.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Adds one to the boot number. It is durable when this returns.
    ///
    /// # Errors
    /// The store failed.
    fn raise_boot(&mut self) -> Result<u64, StoreError>;

    /// Keeps the highest boot number seen of a seat; durable with the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// The store failed.
    fn remember_boot(&mut self, seat: Seat, boot: u64) -> Result<(), StoreError>;

    /// Takes a write; durable with the next [`sync`](Self::sync), all or nothing, and not without
    /// those before it. A reset needs its snapshot, staged before, unless it ends at index 0.
    ///
    /// # Errors
    /// The store failed.
    fn write(&mut self, write: &Write) -> Result<(), StoreError>;

    /// Makes everything taken so far durable.
    ///
    /// # Errors
    /// The store failed. Nothing since the last successful call may be acknowledged, ever.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Begins a snapshot beside the present one; one that was begun or staged before is dropped.
    ///
    /// # Errors
    /// Nothing was begun; the log is not affected.
    fn begin_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Appends to the snapshot that was begun.
    ///
    /// # Errors
    /// The snapshot is dropped; the log is not affected.
    fn snapshot_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError>;

    /// Ends the snapshot that was begun. It is durable and *staged* when this returns: a reset or
    /// [`compact`](Self::compact) makes it the base of the log, a crash before that forgets it.
    ///
    /// # Errors
    /// The snapshot is dropped; the log is not affected.
    fn finish_snapshot(&mut self) -> Result<(), StoreError>;

    /// Makes the staged snapshot, whose last entry is `last`, the base of the log, and drops the
    /// entries that it covers. What follows stays if the log has that entry. Durable when this
    /// returns, together with everything taken before.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`] if none is staged for `last`: nothing changed. Else the store failed.
    fn compact(&mut self, last: Position) -> Result<(), StoreError>;

    /// The snapshot that the log begins with; it stays readable while others replace it.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open_snapshot(&mut self) -> Result<Option<Box<dyn SnapshotReader>>, StoreError>;

    /// Called when nothing else is to do for a while.
    ///
    /// # Errors
    /// The store failed.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Forgets everything, whatever state it is in. [`load`](Self::load) gives a new seat after it;
    /// a crash in between leaves the old store or the new one, never a part of the old.
    ///
    /// # Errors
    /// The old store is still there.
    fn wipe(&mut self) -> Result<(), StoreError>;
}

/// A snapshot's content, in chunks of [`limits::SNAPSHOT_CHUNK`](mosaik_proto::limits::SNAPSHOT_CHUNK)
/// bytes; the last may be shorter. Each is checked when it is read.
pub trait SnapshotReader: Send + Sync {
    /// What it covers.
    fn snapshot(&self) -> &Snapshot;

    /// Bytes in all.
    fn bytes(&self) -> u64;

    /// Chunk number `number`, from 0; `None` behind the last.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    fn chunk(&self, number: u64) -> Result<Option<Bytes>, StoreError>;
}
