//! Clients of one part in a group: each asks for one thing after the other.

use std::{collections::BTreeMap, time::Duration};

use mosaik_proto::{rng::Rng, time::Instant};

use super::{Command, GroupSpec, Op};
use crate::{checkers::groups::Asked, linearize::RegisterRet};

/// What a client wants next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Write(u8, Op),
    Read(u8),
}

/// A client that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) client: u64,
    pub(crate) key: u8,
    /// What it wants; a read if nothing.
    pub(crate) op: Option<Op>,
    /// The question in the history.
    pub(crate) asked: Asked,
    /// The command's name, if it is one.
    pub(crate) command: u64,
    /// What the machine of this node answered when it applied the command.
    pub(crate) answer: Option<bool>,
}

impl Waiting {
    /// What a client hears whose command is in force; nothing if this node has not seen it applied.
    pub(crate) fn heard(&self) -> Option<RegisterRet> {
        match self.op? {
            Op::Put(_) => Some(RegisterRet::Done),
            Op::Cas(..) => self.answer.map(RegisterRet::Swapped),
        }
    }
}

/// The clients.
#[derive(Debug)]
pub(crate) struct Clients {
    rng: Rng,
    clients: u64,
    think: Duration,
    keys: u8,
    reads: u32,
    /// Who has nothing to wait for, and until when it thinks.
    idle: BTreeMap<u64, Instant>,
    /// By the number of the command in this group.
    pub(crate) writes: BTreeMap<u64, Waiting>,
    pub(crate) reading: BTreeMap<u64, Waiting>,
    next_read: u64,
    /// Asks for nothing any more.
    pub(crate) stopped: bool,
}

impl Clients {
    pub(crate) fn new(spec: &GroupSpec, rng: Rng) -> Self {
        Self {
            rng,
            clients: spec.clients,
            think: spec.think,
            keys: spec.keys.max(1),
            reads: spec.reads,
            idle: (0..spec.clients).map(|client| (client, Instant::ZERO)).collect(),
            writes: BTreeMap::new(),
            reading: BTreeMap::new(),
            next_read: 0,
            stopped: false,
        }
    }

    /// The clients that have thought enough; they count as busy from now on.
    pub(crate) fn ready(&mut self, now: Instant) -> Vec<u64> {
        let ready: Vec<u64> = self
            .idle
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(client, _)| *client)
            .collect();
        self.idle.retain(|_, until| *until > now);
        ready
    }

    /// A client has its answer, and thinks.
    pub(crate) fn rest(&mut self, client: u64, now: Instant) {
        // Who asks by hand asks when the test says so.
        if client >= self.clients {
            return;
        }
        let thinks = self.rng.below(self.think.as_nanos() as u64 + 1);
        self.idle.insert(client, now + Duration::from_nanos(thinks));
    }

    /// What a client wants; values are all different.
    pub(crate) fn wish(&mut self, fresh: u64) -> Wish {
        let key = self.rng.below(u64::from(self.keys)) as u8;
        if self.rng.chance(self.reads) {
            return Wish::Read(key);
        }
        Wish::Write(
            key,
            if self.rng.chance(250_000) {
                // Among the last values: sometimes the right one.
                let expected = fresh.checked_sub(1 + self.rng.below(4));
                Op::Cas(expected, fresh)
            } else {
                Op::Put(fresh)
            },
        )
    }

    /// The machine of this node applied a command, of whomever.
    pub(crate) fn applied(&mut self, command: Option<Command>, changed: bool) {
        let Some(command) = command else { return };
        if let Some(waiting) = self.writes.values_mut().find(|one| one.command == command.id) {
            waiting.answer = Some(changed);
        }
    }

    pub(crate) fn padding(&mut self, most: u64) -> usize {
        self.rng.below(most + 1) as usize
    }

    pub(crate) const fn next_read(&mut self) -> u64 {
        self.next_read += 1;
        self.next_read
    }

    /// Until the next look at who is ready.
    pub(crate) fn pause(&mut self) -> Duration {
        Duration::from_micros(500 + self.rng.below(20_000))
    }

    /// Clients that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.writes.len() + self.reading.len()
    }
}
