//! A seeded world in which mosaik nodes meet every fault: network, crashes, clocks.
//!
//! # Theory of operation
//!
//! A [`World`] steps [`Node`](mosaik_proto::node::Node)s directly: no tasks, no sockets, no clock of
//! this machine. It takes the earliest thing from a time-ordered queue, does it, and schedules what
//! follows. That is all there is, so a run is a function of (commit, seed, options), and a second
//! of it takes milliseconds.
//!
//! ```text
//!            ┌─────────────────────────── World ────────────────────────────┐
//!            │  queue ──► packet ──► Net ──► Event ─┐                       │
//!  seed ───► │    ▲       timer ────────────────────┼─► Node ─► Action ──┐  │ ──► trace hash
//!            │    │       application ──────────────┘     │              │  │ ──► Failure
//!            │    │       fault ──► Net, clocks, processes│              │  │
//!            │    └───────────────────────────────────────┼── execute ◄──┘  │
//!            │                        checkers ◄──────────┘ every event,    │
//!            │                                              every action    │
//!            └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | [`net`] | links as QUIC gives them: handshakes, ordered channels, loss, cuts, idle timeouts, bytes on the wire |
//! | [`Clock`] | a monotonic clock that drifts and a wall clock that also jumps, per host |
//! | hosts | key and signed entry, address book, fake producers and consumers ([`ProducerSpec`], [`ConsumerSpec`]) |
//! | [`HostileSpec`] | a host with a valid key that says anything |
//! | [`Fault`] | everything that can be done to hosts and paths |
//! | [`Swarm`] | which kinds of faults a seed has at all, and a schedule of them |
//! | [`checkers`] | what must hold, at every step or after quiet; they see events and actions only |
//! | [`disk`] | the store of one group as data: synced and not, slow, failing, damaged, rolled back |
//! | [`linearize`] | did clients see one copy of the data, used by one of them at a time? |
//! | [`soak`] | no simulation: real processes that are killed and cut off, real clients, and a judge |
//! | [`Trace`] | one line per event and action, hashed |
//! | [`scenario`] | ready-made runs |
//!
//! **Two phases.** Under faults everything that must *never* happen is checked at every step
//! ([`Failure::Safety`]). Then all faults end ([`Fault::Calm`]), and everything that must happen
//! *in time* is checked ([`Failure::Liveness`]): all who run see exactly each other, there is one
//! link per pair, consumers are connected, and fresh items arrive.
//!
//! **Randomness** comes from labelled forks of [`mosaik_proto::rng::Rng`], so that a draw more in
//! one place does not shift the others. There are no unordered maps.
//!
//! **Two levels.** All of this is level 1. [`level2`] runs the real event loop, pumps and handles, and
//! programs of yours, in the same network under the same faults.
//!
//! **What the model leaves out** is listed in `docs/simulator.md`.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use mosaik_sim::{Fault, HostId, NodeSpec, Options, World, scenario};
//!
//! # fn main() -> Result<(), mosaik_sim::Failure> {
//! let mut world = World::new(7, Options::default());
//! let first = world.add_node(NodeSpec::new(scenario::network()));
//! for _ in 0..4 {
//!     let mut spec = NodeSpec::new(scenario::network());
//!     spec.bootstrap.push(first);
//!     world.add_node(spec);
//! }
//! world.run_for(Duration::from_millis(1))?;
//! world.run_until_converged(Duration::from_secs(3))?;
//! world.inject(Fault::Crash(HostId(2)));
//! world.run_for(Duration::from_secs(15))?;
//! assert!(!world.sees(first, HostId(2)));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod checkers;
mod clock;
pub mod disk;
mod host;
mod hostile;
pub mod level2;
pub mod linearize;
pub mod net;
pub mod netns;
mod queue;
pub mod scenario;
pub mod soak;
mod swarm;
mod trace;
mod verdict;
mod world;

pub use self::{
    clock::{Clock, EPOCH},
    host::{ConsumerSpec, GroupSpec, NodeSpec, Op, ProducerSpec},
    hostile::HostileSpec,
    net::HostId,
    swarm::Swarm,
    trace::Trace,
    verdict::{Failure, catch},
    world::{Answer, DiskFault, Fault, Options, World},
};
