//! Raft's messages on the wire.

use alloc::vec::Vec;
use core::mem;

use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize};

use super::{APPEND, Heard, SENSIBLE, Sink, put};
use crate::{
    limits,
    raft::{Ack, Append, Kind, LogIndex, Message, Origin, Outcome, Position, Run, Term},
    wire::{self, DecodeError, HEADER_LEN, Head, header},
};

/// Runs below so many bytes are copied into one write: a write of its own costs more than that, and
/// who catches a member up on single commands has tens of thousands in one step (INV-NODE-2).
pub(super) const SHARED: usize = 512;

/// The head of an append: everything but its runs.
#[derive(Serialize, Deserialize)]
pub(super) struct AppendHead {
    pub(super) heard: u32,
    pub(super) term: Term,
    pub(super) prev: Position,
    pub(super) commit: LogIndex,
    pub(super) round: u64,
}

/// The head of a run. The first begins behind `prev`, each other behind the one before it.
#[derive(Serialize, Deserialize)]
pub(super) struct RunHead {
    pub(super) term: Term,
    pub(super) count: u32,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    pub(super) length: u32,
}

/// The bytes of the runs are shared, not copied, but for small ones (GRP-08).
pub(super) fn put_append(append: &Append, heard: u32, scratch: &mut Vec<u8>, sink: &mut impl Sink) {
    let Append { term, prev, ref runs, commit, round } = *append;
    debug_assert!(runs.len() <= limits::APPEND_RUNS, "the receiver would refuse it");
    scratch.clear();
    scratch.extend_from_slice(&[0; 4]);
    wire::encode_into(&AppendHead { heard, term, prev, commit, round }, scratch);
    let mut bytes = 0;
    for run in runs {
        let Run { term, first: _, count, kind, origin, ref data } = *run;
        let length = data.len() as u32;
        bytes += data.len();
        wire::encode_into(&RunHead { term, count, kind, origin, length }, scratch);
    }
    let heads = (scratch.len() - 4) as u32;
    scratch[..4].copy_from_slice(&heads.to_be_bytes());
    if let [run] = &runs[..] {
        return put(APPEND, scratch, run.data.clone(), sink);
    }
    let head = Head::new().with(&header(APPEND, (scratch.len() + bytes) as u32));
    if scratch.len() <= Head::CAPACITY - HEADER_LEN {
        sink.write(head.with(scratch), Bytes::new());
    } else {
        sink.write(head, Bytes::copy_from_slice(scratch));
    }
    let mut small = Vec::new();
    for run in runs {
        if run.data.len() < SHARED {
            small.extend_from_slice(&run.data);
            continue;
        }
        if !small.is_empty() {
            sink.write(Head::new(), mem::take(&mut small).into());
        }
        sink.write(Head::new(), run.data.clone());
    }
    if !small.is_empty() {
        sink.write(Head::new(), small.into());
    }
}

pub(super) fn encode(message: &Message, into: &mut Vec<u8>) {
    match *message {
        Message::PreVote { term, last } => wire::encode_into(&(0u8, term, last), into),
        Message::PreVoteReply { term, granted } => wire::encode_into(&(1u8, term, granted), into),
        Message::Vote { term, last, transfer } => {
            wire::encode_into(&(2u8, term, last, transfer), into);
        }
        Message::VoteReply { term, granted } => wire::encode_into(&(3u8, term, granted), into),
        Message::Ack(ack) => wire::encode_into(&(4u8, ack), into),
        Message::Commit { term, commit } => wire::encode_into(&(5u8, term, commit), into),
        Message::Behind { term, round, base } => {
            wire::encode_into(&(6u8, term, round, base), into);
        }
        Message::Campaign { term } => wire::encode_into(&(7u8, term), into),
        Message::Read { term, id } => wire::encode_into(&(8u8, term, id), into),
        Message::ReadReply { term, id, index } => {
            wire::encode_into(&(9u8, term, id, index), into);
        }
        Message::Append(_) => unreachable!("it has a frame of its own"),
    }
}

pub(super) fn sensible_number(number: u64) -> Result<u64, DecodeError> {
    if number < SENSIBLE { Ok(number) } else { Err(DecodeError) }
}

pub(super) fn sensible(index: LogIndex) -> Result<LogIndex, DecodeError> {
    sensible_number(index.0).map(LogIndex)
}

fn sensible_position(position: Position) -> Result<Position, DecodeError> {
    sensible(position.index).map(|_| position)
}

fn sensible_ack(ack: Ack) -> Result<Ack, DecodeError> {
    match ack.outcome {
        Outcome::Matched { received, durable } => sensible(received.max(durable))?,
        Outcome::Conflict { at, hint } => sensible(at.max(hint.index))?,
    };
    Ok(ack)
}

/// GRP-08: nothing is allocated for an announced number; runs are read until their heads end.
pub(super) fn read_append(mut payload: Bytes) -> Result<Heard, DecodeError> {
    if payload.len() < 4 {
        return Err(DecodeError);
    }
    let length = payload.get_u32() as usize;
    if length > payload.len() {
        return Err(DecodeError);
    }
    let heads = payload.split_to(length);
    let (head, mut heads) = wire::decode_first::<AppendHead>(&heads)?;
    let AppendHead { heard, term, prev, commit, round } = head;
    let mut next = sensible_position(prev)?.index.0 + 1;
    let mut runs = Vec::new();
    while !heads.is_empty() {
        let (RunHead { term, count, kind, origin, length }, rest) = wire::decode_first(heads)?;
        let length = length as usize;
        if length > payload.len() || runs.len() >= limits::APPEND_RUNS || next >= SENSIBLE {
            return Err(DecodeError);
        }
        sensible_number(origin.session.max(origin.number))?;
        let data = payload.split_to(length);
        runs.push(Run { term, first: LogIndex(next), count, kind, origin, data });
        next += u64::from(count);
        heads = rest;
    }
    if !payload.is_empty() {
        return Err(DecodeError);
    }
    let message = Message::Append(Append { term, prev, runs, commit: sensible(commit)?, round });
    Ok(Heard::Raft { heard, message })
}

pub(super) fn read(bytes: &[u8]) -> Result<Message, DecodeError> {
    let (tag, rest) = bytes.split_first().ok_or(DecodeError)?;
    Ok(match tag {
        0 => {
            let (term, last) = wire::decode(rest)?;
            Message::PreVote { term, last: sensible_position(last)? }
        }
        1 => {
            let (term, granted) = wire::decode(rest)?;
            Message::PreVoteReply { term, granted }
        }
        2 => {
            let (term, last, transfer) = wire::decode(rest)?;
            Message::Vote { term, last: sensible_position(last)?, transfer }
        }
        3 => {
            let (term, granted) = wire::decode(rest)?;
            Message::VoteReply { term, granted }
        }
        4 => Message::Ack(sensible_ack(wire::decode(rest)?)?),
        5 => {
            let (term, commit) = wire::decode(rest)?;
            Message::Commit { term, commit: sensible(commit)? }
        }
        6 => {
            let (term, round, base) = wire::decode(rest)?;
            Message::Behind { term, round, base: sensible_position(base)? }
        }
        7 => Message::Campaign { term: wire::decode(rest)? },
        8 => {
            let (term, id) = wire::decode(rest)?;
            Message::Read { term, id }
        }
        9 => {
            let (term, id, index) = wire::decode(rest)?;
            Message::ReadReply { term, id, index: sensible(index)? }
        }
        _ => return Err(DecodeError),
    })
}
