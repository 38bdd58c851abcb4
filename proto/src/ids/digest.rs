//! The one id type behind networks, streams, tags, groups and stores.

use core::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::hex::{Hex, decode32};

/// A 32-byte identifier, usually the BLAKE3 hash of a name.
///
/// Text of exactly 64 hexadecimal digits is taken as the id itself; any other text is hashed.
/// Numbers (`from_u64` and its kin) are stored, not hashed: little-endian in the last bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The all-zero id.
    #[must_use]
    pub const fn zero() -> Self {
        Self([0; 32])
    }

    /// These bytes as an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Always 32.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an id is never empty")]
    pub const fn len(&self) -> usize {
        32
    }

    /// The BLAKE3 hash of `data`, without the rule for 64 hexadecimal digits.
    #[must_use]
    pub fn hash(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }

    /// The hash of what was fed to `hasher`.
    #[must_use]
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash of the concatenation of `parts` (no separators: `["ab","c"]` equals `["a","bc"]`).
    #[must_use]
    pub fn from_parts(parts: &[impl AsRef<[u8]>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        parts.iter().for_each(|part| {
            hasher.update(part.as_ref());
        });
        Self::from_hasher(&hasher)
    }

    /// The id of `info` under this id: BLAKE3(self ‖ info).
    #[must_use]
    pub fn derive(&self, info: impl AsRef<[u8]>) -> Self {
        Self::from_parts(&[&self.0[..], info.as_ref()])
    }

    /// The hash of this id.
    #[must_use]
    pub fn hashed(&self) -> Self {
        Self::hash(&self.0)
    }

    const fn from_tail(tail: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let mut i = 0;
        while i < tail.len() {
            bytes[32 - tail.len() + i] = tail[i];
            i += 1;
        }
        Self(bytes)
    }
}

macro_rules! from_number {
    ($($name:ident($number:ty)),* $(,)?) => {
        impl Digest {
            $(
                /// The number's little-endian bytes at the end of an otherwise zero id.
                #[must_use]
                pub const fn $name(number: $number) -> Self {
                    Self::from_tail(&number.to_le_bytes())
                }
            )*
        }
    };
}

from_number! {
    from_u8(u8), from_u16(u16), from_u32(u32), from_u64(u64), from_u128(u128), from_usize(usize),
    from_i8(i8), from_i16(i16), from_i32(i32), from_i64(i64), from_i128(i128), from_isize(isize),
}

impl From<&[u8]> for Digest {
    fn from(bytes: &[u8]) -> Self {
        decode32(bytes).map_or_else(|| Self::hash(bytes), Self)
    }
}

impl From<&str> for Digest {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl FromStr for Digest {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<Digest> for [u8; 32] {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<&Self> for Digest {
    fn eq(&self, other: &&Self) -> bool {
        self == *other
    }
}

impl PartialEq<Digest> for &Digest {
    fn eq(&self, other: &Digest) -> bool {
        *self == other
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = alloc::string::String::deserialize(deserializer)?;
            decode32(text.as_bytes())
                .map(Self)
                .ok_or_else(|| D::Error::custom("expected 64 hexadecimal digits"))
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
    fn text_is_hashed_unless_it_is_an_id() {
        let id = Digest::from("my-app");
        assert_eq!(id, Digest::hash(b"my-app"));
        assert_eq!(Digest::from(id.to_string().as_str()), id);
        assert_eq!(Digest::from(id.to_string().to_uppercase().as_str()), id);
        assert_ne!(Digest::from(&id.as_bytes()[..]), id, "raw bytes are hashed");
    }

    #[test]
    fn numbers_are_stored_at_the_tail() {
        assert_eq!(Digest::from_u16(0x0102).as_bytes()[30..], [2, 1]);
        assert_ne!(Digest::from_u8(5), Digest::from_u16(5));
    }

    #[test]
    fn derive_is_the_hash_of_the_concatenation() {
        let id = Digest::from("a");
        assert_eq!(id.derive("b"), Digest::from_parts(&[&id.as_bytes()[..], b"b"]));
    }
}
