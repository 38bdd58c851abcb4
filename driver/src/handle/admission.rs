//! `network.admission()`: who may have a link with this node at all.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use mosaik_proto::{
    PeerId,
    discovery::PeerEntry,
    links::{LimitsError, LinkLimits, Policy},
};

use super::shared::Shared;
use crate::one_or_many::OneOrMany;

/// Who may have a link with this node at all. Get it from `network.admission()`.
///
/// Decided on the authenticated key before anything but the hello is parsed, for links of both
/// directions. Changes hold at once, for the links that there are too: who does not fit is put out
/// with [`NOT_ADMITTED`](mosaik_proto::wire::CloseCode::NOT_ADMITTED). A peer without a link may still
/// be known from others.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(crate) shared: Arc<Shared>,
}

impl Admission {
    /// Never admits these peers, whatever else they satisfy. Adds to those before.
    pub fn deny<V>(&self, peers: impl OneOrMany<PeerId, V>) {
        self.shared.change_policy(|policy| policy.denied().extend(peers.into_items()));
    }

    /// Takes peers off the deny list.
    pub fn forgive<V>(&self, peers: impl OneOrMany<PeerId, V>) {
        self.shared.change_policy(|policy| {
            peers.into_items().for_each(|peer| {
                policy.denied().remove(&peer);
            });
        });
    }

    /// Admits only peers whose entry passes this test, in place of the test before; asked again
    /// whenever an entry changes. Called inside the event loop: it must be quick and must not block;
    /// a panic refuses.
    pub fn require(&self, test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static) {
        let guarded = guard(test);
        self.shared.change_policy(|policy| policy.require(guarded));
    }

    /// How much others may make this node hold.
    #[must_use]
    pub fn limits(&self) -> LinkLimits {
        self.shared.limits()
    }

    /// Changes how much others may make this node hold, in place of what held before. Lower limits
    /// refuse newcomers; nobody who is in is put out for it.
    ///
    /// # Errors
    /// [`LimitsError`] if they make no sense; then nothing changed.
    pub fn set_limits(&self, limits: LinkLimits) -> Result<(), LimitsError> {
        limits.check()?;
        self.shared.change_limits(limits);
        Ok(())
    }
}

/// A test that denies when it panics: the loop must survive it.
pub(crate) fn guard(
    test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static,
) -> impl Fn(&PeerEntry) -> bool + Send + Sync + 'static {
    move |peer| {
        catch_unwind(AssertUnwindSafe(|| test(peer))).unwrap_or_else(|_| {
            tracing::error!("a predicate panicked; the peer does not pass");
            false
        })
    }
}

/// The policy that a node starts with, admitting only peers that pass this test.
pub(crate) fn policy(test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static) -> Policy {
    let mut policy = Policy::everybody();
    policy.require(guard(test));
    policy
}
