//! Snapshots of one group: frozen ones on their way into the store, fetched ones, those that others read.
//!
//! ```text
//!   Freeze ─► executor: an image, quickly ─► a thread: its bytes ─► memory, or the store ─► Frozen
//!   FetchChunk ─► memory (and the store) ─► Install ─► executor: compare, restore ─► store ─► Installed
//!   start: the store's snapshot ─► executor: restore ─► Loaded
//! ```
//!
//! A member without a store keeps the bytes; one with a store reads them from there. What is frozen or
//! fetched is in memory as a whole until the store, or the machine, has it.

use std::{
    collections::VecDeque,
    mem::take,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use mosaik_proto::{
    Digest,
    groups::{FrozenHead, Input, InstallFault, Loaded, SnapshotDigest, StoreFault, head_length},
    limits,
    raft::{LogIndex, Position, Snapshot},
};

use super::{cell::GroupCell, jobs::Job};
use crate::{
    storage::{self, SnapshotReader, StoreError, Task},
    sync::cell::lock,
};

/// Chunks that the store's thread has and did not write yet.
const WRITING: usize = limits::FETCH_WINDOW / limits::SNAPSHOT_CHUNK;

/// A whole snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) snapshot: Snapshot,
    /// The core's part, and the machine's behind it.
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

/// What others can read.
#[derive(Clone)]
enum Held {
    Memory(LogIndex, Bytes),
    Store(Arc<dyn SnapshotReader>),
}

/// What is on its way into the store.
#[derive(Debug)]
enum Staging {
    Frozen { snapshot: Box<Snapshot>, bytes: u64, digest: Digest },
    Fetched,
    Installing,
}

#[derive(Default)]
struct State {
    /// Rises when what was begun is of no use any more.
    epoch: u64,
    held: Option<Held>,
    staging: Option<Staging>,
    /// Chunks for the store, behind the [`WRITING`] that it has.
    chunks: VecDeque<Bytes>,
    writing: usize,
    /// Besides them the store has so many, and so many ends, of something that was given up.
    stale: usize,
    stale_ends: usize,
    /// The store was told that all chunks are there.
    ended: bool,
    fetched: Option<(Snapshot, Vec<u8>)>,
    /// The core waits for it until the machine is restored.
    loaded: Option<storage::Loaded>,
    durable: bool,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Snapshots(Mutex<State>);

impl Snapshots {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    // --- freezing --------------------------------------------------------------------------

    /// What is begun now is of use as long as this does not change.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The bytes are there, unless what they are for is over.
    pub(crate) fn frozen(&self, epoch: u64, frozen: Whole, cell: &GroupCell) {
        let Whole { snapshot, bytes, digest } = frozen;
        let length = bytes.len() as u64;
        let state = &mut *self.state();
        if state.epoch != epoch {
            return;
        }
        let snapshot = Box::new(snapshot);
        if !state.durable {
            state.held = Some(Held::Memory(snapshot.last.index, bytes));
            return cell.report(Input::Frozen { snapshot, bytes: length, digest });
        }
        state.drop_staging();
        cell.store.submit(Task::BeginSnapshot((*snapshot).clone()), cell);
        state.staging = Some(Staging::Frozen { snapshot, bytes: length, digest });
        let chunk = |at: usize| bytes.slice(at..bytes.len().min(at + limits::SNAPSHOT_CHUNK));
        state.chunks = (0..bytes.len()).step_by(limits::SNAPSHOT_CHUNK).map(chunk).collect();
        state.write(cell);
    }

    // --- fetching --------------------------------------------------------------------------

    pub(crate) fn fetch_begin(&self, snapshot: Snapshot, cell: &GroupCell) {
        let state = &mut *self.state();
        state.epoch += 1;
        state.drop_staging();
        if state.durable {
            cell.store.submit(Task::BeginSnapshot(snapshot.clone()), cell);
            state.staging = Some(Staging::Fetched);
        }
        state.fetched = Some((snapshot, Vec::new()));
    }

    pub(crate) fn fetch_chunk(&self, chunk: Bytes, cell: &GroupCell) {
        let state = &mut *self.state();
        let Some((_, fetched)) = &mut state.fetched else { return };
        fetched.extend_from_slice(&chunk);
        if state.durable {
            state.chunks.push_back(chunk);
            state.write(cell);
        } else {
            cell.report(Input::ChunkKept);
        }
    }

    pub(crate) fn fetch_cancel(&self) {
        let state = &mut *self.state();
        state.fetched = None;
        if matches!(state.staging, Some(Staging::Fetched)) {
            state.drop_staging();
        }
    }

    /// What was fetched, to be compared and restored.
    pub(crate) fn fetched(&self, epoch: u64) -> Option<Bytes> {
        let state = &mut *self.state();
        let fetched = state.fetched.take_if(|_| state.epoch == epoch);
        fetched.map(|(_, bytes)| bytes.into())
    }

    /// The machine can be that of the fetched snapshot. True if it may at once; else when
    /// [`Job::Staged`] comes, or never if the history is another one by now.
    pub(crate) fn install(
        &self,
        epoch: u64,
        last: LogIndex,
        bytes: Bytes,
        cell: &GroupCell,
    ) -> bool {
        let state = &mut *self.state();
        if state.epoch != epoch {
            return false;
        }
        if !state.durable {
            state.held = Some(Held::Memory(last, bytes));
            return true;
        }
        state.staging = Some(Staging::Installing);
        state.write(cell);
        false
    }

    // --- the store's reports ---------------------------------------------------------------

    /// The store has written a chunk.
    pub(crate) fn on_chunk_written(&self, cell: &GroupCell) {
        let state = &mut *self.state();
        if state.stale > 0 {
            state.stale -= 1;
            return;
        }
        state.writing = state.writing.saturating_sub(1);
        if matches!(state.staging, Some(Staging::Fetched | Staging::Installing)) {
            cell.report(Input::ChunkKept);
        }
        state.write(cell);
    }

    /// The store has a snapshot, or refuses it.
    pub(crate) fn on_staged(&self, staged: Result<(), StoreError>, cell: &GroupCell) {
        let state = &mut *self.state();
        if state.stale_ends > 0 && staged.is_ok() {
            state.stale_ends -= 1;
            return;
        }
        if state.stale > 0 {
            // Of what was given up nothing more is said.
            state.stale = 0;
            return;
        }
        let Some(staging) = state.staging.take() else { return };
        (state.writing, state.ended) = (0, false);
        state.chunks.clear();
        let result = staged.map_err(|error| error.to_string());
        match (staging, result) {
            (Staging::Frozen { snapshot, bytes, digest }, Ok(())) => {
                cell.report(Input::Frozen { snapshot, bytes, digest });
            }
            (Staging::Frozen { snapshot, .. }, Err(why)) => {
                tracing::warn!(group = %cell.id, %why, "the store refused a snapshot");
                cell.report(Input::FreezeFailed(snapshot.last.index));
            }
            (Staging::Fetched, Ok(())) => {} // Nobody said that it ends.
            (Staging::Fetched, Err(why)) => cell.report(Input::FetchFailed(why)),
            (Staging::Installing, result) => cell.job(Job::Staged(result)),
        }
    }

    /// The log begins with another snapshot from now on.
    pub(crate) fn compact(&self, last: Position, cell: &GroupCell) {
        if self.state().durable {
            cell.store.submit(Task::Compact(last), cell);
            cell.store.submit(Task::OpenSnapshot, cell);
        }
    }

    /// The snapshot that the log begins with can be read.
    pub(crate) fn on_opened(
        &self,
        opened: Result<Option<Box<dyn SnapshotReader>>, StoreError>,
        cell: &GroupCell,
    ) {
        let reader = match opened {
            Ok(reader) => reader.map(Arc::from),
            Err(error) => {
                tracing::error!(group = %cell.id, %error, "the store's snapshot cannot be opened");
                None
            }
        };
        let loaded = {
            let state = &mut *self.state();
            state.held = reader.clone().map(Held::Store);
            state.loaded.take()
        };
        let Some(loaded) = loaded else { return };
        match reader.ok_or_else(|| "it is not there".into()).and_then(|r| read_all(&*r)) {
            Ok(whole) => cell.job(Job::Restore(Box::new((loaded, whole)))),
            Err(why) => damaged(&why, cell),
        }
    }

    /// The store was opened.
    pub(crate) fn on_loaded(&self, loaded: storage::Loaded, cell: &GroupCell) {
        {
            let state = &mut *self.state();
            state.reset();
            // Of what was begun before nothing more is said.
            (state.stale, state.stale_ends) = (0, 0);
            state.durable = true;
            if loaded.snapshot.is_some() {
                state.loaded = Some(loaded);
                return cell.store.submit(Task::OpenSnapshot, cell);
            }
        }
        report_loaded(loaded, None, cell);
    }

    /// The history is another one.
    pub(crate) fn reset(&self) {
        self.state().reset();
    }

    // --- serving ---------------------------------------------------------------------------

    /// A chunk for another member. Blocks for as long as the disk takes.
    pub(crate) fn chunk(&self, last: LogIndex, number: u64) -> Option<Bytes> {
        let held = self.state().held.clone()?;
        match held {
            Held::Memory(at, bytes) => {
                let from = usize::try_from(number).ok()?.checked_mul(limits::SNAPSHOT_CHUNK)?;
                let whole = at == last && from < bytes.len();
                whole.then(|| bytes.slice(from..bytes.len().min(from + limits::SNAPSHOT_CHUNK)))
            }
            Held::Store(reader) if reader.snapshot().last.index == last => {
                reader.chunk(number).ok().flatten()
            }
            Held::Store(_) => None,
        }
    }
}

impl State {
    /// Hands chunks to the store, and the end when all are written.
    fn write(&mut self, cell: &GroupCell) {
        if self.staging.is_none() {
            return;
        }
        while self.writing + self.stale < WRITING
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.writing += 1;
            cell.store.submit(Task::SnapshotChunk(chunk), cell);
        }
        let all = self.writing == 0 && self.chunks.is_empty();
        if all && !self.ended && !matches!(self.staging, Some(Staging::Fetched)) {
            self.ended = true;
            cell.store.submit(Task::FinishSnapshot, cell);
        }
    }

    /// What is on its way into the store is of no use: another begins, or none.
    fn drop_staging(&mut self) {
        self.staging = None;
        self.chunks.clear();
        self.stale += take(&mut self.writing);
        self.stale_ends += usize::from(take(&mut self.ended));
    }

    fn reset(&mut self) {
        self.epoch += 1;
        self.drop_staging();
        (self.held, self.fetched, self.loaded) = (None, None, None);
    }
}

/// The digest of a snapshot's bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = SnapshotDigest::new();
    digest.update(bytes);
    digest.finish()
}

