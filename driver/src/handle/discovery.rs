//! `network.discovery()`: who is there, and what we say of ourselves.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mosaik_proto::{
    PeerId,
    discovery::{Command, EndpointAddr, PeerEntry, SignedPeerEntry},
    ids::{Tag, TicketClass, UniqueId},
    limits,
    tickets::Ticket,
};

use super::{catalog::Catalog, shared::Shared};
use crate::{
    discovery::{Error, Event},
    one_or_many::OneOrMany,
    sync::{broadcast::Events, reply::Reply},
};

/// Who is there, and what we say of ourselves. Get it from `network.discovery()`.
///
/// Changes of our own entry take effect, signed, before the call returns.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub(crate) shared: Arc<Shared>,
}

impl Discovery {
    /// Keeps in touch with peers, by id or by address. Resolves when the requests are under way,
    /// not when the peers are connected; never fails.
    pub async fn dial<V>(&self, peers: impl OneOrMany<EndpointAddr, V>) {
        let peers: Vec<_> = peers.into_items().collect();
        // At the end of a network there is nobody left to dial.
        let _ = self.shared.request(Command::Dial(peers)).await;
    }

    /// Exchanges catalogs with a peer. When it resolves, both catalogs hold the other's entry as of
    /// the call. The exchange starts with the call, not with the first poll. A peer of another
    /// network has nothing to exchange with us: that is `Ok`, and neither side learns anything.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::LinkLost`], [`Error::Busy`], [`Error::ShuttingDown`].
    pub fn sync_with(&self, peer: impl Into<EndpointAddr>) -> SyncWith {
        let shared = Arc::clone(&self.shared);
        SyncWith { reply: shared.request(Command::SyncWith(peer.into())), shared }
    }

    /// Our own entry.
    #[must_use]
    pub fn me(&self) -> SignedPeerEntry {
        self.shared.me()
    }

    /// Who is there now.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.shared.catalog.snapshot()
    }

    /// Resolves with the catalog as soon as it is not as it was at the call any more. Cancel safe.
    pub fn catalog_changed(&self) -> impl Future<Output = Catalog> + Send + Sync + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        let seen = shared.catalog.version.read(|version| *version);
        async move {
            shared.catalog.version.until(|version| (*version != seen).then_some(())).await;
            shared.catalog.snapshot()
        }
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> Events<Event> {
        self.shared.events.subscribe()
    }

    /// Merges an entry that came some other way. True if it is new or newer, and shown at once.
    pub fn feed(&self, entry: SignedPeerEntry) -> bool {
        let ours = *entry.network_id() == self.shared.network && entry.id() != self.shared.me;
        let taken = ours && self.shared.catalog.feed(&entry);
        if taken {
            let _ = self.shared.tell(Command::Feed(entry));
        }
        taken
    }

    /// Remembers an unsigned entry, here only. False for our own id, another network, and peers
    /// whose signed entry is known.
    pub fn insert(&self, entry: impl Into<PeerEntry>) -> bool {
        let entry = entry.into();
        let ours = *entry.network_id() == self.shared.network && entry.id() != self.shared.me;
        let room = self.catalog().unsigned_peers().count() < limits::UNSIGNED_PEERS;
        let taken = ours && room && self.shared.catalog.insert(&entry);
        if taken {
            let _ = self.shared.tell(Command::Insert(entry));
        }
        taken
    }

    /// Forgets an unsigned entry. True if there was one.
    pub fn remove(&self, peer: PeerId) -> bool {
        let removed = self.shared.catalog.remove(&peer);
        if removed {
            let _ = self.shared.tell(Command::Remove(peer));
        }
        removed
    }

    /// Forgets all unsigned entries. True if there were any.
    pub fn clear_unsigned(&self) -> bool {
        let removed = self.shared.catalog.clear_unsigned();
        if removed {
            let _ = self.shared.tell(Command::ClearUnsigned);
        }
        removed
    }

    /// Adds labels to our entry.
    ///
    /// # Errors
    /// [`Error::Entry`] if the entry would break a limit; it is then as it was.
    pub fn add_tags<V>(&self, tags: impl OneOrMany<Tag, V>) -> Result<(), Error> {
        let tags: Vec<_> = tags.into_items().collect();
        Ok(self.shared.edit(|entry| entry.tags().extend(tags))?)
    }

    /// Removes labels from our entry.
    ///
    /// # Errors
    /// None today; the signature is that of its siblings.
    pub fn remove_tags<V>(&self, tags: impl OneOrMany<Tag, V>) -> Result<(), Error> {
        let tags: Vec<_> = tags.into_items().collect();
        Ok(self.shared.edit(|entry| entry.tags().retain(|tag| !tags.contains(tag)))?)
    }

    /// Adds a ticket to our entry.
    ///
    /// # Errors
    /// As [`add_tags`](Self::add_tags).
    pub fn add_ticket(&self, ticket: Ticket) -> Result<(), Error> {
        Ok(self.shared.edit(|entry| entry.add_ticket(ticket))?)
    }

    /// Removes a ticket by its id.
    ///
    /// # Errors
    /// As [`remove_tags`](Self::remove_tags).
    pub fn remove_ticket(&self, id: UniqueId) -> Result<(), Error> {
        Ok(self.shared.edit(|entry| {
            entry.tickets().remove(&id);
        })?)
    }

    /// Removes all tickets of a class.
    ///
    /// # Errors
    /// As [`remove_tags`](Self::remove_tags).
    pub fn remove_tickets_of(&self, class: TicketClass) -> Result<(), Error> {
        Ok(self.shared.edit(|entry| entry.remove_tickets_of(class))?)
    }

    /// Puts a ticket in the place of all others of its class, in one version of our entry.
    ///
    /// # Errors
    /// As [`add_tags`](Self::add_tags).
    pub fn replace_ticket(&self, ticket: Ticket) -> Result<(), Error> {
        Ok(self.shared.edit(|entry| {
            entry.remove_tickets_of(ticket.class);
            entry.add_ticket(ticket);
        })?)
    }
}

/// The end of an exchange of catalogs. Detached; dropping it gives the exchange up.
#[derive(Debug)]
#[must_use = "the exchange is given up when this is dropped"]
pub struct SyncWith {
    reply: Reply,
    shared: Arc<Shared>,
}

impl Future for SyncWith {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.reply).poll(cx));
        if result.is_ok() {
            self.shared.metrics.syncs.increment(1);
        }
        Poll::Ready(result.map_err(Error::from))
    }
}
