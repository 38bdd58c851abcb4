//! The shape every core has: one verb in, actions out.

use alloc::vec::Vec;

use crate::time::Instant;

/// A protocol state machine without I/O.
///
/// An *event* is anything that happens to a core; an *action* is anything it wants done. A step
/// never blocks, never fails and never panics on remote input: what went wrong is an action too.
///
/// All outputs of a step are in `out` when [`handle`](Self::handle) returns; nothing is "queued
/// until polled", so a driver that forgets to ask cannot stall a core.
pub trait Core {
    /// What a step may look at besides its own state: the clocks, and read-only views of siblings.
    type Env<'a>: Copy;
    /// What can happen to this core.
    type Event;
    /// What this core can ask for.
    type Action;

    /// Advances the state machine by one event.
    fn handle(&mut self, env: Self::Env<'_>, event: Self::Event, out: &mut Outbox<Self::Action>);

    /// The earliest moment at which a timeout event would change something.
    ///
    /// Early timeouts are no-ops, so a driver may round as it likes.
    fn deadline(&self) -> Option<Instant>;
}

/// Where a step leaves its actions. Owned by the caller and reused, so that a steady-state step
/// allocates nothing but what it keeps.
#[derive(Debug)]
pub struct Outbox<A> {
    items: Vec<A>,
}

impl<A> Outbox<A> {
    /// An empty outbox.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Vec::new() }
    }

    /// Adds an action behind those already there.
    pub fn push(&mut self, action: A) {
        self.items.push(action);
    }

    /// Takes all actions in the order in which they were pushed; the capacity stays.
    pub fn drain(&mut self) -> alloc::vec::Drain<'_, A> {
        self.items.drain(..)
    }

    /// True if no action waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The number of actions that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The actions, without taking them.
    pub fn iter(&self) -> core::slice::Iter<'_, A> {
        self.items.iter()
    }
}

impl<A> Default for Outbox<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Extend<A> for Outbox<A> {
    fn extend<I: IntoIterator<Item = A>>(&mut self, actions: I) {
        self.items.extend(actions);
    }
}
