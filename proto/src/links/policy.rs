//! Who may have a link with this node at all.

use alloc::{collections::BTreeSet, sync::Arc};
use core::fmt;

use crate::{discovery::PeerEntry, ids::PeerId};

type Test = Arc<dyn Fn(&PeerEntry) -> bool + Send + Sync>;

/// The admission policy of a node: a deny list and a test of the entry in the peer's hello.
///
/// It decides on the authenticated key, before anything but the hello is parsed, for links of both
/// directions; the deny list even before the hello. It can change while the node runs.
#[derive(Clone, Default)]
pub struct Policy {
    denied: BTreeSet<PeerId>,
    test: Option<Test>,
}

impl Policy {
    /// Admits everybody.
    #[must_use]
    pub fn everybody() -> Self {
        Self::default()
    }

    /// The peers that are never admitted.
    pub fn denied(&mut self) -> &mut BTreeSet<PeerId> {
        &mut self.denied
    }

    /// Admits only peers that pass this test, in place of the one before. Called inside a step.
    pub fn require(&mut self, test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static) {
        self.test = Some(Arc::new(test));
    }

    /// True unless the peer is on the deny list.
    #[must_use]
    pub fn may_try(&self, peer: &PeerId) -> bool {
        !self.denied.contains(peer)
    }

    /// True if a peer with this entry may have a link.
    #[must_use]
    pub fn admits(&self, entry: &PeerEntry) -> bool {
        self.may_try(&entry.id()) && self.test.as_ref().is_none_or(|test| test(entry))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("denied", &self.denied.len())
            .field("test", &self.test.is_some())
            .finish()
    }
}