/// True if the fetched bytes are those of the digest.
pub(crate) fn compare(fetched: &[u8], bytes: u64, digest: Digest) -> Result<(), InstallFault> {
    let same = fetched.len() as u64 == bytes && digest_of(fetched) == digest;
    if same { Ok(()) } else { Err(InstallFault::Digest) }
}

/// The machine's part of a snapshot.
pub(crate) fn machine_part(bytes: &Bytes) -> Result<Bytes, String> {
    let length = head_length(bytes).filter(|length| *length <= bytes.len());
    length.map(|length| bytes.slice(length..)).ok_or_else(|| "it has no head".to_owned())
}

fn read_all(reader: &dyn SnapshotReader) -> Result<Whole, String> {
    let mut bytes = Vec::new();
    let mut number = 0;
    while let Some(chunk) = reader.chunk(number).map_err(|error| error.to_string())? {
        bytes.extend_from_slice(&chunk);
        number += 1;
    }
    let digest = digest_of(&bytes);
    Ok(Whole { snapshot: reader.snapshot().clone(), bytes: bytes.into(), digest })
}

/// The store holds what is no snapshot of this machine.
pub(crate) fn damaged(why: &str, cell: &GroupCell) {
    let why = format!("the snapshot: {why}");
    cell.report(Input::StoreFailed(StoreFault::Damaged(why)));
}

/// Tells the core what the store holds.
pub(crate) fn report_loaded(loaded: storage::Loaded, whole: Option<&Whole>, cell: &GroupCell) {
    let snapshot = whole.map(|whole| FrozenHead {
        head: whole.bytes.slice(..head_length(&whole.bytes).unwrap_or(0).min(whole.bytes.len())),
        bytes: whole.bytes.len() as u64,
        digest: whole.digest,
    });
    let storage::Loaded { seat, boot, boots, stored, .. } = loaded;
    cell.report(Input::Loaded(Box::new(Loaded { seat, boot, boots, stored, snapshot })));
}
