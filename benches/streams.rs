//! Streams beside raw quinn, over loopback, in one process.
//!
//! `cargo bench --bench streams [-- [--runtime tokio1|tokio|smol1|smol] [--rounds N] [--seconds S] filter…]`
//!
//! Both sides are built once per row and measured in turn, in rotated order, with the raw side
//! measured twice per round: its distance from itself is the control. A row shows the round with
//! the median ratio; ratios of single rounds are of the same minute, so they suffer less from a
//! busy machine than medians of each side. For round trips a lower ratio is better.
//!
//! The rows of smol compare our nodes there with our nodes on tokio.

#[path = "support/home.rs"]
mod home;
#[path = "streams/homes.rs"]
mod homes;
#[path = "streams/ours.rs"]
mod ours;
#[path = "streams/raw.rs"]
mod raw;
#[path = "streams/side.rs"]
mod side;
#[path = "streams/tls.rs"]
mod tls;

use std::time::Duration;

use raw::Peer;
use side::{Large, Load, Medium, Side, Small};

/// What one run of a row gives: a number per name.
type Measured = Vec<f64>;

#[derive(Clone, Debug)]
struct Options {
    runtimes: Vec<String>,
    filters: Vec<String>,
    rounds: usize,
    time: Duration,
    /// Without comparison: only this side, for a profiler.
    only: Option<usize>,
    /// Compare small items with raw quinn that encodes, too.
    codec: bool,
}

impl Options {
    fn parse() -> Option<Self> {
        let mut options = Self {
            runtimes: Vec::new(),
            filters: Vec::new(),
            rounds: 7,
            time: Duration::from_millis(400),
            only: None,
            codec: false,
        };
        let mut bench = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_default();
            match arg.as_str() {
                "--bench" => bench = true,
                "--runtime" => options.runtimes.extend(value().split(',').map(String::from)),
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => {
                    let seconds = value().parse().expect("seconds");
                    options.time = Duration::from_secs_f64(seconds);
                }
                "--only" => options.only = Some(usize::from(value() != "ours")),
                "--codec" => options.codec = true,
                flag if flag.starts_with("--") => return None,
                filter => options.filters.push(filter.into()),
            }
        }
        // Without `--bench` this is `cargo test`, which has nothing to do here.
        bench.then_some(options)
    }

    fn runs(&self, runtime: &str) -> bool {
        self.runtimes.is_empty() || self.runtimes.iter().any(|wanted| wanted == runtime)
    }

    fn wants(&self, names: &[String]) -> bool {
        self.filters.is_empty()
            || names.iter().any(|name| self.filters.iter().any(|filter| name.contains(filter)))
    }
}

