//! What the two ends of a subscription agree on when it begins, and why it ends.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{links::DownReason, wire::CloseCode};

/// What a producer does for a consumer that cannot keep up.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum StreamKind {
    /// It waits for the consumer, up to its lag timeout.
    #[default]
    Lossless,
    /// It waits for nobody: a consumer that falls out of the tail goes on at the oldest item kept,
    /// and both ends are told exactly what was skipped (STR-18).
    Lossy,
}

/// Where a consumer begins with a producer from which it has nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replay {
    /// At the next item.
    #[default]
    Live,
    /// So many items earlier, or at the oldest one kept.
    Last(u64),
    /// At the oldest item kept.
    Tail,
}

impl Replay {
    /// How many items before the next one are asked for, as it stands on the wire.
    #[must_use]
    pub const fn items(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Last(items) => items,
            Self::Tail => u64::MAX,
        }
    }
}

/// What was said when a subscription was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The kind of the stream.
    pub kind: StreamKind,
    /// The number of the first item to come, within the producer's incarnation.
    pub first: u64,
    /// Payload bytes of all items before it. Zero at the consumer, which is not told.
    pub before: u64,
}

/// Why a subscription ended, or was refused. Both ends learn the same reason, unless the link
/// between them failed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The consumer stood still for the producer's lag timeout.
    TooSlow,
    /// The predicate or the tickets of one end do not accept the other, or not any more.
    NotAllowed,
    /// One end does not find the other in its catalog (any more).
    UnknownPeer,
    /// The producer's node does not produce the stream.
    NotProduced,
    /// The producer has as many consumers as it takes, or its node as many channels.
    NoCapacity,
    /// One end broke the protocol.
    Violation,
    /// The producer closed in good order, behind its last item.
    Closed,
    /// The consumer, or the node of either end, ended.
    Cancelled,
    /// The producer did not answer in time.
    TimedOut,
    /// The link was lost, or another took its place.
    LinkLost,
    /// For a reason that this version has no name for.
    Other(CloseCode),
}

impl EndReason {
    /// The code that says so on the wire; the link's own for [`LinkLost`](Self::LinkLost).
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::TooSlow => CloseCode::STREAM_TOO_SLOW,
            Self::NotAllowed => CloseCode::STREAM_NOT_ALLOWED,
            Self::UnknownPeer => CloseCode::UNKNOWN_PEER,
            Self::NotProduced => CloseCode::STREAM_NOT_FOUND,
            Self::NoCapacity => CloseCode::STREAM_NO_CAPACITY,
            Self::Violation => CloseCode::PROTOCOL_VIOLATION,
            Self::Closed => CloseCode::GRACEFUL_SHUTDOWN,
            Self::Cancelled => CloseCode::CANCELLED,
            Self::TimedOut => CloseCode::TIMEOUT,
            Self::LinkLost => CloseCode::UNEXPECTED,
            Self::Other(code) => code,
        }
    }
}

impl From<CloseCode> for EndReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::STREAM_TOO_SLOW => Self::TooSlow,
            CloseCode::STREAM_NOT_ALLOWED | CloseCode::NOT_ADMITTED => Self::NotAllowed,
            CloseCode::UNKNOWN_PEER => Self::UnknownPeer,
            CloseCode::STREAM_NOT_FOUND => Self::NotProduced,
            CloseCode::STREAM_NO_CAPACITY | CloseCode::BUSY => Self::NoCapacity,
            CloseCode::PROTOCOL_VIOLATION => Self::Violation,
            CloseCode::GRACEFUL_SHUTDOWN | CloseCode::SUCCESS => Self::Closed,
            CloseCode::CANCELLED => Self::Cancelled,
            CloseCode::TIMEOUT => Self::TimedOut,
            CloseCode::UNEXPECTED
            | CloseCode::DUPLICATE
            | CloseCode::REPLACED
            | CloseCode::IDLE => Self::LinkLost,
            other => Self::Other(other),
        }
    }
}

impl From<DownReason> for EndReason {
    fn from(reason: DownReason) -> Self {
        match reason {
            DownReason::Closed(code) | DownReason::Local(code) => code.into(),
            DownReason::Timeout | DownReason::Lost => Self::LinkLost,
            DownReason::Finished => Self::Closed,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSlow => "the consumer stood still for too long",
            Self::NotAllowed => "one end does not accept the other",
            Self::UnknownPeer => "one end does not know the other",
            Self::NotProduced => "the stream is not produced there",
            Self::NoCapacity => "the producer has no room for another consumer",
            Self::Violation => "one end broke the protocol",
            Self::Closed => "the producer has closed",
            Self::Cancelled => "the consumer, or the node of one end, has ended",
            Self::TimedOut => "the producer did not answer in time",
            Self::LinkLost => "the link was lost",
            Self::Other(code) => return write!(f, "closed with {code}"),
        })
    }
}

/// How a producer's subscription ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// We close its channel.
    Close(CloseCode),
    /// Its channel is down already.
    Down(DownReason),
}

impl End {
    pub(super) fn reason(self) -> EndReason {
        match self {
            Self::Close(code) => code.into(),
            Self::Down(reason) => reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        for reason in [
            EndReason::TooSlow,
            EndReason::NotAllowed,
            EndReason::UnknownPeer,
            EndReason::NotProduced,
            EndReason::NoCapacity,
            EndReason::Violation,
            EndReason::Closed,
            EndReason::Cancelled,
            EndReason::TimedOut,
            EndReason::LinkLost,
            EndReason::Other(CloseCode::from(7)),
        ] {
            assert_eq!(EndReason::from(reason.code()), reason);
            assert_eq!(EndReason::from(DownReason::Closed(reason.code())), reason);
        }
    }
}
