//! Three members over loopback QUIC, in one process.
//!
//! `cargo bench --bench groups [-- [--runtime tokio|tokio1|smol|smol1] [--rounds N] [--seconds S] filter…]`
//!
//! | row | what is measured |
//! |---|---|
//! | `groups/leader/K` | `K` tasks each loop `execute(16 B).await` on the leader: commits per second |
//! | `groups/follower/K` | the same on a follower |
//! | `groups/reads/leader`, `/follower` | 256 tasks each loop a linearizable read |
//! | `groups/disk/K` | as `leader`, with a write-ahead log; beside it bare append-and-fdatasync of the same batches |
//! | `groups/disk-fsyncs/K` | fsyncs of all three members per batch that a store was asked to make durable |
//! | `groups/formation/memory`, `/disk` | from three calls of `join` until all are online, the slowest round |
//! | `groups/leave/memory`, `/disk` | the slowest write at a follower while the leader leaves in good order |
//!
//! `tokio` and `smol` have several threads, `tokio1` and `smol1` one. On smol the loops run where the nodes do.
//! The row `groups/leader/1` has raw quinn round trips beside it, and a line with both medians of time.

#[path = "groups/counted.rs"]
mod counted;
#[path = "support/home.rs"]
mod home;
#[path = "streams/raw.rs"]
#[allow(dead_code, reason = "shared with the bench of streams")]
mod raw;
#[path = "streams/side.rs"]
#[allow(dead_code, reason = "shared with the bench of streams")]
mod side;
#[path = "streams/tls.rs"]
mod tls;

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use counted::{Counted, Counts};
use home::{Home, Node};
use mosaik::{
    discovery::Config,
    groups::{ApplyContext, LogReplaySync, StateMachine},
    *,
};

type Payload = [u8; 16];

/// Counts what it is told.
#[derive(Debug, Default)]
struct Tally(u64);

