//! What goes over a channel: frames, the codec inside them, and the codes with which things end.
//!
//! # Theory of operation
//!
//! A link is one authenticated byte transport to a peer (QUIC in the drivers we ship). On it both
//! sides open *channels*, ordered byte streams. The first byte of a channel names its
//! [`Protocol`]; after it come frames:
//!
//! ```text
//! +------+---------------+-----------------+
//! | kind | length (u32,  | payload, length |      kind and length are checked against the
//! | (u8) | big-endian)   | bytes           |      protocol's table before a byte is kept
//! +------+---------------+-----------------+
//! ```
//!
//! Chunks arrive cut anywhere. [`FrameReader`] puts frames together; it grows with the bytes that
//! really came, never with the length that a peer announced (rule WIRE-03). Payloads are postcard
//! and must be used up to the last byte (WIRE-04). What is signed or hashed is the bytes received,
//! never a re-encoding, because postcard is not canonical (WIRE-05).
//!
//! The rules have their numbers in `docs/spec/wire.md`.

mod close;
mod codec;
mod frame;

pub use self::{
    close::CloseCode,
    codec::{DecodeError, decode, decode_first, encode, encode_into},
    frame::{Frame, FrameError, FrameReader, HEADER_LEN, Head, header},
};
use crate::ids::ChannelId;

/// The version of everything in this module and above it. Two nodes talk if theirs are equal.
pub const PROTOCOL_VERSION: u16 = 1;

/// What a channel is for; its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// Hello, then discovery. Exactly one per link, opened by the dialler.
    Control = 1,
    /// One subscription, opened by the consumer.
    Stream = 2,
    /// One class of traffic of one group.
    Group = 3,
}

impl Protocol {
    /// The protocol with this first byte, if we speak it.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Control),
            2 => Some(Self::Stream),
            3 => Some(Self::Group),
            _ => None,
        }
    }

    /// The n-th id for a channel of this protocol that this node opens: each protocol has its own,
    /// so that their cores allocate without asking each other.
    #[must_use]
    pub const fn channel(self, n: u64) -> ChannelId {
        // Streams open the most, so every second id is theirs.
        ChannelId::core(match self {
            Self::Control => n * 4,
            Self::Stream => n * 2 + 1,
            Self::Group => n * 4 + 2,
        })
    }
}
