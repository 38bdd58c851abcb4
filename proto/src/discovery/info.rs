//! A peer's entry together with what we measured ourselves.

use core::{ops::Deref, time::Duration};

use super::PeerEntry;

/// What predicates see: a peer's entry and, if there is a link to it, its round-trip time.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    entry: PeerEntry,
    rtt: Option<Duration>,
}

impl PeerInfo {
    /// An entry with what is known of the path to its peer.
    #[must_use]
    pub const fn new(entry: PeerEntry, rtt: Option<Duration>) -> Self {
        Self { entry, rtt }
    }

    /// The smoothed round-trip time, if there is a link.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// True if the round-trip time is below `limit` or not known yet.
    #[must_use]
    pub fn rtt_below(&self, limit: Duration) -> bool {
        self.rtt.is_none_or(|rtt| rtt < limit)
    }

    /// The entry alone.
    #[must_use]
    pub fn into_entry(self) -> PeerEntry {
        self.entry
    }
}

impl Deref for PeerInfo {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl AsRef<PeerEntry> for PeerInfo {
    fn as_ref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl From<PeerInfo> for PeerEntry {
    fn from(info: PeerInfo) -> Self {
        info.entry
    }
}
