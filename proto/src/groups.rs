//! Groups: members that agree on one order of commands.
//!
//! The theory of operation is written with the core.

mod config;
#[allow(dead_code, reason = "until groups are wired")]
mod control;
#[allow(dead_code, reason = "until groups are wired")]
mod head;
mod index;
mod snapshot_digest;
mod stub;
mod vocabulary;

pub use self::{
    config::{ConsensusConfig, GroupConfig},
    head::head_length,
    index::{Cursor, Index, IndexRange},
    snapshot_digest::SnapshotDigest,
    stub::Groups,
    vocabulary::{
        Action, Applying, Blocked, Counter, Env, Event, FrozenHead, Input, InstallFault, Loaded,
        Member, Notice, OperatorError, Outcome, Output, Rejection, Status, StoreFault,
    },
};
