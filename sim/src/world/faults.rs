//! Faults: what can be done to hosts and paths.

use std::{mem, time::Duration};

use mosaik_proto::node::Event;

use super::{Task, World};
use crate::{
    disk::{Disk, DiskError, Habits, Part},
    net::HostId,
};

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
    /// A process dies when its groups ask for so many writes more: before the last of them reaches the
    /// disk, or right behind it.
    CrashAtWrite(HostId, u32, bool),
    /// Something happens to the disks of a host.
    Disk(HostId, DiskFault),
    /// The machines of a host begin nothing for this long.
    SlowMachine(HostId, Duration),
    /// A host leaves its groups.
    Leave(HostId),
    /// It takes part again.
    Join(HostId),
    /// The groups of a host are asked to let somebody else lead.
    Transfer(HostId),
    /// A timeout that is not due.
    EarlyTimeout(HostId),
    /// All paths work, nothing is lost, every host runs with a disk that works, machines and consumers
    /// hurry.
    Calm,
}

/// What can happen to the disks of a host.
#[derive(Clone, Copy, Debug)]
pub enum DiskFault {
    /// Every write fails from now on.
    Fail(DiskError),
    /// It works again.
    Mend,
    /// A bit changes; noticed at the next start.
    Flip(Part),
    /// The directory is deleted; noticed at the next start.
    Delete,
    /// Somebody makes a copy.
    Copy,
    /// Somebody restores the copy, if nobody uses the directory.
    Restore,
    /// It is slow, stalls, and reports in any order, or not.
    Habits(Habits),
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
            Fault::CrashAtWrite(host, writes, before) => {
                self.hosts[host.0].dies_at_write = Some((writes.max(1), before));
            }
            Fault::Disk(host, fault) => self.disk_fault(host, fault),
            Fault::SlowMachine(host, time) => self.slow_machine(host, time),
            Fault::Leave(host) => self.leave_groups(host),
            Fault::Join(host) => self.join_groups(host),
            Fault::Transfer(host) => self.transfer(host),
            Fault::EarlyTimeout(host) => self.feed(self.hosts[host.0].process(), Event::Timeout),
            Fault::Calm => {
                self.net.options.loss_ppm = 0;
                self.net.options.dial_failure_ppm = 0;
                self.net.mend_all(self.now);
                (0..self.hosts.len()).for_each(|host| self.calm_groups(HostId(host)));
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
            this.disks.values_mut().filter(|disk| disk.is_open()).for_each(Disk::crash);
            this.dies_at_write = None;
            self.net.die(self.now, host);
            self.checkers.ended(process);
        }
    }

    fn shutdown(&mut self, host: HostId) {
        let this = &mut self.hosts[host.0];
        let process = this.process();
        let wall = this.clock.read(self.now).wall;
        let Some(running) = &mut this.running else { return };
        if mem::replace(&mut running.leaving, true) {
            return;
        }
        let tombstone = running.entry.depart(wall);
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
