//! `network.groups()`: joining groups.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use mosaik_proto::{
    PeerId,
    discovery::PeerInfo,
    groups::{ConsensusConfig, GroupConfig, GroupKey, GroupTerms},
    ids::GroupId,
    limits,
    raft::Founders,
    streams::Predicate,
    tickets::TicketValidator,
};

use super::{
    group::Group,
    shared::{Life, Shared},
    streams::{Guarded, guarded},
};
use crate::{
    groups::{
        LeadershipPreference, NoOp, StateMachine, StateSync,
        cell::{GroupCell, Start},
        runner::{Hosted, Runner},
        settings,
    },
    storage::{LogStore, Wal},
    sync::cell::lock,
};

/// Joins groups. Get it from `network.groups()`.
#[derive(Clone, Debug)]
pub struct Groups {
    pub(crate) shared: Arc<Shared>,
}

impl Groups {
    /// Configures the membership in the group with this key.
    pub fn with_key(&self, key: impl Into<GroupKey>) -> GroupBuilder<'_> {
        GroupBuilder {
            groups: self,
            key: key.into(),
            machine: NoOp,
            store: Keep::Memory,
            timing: ConsensusConfig::default(),
            max_voters: limits::MAX_VOTERS,
            founders: Founders::Anybody,
            require: Predicate::everybody(),
            validators: Vec::new(),
        }
    }
}

/// Where a member keeps its log.
enum Keep {
    Memory,
    /// Below this directory, under the group's id.
    Directory(PathBuf),
    Store(Box<dyn LogStore>),
}

/// Configures the membership in a group; [`join`](Self::join) begins it.
#[must_use = "a group is joined by join()"]
pub struct GroupBuilder<'g, M: StateMachine = NoOp> {
    groups: &'g Groups,
    key: GroupKey,
    machine: M,
    store: Keep,
    timing: ConsensusConfig,
    max_voters: usize,
    founders: Founders,
    require: Predicate,
    validators: Vec<Arc<dyn TicketValidator>>,
}

impl<'g> GroupBuilder<'g> {
    /// What the group replicates. Default: [`NoOp`], nothing but a leader.
    pub fn with_state_machine<M: StateMachine>(self, machine: M) -> GroupBuilder<'g, M> {
        let Self { groups, key, machine: NoOp, store, timing, .. } = self;
        GroupBuilder {
            groups,
            key,
            machine,
            store,
            timing,
            max_voters: self.max_voters,
            founders: self.founders,
            require: self.require,
            validators: self.validators,
        }
    }
}

impl<M: StateMachine> GroupBuilder<'_, M> {
    /// Keeps log and votes in this store, which must be this member's alone. Default: in memory, where
    /// they end with the process; [`InMemoryLogStore`](crate::storage::InMemoryLogStore) is the same as
    /// the default.
    pub fn with_log_storage(mut self, store: impl LogStore) -> Self {
        self.store = if store.is_durable() { Keep::Store(Box::new(store)) } else { Keep::Memory };
        self
    }

    /// Keeps log and votes in a directory below this one, named by the group, so that they survive the
    /// process: see [`Wal`]. To come back as the same member the node needs the same key
    /// ([`with_secret_key`](crate::NetworkBuilder::with_secret_key)). Restoring the directory from a copy
    /// counts as losing it.
    pub fn with_data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // The place is that of now, wherever the program goes before the store is opened.
        self.store = Keep::Directory(std::path::absolute(&path).unwrap_or(path));
        self
    }

    /// The timing. Heartbeat settings are part of the group's id.
    pub const fn with_consensus_config(mut self, timing: ConsensusConfig) -> Self {
        self.timing = timing;
        self
    }

    /// Seats that the leader fills: an odd number serves best. Default: [`limits::MAX_VOTERS`].
    pub fn with_max_voters(mut self, voters: usize) -> Self {
        self.max_voters = voters.clamp(1, limits::VOTERS);
        self
    }

    /// Refuses commands until so many voters, or these, are there. Named founders exclude that a group is
    /// founded twice; a number does so only while fewer than twice as many voting members exist. Part of
    /// the group's id.
    pub fn with_founders(mut self, founders: impl Into<FoundersArg>) -> Self {
        self.founders = founders.into().0;
        self
    }

    /// Bonds only with peers that pass this test. May be repeated: all tests must pass. It must not
    /// block; a panic denies.
    pub fn require(mut self, test: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        self.require = self.require.and(guarded(&self.groups.shared, test));
        self
    }

    /// Bonds only with peers that have a ticket which this validator accepts. May be repeated: all must
    /// accept. Part of the group's id, in order.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        let guarded = Guarded::new(validator, &self.groups.shared);
        self.validators.push(Arc::new(guarded));
        self
    }

    /// Takes part in the group; never waits. If this node is in it already, this is another handle of
    /// the same member, and the machine, the store and the rest of the configuration are dropped.
    ///
    /// # Panics
    /// If this node is in the group with a machine of another type, or in [`limits::GROUPS`] groups.
    #[must_use = "the group is left when the last handle is dropped"]
    pub fn join(self) -> Group<M> {
        let shared = Arc::clone(&self.groups.shared);
        let sync = self.machine.state_sync();
        let id = self.key.group_id(&GroupTerms {
            timing: &self.timing,
            machine: self.machine.signature(),
            sync: sync.signature(),
            founders: &self.founders,
            validators: &self.validators,
        });
        let preference = self.machine.leadership_preference();
        let writes = preference != LeadershipPreference::Observer;
        let (cell, hosted) =
            shared.groups.join(&shared, id, writes, || self.start(id, sync, preference));
        Group::of(cell, hosted, shared, writes)
    }

    fn start(
        self,
        id: GroupId,
        sync: M::StateSync,
        preference: LeadershipPreference,
    ) -> (Start, Arc<Hosted<M>>) {
        let store: Option<Box<dyn LogStore>> = match self.store {
            Keep::Memory => None,
            Keep::Directory(path) => Some(Box::new(Wal::new(path.join(id.to_string())))),
            Keep::Store(store) => Some(store),
        };
        let fresh = self.machine.fresh();
        let mut timing = self.timing.clone();
        if let LeadershipPreference::Reluctant { factor } = preference {
            timing.election_timeout *= factor.max(1);
        }
        let config = GroupConfig {
            can_vote: preference != LeadershipPreference::Observer,
            durable: store.is_some(),
            snapshots: sync.has_snapshots(),
            digests: self.machine.digest().is_some(),
            restartable: fresh.is_some(),
            timing,
            max_voters: self.max_voters,
            founders: self.founders.clone(),
            require: self.require,
            validators: self.validators.clone(),
            ..GroupConfig::new(id, *self.key.secret())
        };
        let settings = settings::GroupConfig {
            id,
            key: self.key,
            timing: self.timing,
            validators: self.validators,
            max_voters: self.max_voters,
            founders: self.founders,
            durable: store.is_some(),
            clock: self.groups.shared.clock.clone(),
        };
        let hosted = Arc::new(Hosted::new(self.machine));
        let runner = Box::new(Runner::new(Arc::clone(&hosted), sync, fresh));
        let any: Arc<dyn Any + Send + Sync> = Arc::<Hosted<M>>::clone(&hosted);
        (Start { config, settings, hosted: any, runner, store }, hosted)
    }
}

