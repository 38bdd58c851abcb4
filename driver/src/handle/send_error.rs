//! Why an item was not taken by a producer.

use std::fmt;

use mosaik_proto::limits;

use crate::datum::Datum;

/// Why an item was not taken. The item comes back; nothing was sent.
pub enum Error<D: Datum> {
    /// The producer has ended: its network shut down, or this handle was closed.
    Closed(Option<D>),
    /// The buffer is full. Try again, or use [`Producer::send`](crate::streams::producer::Producer::send), which waits.
    Full(D),
    /// The producer is offline: its `online_when` condition is not met. Try again later.
    Offline(D),
    /// The item could not be encoded.
    Encoding(D, D::EncodeError),
    /// The item has this many bytes, above [`limits::ITEM_BYTES`].
    TooLarge(D, usize),
}

impl<D: Datum> Error<D> {
    /// The item, if there is one.
    pub fn into_inner(self) -> Option<D> {
        match self {
            Self::Closed(item) => item,
            Self::Full(item)
            | Self::Offline(item)
            | Self::Encoding(item, _)
            | Self::TooLarge(item, _) => Some(item),
        }
    }
}

impl<D: Datum> fmt::Display for Error<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("the producer has ended"),
            Self::Full(_) => f.write_str("the producer's buffer is full; try again"),
            Self::Offline(_) => f.write_str("the producer is offline; try again when it is online"),
            Self::Encoding(_, error) => write!(f, "the datum could not be encoded: {error}"),
            Self::TooLarge(_, bytes) => {
                write!(f, "the datum has {bytes} bytes, above the limit of {}", limits::ITEM_BYTES)
            }
        }
    }
}

impl<D: Datum> fmt::Debug for Error<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed"),
            Self::Full(_) => f.write_str("Full"),
            Self::Offline(_) => f.write_str("Offline"),
            Self::Encoding(_, error) => f.debug_tuple("Encoding").field(error).finish(),
            Self::TooLarge(_, bytes) => f.debug_tuple("TooLarge").field(bytes).finish(),
        }
    }
}

impl<D: Datum> std::error::Error for Error<D> {}

/// Encoding errors have no equality, so two of them are never equal.
impl<D: Datum + PartialEq> PartialEq for Error<D> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Closed(a), Self::Closed(b)) => a == b,
            (Self::Full(a), Self::Full(b)) | (Self::Offline(a), Self::Offline(b)) => a == b,
            (Self::TooLarge(a, n), Self::TooLarge(b, m)) => a == b && n == m,
            _ => false,
        }
    }
}

impl<D: Datum + Clone> Clone for Error<D>
where
    D::EncodeError: Clone,
{
    fn clone(&self) -> Self {
        match self {
            Self::Closed(item) => Self::Closed(item.clone()),
            Self::Full(item) => Self::Full(item.clone()),
            Self::Offline(item) => Self::Offline(item.clone()),
            Self::Encoding(item, error) => Self::Encoding(item.clone(), error.clone()),
            Self::TooLarge(item, bytes) => Self::TooLarge(item.clone(), *bytes),
        }
    }
}
