//! Groups as applications see them: members that agree on one order of commands.
//!
//! ```text
//!   Group handles                          event loop                       store thread
//!   ─────────────                          ──────────                       ────────────
//!   execute ──► calls (lane, waiters) ──► Input::Execute ─┐
//!   query ────► reads (one per turn) ───► Input::Read     ├─► core ─► Persist ─► writes, syncs
//!   transfer … ► requests ──────────────► Input::…        │    │  ▲               │
//!                    ▲                                         │  └── Persisted ──┘
//!                    │ outcomes, in order                      ▼
//!                executor: a task per group ◄── jobs ◄── Apply, Outcome, ReadReady, …
//!                └ owns the machine ──────► Input::Applied
//! ```
//!
//! - A *cell* (`groups/cell.rs`) is what all of them share. What waits for the loop waits in it, each
//!   kind within its own limit, and the cell stands in the loop's inbox at most once.
//! - Commands are encoded by the caller into the batch that the loop takes next (`calls.rs`). The loop
//!   leaves a batch to grow while callers come back, and while more is under way than in it: a word
//!   on that comes soon, and each batch costs all members the same however small it is.
//! - A future finds its outcome in an answer of its own. Outcomes come as ranges, and those who wait
//!   are woken together.
//! - Reads of one turn share one question to the core, and so one round of messages (`reads.rs`).
//! - The executor carries out what concerns the machine, in order (`runner.rs`). Everything that is the
//!   application's runs there or in the caller, never in the loop, and inside `catch_unwind`.
//! - The store has a thread of its own ([`storage`](crate::storage)); reports come back as inputs.

pub(crate) mod calls;
pub(crate) mod cell;
pub(crate) mod jobs;
mod machine;
pub(crate) mod reads;
pub(crate) mod runner;
pub(crate) mod settings;
mod slice;
pub(crate) mod snapshots;
mod state_sync;
pub(crate) mod store;

pub use mosaik_proto::{
    groups::{
        Blocked, ConsensusConfig, Cursor, GroupKey, Index, IndexRange, Member, Notice,
        OperatorError, Rejection, Status, StoreFault,
    },
    ids::GroupId,
    raft::{Founders, Lag, Lineage, LogIndex, Role, Seat, SeatId, Term},
};

pub use self::{
    machine::{ApplyContext, Command, LeadershipPreference, NoOp, StateMachine},
    settings::GroupConfig,
    state_sync::{Image, LogReplaySync, SnapshotMachine, SnapshotSync, StateSync},
};
pub use crate::{
    handle::{
        bonds::{Bond, Bonds},
        group::{Consistency, Group, QueryResultAt},
        group_calls::{ExecuteFuture, ExecuteManyFuture, QueryFuture},
        group_error::{CommandError, QueryError},
        group_when::{CursorWatcher, GroupFuture, When},
        groups::{FoundersArg, GroupBuilder, Groups},
    },
    storage::{InMemoryLogStore, LogStore, Wal},
};
