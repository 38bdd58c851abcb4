//! Who is ready to run: the leaf lock of a world, which wakers take.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// A task of a world. Numbered in the order of spawning, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(pub(super) u64);

/// The tasks that were woken and have not run since, in the order of waking.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready(Arc<Mutex<Vec<TaskId>>>);

impl Ready {
    /// The waker of a task.
    pub(super) fn waker(&self, task: TaskId) -> Wakeup {
        Wakeup(Arc::new(Bell { task, rung: AtomicBool::new(false), ready: self.clone() }))
    }

    /// Takes one of those that are ready, chosen by `pick` from their number.
    pub(super) fn take(&self, pick: impl FnOnce(usize) -> usize) -> Option<TaskId> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tasks.len();
        (count > 0).then(|| tasks.swap_remove(pick(count)))
    }

    fn push(&self, task: TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}

/// Wakes one task.
#[derive(Clone, Debug)]
pub(super) struct Wakeup(Arc<Bell>);

impl Wakeup {
    /// Makes the task ready.
    pub(super) fn ring(&self) {
        self.0.ring();
    }

    /// The task is about to run: later wakes count again.
    pub(super) fn answer(&self) {
        self.0.rung.store(false, Ordering::SeqCst);
    }

    /// For its context.
    pub(super) fn waker(&self) -> Waker {
        Arc::clone(&self.0).into()
    }
}

#[derive(Debug)]
struct Bell {
    task: TaskId,
    rung: AtomicBool,
    ready: Ready,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.ready.push(self.task);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
