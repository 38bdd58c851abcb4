//! Groups: what a driver does for them, with simulated disks, machines and clients.

mod clients;
mod faults;
mod machine;
mod views;

pub use self::clients::Answer;

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    groups::{FrozenHead, Input, Output},
    ids::{GroupId, RequestId},
    limits,
    node::Event,
    raft::LogIndex,
};

use super::{Fault, Task, World};
use crate::{
    disk::{Disk, Report, Task as DiskTask},
    host::{Frozen, GroupApp, GroupSpec, Job, fault},
    net::{HostId, Process},
    verdict::Failure,
};

impl World {
    /// Gives a host a part in a group, now and after every restart. Its store outlives its processes.
    pub fn add_group(&mut self, host: HostId, spec: GroupSpec) {
        let group = spec.config.id;
        let rng = self.rng.fork(&format!("disk {host} {group}"));
        let disk = Disk::new(rng, spec.disk);
        self.hosts[host.0].disks.insert(group, disk);
        self.hosts[host.0].groups.push(spec.clone());
        if self.hosts[host.0].running.is_some() {
            self.join_group(host, spec);
        }
    }

    /// The parts of a host in groups begin, with its process.
    pub(super) fn join_groups(&mut self, id: HostId) {
        for spec in self.hosts[id.0].groups.clone() {
            self.join_group(id, spec);
        }
    }

    pub(super) fn join_group(&mut self, id: HostId, spec: GroupSpec) {
        let host = &mut self.hosts[id.0];
        let (process, group) = (host.process(), spec.config.id);
        let handle = host.next_handle();
        let Some(running) = &mut host.running else { return };
        if let Some(app) = running.groups.get_mut(&group) {
            app.again = app.leaving;
            return;
        }
        if running.leaving {
            return;
        }
        let rng = self.rng.fork(&format!("group {id} {group} {handle}"));
        running.groups.insert(group, GroupApp::new(spec.clone(), &rng));
        if spec.config.durable
            && let Some(disk) = host.disks.get_mut(&group)
        {
            disk.open(self.now);
        }
        self.announce_groups(id);
        self.feed_group(process, group, Input::Join(Box::new(spec.config)));
        self.arm_disk(process, group);
        self.queue.push(self.now, Task::Clients(process, group));
    }

    /// A host leaves its groups in good order.
    pub fn leave_groups(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let process = host.process();
        let Some(running) = &mut host.running else { return };
        let ids: Vec<_> = running.groups.keys().copied().collect();
        for group in ids {
            if let Some(app) = self.group(process, group)
                && !std::mem::replace(&mut app.leaving, true)
            {
                self.feed_group(process, group, Input::Leave);
            }
        }
    }

    /// An operator asks something of a group at a host; see [`group_reply`](Self::group_reply).
    pub fn ask_group(
        &mut self,
        host: HostId,
        group: GroupId,
        ask: impl FnOnce(RequestId) -> Input,
    ) -> RequestId {
        let this = &mut self.hosts[host.0];
        let request = RequestId(this.next_handle());
        let process = this.process();
        self.feed_group(process, group, ask(request));
        request
    }

    /// The group's entry of a process, while it runs.
    pub(super) fn group(&mut self, process: Process, group: GroupId) -> Option<&mut GroupApp> {
        self.running(process)?.groups.get_mut(&group)
    }

    pub(super) fn announce_groups(&mut self, id: HostId) {
        let Some(running) = &self.hosts[id.0].running else { return };
        if running.leaving {
            // Its farewell is signed: a later entry would bring it back.
            return;
        }
        let groups: Vec<_> = running.groups.keys().copied().collect();
        self.edit(id, |draft| {
            draft.groups().clear();
            draft.groups().extend(groups);
        });
    }

    /// Behind everything that happens at this moment already: inputs are not fed from within a step.
    pub(super) fn feed_group(&mut self, process: Process, group: GroupId, input: Input) {
        let event = Event::Group { group, input };
        self.queue.push(self.now, Task::Feed(process, event));
    }

    // --- what the core asks for ------------------------------------------------------------

    /// Does what a group asks for.
    pub(super) fn execute_group(&mut self, process: Process, group: GroupId, output: Output) {
        let Some(app) = self.group(process, group) else { return };
        match output {
            Output::Persist { ticket, write } => {
                self.persist(process, group, DiskTask::Write(ticket, *write));
            }
            Output::RememberBoot { seat, boot } => {
                self.submit(process, group, DiskTask::RememberBoot(seat, boot));
            }
            Output::Wipe => {
                app.frozen = None;
                self.submit(process, group, DiskTask::Wipe);
            }
            Output::Compact(position) if app.spec.config.durable => {
                self.submit(process, group, DiskTask::Compact(position));
            }
            Output::Apply(applying) => {
                let of = self.checkers.groups.lineage((process, group)).unwrap_or_default();
                self.enqueue(process, group, Job::Apply(of, applying));
            }
            Output::Outcome { first, count, outcome } => {
                let of = self.checkers.groups.lineage((process, group));
                self.enqueue(process, group, Job::Outcome { of, first, count, outcome });
            }
            Output::ReadReady(read) => {
                let of = self.checkers.groups.lineage((process, group));
                self.enqueue(process, group, Job::Read(of, read));
            }
            Output::ReadFailed(read) => self.read_failed(process, group, read),
            Output::Freeze { snapshot, head } => {
                self.enqueue(process, group, Job::Freeze(snapshot, head));
            }
            Output::Install { snapshot, head: _, bytes, digest } => {
                self.enqueue(process, group, Job::Install { snapshot, bytes, digest });
            }
            Output::TakeDigest(at) => self.enqueue(process, group, Job::Digest(at)),
            Output::Reset => self.enqueue(process, group, Job::Reset),
            Output::ReadChunk { read, last, chunk } => {
                let data = read_chunk(app.frozen.as_ref(), last, chunk);
                self.feed_group(process, group, Input::Chunk { read, data });
            }
            Output::FetchBegin { snapshot, bytes: _ } => {
                app.fetched = Some((*snapshot, BytesMut::new()));
            }
            Output::FetchChunk(bytes) => self.keep_chunk(process, group, &bytes),
            Output::FetchCancel => app.fetched = None,
            Output::Window { commands, bytes } => {
                (app.window.commands, app.window.bytes) = (commands, bytes);
            }
            Output::Reply { request, result } => {
                let Some(running) = self.running(process) else { return };
                running.group_replies.insert(request, result);
            }
            Output::Status(status) => app.status = Some(*status),
            Output::Closed => self.group_closed(process, group),
            Output::Compact(_)
            | Output::Taken { .. }
            | Output::LogPosition(_)
            | Output::Notice(_) => {}
        }
    }

