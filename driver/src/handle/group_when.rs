//! Waiting for what a group becomes.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use mosaik_proto::{
    PeerId,
    groups::{Cursor, Index, Status},
    raft::Role,
};

use crate::{
    groups::cell::{GroupCell, View},
    sync::cell::Watched,
};

/// A future that holds no borrow and runs anywhere.
pub type GroupFuture<T> = Pin<Box<dyn Future<Output = T> + Send + Sync + 'static>>;

/// Makes futures that resolve when a group is in some state. The futures are detached: they hold no
/// borrow of the handle and do not keep this node in the group. Unless said otherwise they never
/// resolve once the group was left. All are cancel safe.
#[derive(Clone)]
pub struct When {
    cell: Arc<GroupCell>,
}

impl When {
    pub(crate) const fn new(cell: Arc<GroupCell>) -> Self {
        Self { cell }
    }

    fn until<R>(
        &self,
        mut ready: impl FnMut(&View) -> Option<R> + Send + Sync + 'static,
    ) -> GroupFuture<R>
    where
        R: Send + Sync + 'static,
    {
        let cell = Arc::clone(&self.cell);
        Box::pin(async move { cell.view.until(|view| ready(view)).await })
    }

    fn status<R>(
        &self,
        mut ready: impl FnMut(&Status) -> Option<R> + Send + Sync + 'static,
    ) -> GroupFuture<R>
    where
        R: Send + Sync + 'static,
    {
        self.until(move |view| if view.closed { None } else { ready(&view.status) })
    }

    /// Resolves when writes and linearizable reads work here, at once if they do.
    pub fn online(&self) -> GroupFuture<()> {
        self.until(|view| view.is_online().then_some(()))
    }

    /// Resolves when they do not, at once if so or if the group was left.
    pub fn offline(&self) -> GroupFuture<()> {
        self.until(|view| (!view.is_online()).then_some(()))
    }

    /// Resolves when the group was left, by this node's last handle or because the node ended.
    pub fn closed(&self) -> GroupFuture<()> {
        self.until(|view| view.closed.then_some(()))
    }

    /// The leader, as soon as one is known.
    pub fn leader_elected(&self) -> GroupFuture<PeerId> {
        self.status(|status| status.leader)
    }

    /// The next leader that is another than at the call.
    pub fn leader_changed(&self) -> GroupFuture<PeerId> {
        let before = self.cell.view.read(|view| view.status.leader);
        self.status(move |status| status.leader.filter(|leader| Some(*leader) != before))
    }

    /// Resolves when this peer leads, at once if it does.
    pub fn leader_is(&self, peer: PeerId) -> GroupFuture<()> {
        self.status(move |status| (status.leader == Some(peer)).then_some(()))
    }

    /// Resolves when this node leads, at once if it does.
    pub fn is_leader(&self) -> GroupFuture<()> {
        self.status(|status| (status.role == Role::Leader).then_some(()))
    }

    /// Resolves when this node does not lead, at once if it does not.
    pub fn is_follower(&self) -> GroupFuture<()> {
        self.status(|status| (status.role != Role::Leader).then_some(()))
    }

    /// Resolves when the status is such that `ready` gives a value.
    pub fn status_is<R: Send + Sync + 'static>(
        &self,
        ready: impl FnMut(&Status) -> Option<R> + Send + Sync + 'static,
    ) -> GroupFuture<R> {
        self.status(ready)
    }

    /// What is committed, and applied here.
    #[must_use]
    pub fn committed(&self) -> CursorWatcher<Index> {
        CursorWatcher {
            cell: Arc::clone(&self.cell),
            of: |cell| &cell.applied,
            show: |at| at.index(),
        }
    }

    /// The end of this member's log.
    #[must_use]
    pub fn log(&self) -> CursorWatcher<Cursor> {
        CursorWatcher { cell: Arc::clone(&self.cell), of: |cell| &cell.log, show: |at| at }
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").field("group", &self.cell.id).finish_non_exhaustive()
    }
}

/// Waits for a position. Its futures never resolve once the group was left.
#[derive(Clone)]
pub struct CursorWatcher<T> {
    cell: Arc<GroupCell>,
    of: fn(&GroupCell) -> &Watched<Cursor>,
    show: fn(Cursor) -> T,
}

impl<T: 'static> CursorWatcher<T> {
    fn until(
        &self,
        mut ready: impl FnMut(Cursor, Cursor) -> bool + Send + Sync + 'static,
    ) -> GroupFuture<T> {
        let (cell, of, show) = (Arc::clone(&self.cell), self.of, self.show);
        let before = of(&cell).read(|at| *at);
        Box::pin(async move { of(&cell).until(|at| ready(before, *at).then(|| show(*at))).await })
    }

    /// The next position that is another than at the call.
    pub fn changed(&self) -> GroupFuture<T> {
        self.until(|before, at| before != at)
    }

    /// The next position that is ahead of the one at the call.
    pub fn advanced(&self) -> GroupFuture<T> {
        self.until(|before, at| at.index() > before.index())
    }

    /// The next position that is behind the one at the call: entries were cut off, or the history was
    /// left for another.
    pub fn reverted(&self) -> GroupFuture<T> {
        self.until(|before, at| at.index() < before.index())
    }

    /// The first position from `index` on, at once if it is reached; of a range, from its end on.
    pub fn reaches(&self, index: impl Into<Index>) -> GroupFuture<T> {
        let index = index.into();
        self.until(move |_, at| at.index() >= index)
    }
}

impl<T> fmt::Debug for CursorWatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CursorWatcher({:?})", (self.of)(&self.cell).read(|at| *at))
    }
}
