//! Level 2: the real event loop, pumps and handles, in virtual time.
//!
//! # Theory of operation
//!
//! A [`World`] is a single-threaded executor. Of the tasks that are ready it polls the one that the
//! seed picks; only when none is ready does time move, to the next thing in a queue: a packet, a
//! timer, a fault. [`SimRuntime`] and [`SimTransport`] are to `mosaik-driver` what a real runtime and
//! QUIC are, so what runs is the driver itself: its loop, its pumps, its handles, and whatever is
//! built on them. The network, the clocks, the faults and the checkers are those of level 1
//! ([`net`], [`Clock`], [`Fault`], [`checkers`](crate::checkers)), where a
//! channel is two directions that end one by one, and bytes are credited when they are read.
//!
//! Programs run on hosts: [`World::spawn_node`] takes the program of a host, an `async` function of
//! a [`Host`], and runs it anew whenever the host is started again. A program that returns exits as
//! a process does; one that crashes is dropped with everything that it started.
//!
//! Nothing reaches outside: nodes have the world's clocks, entropy from the seed, and address books
//! of the world. A run is a function of (commit, seed, program), as long as the program itself asks
//! nobody else: no `std::time`, no threads, no unordered maps.
//!
//! Checked at every step, whatever the program does: entries are what their owner signed and do not
//! go back, queues have their bounds, and no task of a driver outlives its network by more than two
//! seconds. With [`Options::stamped`] also the order and the credit of every item.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use mosaik_sim::{Fault, HostId, level2::World};
//!
//! # fn main() -> Result<(), mosaik_sim::Failure> {
//! let mut world = World::new(7);
//! let a = world.spawn_node("a", |host| async move {
//!     let network = host.network("greetings").build().await.expect("a node");
//!     let producer = network.streams().produce::<String>();
//!     for number in 0.. {
//!         let _ = producer.send(format!("hello {number}")).await;
//!         host.sleep(Duration::from_millis(100)).await;
//!     }
//! });
//! let b = world.spawn_node("b", move |host| async move {
//!     let network = host.network("greetings").build().await.expect("a node");
//!     let mut consumer = network.streams().consume::<String>();
//!     network.discovery().dial(host.endpoint_of(a)).await;
//!     assert!(consumer.recv().await.is_some_and(|text| text.starts_with("hello")));
//! });
//! world.inject(Fault::Loss(50_000));
//! world.run_for(Duration::from_secs(5))?;
//! assert!(!world.is_running(b), "b has its greeting");
//! # Ok(())
//! # }
//! ```

mod channel;
mod faults;
mod harness;
mod host;
mod item;
mod kernel;
mod port;
mod program;
mod ready;
mod runtime;
mod scenario;
mod tap;
mod transport;
mod world;

pub use self::{
    channel::{SimRead, SimWrite},
    harness::SimHarness,
    host::{Host, Network, NetworkBuilder, Sim},
    item::Item,
    runtime::{SimRuntime, SimTimer},
    scenario::{Report, Scenario},
    transport::{SimLink, SimTransport},
    world::World,
};
use crate::{clock::Clock, net};
pub use crate::{net::HostId, verdict::Failure, world::Fault};

/// How a world behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its network.
    pub net: net::Options,
    /// The clocks of the first hosts; the others' are right.
    pub clocks: Vec<Clock>,
    /// Every item carries a [`Stamp`](crate::checkers::order::Stamp), so order and credit are checked.
    pub stamped: bool,
    /// Print every line of the trace to stderr.
    pub trace: bool,
}
