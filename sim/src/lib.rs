//! A seeded world in which mosaik nodes meet every fault: network, crashes, clocks.
#![forbid(unsafe_code)]

pub mod checkers;
mod clock;
mod host;
pub mod net;
mod queue;
pub mod scenario;
mod swarm;
mod trace;
mod verdict;
mod world;

pub use self::{
    clock::{Clock, EPOCH},
    host::{ConsumerSpec, NodeSpec, ProducerSpec},
    net::HostId,
    swarm::Swarm,
    trace::Trace,
    verdict::{Failure, catch},
    world::{Fault, Options, World},
};
