//! Checksums that cover everything before them.

use std::fmt;

use mosaik_proto::raft::SeatId;

/// Bytes of a checksum as it is written.
pub(super) const CHECK: usize = 16;

/// A hash over all records so far, which is the key of the next one's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain(pub(super) [u8; 32]);

impl Chain {
    /// Before the first record of a store.
    pub(super) fn founding(seat: SeatId) -> Self {
        Self(blake3::derive_key("mosaik store 1: chain", &seat.0))
    }

    /// For what is checked alone, and is bound to the place where it stands.
    pub(super) fn keyed(purpose: &'static str, place: &[u8]) -> Self {
        Self(blake3::derive_key(purpose, place))
    }

    /// With these bytes behind it.
    pub(super) fn next<const N: usize>(&self, parts: [&[u8]; N]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        Self(hasher.finalize().into())
    }

    /// What is written down.
    pub(super) fn check(&self) -> [u8; CHECK] {
        let mut check = [0; CHECK];
        check.copy_from_slice(&self.0[..CHECK]);
        check
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..3].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
