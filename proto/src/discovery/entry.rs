//! What a peer says of itself: the entry, its version and its signature.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use core::{fmt, ops::Deref};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::EndpointAddr;
use crate::{
    crypto::{SecretKey, Signature},
    ids::{Digest, FunctionId, GroupId, NetworkId, PeerId, StreamId, Tag, TicketClass, UniqueId},
    mutant::{self, Mutant},
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator, validate_all},
    time::UnixMillis,
    wire::{self, DecodeError},
};

const DOMAIN: &str = "mosaik v1 peer entry";

/// Orders the entries of one peer: higher wins.
///
/// The incarnation is the wall time of the process start in milliseconds, raised above any that
/// was seen; the counter rises with each change. Time itself orders nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PeerEntryVersion {
    /// Raised at each start of the peer's process.
    pub incarnation: u64,
    /// Raised at each change within an incarnation.
    pub counter: u64,
}

impl PeerEntryVersion {
    /// The version after this one in the same incarnation; the next incarnation at the very end.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.counter.checked_add(1) {
            Some(counter) => Self { incarnation: self.incarnation, counter },
            None => Self { incarnation: self.incarnation.saturating_add(1), counter: 0 },
        }
    }
}

impl fmt::Display for PeerEntryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}

/// The content of an entry, in wire order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fields {
    pub(super) protocol: u16,
    pub(super) network: NetworkId,
    pub(super) version: PeerEntryVersion,
    pub(super) wall: UnixMillis,
    pub(super) started: UnixMillis,
    pub(super) address: EndpointAddr,
    pub(super) tags: BTreeSet<Tag>,
    pub(super) streams: BTreeSet<StreamId>,
    pub(super) functions: BTreeSet<FunctionId>,
    pub(super) groups: BTreeSet<GroupId>,
    pub(super) tickets: BTreeMap<UniqueId, Ticket>,
}

/// What a peer says of itself. Cheap to clone; compares by content.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerEntry(pub(super) Arc<Fields>);

impl PeerEntry {
    /// The peer.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.address.id
    }

    /// The network that the peer is in.
    #[must_use]
    pub fn network_id(&self) -> &NetworkId {
        &self.0.network
    }

    /// The protocol version that the peer speaks.
    #[must_use]
    pub fn protocol_version(&self) -> u16 {
        self.0.protocol
    }

    /// Where the peer can be reached.
    #[must_use]
    pub fn address(&self) -> &EndpointAddr {
        &self.0.address
    }

    /// The labels that the peer gave itself.
    #[must_use]
    pub fn tags(&self) -> &BTreeSet<Tag> {
        &self.0.tags
    }

    /// The streams that the peer produces now.
    #[must_use]
    pub fn streams(&self) -> &BTreeSet<StreamId> {
        &self.0.streams
    }

    /// The functions that the peer serves now.
    #[must_use]
    pub fn functions(&self) -> &BTreeSet<FunctionId> {
        &self.0.functions
    }

    /// The groups that the peer is in now.
    #[must_use]
    pub fn groups(&self) -> &BTreeSet<GroupId> {
        &self.0.groups
    }

    /// The peer's tickets by their id.
    #[must_use]
    pub fn tickets(&self) -> &BTreeMap<UniqueId, Ticket> {
        &self.0.tickets
    }

    /// The peer's tickets of one class.
    pub fn tickets_of(&self, class: TicketClass) -> impl Iterator<Item = &Ticket> {
        self.0.tickets.values().filter(move |ticket| ticket.class == class)
    }

    /// The peer's tickets of one class whose data `valid` accepts.
    pub fn valid_tickets<'a>(
        &'a self,
        class: TicketClass,
        valid: impl Fn(&[u8]) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Ticket> {
        self.tickets_of(class).filter(move |ticket| valid(&ticket.data))
    }

    /// True if `valid` accepts the data of one of the peer's tickets of this class.
    pub fn has_valid_ticket(&self, class: TicketClass, valid: impl Fn(&[u8]) -> bool) -> bool {
        self.tickets_of(class).any(|ticket| valid(&ticket.data))
    }

    /// The latest expiration among the tickets that `validator` accepts.
    ///
    /// # Errors
    /// [`InvalidTicket`] if it accepts none.
    pub fn validate_ticket(
        &self,
        validator: &dyn TicketValidator,
    ) -> Result<Expiration, InvalidTicket> {
        self.tickets_of(validator.class())
            .filter_map(|ticket| validator.validate(&ticket.data, self).ok())
            .max()
            .ok_or(InvalidTicket)
    }

    /// The earliest of the validators' verdicts at `now`; see [`validate_all`].
    ///
    /// # Errors
    /// [`InvalidTicket`] if one of them accepts no ticket.
    pub fn validate_tickets(
        &self,
        validators: &[Arc<dyn TicketValidator>],
        now: UnixMillis,
    ) -> Result<Expiration, InvalidTicket> {
        validate_all(validators, self, now)
    }

    /// The version of this entry.
    #[must_use]
    pub fn update_version(&self) -> PeerEntryVersion {
        self.0.version
    }

    /// When the peer signed this entry, by its own clock.
    #[must_use]
    pub fn updated_at(&self) -> DateTime<Utc> {
        moment(self.0.wall)
    }

    /// When the peer's process started, by its own clock.
    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        moment(self.0.started)
    }

    /// When the peer signed this entry, by its own clock, in milliseconds.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.0.wall
    }

    /// The hash of the entry's content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::hash(&wire::encode(&*self.0))
    }

    /// True if two entries differ in version and signing time at most.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.protocol == b.protocol
            && a.network == b.network
            && a.started == b.started
            && a.address == b.address
            && a.tags == b.tags
            && a.streams == b.streams
            && a.functions == b.functions
            && a.groups == b.groups
            && a.tickets == b.tickets
    }

    /// True if both are of one peer and this one has the higher version.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.id() == other.id() && self.update_version() > other.update_version()
    }
}

