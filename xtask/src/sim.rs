//! `cargo xtask sim`: as many seeds of the simulator as fit the time given.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{command, finding::Finding};

/// Builds the simulator, so that building is not timed.
const BUILD: &str = "build --release --locked -p mosaik-sim";
/// Runs the seeds below a number, which follows.
const FAULTS: [&str; 8] = ["run", "--release", "-q", "-p", "mosaik-sim", "--", "faults", "--seeds"];
/// Runs the real loop and handles.
const DRIVERS: &str = "run --release -q -p mosaik-sim -- --level 2 --seeds 60";
/// The first run; it tells how many seeds fit the time.
const PROBE: u64 = 20;

/// Runs a few seeds, then as many as should fit the rest of the time.
pub(crate) fn sim(root: &Path, time: Duration) -> Vec<Finding> {
    let built = command::cargo(root, BUILD);
    if !built.is_empty() {
        return built;
    }
    let drivers = command::cargo(root, DRIVERS);
    if !drivers.is_empty() {
        return drivers;
    }
    let begin = Instant::now();
    if let Err(finding) = seeds(root, PROBE, time) {
        return vec![finding];
    }
    let probe = begin.elapsed();
    let rest = time.saturating_sub(probe);
    match fitting(probe, rest) {
        Some(count) => seeds(root, count, rest).err().into_iter().collect(),
        None => Vec::new(),
    }
}

/// How many seeds should take two thirds of `rest`; `None` if that is no more than were run.
///
/// Two thirds, because later seeds may be slower, and running out of time is a finding.
fn fitting(probe: Duration, rest: Duration) -> Option<u64> {
    let each = (probe.as_micros() / u128::from(PROBE)).max(1);
    let count = u64::try_from(rest.as_micros() * 2 / 3 / each).ok()?;
    (count > PROBE).then_some(count)
}

fn seeds(root: &Path, count: u64, limit: Duration) -> Result<(), Finding> {
    let count = count.to_string();
    let args: Vec<&str> = FAULTS.into_iter().chain([&*count]).collect();
    let printed = command::capture_within(root, "cargo", &args, limit)?;
    let last = printed.lines().rev().take(5).collect::<Vec<_>>();
    last.iter().rev().for_each(|line| println!("{line}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_seeds_as_fit() {
        let second = Duration::from_secs(1);
        assert_eq!(fitting(second, 30 * second), Some(400));
        assert_eq!(fitting(second, second), None);
        assert_eq!(fitting(second, Duration::ZERO), None);
        assert!(fitting(Duration::ZERO, second).is_some());
    }
}
