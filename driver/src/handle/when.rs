//! Waiting for what a producer or consumer becomes: online, offline, subscribed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use event_listener::EventListener;
use mosaik_proto::{discovery::PeerEntry, ids::Tag, streams::Condition};

use super::{admission::guard, channels::Status};
use crate::{one_or_many::OneOrMany, sync::cell::Watched};

/// Makes futures that resolve when a producer or consumer is in some state.
///
/// The futures are detached: they hold no borrow of the handle and do not keep it alive.
#[derive(Clone, Debug)]
pub struct When {
    status: Arc<Watched<Status>>,
}

impl When {
    pub(crate) const fn new(status: Arc<Watched<Status>>) -> Self {
        Self { status }
    }

    /// Resolves when it is online, at once if it is; never if it has ended. Cancel safe.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let status = Arc::clone(&self.status);
        async move { status.until(|status| status.online.then_some(())).await }
    }

    /// Resolves when it is offline, at once if it is or has ended. Cancel safe.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let status = Arc::clone(&self.status);
        async move { status.until(|status| (!status.online).then_some(())).await }
    }

    /// True if it is online now.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.status.read(|status| status.online)
    }

    /// A condition over the connected channels: at least one, unless refined.
    #[must_use]
    pub fn subscribed(&self) -> ChannelConditions {
        ChannelConditions::new(Condition::at_least(1), Some(Arc::clone(&self.status)))
    }

    /// The opposite of [`subscribed`](Self::subscribed).
    #[must_use]
    pub fn unsubscribed(&self) -> ChannelConditions {
        self.subscribed().unmet()
    }
}

/// A condition over the connected channels, and a future that resolves when it is met.
///
/// The future resolves at once if the condition is met when it is first polled. Polled again after
/// that (`(&mut condition).await`), it resolves the next time the condition *becomes* met, which it
/// notices if it was polled while the condition was not met. A clone starts afresh. Cancel safe.
pub struct ChannelConditions {
    condition: Condition,
    /// `None` inside `online_when`, where the core evaluates it.
    status: Option<Arc<Watched<Status>>>,
    listener: Option<EventListener>,
    fired: bool,
}

impl ChannelConditions {
    pub(crate) const fn new(condition: Condition, status: Option<Arc<Watched<Status>>>) -> Self {
        Self { condition, status, listener: None, fired: false }
    }

    pub(crate) fn into_condition(self) -> Condition {
        self.condition
    }

    fn refine(self, refine: impl FnOnce(Condition) -> Condition) -> Self {
        Self::new(refine(self.condition), self.status)
    }

    /// At least this many channels; replaces the number before.
    #[must_use]
    pub fn minimum_of(self, minimum: usize) -> Self {
        self.refine(|condition| condition.minimum_of(minimum))
    }

    /// Counts only channels to peers with all these tags. May be repeated.
    #[must_use]
    pub fn with_tags<V>(self, tags: impl OneOrMany<Tag, V>) -> Self {
        let tags: Vec<Tag> = tags.into_items().collect();
        self.with_predicate(move |peer| tags.iter().all(|tag| peer.tags().contains(tag)))
    }

    /// Counts only channels to peers that pass this test. May be repeated. It must not block; a
    /// panic counts as no.
    #[must_use]
    pub fn with_predicate(self, test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static) -> Self {
        // Also evaluated by the core, inside the event loop, which must survive it.
        self.refine(|condition| condition.with_predicate(guard(test)))
    }

    /// The opposite condition. Saying it twice is saying it once.
    #[must_use]
    pub fn unmet(self) -> Self {
        self.refine(Condition::unmet)
    }

    /// Evaluates the condition now.
    #[must_use]
    pub fn is_condition_met(&self) -> bool {
        let peers = self.status.as_ref().map(|status| connected(status));
        self.condition.is_met(peers.iter().flatten())
    }
}

impl Future for ChannelConditions {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(status) = &this.status else { return Poll::Pending };
        loop {
            // Listen first, then look: no change falls in between. The condition is evaluated on a
            // copy, so that its predicates may use the handle whose channels these are.
            let listener = this.listener.get_or_insert_with(|| status.listen());
            let met = this.condition.is_met(connected(status).iter());
            if met && !this.fired {
                this.fired = true;
                this.listener = None;
                return Poll::Ready(());
            }
            this.fired &= met;
            match Pin::new(listener).poll(cx) {
                Poll::Ready(()) => this.listener = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The entries of all connected peers.
fn connected(status: &Watched<Status>) -> Vec<PeerEntry> {
    status.read(|status| status.connected().cloned().collect())
}

impl Clone for ChannelConditions {
    fn clone(&self) -> Self {
        Self::new(self.condition.clone(), self.status.clone())
    }
}

impl fmt::Debug for ChannelConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelConditions({:?}: {})", self.condition, self.is_condition_met())
    }
}

impl PartialEq<bool> for ChannelConditions {
    fn eq(&self, other: &bool) -> bool {
        self.is_condition_met() == *other
    }
}

impl PartialEq<ChannelConditions> for bool {
    fn eq(&self, other: &ChannelConditions) -> bool {
        other == self
    }
}
