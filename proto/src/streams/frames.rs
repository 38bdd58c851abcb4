//! The frames of a stream channel.
//!
//! | kind | from | payload |
//! |---|---|---|
//! | 1 `SUBSCRIBE` | consumer | stream, criteria, window, first grant, where to resume, or how much to replay |
//! | 2 `CREDIT` | consumer | items and payload bytes that may be sent on this channel, in all |
//! | 3 `ACCEPT` | producer | incarnation, sequence number of the first item to come, kind |
//! | 4 `ITEMS` | producer | first sequence number (u64), count (u32), then the batch |

use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Criteria, StreamKind, item};
use crate::{
    ids::StreamId,
    limits,
    wire::{self, DecodeError, Head, header},
};

pub(super) const SUBSCRIBE: u8 = 1;
pub(super) const CREDIT: u8 = 2;
pub(super) const ACCEPT: u8 = 3;
pub(super) const ITEMS: u8 = 4;

/// Bytes in front of the batch in an `ITEMS` frame.
const PREFIX: usize = 12;

/// What a producer may receive (WIRE-03).
pub(super) const fn to_producer(kind: u8) -> Option<u32> {
    match kind {
        SUBSCRIBE => Some(128),
        CREDIT => Some(20),
        _ => None,
    }
}

/// What a consumer may receive (WIRE-03).
pub(super) const fn to_consumer(kind: u8) -> Option<u32> {
    match kind {
        ACCEPT => Some(21),
        ITEMS => Some((PREFIX + item::LONG + limits::ITEM_BYTES) as u32),
        _ => None,
    }
}

/// Items and payload bytes; on the wire always totals of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credit {
    pub(super) items: u64,
    pub(super) bytes: u64,
}

/// A position in a producer's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The producer's incarnation.
    pub(super) incarnation: u64,
    /// The next sequence number within it.
    pub(super) next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscribe {
    pub(super) stream: StreamId,
    pub(super) criteria: Criteria,
    /// The whole window: an item above its bytes may be sent when all of it is free.
    pub(super) window: Credit,
    /// What may be sent before the first `CREDIT`.
    pub(super) grant: Credit,
    /// Where an earlier subscription stopped.
    pub(super) resume: Option<Position>,
    /// Without a place to resume in this incarnation: how many items before the next one.
    pub(super) replay: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accept {
    /// The first item to come.
    pub(super) start: Position,
    pub(super) kind: StreamKind,
}

/// A frame of a message with fixed meaning.
pub(super) fn message<T: Serialize>(kind: u8, message: &T) -> (Head, Bytes) {
    let body = wire::encode(message);
    (Head::new().with(&header(kind, body.len() as u32)), body)
}

pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    wire::decode(payload)
}

/// The head of an `ITEMS` frame whose batch has this many bytes.
pub(super) fn items_head(first: u64, items: u32, batch: usize) -> Head {
    Head::new()
        .with(&header(ITEMS, (PREFIX + batch) as u32))
        .with(&first.to_be_bytes())
        .with(&items.to_be_bytes())
}

/// The parts of an `ITEMS` frame.
pub(super) fn read_items(mut payload: Bytes) -> Result<(u64, u32, Bytes), DecodeError> {
    if payload.len() < PREFIX {
        return Err(DecodeError);
    }
    Ok((payload.get_u64(), payload.get_u32(), payload))
}
