//! A link that is cut at random moments of a transfer: two hosts made of network namespaces, a
//! process on each, and a route that becomes a black hole and comes back.
//!
//! `cargo test --release --test cuts -- --ignored --nocapture --test-threads 1` cuts it a hundred
//! times in each of two ways and prints what happened; `MOSAIK_SEED=N` repeats a run's schedule.

#![cfg(unix)]

mod common;
#[path = "cuts/consumer.rs"]
mod consumer;
#[path = "cuts/producer.rs"]
mod producer;
mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use mosaik::{
    discovery::EndpointAddr,
    driver::quic::IDLE_MAX,
    proto::{limits::SILENCE_MAX, rng::Rng},
    *,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use consumer::Found;
use support::{Hosts, Process, role};

/// For what has no figure of its own: on a busy machine, dials back off.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stream.
const STREAM: &str = "cuts";

/// Its items: a number, and something to carry.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    number: u64,
    body: Bytes,
}

impl Item {
    /// Sizes from nothing to more than a packet, as the number says.
    fn new(number: u64) -> Self {
        let length = number * 7919 % 2048;
        Self { number, body: vec![number as u8; length as usize].into() }
    }

    fn is_whole(&self) -> bool {
        self.body == Self::new(self.number).body
    }
}

/// Which way the black hole swallows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Producer,
    Consumer,
    Both,
}

/// How long the link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// QUIC lives through it.
    Short,
    /// Beyond the silence after which a link is down.
    Link,
    /// Beyond the silence after which the peer is given up, too.
    Peer,
}

impl Cut {
    fn time(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Short => Duration::from_millis(50 + rng.below(350)),
            Self::Link => IDLE_MAX + Duration::from_millis(1_000 + rng.below(1_500)),
            Self::Peer => IDLE_MAX + SILENCE_MAX + Duration::from_millis(3_000 + rng.below(2_000)),
        }
    }
}

