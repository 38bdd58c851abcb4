//! What faults do to the state of a world.

use std::task::Waker;

use super::kernel::{Due, State};
use crate::world::Fault;

impl State {
    /// Faults that concern no task.
    pub(super) fn inject(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::Cut(paths) => {
                paths.into_iter().for_each(|(from, to)| self.net.cut(now, from, to));
            }
            Fault::Mend(paths) => {
                paths.into_iter().for_each(|(from, to)| self.net.mend(now, from, to));
            }
            Fault::Reset(a, b) => self.net.reset_links(now, a, b),
            Fault::Freeze(host, time) => {
                let until = &mut self.hosts[host.0].frozen_until;
                *until = (*until).max(now + time);
                self.queue.push(*until, Due::Thaw);
            }
            Fault::Jump(host, by) => self.hosts[host.0].clock.jump(by),
            Fault::Pause(host, time) => {
                let until = &mut self.hosts[host.0].paused_until;
                *until = (*until).max(now + time);
            }
            Fault::Loss(ppm) => self.net.options.loss_ppm = ppm,
            Fault::DialFailures(ppm) => self.net.options.dial_failure_ppm = ppm,
            Fault::Shutdown(host) => {
                let host = &mut self.hosts[host.0];
                host.leaving = host.alive;
                let wakers: Vec<Waker> = std::mem::take(&mut host.wakers);
                self.wakes.extend(wakers);
            }
            // Machines, stores and parts in groups belong to programs here.
            Fault::CrashAtWrite(..)
            | Fault::Disk(..)
            | Fault::SlowMachine(..)
            | Fault::Leave(_)
            | Fault::Join(_)
            | Fault::Transfer(_) => {}
            Fault::Crash(_) | Fault::Start(_) | Fault::EarlyTimeout(_) | Fault::Calm => {}
        }
    }

    /// All paths work, nothing is lost, nobody is frozen or slow.
    pub(super) fn calm(&mut self) {
        self.net.options.loss_ppm = 0;
        self.net.options.dial_failure_ppm = 0;
        self.net.mend_all(self.now);
        for host in &mut self.hosts {
            host.frozen_until = self.now.min(host.frozen_until);
            host.paused_until = self.now.min(host.paused_until);
        }
    }
}
