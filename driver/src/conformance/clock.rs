//! A runtime whose wall clock can jump, whose entropy is fixed, and whose tasks are counted.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use mosaik_proto::time::{Instant, Now, UnixMillis};

use crate::runtime::{Runtime, Timer};

/// What the bench can do to the runtime of one node, and see of it.
#[derive(Debug, Default)]
pub(super) struct Handles {
    ahead_ms: AtomicI64,
    tasks: AtomicUsize,
}

impl Handles {
    pub(super) fn jump(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.load(Ordering::SeqCst)
    }
}

/// The runtime of one node on a [`Bench`](super::Bench).
#[derive(Debug)]
pub struct BenchRuntime<R> {
    inner: R,
    handles: Arc<Handles>,
    entropy: [u8; 32],
}

impl<R: Runtime> BenchRuntime<R> {
    pub(super) const fn new(inner: R, handles: Arc<Handles>, entropy: [u8; 32]) -> Self {
        Self { inner, handles, entropy }
    }
}

impl<R: Runtime> Runtime for BenchRuntime<R> {
    type Timer = BenchTimer<R::Timer>;

    fn now(&self) -> Now {
        let now = self.inner.now();
        let ahead = self.handles.ahead_ms.load(Ordering::SeqCst);
        Now { wall: UnixMillis(now.wall.0.saturating_add_signed(ahead)), ..now }
    }

    fn timer(&self) -> Self::Timer {
        BenchTimer(self.inner.timer())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(Counted::new(task, Arc::clone(&self.handles)));
    }

    fn entropy(&self) -> [u8; 32] {
        self.entropy
    }
}

/// A timer of the runtime under test.
#[derive(Debug)]
pub struct BenchTimer<T>(T);

impl<T: Timer> Timer for BenchTimer<T> {
    fn arm(&mut self, at: Option<Instant>) {
        self.0.arm(at);
    }

    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_fired(cx)
    }
}

/// A task that is counted until it is dropped.
struct Counted<F> {
    task: Pin<Box<F>>,
    handles: Arc<Handles>,
}

impl<F> Counted<F> {
    fn new(task: F, handles: Arc<Handles>) -> Self {
        handles.tasks.fetch_add(1, Ordering::SeqCst);
        Self { task: Box::pin(task), handles }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.task.as_mut().poll(cx)
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.handles.tasks.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Resolves after this time by the runtime's clock.
pub(super) fn sleep<R: Runtime>(
    runtime: &R,
    time: Duration,
) -> impl Future<Output = ()> + Send + use<R> {
    let mut timer = runtime.timer();
    timer.arm(Some(runtime.now().mono + time));
    std::future::poll_fn(move |cx| timer.poll_fired(cx))
}

/// What a future gives, or `None` if it takes longer than this.
pub(super) async fn within<T>(
    limit: impl Future<Output = ()>,
    future: impl Future<Output = T>,
) -> Option<T> {
    match futures_util::future::select(pin!(future), pin!(limit)).await {
        futures_util::future::Either::Left((value, _)) => Some(value),
        futures_util::future::Either::Right(((), _)) => None,
    }
}
