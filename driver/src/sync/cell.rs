//! A value that can be waited on: level-triggered, so nothing can be missed.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use event_listener::{Event, EventListener};

use super::prim::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whether or not another thread panicked while it held it: all state behind our
/// mutexes is consistent between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value behind a short mutex, with an event that fires after each change.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Event,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Event::new() }
    }

    /// Looks at the value.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.value))
    }

    /// Changes the value and wakes everybody who waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut lock(&self.value));
        self.changed.notify(usize::MAX);
        result
    }

    /// Changes the value; wakes those who wait only if `change` says so.
    pub(crate) fn change_if(&self, change: impl FnOnce(&mut T) -> bool) {
        let changed = change(&mut lock(&self.value));
        if changed {
            self.changed.notify(usize::MAX);
        }
    }

    /// Waits for the next change from now on.
    pub(crate) fn listen(&self) -> EventListener {
        self.changed.listen()
    }

    /// Polls until `ready` gives a value. `listener` keeps the place in the queue between polls.
    pub(crate) fn poll_until<R>(
        &self,
        listener: &mut Option<EventListener>,
        cx: &mut Context<'_>,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> Poll<R> {
        loop {
            if let Some(result) = ready(&mut lock(&self.value)) {
                *listener = None;
                return Poll::Ready(result);
            }
            // Listen first, look again, and only then sleep: no change falls in between.
            match listener {
                None => *listener = Some(self.changed.listen()),
                Some(waiting) => match Pin::new(waiting).poll(cx) {
                    Poll::Ready(()) => *listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Waits until `ready` gives a value. Cancel safe.
    pub(crate) async fn until<R>(&self, mut ready: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut listener = None;
        poll_fn(|cx| self.poll_until(&mut listener, cx, &mut ready)).await
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Waker};

    use super::*;

    #[test]
    fn a_change_between_two_polls_is_seen() {
        let watched = Arc::new(Watched::new(0));
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = Box::pin(watched.until(|value| (*value == 2).then_some(())));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        watched.change(|value| *value = 1);
        assert!(future.as_mut().poll(&mut cx).is_pending());
        watched.change(|value| *value = 2);
        assert!(future.as_mut().poll(&mut cx).is_ready());
    }
}
