//! tokio as a runtime of the event loop, and of quinn.

use std::{
    fmt,
    future::Future,
    io,
    net::UdpSocket,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH},
};

use mosaik_driver::runtime::{Runtime, Timer};
use mosaik_proto::time::{Instant, Now, UnixMillis};
use quinn::{AsyncTimer, AsyncUdpSocket};
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep_until},
};

use crate::socket::Socket;

/// Further away than any timer that matters; tokio's own limit is about two years.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A tokio runtime, by its handle: tasks and timers also start where no runtime is entered, for
/// instance in a destructor on a foreign thread.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    origin: StdInstant,
}

impl TokioRuntime {
    /// The runtime that runs the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime; see [`with_handle`](Self::with_handle).
    #[must_use]
    pub fn current() -> Self {
        Self::with_handle(Handle::current())
    }

    /// This runtime, whose timers and I/O must be enabled.
    #[must_use]
    pub fn with_handle(handle: Handle) -> Self {
        Self { handle, origin: StdInstant::now() }
    }

    /// The same runtime, for quinn.
    #[must_use]
    pub fn quinn(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(QuinnRuntime { handle: self.handle.clone() })
    }
}

impl Runtime for TokioRuntime {
    type Timer = TokioTimer;

    fn now(&self) -> Now {
        let mono = Instant::ZERO + self.origin.elapsed();
        // A clock before 1970 is as wrong as one that stands still at 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall: UnixMillis(wall.as_millis() as u64) }
    }

    fn timer(&self) -> TokioTimer {
        let _entered = self.handle.enter();
        let sleep = Box::pin(sleep_until((self.origin + FAR).into()));
        TokioTimer { sleep, origin: self.origin, armed: false }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }
}

/// A timer of tokio. It has the resolution of a millisecond and fires late rather than early.
pub struct TokioTimer {
    sleep: Pin<Box<Sleep>>,
    origin: StdInstant,
    armed: bool,
}

impl Timer for TokioTimer {
    fn arm(&mut self, at: Option<Instant>) {
        self.armed = at.is_some();
        if let Some(at) = at {
            let at = at.since(Instant::ZERO).min(self.origin.elapsed() + FAR);
            self.sleep.as_mut().reset((self.origin + at).into());
        }
    }

    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.armed {
            return Poll::Pending;
        }
        ready!(Future::poll(self.sleep.as_mut(), cx));
        self.armed = false;
        Poll::Ready(())
    }
}

impl fmt::Debug for TokioTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioTimer").field("armed", &self.armed).finish_non_exhaustive()
    }
}

/// quinn's own runtime for tokio, entered before every use, with a [`Socket`] of ours.
#[derive(Debug)]
struct QuinnRuntime {
    handle: Handle,
}

impl quinn::Runtime for QuinnRuntime {
    fn new_timer(&self, at: StdInstant) -> Pin<Box<dyn AsyncTimer>> {
        let _entered = self.handle.enter();
        quinn::TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(self.handle.spawn(future));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _entered = self.handle.enter();
        Ok(Arc::new(Socket::new(socket)?))
    }

    fn now(&self) -> StdInstant {
        quinn::TokioRuntime.now()
    }
}
