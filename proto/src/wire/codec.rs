//! postcard, used strictly.

use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The bytes are not the expected value, or not only that value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not what the protocol expects here")]
pub struct DecodeError;

/// Encodes a protocol message.
///
/// # Panics
/// If the type cannot be encoded at all (a map of unknown length); no message type is like that.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut bytes = Vec::with_capacity(64);
    encode_into(value, &mut bytes);
    bytes.into()
}

/// Appends the encoding of a protocol message to `into`.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, into: &mut Vec<u8>) {
    let taken = core::mem::take(into);
    *into = postcard::to_extend(value, taken).expect("protocol messages can be encoded");
}

/// Decodes a value that fills `bytes` completely.
///
/// # Errors
/// [`DecodeError`] if the bytes are something else, end too early or go on behind the value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_first(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DecodeError),
    }
}

/// Decodes a value at the start of `bytes` and returns what follows it.
///
/// # Errors
/// [`DecodeError`] if the bytes do not start with such a value.
pub fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_an_error() {
        let bytes = encode(&(7u32, true));
        assert_eq!(decode::<(u32, bool)>(&bytes), Ok((7, true)));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(decode::<(u32, bool)>(&longer), Err(DecodeError));
        assert_eq!(decode::<(u32, bool)>(&bytes[..1]), Err(DecodeError));
    }
}
