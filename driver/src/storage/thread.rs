//! A thread that owns a store: group commit, reports in order, nobody waits for a disk.

use std::{
    collections::VecDeque,
    fmt, io,
    mem::take,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    limits,
    raft::{Position, Seat, Snapshot, Ticket, Write},
};

use super::{Loaded, LogStore, SnapshotReader, StoreError};

/// What a store is asked for. Done in the order in which it is asked.
#[derive(Debug)]
pub enum Task {
    /// Make this durable.
    Write(Ticket, Write),
    /// See [`LogStore::remember_boot`]; durable with the next write.
    RememberBoot(Seat, u64),
    /// See [`LogStore::begin_snapshot`].
    BeginSnapshot(Snapshot),
    /// See [`LogStore::snapshot_chunk`].
    SnapshotChunk(Bytes),
    /// See [`LogStore::finish_snapshot`].
    FinishSnapshot,
    /// See [`LogStore::compact`].
    Compact(Position),
    /// See [`LogStore::open_snapshot`].
    OpenSnapshot,
    /// Forget everything and begin anew.
    Wipe,
}

/// What became of it.
pub enum Report {
    /// The store was opened, first thing or after [`Task::Wipe`]; its boot number is raised already.
    Loaded(Result<Box<Loaded>, StoreError>),
    /// The write is durable, and all before it.
    Persisted(Ticket),
    /// The write is not, and nothing more will be until a wipe.
    PersistFailed {
        /// Which write.
        ticket: Ticket,
        /// Why; the same for all that follow.
        error: StoreError,
    },
    /// The store failed at something that no write waits for. What is written later fails as well.
    Failed(StoreError),
    /// [`Task::SnapshotChunk`] was written: there is room for another.
    ChunkWritten,
    /// [`Task::FinishSnapshot`] ended; or it was dropped because one of its chunks failed, which is
    /// said at once. The log goes on in any case.
    Staged(Result<(), StoreError>),
    /// [`Task::Compact`] ended.
    Compacted(Result<Position, StoreError>),
    /// [`Task::OpenSnapshot`] ended.
    Opened(Result<Option<Box<dyn SnapshotReader>>, StoreError>),
}

/// The queue is full, or the thread ended: the task comes back.
#[derive(Debug, thiserror::Error)]
#[error("the store takes no more tasks at present")]
pub struct Busy(pub Box<Task>);

/// The handle of the thread. When it is dropped, what waits is still written; a disk that does not
/// answer is waited for [`limits::STORE_CLOSE`] long and then left alone.
#[derive(Debug)]
pub struct StoreThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Task>,
    bytes: usize,
    /// The handle is gone.
    closed: bool,
    /// The thread is.
    ended: bool,
}

