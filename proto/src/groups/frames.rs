//! The frames of group channels.
//!
//! | class | kind | from | payload |
//! |---|---|---|---|
//! | any | 1 `OPEN` | opener, first | group, class, serial; on a bond also what `ANNOUNCE` has |
//! | bond | 2 `ANNOUNCE` | both | proof, announcement |
//! | bond | 3 `READY` | opener, once | nothing |
//! | bond | 4 `RAFT` | both | announcements heard, a message without entries |
//! | bond | 5 `APPEND` | both | length of the heads, announcements heard, the heads of message and runs, the runs |
//! | bond | 6 `DIGEST` | both | lineage, entry, digest |
//! | bond | 7 `TOLD` | both | one of [`Told`] |
//! | commands | 16 `COMMANDS` | opener | lineage, session, number, count, attempt, then the commands |
//! | commands | 17 `OPEN_SESSION` | opener | lineage, nonce, attempt |
//! | commands | 18 `TAKEN` | acceptor | lineage, number, attempt, place |
//! | commands | 19 `REFUSED` | acceptor | lineage, number, attempt, reason |
//! | snapshot | 32 `FETCH_MANIFEST` | opener | nothing |
//! | snapshot | 33 `MANIFEST` | acceptor | what can be fetched, or nothing |
//! | snapshot | 34 `FETCH_CHUNK` | opener | last entry, digest, number |
//! | snapshot | 35 `CHUNK` | acceptor | number, then the bytes |
//! | snapshot | 36 `NO_CHUNK` | acceptor | number |

mod raft;

use alloc::{boxed::Box, vec::Vec};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::raft::{sensible, sensible_number};
use super::{Index, intake::Why};
use crate::{
    Digest,
    ids::{GroupId, PeerId},
    limits,
    raft::{Lineage, LogIndex, Message, Position, SeatId, Snapshot, Term},
    streams::item,
    wire::{self, DecodeError, HEADER_LEN, Head, header},
};

pub(super) const OPEN: u8 = 1;
pub(super) const ANNOUNCE: u8 = 2;
pub(super) const READY: u8 = 3;
const RAFT: u8 = 4;
const APPEND: u8 = 5;
const DIGEST: u8 = 6;
const TOLD: u8 = 7;
const COMMANDS: u8 = 16;
const OPEN_SESSION: u8 = 17;
const TAKEN: u8 = 18;
const REFUSED: u8 = 19;
const FETCH_MANIFEST: u8 = 32;
const MANIFEST: u8 = 33;
const FETCH_CHUNK: u8 = 34;
const CHUNK: u8 = 35;
const NO_CHUNK: u8 = 36;

/// Bytes of a proof.
pub(super) const PROOF: usize = 32;
/// The longest head of a run: term, count, kind, session, number, length.
const RUN_HEAD: usize = 10 + 5 + 1 + 10 + 10 + 5;
/// The longest of what an `APPEND` has in front of its runs.
const APPEND_HEADS: usize = 96 + limits::APPEND_RUNS * RUN_HEAD;
/// One entry of the largest command, with its length.
const LARGEST_ENTRY: usize = item::LONG + limits::COMMAND_BYTES;
/// Places and numbers of peers are below this, so that no sum of ours overflows.
const SENSIBLE: u64 = 1 << 62;

/// What a channel of a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Class {
    /// Announcements and Raft.
    Bond,
    /// Commands that are forwarded, and the answers.
    Commands,
    /// Snapshots that are fetched.
    Snapshot,
}

/// The beginning of a channel. On a bond an announcement with its proof follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) group: GroupId,
    pub(super) class: Class,
    /// Rises with every channel that the sender opens: a late `OPEN` is told from a new one.
    pub(super) serial: u64,
}

/// What a member says of itself, when a bond begins and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// The history that it takes part in, or copies.
    pub(super) lineage: Option<Lineage>,
    /// Its store.
    pub(super) seat: SeatId,
    /// The number of this start of the store.
    pub(super) boot: u64,
    /// Random, new with every start of the process: tells two starts with one boot number apart.
    pub(super) start: u64,
    /// It may vote and lead.
    pub(super) can_vote: bool,
    /// It is a voter by its own log.
    pub(super) holds: bool,
    /// It leads that lineage.
    pub(super) leads: bool,
    /// Whom it follows.
    pub(super) follows: Option<PeerId>,
    /// The lineage never yields.
    pub(super) established: bool,
    /// Commands in its log. Exact while the lineage may yield, or no leader is known.
    pub(super) commands: u64,
    /// The end of its log, when it lost its leader.
    pub(super) end: Position,
    /// The lineage that this one was made from, because it could not go on.
    pub(super) parent: Option<Lineage>,
    /// It has left the group: nothing more comes.
    pub(super) left: bool,
}

