//! Machines: jobs one after the other, snapshots.

use bytes::BytesMut;
use mosaik_proto::{
    groups::{Applying, Index, Input, InstallFault},
    ids::GroupId,
    limits,
    raft::{Lineage, Snapshot},
    streams::item,
};

use super::super::{Task, World};
use crate::{
    disk::Task as DiskTask,
    host::{Command, Frozen, Job, Machine},
    net::Process,
    verdict::Failure,
};

impl World {
    pub(super) fn enqueue(&mut self, process: Process, group: GroupId, job: Job) {
        let Some(app) = self.group(process, group) else { return };
        app.executor.push(job);
        if let Err(what) = app.executor.check() {
            return self.fail(Failure::safety(format_args!("{}: {what}", process.host)));
        }
        self.run_machine(process, group);
    }

    /// Carries out what waits, as far as it takes no time.
    fn run_machine(&mut self, process: Process, group: GroupId) {
        loop {
            let now = self.now;
            let Some(app) = self.group(process, group) else { return };
            let Some(job) = app.executor.first() else { return };
            if app.executor.busy || app.executor.staging {
                return;
            }
            if job.takes_time() {
                let (effort, until) = (app.effort(), app.paused_until);
                if !effort.is_zero() || until > now {
                    app.executor.busy = true;
                    let at = (now + effort).max(until);
                    return self.queue.push(at, Task::Machine(process, group));
                }
            }
            self.do_job(process, group);
        }
    }

    pub(in crate::world) fn on_machine(&mut self, process: Process, group: GroupId) {
        if self.hosts[process.host.0].boots != process.boot {
            return;
        }
        let Some(app) = self.group(process, group) else { return };
        app.executor.busy = false;
        self.do_job(process, group);
        self.run_machine(process, group);
    }

    fn do_job(&mut self, process: Process, group: GroupId) {
        let Some(app) = self.group(process, group) else { return };
        match app.executor.first().cloned() {
            Some(Job::Freeze(snapshot, head)) => {
                self.freeze_machine(process, group, *snapshot, &head)
            }
            Some(Job::Install { snapshot, bytes, digest }) => {
                let Some((begun, fetched)) = app.fetched.take() else {
                    return self.installed(process, group, Err((*snapshot, InstallFault::Digest)));
                };
                let frozen = Frozen { snapshot: begun, bytes: fetched.freeze() };
                if frozen.bytes.len() as u64 != bytes || frozen.digest() != digest {
                    return self.installed(process, group, Err((*snapshot, InstallFault::Digest)));
                }
                self.stage(process, group, frozen);
            }
            Some(Job::Apply(lineage, applying)) => {
                app.executor.pop();
                self.apply(process, group, lineage, &applying);
            }
            Some(Job::Outcome { of, first, count, outcome }) => {
                app.executor.pop();
                (0..u64::from(count)).for_each(|number| {
                    self.outcome((process, group), of, (first, number), outcome);
                });
            }
            Some(Job::Read(of, read)) => {
                app.executor.pop();
                self.read_ready(process, group, of, read);
            }
            Some(Job::Digest(at)) => {
                app.executor.pop();
                let digest = app.machine.digest();
                self.feed_group(process, group, Input::StateDigest { at, digest });
            }
            Some(Job::Reset) => {
                app.executor.pop();
                (app.machine, app.frozen) = (Machine::default(), None);
            }
            None => {}
        }
    }

    fn apply(&mut self, process: Process, group: GroupId, of: Lineage, applying: &Applying) {
        let Some(app) = self.group(process, group) else { return };
        if app.failed {
            return;
        }
        let mut states = Vec::new();
        let items = item::Items::new(applying.data.clone()).flatten();
        let mut items = items.map(Some).chain(std::iter::repeat(None));
        for number in 0..u64::from(applying.count) {
            let at = Index(applying.first.0 + number);
            let applied = match items.next().flatten() {
                Some(bytes) => app.machine.apply(at, &bytes).map(|changed| {
                    app.clients.applied(Command::decode(&bytes), changed);
                }),
                None => app.machine.skip(at),
            };
            if let Err(what) = applied {
                let what = format!("{} {group:?}: {what}", process.host);
                return self.fail(Failure::Safety(what));
            }
            states.push((at, app.machine.digest()));
        }
        for (at, digest) in states {
            let checked = self.checkers.groups.machine(of, at, digest);
            self.check(checked);
        }
        self.feed_group(process, group, Input::Applied(applying.through()));
    }

