//! Items in a batch: each with its length in front.
//!
//! ```text
//! length < 32,768:   0lllllll llllllll            payload
//! any length:        1lllllll llllllll llllllll llllllll   payload     (big-endian, 31 bits)
//! ```
//!
//! A sender may use the long form for short items; it reserves the form before it knows the
//! length.

use bytes::{BufMut, Bytes};

/// Bytes of the short form.
pub const SHORT: usize = 2;
/// Bytes of the long form.
pub const LONG: usize = 4;
/// The first length that needs the long form.
pub const LONG_FROM: usize = 0x8000;

/// The batch is not a sequence of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch is not a sequence of whole items")]
pub struct MalformedBatch;

/// The length in front of an item, in its short form.
#[must_use]
pub const fn short(length: usize) -> Option<[u8; SHORT]> {
    if length < LONG_FROM { Some((length as u16).to_be_bytes()) } else { None }
}

/// The length in front of an item, in its long form.
#[must_use]
pub const fn long(length: usize) -> [u8; LONG] {
    (length as u32 | 0x8000_0000).to_be_bytes()
}

/// Appends an item to a batch, as [`Event::Offer`](crate::node::Event::Offer) takes it.
pub fn append(batch: &mut impl BufMut, payload: &[u8]) {
    match short(payload.len()) {
        Some(length) => batch.put_slice(&length),
        None => batch.put_slice(&long(payload.len())),
    }
    batch.put_slice(payload);
}

/// The position and length of the item's payload at `at`.
///
/// # Errors
/// [`MalformedBatch`] if no whole item starts there.
#[inline]
pub fn locate(batch: &[u8], at: usize) -> Result<(usize, usize), MalformedBatch> {
    let (start, length) = match batch.get(at..) {
        Some([first, second, ..]) if first & 0x80 == 0 => {
            (at + SHORT, usize::from(u16::from_be_bytes([*first, *second])))
        }
        Some([first, b, c, d, ..]) => {
            (at + LONG, u32::from_be_bytes([first & 0x7f, *b, *c, *d]) as usize)
        }
        _ => return Err(MalformedBatch),
    };
    if batch.len() - start < length {
        return Err(MalformedBatch);
    }
    Ok((start, length))
}

/// The items of a batch.
#[derive(Clone, Debug)]
pub struct Items {
    batch: Bytes,
    at: usize,
}

impl Items {
    /// Iterates over a batch.
    #[must_use]
    pub const fn new(batch: Bytes) -> Self {
        Self { batch, at: 0 }
    }
}

impl Iterator for Items {
    type Item = Result<Bytes, MalformedBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.batch.len() {
            return None;
        }
        Some(locate(&self.batch, self.at).map(|(start, length)| {
            self.at = start + length;
            self.batch.slice(start..self.at)
        }))
    }
}

/// How many items, and which payload bytes, fit into a prefix of a batch within a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Items.
    pub items: u32,
    /// Their payload bytes.
    pub payload: u64,
    /// Bytes of the batch, lengths included.
    pub end: usize,
}

/// The longest prefix of `batch` from `at` with at most `items` items, `payload` payload bytes and
/// `bytes` bytes.
///
/// # Errors
/// [`MalformedBatch`] if the batch ends within an item.
pub fn prefix(
    batch: &[u8],
    at: usize,
    items: u64,
    payload: u64,
    bytes: usize,
) -> Result<Prefix, MalformedBatch> {
    let mut prefix = Prefix { end: at, ..Prefix::default() };
    while prefix.end < batch.len() && u64::from(prefix.items) < items {
        let (start, length) = locate(batch, prefix.end)?;
        if prefix.payload + length as u64 > payload || start + length - at > bytes {
            break;
        }
        prefix.items += 1;
        prefix.payload += length as u64;
        prefix.end = start + length;
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn batch(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in lengths {
            append(&mut bytes, &alloc::vec![7; *length]);
        }
        bytes
    }

    #[test]
    fn lengths_round_trip_in_both_forms() {
        let lengths = [0, 1, 127, 128, 32_767, 32_768, 100_000];
        let bytes = Bytes::from(batch(&lengths));
        let got: Vec<_> = Items::new(bytes).map(|item| item.unwrap().len()).collect();
        assert_eq!(got, lengths);
        assert_eq!(locate(&long(1), 0), Err(MalformedBatch), "cut off");
        assert_eq!(locate(&[&long(1)[..], &[9]].concat(), 0), Ok((4, 1)));
        assert_eq!(locate(&[], 0), Err(MalformedBatch));
        assert_eq!(locate(&[0x80, 0], 0), Err(MalformedBatch));
    }

    #[test]
    fn prefixes_respect_every_budget() {
        let bytes = batch(&[10, 10, 10]);
        let at = |items, payload, bytes_max| prefix(&bytes, 0, items, payload, bytes_max).unwrap();
        assert_eq!(at(9, 99, 99).items, 3);
        assert_eq!(at(2, 99, 99), Prefix { items: 2, payload: 20, end: 24 });
        assert_eq!(at(9, 19, 99).items, 1);
        assert_eq!(at(9, 99, 23).items, 1);
        assert_eq!(prefix(&bytes, 24, 9, 9, 99).unwrap().items, 0);
    }
}
