//! A group's store: what the core asks of it, on its thread.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use mosaik_proto::{
    groups::{Input, StoreFault},
    limits,
    raft::{Seat, Ticket, Write},
};

use super::cell::GroupCell;
use crate::{
    storage::{Busy, Loaded, LogStore, Report, StoreError, StoreThread, Task},
    sync::cell::{Watched, lock},
};

#[derive(Debug, Default)]
struct State {
    thread: Option<StoreThread>,
    /// What did not fit into the thread's queue; bounded by [`limits::STORE_BACKLOG_BYTES`].
    backlog: VecDeque<Task>,
    backlog_bytes: usize,
    /// The store must not be touched, or wiping it did not help: nothing is tried again.
    given_up: bool,
    /// What was reported last.
    fault: Option<StoreFault>,
    /// A failure was reported, and no wipe since.
    failed: bool,
    wiping: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// True while the thread has the store.
    open: Watched<bool>,
}

impl Store {
    /// Opens a store on a thread of its own; its reports become inputs of `cell`.
    pub(crate) fn start(&self, store: Box<dyn LogStore>, weak: Weak<GroupCell>, cell: &GroupCell) {
        self.open.change(|open| *open = true);
        let report = move |report| {
            if let Some(cell) = weak.upgrade() {
                cell.store.on_report(report, &cell);
            }
        };
        match StoreThread::start(store, report) {
            Ok(thread) => lock(&self.state).thread = Some(thread),
            Err(error) => {
                self.open.change(|open| *open = false);
                let state = &mut *lock(&self.state);
                let fault = StoreFault::Failed(error.to_string());
                (state.given_up, state.fault) = (true, Some(fault.clone()));
                cell.report(Input::StoreFailed(fault));
            }
        }
    }

    pub(crate) fn write(&self, ticket: Ticket, write: Write, cell: &GroupCell) {
        self.submit(Task::Write(ticket, write), cell);
    }

    pub(crate) fn remember_boot(&self, seat: Seat, boot: u64, cell: &GroupCell) {
        self.submit(Task::RememberBoot(seat, boot), cell);
    }

    /// Forgets everything, unless that would destroy what another program may need: then the core
    /// hears again that there is no store.
    pub(crate) fn wipe(&self, cell: &GroupCell) {
        {
            let state = &mut *lock(&self.state);
            if state.given_up {
                if let Some(fault) = state.fault.clone() {
                    cell.report(Input::StoreFailed(fault));
                }
                return;
            }
            state.backlog.clear();
            state.backlog_bytes = 0;
            state.failed = false;
            state.wiping = true;
        }
        self.submit(Task::Wipe, cell);
    }

    /// Hands a task to the thread, behind those that wait.
    pub(crate) fn submit(&self, task: Task, cell: &GroupCell) {
        let overflown = {
            let state = &mut *lock(&self.state);
            if state.thread.is_none() {
                return;
            }
            state.backlog_bytes += weight(&task);
            state.backlog.push_back(task);
            state.hand_over();
            state.backlog_bytes > limits::STORE_BACKLOG_BYTES
                && !std::mem::replace(&mut state.failed, true)
        };
        if overflown {
            let why = "the disk does not keep up".to_owned();
            cell.report(Input::StoreFailed(StoreFault::Failed(why)));
        }
    }

    /// Ends the thread, on another one: its last writes may take a while.
    pub(crate) fn close(self: &Arc<Self>) {
        let Some(thread) = lock(&self.state).thread.take() else { return };
        let this = Arc::clone(self);
        let end = move || {
            drop(thread);
            this.open.change(|open| *open = false);
        };
        if let Err(error) = std::thread::Builder::new().name("mosaik-close".into()).spawn(end) {
            // The closure was dropped, and the store's thread with it.
            tracing::warn!(%error, "no thread to close a store on");
            self.open.change(|open| *open = false);
        }
    }

    /// True until the store is closed and its directory free.
    pub(crate) fn is_open(&self) -> bool {
        self.open.read(|open| *open)
    }

    /// Resolves when it is closed.
    pub(crate) async fn closed(&self) {
        self.open.until(|open| (!*open).then_some(())).await;
    }

    // --- on the store's thread -------------------------------------------------------------

    fn on_report(&self, report: Report, cell: &GroupCell) {
        match report {
            // What is said about a store that is being wiped is about nothing.
            Report::Persisted(_) if lock(&self.state).wiping => {}
            Report::Persisted(ticket) => cell.report(Input::Persisted(ticket)),
            Report::Loaded(Ok(loaded)) => self.on_loaded(*loaded, cell),
            Report::Loaded(Err(error)) => self.on_load_failed(&error, cell),
            Report::PersistFailed { error, .. }
            | Report::Failed(error)
            | Report::Compacted(Err(error)) => self.fail(&error, cell),
            Report::ChunkWritten => cell.snapshots.on_chunk_written(cell),
            Report::Staged(staged) => cell.snapshots.on_staged(staged, cell),
            Report::Compacted(Ok(_)) => {}
            Report::Opened(opened) => cell.snapshots.on_opened(opened, cell),
        }
        lock(&self.state).hand_over();
    }

    fn on_loaded(&self, loaded: Loaded, cell: &GroupCell) {
        lock(&self.state).wiping = false;
        cell.snapshots.on_loaded(loaded, cell);
    }

    fn on_load_failed(&self, error: &StoreError, cell: &GroupCell) {
        {
            let state = &mut *lock(&self.state);
            // What is whole and in use, or written by a later version, is not ours to wipe; and what a
            // wipe did not mend, another will not.
            let whole = !matches!(error, StoreError::Damaged { .. });
            state.given_up |= whole || state.wiping;
            state.wiping = false;
            state.failed = false;
        }
        self.fail(error, cell);
    }

    fn fail(&self, error: &StoreError, cell: &GroupCell) {
        {
            let state = &mut *lock(&self.state);
            if state.wiping || std::mem::replace(&mut state.failed, true) {
                return;
            }
        }
        tracing::error!(group = %cell.id, %error, "the store failed");
        let fault = match error {
            StoreError::Damaged { .. } => StoreFault::Damaged(error.to_string()),
            _ => StoreFault::Failed(error.to_string()),
        };
        lock(&self.state).fault = Some(fault.clone());
        cell.report(Input::StoreFailed(fault));
    }
}

impl State {
    fn hand_over(&mut self) {
        let Some(thread) = &self.thread else { return };
        while let Some(task) = self.backlog.pop_front() {
            let bytes = weight(&task);
            match thread.submit(task) {
                Ok(()) => self.backlog_bytes -= bytes,
                Err(Busy(task)) => {
                    self.backlog.push_front(*task);
                    return;
                }
            }
        }
    }
}

fn weight(task: &Task) -> usize {
    match task {
        Task::Write(_, write) => write.runs.iter().map(|run| run.data.len()).sum::<usize>() + 64,
        Task::SnapshotChunk(chunk) => chunk.len(),
        _ => 64,
    }
}
