//! Items that say who made them, so that whoever takes them can check.

use std::{fmt, io};

use bytes::Bytes;
use mosaik_driver::Datum;

use crate::checkers::order::{STAMP, Stamp};

/// An item with a stamp, padded to a size. Worlds with [`Options::stamped`](super::Options::stamped)
/// need items of this kind and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Who made it, and which one it is.
    pub stamp: Stamp,
    /// Bytes on the stream, from [`STAMP`] up.
    pub size: usize,
}

impl Datum for Item {
    type EncodeError = io::Error;
    type DecodeError = io::Error;

    fn encode(&self) -> Result<Bytes, io::Error> {
        let mut bytes = Vec::with_capacity(self.size);
        for word in [self.stamp.peer, self.stamp.start, self.stamp.number] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.resize(self.size.max(STAMP), self.stamp.number as u8);
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, io::Error> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let (head, padding) = bytes.split_at_checked(STAMP).ok_or_else(damaged)?;
        let word =
            |at: usize| head[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let stamp = Stamp { peer: word(0), start: word(8), number: word(16) };
        if padding.iter().any(|byte| *byte != stamp.number as u8) {
            return Err(damaged());
        }
        Ok(Self { stamp, size: bytes.len() })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { peer, start, number } = self.stamp;
        write!(f, "item {number} of start {start} of {peer:016x}")
    }
}
