//! Why a channel or a link was closed.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A close code: sent as the QUIC application error of a connection, or as the reset/stop code of
/// a channel. Compared by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CloseCode(u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The name of a code that we know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The two ends speak different protocol versions.
    VERSION_MISMATCH = 100;
    /// The two ends belong to different networks.
    DIFFERENT_NETWORK = 101;
    /// Ended by the local application, or by a shutdown that could not wait.
    CANCELLED = 102;
    /// Ended without a reason: the transport failed or the process died.
    UNEXPECTED = 103;
    /// Both ends dialled each other; the other of the two links stays.
    DUPLICATE = 104;
    /// A newer link to the same peer took the place of this one.
    REPLACED = 105;
    /// A limit on links, channels or waiting handshakes is reached; try again later.
    BUSY = 106;
    /// Not needed any more.
    IDLE = 107;
    /// The other end did not finish in time.
    TIMEOUT = 108;
    /// The protocol ended as it should.
    SUCCESS = 200;
    /// The node or the stream ends in good order.
    GRACEFUL_SHUTDOWN = 204;
    /// The other end sent something that the protocol does not allow.
    PROTOCOL_VIOLATION = 400;
    /// The peer is not known here.
    UNKNOWN_PEER = 401;
    /// The peer is not admitted to this node.
    NOT_ADMITTED = 403;
    /// The predicate or the tickets of a stream refused the peer, or a ticket expired.
    STREAM_NOT_ALLOWED = 10403;
    /// No such stream is produced here.
    STREAM_NOT_FOUND = 10404;
    /// The consumer held its window full for longer than the producer's `lag_timeout`.
    STREAM_TOO_SLOW = 10413;
    /// The producer has as many consumers as it takes.
    STREAM_NO_CAPACITY = 10509;
    /// The predicate or the tickets of a group refused the peer, or a ticket expired.
    GROUP_NOT_ALLOWED = 30403;
    /// No such group is joined here, or the proof of knowing its key is wrong: which of them is not said.
    GROUP_NOT_FOUND = 30404;
    /// A member did not answer in time, or does not take what is sent to it.
    GROUP_TIMEOUT = 30408;
    /// The two ends are bonded already, by a later channel than this one.
    GROUP_ALREADY_BONDED = 30429;
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }
}

impl From<u32> for CloseCode {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u32 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({})", self.0, name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
