//! Faults: what can be done to hosts and paths.

use std::{mem, time::Duration};

use mosaik_proto::node::Event;

use super::{Task, World};
use crate::net::HostId;

/// Something that goes wrong, or is put right.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The process of a host dies without a word.
    Crash(HostId),
    /// A process starts where none runs.
    Start(HostId),
    /// A process is asked to end in good order.
    Shutdown(HostId),
    /// Nothing gets through on these paths (ordered pairs) any more. Cuts add up.
    Cut(Vec<(HostId, HostId)>),
    /// Takes one cut of each path back.
    Mend(Vec<(HostId, HostId)>),
    /// All links between two hosts break.
    Reset(HostId, HostId),
    /// The loop of a process stands still.
    Freeze(HostId, Duration),
    /// The wall clock of a host jumps, in milliseconds.
    Jump(HostId, i64),
    /// The consumers of a host take nothing for this long.
    Pause(HostId, Duration),
    /// Packets lost per million from now on.
    Loss(u32),
    /// Dials that fail at once, per million, from now on.
    DialFailures(u32),
    /// A timeout that is not due.
    EarlyTimeout(HostId),
    /// All paths work, nothing is lost, every host runs, consumers hurry.
    Calm,
}

impl World {
    /// Does it now.
    pub fn inject(&mut self, fault: Fault) {
        self.trace.note(self.now, format_args!("{fault:?}"));
        match fault {
            Fault::Crash(host) => self.crash(host),
            Fault::Start(host) => self.start(host),
            Fault::Shutdown(host) => self.shutdown(host),
            Fault::Cut(paths) => {
                paths.into_iter().for_each(|(from, to)| self.net.cut(self.now, from, to));
            }
            Fault::Mend(paths) => {
                paths.into_iter().for_each(|(from, to)| self.net.mend(self.now, from, to));
            }
            Fault::Reset(a, b) => self.net.reset_links(self.now, a, b),
            Fault::Freeze(host, time) => self.freeze(host, time),
            Fault::Jump(host, by) => self.hosts[host.0].clock.jump(by),
            Fault::Pause(host, time) => self.pause(host, time),
            Fault::Loss(ppm) => self.net.options.loss_ppm = ppm,
            Fault::DialFailures(ppm) => self.net.options.dial_failure_ppm = ppm,
            Fault::EarlyTimeout(host) => self.feed(self.hosts[host.0].process(), Event::Timeout),
            Fault::Calm => {
                self.net.options.loss_ppm = 0;
                self.net.options.dial_failure_ppm = 0;
                self.net.mend_all(self.now);
                (0..self.hosts.len()).for_each(|host| self.revive(HostId(host)));
                let running = self.hosts.iter_mut().filter_map(|host| host.running.as_mut());
                for app in running.flat_map(|running| running.consumers.values_mut()) {
                    (app.spec.batch, app.spec.every) = (usize::MAX, Duration::from_millis(1));
                }
            }
        }
        self.net.flush(self.now);
        self.absorb();
    }

    /// Starts what does not run; what is about to end in good order runs again afterwards.
    fn revive(&mut self, host: HostId) {
        let this = &mut self.hosts[host.0];
        if let Some(running) = &mut this.running
            && !running.leaving
        {
            return;
        }
        if this.running.is_some() {
            let again = self.now + Duration::from_millis(500);
            self.queue.push(again, Task::Fault(Fault::Calm));
        }
        if this.boots > 0 {
            self.start(host);
        }
    }

    fn crash(&mut self, host: HostId) {
        let this = &mut self.hosts[host.0];
        let process = this.process();
        if this.running.take().is_some() {
            self.net.die(self.now, host);
            self.checkers.ended(process);
        }
    }

    fn shutdown(&mut self, host: HostId) {
        let this = &mut self.hosts[host.0];
        let (process, peer) = (this.process(), this.peer);
        let wall = this.clock.read(self.now).wall;
        let Some(running) = &mut this.running else { return };
        if mem::replace(&mut running.leaving, true) {
            return;
        }
        let tombstone = running.entry.depart(wall);
        self.checkers.versions.departed(peer, tombstone.version());
        self.feed(process, Event::Shutdown(tombstone));
    }

    fn freeze(&mut self, host: HostId, time: Duration) {
        let process = self.hosts[host.0].process();
        let until = self.now + time;
        if let Some(running) = self.running(process) {
            running.frozen_until = running.frozen_until.max(until);
            self.queue.push(until, Task::Thaw(process));
        }
    }

    fn pause(&mut self, host: HostId, time: Duration) {
        let until = self.now + time;
        let process = self.hosts[host.0].process();
        if let Some(running) = self.running(process) {
            running.consumers.values_mut().for_each(|app| app.paused_until = until);
        }
    }
}
