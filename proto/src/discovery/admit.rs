//! The one gate through which every entry and tombstone of others comes in.

use core::time::Duration;

use super::{
    Catalog, EntryError, PeerEntryVersion, SignedPeerEntry, Tombstone, UnverifiedEntry,
    catalog::is_aged,
};
use crate::{
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    time::Now,
    wire,
};

/// Why an entry or a tombstone was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It belongs to another network.
    #[error("it belongs to another network")]
    Network,
    /// Its peer speaks another protocol version.
    #[error("its peer speaks another protocol version")]
    Protocol,
    /// It is about ourselves; somebody else may hold our key.
    #[error("it is about ourselves")]
    Own {
        /// The version, if it is one that we have to jump above.
        above: Option<PeerEntryVersion>,
    },
    /// This version, or a later one, is known.
    #[error("this version, or a later one, is known")]
    Known,
    /// It breaks a limit of the protocol.
    #[error("it breaks a limit: {0}")]
    Limits(EntryError),
    /// It is dated too far ahead of our clock.
    #[error("it is dated too far ahead of our clock")]
    Drift,
    /// It is a farewell too old to matter.
    #[error("it is a farewell too old to matter")]
    Expired,
    /// The signature does not match.
    #[error("the signature does not match")]
    Signature,
    /// There is no room for strangers.
    #[error("there is no room for strangers")]
    Full,
    /// A link brings more news than we check; it is asked again later.
    #[error("too much news at once")]
    Flood,
}

impl Refused {
    /// True if only a peer that breaks the protocol passes such a thing on.
    #[must_use]
    pub const fn is_violation(self) -> bool {
        matches!(self, Self::Signature)
    }
}

/// An entry at the gate.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    /// From the wire.
    Claimed(UnverifiedEntry),
    /// Verified on the way here (hello, feed); all other checks are the same.
    Signed(SignedPeerEntry),
}

impl Candidate {
    /// Whom it is about.
    pub(super) fn id(&self) -> PeerId {
        match self {
            Self::Claimed(entry) => entry.id(),
            Self::Signed(entry) => entry.id(),
        }
    }
}

/// What the checks depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) now: Now,
    pub(super) drift: Duration,
    /// The peer is linked or named: there is always room for it.
    pub(super) kept: bool,
}

impl Gate<'_> {
    /// Checks an entry, cheapest first: no signature work for what is known (DISC-02, DISC-03).
    pub(super) fn entry(self, candidate: Candidate) -> Result<SignedPeerEntry, Refused> {
        let (claimed, bytes) = match &candidate {
            Candidate::Claimed(entry) => (entry.claimed(), entry.payload_len()),
            Candidate::Signed(entry) => (entry.entry(), entry.payload_len()),
        };
        if claimed.network_id() != self.catalog.network_id() {
            return Err(Refused::Network);
        }
        if claimed.protocol_version() != wire::PROTOCOL_VERSION {
            return Err(Refused::Protocol);
        }
        let peer = claimed.id();
        let version = claimed.update_version();
        let own = peer == self.catalog.local_id();
        if own && !self.is_clash(&candidate) {
            return Err(Refused::Own { above: None });
        }
        let known = |rank: (PeerEntryVersion, bool)| {
            if mutant::on(Mutant::IncarnationNotCompared) {
                return rank.0.counter >= version.counter;
            }
            let older = rank > (version, false);
            rank >= (version, false) && !(older && mutant::on(Mutant::OlderAccepted))
        };
        if !own && self.catalog.rank(&peer).is_some_and(known) {
            return Err(Refused::Known);
        }
        if bytes > limits::ENTRY_BYTES {
            return Err(Refused::Limits(EntryError::TooLarge { bytes }));
        }
        claimed.check_limits().map_err(Refused::Limits)?;
        self.dated(claimed.wall().ahead_of(self.now.wall))?;
        if !own && !self.kept && !self.catalog.has_room_for(&peer) {
            return Err(Refused::Full);
        }
        let entry = match candidate {
            Candidate::Claimed(entry) => entry.verify().ok_or(Refused::Signature)?,
            Candidate::Signed(entry) => entry,
        };
        if own { Err(Refused::Own { above: Some(version) }) } else { Ok(entry) }
    }

    /// Checks a tombstone in the same manner.
    pub(super) fn tombstone(self, tombstone: &Tombstone) -> Result<(), Refused> {
        if tombstone.network_id() != self.catalog.network_id() {
            return Err(Refused::Network);
        }
        let peer = tombstone.peer();
        let own = peer == self.catalog.local_id();
        match self.catalog.rank(&peer) {
            Some((version, _)) if own && version > tombstone.version() => {
                return Err(Refused::Own { above: None });
            }
            Some((version, _))
                if mutant::on(Mutant::TieKeepsFirst) && !own && version >= tombstone.version() =>
            {
                return Err(Refused::Known);
            }
            Some(rank) if !own && rank >= (tombstone.version(), true) => {
                return Err(Refused::Known);
            }
            None if !own && is_aged(self.now, self.now.mono, tombstone) => {
                return Err(Refused::Expired);
            }
            Some(_) | None => {}
        }
        self.dated(tombstone.wall().ahead_of(self.now.wall))?;
        if !own && !self.catalog.has_room_for_end_of(&peer) {
            return Err(Refused::Full);
        }
        if !tombstone.verify() {
            return Err(Refused::Signature);
        }
        if own { Err(Refused::Own { above: Some(tombstone.version()) }) } else { Ok(()) }
    }

    /// True if an entry with our key is not simply an old one, or the one, that we signed.
    fn is_clash(self, candidate: &Candidate) -> bool {
        let Some(local) = self.catalog.local() else { return false };
        let claimed = match candidate {
            Candidate::Claimed(entry) => entry.claimed(),
            Candidate::Signed(entry) => entry.entry(),
        };
        let ours = local.update_version();
        let version = claimed.update_version();
        version > ours || (version == ours && claimed != local.entry())
    }

    fn dated(self, ahead_millis: i64) -> Result<(), Refused> {
        let allowed = i64::try_from(self.drift.as_millis()).unwrap_or(i64::MAX);
        let late = ahead_millis > allowed && !mutant::on(Mutant::DriftUnchecked);
        if late { Err(Refused::Drift) } else { Ok(()) }
    }
}
