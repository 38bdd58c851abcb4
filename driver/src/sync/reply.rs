//! One-shot results of requests to the loop.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use mosaik_proto::{discovery::CommandError, ids::RequestId, limits};

use super::{cell::lock, prim::Mutex};

type Outcome = Result<(), CommandError>;

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Done(Outcome),
}

/// The requests that wait for an answer; at most [`limits::REQUESTS`].
#[derive(Debug, Default)]
pub(crate) struct Replies {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<RequestId, Slot>,
    last: u64,
    closed: bool,
}

impl Replies {
    /// Makes room for an answer.
    pub(crate) fn open(&self) -> Result<RequestId, CommandError> {
        let state = &mut *lock(&self.state);
        if state.closed {
            return Err(CommandError::ShuttingDown);
        }
        if state.slots.len() >= limits::REQUESTS {
            return Err(CommandError::Busy);
        }
        state.last += 1;
        let id = RequestId(state.last);
        state.slots.insert(id, Slot::Waiting(None));
        Ok(id)
    }

    /// Gives the slot of a request back whose answer nobody waits for.
    pub(crate) fn ignore(&self, id: RequestId) {
        lock(&self.state).slots.remove(&id);
    }

    pub(crate) fn answer(&self, id: RequestId, outcome: Outcome) {
        let waker = match lock(&self.state).slots.get_mut(&id) {
            Some(slot) => match std::mem::replace(slot, Slot::Done(outcome)) {
                Slot::Waiting(waker) => waker,
                Slot::Done(_) => None,
            },
            None => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Answers everything that waits, now and later, with `ShuttingDown`.
    pub(crate) fn close(&self) {
        let waiting: Vec<_> = {
            let state = &mut *lock(&self.state);
            state.closed = true;
            state.slots.keys().copied().collect()
        };
        for id in waiting {
            self.answer(id, Err(CommandError::ShuttingDown));
        }
    }
}

/// The answer to one request. Dropping it before it is ready gives the request up.
#[must_use = "the answer comes only to who waits for it"]
pub(crate) struct Reply {
    replies: Arc<Replies>,
    id: Result<RequestId, CommandError>,
    done: bool,
    on_drop: Option<Box<dyn FnOnce(RequestId) + Send + Sync>>,
}

impl Reply {
    pub(crate) fn new(
        replies: Arc<Replies>,
        id: Result<RequestId, CommandError>,
        on_drop: impl FnOnce(RequestId) + Send + Sync + 'static,
    ) -> Self {
        Self { replies, id, done: false, on_drop: Some(Box::new(on_drop)) }
    }
}

impl Future for Reply {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let id = match self.id {
            Ok(id) => id,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let outcome = {
            let state = &mut *lock(&self.replies.state);
            match state.slots.get_mut(&id) {
                Some(Slot::Waiting(waker)) => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Some(Slot::Done(outcome)) => {
                    let outcome = *outcome;
                    state.slots.remove(&id);
                    outcome
                }
                None => Err(CommandError::ShuttingDown),
            }
        };
        self.done = true;
        Poll::Ready(outcome)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let (Ok(id), false) = (self.id, self.done) {
            let slot = lock(&self.replies.state).slots.remove(&id);
            if let (Some(Slot::Waiting(_)), Some(on_drop)) = (slot, self.on_drop.take()) {
                on_drop(id);
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("id", &self.id).finish_non_exhaustive()
    }
}
