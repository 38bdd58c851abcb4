//! The core of groups with everything in it (bonds, frames, Raft, sessions, reads): three members in
//! one thread, memory log, real frames, no network, no disk.
//!
//! `cargo bench -p mosaik-proto --bench groups_core [-- filter…]`
//!
//! Per turn one member executes a batch that fills its window, and everything is delivered until there
//! is nothing; a command counts when that member is told its outcome. Frames are written and read
//! as they are on the wire, one allocation each for the bytes that a transport would hand over.

#[path = "support/allocations.rs"]
mod allocations;
#[path = "groups_core/world.rs"]
mod world;

use std::time::{Duration, Instant};

use world::World;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is `cargo test`, which has nothing to do here.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for who in ["leader", "follower"] {
        for outstanding in [1, 64, 1024] {
            let name = format!("{who}/{outstanding}/16B");
            if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
                measure(&name, World::new(who == "leader", outstanding));
            }
        }
    }
    for who in ["leader", "follower"] {
        let name = format!("{who}/read");
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            let mut world = World::new(who == "leader", 1);
            let nanos = time(|| world.read());
            println!("RESULT name=groups-core/{name} ours={nanos:.1} unit=ns");
        }
    }
}

fn measure(name: &str, mut world: World) {
    let nanos = time(|| world.turn());
    let (allocations, frames) = (allocations::so_far(), world.frames());
    let commits: u64 = (0..400).map(|_| world.turn()).sum();
    let allocations = (allocations::so_far() - allocations) as f64 / commits as f64;
    let frames = (world.frames() - frames) as f64 / commits as f64;
    println!("RESULT name=groups-core/{name} ours={nanos:.1} unit=ns");
    println!("RESULT name=groups-core-allocs/{name} ours={allocations:.3} unit=allocations");
    println!("RESULT name=groups-core-frames/{name} ours={frames:.3} unit=frames");
}

/// Nanoseconds for one of what `turn` says how many it did.
fn time(mut turn: impl FnMut() -> u64) -> f64 {
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < ROUND {
            done += (0..16).map(|_| turn()).sum::<u64>();
        }
        // The first round warms up.
        if round > 0 {
            times.push(start.elapsed().as_nanos() as f64 / done as f64);
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
