//! Connection ids: random ones.

use std::time::Duration;

use mosaik_proto::Digest;
use quinn::{ConnectionId, ConnectionIdGenerator};

const LENGTH: usize = 8;

/// Draws connection ids from all of their 64 bits.
///
/// quinn's own generator spends 40 of them on a checksum and draws the other 24. An id that is given
/// out by a Retry is not compared with those in use, so that with a few hundred links one Retry in
/// ten thousand sent a dialler to somebody else's link, where its packets were ignored until its dial
/// timed out.
#[derive(Debug)]
pub(super) struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&Digest::random().as_bytes()[..LENGTH])
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Among so many ids of 24 random bits some thirty would be equal.
    #[test]
    fn ids_do_not_repeat() {
        let drawn: BTreeSet<_> = (0..30_000).map(|_| RandomIds.generate_cid().to_vec()).collect();
        assert_eq!(drawn.len(), 30_000);
        assert!(drawn.iter().all(|id| id.len() == RandomIds.cid_len()));
    }
}
