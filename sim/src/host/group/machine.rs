//! A machine: registers, and a record of everything that was applied to them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use mosaik_proto::{Digest, groups::Index, wire};

/// What a client can do to a register besides reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Hold this.
    Put(u64),
    /// Hold the second if you hold the first.
    Cas(Option<u64>, u64),
}

/// A command as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Names it in the whole world.
    pub(crate) id: u64,
    pub(crate) key: u8,
    pub(crate) op: Op,
}

/// Name, register, what it must hold for a [`Op::Cas`], the new value.
type Encoded = (u64, u8, Option<Option<u64>>, u64);

impl Command {
    /// Its bytes, with so many more behind it.
    pub(crate) fn encode(&self, padding: usize) -> Bytes {
        let (expected, value) = match self.op {
            Op::Put(value) => (None, value),
            Op::Cas(expected, value) => (Some(expected), value),
        };
        let mut bytes = BytesMut::from(&*wire::encode(&(self.id, self.key, expected, value)));
        bytes.put_bytes(self.id as u8, padding);
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let ((id, key, expected, value), _) = wire::decode_first::<Encoded>(bytes).ok()?;
        let op = expected.map_or(Op::Put(value), |expected| Op::Cas(expected, value));
        Some(Self { id, key, op })
    }
}

/// The machine. Two that applied the same are equal to the last byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    registers: BTreeMap<u8, u64>,
    /// The last command applied, void ones included.
    applied: u64,
    /// A hash over all of them, in their order.
    chain: [u8; 32],
    /// Which they were.
    ids: BTreeSet<u64>,
}

impl Machine {
    /// Applies the command at a place; `Ok` says if it changed anything.
    ///
    /// # Errors
    /// If the place is not the next, or the command was applied before.
    pub(crate) fn apply(&mut self, at: Index, bytes: &[u8]) -> Result<bool, String> {
        self.step(at, bytes)?;
        let command = Command::decode(bytes).ok_or_else(|| format!("no command at {at}"))?;
        if !self.ids.insert(command.id) {
            return Err(format!("command {} is applied a second time, at {at}", command.id));
        }
        let register = self.registers.get(&command.key).copied();
        Ok(match command.op {
            Op::Put(value) => {
                self.registers.insert(command.key, value);
                true
            }
            Op::Cas(expected, value) if register == expected => {
                self.registers.insert(command.key, value);
                true
            }
            Op::Cas(..) => false,
        })
    }

    /// Counts a place that holds nothing.
    ///
    /// # Errors
    /// If the place is not the next.
    pub(crate) fn skip(&mut self, at: Index) -> Result<(), String> {
        self.step(at, b"void")
    }

    fn step(&mut self, at: Index, bytes: &[u8]) -> Result<(), String> {
        if at.0 != self.applied + 1 {
            return Err(format!("{at} is applied behind {}", self.applied));
        }
        self.applied = at.0;
        let chain = Digest::from_bytes(self.chain).derive(at.0.to_be_bytes()).derive(bytes);
        self.chain = *chain.as_bytes();
        Ok(())
    }

    pub(crate) fn read(&self, key: u8) -> Option<u64> {
        self.registers.get(&key).copied()
    }

    /// How many commands were applied.
    pub(crate) const fn applied(&self) -> Index {
        Index(self.applied)
    }

    pub(crate) fn has(&self, command: u64) -> bool {
        self.ids.contains(&command)
    }

    /// Speaks for everything that was applied.
    pub(crate) const fn digest(&self) -> Digest {
        Digest::from_bytes(self.chain)
    }

    pub(crate) fn encode(&self) -> Bytes {
        wire::encode(&(&self.registers, self.applied, self.chain, &self.ids))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (registers, applied, chain, ids) = wire::decode(bytes).ok()?;
        Some(Self { registers, applied, chain, ids })
    }
}
