//! The runtime-neutral half of mosaik: one event loop, one QUIC transport, all handles.
//!
//! A driver crate adds a runtime: [`runtime::Runtime`] (a clock, a timer, a spawn) and the
//! constructors. This crate names no runtime, nor its channels; what it needs of one are those two
//! traits. The decisions are not here either: they are in `mosaik-proto`. The loop feeds
//! events to a [`Node`](mosaik_proto::node::Node) and carries out its actions.
//!
//! # Reading order
//!
//! 1. [`runtime`] and [`transport`]: the two seams to the outside; [`quic`], the transport we ship.
//! 2. `task`: the event loop; `task/execute.rs`, where actions become calls; `task/channel.rs`,
//!    the pumps.
//! 3. `handle`: what applications hold; `sync`, the primitives between them and the loop.
//! 4. [`book`]: how nodes of one host find each other. [`storage`]: what groups keep on disk.
#![forbid(unsafe_code)]

pub mod book;
mod buffers;
#[cfg(feature = "conformance")]
pub mod conformance;
mod datum;
mod handle;
mod metrics;
mod one_or_many;
#[cfg(feature = "prometheus")]
mod prometheus;
pub mod quic;
pub mod runtime;
pub mod storage;
mod sync;
mod task;
pub mod transport;

/// Discovery as applications see it: configuration, events, errors.
pub mod discovery;

pub mod groups;
pub mod streams;

pub use self::{
    datum::Datum,
    handle::admission::Admission,
    handle::network::{Config, Error, Launch, LocalNode, Network, NetworkBuilder},
    handle::network_on::NetworkOn,
    one_or_many::{OneOrMany, Variant},
    task::start,
};
