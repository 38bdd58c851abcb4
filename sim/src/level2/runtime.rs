//! The runtime of a node: virtual clocks, timers, tasks that the seed orders.

use std::{
    fmt,
    future::Future,
    task::{Context, Poll},
};

use mosaik_driver::runtime::{Runtime, Timer};
use mosaik_proto::time::{Instant, Now};

use super::kernel::{Due, Kernel, Owner, TimerState};
use crate::net::{HostId, Process};

/// A simulated [`Runtime`] for one node.
#[derive(Clone)]
pub struct SimRuntime {
    pub(super) kernel: Kernel,
    pub(super) process: Process,
}

impl Runtime for SimRuntime {
    type Timer = SimTimer;

    fn now(&self) -> Now {
        self.kernel.read_clock(self.process.host)
    }

    fn timer(&self) -> SimTimer {
        SimTimer::new(&self.kernel, self.process.host)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.kernel.spawn(Owner::Node(self.process), task);
    }

    fn entropy(&self) -> [u8; 32] {
        let Process { host, boot } = self.process;
        self.kernel.with(|state| state.rng.fork(&format!("node {host} {boot}")).bytes())
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A timer by the monotonic clock of a host.
pub struct SimTimer {
    kernel: Kernel,
    host: HostId,
    number: u64,
    at: Option<Instant>,
}

impl SimTimer {
    pub(super) fn new(kernel: &Kernel, host: HostId) -> Self {
        let number = kernel.with(|state| {
            let number = state.number();
            state.timers.insert(number, TimerState::default());
            number
        });
        Self { kernel: kernel.clone(), host, number, at: None }
    }
}

impl Timer for SimTimer {
    fn arm(&mut self, at: Option<Instant>) {
        self.at = at;
        self.kernel.with(|state| {
            // Rounded up to the millisecond, as real timers are; never in the past.
            let clock = state.hosts[self.host.0].clock;
            let at = at.map(|at| clock.world_time(at).max(state.now));
            let Some(timer) = state.timers.get_mut(&self.number) else { return };
            timer.at = at;
            if let Some(at) = at {
                state.queue.push(at, Due::Timer(self.number));
            }
        });
    }

    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at.is_none() {
            return Poll::Pending;
        }
        let fired = self.kernel.with(|state| {
            let now = state.now;
            let Some(timer) = state.timers.get_mut(&self.number) else { return false };
            if timer.at.is_some_and(|at| at <= now) {
                timer.at = None;
                return true;
            }
            timer.waker = Some(cx.waker().clone());
            false
        });
        if !fired {
            return Poll::Pending;
        }
        self.at = None;
        Poll::Ready(())
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        let timer = self.kernel.with(|state| state.timers.remove(&self.number));
        drop(timer);
    }
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTimer").field("at", &self.at).finish_non_exhaustive()
    }
}