impl StateMachine for Tally {
    type Command = Payload;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        unique_id!("mosaik.bench.groups")
    }

    fn apply(&mut self, _: Payload, _: &dyn ApplyContext) {
        self.0 += 1;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[derive(Clone, Debug)]
struct Options {
    runtimes: Vec<String>,
    filters: Vec<String>,
    rounds: usize,
    time: Duration,
}

impl Options {
    fn parse() -> Option<Self> {
        let (runtimes, filters) = (Vec::new(), Vec::new());
        let time = Duration::from_millis(500);
        let mut options = Self { runtimes, filters, rounds: 5, time };
        let mut bench = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_default();
            match arg.as_str() {
                "--bench" => bench = true,
                "--runtime" => options.runtimes.extend(value().split(',').map(String::from)),
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => {
                    options.time = Duration::from_secs_f64(value().parse().expect("seconds"));
                }
                flag if flag.starts_with("--") => return None,
                filter => options.filters.push(filter.into()),
            }
        }
        // Without `--bench` this is `cargo test`, which has nothing to do here.
        bench.then_some(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// Where the members of a row run; on tokio that is where this is called.
fn home(runtime: &str) -> Home {
    match runtime {
        "smol" | "smol1" => Home::smol(runtime == "smol1"),
        _ => Home::tokio(tokio::runtime::Handle::current()),
    }
}

/// Three members of one group.
struct Trio {
    home: Home,
    networks: Vec<Node>,
    groups: Vec<Arc<Group<Tally>>>,
    /// The places of the leader and of a follower.
    leader: usize,
    follower: usize,
    /// How long it took until all were online.
    formation: Duration,
}

impl Trio {
    async fn new(home: Home, disk: Option<(&Path, &Arc<Counts>)>) -> Self {
        let id = NetworkId::random();
        let key = GroupKey::random();
        let (mut networks, mut groups) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let at_once = Config::builder().with_local_discovery(true);
            networks.push(home.node(id, at_once).await);
        }
        let begun = Instant::now();
        for (member, network) in networks.iter().enumerate() {
            let groups_of = (**network).as_ref().groups();
            let builder = groups_of.with_key(key).with_state_machine(Tally::default());
            groups.push(Arc::new(match disk {
                Some((place, counts)) => {
                    let store = Counted::new(&place.join(member.to_string()), counts);
                    builder.with_log_storage(store).join()
                }
                None => builder.join(),
            }));
        }
        for group in &groups {
            group.when().online().await;
        }
        let formation = begun.elapsed();
        // The second voter enters with the first command.
        groups[0].execute([0; 16]).await.expect("the first command");
        while !groups.iter().any(|group| group.status().voters.len() == 3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let leader = groups.iter().position(|group| group.is_leader()).expect("a leader");
        Self { home, networks, groups, leader, follower: (leader + 1) % 3, formation }
    }

    /// Commands per second of `tasks` loops on one member, and how long each took.
    async fn load(
        &self,
        member: usize,
        tasks: usize,
        time: Duration,
        read: bool,
    ) -> (f64, Vec<Duration>) {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut loops = Vec::new();
        for _ in 0..tasks {
            let (stop, done) = (stop.clone(), done.clone());
            let group = self.groups[member].clone();
            loops.push(self.home.spawn(async move {
                let mut trips = Vec::new();
                while !stop.load(Relaxed) {
                    let start = Instant::now();
                    if read {
                        group.query((), Strong).await.expect("read");
                    } else {
                        group.execute([7; 16]).await.expect("executed");
                    }
                    done.fetch_add(1, Relaxed);
                    trips.push(start.elapsed());
                }
                trips
            }));
        }
        tokio::time::sleep(time / 4).await;
        let (before, start) = (done.load(Relaxed), Instant::now());
        tokio::time::sleep(time).await;
        let rate = (done.load(Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        let mut trips = Vec::new();
        for task in loops {
            trips.extend(task.await.expect("a loop"));
        }
        (rate, trips)
    }

    async fn end(self) {
        drop(self.groups);
        let all = self.networks.iter().map(|network| (**network).as_ref().shutdown());
        futures::future::join_all(all).await;
    }
}

fn main() {
    let Some(options) = Options::parse() else { return };
    println!("# three members on loopback, {} rounds of {:?} each", options.rounds, options.time);
    for runtime in ["tokio", "tokio1", "smol", "smol1"] {
        if !options.runtimes.is_empty() && !options.runtimes.iter().any(|name| name == runtime) {
            continue;
        }
        let mut builder = match runtime {
            "tokio1" => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let executor = builder.enable_all().build().expect("a runtime");
        executor.block_on(async {
            memory(&options, runtime).await;
            disk(&options, runtime).await;
            lives(&options, runtime).await;
        });
        executor.shutdown_timeout(Duration::from_secs(3));
    }
}

async fn memory(options: &Options, runtime: &str) {
    let trio = Trio::new(home(runtime), None).await;
    let mut alone = [0.0; 2];
    for (role, member) in [("leader", trio.leader), ("follower", trio.follower)] {
        for tasks in [1, 64, 1024] {
            let name = format!("groups/{role}/{tasks}/{runtime}");
            if !options.wants(&name) {
                continue;
            }
            let beside = role == "leader" && tasks == 1;
            let mut quinn = if beside { Some(raw::PingPong::new().await) } else { None };
            let (mut rates, mut raws, mut p50s, mut raw_p50s) = (vec![], vec![], vec![], vec![]);
            for _ in 0..options.rounds {
                let (rate, trips) = trio.load(member, tasks, options.time, false).await;
                rates.push(rate);
                p50s.push(middle(trips));
                if let Some(quinn) = &mut quinn {
                    let trips = quinn.run(options.time).await;
                    raws.push(trips.len() as f64 / options.time.as_secs_f64());
                    raw_p50s.push(middle(trips));
                }
            }
            let (rate, p50) = (median(rates), median(p50s));
            if let Some(quinn) = quinn {
                quinn.end();
                let (raw, raw_p50) = (median(raws), median(raw_p50s));
                println!(
                    "RESULT name={name} ours={rate:.0} peer=quinn-round-trips theirs={raw:.0} ratio={:.3} unit=commits/s",
                    rate / raw
                );
                println!("# p50 {name} ours={p50:.1} us, a raw round trip {raw_p50:.1} us");
            } else {
                println!("RESULT name={name} ours={rate:.0} unit=commits/s");
                println!("# p50 {name} ours={p50:.1} us");
            }
            if tasks == 1 {
                alone[usize::from(role == "follower")] = p50;
            }
        }
    }
    if alone.iter().all(|p50| *p50 > 0.0) {
        println!("# follower beside leader, p50 alone: {:.2} times", alone[1] / alone[0]);
    }
    for (role, member) in [("leader", trio.leader), ("follower", trio.follower)] {
        let name = format!("groups/reads/{role}/{runtime}");
        if options.wants(&name) {
            let mut rates = vec![];
            for _ in 0..options.rounds {
                rates.push(trio.load(member, 256, options.time, true).await.0);
            }
            println!("RESULT name={name} ours={:.0} unit=reads/s", median(rates));
        }
    }
    trio.end().await;
}

async fn disk(options: &Options, runtime: &str) {
    let names = [1, 64, 1024].map(|tasks| (tasks, format!("groups/disk/{tasks}/{runtime}")));
    if !names.iter().any(|(_, name)| options.wants(name)) {
        return;
    }
    let place = place();
    let counts = Arc::default();
    let trio = Trio::new(home(runtime), Some((&place, &counts))).await;
    for (tasks, name) in names {
        if !options.wants(&name) {
            continue;
        }
        let (mut rates, mut bare) = (vec![], vec![]);
        let before = counts.so_far();
        for _ in 0..options.rounds {
            rates.push(trio.load(trio.leader, tasks, options.time, false).await.0);
            bare.push(append(&place.join("bare"), tasks, options.time));
        }
        let (ours, theirs) = (median(rates), median(bare));
        println!(
            "RESULT name={name} ours={ours:.0} peer=append-fdatasync theirs={theirs:.0} ratio={:.3} unit=commits/s",
            ours / theirs
        );
        let (batches, fsyncs) = counts.so_far();
        println!(
            "RESULT name=groups/disk-fsyncs/{tasks}/{runtime} ours={:.3} unit=fsyncs/batch",
            (fsyncs - before.1) as f64 / (batches - before.0) as f64
        );
    }
    trio.end().await;
    drop(fs::remove_dir_all(&place));
}

/// A group begins, and its leader leaves while a follower writes.
async fn lives(options: &Options, runtime: &str) {
    for kind in ["memory", "disk"] {
        let names = ["formation", "leave"].map(|what| format!("groups/{what}/{kind}/{runtime}"));
        if !names.iter().any(|name| options.wants(name)) {
            continue;
        }
        let place = place();
        let (mut formation, mut worst) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..options.rounds {
            let counts = Arc::default();
            let disk = (kind == "disk").then_some((place.as_path(), &counts));
            let mut trio = Trio::new(home(runtime), disk).await;
            formation = formation.max(trio.formation);
            // It leaves with its last handle.
            let stays = Arc::clone(&trio.groups[trio.follower]);
            let leaves = std::mem::replace(&mut trio.groups[trio.leader], stays);
            let leave = async {
                tokio::time::sleep(options.time / 2).await;
                drop(leaves);
            };
            let load = trio.load(trio.follower, 1, options.time, false);
            let ((_, trips), ()) = futures::future::join(load, leave).await;
            worst = worst.max(trips.into_iter().max().unwrap_or_default());
            trio.end().await;
            drop(fs::remove_dir_all(&place));
        }
        for (name, time) in names.iter().zip([formation, worst]) {
            println!("RESULT name={name} ours={:.1} unit=ms", time.as_secs_f64() * 1e3);
        }
    }
}

/// Where stores are for a while.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("groups-bench-{}", std::process::id()))
}

/// Commands per second of appending and syncing batches of so many to three files, one after the
/// other, as three members on one disk do.
fn append(place: &Path, batch: usize, time: Duration) -> f64 {
    fs::create_dir_all(place).expect("a directory");
    let mut files =
        [0, 1, 2].map(|file| File::create(place.join(file.to_string())).expect("a file"));
    let bytes = vec![7; batch * 18];
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed() < time {
        for file in &mut files {
            file.write_all(&bytes).expect("written");
            file.sync_data().expect("synced");
        }
        batches += 1;
    }
    (batches * batch) as f64 / start.elapsed().as_secs_f64()
}

/// The median in microseconds.
fn middle(mut trips: Vec<Duration>) -> f64 {
    trips.sort_unstable();
    trips.get(trips.len() / 2).map_or(0.0, |trip| trip.as_secs_f64() * 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
