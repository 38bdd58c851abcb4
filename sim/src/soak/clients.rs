//! Clients, and what they remember.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mosaik_proto::rng::Rng;

use super::{
    Options, PATIENCE, Tally,
    fleet::Fleet,
    lock,
    member::Reply,
    protocol::{Answer, Ask, Command, Update},
    rng,
};
use crate::linearize::{History, Register, RegisterOp, RegisterRet};

/// How long a client leaves its member alone after that failed.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// How long it waits when nobody runs, or a refusal came at once.
const BREATH: Duration = Duration::from_millis(50);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Acknowledged,
    Unknown,
    Refused,
}

/// What all clients saw.
#[derive(Debug)]
pub(super) struct Record {
    /// By key.
    pub(super) histories: Vec<Mutex<History<Register>>>,
    /// By client, by number.
    pub(super) fates: Vec<Mutex<Vec<Fate>>>,
    tally: Mutex<Tally>,
}

impl Record {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            histories: (0..options.keys).map(|_| Mutex::default()).collect(),
            fates: (0..options.clients).map(|_| Mutex::default()).collect(),
            tally: Mutex::default(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        *lock(&self.tally)
    }

    fn command_ended(&self, client: u64, fate: Fate) {
        lock(&self.fates[client as usize]).push(fate);
        let mut tally = lock(&self.tally);
        match fate {
            Fate::Acknowledged => tally.acknowledged += 1,
            Fate::Unknown => tally.unknown += 1,
            Fate::Refused => tally.refused += 1,
        }
    }

    /// Reads a key through a member, and notes it; `None` if it was not served.
    pub(super) fn read(
        &self,
        fleet: &Fleet<'_>,
        client: u64,
        member: usize,
        key: u64,
    ) -> Option<Option<u64>> {
        let history = &self.histories[key as usize];
        let line = fleet.line(member);
        let begun = fleet.clock.now();
        let reply = line.map(|line| line.ask(|id| Ask::Read(id, key), PATIENCE));
        let ended = fleet.clock.now();
        let value = match reply {
            Some(Reply::Answer(Answer::Value(_, value))) => Some(value),
            _ => None,
        };
        let mut tally = lock(&self.tally);
        let Some(value) = value else {
            // It changed nothing.
            tally.unread += 1;
            return None;
        };
        tally.reads += 1;
        drop(tally);
        let mut history = lock(history);
        let id = history.begun(client, RegisterOp::Get, begun);
        history.ended(id, RegisterRet::Value(value), ended);
        Some(value)
    }
}

/// A client until it is stopped.
pub(super) fn run(
    number: u64,
    options: &Options,
    fleet: &Fleet<'_>,
    record: &Record,
    stop: &AtomicBool,
) {
    let rng = rng(options.seed).fork(&format!("client {number}"));
    let mut client = Client {
        number,
        rng,
        fleet,
        record,
        home: number as usize % fleet.len(),
        away_until: Instant::now(),
        commands: 0,
        seen: None,
    };
    let pause = u64::try_from(options.pause.as_nanos()).unwrap_or(u64::MAX);
    while !stop.load(Ordering::Relaxed) {
        let went_well = client.operate(options.keys);
        let wait = Duration::from_nanos(client.rng.below(pause));
        thread::sleep(if went_well { wait } else { wait.max(BREATH) });
    }
}

struct Client<'a, 'b> {
    number: u64,
    rng: Rng,
    fleet: &'a Fleet<'b>,
    record: &'a Record,
    /// The member that it uses as long as that works, so that one that hangs holds its own clients only.
    home: usize,
    away_until: Instant,
    /// The number of the next command.
    commands: u64,
    /// A key and its value when it was read last.
    seen: Option<(u64, Option<u64>)>,
}

impl Client<'_, '_> {
    fn member(&mut self) -> usize {
        if Instant::now() >= self.away_until && self.fleet.line(self.home).is_some() {
            return self.home;
        }
        self.rng.below(self.fleet.len() as u64) as usize
    }

    fn operate(&mut self, keys: u64) -> bool {
        let member = self.member();
        let key = self.rng.below(keys);
        let went_well = match self.rng.below(10) {
            0..3 => self.read(member, key),
            // A swap of what was read just now, so that it often succeeds.
            3..5 => match self.seen.take() {
                Some((key, value)) => {
                    let new = self.value();
                    self.execute(member, key, Update::Cas(value, new))
                }
                None => self.read(member, key),
            },
            _ => {
                let value = self.value();
                self.execute(member, key, Update::Put(value))
            }
        };
        if !went_well && member == self.home {
            self.away_until = Instant::now() + ELSEWHERE;
        }
        went_well
    }

    /// A value that nobody else writes.
    const fn value(&self) -> u64 {
        self.number * 1_000_000_000 + self.commands
    }

    fn read(&mut self, member: usize, key: u64) -> bool {
        let value = self.record.read(self.fleet, self.number, member, key);
        self.seen = value.map(|value| (key, value));
        value.is_some()
    }

    fn execute(&mut self, member: usize, key: u64, update: Update) -> bool {
        let Some(line) = self.fleet.line(member) else { return false };
        let (client, number) = (self.number, self.commands);
        self.commands += 1;
        let op = match update {
            Update::Put(value) => RegisterOp::Put(value),
            Update::Cas(expected, new) => RegisterOp::Cas(expected, new),
        };
        let history = &self.record.histories[key as usize];
        let id = lock(history).begun(client, op, self.fleet.clock.now());
        let command = Command { client, number, key, update };
        let reply = line.ask(|id| Ask::Execute(id, command), PATIENCE);
        let now = self.fleet.clock.now();
        let fate = match reply {
            Reply::Answer(Answer::Done(_, swapped)) => {
                lock(&self.fleet.pulse).acknowledged(member, now);
                let ret = match (update, swapped) {
                    (Update::Put(_), _) => Some(RegisterRet::Done),
                    // It is in force, though nobody could say what it did.
                    (Update::Cas(..), swapped) => swapped.map(RegisterRet::Swapped),
                };
                if let Some(ret) = ret {
                    lock(history).ended(id, ret, now);
                }
                Fate::Acknowledged
            }
            Reply::Answer(Answer::Refused(..)) | Reply::NotAsked => {
                lock(history).refused(id);
                Fate::Refused
            }
            Reply::Answer(_) | Reply::Silence => Fate::Unknown,
        };
        self.record.command_ended(client, fate);
        fate == Fate::Acknowledged
    }
}
