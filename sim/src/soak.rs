//! Real processes that are killed and cut off while clients use them, and a judge.
//!
//! # Theory of operation
//!
//! A run starts members of one group, each a process of its own with a directory of its own, and
//! clients that write and read through all of them. While they do, members are killed with SIGKILL
//! and started again on what their disks hold, and, on hosts made of network namespaces
//! ([`Hosts`]), routes become black holes and come back. Then everybody is left in peace, and the run
//! is judged:
//!
//! - Every key's history is linearizable ([`linearize`](crate::linearize)); commands whose outcome a
//!   client does not know may be in force or not.
//! - Members hold the same in the end. Every acknowledged command was applied once on each, no refused
//!   one was, and none twice ([`Store`]).
//! - While a majority is there the group serves within [`Options::stall`] after whatever happened.
//!
//! ```text
//!                  ┌──────────── Fleet ────────────┐
//! clients ─ Ask ─► │ member 0 ─ stdin ──► process  │ ◄── kill -9, start        chaos
//!         ◄ Answer │ member 1 ◄─ stdout ─ process  │ ◄── black holes, routes
//!    │             │ member 2 …                    │        │
//!    ▼             └───────────────────────────────┘        ▼
//!  histories, fates of commands ─────────► judge ◄────── Pulse: who was there, who acknowledged when
//! ```
//!
//! This crate knows no runtime, so what a member is is up to the caller: any program that speaks
//! the [`protocol`] over its standard input and output. The facade's example `soak_member` is one;
//! the command `soak` builds and uses it.
//!
//! The schedule is a function of the seed; what the operating system makes of it is its own affair.

mod chaos;
mod clients;
mod damage;
mod fleet;
mod judge;
mod member;
pub mod protocol;
mod pulse;
mod store;

use std::{
    fmt,
    path::PathBuf,
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mosaik_proto::rng::Rng;

use self::{clients::Record, fleet::Fleet};
pub use self::{judge::Judged, pulse::Stalls, store::Store};
use crate::{linearize::Effort, netns::Hosts, verdict::Failure};

/// How long a client waits for an answer before it counts as unknown.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at most: each is a thread.
pub const CLIENTS: usize = 1_000;

/// Which way black holes swallow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What one member sends, or what it is sent.
    OneWay,
    /// Both.
    TwoWay,
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Members of the group.
    pub members: usize,
    /// Clients, up to [`CLIENTS`].
    pub clients: usize,
    /// Keys that they use.
    pub keys: u64,
    /// For how long things happen.
    pub time: Duration,
    /// A client pauses up to so long between two operations.
    pub pause: Duration,
    /// Time from the end of one incident to the next, at least and at most.
    pub every: (Duration, Duration),
    /// A killed member stays away for so long, at least and at most.
    pub down: (Duration, Duration),
    /// A member is cut off for so long.
    pub cut_off: (Duration, Duration),
    /// Also cut members off; needs [`Hosts`].
    pub cut: Option<Cut>,
    /// A killed member may also lose its directory, or a bit of it; then it is waited for until it votes
    /// again.
    pub damage: bool,
    /// The seed of the schedule.
    pub seed: u64,
    /// How long a group with a majority may take to serve.
    pub stall: Duration,
    /// How long members may take to come up and back, and to agree in the end: longer than a command may
    /// live.
    pub settle: Duration,
    /// Where members keep what they keep, and write their logs.
    pub dir: PathBuf,
}

impl Options {
    /// The usual ones for a seed.
    #[must_use]
    pub fn new(seed: u64, dir: PathBuf) -> Self {
        Self {
            members: 3,
            clients: 200,
            keys: 100,
            time: Duration::from_secs(300),
            pause: Duration::from_millis(100),
            every: (Duration::from_millis(1_500), Duration::from_secs(6)),
            down: (Duration::from_millis(50), Duration::from_secs(3)),
            cut_off: (Duration::from_millis(500), Duration::from_secs(12)),
            cut: None,
            damage: false,
            seed,
            stall: Duration::from_secs(5),
            settle: Duration::from_secs(60),
            dir,
        }
    }
}

