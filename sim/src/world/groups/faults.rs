//! What can be done to disks, machines and parts in groups.

use std::time::Duration;

use mosaik_proto::groups::Input;

use super::super::{DiskFault, World};
use crate::{disk::Habits, net::HostId};

impl World {
    pub(in crate::world) fn disk_fault(&mut self, id: HostId, fault: DiskFault) {
        let host = &mut self.hosts[id.0];
        for (group, disk) in &mut host.disks {
            match fault {
                DiskFault::Fail(error) => disk.fail(error),
                DiskFault::Mend => disk.mend(),
                DiskFault::Flip(part) => disk.flip(part),
                DiskFault::Delete => disk.delete(),
                DiskFault::Copy => drop(host.copies.insert(*group, disk.copy())),
                DiskFault::Restore if !disk.is_open() => {
                    let Some(copy) = host.copies.get(group) else { continue };
                    disk.roll_back(copy.clone());
                    let seat = copy.as_ref().map(|copy| (*group, copy.seat()));
                    host.rolled_back.extend(seat);
                }
                DiskFault::Restore => {}
                DiskFault::Habits(habits) => disk.habits = habits,
            }
        }
    }

    pub(in crate::world) fn slow_machine(&mut self, id: HostId, time: Duration) {
        let until = self.now + time;
        let running = self.hosts[id.0].running.as_mut();
        for app in running.into_iter().flat_map(|running| running.groups.values_mut()) {
            app.paused_until = until;
        }
    }

    pub(in crate::world) fn transfer(&mut self, id: HostId) {
        let running = self.hosts[id.0].running.as_ref();
        let groups: Vec<_> = running.into_iter().flat_map(|r| r.groups.keys().copied()).collect();
        for group in groups {
            self.ask_group(id, group, |request| Input::Transfer { request, to: None });
        }
    }

    /// Disks work, machines hurry, every part is taken again.
    pub(in crate::world) fn calm_groups(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        host.dies_at_write = None;
        for disk in host.disks.values_mut() {
            disk.mend();
            disk.habits = Habits::default();
        }
        for app in host.running.iter_mut().flat_map(|running| running.groups.values_mut()) {
            app.paused_until = self.now;
            app.spec.apply = (Duration::ZERO, Duration::ZERO);
        }
        // Also those of processes that are yet to start.
        for spec in &mut host.groups {
            spec.apply = (Duration::ZERO, Duration::ZERO);
        }
        self.join_groups(id);
    }
}
