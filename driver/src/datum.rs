//! What can travel on a stream.

use bytes::{Bytes, BytesMut};
use mosaik_proto::ids::StreamId;
use serde::{Serialize, de::DeserializeOwned};

/// A type whose values can travel.
///
/// Implemented for everything that is `Serialize + DeserializeOwned + Send + 'static`, with
/// postcard as the encoding. Implement it by hand for another encoding. Encoding and decoding run
/// in the caller's task, not in the event loop.
pub trait Datum: Sized + Send + 'static {
    /// Why a value could not be encoded.
    type EncodeError: std::error::Error + Send + Sync + 'static;
    /// Why bytes could not be decoded.
    type DecodeError: std::error::Error + Send + Sync + 'static;

    /// The stream of this type when no other is named: the id of its type name. Type names may
    /// change between compilers and module paths; name streams that programs of different builds
    /// share.
    #[must_use]
    fn derived_stream_id() -> StreamId {
        core::any::type_name::<Self>().into()
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// If this value has no encoding.
    fn encode(&self) -> Result<Bytes, Self::EncodeError>;

    /// Decodes a value from exactly these bytes.
    ///
    /// # Errors
    /// If the bytes are not such a value.
    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError>;

    /// Appends the encoding to `into`; what is there stays. On an error `into` may have grown.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    #[doc(hidden)]
    fn encode_into(&self, into: &mut BytesMut) -> Result<(), Self::EncodeError> {
        into.extend_from_slice(&self.encode()?);
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Datum for T {
    type EncodeError = postcard::Error;
    type DecodeError = postcard::Error;

    fn encode(&self) -> Result<Bytes, postcard::Error> {
        postcard::to_stdvec(self).map(Bytes::from)
    }

    fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        match postcard::take_from_bytes(bytes)? {
            (value, []) => Ok(value),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }

    fn encode_into(&self, into: &mut BytesMut) -> Result<(), postcard::Error> {
        let mut serializer = postcard::Serializer { output: Tail(into) };
        self.serialize(&mut serializer)
    }
}

/// postcard's output at the end of a buffer.
struct Tail<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
