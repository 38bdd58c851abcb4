//! Timers of quinn's runtime, as futures.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, select};
use quinn::{AsyncTimer, Runtime};

/// A timer that fires some time after it was last started.
pub(super) struct Timer {
    runtime: Arc<dyn Runtime>,
    inner: Pin<Box<dyn AsyncTimer>>,
}

impl Timer {
    /// Started now.
    pub(super) fn after(runtime: &Arc<dyn Runtime>, wait: Duration) -> Self {
        Self { inner: runtime.new_timer(runtime.now() + wait), runtime: runtime.clone() }
    }

    /// Starts it again.
    pub(super) fn restart(&mut self, wait: Duration) {
        self.inner.as_mut().reset(self.runtime.now() + wait);
    }

    /// Ready once the time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.as_mut().poll(cx)
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll(self.get_mut(), cx)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

/// The result of `future`, `None` if it takes longer than `wait`; then it is dropped.
pub(super) async fn timeout<F: Future>(
    runtime: &Arc<dyn Runtime>,
    wait: Duration,
    future: F,
) -> Option<F::Output> {
    match select(pin!(future), Timer::after(runtime, wait)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}
