//! What a group replicates: a machine that applies commands one after the other.

use mosaik_proto::{
    Digest, NetworkId,
    groups::{Cursor, Index},
    ids::{GroupId, UniqueId},
    raft::Term,
};

use super::state_sync::{LogReplaySync, StateSync};
use crate::datum::Datum;

/// What can be a command: everything that travels ([`Datum`]), can be shared and cloned.
pub trait Command: Datum + Sync + Clone {}

impl<T: Datum + Sync + Clone> Command for T {}

/// A replicated state machine. Every member of the group has one, and applies the same commands in
/// the same order.
///
/// [`apply`](Self::apply) must be a function of the state and the command alone: no clock, no
/// randomness, no iteration over hash maps. A member whose machine panics, or meets a command that it
/// cannot decode, stops applying and serves no more reads (it is *fenced*); the others go on.
///
/// # Another version
/// The log holds commands as they were encoded, and while a group is upgraded its members are of two
/// versions. So every member must be able to decode a new command, and apply old ones as before, before
/// the first member sends one: two steps. With serde's encoding (see [`Datum`]) that means new variants
/// behind those that an enum has; a field cannot be added to what exists, but a variant that has it can.
/// What cannot be done so is another machine: give it another [`signature`](Self::signature), which
/// makes it another group, and hand the state over yourself.
///
/// ```
/// use mosaik_driver::groups::{ApplyContext, LogReplaySync, StateMachine};
/// use mosaik_proto::UniqueId;
///
/// #[derive(Default)]
/// struct Counter(i64);
///
/// impl StateMachine for Counter {
///     type Command = i64;
///     type Query = ();
///     type QueryResult = i64;
///     type StateSync = LogReplaySync<Self>;
///
///     fn signature(&self) -> UniqueId {
///         UniqueId::from("counter")
///     }
///     fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
///         self.0 = self.0.wrapping_add(by);
///     }
///     fn query(&self, (): ()) -> i64 {
///         self.0
///     }
///     fn state_sync(&self) -> Self::StateSync {
///         LogReplaySync::default()
///     }
/// }
/// ```
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// What changes the state.
    type Command: Command;
    /// A question about the state. Asked where it is answered: it never travels.
    type Query: Send + Sync + 'static;
    /// The answer.
    type QueryResult: Send + 'static;
    /// How a member gets a state that the log does not hold any more.
    type StateSync: StateSync<Machine = Self>;

    /// Names the machine together with everything in its configuration that must be the same on all
    /// members: part of the group's id.
    fn signature(&self) -> UniqueId;

    /// Applies one command.
    fn apply(&mut self, command: Self::Command, context: &dyn ApplyContext);

    /// Applies commands that follow each other. A long run comes in several parts, and what this leaves
    /// untaken comes again; a machine that takes none has failed.
    fn apply_batch(
        &mut self,
        commands: impl IntoIterator<Item = Self::Command>,
        context: &dyn ApplyContext,
    ) {
        commands.into_iter().for_each(|command| self.apply(command, context));
    }

    /// Answers a question. Runs on the thread of who asks, while nothing is applied.
    fn query(&self, query: Self::Query) -> Self::QueryResult;

    /// How a member gets a state that the log does not hold any more. Part of the group's id.
    fn state_sync(&self) -> Self::StateSync;

    /// A machine that applied nothing, with the same configuration: asked when the group is joined,
    /// used if the history that this member had is left for another. Without one such a member must
    /// join again before it serves reads.
    fn fresh(&self) -> Option<Self> {
        None
    }

    /// A digest of the state, the same on all members that applied the same commands; members compare
    /// theirs from time to time. `None`: nothing is compared.
    fn digest(&self) -> Option<Digest> {
        None
    }

    /// Whether this member wants to lead.
    fn leadership_preference(&self) -> LeadershipPreference {
        LeadershipPreference::Normal
    }
}

/// What a machine may know while it applies. The same on all members.
pub trait ApplyContext {
    /// The place of the command that is applied. In [`StateMachine::apply_batch`]: of the one that was
    /// taken last.
    fn index(&self) -> Index;

    /// The place before it: what was applied so far.
    fn committed(&self) -> Cursor;

    /// The same as [`index`](Self::index), with the term. Not the end of this member's log, which is
    /// another one on every member.
    fn log_position(&self) -> Cursor;

    /// The term in which the command was appended.
    fn current_term(&self) -> Term;

    /// The group.
    fn group_id(&self) -> &GroupId;

    /// The network.
    fn network_id(&self) -> &NetworkId;
}

/// Whether a member wants to lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LeadershipPreference {
    /// Like everybody.
    #[default]
    Normal,
    /// Waits longer before it asks for votes.
    Reluctant {
        /// How many times longer.
        factor: u32,
    },
    /// Neither leads nor votes nor writes: it only copies.
    Observer,
}

impl LeadershipPreference {
    /// Three times as patient as others.
    #[must_use]
    pub const fn reluctant() -> Self {
        Self::Reluctant { factor: 3 }
    }
}

/// A machine without state, for groups that only elect a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoOp;

impl StateMachine for NoOp {
    type Command = ();
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik.groups.noop")
    }

    fn apply(&mut self, (): (), _: &dyn ApplyContext) {}

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }

    fn fresh(&self) -> Option<Self> {
        Some(Self)
    }
}
