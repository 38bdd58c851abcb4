//! The Raft core beside tikv's `raft`: three members in one thread, memory log, no wire, no disk.
//!
//! `cargo bench -p mosaik-proto --bench raft_core [-- [--no-callgrind] filter…]`
//!
//! Per turn the window of outstanding commands is refilled, then messages are delivered until there
//! are none; a command counts when the leader hands it out as committed. Every command brings its own
//! fresh payload. Ours come to the core as the batches that its host makes of them, which is part of
//! what is measured; the peer has batching of appends switched on. Messages are moved, never
//! serialised, on both sides, and logs are compacted every 65,536 commits. Time is the median of
//! rounds that alternate between the sides; instructions are the difference of two run lengths under
//! callgrind, so that starting up cancels out.

#[path = "support/allocations.rs"]
mod allocations;
#[path = "raft_core/ours.rs"]
mod ours;
#[path = "raft_core/peer.rs"]
mod peer;

use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Commits between two compactions of the log.
const COMPACT_EVERY: u64 = 65_536;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);

/// Three members and a window of outstanding commands.
trait Group {
    /// Refills the window and delivers everything; the number of commands committed.
    fn turn(&mut self) -> u64;
    /// Messages delivered so far, up to the leader's commits.
    fn messages(&self) -> u64;
}

#[derive(Clone, Copy)]
struct Row {
    outstanding: usize,
    payload: usize,
}

impl Row {
    fn name(self) -> String {
        let payload = if self.payload < 1024 { "16B" } else { "1KiB" };
        format!("{}/{payload}", self.outstanding)
    }

    fn side(self, ours: bool) -> Box<dyn Group> {
        if ours {
            Box::new(ours::Ours::new(self.outstanding, self.payload))
        } else {
            Box::new(peer::Peer::new(self.outstanding, self.payload))
        }
    }
}

fn rows() -> impl Iterator<Item = Row> {
    [16, 1024].into_iter().flat_map(|payload| {
        [1, 64, 1024].into_iter().map(move |outstanding| Row { outstanding, payload })
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--turns") {
        return under_callgrind(&args[at + 1..]);
    }
    // Without `--bench` this is `cargo test`, which has nothing to do here.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let callgrind = !args.iter().any(|arg| arg == "--no-callgrind");
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for row in rows() {
        let name = row.name();
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let [ours, theirs] = times(row);
        print("raft", &name, ours, theirs, "ns");
        let [ours, theirs] = [true, false].map(|side| allocations(row.side(side).as_mut()));
        print("raft-allocs", &name, ours, theirs, "allocations");
        let [ours, theirs] = [true, false].map(|side| messages(row.side(side).as_mut()));
        print("raft-msgs", &name, ours, theirs, "messages");
        if callgrind
            && let [Some(ours), Some(theirs)] = [true, false].map(|side| instructions(row, side))
        {
            print("raft-instr", &name, ours, theirs, "instructions");
        }
    }
}

fn print(kind: &str, name: &str, ours: f64, theirs: f64, unit: &str) {
    let ratio = ours / theirs;
    println!(
        "RESULT name={kind}/{name} ours={ours:.3} peer=raft-rs theirs={theirs:.3} ratio={ratio:.3} unit={unit}"
    );
}

/// Nanoseconds per commit of both sides.
fn times(row: Row) -> [f64; 2] {
    let mut sides = [row.side(true), row.side(false)];
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for at in [round % 2, 1 - round % 2] {
            let (start, mut commits) = (Instant::now(), 0);
            while start.elapsed() < ROUND {
                commits += (0..16).map(|_| sides[at].turn()).sum::<u64>();
            }
            // The first round warms up.
            if round > 0 {
                times[at].push(start.elapsed().as_nanos() as f64 / commits as f64);
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn allocations(group: &mut dyn Group) -> f64 {
    (0..200).for_each(|_| {
        group.turn();
    });
    let before = allocations::so_far();
    let commits: u64 = (0..400).map(|_| group.turn()).sum();
    (allocations::so_far() - before) as f64 / commits as f64
}

fn messages(group: &mut dyn Group) -> f64 {
    group.turn();
    let before = group.messages();
    let commits: u64 = (0..100).map(|_| group.turn()).sum();
    (group.messages() - before) as f64 / commits as f64
}

/// Instructions per commit: two runs of different length.
fn instructions(row: Row, ours: bool) -> Option<f64> {
    let turns = 20_000 / row.outstanding.min(64);
    let count = |turns: usize| -> Option<(f64, f64)> {
        let this = std::env::current_exe().ok()?;
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(this)
            .arg("--turns")
            .args([turns, row.outstanding, row.payload, usize::from(ours)].map(|n| n.to_string()))
            .output()
            .ok()?;
        let commits = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
        let report = String::from_utf8(output.stderr).ok()?;
        let line = report.lines().find(|line| line.contains("Collected"))?;
        Some((line.rsplit(' ').next()?.parse().ok()?, commits))
    };
    let (short, long) = (count(turns / 10)?, count(turns)?);
    Some((long.0 - short.0) / (long.1 - short.1))
}

fn under_callgrind(args: &[String]) {
    let numbers: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let [turns, outstanding, payload, ours] = numbers[..] else { return };
    let mut group = Row { outstanding, payload }.side(ours == 1);
    println!("{}", (0..turns).map(|_| group.turn()).sum::<u64>());
}
