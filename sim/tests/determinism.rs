//! One seed, one trace.

use mosaik_sim::{
    checkers::determinism,
    scenario::{Discovery, Faults, Streams},
};
use std::time::Duration;

fn short(seed: u64) -> Faults {
    Faults { faults: Duration::from_secs(8), until: Duration::from_secs(90), ..Faults::new(seed) }
}

#[test]
fn twenty_seeds_run_twice_give_equal_traces() {
    for seed in 100..120 {
        determinism::check(|| short(seed).run().map(|report| (report.trace, report.lines)))
            .unwrap()
            .unwrap();
    }
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(short(1).run().unwrap().trace, short(2).run().unwrap().trace);
}

#[test]
fn reports_depend_on_the_arguments_alone() {
    let discovery = Discovery {
        nodes: 12,
        seed: 3,
        loss_ppm: 50_000,
        measure: Duration::from_secs(5),
        wan: true,
        trace: false,
    };
    determinism::check(|| discovery.run().unwrap()).unwrap();
    let streams = Streams { faults: Duration::from_secs(3), ..Streams::new(5) };
    determinism::check(|| streams.run().unwrap()).unwrap();
}
