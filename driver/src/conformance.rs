//! The suite that every driver passes: one list of scenarios, run on any runtime and transport.
//!
//! A driver implements [`Harness`] in a test and calls the macro [`conformance!`](macro@crate::conformance),
//! which makes one `#[test]` of each scenario:
//!
//! ```text
//! struct Tokio;
//! impl Harness for Tokio { /* a runtime, a transport, block_on */ }
//! mosaik_driver::conformance!(Tokio);
//! ```
//!
//! A scenario starts nodes on a [`Bench`], which stands between them and the harness: it knows all
//! links and can cut them, can make a node's wall clock jump, counts the tasks of every node, and
//! keeps nodes of the scenario apart from all others (address books of their own). So nothing has
//! to be asked of the operating system, and a scenario is the same on sockets and in a simulator.
//! The name of a scenario begins with the rule of `docs/spec` that it holds.
//!
//! Nothing sleeps in order to wait: a scenario waits for what it wants to see, by the runtime's own
//! clock no longer than [`Bench::LIMIT`].
//!
//! [`Tap`] shows the events and actions of a node as they happen. By it the [`scripts`] compare what a
//! node asks for on this runtime with what it asks for on every other, line by line.

mod bench;
mod clock;
pub mod scenarios;
pub mod scripts;
mod tap;
mod transcript;
mod wires;

use std::future::Future;

pub use self::{
    bench::{Bench, NodeOptions},
    clock::{BenchRuntime, BenchTimer},
    tap::Tap,
    wires::{BenchLink, BenchRead, BenchTransport, BenchWrite},
};
use crate::{Config, runtime::Runtime, transport::Transport};

/// A runtime and a transport to be tested.
pub trait Harness: Send + Sync + Sized + 'static {
    /// The runtime.
    type Runtime: Runtime;
    /// The transport.
    type Transport: Transport;

    /// Makes a harness and runs a scenario on its runtime to the end, once or several times. A panic
    /// of the scenario is a panic of this call.
    fn run<F>(scenario: impl Fn(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static;

    /// The runtime, for one node.
    fn runtime(&self) -> Self::Runtime;

    /// A transport for a node with this configuration, on loopback or something like it.
    fn transport(&self, runtime: &Self::Runtime, config: &Config) -> Self::Transport;
}

/// Runs one scenario.
pub fn run<H: Harness, F>(scenario: impl Fn(Bench<H>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    H::run(|harness| scenario(Bench::new(harness)));
}

/// One `#[test]` for each scenario of the [conformance suite](mod@crate::conformance), run by a
/// [`Harness`](crate::conformance::Harness).
#[macro_export]
macro_rules! conformance {
    ($harness:ty) => {
        $crate::conformance! { @$harness;
            link_02_connect
            link_14_refuse
            link_01_another_network
            link_04_simultaneous_dial
            disc_12_sync
            disc_35_departure
            disc_31_a_lost_peer_comes_back
            str_04_given_up_anywhere
            str_05_back_pressure
            str_09_reconnect_and_resume
            str_10_predicates
            str_13_accepted_items_outlive_the_producer
            str_13_a_thousand_handles
            str_11_clock_jump
            node_02_shutdown_with_work_in_flight
            link_12_dropped_networks
            grp_30_commands_of_all_members
            raft_04_a_leader_is_cut_off
            grp_24_shutdown_with_calls_in_flight
        }
        $crate::conformance! { @scripts $harness;
            script_connect
            script_foreign
            script_news
            script_consume
            script_produce
            script_departure
            script_shutdown
        }
    };
    (@scripts $harness:ty; $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::conformance::run::<$harness, _>($crate::conformance::scripts::$name);
        }
    )*};
    (@$harness:ty; $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::conformance::run::<$harness, _>($crate::conformance::scenarios::$name);
        }
    )*};
}
