//! smol as a runtime of the event loop, and of quinn.

use std::{
    fmt,
    future::Future,
    io,
    net::UdpSocket,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant as StdInstant, SystemTime, UNIX_EPOCH},
};

use mosaik_driver::runtime::{Runtime, Timer};
use mosaik_proto::time::{Instant, Now, UnixMillis};
use quinn::{AsyncTimer, AsyncUdpSocket};

use crate::{socket::Socket, tasks::Tasks, timer::CoarseTimer};

/// The reactor of `async-io`, and a place for tasks.
#[derive(Clone, Debug)]
pub struct SmolRuntime {
    tasks: Tasks,
    origin: StdInstant,
}

impl SmolRuntime {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks, origin: StdInstant::now() }
    }

    /// The same runtime, for quinn.
    #[must_use]
    pub fn quinn(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(self.clone())
    }
}

impl Runtime for SmolRuntime {
    type Timer = SmolTimer;

    fn now(&self) -> Now {
        let mono = Instant::ZERO + self.origin.elapsed();
        // A clock before 1970 is as wrong as one that stands still at 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall: UnixMillis(wall.as_millis() as u64) }
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer { inner: CoarseTimer::new(self.origin), origin: self.origin }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

impl quinn::Runtime for SmolRuntime {
    fn new_timer(&self, at: StdInstant) -> Pin<Box<dyn AsyncTimer>> {
        let mut timer = CoarseTimer::new(self.origin);
        timer.reset(Some(at));
        Box::pin(timer)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket)?))
    }
}

impl AsyncTimer for CoarseTimer {
    fn reset(self: Pin<&mut Self>, at: StdInstant) {
        Self::reset(self.get_mut(), Some(at));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll(self.get_mut(), cx)
    }
}

/// A timer of the event loop. It has the resolution of a millisecond and fires late rather than
/// early.
pub struct SmolTimer {
    inner: CoarseTimer,
    origin: StdInstant,
}

impl Timer for SmolTimer {
    fn arm(&mut self, at: Option<Instant>) {
        let at = at.and_then(|at| self.origin.checked_add(at.since(Instant::ZERO)));
        self.inner.reset(at);
    }

    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll(cx)
    }
}

impl fmt::Debug for SmolTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}
