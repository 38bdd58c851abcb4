//! What the loop hands to the executor of a group: done one after the other, in this order.

use std::{
    collections::VecDeque,
    sync::Mutex,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use mosaik_proto::{
    Digest,
    groups::{Applying, Outcome},
    raft::{LogIndex, Snapshot},
};

use super::snapshots::Whole;
use crate::{storage, sync::cell::lock};

/// Something that concerns the machine.
#[derive(Debug)]
pub(crate) enum Job {
    /// Apply these.
    Apply(Applying),
    /// Commands of this node ended.
    Outcome { first: u64, count: u32, outcome: Outcome },
    /// Reads may be served.
    ReadReady(u64),
    /// Reads may not.
    ReadFailed(u64),
    /// Freeze the machine, if this is still the epoch of snapshots.
    Freeze { epoch: u64, snapshot: Box<Snapshot>, head: Bytes },
    /// Replace it by what was fetched.
    Install { epoch: u64, snapshot: Box<Snapshot>, bytes: u64, digest: Digest },
    /// The store has what is to be installed, or refuses it.
    Staged(Result<(), String>),
    /// Replace the machine by the store's snapshot, before anything else.
    Restore(Box<(storage::Loaded, Whole)>),
    /// Say the digest of its state.
    Digest(LogIndex),
    /// Read a chunk for another member.
    ReadChunk { read: u64, last: LogIndex, chunk: u64 },
    /// Begin as new.
    Reset,
    /// The group was left: nothing comes behind it.
    End,
}

/// The queue. Bounded by the core: [`limits::APPLY_BYTES`](mosaik_proto::limits) of commands, and the
/// outcomes and reads that their own limits allow.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    waker: AtomicWaker,
}

impl Jobs {
    pub(crate) fn push(&self, job: Job) {
        let first = {
            let mut queue = lock(&self.queue);
            queue.push_back(job);
            queue.len() == 1
        };
        // The executor empties the queue before it sleeps.
        if first {
            self.waker.wake();
        }
    }

    /// All that there is, into an empty queue.
    pub(crate) fn poll(&self, into: &mut VecDeque<Job>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        std::mem::swap(into, &mut *lock(&self.queue));
        if into.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}