impl StoreThread {
    /// Opens the store on a thread of its own. `report` is called there, and must not block.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        store: Box<dyn LogStore>,
        report: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let end = End(shared.clone());
        let mut worker =
            Worker { store, report: Box::new(report), pending: Vec::new(), failed: None };
        let thread = thread::Builder::new().name("mosaik-store".into()).spawn(move || {
            worker.open(&end.0);
            worker.serve(&end.0);
            // The store closes its files before the handle's owner goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(worker)));
            drop(end);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over a task. Never blocks.
    ///
    /// # Errors
    /// [`Busy`] with the task.
    pub fn submit(&self, task: Task) -> Result<(), Busy> {
        let bytes = task.bytes();
        let mut queue = self.shared.lock();
        let over = queue.bytes > 0 && queue.bytes + bytes > limits::STORE_QUEUE_BYTES;
        if queue.ended || over || queue.tasks.len() >= limits::STORE_TASKS {
            return Err(Busy(Box::new(task)));
        }
        queue.bytes += bytes;
        queue.tasks.push_back(task);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        self.shared.changed.notify_all();
        let wait = self.shared.changed.wait_timeout_while(queue, limits::STORE_CLOSE, |q| !q.ended);
        let ended = wait.unwrap_or_else(PoisonError::into_inner).0.ended;
        match self.thread.take() {
            Some(thread) if ended => {
                let _ = thread.join();
            }
            _ => tracing::error!("the disk does not answer; its thread is left alone"),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets some time pass. False if the handle is gone.
    fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |queue| !queue.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Waits for tasks, and takes as many as one sync may cover. `None` when all is done.
    fn take(&self, into: &mut Vec<Task>, mut idle: impl FnMut()) -> Option<()> {
        let is_idle = |queue: &mut Queue| queue.tasks.is_empty() && !queue.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), limits::STORE_SETTLE, is_idle);
        let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            drop(queue);
            idle();
            let waited = self.changed.wait_while(self.lock(), is_idle);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        while let Some(task) = queue.tasks.front() {
            bytes += task.bytes();
            if !into.is_empty() && bytes > limits::STORE_BATCH_BYTES {
                break;
            }
            queue.bytes -= task.bytes();
            into.extend(queue.tasks.pop_front());
        }
        (!into.is_empty()).then_some(())
    }
}

/// Says that the thread ended, however it did.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// What runs on the thread.
struct Worker {
    store: Box<dyn LogStore>,
    report: Box<dyn FnMut(Report) + Send>,
    /// Written and not synced.
    pending: Vec<Ticket>,
    failed: Option<StoreError>,
}

impl Worker {
    fn load(&mut self) {
        let loaded = self.try_load();
        self.loaded(loaded);
    }

    /// As [`load`](Self::load); who had the store before may need a moment to let go of it.
    fn open(&mut self, shared: &Shared) {
        let mut patience = limits::STORE_LOCK;
        let mut loaded = self.try_load();
        while matches!(loaded, Err(StoreError::Locked))
            && !patience.is_zero()
            && shared.pause(limits::STORE_LOCK_RETRY)
        {
            patience = patience.saturating_sub(limits::STORE_LOCK_RETRY);
            loaded = self.try_load();
        }
        self.loaded(loaded);
    }

    fn try_load(&mut self) -> Result<Box<Loaded>, StoreError> {
        self.call(|store| {
            let mut loaded = store.load()?;
            loaded.boot = store.raise_boot()?;
            Ok(Box::new(loaded))
        })
    }

    fn loaded(&mut self, loaded: Result<Box<Loaded>, StoreError>) {
        self.failed = loaded.as_ref().err().cloned();
        (self.report)(Report::Loaded(loaded));
    }

    fn serve(&mut self, shared: &Shared) {
        let mut tasks = Vec::new();
        loop {
            let idle = || {
                if self.failed.is_none()
                    && let Err(error) = self.call(LogStore::settle)
                {
                    self.fail(error);
                }
            };
            if shared.take(&mut tasks, idle).is_none() {
                return;
            }
            tasks.drain(..).for_each(|task| self.carry_out(task));
            self.commit();
        }
    }

    /// A store that panics has failed.
    fn call<T>(
        &mut self,
        act: impl FnOnce(&mut dyn LogStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let store = &mut *self.store;
        catch_unwind(AssertUnwindSafe(|| act(store))).unwrap_or(Err(StoreError::Panicked))
    }

    /// STORE-07: from the first error on, everything fails.
    fn note<T>(&mut self, result: &Result<T, StoreError>) {
        if let Err(error) = result {
            self.failed.get_or_insert_with(|| error.clone());
        }
    }

    /// The store failed at something that nobody waits for.
    fn fail(&mut self, error: StoreError) {
        self.failed = Some(error.clone());
        (self.report)(Report::Failed(error));
    }

    fn carry_out(&mut self, task: Task) {
        match task {
            Task::Write(ticket, write) => {
                self.pending.push(ticket);
                if self.failed.is_none() {
                    let written = self.call(|store| store.write(&write));
                    self.note(&written);
                }
            }
            Task::RememberBoot(seat, boot) => {
                if self.failed.is_none()
                    && let Err(error) = self.call(|store| store.remember_boot(seat, boot))
                {
                    self.fail(error);
                }
            }
            Task::BeginSnapshot(snapshot) => {
                if let Err(error) = self.call(|store| store.begin_snapshot(&snapshot)) {
                    (self.report)(Report::Staged(Err(error)));
                }
            }
            Task::SnapshotChunk(chunk) => match self.call(|store| store.snapshot_chunk(&chunk)) {
                Ok(()) => (self.report)(Report::ChunkWritten),
                // The one before failed, and said so.
                Err(StoreError::NoSnapshot(_)) => {}
                Err(error) => (self.report)(Report::Staged(Err(error))),
            },
            Task::FinishSnapshot => {
                let staged = self.call(LogStore::finish_snapshot);
                (self.report)(Report::Staged(staged));
            }
            Task::Compact(last) => self.compact(last),
            Task::OpenSnapshot => {
                let opened = self.call(LogStore::open_snapshot);
                (self.report)(Report::Opened(opened));
            }
            Task::Wipe => {
                self.commit();
                match self.call(LogStore::wipe) {
                    Ok(()) => self.load(),
                    Err(error) => (self.report)(Report::Loaded(Err(error))),
                }
            }
        }
    }

    fn compact(&mut self, last: Position) {
        self.commit();
        if let Some(error) = self.failed.clone() {
            return (self.report)(Report::Compacted(Err(error)));
        }
        let compacted = self.call(|store| store.compact(last));
        if !matches!(compacted, Err(StoreError::NoSnapshot(_))) {
            self.note(&compacted);
        }
        (self.report)(Report::Compacted(compacted.map(|()| last)));
    }

    /// One sync for all that was written.
    fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.failed.is_none() {
            let synced = self.call(LogStore::sync);
            self.note(&synced);
        }
        for ticket in take(&mut self.pending) {
            (self.report)(match &self.failed {
                None => Report::Persisted(ticket),
                Some(error) => Report::PersistFailed { ticket, error: error.clone() },
            });
        }
    }
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(_, write) => write.runs.iter().map(|run| run.data.len()).sum(),
            Self::SnapshotChunk(chunk) => chunk.len(),
            Self::RememberBoot(..)
            | Self::BeginSnapshot(_)
            | Self::FinishSnapshot
            | Self::Compact(_)
            | Self::OpenSnapshot
            | Self::Wipe => 0,
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded(loaded) => f.debug_tuple("Loaded").field(loaded).finish(),
            Self::Persisted(ticket) => f.debug_tuple("Persisted").field(ticket).finish(),
            Self::PersistFailed { ticket, error } => {
                f.debug_tuple("PersistFailed").field(ticket).field(error).finish()
            }
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::ChunkWritten => f.write_str("ChunkWritten"),
            Self::Staged(staged) => f.debug_tuple("Staged").field(staged).finish(),
            Self::Compacted(compacted) => f.debug_tuple("Compacted").field(compacted).finish(),
            Self::Opened(Ok(_)) => f.write_str("Opened(Ok)"),
            Self::Opened(Err(error)) => f.debug_tuple("Opened").field(error).finish(),
        }
    }
}
