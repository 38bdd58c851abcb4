//! What nodes cost that have nothing to do: packets, processor, memory.
//!
//! `cargo bench --bench idle [-- [--seconds S] [--nodes N] [--more M]]`
//!
//! So many nodes of one network in one process, all linked to all, after they have found each other
//! and come to rest. Packets are counted by the system in a network namespace of the bench's own
//! (`/proc/net`): payload of UDP, so without the headers of IP and UDP, all nodes together, and each
//! packet once. Without the right to make a namespace, they are those of the whole host. Processor
//! time is that of all threads (`/proc/self/task`), memory is what is resident per further node when
//! there are more, which then have more links each.

#[path = "../tests/support/memory.rs"]
mod memory;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::future::join_all;
use memory::{Counting, Memory};
use mosaik::{Network, NetworkId, discovery::Config};
use support::Hosts;

#[global_allocator]
static HEAP: Counting = Counting;

/// Rest before a measurement: dials that nobody needs any more, first round trips.
const REST: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(60);

/// The bars.
const UDP: f64 = 4_000.0;
const CPU: f64 = 10.0;
const MEMORY: f64 = 2_000_000.0;

#[derive(Clone, Copy, Debug)]
struct Options {
    time: Duration,
    nodes: usize,
    more: usize,
    /// We are the process in the namespace.
    inside: bool,
}

impl Options {
    fn parse() -> Option<Self> {
        let mut options = Self { time: Duration::from_secs(30), nodes: 8, more: 16, inside: false };
        let mut bench = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_default();
            match arg.as_str() {
                "--bench" => bench = true,
                "--inside" => options.inside = true,
                "--seconds" => {
                    options.time = Duration::from_secs(value().parse().expect("seconds"));
                }
                "--nodes" => options.nodes = value().parse().expect("a number of nodes"),
                "--more" => options.more = value().parse().expect("a number of nodes"),
                _ => {}
            }
        }
        // Without `--bench` this is `cargo test`, which has nothing to do here.
        bench.then_some(options)
    }
}

fn main() {
    let Some(options) = Options::parse() else { return };
    if !options.inside {
        match Hosts::new(1) {
            Ok(host) => return inside(&host),
            Err(reason) => println!("# packets are those of the whole host: {reason}"),
        }
    }
    let executor = tokio::runtime::Runtime::new().expect("a runtime");
    executor.block_on(measure(options));
    executor.shutdown_timeout(Duration::from_secs(3));
}

/// Runs this program again in a namespace where there is nobody else.
fn inside(host: &Hosts) {
    let program = std::env::current_exe().expect("the bench is a file");
    let mut command = host.command(0, program);
    command.args(std::env::args().skip(1)).arg("--inside").stdin(Stdio::null());
    let status = command.status().expect("it runs");
    assert!(status.success(), "{status}");
}

async fn join(network: NetworkId, all: &mut Vec<Network>, count: usize) {
    let seed = all.first().map(|node| node.local().addr());
    let nodes = (0..count).map(|_| {
        let discovery = Config::builder().no_auto_bootstrap();
        let discovery = match &seed {
            Some(seed) => discovery.with_bootstrap(seed.clone()),
            None => discovery,
        };
        Network::builder(network).with_discovery(discovery).build()
    });
    all.extend(join_all(nodes).await.into_iter().map(|node| node.expect("a node")));
    let start = Instant::now();
    let others = all.len() - 1;
    while !all.iter().all(|node| node.discovery().catalog().peers_count() == others) {
        assert!(start.elapsed() < PATIENCE, "they do not find each other");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(REST).await;
}

async fn measure(options: Options) {
    let network = NetworkId::random();
    let mut all = Vec::new();
    join(network, &mut all, 1).await;
    join(network, &mut all, options.nodes - 1).await;
    let Options { time, nodes, more, .. } = options;
    println!("# {nodes} idle nodes in one process, {time:?}; memory: {more} more");
    let (cpu, sent, start) = (processor(), Sent::now(), Instant::now());
    tokio::time::sleep(time).await;
    let (cpu, now) = (processor() - cpu, Sent::now());
    let seconds = start.elapsed().as_secs_f64();
    let packets = (now.packets - sent.packets) as f64 / seconds;
    let links = nodes * (nodes - 1) / 2;
    println!("# {links} links, {packets:.1} packets/s");
    result("idle/udp", (now.payload - sent.payload) as f64 / seconds, UDP, "B/s");
    result("idle/cpu", cpu.as_secs_f64() * 1e3 / seconds, CPU, "ms/s");

    let before = Memory::now();
    join(network, &mut all, more).await;
    let after = Memory::now();
    println!("# {nodes} nodes: {before}");
    println!("# {} nodes: {after}", all.len());
    let per_node = |before: usize, after: usize| after.saturating_sub(before) as f64 / more as f64;
    println!("# allocated: {:.0} bytes/node", per_node(before.heap, after.heap));
    result("idle/memory", per_node(before.resident, after.resident), MEMORY, "bytes/node");
    join_all(all.iter().map(|node| node.shutdown())).await;
}

fn result(name: &str, ours: f64, bar: f64, unit: &str) {
    let verdict = if ours < bar { "ok" } else { "MISSED" };
    println!("RESULT name={name} ours={ours:.2} bar={bar} unit={unit} {verdict}");
}

/// What left this network namespace.
#[derive(Clone, Copy, Debug)]
struct Sent {
    packets: u64,
    payload: u64,
}

impl Sent {
    fn now() -> Self {
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        let snmp6 = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
        let six = |name: &str| {
            let line = snmp6.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let (v4, v6) = (field(&snmp, "Udp:", "OutDatagrams"), six("Udp6OutDatagrams"));
        let bytes = field(&netstat, "IpExt:", "OutOctets") + six("Ip6OutOctets");
        // IP and UDP headers: 20 and 8, 40 and 8 bytes.
        Self { packets: v4 + v6, payload: bytes.saturating_sub(v4 * 28 + v6 * 48) }
    }
}

/// A field of a table in which names and values stand in two lines with the same beginning.
fn field(table: &str, row: &str, name: &str) -> u64 {
    let mut lines = table.lines().filter(|line| line.starts_with(row));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|word| word == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

/// Time on a processor, of all threads.
fn processor() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
