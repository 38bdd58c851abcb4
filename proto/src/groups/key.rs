//! What members of a group share: the key, and what is derived from it.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::ConsensusConfig;
use crate::{
    Digest,
    ids::{GroupId, PeerId, UniqueId},
    mutant::{self, Mutant},
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
        let unbound = mutant::on(Mutant::BindingLeftOut);
        hasher.update(if unbound { &[0; 32] } else { binding });
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

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, format, vec};
    use core::time::Duration;

    use super::*;
    use crate::{
        discovery::PeerEntry,
        ids::TicketClass,
        tickets::{Expiration, InvalidTicket},
    };

    struct Named(&'static str);

    impl TicketValidator for Named {
        fn class(&self) -> TicketClass {
            Digest::zero()
        }
        fn signature(&self) -> UniqueId {
            Digest::from(self.0)
        }
        fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
            Err(InvalidTicket)
        }
    }

    /// One id for each set of terms that differs in one thing, and for two orders of validators.
    #[test]
    fn grp_01_members_that_differ_are_in_different_groups() {
        let key = GroupKey::from_secret("a secret");
        let timing = ConsensusConfig::default();
        let [a, b] = ["a", "b"].map(|name| Arc::new(Named(name)) as Arc<dyn TicketValidator>);
        let (ab, ba, one) = ([a.clone(), b.clone()], [b, a.clone()], [a]);
        let (machine, sync) = (Digest::from("machine"), Digest::from("sync"));
        let anybody = Founders::Anybody;
        let terms =
            GroupTerms { timing: &timing, machine, sync, founders: &anybody, validators: &[] };
        let with = |change: &dyn Fn(&mut ConsensusConfig)| {
            let mut timing = ConsensusConfig::default();
            change(&mut timing);
            key.group_id(&GroupTerms { timing: &timing, ..terms })
        };
        let named = |at: u8| Founders::Named(BTreeSet::from([PeerId::from_bytes([at; 32])]));
        let founded = |founders: &Founders| key.group_id(&GroupTerms { founders, ..terms });
        let ids = vec![
            key.group_id(&terms),
            GroupKey::from_secret("another").group_id(&terms),
            with(&|timing| timing.heartbeat_interval += Duration::from_nanos(1)),
            with(&|timing| timing.heartbeat_jitter += Duration::from_nanos(1)),
            with(&|timing| timing.max_missed_heartbeats += 1),
            key.group_id(&GroupTerms { machine: Digest::zero(), ..terms }),
            key.group_id(&GroupTerms { sync: Digest::zero(), ..terms }),
            key.group_id(&GroupTerms { machine: sync, sync: machine, ..terms }),
            founded(&Founders::Count(3)),
            founded(&Founders::Count(4)),
            founded(&named(1)),
            founded(&named(2)),
            key.group_id(&GroupTerms { validators: &one, ..terms }),
            key.group_id(&GroupTerms { validators: &ab, ..terms }),
            key.group_id(&GroupTerms { validators: &ba, ..terms }),
        ];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        // Each member may have its own patience.
        assert_eq!(with(&|timing| timing.election_timeout *= 2), ids[0]);
        assert_eq!(with(&|_| ()), ids[0], "the same terms, the same group");
        assert!(!ids.contains(&key.secret().hashed()), "the id does not lead to the key");
    }

    #[test]
    fn grp_01_a_key_is_not_shown() {
        let key = GroupKey::from_secret("a secret");
        let whole = format!("{}", key.secret());
        let shown = format!("{key} {key:?}");
        assert_eq!(shown.matches(&whole[..4]).count(), 0, "{shown}");
        assert!(shown.starts_with(&whole[..2]) && shown.len() < 30);
        assert_eq!(key, GroupKey::new(*key.secret()));
        assert_eq!(GroupKey::from(&Named("a")), GroupKey::from(Digest::from("a")));
        let prover = Prover::new(Digest::zero(), key.secret());
        assert!(!format!("{prover:?}").contains(&whole));
    }
}
