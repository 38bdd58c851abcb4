//! Clients: what they ask, and what they hear.

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    groups::{Index, Input, Outcome},
    ids::GroupId,
    streams::item,
};

use super::super::{Task, World};
use crate::{
    checkers::groups::Part,
    host::{Command, Op, Waiting, Wish},
    linearize::{RegisterOp, RegisterRet},
    net::{HostId, Process},
    verdict::Failure,
};

impl World {
    pub(in crate::world) fn on_clients(&mut self, process: Process, group: GroupId) {
        if self.hosts[process.host.0].boots != process.boot {
            return;
        }
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        if app.clients.stopped || app.leaving {
            return;
        }
        let pause = app.clients.pause();
        let ready = app.clients.ready(now);
        self.queue.push(now + pause, Task::Clients(process, group));
        let (mut data, mut count) = (BytesMut::new(), 0);
        for client in ready {
            let fresh = self.fresh();
            let Some(app) = self.group(process, group) else { return };
            match app.clients.wish(fresh) {
                Wish::Read(key) => self.read(process, group, client, key),
                Wish::Write(key, op) => {
                    if let Some(bytes) = self.write(process, group, client, (key, op)) {
                        item::append(&mut data, &bytes);
                        count += 1;
                    }
                }
            }
        }
        self.send_commands(process, group, count, data.freeze());
    }

    const fn fresh(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn send_commands(&mut self, process: Process, group: GroupId, count: u32, data: Bytes) {
        let Some(app) = self.group(process, group) else { return };
        if count > 0 {
            let first = app.used.commands - u64::from(count);
            app.used.bytes += data.len() as u64;
            self.feed_group(process, group, Input::Execute { first, count, data });
        }
    }

    /// A client executes a command, if there is room for it.
    fn write(
        &mut self,
        process: Process,
        group: GroupId,
        client: u64,
        (key, op): (u8, Op),
    ) -> Option<Bytes> {
        let (now, command) = (self.now, self.fresh());
        let app = self.running(process)?.groups.get_mut(&group)?;
        let room = app.used.commands < app.window.commands && app.used.bytes < app.window.bytes;
        if !room {
            app.clients.rest(client, now);
            return None;
        }
        let padding = app.clients.padding(app.spec.padding);
        let number = app.used.commands;
        app.used.commands += 1;
        let asked = match op {
            Op::Put(value) => RegisterOp::Put(value),
            Op::Cas(expected, value) => RegisterOp::Cas(expected, value),
        };
        let who = self.checkers.groups.history.client();
        let asked = self.checkers.groups.history.asked((group, key), who, asked, now);
        let waiting = Waiting { client, key, op: Some(op), asked, command, answer: None };
        self.group(process, group)?.clients.writes.insert(number, waiting);
        Some(Command { id: command, key, op }.encode(padding))
    }

    /// One command executed by hand, as by one more client; its name, or `None` without room.
    pub fn execute_command(
        &mut self,
        host: HostId,
        group: GroupId,
        key: u8,
        op: Op,
    ) -> Option<u64> {
        let process = self.hosts[host.0].process();
        let bytes = self.write(process, group, u64::MAX, (key, op))?;
        let mut data = BytesMut::new();
        item::append(&mut data, &bytes);
        self.send_commands(process, group, 1, data.freeze());
        Some(self.values)
    }

    fn read(&mut self, process: Process, group: GroupId, client: u64, key: u8) {
        let now = self.now;
        let who = self.checkers.groups.history.client();
        let asked = self.checkers.groups.history.asked((group, key), who, RegisterOp::Get, now);
        let Some(app) = self.group(process, group) else { return };
        let read = app.clients.next_read();
        let waiting = Waiting { client, key, op: None, asked, command: 0, answer: None };
        app.clients.reading.insert(read, waiting);
        self.feed_group(process, group, Input::Read(read));
    }

    pub(super) fn read_ready(&mut self, process: Process, group: GroupId, read: u64) {
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        let Some(waiting) = app.clients.reading.remove(&read) else {
            let what = format_args!("{}: read {read} is answered, but not asked", process.host);
            return self.fail(Failure::safety(what));
        };
        let value = app.machine.read(waiting.key);
        app.clients.rest(waiting.client, now);
        self.checkers.groups.read(true);
        if let Some(of) = self.checkers.groups.lineage((process, group)) {
            let answer = RegisterRet::Value(value);
            self.checkers.groups.history.answered(waiting.asked, now, answer, of);
        }
    }

    pub(super) fn read_failed(&mut self, process: Process, group: GroupId, read: u64) {
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        let Some(waiting) = app.clients.reading.remove(&read) else { return };
        app.clients.rest(waiting.client, now);
        self.checkers.groups.read(false);
        self.checkers.groups.history.refused(waiting.asked);
    }

    pub(super) fn outcome(
        &mut self,
        process: Process,
        group: GroupId,
        (first, number): (u64, u64),
        outcome: Outcome,
    ) {
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        let Some(waiting) = app.clients.writes.remove(&(first + number)) else {
            let what = format!("{}: command {first} + {number} ends twice", process.host);
            return self.fail(Failure::Safety(what));
        };
        app.clients.rest(waiting.client, now);
        let part: Part = (process, group);
        let checked = match outcome {
            Outcome::Committed { index } => {
                let at = Index(index.0 + number);
                self.checkers.groups.acknowledged(part, waiting.command, at).map(|of| {
                    if let Some(answer) = waiting.heard() {
                        let history = &mut self.checkers.groups.history;
                        history.answered(waiting.asked, now, answer, of);
                    }
                })
            }
            Outcome::Rejected(why) => {
                self.checkers.groups.history.refused(waiting.asked);
                self.checkers.groups.rejected(part, waiting.command, why)
            }
            Outcome::Unknown => {
                self.checkers.groups.unknown();
                Ok(())
            }
        };
        self.check(checked.map_err(|what| format!("{}: {what}", process.host)));
    }
}
