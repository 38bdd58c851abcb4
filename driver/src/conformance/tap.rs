//! What the loop tells and is told, for tests and simulators.

use std::fmt;

use mosaik_proto::{
    node::{Action, Event},
    time::Now,
};

/// Sees every event and every action of a node, in the loop and in order. It must not call handles
/// of the node.
pub trait Tap: fmt::Debug + Send + Sync {
    /// The node is about to handle this.
    fn event(&self, now: Now, event: &Event);

    /// The node asks for this; the driver has not done it yet.
    fn action(&self, now: Now, action: &Action);
}
