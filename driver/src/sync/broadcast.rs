//! A bounded broadcast: every receiver sees every value, or learns how many it was too slow for.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use event_listener::EventListener;
use futures_util::Stream;

use super::cell::Watched;

#[derive(Debug)]
struct Ring<T> {
    /// The newest values; the last has number `next - 1`.
    values: VecDeque<T>,
    next: u64,
    capacity: usize,
    closed: bool,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Broadcast<T>(Arc<Watched<Ring<T>>>);

impl<T> Broadcast<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let ring = Ring { values: VecDeque::new(), next: 0, capacity, closed: false };
        Self(Arc::new(Watched::new(ring)))
    }

    pub(crate) fn send(&self, value: T) {
        self.0.change(|ring| {
            if ring.values.len() >= ring.capacity {
                ring.values.pop_front();
            }
            ring.values.push_back(value);
            ring.next += 1;
        });
    }

    pub(crate) fn close(&self) {
        self.0.change(|ring| ring.closed = true);
    }

    /// A receiver of the values from now on.
    pub(crate) fn subscribe(&self) -> Events<T> {
        Events { ring: Arc::clone(&self.0), at: self.0.read(|ring| ring.next), listener: None }
    }
}

/// Why there is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The receiver was too slow and missed this many events; it goes on with the oldest kept.
    #[error("{0} events were missed")]
    Lagged(u64),
    /// There will be no more events.
    #[error("the network has shut down")]
    Closed,
}

/// The receiver was too slow and missed this many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were missed")]
pub struct Lagged(pub u64);

/// Receives events, also as a [`Stream`]. Bounded: a receiver that does not keep up with
/// [`with_events_backlog`](crate::discovery::ConfigBuilder::with_events_backlog) events is told how
/// many it missed.
#[derive(Debug)]
pub struct Events<T> {
    ring: Arc<Watched<Ring<T>>>,
    at: u64,
    listener: Option<EventListener>,
}

impl<T> Events<T> {
    /// Begins with the first event there ever was; those that are not kept any more count as
    /// [`Lagged`](RecvError::Lagged). For what happened between the construction of a handle and the
    /// call that asked for its events.
    #[must_use]
    pub fn with_history(mut self) -> Self {
        self.at = 0;
        self
    }
}

impl<T: Clone> Events<T> {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] once after events were missed; [`RecvError::Closed`] at the end.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<T>, RecvError> {
        match self.poll_recv(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(result) => result.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let at = &mut self.at;
        self.ring.poll_until(&mut self.listener, cx, |ring| {
            let oldest = ring.next - ring.values.len() as u64;
            if *at < oldest {
                let missed = oldest - *at;
                *at = oldest;
                return Some(Err(RecvError::Lagged(missed)));
            }
            match ring.values.get((*at - oldest) as usize) {
                Some(value) => {
                    *at += 1;
                    Some(Ok(value.clone()))
                }
                None => ring.closed.then_some(Err(RecvError::Closed)),
            }
        })
    }
}

impl<T> Unpin for Events<T> {}

impl<T: Clone> Stream for Events<T> {
    type Item = Result<T, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(|result| match result {
            Ok(value) => Some(Ok(value)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(RecvError::Closed) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_what_is_kept() {
        let events = Broadcast::new(2);
        (0..3).for_each(|n| events.send(n));
        let (mut live, mut whole) = (events.subscribe(), events.subscribe().with_history());
        events.send(3);
        assert_eq!(live.try_recv(), Ok(Some(3)));
        assert_eq!(whole.try_recv(), Err(RecvError::Lagged(2)));
        assert_eq!((whole.try_recv(), whole.try_recv()), (Ok(Some(2)), Ok(Some(3))));
        assert_eq!(whole.try_recv(), Ok(None));
    }

    #[test]
    fn slow_receivers_learn_what_they_missed() {
        let sender = Broadcast::new(2);
        let mut receiver = sender.subscribe();
        assert_eq!(receiver.try_recv(), Ok(None));
        (1..=5).for_each(|n| sender.send(n));
        assert_eq!(receiver.try_recv(), Err(RecvError::Lagged(3)));
        assert_eq!(receiver.try_recv(), Ok(Some(4)));
        sender.close();
        assert_eq!(receiver.try_recv(), Ok(Some(5)));
        assert_eq!(receiver.try_recv(), Err(RecvError::Closed));
    }
}
