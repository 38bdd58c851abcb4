//! The protocol cores of mosaik: everything that decides, and nothing that does I/O.
//!
//! A [`node::Node`] is one participant. Feed it [`node::Event`]s (a link came up, bytes arrived,
//! the application produced items, time passed) and carry out the [`node::Action`]s that it leaves
//! in an [`Outbox`]. It has no socket, no clock, no entropy and no thread; the same events give the
//! same actions, on any runtime, in a simulator or in a fuzzer.
//!
//! # Reading order
//!
//! 1. [`core`]: the shape of every state machine here ([`Core`], [`Outbox`]); [`time`] and [`rng`],
//!    which turn clocks and chance into arguments; [`limits`], every bound by name.
//! 2. [`ids`], [`crypto`], [`wire`]: names, signatures, frames.
//! 3. [`links`]: one authenticated connection per pair of peers; hello, admission, channels.
//! 4. [`discovery`]: who is there. The catalog is a CRDT of signed entries.
//! 5. [`streams`]: typed data from producers to consumers, with credit end to end.
//! 6. [`raft`]: one log that the members of a group agree on.
//! 7. [`node`]: puts them together; `node/route.rs` is the only file that names two of them.
//!
//! To run a node in a loop of your own, read `docs/write-your-own-driver.md` and
//! `examples/custom_driver.rs` in the repository.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod core;
pub mod crypto;
pub mod discovery;
mod fmt;
pub mod groups;
#[cfg(feature = "host")]
mod host;
pub mod ids;
pub mod limits;
pub mod links;
pub mod mutant;
pub mod node;
pub mod raft;
pub mod rng;
pub mod streams;
pub mod tickets;
pub mod time;
pub mod wire;

pub use self::{
    core::{Core, Outbox},
    fmt::{
        Abbreviated, FmtItem, FmtIter, PlainFmt, Pretty, PrettyFmtExt, Redacted, RedactedFmtExt,
        Short, ShortFmt, ShortFmtExt,
    },
    ids::{Digest, NetworkId, PeerId, UniqueId},
};
