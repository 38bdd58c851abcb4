//! The application's handle of a group.

use std::{collections::BTreeSet, fmt, ops::Deref, sync::Arc};

use mosaik_proto::{
    PeerId,
    groups::{Cursor, Index, Input, Notice, OperatorError, Status},
    ids::GroupId,
    raft::{Lineage, Role},
};

use super::{
    bonds::Bonds,
    group_calls::{ExecuteFuture, ExecuteManyFuture, QueryFuture},
    group_when::{GroupFuture, When},
    shared::Shared,
};
use crate::{
    groups::{
        GroupConfig, StateMachine,
        calls::Until,
        cell::{Answer, GroupCell},
        runner::Hosted,
    },
    sync::broadcast::Events,
};

/// How much a query must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// What this member has applied: at once, perhaps behind others.
    Weak,
    /// Everything that was in force anywhere when the query was made (linearizable): a round trip.
    Strong,
}

/// A group that this node is in.
///
/// Clones and further [`join`](crate::groups::GroupBuilder::join)s give handles of the same member; the
/// group is left, in good order, when the last one is dropped or the node ends.
///
/// The futures of [`execute`](Self::execute), [`feed`](Self::feed) and their kin are eager: the commands
/// are on their way when the call returns, and stay so when the future is dropped. Calls of one node
/// take effect in their order. Only where [`limits::COMMANDS_IN_FLIGHT`] commands or
/// [`limits::COMMANDS_BYTES`] are under way already, a future takes its place when it is polled and
/// there is room.
///
/// [`limits::COMMANDS_IN_FLIGHT`]: mosaik_proto::limits::COMMANDS_IN_FLIGHT
/// [`limits::COMMANDS_BYTES`]: mosaik_proto::limits::COMMANDS_BYTES
pub struct Group<M: StateMachine> {
    cell: Arc<GroupCell>,
    hosted: Arc<Hosted<M>>,
    shared: Arc<Shared>,
    when: When,
    writes: bool,
}

impl<M: StateMachine> Group<M> {
    /// A handle of a cell that was [adopted](GroupCell::adopt).
    pub(crate) fn of(
        cell: Arc<GroupCell>,
        hosted: Arc<Hosted<M>>,
        shared: Arc<Shared>,
        writes: bool,
    ) -> Self {
        let when = When::new(Arc::clone(&cell));
        Self { cell, hosted, shared, when, writes }
    }

    // --- what it is ------------------------------------------------------------------------