    fn keep_chunk(&mut self, process: Process, group: GroupId, bytes: &[u8]) {
        let Some(app) = self.group(process, group) else { return };
        if let Some((_, fetched)) = &mut app.fetched {
            fetched.extend_from_slice(bytes);
        }
        self.feed_group(process, group, Input::ChunkKept);
    }

    fn persist(&mut self, process: Process, group: GroupId, write: DiskTask) {
        let dies = self.dies_at_write(process);
        if dies != Some(true) {
            self.submit(process, group, write);
        }
        if dies.is_some() {
            self.inject(Fault::Crash(process.host));
        }
    }

    /// If this write is the one at which the process dies, whether it does so before it.
    fn dies_at_write(&mut self, process: Process) -> Option<bool> {
        let trap = &mut self.hosts[process.host.0].dies_at_write;
        let (left, before) = trap.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let before = *before;
        *trap = None;
        Some(before)
    }

    fn group_closed(&mut self, process: Process, group: GroupId) {
        let host = &mut self.hosts[process.host.0];
        let left = host.running.as_mut().and_then(|running| running.groups.remove(&group));
        if let Some(disk) = host.disks.get_mut(&group).filter(|disk| disk.is_open()) {
            disk.close();
        }
        self.announce_groups(process.host);
        if let Some(app) = left.filter(|app| app.again) {
            self.join_group(process.host, app.spec);
        }
    }

    // --- the disk --------------------------------------------------------------------------

    pub(super) fn submit(&mut self, process: Process, group: GroupId, task: DiskTask) {
        let Some(disk) = self.hosts[process.host.0].disks.get_mut(&group) else { return };
        if !disk.is_open() {
            return;
        }
        if let Err(busy) = disk.submit(self.now, task) {
            let what = format_args!("{}: {busy}", process.host);
            return self.fail(Failure::safety(what));
        }
        self.arm_disk(process, group);
    }

    fn arm_disk(&mut self, process: Process, group: GroupId) {
        let disk = self.hosts[process.host.0].disks.get(&group);
        if let Some(at) = disk.and_then(Disk::deadline) {
            self.queue.push(at.max(self.now), Task::Disk(process, group));
        }
    }

    pub(super) fn on_disk(&mut self, process: Process, group: GroupId) {
        let host = &mut self.hosts[process.host.0];
        if host.boots != process.boot {
            return;
        }
        let Some(disk) = host.disks.get_mut(&group) else { return };
        if disk.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        let mut reports = Vec::new();
        disk.advance(self.now, &mut reports);
        for report in reports {
            self.on_report(process, group, report);
        }
        self.arm_disk(process, group);
    }

    fn on_report(&mut self, process: Process, group: GroupId, report: Report) {
        let Some(app) = self.group(process, group) else { return };
        let input = match report {
            Report::Loaded(Ok(loaded)) => {
                let stored = loaded.stored;
                app.frozen =
                    loaded.snapshot.map(|bytes| Frozen { snapshot: stored.base.clone(), bytes });
                // A machine whose store was wiped has been reset, or is about to be.
                if let Some(machine) = app.frozen.as_ref().and_then(Frozen::machine) {
                    app.machine = machine;
                }
                let snapshot = app.frozen.as_ref().map(|frozen| FrozenHead {
                    head: frozen.head(),
                    bytes: frozen.bytes.len() as u64,
                    digest: frozen.digest(),
                });
                let (seat, boot, boots) = (loaded.seat, loaded.boot, loaded.boots);
                let loaded = mosaik_proto::groups::Loaded { seat, boot, boots, stored, snapshot };
                Input::Loaded(Box::new(loaded))
            }
            Report::Loaded(Err(error)) => Input::StoreFailed(fault(error)),
            Report::Persisted(ticket) => Input::Persisted(ticket),
            Report::PersistFailed(_, error) | Report::Compacted(Err(error)) => {
                Input::StoreFailed(fault(error))
            }
            Report::Staged(result) => {
                return self.on_staged(process, group, result.map_err(|error| error.to_string()));
            }
            Report::Compacted(Ok(_)) | Report::Snapshot(_) => return,
        };
        self.feed_group(process, group, input);
    }
}

/// A chunk of the snapshot that ends at an entry.
fn read_chunk(frozen: Option<&Frozen>, last: LogIndex, chunk: u64) -> Option<Bytes> {
    let frozen = frozen.filter(|frozen| frozen.snapshot.last.index == last)?;
    let from = usize::try_from(chunk).ok()?.checked_mul(limits::SNAPSHOT_CHUNK)?;
    let to = frozen.bytes.len().min(from + limits::SNAPSHOT_CHUNK);
    (from < to).then(|| frozen.bytes.slice(from..to))
}
