//! An answer that comes in parts, to one who waits for all of them.

use std::task::{Context, Poll, Waker};

use super::{cell::lock, prim::Mutex};

/// Behind the lock.
#[derive(Debug)]
struct State<E> {
    /// Parts that are missing.
    left: usize,
    /// What the others say together.
    said: Option<E>,
    waker: Option<Waker>,
}

/// See the module's documentation. Both sides share it; who waits no more drops it.
#[derive(Debug)]
pub(crate) struct Answer<E>(Mutex<State<E>>);

impl<E: Clone> Answer<E> {
    /// An answer of so many parts, at least one.
    pub(crate) fn new(parts: usize) -> Self {
        Self(Mutex::new(State { left: parts, said: None, waker: None }))
    }

    /// So many parts say this; `and` puts it together with what others said before. The waker of who
    /// waits, if these were the last.
    pub(crate) fn add(&self, parts: usize, says: E, and: impl FnOnce(E, E) -> E) -> Option<Waker> {
        let state = &mut *lock(&self.0);
        state.left = state.left.saturating_sub(parts);
        state.said = Some(match state.said.take() {
            Some(before) => and(before, says),
            None => says,
        });
        if state.left == 0 { state.waker.take() } else { None }
    }

    /// The answer, when it is whole.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<E> {
        let state = &mut *lock(&self.0);
        match &state.said {
            Some(answer) if state.left == 0 => return Poll::Ready(answer.clone()),
            _ => {}
        }
        match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
