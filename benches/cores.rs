//! What one step of the cores costs: time, instructions, allocations. No runtime, no transport.
//!
//! `cargo bench -p mosaik-proto --bench cores [-- [--no-callgrind] filter…]`
//!
//! Every case prepares the input of a step outside of the measurement. Instructions are counted by
//! callgrind, if there is valgrind: the bench runs itself under it, and only the measured steps are
//! collected. Times are medians; instructions and allocations do not depend on the machine's load.

#[path = "support/allocations.rs"]
mod allocations;
#[path = "cores/discovery.rs"]
mod discovery;
#[path = "cores/net.rs"]
mod net;
#[path = "cores/streams.rs"]
mod streams;
#[path = "cores/timers.rs"]
mod timers;

use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Steps before anything is measured: what grows once has grown then.
const WARM_UP: usize = 200;
/// Steps over which allocations and instructions are counted.
const COUNTED: usize = 400;
/// Time spent on the times of one case.
const TIMED: Duration = Duration::from_millis(400);
/// Most steps whose time is taken.
const TIMED_MAX: usize = 20_000;

/// A kind of step.
trait Case {
    /// How often the operation that is named happens in one step.
    fn per_step(&self) -> u32 {
        1
    }
    /// Cleans up after the last step and makes the input of the next.
    fn prepare(&mut self);
    /// What is measured.
    fn step(&mut self);
}

type Make = fn() -> Box<dyn Case>;

/// All cases by name.
fn cases() -> Vec<(&'static str, Make)> {
    [streams::CASES, discovery::CASES, timers::CASES].concat()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--under-callgrind") {
        return under_callgrind(&args[at + 1]);
    }
    // Without `--bench` this is `cargo test`, which has nothing to do here.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let callgrind = !args.iter().any(|arg| arg == "--no-callgrind") && has_valgrind();
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for (name, make) in cases() {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            let (nanos, allocations) = measure(make().as_mut());
            println!("RESULT name=cores-ns/{name} value={nanos:.1} unit=ns");
            let counted = callgrind.then(|| instructions(name, make().per_step())).flatten();
            match counted {
                Some(count) => {
                    println!("RESULT name=cores-instr/{name} value={count:.1} unit=instructions");
                }
                None => println!("RESULT name=cores-instr/{name} value=n/a unit=instructions"),
            }
            println!("RESULT name=cores-allocs/{name} value={allocations:.3} unit=allocations");
        }
    }
}

/// Nanoseconds and allocations.
fn measure(case: &mut dyn Case) -> (f64, f64) {
    let per_step = f64::from(case.per_step());
    run(case, WARM_UP, collected_step);
    let mut allocations = 0;
    run(case, COUNTED, |case| {
        let before = allocations::so_far();
        collected_step(case);
        allocations += allocations::so_far() - before;
    });
    let mut times = Vec::with_capacity(TIMED_MAX);
    let start = Instant::now();
    while start.elapsed() < TIMED && times.len() < TIMED_MAX {
        case.prepare();
        let begin = Instant::now();
        collected_step(case);
        times.push(begin.elapsed());
    }
    let mut clock: Vec<_> = (0..1_000).map(|_| Instant::now().elapsed()).collect();
    let nanos = median(&mut times).saturating_sub(median(&mut clock)).as_nanos() as f64;
    (nanos / per_step, allocations as f64 / (COUNTED as f64 * per_step))
}

fn run(case: &mut dyn Case, steps: usize, mut step: impl FnMut(&mut dyn Case)) {
    for _ in 0..steps {
        case.prepare();
        step(case);
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A step; callgrind knows it by this name.
#[inline(never)]
fn collected_step(case: &mut dyn Case) {
    case.step();
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Instructions per operation, as callgrind counts them.
fn instructions(name: &str, per_step: u32) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*collected_step*")
        .arg(std::env::current_exe().ok()?)
        .args(["--under-callgrind", name])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let line = report.lines().find(|line| line.contains("Collected"))?;
    let collected: f64 = line.rsplit(':').next()?.trim().parse().ok()?;
    Some(collected / (COUNTED as f64 * f64::from(per_step)))
}

fn under_callgrind(name: &str) {
    let Some((_, make)) = cases().into_iter().find(|(case, _)| *case == name) else { return };
    let mut case = make();
    run(case.as_mut(), WARM_UP, |case| case.step());
    run(case.as_mut(), COUNTED, collected_step);
}