/// Seeded, so that a schedule can be repeated; what the kernel does with it is its own affair.
fn seed() -> u64 {
    let given = std::env::var("MOSAIK_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

fn rng(seed: u64, what: &str) -> Rng {
    Rng::new(*Digest::from(seed.to_string().as_str()).as_bytes()).fork(what)
}

/// So many cuts, so many of them long, so many of those very long, in any order.
fn schedule(cuts: usize, long: usize, longest: usize, rng: &mut Rng) -> Vec<Cut> {
    let mut all = vec![Cut::Short; cuts];
    all[..long].fill(Cut::Link);
    all[..longest].fill(Cut::Peer);
    rng.shuffle(&mut all);
    all
}

/// Two hosts with a process each.
struct Site {
    hosts: Hosts,
    producer: Process,
    consumer: Process,
    rng: Rng,
}

impl Site {
    /// `witness`: somebody else reads as well, so that the producer never waits.
    fn new(hosts: Hosts, witness: bool, seed: u64) -> Self {
        let network = NetworkId::random();
        let words = format!("producer {network} {witness}");
        let producer = Process::start("producer", &mut role::command(Some((&hosts, 0)), &words));
        let EndpointAddr { id, addrs } = answer(&producer, "address");
        let here = addrs.into_iter().find(|addr| addr.ip() == hosts.addr(0));
        let words = format!("consumer {network} {id}@{}", here.expect("its address"));
        let consumer = Process::start("consumer", &mut role::command(Some((&hosts, 1)), &words));
        Self { hosts, producer, consumer, rng: rng(seed, "cuts") }
    }

    /// Items that have arrived by now.
    fn arrived(&self) -> u64 {
        self.consumer.find("progress", Instant::now() + PATIENCE, progress)
    }

    /// Waits until so many items have arrived.
    fn arrives(&self, items: u64) {
        let what = format!("item {items}");
        self.consumer.find(&what, Instant::now() + PATIENCE, |lines| {
            progress(lines).filter(|arrived| *arrived >= items)
        });
    }

    fn cut(&mut self, cut: Cut) -> Duration {
        thread::sleep(Duration::from_millis(self.rng.below(300)));
        let side = match self.rng.below(3) {
            0 => Side::Producer,
            1 => Side::Consumer,
            _ => Side::Both,
        };
        let ends = [(Side::Producer, 0, 1), (Side::Consumer, 1, 0)];
        let ends =
            ends.map(|(end, from, to)| (side == end || side == Side::Both).then_some((from, to)));
        let time = cut.time(&mut self.rng);
        for (from, to) in ends.into_iter().flatten() {
            self.hosts.swallow(from, to).expect("a route");
        }
        thread::sleep(time);
        for (from, to) in ends.into_iter().flatten() {
            self.hosts.pass(from, to).expect("a route");
        }
        time
    }

    /// Ends the transfer: what the producer sent, the gaps it was told of, what the consumer found.
    fn end(&mut self) -> (u64, Vec<(u64, u64)>, Found) {
        self.producer.say("stop");
        let sent: u64 = answer(&self.producer, "sent");
        self.consumer.say(&format!("until {sent}"));
        let found = answer(&self.consumer, "found");
        self.producer.say("gaps");
        (sent, answer(&self.producer, "gaps"), found)
    }
}

fn progress(lines: &[String]) -> Option<u64> {
    lines.iter().rev().find_map(|line| line.strip_prefix("at: ")?.parse().ok())
}

/// Cuts a transfer so often, and checks that nothing is lost that is not told.
fn cuts(count: usize, long: usize, longest: usize, witness: bool) {
    let hosts = match Hosts::new(2) {
        Ok(hosts) => hosts,
        Err(reason) => return println!("skipped, no network namespaces here: {reason}"),
    };
    let (seed, start) = (seed(), Instant::now());
    println!("{count} cuts, {long} of them long, MOSAIK_SEED={seed}");
    let mut site = Site::new(hosts, witness, seed);
    site.arrives(1);
    let mut down = Duration::ZERO;
    for cut in schedule(count, long, longest, &mut rng(seed, "schedule")) {
        down += site.cut(cut);
        if cut == Cut::Short {
            continue;
        }
        // The next one is to cut a transfer, not an attempt to resume one.
        let arrived = site.arrived();
        site.arrives(arrived + 1);
    }
    let (sent, told, found) = site.end();
    println!("  {:.0?} in all, {down:.0?} of them cut; {sent} items sent", start.elapsed());
    println!("  {found}");
    assert_eq!(found.damaged, 0);
    assert_eq!(found.missing, found.told, "what is missing is what the consumer was told");
    assert_eq!(found.missing, told, "and what the producer was told");
    let missed = found.missing.iter().map(|(first, last)| last - first + 1).sum::<u64>();
    assert_eq!((found.received + missed, found.missed), (sent, missed), "the numbers add up");
    assert!(found.connections > long as u64, "a long cut ends a link");
    assert!(witness || missed == 0, "a producer waits for its only consumer");
    assert!(!witness || missed > 0, "it was not held, so something was missed");
}

fn answer<T: DeserializeOwned>(process: &Process, word: &str) -> T {
    role::answer(process, word, PATIENCE)
}

/// The parts that are played in processes of their own.
#[test]
fn role() {
    role::play(|runtime, words, told| match *words {
        ["producer", network, witness] => {
            runtime.block_on(producer::run(network.into(), witness == "true", told));
        }
        ["consumer", network, known] => {
            let known = known.parse().expect("an address");
            runtime.block_on(consumer::run(network.into(), known, told));
        }
        _ => panic!("no such role: {words:?}"),
    });
}

#[test]
fn eight_cuts_lose_nothing() {
    cuts(8, 1, 0, false);
}

#[test]
#[ignore = "the full form: see the top of this file"]
fn a_hundred_cuts_lose_nothing() {
    cuts(100, 12, 2, false);
}

#[test]
#[ignore = "the full form: see the top of this file"]
fn a_hundred_cuts_with_a_witness_lose_what_is_told() {
    cuts(100, 12, 2, true);
}
