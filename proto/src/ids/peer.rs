//! The identity of a peer: its public key.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::hex::{Hex, decode32};

/// An ed25519 public key: whoever holds the secret key *is* this peer.
///
/// Displayed as 64 lower-case hexadecimal digits. Any 32 bytes can be held; whether they are a
/// point on the curve shows when a signature is verified or a link is dialled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// The peer with this public key.
    #[must_use]
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text was neither 64 hexadecimal digits nor 52 base32 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id: expected 64 hexadecimal digits (or 52 of base32)")]
pub struct ParsePeerIdError;

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, ParsePeerIdError> {
        decode32(text.as_bytes())
            .or_else(|| decode_base32(text.as_bytes()))
            .map(Self)
            .ok_or(ParsePeerIdError)
    }
}

/// RFC 4648 base32 without padding, either case: 52 digits, of which the last carries one bit.
fn decode_base32(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 52 {
        return None;
    }
    let mut bytes = [0; 32];
    let mut bits = 0u32;
    let mut held = 0;
    let mut at = 0;
    for digit in text {
        let value = match digit.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            number @ b'2'..=b'7' => number - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes[at] = (bits >> held) as u8;
            at += 1;
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

impl AsRef<[u8]> for PeerId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<&Self> for PeerId {
    fn eq(&self, other: &&Self) -> bool {
        self == *other
    }
}

impl PartialEq<PeerId> for &PeerId {
    fn eq(&self, other: &PeerId) -> bool {
        *self == other
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0[..5]), f)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = alloc::string::String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn text_round_trips() {
        let peer = PeerId::from_bytes(core::array::from_fn(|i| i as u8 * 7));
        assert_eq!(peer.to_string().parse(), Ok(peer));
        assert_eq!("xyz".parse::<PeerId>(), Err(ParsePeerIdError));
    }

    #[test]
    fn base32_is_read() {
        let ones = "7".repeat(51) + "q";
        assert_eq!(ones.parse(), Ok(PeerId::from_bytes([255; 32])));
        assert_eq!("a".repeat(52).parse(), Ok(PeerId::from_bytes([0; 32])));
        assert_eq!("7".repeat(52).parse::<PeerId>(), Err(ParsePeerIdError), "stray bits");
    }
}
