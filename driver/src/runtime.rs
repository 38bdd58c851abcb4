//! What the event loop needs of an async runtime: a clock, a timer, a place for tasks, entropy.

use std::{
    future::Future,
    task::{Context, Poll},
};

use mosaik_proto::{
    Digest,
    time::{Instant, Now},
};

/// An async runtime, as far as the loop needs one. About 80 lines per runtime.
pub trait Runtime: Send + Sync + 'static {
    /// The runtime's timer.
    type Timer: Timer;

    /// Both clocks. Monotonic time counts from the creation of this value.
    fn now(&self) -> Now;

    /// A timer that is not armed.
    fn timer(&self) -> Self::Timer;

    /// Runs a task in the background until it ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Bytes that nobody can guess, asked for once per node. A simulator gives its own: together
    /// with the clock and the order of tasks they make a run.
    fn entropy(&self) -> [u8; 32] {
        *Digest::random().as_bytes()
    }
}

/// One re-armable timer. It only wakes the loop: whether a deadline passed is decided by the clock.
pub trait Timer: Send + Unpin + 'static {
    /// Moves the timer, or switches it off. The runtime may round up to a millisecond.
    fn arm(&mut self, at: Option<Instant>);

    /// Ready once after the armed moment has passed; then it is off.
    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
