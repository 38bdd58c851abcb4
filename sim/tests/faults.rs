//! The fault world over some seeds. Many more: `cargo run --release -p mosaik-sim -- faults`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Mutex, time::Duration};

use mosaik_sim::{Swarm, catch, scenario::Faults};

/// Runs seeds in parallel; reports all that fail.
fn sweep(seeds: std::ops::Range<u64>, make: impl Fn(u64) -> Faults + Sync) {
    let failures = Mutex::new(Vec::new());
    let middle = u64::midpoint(seeds.start, seeds.end);
    std::thread::scope(|scope| {
        for half in [seeds.start..middle, middle..seeds.end] {
            scope.spawn(|| {
                for seed in half {
                    if let Err(failure) = catch(|| make(seed).run()) {
                        failures.lock().unwrap().push(format!("seed {seed}: {failure}"));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn short(seed: u64) -> Faults {
    Faults { faults: Duration::from_secs(12), until: Duration::from_secs(90), ..Faults::new(seed) }
}

#[test]
fn thirty_seeds_of_everything_end_well() {
    sweep(0..30, short);
}

#[test]
fn all_kinds_of_faults_at_once_end_well() {
    sweep(1_000..1_006, |seed| Faults { swarm: Some(Swarm::ALL), ..short(seed) });
}

#[test]
fn no_faults_at_all_end_well() {
    sweep(2_000..2_004, |seed| Faults { swarm: Some(Swarm::NONE), ..short(seed) });
}
