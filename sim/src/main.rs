//! The command line of the simulator. What is printed on stdout depends on the arguments alone, but
//! for `soak`, which runs real processes.

mod soak_command;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::{Parser, Subcommand};
use mosaik_proto::mutant::Mutant;
use mosaik_sim::{
    Failure, catch,
    checkers::{groups::Figures, order::Counts},
    level2::Scenario,
    scenario::{
        Discovery, Faults, Streams,
        groups::{FaultCounts, Groups},
        mutants::{self, Caught},
    },
};

/// A seeded world in which mosaik nodes meet every fault.
///
/// Exit codes: 0 all is well, 1 a core panicked, 2 something happened that must never happen,
/// 3 something that must happen did not.
#[derive(Parser, Debug)]
#[command(name = "mosaik-sim")]
struct Cli {
    /// Print every event and action to stderr.
    #[arg(long, global = true)]
    trace: bool,
    /// Without a command: 1 runs the fault world of the cores, 2 that of the drivers, where the real
    /// event loop and handles run in virtual time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    level: u8,
    /// Without a command: how many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Without a command: the first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// At level 2: hosts.
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// At level 2: seconds of faults.
    #[arg(long = "for", default_value_t = 20)]
    seconds: u64,
    /// Without a command: also print a line for every seed that went well.
    #[arg(long)]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// How fast everybody knows everybody, and what it costs.
    Discovery {
        /// Nodes; all know the first.
        #[arg(long, default_value_t = 100)]
        nodes: usize,
        /// The seed of the world.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Packets lost, in percent.
        #[arg(long, default_value_t = 0.0)]
        loss: f64,
        /// Seconds for which the steady state is measured.
        #[arg(long = "for", default_value_t = 30)]
        seconds: u64,
        /// Latencies of 10 to 50 ms instead of 0.25 to 0.75 ms.
        #[arg(long)]
        wan: bool,
    },
    /// Runs the fault world over many seeds: faults, then calm, then all must be well.
    Faults {
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Nodes.
        #[arg(long, default_value_t = 6)]
        nodes: usize,
        /// Seconds after which the world must have converged; faults take the first fifth.
        #[arg(long, default_value_t = 150)]
        until: u64,
        /// Items missed between two subscriptions are failures too.
        #[arg(long)]
        strict: bool,
        /// Some windows of consumers hold less than one item.
        #[arg(long)]
        tight: bool,
        /// Also print a line for every seed that went well.
        #[arg(long)]
        verbose: bool,
    },
    /// Groups over many seeds: faults of paths, processes, disks and machines, then calm; nothing that a
    /// client was told is in force may be lost.
    Groups {
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Only this seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Seconds of faults.
        #[arg(long = "for", default_value_t = 25)]
        seconds: u64,
        /// Losses with an excuse are failures too.
        #[arg(long)]
        strict: bool,
        /// Older copies of stores come back, where the group can do without the store.
        #[arg(long)]
        copies: bool,
        /// Also print a line for every seed that went well.
        #[arg(long)]
        verbose: bool,
    },
    /// Puts known bugs back, one by one, and counts the seeds until a checker complains.
    Mutants {
        /// Seeds after which a bug counts as not seen.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// Only bugs whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Durable members in processes of their own, killed and cut off while clients use them.
    Soak(soak_command::Soak),
    /// One world of streams with faults of links and consumers.
    Streams {
        /// The seed of the world.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Nodes.
        #[arg(long, default_value_t = 5)]
        nodes: usize,
        /// Seconds of faults.
        #[arg(long = "for", default_value_t = 20)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = std::time::Instant::now();
    let code = match cli.command {
        None if cli.level == 2 => drivers(&cli),
        None => {
            sweep(&Faults { trace: cli.trace, ..Faults::new(cli.first) }, cli.seeds, cli.verbose)
        }
        Some(Command::Discovery { nodes, seed, loss, seconds, wan }) => {
            let loss_ppm = (loss * 10_000.0).clamp(0.0, 1_000_000.0) as u32;
            let measure = Duration::from_secs(seconds);
            let run = Discovery { nodes, seed, loss_ppm, measure, wan, trace: cli.trace };
            report(&catch(|| run.run()))
        }
        Some(Command::Faults { seeds, first, nodes, until, strict, tight, verbose }) => {
            let run = Faults {
                nodes,
                faults: Duration::from_secs(until) / 5,
                until: Duration::from_secs(until),
                strict,
                tight,
                trace: cli.trace,
                ..Faults::new(first)
            };
            sweep(&run, seeds, verbose)
        }
        Some(Command::Groups { seeds, first, seed, seconds, strict, copies, verbose }) => {
            let base = Groups {
                faults: Duration::from_secs(seconds),
                strict,
                copies,
                trace: cli.trace,
                ..Groups::new(seed.unwrap_or(first))
            };
            groups(&base, if seed.is_some() { 1 } else { seeds }, verbose || seed.is_some())
        }
        Some(Command::Soak(soak)) => soak.run(),
        Some(Command::Mutants { seeds, only }) => hunt(seeds, &only),
        Some(Command::Streams { seed, nodes, seconds }) => {
            let faults = Duration::from_secs(seconds);
            let run = Streams {
                nodes,
                faults,
                until: faults + Duration::from_secs(100),
                trace: cli.trace,
                ..Streams::new(seed)
            };
            report(&catch(|| run.run()))
        }
    };
    eprintln!("{:.2} s of wall time", started.elapsed().as_secs_f64());
    ExitCode::from(code)
}

/// Prints a line per bug. 0 if each was seen, and nothing without any; 1 if not.
fn hunt(seeds: u64, only: &str) -> u8 {
    // Panics of cores are results here.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<22} {:<15} {:>8}  complaint", "mutant", "caught by", "seeds");
    let (mut survivors, mut most) = (0, 20);
    let all =
        Mutant::OF_NODES.iter().copied().filter(|mutant| format!("{mutant:?}").contains(only));
    for mutant in all {
        if !mutants::select(Some(mutant)) {
            println!("this build has no mutants: use `cargo xtask mutants`");
            return 1;
        }
        let name = format!("{mutant:?}");
        match mutants::hunt(seeds) {
            Some(Caught { seed, program, failure }) => {
                let complaint: String = failure.to_string().chars().take(90).collect();
                println!("{name:<22} {program:<15} {seed:>8}  {complaint}");
                most = most.max(seed);
            }
            None => {
                println!("{name:<22} {:<15} {seeds:>8}", "SURVIVED");
                survivors += 1;
            }
        }
    }
    // What complains without a bug proves nothing.
    let clean = mutants::select(None).then(|| mutants::hunt(most)).flatten();
    if let Some(caught) = &clean {
        println!("without a mutant seed {} fails, {caught}", caught.seed);
    } else {
        println!("without a mutant: {most} seeds of all programs are well");
    }
    u8::from(survivors > 0 || clean.is_some())
}

fn report(result: &Result<impl std::fmt::Display, Failure>) -> u8 {
    match result {
        Ok(report) => {
            println!("{report}");
            0
        }
        Err(failure) => {
            println!("{failure}");
            failure.exit_code()
        }
    }
}

/// Runs seeds on all processors; results are in the order of the seeds.
fn each<T: Send>(first: u64, seeds: u64, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut results = std::thread::scope(|scope| {
        let work = || {
            let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
                .take_while(|seed| *seed < first + seeds);
            seeds.map(|seed| (seed, run(seed))).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect::<Vec<_>>()
    });
    results.sort_by_key(|(seed, _)| *seed);
    results
}

/// Runs seeds of the drivers' fault world; prints in the order of the seeds.
fn drivers(cli: &Cli) -> u8 {
    let results = each(cli.first, cli.seeds, |seed| {
        let nodes = cli.nodes;
        let faults = Duration::from_secs(cli.seconds);
        let run = Scenario { nodes, faults, trace: cli.trace, ..Scenario::new(seed) };
        (run.swarm(), catch(|| run.run()))
    });
    let (mut codes, mut polls, mut taken, mut slowest) = ([0u64; 4], 0, 0, Duration::ZERO);
    for (seed, (swarm, result)) in &results {
        match result {
            Ok(report) => {
                codes[0] += 1;
                (polls, taken) = (polls + report.polls, taken + report.taken);
                slowest = slowest.max(report.converged);
                if cli.verbose {
                    println!("seed {seed}: {report}");
                }
            }
            Err(failure) => {
                codes[usize::from(failure.exit_code())] += 1;
                println!("seed {seed}: {failure} [{swarm}]");
                println!(
                    "    replay: cargo run --release -p mosaik-sim -- --trace --level 2 --nodes {} --for {} --seeds 1 --first {seed}",
                    cli.nodes, cli.seconds
                );
            }
        }
    }
    let [well, crashes, safety, liveness] = codes;
    println!(
        "{} seeds: {well} well, {crashes} crash, {safety} safety, {liveness} liveness",
        cli.seeds
    );
    println!(
        "slowest convergence after calm {slowest:?}; {taken} items taken, {polls} polls of tasks"
    );
    (1..4).find(|code| codes[usize::from(*code)] > 0).unwrap_or_default()
}

/// Runs seeds on all processors; prints in the order of the seeds.
fn sweep(base: &Faults, seeds: u64, verbose: bool) -> u8 {
    let results = each(base.seed, seeds, |seed| {
        let run = Faults { seed, ..base.clone() };
        (run.swarm(), catch(|| run.run()))
    });
    let (mut codes, mut lines, mut slowest) = ([0u64; 4], 0, Duration::ZERO);
    let mut items = Counts::default();
    for (seed, (swarm, result)) in &results {
        match result {
            Ok(report) => {
                codes[0] += 1;
                items.items += report.items.items;
                items.reported += report.items.reported;
                items.between += report.items.between;
                lines += report.lines;
                slowest = slowest.max(report.converged);
                if verbose {
                    println!("seed {seed}: {report}");
                }
            }
            Err(failure) => {
                codes[usize::from(failure.exit_code())] += 1;
                println!("seed {seed}: {failure} [{swarm}]");
                println!("    replay: {}", replay(base, *seed));
            }
        }
    }
    let [well, crashes, safety, liveness] = codes;
    println!("{seeds} seeds: {well} well, {crashes} crash, {safety} safety, {liveness} liveness");
    println!("slowest convergence after calm {slowest:?}; {lines} lines of trace");
    let Counts { items, reported, between, .. } = items;
    println!(
        "{items} items in order, {reported} reported missing, {between} between subscriptions"
    );
    (1..4).find(|code| codes[usize::from(*code)] > 0).unwrap_or_default()
}

/// Runs seeds of groups on all processors; prints in the order of the seeds.
fn groups(base: &Groups, seeds: u64, verbose: bool) -> u8 {
    let results = each(base.seed, seeds, |seed| {
        let run = Groups { seed, ..base.clone() };
        (run.swarm(), catch(|| run.run()))
    });
    let (mut codes, mut faults, mut slowest) = ([0u64; 4], FaultCounts::default(), Duration::ZERO);
    let (mut figures, mut time, mut operator) = (Figures::default(), Duration::ZERO, 0);
    // Without an excuse; then commands and seeds with one.
    let (mut lost, mut given_up, mut superseded) = (0, (0, 0), (0, 0));
    for (seed, (swarm, result)) in &results {
        match result {
            Ok(report) => {
                codes[0] += 1;
                faults.add(&report.faults);
                figures.add(&report.figures);
                time += report.time;
                slowest = slowest.max(report.served);
                operator += u64::from(report.operator);
                let excused = [
                    (&mut given_up, report.losses.given_up),
                    (&mut superseded, report.losses.superseded),
                ];
                for (sum, commands) in excused {
                    *sum = (sum.0 + commands, sum.1 + u64::from(commands > 0));
                }
                if verbose {
                    println!("seed {seed}: {report}");
                }
            }
            Err(failure) => {
                codes[usize::from(failure.exit_code())] += 1;
                if let Failure::Lost { commands, .. } = failure {
                    lost += commands;
                }
                println!("seed {seed}: {failure} [{swarm}]");
                println!(
                    "    replay: cargo run --release -p mosaik-sim -- --trace groups --seed {seed} --for {}{}{}",
                    base.faults.as_secs(),
                    if base.strict { " --strict" } else { "" },
                    if base.copies { " --copies" } else { "" },
                );
            }
        }
    }
    let [well, crashes, safety, liveness] = codes;
    println!("{seeds} seeds: {well} well, {crashes} crash, {safety} safety, {liveness} liveness");
    println!("{:.1} simulated hours, {figures}", time.as_secs_f64() / 3600.0);
    println!("faults: {faults}");
    println!("slowest to serve after calm {slowest:?}; operators were needed {operator} times");
    println!("lost = {lost}");
    println!(
        "excused: {} commands of {} seeds were superseded (one voter, no disk), {} of {} were given up by an operator",
        superseded.0, superseded.1, given_up.0, given_up.1
    );
    (1..4).find(|code| codes[usize::from(*code)] > 0).unwrap_or_default()
}

fn replay(base: &Faults, seed: u64) -> String {
    format!(
        "cargo run --release -p mosaik-sim -- --trace faults --seeds 1 --first {seed} --nodes {} --until {}{}{}",
        base.nodes,
        base.until.as_secs(),
        if base.strict { " --strict" } else { "" },
        if base.tight { " --tight" } else { "" }
    )
}
