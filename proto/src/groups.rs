//! Groups: members that agree on one order of commands.
//!
//! The theory of operation is written with the core.

mod config;
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
