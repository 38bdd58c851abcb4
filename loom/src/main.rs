//! The driver's hand-over points under every order of their steps, up to a number of preemptions:
//! `cargo xtask loom`, see docs/loom.md.
//!
//! A program and not tests: the files of the driver bring unit tests of their own, which run there.

// The driver uses what no model needs.
#![allow(dead_code, unreachable_pub)]
#![forbid(unsafe_code)]

#[cfg(not(loom))]
compile_error!("built by `cargo xtask loom`, with `--cfg loom`");

#[path = "../../driver/src/buffers.rs"]
mod buffers;
mod models;
mod sync;

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// Preemptions of one order of steps, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
const PREEMPTIONS: usize = 3;

/// Runs the models whose names contain the argument, all without one.
fn main() -> ExitCode {
    let part = env::args().nth(1).unwrap_or_default();
    let chosen = models::ALL.iter().filter(|(name, _)| name.contains(&part));
    let running: Vec<_> =
        chosen.map(|&(name, model)| (name, thread::spawn(move || check(name, model)))).collect();
    let count = running.len();
    let bad: Vec<_> = running
        .into_iter()
        .filter_map(|(name, thread)| thread.join().is_err().then_some(name))
        .collect();
    if bad.is_empty() && count > 0 {
        println!("{count} models hold");
        return ExitCode::SUCCESS;
    }
    eprintln!("{count} models, not in order: {}", bad.join(", "));
    ExitCode::FAILURE
}

fn check(name: &str, model: fn()) {
    let begin = Instant::now();
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let orders = orders.load(Ordering::Relaxed);
    println!("{name}: {orders} orders, {:.1} s", begin.elapsed().as_secs_f32());
}
