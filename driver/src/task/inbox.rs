//! What the loop has to look at: a queue of sources, each in it at most once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

use super::{channel::Channel, link::LinkSlot};
use crate::{
    handle::{consumer::ConsumerCell, producer::ProducerCell},
    sync::cell::lock,
};

/// Something that has news for the loop. Each source holds what it has, within its own bounds.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A link came up, opened a channel, or went down.
    Link(Arc<LinkSlot>),
    /// A channel has bytes, room, or ended.
    Channel(Arc<Channel>),
    /// A producer was opened, has items, or was closed.
    Producer(Arc<ProducerCell>),
    /// A consumer was opened, took items, or was closed.
    Consumer(Arc<ConsumerCell>),
    /// Requests, our own entry, address books, shutdown.
    Host,
}

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
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Source>>,
    waker: AtomicWaker,
}

impl Inbox {
    /// Adds a source and wakes the loop. The caller has raised the source's [`Queued`].
    pub(crate) fn push(&self, source: Source) {
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
    pub(crate) fn pop(&self) -> Option<Source> {
        lock(&self.queue).pop_front()
    }

    /// Says who is to be woken.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
