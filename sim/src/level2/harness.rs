//! The conformance suite of the driver, in a simulated world.

use std::{fmt, future::Future, time::Duration};

use mosaik_driver::{Config, conformance::Harness};
use mosaik_proto::time::Instant;

use super::{World, kernel::Kernel, runtime::SimRuntime, transport::SimTransport};

/// Worlds in which every scenario runs, each with a scheduler and latencies of its own.
const SEEDS: u64 = if cfg!(debug_assertions) { 4 } else { 20 };
/// Far beyond any scenario, in virtual time.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Runs scenarios of the [conformance suite](mod@mosaik_driver::conformance), in the worlds of twenty
/// seeds each, of four where code is not optimised.
pub struct SimHarness {
    kernel: Kernel,
}

impl Harness for SimHarness {
    type Runtime = SimRuntime;
    type Transport = SimTransport;

    fn run<F>(scenario: impl Fn(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for seed in 1..=SEEDS {
            let mut world = World::new(seed);
            let harness = Self { kernel: world.kernel() };
            let ended = world.block_on(Instant::ZERO + LIMIT, scenario(harness));
            if let Err(failure) = ended {
                panic!("seed {seed}: {failure}");
            }
        }
    }

    fn runtime(&self) -> SimRuntime {
        let host = self.kernel.add_host("bench");
        let (process, kernel) = (self.kernel.boot_any(host), self.kernel.clone());
        SimRuntime { kernel, process }
    }

    fn transport(&self, runtime: &SimRuntime, config: &Config) -> SimTransport {
        let (process, peer) = (runtime.process, config.key().public());
        self.kernel.with(|state| state.net.set_peer(process.host, peer));
        SimTransport { kernel: self.kernel.clone(), process }
    }
}

impl fmt::Debug for SimHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHarness").finish_non_exhaustive()
    }
}