/// Where a member runs.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Which one, from 0: it keeps its key.
    pub index: usize,
    /// Its directory.
    pub dir: PathBuf,
    /// Its host; else it runs on loopback.
    pub host: Option<(&'a Hosts, u8)>,
}

/// Starts a member: gives the command that is run.
pub type Launch<'a> = dyn Fn(&Place<'_>) -> Command + Sync + 'a;

/// What a run did and found.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// How long it took until everybody was left in peace.
    pub time: Duration,
    /// Commands and reads by how they ended.
    pub tally: Tally,
    /// Members killed.
    pub kills: u64,
    /// Times that a member was cut off.
    pub cuts: u64,
    /// Members that lost their directory or a bit of it.
    pub damages: u64,
    /// How long the group did not serve.
    pub stalls: Stalls,
    /// What the judge looked at.
    pub judged: Judged,
    /// What is wrong, if anything.
    pub failure: Option<Failure>,
}

/// Operations by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Commands of which nobody knows.
    pub unknown: u64,
    /// Commands that never were in force.
    pub refused: u64,
    /// Reads that were served.
    pub reads: u64,
    /// Reads that were not.
    pub unread: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, time, tally, kills, cuts, damages, stalls, judged, failure } = self;
        let Tally { acknowledged, unknown, refused, reads, unread } = tally;
        let Judged { effort: Effort { steps, .. }, took, applied } = judged;
        writeln!(
            f,
            "seed {seed}: {time:.1?}, {kills} kills, {cuts} cuts, {damages} damaged stores"
        )?;
        writeln!(f, "commands: {acknowledged} acknowledged, {unknown} unknown, {refused} refused")?;
        writeln!(f, "applied: {applied}; reads: {reads} served, {unread} not")?;
        writeln!(f, "{stalls}")?;
        writeln!(f, "linearizability: {steps} steps, {took:.1?}")?;
        match failure {
            None => write!(f, "well: nothing lost, nothing twice, linearizable, no long stall"),
            Some(failure) => write!(f, "FAILED, {failure}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Rng::new(bytes).fork("soak")
}

/// Runs it. With `hosts`, each member has one.
///
/// # Errors
/// The members could not be started. What they do wrong is in the summary.
///
/// # Panics
/// If members are to be cut off and there are no hosts.
pub fn run(
    options: &Options,
    hosts: Option<&Hosts>,
    launch: &Launch<'_>,
) -> Result<Summary, String> {
    assert!(options.cut.is_none() || hosts.is_some(), "cuts need hosts");
    let clock = Clock(Instant::now());
    let fleet = Fleet::new(options, hosts, launch, clock);
    fleet.start_all()?;
    let (record, stop) = (Record::new(options), AtomicBool::new(false));
    let begin = Instant::now();
    let chaos = thread::scope(|scope| {
        let client = |number| {
            let (fleet, record, stop) = (&fleet, &record, &stop);
            move || clients::run(number, options, fleet, record, stop)
        };
        for number in 0..options.clients.min(CLIENTS) as u64 {
            scope.spawn(client(number));
        }
        let chaos = chaos::run(options, &fleet);
        stop.store(true, Ordering::Relaxed);
        chaos
    });
    let time = begin.elapsed();
    let mut failure = chaos.failure;
    let judged = judge::judge(options, &fleet, &record, &mut failure);
    let stalls = lock(&fleet.pulse).stalls();
    if failure.is_none() && stalls.longest > options.stall {
        failure = Some(Failure::Liveness(format!("no service for {:.2?}", stalls.longest)));
    }
    let chaos::Done { kills, cuts, damages, .. } = chaos;
    let (seed, tally) = (options.seed, record.tally());
    Ok(Summary { seed, time, tally, kills, cuts, damages, stalls, judged, failure })
}