/// Something that one member tells another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Told {
    /// Your store is an older copy of itself: begin anew.
    RolledBack,
    /// Your state behind this entry is not mine, and a majority has mine.
    Diverged { lineage: Lineage, at: LogIndex },
}

/// What can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The sender's term: it knows that what the snapshot covers is committed (GRP-47).
    pub(super) term: Term,
    /// What it covers.
    pub(super) snapshot: Snapshot,
    /// The length of the core's part.
    pub(super) head: u32,
    /// Its size.
    pub(super) bytes: u64,
    /// The digest of its bytes.
    pub(super) digest: Digest,
}

impl Manifest {
    /// True if it is what a member may send.
    fn is_sound(&self) -> bool {
        let Snapshot { last, membership, commands, .. } = &self.snapshot;
        sensible_number(last.index.0.max(*commands)).is_ok()
            && membership.is_sound()
            && u64::from(self.head) <= self.bytes
    }
}

/// What bonded members say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Raft.
    Raft {
        /// The history that it is about: on both ends that of both last announcements.
        lineage: Lineage,
        /// The other end's seat: to whom it is sent, from whom it came.
        seat: SeatId,
        message: Message,
    },
    /// The state behind an entry has this digest.
    Digest { lineage: Lineage, at: LogIndex, digest: Digest },
    /// See [`Told`].
    Told(Told),

    /// To the leader: append these, or, without any, an entry that uses up their numbers.
    Commands { lineage: Lineage, session: u64, number: u64, count: u32, attempt: u64, data: Bytes },
    /// To the leader: open a session for me.
    OpenSession { lineage: Lineage, nonce: u64, attempt: u64 },
    /// They are in the leader's log, the first at this place if it is a command and remembered.
    Taken { lineage: Lineage, number: u64, attempt: u64, index: Option<Index> },
    /// They are not; nor is a session opened.
    Refused { lineage: Lineage, number: u64, attempt: u64, why: Why },

    /// What can be fetched from you?
    FetchManifest,
    /// That, or nothing.
    Manifest(Option<Box<Manifest>>),
    /// Send this chunk of the snapshot that ends at `last` and has this digest.
    FetchChunk { last: LogIndex, digest: Digest, chunk: u64 },
    /// The chunk.
    Chunk { chunk: u64, data: Bytes },
    /// It cannot be had here.
    NoChunk { chunk: u64 },
}

impl Frame {
    /// On which channels it travels.
    pub(super) const fn class(&self) -> Class {
        match self {
            Self::Raft { .. } | Self::Digest { .. } | Self::Told(_) => Class::Bond,
            Self::Commands { .. }
            | Self::OpenSession { .. }
            | Self::Taken { .. }
            | Self::Refused { .. } => Class::Commands,
            Self::FetchManifest
            | Self::Manifest(_)
            | Self::FetchChunk { .. }
            | Self::Chunk { .. }
            | Self::NoChunk { .. } => Class::Snapshot,
        }
    }

    /// True if it is an answer: it goes back on the channel of the question.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Taken { .. }
                | Self::Refused { .. }
                | Self::Manifest(_)
                | Self::Chunk { .. }
                | Self::NoChunk { .. }
        )
    }
}

/// What may come on a channel, by its class, to the end that accepted it or to that which opened it
/// (WIRE-03).
pub(super) fn limit(class: Class, accepted: bool, kind: u8) -> Option<u32> {
    let limit = match (class, accepted, kind) {
        (Class::Bond, _, ANNOUNCE) => PROOF + 160,
        (Class::Bond, true, READY) | (Class::Snapshot, true, FETCH_MANIFEST) => 0,
        (Class::Bond, _, RAFT | DIGEST | TOLD) => 96,
        (Class::Bond, _, APPEND) => APPEND_HEADS + limits::APPEND_BYTES + LARGEST_ENTRY,
        (Class::Commands, true, COMMANDS) => 64 + limits::APPEND_BYTES + LARGEST_ENTRY,
        (Class::Commands, true, OPEN_SESSION) => 48,
        (Class::Commands, false, TAKEN | REFUSED) => 64,
        (Class::Snapshot, true, FETCH_CHUNK) => 64,
        (Class::Snapshot, false, MANIFEST) => 128 + 2 * limits::VOTERS * 48,
        (Class::Snapshot, false, CHUNK) => 16 + limits::SNAPSHOT_CHUNK,
        (Class::Snapshot, false, NO_CHUNK) => 16,
        _ => return None,
    };
    Some(limit as u32)
}