impl<M: StateMachine> fmt::Debug for GroupBuilder<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("key", &self.key)
            .field("timing", &self.timing)
            .field("max_voters", &self.max_voters)
            .field("founders", &self.founders)
            .finish_non_exhaustive()
    }
}

/// How many founders, or which: what [`GroupBuilder::with_founders`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundersArg(Founders);

impl From<Founders> for FoundersArg {
    fn from(founders: Founders) -> Self {
        Self(founders)
    }
}

impl From<usize> for FoundersArg {
    fn from(count: usize) -> Self {
        Self(Founders::Count(count))
    }
}

impl From<BTreeSet<PeerId>> for FoundersArg {
    fn from(peers: BTreeSet<PeerId>) -> Self {
        Self(Founders::Named(peers))
    }
}

impl From<Vec<PeerId>> for FoundersArg {
    fn from(peers: Vec<PeerId>) -> Self {
        Self(Founders::Named(peers.into_iter().collect()))
    }
}

impl<const N: usize> From<[PeerId; N]> for FoundersArg {
    fn from(peers: [PeerId; N]) -> Self {
        Self(Founders::Named(peers.into()))
    }
}

/// The groups that this node is in.
#[derive(Debug, Default)]
pub(crate) struct GroupsRegistry(Mutex<BTreeMap<GroupId, Arc<GroupCell>>>);

impl GroupsRegistry {
    /// The member of a group, with one handle more.
    fn join<M: StateMachine>(
        &self,
        shared: &Arc<Shared>,
        id: GroupId,
        writes: bool,
        start: impl FnOnce() -> (Start, Arc<Hosted<M>>),
    ) -> (Arc<GroupCell>, Arc<Hosted<M>>) {
        let mut groups = lock(&self.0);
        if let Some(cell) = groups.get(&id)
            && cell.adopt(writes)
        {
            let hosted = Arc::clone(&cell.hosted).downcast::<Hosted<M>>();
            let hosted = hosted.unwrap_or_else(|_| {
                cell.leave(writes);
                panic!("this node is in the group {id} with a machine of another type");
            });
            cell.announce();
            return (Arc::clone(cell), hosted);
        }
        assert!(groups.len() < limits::GROUPS, "too many groups on one node");
        let (start, hosted) = start();
        let cell = GroupCell::new(start, shared);
        cell.adopt(writes);
        // One that is being left goes on until it was; then this one begins.
        groups.insert(id, Arc::clone(&cell));
        shared.metrics.groups.set(groups.len() as f64);
        if shared.life.read(|life| *life != Life::Running) {
            cell.shut();
        } else {
            cell.announce();
            // An entry that is full of groups keeps this one to itself.
            if let Err(error) = shared.edit(|entry| {
                entry.groups().insert(id);
            }) {
                tracing::error!(%error, "the group cannot be advertised");
            }
        }
        (cell, hosted)
    }

    /// A member has left its group: the node does not advertise it any more, unless it has joined again.
    pub(crate) fn left(&self, cell: &Arc<GroupCell>, shared: &Shared) {
        let mut groups = lock(&self.0);
        if groups.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            groups.remove(&cell.id);
            shared.metrics.groups.set(groups.len() as f64);
            let _ = shared.edit(|entry| {
                entry.groups().remove(&cell.id);
            });
        }
    }

    /// The member that is, or will be, in this group.
    pub(crate) fn find(&self, group: &GroupId) -> Option<Arc<GroupCell>> {
        lock(&self.0).get(group).cloned()
    }

    /// The node has ended: every handle resolves.
    pub(crate) fn end(&self) {
        let cells: Vec<_> = lock(&self.0).values().cloned().collect();
        cells.iter().for_each(|cell| cell.shut());
    }
}