fn main() {
    let Some(options) = Options::parse() else { return };
    println!("# two sides on loopback, {} rounds of {:?} each", options.rounds, options.time);
    for runtime in ["tokio1", "tokio"] {
        if !options.runs(runtime) {
            continue;
        }
        let mut builder = match runtime {
            "tokio1" => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let executor = builder.enable_all().build().expect("a runtime");
        executor.block_on(async {
            for fan_out in [1, 8] {
                flows::<Small>(&options, runtime, fan_out).await;
                flows::<Medium>(&options, runtime, fan_out).await;
                flows::<Large>(&options, runtime, fan_out).await;
            }
            round_trips(&options, runtime).await;
        });
        executor.shutdown_timeout(Duration::from_secs(3));
    }
    for (runtime, one) in [("smol1", true), ("smol", false)] {
        if options.runs(runtime) {
            homes::compare(&options, one);
        }
    }
}

async fn flows<D: Load>(options: &Options, runtime: &str, fan_out: usize) {
    let name = format!("streams/{}/1:{fan_out}/{runtime}", D::NAME);
    if !options.wants(std::slice::from_ref(&name)) {
        return;
    }
    let codec = options.codec || D::BYTES >= side::PACK;
    let peer = if codec { Peer::Codec } else { Peer::Packed };
    let encoded = D::first().encode().expect("an encoding").len();
    assert_eq!(encoded, D::BYTES, "the size that the row is named after");
    let mut sides = [
        ours::flow::<D>(fan_out).await,
        raw::flow::<D>(peer, fan_out).await,
        raw::flow::<D>(peer, fan_out).await,
    ];
    let warm = options.time / 3;
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut measured = [Vec::new(), Vec::new(), Vec::new()];
        for which in order(options, round) {
            measured[which] = vec![sides[which].rate(warm, options.time).await];
        }
        rounds.push(measured);
    }
    report(options, &[name.as_str()], peer.name(), "items/s", &rounds);
    let [cpu, raw, _] = sides.each_ref().map(Side::cpu_per_item);
    println!("# cpu {name} ours={cpu:.1} theirs={raw:.1} ns/item, both ends, user and system");
    for mut side in sides {
        side.tasks.shutdown().await;
        drop(side.keep);
    }
    // Nodes that were dropped say farewell.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn round_trips(options: &Options, runtime: &str) {
    let names = ["p50", "p99"].map(|what| format!("pingpong/{what}/{runtime}"));
    if !options.wants(&names) {
        return;
    }
    let mut ours = ours::PingPong::new().await;
    let mut raws = [raw::PingPong::new().await, raw::PingPong::new().await];
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut measured = [Vec::new(), Vec::new(), Vec::new()];
        for which in order(options, round) {
            let _warm = trips(&mut ours, &mut raws, which, options.time / 3).await;
            let mut trips = trips(&mut ours, &mut raws, which, options.time).await;
            trips.sort_unstable();
            let at = |percent: usize| trips[trips.len() * percent / 100].as_nanos() as f64 / 1e3;
            measured[which] = vec![at(50), at(99)];
        }
        rounds.push(measured);
    }
    report(options, &names.each_ref().map(String::as_str), "quinn-frame", "us", &rounds);
    ours.end().await;
    raws.into_iter().for_each(raw::PingPong::end);
}

async fn trips(
    ours: &mut ours::PingPong,
    raws: &mut [raw::PingPong; 2],
    which: usize,
    time: Duration,
) -> Vec<Duration> {
    match which {
        0 => ours.run(time).await,
        raw => raws[raw - 1].run(time).await,
    }
}

/// The order of a round: each side comes first in turn.
fn order(options: &Options, round: usize) -> Vec<usize> {
    match options.only {
        Some(side) => vec![side],
        None => (0..3).map(|at| (at + round) % 3).collect(),
    }
}

/// Prints a row per name. `rounds` hold ours, theirs and theirs again.
fn report(options: &Options, names: &[&str], peer: &str, unit: &str, rounds: &[[Measured; 3]]) {
    for (at, name) in names.iter().enumerate() {
        if let Some(side) = options.only {
            let all: Vec<_> = rounds.iter().map(|round| round[side][at]).collect();
            println!("# {name} {all:.2?} {unit}");
            continue;
        }
        let mut compared: Vec<_> = rounds
            .iter()
            .map(|[ours, theirs, again]| {
                let theirs_mean = (theirs[at] + again[at]) / 2.0;
                (ours[at] / theirs_mean, ours[at], theirs_mean)
            })
            .collect();
        compared.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut control: Vec<_> =
            rounds.iter().map(|[_, theirs, again]| again[at] / theirs[at]).collect();
        control.sort_by(f64::total_cmp);
        let (ratio, ours, theirs) = compared[compared.len() / 2];
        let digits = if unit == "us" { 2 } else { 0 };
        println!(
            "RESULT name={name} ours={ours:.digits$} peer={peer} theirs={theirs:.digits$} \
             ratio={ratio:.3} unit={unit}"
        );
        println!(
            "# control {name} {:.3} [{:.3} {:.3}], ratios [{:.3} {:.3}]",
            control[control.len() / 2],
            control[0],
            control[control.len() - 1],
            compared[0].0,
            compared[compared.len() - 1].0,
        );
    }
}
