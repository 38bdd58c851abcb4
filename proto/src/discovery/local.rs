//! Our own entry: the only one that we edit and sign.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use core::net::SocketAddr;

use super::{EndpointAddr, PeerEntry, PeerEntryVersion, SignedPeerEntry, Tombstone, entry::Fields};
use crate::{
    crypto::SecretKey,
    ids::{FunctionId, GroupId, NetworkId, PeerId, StreamId, Tag, TicketClass, UniqueId},
    limits,
    tickets::Ticket,
    time::UnixMillis,
    wire,
};

/// The change would make our entry larger than peers accept. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The encoded entry would exceed [`limits::ENTRY_BYTES`].
    #[error("the entry would have {bytes} bytes, above the limit of {}", limits::ENTRY_BYTES)]
    TooLarge {
        /// What the entry would have had.
        bytes: usize,
    },
    /// One of the lists would exceed [`limits::ENTRY_LIST`] (tickets: [`limits::ENTRY_TICKETS`]).
    #[error("the entry would list {items} {list}, above the limit")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many items it would have had.
        items: usize,
    },
}

/// The editable form of our own entry, with the key that signs it.
///
/// Pure: a driver keeps it behind a short mutex, edits it in the caller's thread, and posts each
/// new [`SignedPeerEntry`] to the node. Every effective change raises the version once; edits
/// without effect change nothing.
#[derive(Clone, Debug)]
pub struct LocalEntry {
    key: SecretKey,
    fields: Fields,
    signed: SignedPeerEntry,
}

/// What an edit may touch.
#[derive(Debug)]
pub struct Draft<'a>(&'a mut Fields);

impl Draft<'_> {
    /// Our labels.
    pub fn tags(&mut self) -> &mut BTreeSet<Tag> {
        &mut self.0.tags
    }

    /// The streams that we produce.
    pub fn streams(&mut self) -> &mut BTreeSet<StreamId> {
        &mut self.0.streams
    }

    /// The functions that we serve.
    pub fn functions(&mut self) -> &mut BTreeSet<FunctionId> {
        &mut self.0.functions
    }

    /// The groups that we are in.
    pub fn groups(&mut self) -> &mut BTreeSet<GroupId> {
        &mut self.0.groups
    }

    /// Our tickets by id.
    pub fn tickets(&mut self) -> &mut BTreeMap<UniqueId, Ticket> {
        &mut self.0.tickets
    }

    /// Adds a ticket.
    pub fn add_ticket(&mut self, ticket: Ticket) {
        self.0.tickets.insert(ticket.id(), ticket);
    }

    /// Removes all tickets of a class.
    pub fn remove_tickets_of(&mut self, class: TicketClass) {
        self.0.tickets.retain(|_, ticket| ticket.class != class);
    }

    /// The addresses under which we can be reached.
    pub fn addrs(&mut self) -> &mut BTreeSet<SocketAddr> {
        &mut self.0.address.addrs
    }
}

impl LocalEntry {
    /// The first entry of a process that starts at wall time `now`; its incarnation.
    #[must_use]
    pub fn new(network: NetworkId, key: SecretKey, now: UnixMillis) -> Self {
        let fields = Fields {
            protocol: wire::PROTOCOL_VERSION,
            network,
            version: PeerEntryVersion { incarnation: now.0, counter: 1 },
            wall: now,
            started: now,
            address: EndpointAddr::from(key.public()),
            tags: BTreeSet::new(),
            streams: BTreeSet::new(),
            functions: BTreeSet::new(),
            groups: BTreeSet::new(),
            tickets: BTreeMap::new(),
        };
        let signed = SignedPeerEntry::sign(fields.clone(), &key);
        Self { key, fields, signed }
    }

    /// Our id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.fields.address.id
    }

    /// The current entry, signed.
    #[must_use]
    pub const fn signed(&self) -> &SignedPeerEntry {
        &self.signed
    }

    /// The key that signs.
    #[must_use]
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Applies an edit. `Ok(true)` if it changed something: then the entry has a new version and
    /// signature, and the node must be told.
    ///
    /// # Errors
    /// [`EntryError`] if the entry would break a limit; it is then as it was.
    pub fn edit(
        &mut self,
        now: UnixMillis,
        edit: impl FnOnce(&mut Draft<'_>),
    ) -> Result<bool, EntryError> {
        let mut fields = self.fields.clone();
        edit(&mut Draft(&mut fields));
        if fields == self.fields {
            return Ok(false);
        }
        check(&fields)?;
        self.install(fields, self.fields.version.next(), now);
        Ok(true)
    }

    /// Signs the entry anew under a higher version, without another change: for an announce
    /// interval, or to jump above a version of ours that somebody else still holds.
    pub fn raise(&mut self, now: UnixMillis, above: PeerEntryVersion) {
        let version = self.fields.version.max(above).next();
        self.install(self.fields.clone(), version, now);
    }

    /// The signed statement that we are gone; ends every version up to the present one.
    #[must_use]
    pub fn depart(&self, now: UnixMillis) -> Tombstone {
        Tombstone::sign(self.fields.network, self.fields.version, now, &self.key)
    }

    fn install(&mut self, mut fields: Fields, version: PeerEntryVersion, now: UnixMillis) {
        fields.version = version;
        fields.wall = now;
        self.signed = SignedPeerEntry::sign(fields.clone(), &self.key);
        self.fields = fields;
    }
}

/// The limits that hold for every entry, ours and others'.
pub(super) fn check(fields: &Fields) -> Result<(), EntryError> {
    let lists = [
        ("tags", fields.tags.len(), limits::ENTRY_LIST),
        ("streams", fields.streams.len(), limits::ENTRY_LIST),
        ("functions", fields.functions.len(), limits::ENTRY_LIST),
        ("groups", fields.groups.len(), limits::ENTRY_LIST),
        ("tickets", fields.tickets.len(), limits::ENTRY_TICKETS),
        ("addresses", fields.address.addrs.len(), limits::ADDRS_PER_PEER),
    ];
    if let Some((list, items, _)) = lists.into_iter().find(|(_, items, limit)| items > limit) {
        return Err(EntryError::TooMany { list, items });
    }
    let bytes = wire::encode(fields).len();
    if bytes > limits::ENTRY_BYTES {
        return Err(EntryError::TooLarge { bytes });
    }
    Ok(())
}

impl PeerEntry {
    /// Checks another's entry against the limits that hold for our own.
    ///
    /// # Errors
    /// [`EntryError`] names the limit.
    pub fn check_limits(&self) -> Result<(), EntryError> {
        check(&self.0)
    }

    /// An unsigned copy with `edit` applied and a higher version, for `Discovery::insert`.
    #[must_use]
    pub fn edited(&self, edit: impl FnOnce(&mut Draft<'_>)) -> Self {
        let mut fields = (*self.0).clone();
        edit(&mut Draft(&mut fields));
        if fields != *self.0 {
            fields.version = fields.version.next();
        }
        Self(Arc::new(fields))
    }
}
