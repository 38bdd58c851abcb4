//! What the loop has to look at: a queue of sources, each in it at most once.

use std::sync::Arc;

use super::{channel::Channel, link::LinkSlot};
use crate::{
    groups::cell::GroupCell,
    handle::{consumer::ConsumerCell, producer::ProducerCell},
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
    /// A group was joined, has commands, reads or reports, or was left.
    Group(Arc<GroupCell>),
    /// Requests, our own entry, address books, shutdown.
    Host,
}

/// The queue of all of them.
pub(crate) type Inbox = crate::sync::inbox::Inbox<Source>;
