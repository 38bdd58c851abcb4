//! Groups: members that agree on one order of commands.
//!
//! The theory of operation is written with the core.

mod config;
#[allow(dead_code, reason = "until groups are wired")]
mod control;
mod index;
mod vocabulary;

pub use self::{
    config::{ConsensusConfig, GroupConfig},
    index::{Cursor, Index, IndexRange},
    vocabulary::{
        Action, Applying, Blocked, Counter, Env, Event, FrozenHead, Input, Loaded, Member, Notice,
        OperatorError, Outcome, Output, Rejection, Status, StoreFault,
    },
};
