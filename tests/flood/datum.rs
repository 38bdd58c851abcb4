//! Numbered items of a fixed size.

use std::convert::Infallible;

use mosaik::{Bytes, Datum};

/// Bytes of an item.
pub(crate) const BYTES: usize = 1024;

/// An item that is nothing but its number, in many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) u64);

/// These bytes are no item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damaged;

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a damaged item")
    }
}

impl std::error::Error for Damaged {}

impl Datum for Item {
    type EncodeError = Infallible;
    type DecodeError = Damaged;

    fn encode(&self) -> Result<Bytes, Infallible> {
        let mut bytes = vec![self.0 as u8; BYTES];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let (number, rest) = bytes.split_first_chunk().ok_or(Damaged)?;
        let number = u64::from_le_bytes(*number);
        let whole = bytes.len() == BYTES && rest.iter().all(|byte| *byte == number as u8);
        if whole { Ok(Self(number)) } else { Err(Damaged) }
    }
}