/// What may come first on a channel that a peer opened.
pub(super) fn opening_limit(kind: u8) -> Option<u32> {
    (kind == OPEN).then_some((64 + PROOF + 160) as u32)
}

// --- writing ---------------------------------------------------------------------------------

/// The writes of one frame, in order.
pub(super) trait Sink {
    fn write(&mut self, head: Head, body: Bytes);
}

impl<F: FnMut(Head, Bytes)> Sink for F {
    fn write(&mut self, head: Head, body: Bytes) {
        self(head, body);
    }
}

/// Writes a frame whose payload is `heads`, then `body`.
///
/// Short heads travel inline, in front of the body or in a write of their own: what Raft sends most is
/// written without an allocation.
fn put(kind: u8, heads: &[u8], body: Bytes, sink: &mut impl Sink) {
    const INLINE: usize = Head::CAPACITY - HEADER_LEN;
    let head = Head::new().with(&header(kind, (heads.len() + body.len()) as u32));
    if heads.len() <= INLINE {
        sink.write(head.with(heads), body);
    } else if body.is_empty() {
        sink.write(head, Bytes::copy_from_slice(heads));
    } else if heads.len() <= INLINE + Head::CAPACITY {
        let (first, second) = heads.split_at(INLINE);
        sink.write(head.with(first), Bytes::new());
        sink.write(Head::new().with(second), body);
    } else {
        sink.write(head, Bytes::copy_from_slice(heads));
        sink.write(Head::new(), body);
    }
}

fn encode(scratch: &mut Vec<u8>, value: &impl Serialize) {
    scratch.clear();
    wire::encode_into(value, scratch);
}

/// Writes the first frame of a channel; `sealed` is a proof and an announcement, on a bond.
pub(super) fn put_open(open: &Open, sealed: &[u8], scratch: &mut Vec<u8>, sink: &mut impl Sink) {
    encode(scratch, open);
    scratch.extend_from_slice(sealed);
    put(OPEN, scratch, Bytes::new(), sink);
}

/// Writes a proof and an announcement.
pub(super) fn put_announce(sealed: &[u8], sink: &mut impl Sink) {
    put(ANNOUNCE, sealed, Bytes::new(), sink);
}

/// Writes that the opener takes the acceptor's announcement.
pub(super) fn put_ready(sink: &mut impl Sink) {
    put(READY, &[], Bytes::new(), sink);
}

/// Writes a frame. `heard` is the number of the other end's last announcement.
pub(super) fn put_frame(frame: &Frame, heard: u32, scratch: &mut Vec<u8>, sink: &mut impl Sink) {
    let (kind, body) = match frame {
        Frame::Raft { message: Message::Append(append), .. } => {
            return raft::put_append(append, heard, scratch, sink);
        }
        Frame::Raft { message, .. } => {
            encode(scratch, &heard);
            raft::encode(message, scratch);
            (RAFT, Bytes::new())
        }
        Frame::Digest { lineage, at, digest } => {
            encode(scratch, &(lineage, at, digest));
            (DIGEST, Bytes::new())
        }
        Frame::Told(told) => {
            encode(scratch, told);
            (TOLD, Bytes::new())
        }
        Frame::Commands { lineage, session, number, count, attempt, data } => {
            encode(scratch, &(lineage, session, number, count, attempt));
            (COMMANDS, data.clone())
        }
        Frame::OpenSession { lineage, nonce, attempt } => {
            encode(scratch, &(lineage, nonce, attempt));
            (OPEN_SESSION, Bytes::new())
        }
        Frame::Taken { lineage, number, attempt, index } => {
            encode(scratch, &(lineage, number, attempt, index));
            (TAKEN, Bytes::new())
        }
        Frame::Refused { lineage, number, attempt, why } => {
            encode(scratch, &(lineage, number, attempt, why));
            (REFUSED, Bytes::new())
        }
        Frame::FetchManifest => {
            scratch.clear();
            (FETCH_MANIFEST, Bytes::new())
        }
        Frame::Manifest(manifest) => {
            encode(scratch, manifest);
            (MANIFEST, Bytes::new())
        }
        Frame::FetchChunk { last, digest, chunk } => {
            encode(scratch, &(last, digest, chunk));
            (FETCH_CHUNK, Bytes::new())
        }
        Frame::Chunk { chunk, data } => {
            encode(scratch, chunk);
            (CHUNK, data.clone())
        }
        Frame::NoChunk { chunk } => {
            encode(scratch, chunk);
            (NO_CHUNK, Bytes::new())
        }
    };
    put(kind, scratch, body, sink);
}