fn moment(at: UnixMillis) -> DateTime<Utc> {
    i64::try_from(at.0).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

impl fmt::Debug for PeerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = &*self.0;
        f.debug_struct("PeerEntry")
            .field("id", &fields.address.id)
            .field("version", &format_args!("{}", fields.version))
            .field("addrs", &fields.address.addrs)
            .field("tags", &fields.tags.len())
            .field("streams", &fields.streams.len())
            .field("functions", &fields.functions.len())
            .field("groups", &fields.groups.len())
            .field("tickets", &fields.tickets.len())
            .finish()
    }
}

impl From<&PeerEntry> for PeerId {
    fn from(entry: &PeerEntry) -> Self {
        entry.id()
    }
}

/// An entry together with the bytes that its peer signed. A value in hand is authentic: there is
/// no way to make one but to sign it or to verify it.
#[derive(Clone)]
pub struct SignedPeerEntry {
    entry: PeerEntry,
    payload: Bytes,
    signature: Signature,
}

impl SignedPeerEntry {
    pub(super) fn sign(fields: Fields, key: &SecretKey) -> Self {
        debug_assert_eq!(fields.address.id, key.public());
        let payload = wire::encode(&fields);
        let signature = key.sign(DOMAIN, &payload);
        Self { entry: PeerEntry(Arc::new(fields)), payload, signature }
    }

    /// The entry without its signature.
    #[must_use]
    pub fn into_unsigned(self) -> PeerEntry {
        self.entry
    }

    /// The entry.
    #[must_use]
    pub const fn entry(&self) -> &PeerEntry {
        &self.entry
    }

    /// The wire form.
    #[must_use]
    pub fn to_unverified(&self) -> UnverifiedEntry {
        UnverifiedEntry {
            entry: self.entry.clone(),
            payload: self.payload.clone(),
            signature: self.signature,
        }
    }

    /// The number of bytes that were signed.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }
}

impl Deref for SignedPeerEntry {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl fmt::Debug for SignedPeerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signed").field(&self.entry).finish()
    }
}

impl PartialEq for SignedPeerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload && self.signature == other.signature
    }
}

impl Eq for SignedPeerEntry {}

impl From<SignedPeerEntry> for PeerEntry {
    fn from(signed: SignedPeerEntry) -> Self {
        signed.entry
    }
}

impl From<&SignedPeerEntry> for PeerEntry {
    fn from(signed: &SignedPeerEntry) -> Self {
        signed.entry.clone()
    }
}

impl From<&SignedPeerEntry> for PeerId {
    fn from(signed: &SignedPeerEntry) -> Self {
        signed.id()
    }
}

/// An entry as it came from somewhere: readable, so that old versions can be dropped before the
/// signature costs 40 µs, but not yet believed.
#[derive(Clone, Debug)]
pub struct UnverifiedEntry {
    entry: PeerEntry,
    payload: Bytes,
    signature: Signature,
}

impl UnverifiedEntry {
    /// Who it claims to be from.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.entry.id()
    }

    /// The version that it claims.
    #[must_use]
    pub fn version(&self) -> PeerEntryVersion {
        self.entry.update_version()
    }

    /// The claimed content. Not to be believed before [`verify`](Self::verify).
    #[must_use]
    pub const fn claimed(&self) -> &PeerEntry {
        &self.entry
    }

    /// Checks the signature over the received bytes.
    #[must_use]
    pub fn verify(self) -> Option<SignedPeerEntry> {
        let Self { entry, payload, signature } = self;
        let good = signature.verify(&entry.id(), DOMAIN, &payload)
            || mutant::on(Mutant::SignatureUnchecked);
        good.then_some(SignedPeerEntry { entry, payload, signature })
    }

    /// The number of bytes that were signed.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Reads an entry from its received parts.
    ///
    /// # Errors
    /// [`DecodeError`] if the payload is not exactly an entry.
    pub fn from_parts(payload: Bytes, signature: Signature) -> Result<Self, DecodeError> {
        let fields: Fields = wire::decode(&payload)?;
        Ok(Self { entry: PeerEntry(Arc::new(fields)), payload, signature })
    }
}

impl Serialize for UnverifiedEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (BytesField(&self.payload), self.signature).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UnverifiedEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (payload, signature) = <(OwnedBytes, Signature)>::deserialize(deserializer)?;
        Self::from_parts(payload.0, signature).map_err(D::Error::custom)
    }
}

impl Serialize for SignedPeerEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_unverified().serialize(serializer)
    }
}

/// Verifies: what could be deserialised is authentic.
impl<'de> Deserialize<'de> for SignedPeerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UnverifiedEntry::deserialize(deserializer)?
            .verify()
            .ok_or_else(|| D::Error::custom("the signature does not match the entry"))
    }
}

struct BytesField<'a>(&'a [u8]);

impl Serialize for BytesField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Deserialize)]
struct OwnedBytes(Bytes);
