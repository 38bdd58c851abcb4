//! `cargo xtask sim`: as many seeds of the simulator as fit the time given.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{command, finding::Finding};

/// Builds the simulator, so that building is not timed.
const BUILD: &str = "build --release --locked -p mosaik-sim";
/// Runs seeds; which ones follows.
const FAULTS: [&str; 7] = ["run", "--release", "-q", "-p", "mosaik-sim", "--", "faults"];
/// Runs the real loop and handles.
const DRIVERS: &str = "run --release -q -p mosaik-sim -- --level 2 --seeds 60";
/// Runs groups under faults.
const GROUPS: [&str; 2] = [
    "run --release -q -p mosaik-sim -- groups --seeds 100",
    "run --release -q -p mosaik-sim -- groups --first 30 --seeds 9 --copies",
];
/// Seeds of the first run; it tells how many fit the next.
const FIRST: u64 = 20;
/// A run that takes this many times what it should, hangs.
const PATIENCE: u32 = 10;

/// Runs seeds in turn, a quarter of the time that is left at once: a machine that slows down gets
/// fewer of them, and no false alarm.
pub(crate) fn sim(root: &Path, time: Duration) -> Vec<Finding> {
    let built = command::cargo(root, BUILD);
    if !built.is_empty() {
        return built;
    }
    let drivers = command::cargo(root, DRIVERS);
    if !drivers.is_empty() {
        return drivers;
    }
    for run in GROUPS {
        let groups = command::cargo(root, run);
        if !groups.is_empty() {
            return groups;
        }
    }
    let begin = Instant::now();
    let (mut first, mut count) = (1, FIRST);
    loop {
        let start = Instant::now();
        if let Err(finding) = seeds(root, first, count, time * PATIENCE) {
            return vec![finding];
        }
        let rest = time.saturating_sub(begin.elapsed());
        first += count;
        match fitting(count, start.elapsed(), rest) {
            Some(next) => count = next,
            None => return Vec::new(),
        }
    }
}

/// How many seeds should take a quarter of `rest`, if `count` took `took`; `None` if it is not worth
/// another run.
fn fitting(count: u64, took: Duration, rest: Duration) -> Option<u64> {
    let each = (took.as_micros() / u128::from(count)).max(1);
    let next = u64::try_from(rest.as_micros() / 4 / each).ok()?;
    (next >= FIRST).then_some(next)
}

fn seeds(root: &Path, first: u64, count: u64, limit: Duration) -> Result<(), Finding> {
    let (first, count) = (first.to_string(), count.to_string());
    let which = ["--first", &*first, "--seeds", &*count];
    let args: Vec<&str> = FAULTS.into_iter().chain(which).collect();
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
        assert_eq!(fitting(20, second, 40 * second), Some(200));
        assert_eq!(fitting(200, 20 * second, 40 * second), Some(100));
        assert_eq!(fitting(20, second, second), None);
        assert_eq!(fitting(20, second, Duration::ZERO), None);
        assert!(fitting(20, Duration::ZERO, second).is_some());
    }
}
