//! Clients: what they ask, and what they hear.

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    groups::{Index, Input, Outcome},
    ids::GroupId,
    raft::Lineage,
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

/// Who asks by hand.
const BY_HAND: u64 = u64::MAX;

/// What somebody heard who asked by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A command ended.
    Command(Outcome),
    /// A register was read.
    Value(Option<u64>),
    /// It could not be read.
    Failed,
}

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
                Wish::Read(key) => self.read(process, group, client, (key, 0)),
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

    /// One command executed by hand, as by one more client; its name, or `None` without room. What
    /// becomes of it is its [`answer`](Self::answer).
    pub fn execute_command(
        &mut self,
        host: HostId,
        group: GroupId,
        key: u8,
        op: Op,
    ) -> Option<u64> {
        let process = self.hosts[host.0].process();
        let bytes = self.write(process, group, BY_HAND, (key, op))?;
        let command = self.values;
        let mut data = BytesMut::new();
        item::append(&mut data, &bytes);
        self.send_commands(process, group, 1, data.freeze());
        Some(command)
    }

    /// One linearizable read by hand, as by one more client; its name.
    pub fn read_register(&mut self, host: HostId, group: GroupId, key: u8) -> u64 {
        let process = self.hosts[host.0].process();
        let name = self.fresh();
        self.read(process, group, BY_HAND, (key, name));
        name
    }

    fn read(&mut self, process: Process, group: GroupId, client: u64, (key, command): (u8, u64)) {
        let now = self.now;
        let who = self.checkers.groups.history.client();
        let asked = self.checkers.groups.history.asked((group, key), who, RegisterOp::Get, now);
        let Some(app) = self.group(process, group) else { return };
        let read = app.clients.next_read();
        let waiting = Waiting { client, key, op: None, asked, command, answer: None };
        app.clients.reading.insert(read, waiting);
        self.feed_group(process, group, Input::Read(read));
    }

    pub(super) fn read_ready(
        &mut self,
        process: Process,
        group: GroupId,
        of: Option<Lineage>,
        read: u64,
    ) {
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        let Some(waiting) = app.clients.reading.remove(&read) else {
            let what = format_args!("{}: read {read} is answered, but not asked", process.host);
            return self.fail(Failure::safety(what));
        };
        let value = app.machine.read(waiting.key);
        self.told(&waiting, Answer::Value(value));
        let Some(app) = self.group(process, group) else { return };
        app.clients.rest(waiting.client, now);
        self.checkers.groups.read(true);
        if let Some(of) = of {
            let answer = RegisterRet::Value(value);
            self.checkers.groups.history.answered(waiting.asked, now, answer, of);
        }
    }

    pub(super) fn read_failed(&mut self, process: Process, group: GroupId, read: u64) {
        let now = self.now;
        let Some(app) = self.group(process, group) else { return };
        let Some(waiting) = app.clients.reading.remove(&read) else { return };
        app.clients.rest(waiting.client, now);
        self.told(&waiting, Answer::Failed);
        self.checkers.groups.read(false);
        self.checkers.groups.history.refused(waiting.asked);
    }

    /// Remembers what somebody heard who asked by hand.
    fn told(&mut self, waiting: &Waiting, answer: Answer) {
        if waiting.client == BY_HAND {
            self.answers.insert(waiting.command, answer);
        }
    }

    pub(super) fn outcome(
        &mut self,
        (process, group): Part,
        of: Option<Lineage>,
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
        self.told(&waiting, Answer::Command(outcome));
        let checked = match outcome {
            Outcome::Committed { index } => {
                let at = Index(index.0 + number);
                self.checkers.groups.acknowledged(of, waiting.command, at).map(|of| {
                    if let Some(answer) = waiting.heard() {
                        let history = &mut self.checkers.groups.history;
                        history.answered(waiting.asked, now, answer, of);
                    }
                })
            }
            Outcome::Rejected(why) => {
                self.checkers.groups.history.refused(waiting.asked);
                self.checkers.groups.rejected(of, waiting.command, why)
            }
            Outcome::Unknown => {
                self.checkers.groups.unknown();
                Ok(())
            }
        };
        self.check(checked.map_err(|what| format!("{}: {what}", process.host)));
    }
}
