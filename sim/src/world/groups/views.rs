//! What can be read of groups: by scenarios and tests.

use mosaik_proto::{
    groups::{Index, OperatorError, Status},
    ids::{GroupId, RequestId},
    raft::{Lineage, SeatId},
};

use super::{super::World, Answer};
use crate::{disk::Contents, host::GroupApp, net::HostId};

impl World {
    fn part(&self, host: HostId, group: GroupId) -> Option<&GroupApp> {
        self.hosts[host.0].running.as_ref()?.groups.get(&group)
    }

    /// True if a host takes part in a group at present, and is not about to leave it.
    #[must_use]
    pub fn is_member(&self, host: HostId, group: GroupId) -> bool {
        self.part(host, group).is_some_and(|app| !app.leaving)
    }

    /// True if a host's part in a group has a store.
    #[must_use]
    pub fn has_store(&self, host: HostId, group: GroupId) -> bool {
        let mut parts = self.hosts[host.0].groups.iter();
        parts.any(|spec| spec.config.id == group && spec.config.durable)
    }

    /// Which seat and history the next process of a host finds in its store, if that can be read.
    #[must_use]
    pub fn group_stored(&self, host: HostId, group: GroupId) -> Option<(SeatId, Lineage)> {
        let disk = self.hosts[host.0].disks.get(&group)?;
        let contents = disk.copy().filter(|_| disk.is_sound())?;
        Some((contents.seat(), contents.lineage()))
    }

    /// What the store of a host holds for certain.
    #[must_use]
    pub fn group_store(&self, host: HostId, group: GroupId) -> Option<Contents> {
        self.hosts[host.0].disks.get(&group)?.copy()
    }

    /// The last copy that somebody made of it.
    #[must_use]
    pub fn group_copy(&self, host: HostId, group: GroupId) -> Option<&Contents> {
        self.hosts[host.0].copies.get(&group)?.as_ref()
    }

    /// True if an older copy was put in the place of a host's store, and the store was not begun anew since.
    #[must_use]
    pub fn has_older_copy(&self, host: HostId, group: GroupId) -> bool {
        let seat = self.group_store(host, group).map(|store| store.seat());
        seat.is_some_and(|seat| self.is_rolled_back(host, group, seat))
    }

    /// True if a seat of a host is that of an older copy that was restored.
    #[must_use]
    pub fn is_rolled_back(&self, host: HostId, group: GroupId, seat: SeatId) -> bool {
        self.hosts[host.0].rolled_back.get(&group) == Some(&seat)
    }

    /// What a member said of itself last.
    #[must_use]
    pub fn group_status(&self, host: HostId, group: GroupId) -> Option<&Status> {
        self.part(host, group)?.status.as_ref()
    }

    /// The last command that the machine of a member applied.
    #[must_use]
    pub fn group_applied(&self, host: HostId, group: GroupId) -> Option<Index> {
        Some(self.part(host, group)?.machine.applied())
    }

    /// What a register holds at a member.
    #[must_use]
    pub fn group_register(&self, host: HostId, group: GroupId, key: u8) -> Option<u64> {
        self.part(host, group)?.machine.read(key)
    }

    /// True if the machine of a member applied a command, by its name.
    #[must_use]
    pub fn group_has(&self, host: HostId, group: GroupId, command: u64) -> bool {
        self.part(host, group).is_some_and(|app| app.machine.has(command))
    }

    /// How an operator's request ended, once it did.
    #[must_use]
    pub fn group_reply(
        &self,
        host: HostId,
        request: RequestId,
    ) -> Option<Result<(), OperatorError>> {
        self.hosts[host.0].running.as_ref()?.group_replies.get(&request).cloned()
    }

    /// What somebody heard who asked by hand, once it came.
    #[must_use]
    pub fn answer(&self, name: u64) -> Option<Answer> {
        self.answers.get(&name).copied()
    }

    /// Clients of all parts that wait for an answer.
    #[must_use]
    pub fn clients_waiting(&self, group: GroupId) -> usize {
        let parts = self.hosts().filter_map(|host| self.part(host, group));
        parts.map(|app| app.clients.waiting()).sum()
    }

    /// All clients ask for nothing more; what they asked for goes on.
    pub fn stop_clients(&mut self) {
        let running = self.hosts.iter_mut().filter_map(|host| host.running.as_mut());
        for app in running.flat_map(|running| running.groups.values_mut()) {
            app.clients.stopped = true;
        }
    }

    /// The group serves: every member of it knows the same history and leader and is online, and the
    /// machines hold the same.
    ///
    /// # Errors
    /// What is missing.
    pub fn group_serves(&self, group: GroupId) -> Result<(), String> {
        let mut first: Option<(HostId, &GroupApp, &Status)> = None;
        for host in self.hosts() {
            let Some(app) = self.part(host, group) else { continue };
            let status = app.status.as_ref().ok_or_else(|| format!("{host} has no status"))?;
            if !status.online {
                return Err(format!("{host} is not online: {:?}", status.blocked));
            }
            let Some((other, than, said)) = first else {
                first = Some((host, app, status));
                continue;
            };
            if (status.lineage, status.leader) != (said.lineage, said.leader) {
                return Err(format!("{host} follows another leader than {other}"));
            }
            if app.machine != than.machine {
                let (here, there) = (app.machine.applied(), than.machine.applied());
                return Err(format!("{host} has applied {here}, {other} {there}"));
            }
        }
        first.map(|_| ()).ok_or_else(|| "nobody takes part".to_owned())
    }

    /// Everything that clients were told is in force in the history that the group serves is there,
    /// on every member.
    ///
    /// # Errors
    /// What is lost.
    pub fn nothing_is_lost(&self, group: GroupId) -> Result<u64, String> {
        let mut kept = 0;
        for host in self.hosts() {
            let Some(app) = self.part(host, group) else { continue };
            let lineage = app.status.as_ref().and_then(|status| status.lineage);
            let Some(lineage) = lineage else { continue };
            for (command, at) in self.checkers.groups.in_force(lineage) {
                if !app.machine.has(command) {
                    return Err(format!("{host} does not have command {command} of {at}"));
                }
                kept += 1;
            }
        }
        Ok(kept)
    }
}
