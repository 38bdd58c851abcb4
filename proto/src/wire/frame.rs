//! Frames: cutting them out of chunks, and the header that precedes one.

use core::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits;

/// Bytes before the payload of a frame: kind and length.
pub const HEADER_LEN: usize = 5;

/// A frame with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is, by the table of the channel's protocol.
    pub kind: u8,
    /// The payload.
    pub payload: Bytes,
}

/// The header of a frame with this payload length.
#[must_use]
pub const fn header(kind: u8, length: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind, a, b, c, d]
}

/// The stream of bytes is not a stream of allowed frames. The channel cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The protocol has no frames of this kind.
    #[error("frame kind {0} is unknown")]
    UnknownKind(u8),
    /// The announced length is above the limit of the kind. Nothing was allocated for it.
    #[error("frame of kind {kind} announces {length} bytes, above its limit of {limit}")]
    TooLong {
        /// The kind of the frame.
        kind: u8,
        /// What was announced.
        length: u32,
        /// What is allowed.
        limit: u32,
    },
}

/// Cuts frames out of chunks that arrive cut anywhere.
///
/// A payload inside one chunk is passed on without a copy. Otherwise it is put together in a
/// buffer that starts at the size of the largest frame that this channel really delivered so far,
/// and grows with what comes: four bytes cannot make us allocate what they announce.
#[derive(Debug, Default)]
pub struct FrameReader {
    header: [u8; HEADER_LEN],
    header_len: usize,
    body: BytesMut,
    largest: usize,
}

impl FrameReader {
    /// A reader at the start of a frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `chunk`, until a frame is complete or the chunk is used up.
    /// `limit` gives the longest payload of a kind, or `None` for kinds that do not exist.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the header shows it. The reader must not be used afterwards.
    pub fn read(
        &mut self,
        chunk: &mut Bytes,
        limit: impl Fn(u8) -> Option<u32>,
    ) -> Result<Option<Frame>, FrameError> {
        if self.header_len < HEADER_LEN {
            let taken = chunk.len().min(HEADER_LEN - self.header_len);
            chunk.copy_to_slice(&mut self.header[self.header_len..self.header_len + taken]);
            self.header_len += taken;
            if self.header_len < HEADER_LEN {
                return Ok(None);
            }
            self.check_header(limit)?;
        }
        let [kind, length @ ..] = self.header;
        let length = u32::from_be_bytes(length) as usize;
        let payload = if self.body.is_empty() && chunk.len() >= length {
            chunk.split_to(length)
        } else {
            if self.body.capacity() == 0 {
                self.body.reserve(length.min(self.largest));
            }
            let taken = chunk.len().min(length - self.body.len());
            self.body.extend_from_slice(&chunk[..taken]);
            chunk.advance(taken);
            if self.body.len() < length {
                return Ok(None);
            }
            core::mem::take(&mut self.body).freeze()
        };
        self.header_len = 0;
        // Twice, because a full batch is the first that exceeds the bound.
        self.largest = self.largest.max(length).min(2 * limits::BATCH_BYTES as usize);
        Ok(Some(Frame { kind, payload }))
    }

    /// The bytes held for a frame that is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.header_len + self.body.len()
    }

    fn check_header(&self, limit: impl Fn(u8) -> Option<u32>) -> Result<(), FrameError> {
        let [kind, length @ ..] = self.header;
        let length = u32::from_be_bytes(length);
        match limit(kind) {
            None => Err(FrameError::UnknownKind(kind)),
            Some(limit) if length > limit => Err(FrameError::TooLong { kind, length, limit }),
            Some(_) => Ok(()),
        }
    }
}

/// The few bytes in front of a shared body: frame header and fixed prefix, kept inline so that a
/// write to N channels allocates nothing per channel.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    len: u8,
    bytes: [u8; Self::CAPACITY],
}

impl Head {
    /// The most bytes that a head holds.
    pub const CAPACITY: usize = 31;

    /// An empty head.
    #[must_use]
    pub const fn new() -> Self {
        Self { len: 0, bytes: [0; Self::CAPACITY] }
    }

    /// The head with `bytes` appended.
    ///
    /// # Panics
    /// Above [`Self::CAPACITY`] bytes.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
        self
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True without bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&crate::ids::Hex(self.as_slice()), f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn limit(kind: u8) -> Option<u32> {
        (kind < 4).then_some(1000)
    }

    proptest! {
        /// WIRE-02: how the bytes are cut into chunks makes no difference.
        #[test]
        fn wire_02_cuts_do_not_matter(
            frames in proptest::collection::vec((0u8..4, proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in proptest::collection::vec(1usize..40, 1..200),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                bytes.extend(header(*kind, payload.len() as u32));
                bytes.extend(payload);
            }
            let mut rest = Bytes::from(bytes);
            let mut reader = FrameReader::new();
            let mut got = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let mut chunk = rest.split_to(rest.len().min(*cuts.next().unwrap()));
                while let Some(frame) = reader.read(&mut chunk, limit).unwrap() {
                    got.push((frame.kind, frame.payload.to_vec()));
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(reader.held(), 0);
        }
    }

    #[test]
    fn wire_03_an_announced_length_allocates_nothing() {
        let mut reader = FrameReader::new();
        let mut chunk = Bytes::from_static(&[1, 0, 0, 3, 0xe8, 42]);
        assert_eq!(reader.read(&mut chunk, limit), Ok(None));
        assert!(reader.body.capacity() < 100, "{}", reader.body.capacity());
        let mut huge = Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(
            FrameReader::new().read(&mut huge, limit),
            Err(FrameError::TooLong { kind: 1, length: u32::MAX, limit: 1000 })
        );
        let mut unknown = Bytes::from_static(&[9, 0, 0, 0, 0]);
        assert_eq!(FrameReader::new().read(&mut unknown, limit), Err(FrameError::UnknownKind(9)));
    }
}