    /// The group: a digest of its key and of everything that members must agree on.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.cell.id
    }

    /// How this member was configured.
    #[must_use]
    pub fn config(&self) -> &GroupConfig {
        &self.cell.settings
    }

    /// Futures for what the group becomes.
    #[must_use]
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// Whom this node is bonded with: all members that it can reach.
    #[must_use]
    pub fn bonds(&self) -> Bonds {
        Bonds::new(Arc::clone(&self.cell), Arc::clone(&self.shared))
    }

    /// What this member knows of the group: role, voters, lag, and why it is not online.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.cell.view.read(|view| Arc::clone(&view.status))
    }

    /// What happens to the group that an operator should know, from now on or from the start
    /// ([`with_history`](Events::with_history)).
    #[must_use]
    pub fn notices(&self) -> Events<Notice> {
        self.cell.notices.subscribe()
    }

    /// True if writes and linearizable reads work here, as far as this member knows.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.cell.view.read(|view| view.is_online())
    }

    /// True if this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.cell.view.read(|view| view.status.role == Role::Leader)
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<PeerId> {
        self.cell.view.read(|view| view.status.leader)
    }

    /// The last command that is committed and applied here.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.cell.applied.read(|at| at.index())
    }

    /// The last command in this member's log.
    #[must_use]
    pub fn log_position(&self) -> Cursor {
        self.cell.log.read(|at| *at)
    }

    // --- commands --------------------------------------------------------------------------

    /// Has a command applied by all members. `Ok` with its place means that it is in force for ever and
    /// applied here.
    ///
    /// # Errors
    /// [`CommandError`](crate::groups::CommandError) says whether anything changed, or may have.
    pub fn execute(&self, command: M::Command) -> ExecuteFuture<M> {
        ExecuteFuture::new(&self.cell, self.writes, Until::Applied, command)
    }

    /// As [`execute`](Self::execute), for commands in this order. Their places follow each other, unless
    /// they are so many or so large that they do not travel together.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). If one cannot be sent, those before it are under way and only the
    /// others come back.
    pub fn execute_many(
        &self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> ExecuteManyFuture<M> {
        let commands = commands.into_iter().collect();
        ExecuteManyFuture::new(Arc::clone(&self.cell), self.writes, Until::Applied, commands)
    }

    /// As [`execute`](Self::execute), but resolves as soon as the leader has the command in its log.
    /// That is a first word, not the last: the command, and its place, may still be lost with that
    /// leader.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn feed(&self, command: M::Command) -> ExecuteFuture<M> {
        ExecuteFuture::new(&self.cell, self.writes, Until::Taken, command)
    }

    /// As [`feed`](Self::feed), for commands in this order.
    ///
    /// # Errors
    /// As [`execute_many`](Self::execute_many).
    pub fn feed_many(
        &self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> ExecuteManyFuture<M> {
        let commands = commands.into_iter().collect();
        ExecuteManyFuture::new(Arc::clone(&self.cell), self.writes, Until::Taken, commands)
    }

    /// Asks this member's machine. A [`Strong`](Consistency::Strong) query waits until everything that
    /// was in force when it was made is applied here; a [`Weak`](Consistency::Weak) one does not wait.
    ///
    /// # Errors
    /// [`QueryError`](crate::groups::QueryError) says why there is no answer.
    pub fn query(&self, query: M::Query, consistency: Consistency) -> QueryFuture<M> {
        let strong = consistency == Consistency::Strong;
        QueryFuture::new(Arc::clone(&self.cell), Arc::clone(&self.hosted), query, strong)
    }

    // --- operators -------------------------------------------------------------------------

    /// Hands leadership over, to this voter or to the best one. Only the leader can.
    ///
    /// # Errors
    /// [`OperatorError`] says why not.
    pub fn transfer(
        &self,
        to: impl Into<Option<PeerId>>,
    ) -> GroupFuture<Result<(), OperatorError>> {
        let to = to.into();
        answered(self.cell.request(|request| Input::Transfer { request, to }))
    }

    /// Goes on without these voters, whose stores are lost for good, where too few are left to elect a
    /// leader. To be called at the most advanced survivor while all survivors are linked. What only the
    /// lost ones had is lost; the history is a new one, made from this member's.
    ///
    /// # Errors
    /// [`OperatorError`] says why not; then nothing changed.
    pub fn recover(
        &self,
        gone: impl IntoIterator<Item = PeerId>,
    ) -> GroupFuture<Result<(), OperatorError>> {
        let gone: BTreeSet<_> = gone.into_iter().collect();
        answered(self.cell.request(|request| Input::Recover { request, gone }))
    }

    /// Ends a conflict of two histories: this member's gives way to the one named.
    ///
    /// # Errors
    /// [`OperatorError`] says why not; then nothing changed.
    pub fn yield_to(&self, lineage: Lineage) -> GroupFuture<Result<(), OperatorError>> {
        answered(self.cell.request(|request| Input::Yield { request, to: lineage }))
    }

    /// Drops this handle and resolves when the group was left, which is when no other handle of it is
    /// alive.
    pub fn leave(self) -> GroupFuture<()> {
        let closed = self.when.closed();
        drop(self);
        closed
    }
}

fn answered(answer: Answer) -> GroupFuture<Result<(), OperatorError>> {
    Box::pin(async move { answer.until(Option::take).await })
}

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        self.cell.join(self.writes);
        let (cell, hosted) = (Arc::clone(&self.cell), Arc::clone(&self.hosted));
        Self::of(cell, hosted, Arc::clone(&self.shared), self.writes)
    }
}

impl<M: StateMachine> Drop for Group<M> {
    fn drop(&mut self) {
        self.cell.leave(self.writes);
        self.cell.announce();
    }
}

impl<M: StateMachine> fmt::Display for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({})", mosaik_proto::Short(self.cell.id))
    }
}

impl<M: StateMachine> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", self.id())
            .field("leader", &self.leader())
            .field("committed", &self.committed())
            .field("online", &self.is_online())
            .finish_non_exhaustive()
    }
}

/// The answer to a query, and what it is the answer of.
pub struct QueryResultAt<M: StateMachine> {
    /// The answer.
    pub result: M::QueryResult,
    /// The last command that the machine had applied.
    pub at_position: Index,
}

impl<M: StateMachine> QueryResultAt<M> {
    /// The answer.
    pub const fn result(&self) -> &M::QueryResult {
        &self.result
    }

    /// The last command that the machine had applied.
    #[must_use]
    pub const fn state_position(&self) -> Index {
        self.at_position
    }

    /// The answer alone.
    pub fn into(self) -> M::QueryResult {
        self.result
    }
}

impl<M: StateMachine> Deref for QueryResultAt<M> {
    type Target = M::QueryResult;

    fn deref(&self) -> &M::QueryResult {
        &self.result
    }
}

impl<M: StateMachine> PartialEq<M::QueryResult> for QueryResultAt<M>
where
    M::QueryResult: PartialEq,
{
    fn eq(&self, other: &M::QueryResult) -> bool {
        self.result == *other
    }
}

impl<M: StateMachine> Clone for QueryResultAt<M>
where
    M::QueryResult: Clone,
{
    fn clone(&self) -> Self {
        Self { result: self.result.clone(), at_position: self.at_position }
    }
}

impl<M: StateMachine> fmt::Display for QueryResultAt<M>
where
    M::QueryResult: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.result.fmt(f)
    }
}

impl<M: StateMachine> fmt::Debug for QueryResultAt<M>
where
    M::QueryResult: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.result, self.at_position)
    }
}