// --- reading ---------------------------------------------------------------------------------

/// A frame as it came, before the bond says for whom it was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message of Raft, sent when this announcement of ours was the last one known.
    Raft { heard: u32, message: Message },
    /// Anything else.
    Frame(Frame),
}

/// The parts of an `OPEN`: what it opens, and the proof and announcement on a bond.
pub(super) fn read_open(payload: &Bytes) -> Result<(Open, Bytes), DecodeError> {
    first(payload)
}

/// The parts of what was sealed: the proof, and the announcement's bytes, over which it was made.
pub(super) fn read_sealed(sealed: &[u8]) -> Result<([u8; PROOF], &[u8]), DecodeError> {
    let (proof, announcement) = sealed.split_at_checked(PROOF).ok_or(DecodeError)?;
    Ok((proof.try_into().map_err(|_| DecodeError)?, announcement))
}

/// A frame of any kind but `OPEN`, `ANNOUNCE` and `READY`, which bonds keep to themselves.
pub(super) fn read(kind: u8, payload: &Bytes) -> Result<Heard, DecodeError> {
    Ok(Heard::Frame(match kind {
        RAFT => {
            let (heard, rest) = wire::decode_first::<u32>(payload)?;
            return Ok(Heard::Raft { heard, message: raft::read(rest)? });
        }
        APPEND => return raft::read_append(payload.clone()),
        DIGEST => {
            let (lineage, at, digest) = wire::decode(payload)?;
            Frame::Digest { lineage, at: sensible(at)?, digest }
        }
        TOLD => Frame::Told(wire::decode(payload)?),
        COMMANDS => {
            let ((lineage, session, number, count, attempt), data) = first(payload)?;
            let (session, number) = (sensible_number(session)?, sensible_number(number)?);
            Frame::Commands { lineage, session, number, count, attempt, data }
        }
        OPEN_SESSION => {
            let (lineage, nonce, attempt) = wire::decode(payload)?;
            Frame::OpenSession { lineage, nonce, attempt }
        }
        TAKEN => {
            let (lineage, number, attempt, index) =
                wire::decode::<(_, _, _, Option<Index>)>(payload)?;
            index.map_or(Ok(0), |index| sensible_number(index.0))?;
            Frame::Taken { lineage, number: sensible_number(number)?, attempt, index }
        }
        REFUSED => {
            let (lineage, number, attempt, why) = wire::decode(payload)?;
            Frame::Refused { lineage, number: sensible_number(number)?, attempt, why }
        }
        FETCH_MANIFEST => Frame::FetchManifest,
        MANIFEST => {
            let manifest: Option<Box<Manifest>> = wire::decode(payload)?;
            if !manifest.iter().all(|manifest| manifest.is_sound()) {
                return Err(DecodeError);
            }
            Frame::Manifest(manifest)
        }
        FETCH_CHUNK => {
            let (last, digest, chunk) = wire::decode(payload)?;
            Frame::FetchChunk { last, digest, chunk: sensible_number(chunk)? }
        }
        CHUNK => {
            let (chunk, data) = first(payload)?;
            Frame::Chunk { chunk, data }
        }
        NO_CHUNK => Frame::NoChunk { chunk: wire::decode(payload)? },
        _ => return Err(DecodeError),
    }))
}

/// A value, and what follows it as a slice of the same memory.
fn first<T: DeserializeOwned>(payload: &Bytes) -> Result<(T, Bytes), DecodeError> {
    let (value, rest) = wire::decode_first(payload)?;
    Ok((value, payload.slice(payload.len() - rest.len()..)))
}

#[cfg(test)]
mod tests;