    fn freeze_machine(
        &mut self,
        process: Process,
        group: GroupId,
        snapshot: Snapshot,
        head: &[u8],
    ) {
        let Some(app) = self.group(process, group) else { return };
        let mut bytes = BytesMut::from(head);
        bytes.extend_from_slice(&app.machine.encode());
        self.stage(process, group, Frozen { snapshot, bytes: bytes.freeze() });
    }

    /// A snapshot is whole: with a store it counts once that has it.
    fn stage(&mut self, process: Process, group: GroupId, frozen: Frozen) {
        let Some(app) = self.group(process, group) else { return };
        let durable = app.spec.config.durable;
        let (snapshot, bytes) = (frozen.snapshot.clone(), frozen.bytes.clone());
        app.staging = Some(frozen);
        app.executor.staging = true;
        if !durable {
            return self.on_staged(process, group, Ok(()));
        }
        self.submit(process, group, DiskTask::BeginSnapshot(snapshot));
        for at in (0..bytes.len()).step_by(limits::SNAPSHOT_CHUNK) {
            let chunk = bytes.slice(at..bytes.len().min(at + limits::SNAPSHOT_CHUNK));
            self.submit(process, group, DiskTask::SnapshotChunk(chunk));
        }
        self.submit(process, group, DiskTask::FinishSnapshot);
    }

    pub(super) fn on_staged(
        &mut self,
        process: Process,
        group: GroupId,
        result: Result<(), String>,
    ) {
        let Some(app) = self.group(process, group) else { return };
        let Some(frozen) = app.staging.take() else { return };
        app.executor.staging = false;
        let installs = matches!(app.executor.first(), Some(Job::Install { .. }));
        if installs {
            let result = result.map_err(InstallFault::Refused);
            let snapshot = frozen.snapshot.clone();
            self.installed(process, group, result.map(|()| frozen).map_err(|why| (snapshot, why)));
            return self.run_machine(process, group);
        }
        app.executor.pop();
        let input = match result {
            Ok(()) => {
                let snapshot = Box::new(frozen.snapshot.clone());
                let (bytes, digest) = (frozen.bytes.len() as u64, frozen.digest());
                app.frozen = Some(frozen);
                Input::Frozen { snapshot, bytes, digest }
            }
            Err(_) => Input::FreezeFailed(frozen.snapshot.last.index),
        };
        self.feed_group(process, group, input);
        self.run_machine(process, group);
    }

    fn installed(
        &mut self,
        process: Process,
        group: GroupId,
        result: Result<Frozen, (Snapshot, InstallFault)>,
    ) {
        let Some(app) = self.group(process, group) else { return };
        app.executor.pop();
        let input = match result {
            Ok(frozen) => {
                let machine = frozen.machine();
                let last = frozen.snapshot.last.index;
                let Some(machine) = machine else {
                    let what = format_args!("{}: what was installed is no machine", process.host);
                    return self.fail(Failure::safety(what));
                };
                let of = frozen.snapshot.lineage;
                let (at, digest) = (machine.applied(), machine.digest());
                app.machine = machine;
                app.frozen = Some(frozen);
                if !at.is_zero() {
                    let checked = self.checkers.groups.machine(of, at, digest);
                    self.check(checked);
                }
                Input::Installed(last)
            }
            Err((snapshot, why)) => Input::InstallFailed { last: snapshot.last.index, why },
        };
        self.feed_group(process, group, input);
    }
}
