//! A queue of sources that have news for the loop, each in it at most once.

use std::{collections::VecDeque, task::Waker};

use super::{
    cell::lock,
    prim::{AtomicBool, AtomicWaker, Mutex, Ordering},
};

/// Marks a source as queued, so that it is in the queue at most once.
#[derive(Debug, Default)]
pub(crate) struct Queued(AtomicBool);

impl Queued {
    /// True if the caller has to push the source.
    pub(crate) fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// The loop is about to look at the source: later news need a new push.
    pub(crate) fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The queue. Its length is bounded by the number of live sources.
#[derive(Debug)]
pub(crate) struct Inbox<S> {
    queue: Mutex<VecDeque<S>>,
    waker: AtomicWaker,
}

impl<S> Default for Inbox<S> {
    fn default() -> Self {
        Self { queue: Mutex::new(VecDeque::new()), waker: AtomicWaker::new() }
    }
}

impl<S> Inbox<S> {
    /// Adds a source and wakes the loop. The caller has raised the source's [`Queued`].
    pub(crate) fn push(&self, source: S) {
        let first = {
            let mut queue = lock(&self.queue);
            queue.push_back(source);
            queue.len() == 1
        };
        // Whoever finds the queue empty wakes; the loop empties it before it sleeps.
        if first {
            self.waker.wake();
        }
    }

    /// The next source.
    pub(crate) fn pop(&self) -> Option<S> {
        lock(&self.queue).pop_front()
    }

    /// Says who is to be woken.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
