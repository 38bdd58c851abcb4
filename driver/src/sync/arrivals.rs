//! What arrives for one reader, who is woken for it.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use super::{
    cell::lock,
    prim::{Mutex, MutexGuard},
};

/// Behind the lock.
#[derive(Debug, Default)]
pub(crate) struct State<T, S> {
    /// What has arrived and was not taken.
    pub(crate) items: VecDeque<T>,
    waker: Option<Waker>,
    ended: bool,
    /// What the owner keeps under the same lock.
    pub(crate) side: S,
}

/// A queue with one reader, and what its owner keeps beside it under the same lock. The owner sees
/// to it that the queue is bounded.
#[derive(Debug)]
pub(crate) struct Arrivals<T, S>(Mutex<State<T, S>>);

impl<T, S: Default> Default for Arrivals<T, S> {
    fn default() -> Self {
        let (items, side) = (VecDeque::new(), S::default());
        Self(Mutex::new(State { items, waker: None, ended: false, side }))
    }
}

impl<T, S> Arrivals<T, S> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        lock(&self.0)
    }

    /// Adds an item and wakes the reader; `note` runs under the same lock.
    pub(crate) fn deliver(&self, item: T, note: impl FnOnce(&mut S, &T)) {
        let waker = {
            let mut state = self.lock();
            note(&mut state.side, &item);
            state.items.push_back(item);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nothing more will arrive.
    pub(crate) fn end(&self) {
        let waker = {
            let mut state = self.lock();
            state.ended = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next item, `None` at the end; `note` runs under the same lock as the item is taken. With a
    /// context the reader is woken for the next one.
    pub(crate) fn poll_next(
        &self,
        cx: Option<&mut Context<'_>>,
        note: impl FnOnce(&mut S, &T),
    ) -> Poll<Option<T>> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            note(&mut state.side, &item);
            return Poll::Ready(Some(item));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        if let Some(cx) = cx {
            match &state.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => state.waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }
}
