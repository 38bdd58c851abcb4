//! One authenticated connection per pair of peers.

mod vocabulary;

pub use self::vocabulary::{
    Action, Counter, DialError, DownReason, Env, Event, Interest, Path, Paths,
};
