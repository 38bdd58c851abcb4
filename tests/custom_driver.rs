//! The example of a driver without async, as a real process: it ends, and says that all arrived.

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use support::{Process, example};

/// It takes a fraction of a second; a lost wake-up or an unreported `Drained` takes for ever.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_custom_driver_streams_everything_and_ends() {
    let mut process = Process::start("custom_driver", &mut Command::new(example("custom_driver")));
    let deadline = Instant::now() + PATIENCE;
    let arrived = |line: &String| line.starts_with("200000 of 200000 items arrived");
    process.find("that all arrived", deadline, |lines| lines.iter().any(arrived).then_some(()));
    assert!(process.exited(deadline).success());
}

#[test]
fn the_custom_driver_stays_short() {
    let lines = include_str!("../examples/custom_driver.rs").lines().count();
    assert!(lines <= 250, "{lines} lines: what needs more than this makes the cores hard to use");
}
