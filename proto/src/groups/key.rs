//! What members of a group share: the key, and what is derived from it.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::ConsensusConfig;
use crate::{
    Digest,
    ids::{GroupId, PeerId, UniqueId},
    raft::Founders,
    tickets::TicketValidator,
};

/// Tells one use of the secret from another: hashes of different uses cannot be equal.
const GROUP_ID: &str = "mosaik 2026-11-22 group id v1";
const PROOF: &str = "mosaik 2026-11-22 group bond proof v1";

/// The secret of a group. Who has it may bond with the members, subject to their tickets.
///
/// A key made of a public name ([`from_secret`](Self::from_secret) of something that others can guess,
/// or the signature of a validator) names a group; it keeps nobody out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupKey(Digest);

impl GroupKey {
    /// The key with these bytes.
    #[must_use]
    pub const fn new(secret: Digest) -> Self {
        Self(secret)
    }

    /// The key of a secret: text is hashed, unless it is 64 hexadecimal digits.
    #[must_use]
    pub fn from_secret(secret: impl Into<Digest>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    #[must_use]
    pub const fn secret(&self) -> &Digest {
        &self.0
    }

    /// The id of the group that has this key and these terms (GRP-01).
    #[must_use]
    pub fn group_id(&self, terms: &GroupTerms<'_>) -> GroupId {
        let mut hasher = blake3::Hasher::new_derive_key(GROUP_ID);
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.0.as_bytes());
        let ConsensusConfig { heartbeat_interval, heartbeat_jitter, max_missed_heartbeats, .. } =
            terms.timing;
        field(&heartbeat_interval.as_nanos().to_le_bytes());
        field(&heartbeat_jitter.as_nanos().to_le_bytes());
        field(&max_missed_heartbeats.to_le_bytes());
        field(terms.machine.as_bytes());
        field(terms.sync.as_bytes());
        let founders = match terms.founders {
            Founders::Anybody => Vec::new(),
            Founders::Count(count) => (*count as u64).to_le_bytes().to_vec(),
            Founders::Named(peers) => peers.iter().flat_map(|p| *p.as_bytes()).collect(),
        };
        field(&[match terms.founders {
            Founders::Anybody => 0,
            Founders::Count(_) => 1,
            Founders::Named(_) => 2,
        }]);
        field(&founders);
        for validator in terms.validators {
            field(validator.signature().as_bytes());
        }
        Digest::from_hasher(&hasher)
    }
}

impl From<Digest> for GroupKey {
    fn from(secret: Digest) -> Self {
        Self(secret)
    }
}

impl From<&Digest> for GroupKey {
    fn from(secret: &Digest) -> Self {
        Self(*secret)
    }
}

/// The group of those whom the validator accepts. Its signature is no secret: what keeps others out is
/// the validator itself, which the group has to require as well.
impl<V: TicketValidator> From<&V> for GroupKey {
    fn from(validator: &V) -> Self {
        Self(validator.signature())
    }
}

/// Shows first and last byte.
impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, .., last] = self.0.as_bytes();
        write!(f, "{first:02x}..{last:02x}")
    }
}

/// Shows what [`Display`](fmt::Display) shows.
impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({self})")
    }
}

/// What all members of a group agree on besides its key. Who differs in any of it is in another group.
#[derive(Clone, Copy)]
pub struct GroupTerms<'a> {
    /// Of these, the heartbeat settings count.
    pub timing: &'a ConsensusConfig,
    /// The signature of the machine.
    pub machine: UniqueId,
    /// The signature of how its state is handed on.
    pub sync: UniqueId,
    /// Who must be there before the first command is taken.
    pub founders: &'a Founders,
    /// Who judges tickets, in order.
    pub validators: &'a [Arc<dyn TicketValidator>],
}

impl fmt::Debug for GroupTerms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupTerms")
            .field("machine", &self.machine)
            .field("sync", &self.sync)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}

/// Makes and checks the proofs of one group.
#[derive(Clone)]
pub(super) struct Prover {
    group: GroupId,
    key: [u8; 32],
}

/// Which end of a bond speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Who opened its channel.
    Opener = 1,
    /// Who accepted it.
    Acceptor = 2,
}

impl End {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

impl Prover {
    pub(super) fn new(group: GroupId, secret: &Digest) -> Self {
        Self { group, key: blake3::derive_key(PROOF, secret.as_bytes()) }
    }

    /// GRP-02: that `sender`, on the link with this binding and at this end of the bond, knows the
    /// secret and announces these bytes. All fields but the last have a fixed length.
    pub(super) fn proof(
        &self,
        binding: &[u8; 32],
        sender: &PeerId,
        end: End,
        announcement: &[u8],
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(binding);
        hasher.update(self.group.as_bytes());
        hasher.update(sender.as_bytes());
        hasher.update(&[end as u8]);
        hasher.update(announcement);
        hasher.finalize()
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prover(of {:?})", self.group)
    }
}
