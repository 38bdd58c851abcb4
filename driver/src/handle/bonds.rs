//! Whom this node is bonded with in a group.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
};

use mosaik_proto::{PeerId, discovery::SignedPeerEntry};

use super::{group_when::GroupFuture, shared::Shared};
use crate::{groups::cell::GroupCell, sync::cell::lock};

/// The members of a group that this node is bonded with: a live view.
#[derive(Clone)]
pub struct Bonds {
    cell: Arc<GroupCell>,
    shared: Arc<Shared>,
    /// What was seen by the last look.
    seen: Arc<Mutex<BTreeSet<PeerId>>>,
}

impl Bonds {
    pub(crate) fn new(cell: Arc<GroupCell>, shared: Arc<Shared>) -> Self {
        let bonds = Self { cell, shared, seen: Arc::default() };
        bonds.look();
        bonds
    }

    fn look(&self) -> BTreeSet<PeerId> {
        let now = self.cell.view.read(|view| view.status.bonds.clone());
        lock(&self.seen).clone_from(&now);
        now
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.look().len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if there is one with this peer.
    #[must_use]
    pub fn contains_peer(&self, peer: &PeerId) -> bool {
        self.look().contains(peer)
    }

    /// The bond with this peer.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<Bond> {
        self.iter().find(|bond| bond.peer.id() == *peer)
    }

    /// The bonds of this moment, by peer id.
    pub fn iter(&self) -> impl Iterator<Item = Bond> + use<> {
        let catalog = self.shared.catalog.snapshot();
        let cell = Arc::clone(&self.cell);
        self.look().into_iter().filter_map(move |peer| {
            let peer = catalog.get_signed(&peer)?.clone();
            Some(Bond { peer, cell: Arc::clone(&cell) })
        })
    }

    /// Resolves when there are others than at the last look at this value. Cancel safe.
    pub fn changed(&self) -> GroupFuture<()> {
        let (cell, seen) = (Arc::clone(&self.cell), Arc::clone(&self.seen));
        Box::pin(async move {
            cell.view
                .until(|view| {
                    let seen = &mut *lock(&seen);
                    let changed = *seen != view.status.bonds;
                    seen.clone_from(&view.status.bonds);
                    changed.then_some(())
                })
                .await;
        })
    }
}

impl fmt::Debug for Bonds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.cell.view.read(|view| view.status.bonds.clone())).finish()
    }
}

/// A bond: this node and another member know of each other that they are members.
#[derive(Clone)]
pub struct Bond {
    peer: SignedPeerEntry,
    cell: Arc<GroupCell>,
}

impl Bond {
    /// The other member, as it was known at the look.
    #[must_use]
    pub const fn peer(&self) -> &SignedPeerEntry {
        &self.peer
    }

    /// True if there is no bond with this peer any more.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        let peer = self.peer.id();
        self.cell.view.read(|view| view.closed || !view.status.bonds.contains(&peer))
    }

    /// Resolves when there is no bond with this peer any more. Cancel safe.
    pub fn terminated(&self) -> GroupFuture<()> {
        let (cell, peer) = (Arc::clone(&self.cell), self.peer.id());
        Box::pin(async move {
            cell.view
                .until(|view| (view.closed || !view.status.bonds.contains(&peer)).then_some(()))
                .await;
        })
    }
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bond({})", self.peer.id())
    }
}

impl fmt::Debug for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bond({:?})", self.peer.id())
    }
}
