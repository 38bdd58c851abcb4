//! A consumer that never reads, at full load: what it costs at both ends, and for how long it holds
//! the others.
//!
//! `cargo test --release --test flood -- --ignored --nocapture --test-threads 1` sends a million
//! items of 1 KiB, with all nodes in one process, then with a process for the producer and one for
//! the consumer that never reads, and prints what it measured.

#![cfg(unix)]

mod common;
#[path = "flood/datum.rs"]
mod datum;
#[path = "support/memory.rs"]
mod memory;
#[path = "flood/never.rs"]
mod never;
#[path = "flood/source.rs"]
mod source;
mod support;

use std::time::Duration;

use common::soon;
use futures::future::{join_all, try_join_all};
use mosaik::{
    discovery::EndpointAddr,
    driver::quic::{CHANNEL_WINDOW, SEND_WINDOW},
    proto::limits::{BATCH_BYTES, CHANNEL_DEBT, LAG_TIMEOUT, LANE_BYTES, TAIL_BYTES, WINDOW_BYTES},
    *,
};
use serde::de::DeserializeOwned;

use datum::Item;
use memory::{Counting, Memory};
use never::{Got, Held, NeverReader};
use source::{Sent, Source};
use support::{
    Process,
    role::{self, say},
};

#[global_allocator]
static HEAP: Counting = Counting;

/// Consumers that read.
const READERS: usize = 9;
/// What a run may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: usize = 1024 * 1024;

/// Allocations that no rule counts: links without load, stacks of tasks, tables.
const REST: usize = 8 * MIB;
/// The producer keeps its log and its lane, whoever reads or not; and per consumer what the
/// transport has taken, what it has not, and a batch that is being written.
const PRODUCER: usize = TAIL_BYTES as usize
    + LANE_BYTES
    + BATCH_BYTES as usize
    + (READERS + 1) * (SEND_WINDOW as usize + CHANNEL_DEBT as usize + BATCH_BYTES as usize);
/// A consumer keeps its window, and what the transport has for it.
const CONSUMER: usize = WINDOW_BYTES as usize + CHANNEL_WINDOW as usize + BATCH_BYTES as usize;

/// One run.
#[derive(Clone, Copy, Debug)]
struct Flood {
    items: u64,
    lag: Duration,
}

/// Far from a million, for every day.
const SHORT: Flood = Flood { items: 20_000, lag: Duration::from_secs(1) };
const FULL: Flood = Flood { items: 1_000_000, lag: LAG_TIMEOUT };

/// A node on this host that looks for nobody.
async fn node(network: NetworkId, tag: &str, known: Option<EndpointAddr>) -> Network {
    let discovery = discovery::Config::builder().no_auto_bootstrap().with_tags(tag);
    let builder = Network::builder(network).with_addresses([([127, 0, 0, 1], 0).into()]);
    let node = soon(builder.with_discovery(discovery).build()).await.expect("a node");
    if let Some(known) = known {
        soon(node.discovery().sync_with(known)).await.expect("they meet");
    }
    node
}

/// The consumers that read everything, each on its node.
struct Readers(Vec<Network>);

impl Readers {
    async fn open(network: NetworkId, source: &EndpointAddr) -> Self {
        let all = (0..READERS).map(|_| node(network, "reads", Some(source.clone())));
        Self(join_all(all).await)
    }

    /// Reads so many items of a stream at every consumer: all of them, in order, none twice.
    fn read(&self, stream: &'static str, items: u64) -> impl Future<Output = ()> + use<> {
        let tasks: Vec<_> = self
            .0
            .iter()
            .map(|node| {
                let mut consumer = node.streams().consumer::<Item>().with_stream_id(stream).build();
                tokio::spawn(async move {
                    for n in 0..items {
                        let item = consumer.next().await.expect("an item");
                        assert_eq!(item.0, n, "all, in order, once");
                    }
                    assert_eq!(consumer.missed(), 0);
                    consumer
                })
            })
            .collect();
        async move {
            let all = common::within(PATIENCE, try_join_all(tasks));
            drop(all.await.expect("every reader got everything"));
        }
    }
}

/// What all parts measured.
#[derive(Debug)]
struct Outcome {
    sent: Sent,
    held: Held,
    got: Got,
    told: Vec<(u64, u64)>,
}

impl Outcome {
    fn print(&self, flood: &Flood) {
        let Flood { items, lag } = flood;
        println!(
            "{items} items of {} B, {READERS} read, one never does; lag timeout {lag:?}",
            datum::BYTES
        );
        let Sent { calm, free, cut_after, stalled, after, .. } = &self.sent;
        println!("  before, nine consumers only   {calm:>9.0} items/s");
        println!("  until the tenth was full      {free:>9.0} items/s");
        println!(
            "  cut off {cut_after:.2} s after the first item; nothing accepted for {stalled:.2} s"
        );
        println!(
            "  after the cut                 {after:>9.0} items/s, {:.2} of before",
            after / calm
        );
        let Got { received, missed, gaps, .. } = &self.got;
        println!("  it got {received} and missed {missed}: {gaps:?}");
    }

    /// The numbers add up, and both ends say the same.
    fn check(&self, flood: &Flood) {
        let Got { received, missed, gaps, told, first_run } = &self.got;
        assert_eq!(received + missed, flood.items, "every item arrived or is known as missed");
        let [(first, last)] = gaps[..] else { panic!("one gap, not {gaps:?}") };
        assert_eq!(first, *first_run, "behind what had arrived");
        assert_eq!(last - first + 1, *missed);
        assert_eq!(*told, *gaps, "as the consumer was told");
        assert_eq!(self.told, *gaps, "as the producer was told");
        // What it held is its window, to the item.
        assert_eq!(*first_run, self.held.items, "it takes what it held, then the gap");
        assert_eq!(self.held.items, WINDOW_BYTES / datum::BYTES as u64);
    }
}

/// Asserts and prints that a process grew within its bound.
fn within(what: &str, growth: usize, bound: usize, after: &str) {
    let mib = |bytes| bytes as f64 / MIB as f64;
    println!("  {what}: grew by {:.1} MiB, bound {:.1} MiB; {after}", mib(growth), mib(bound));
    assert!(growth <= bound, "{what} grew by {growth} B, bound {bound} B");
}

/// All nodes in this process.
async fn in_one_process(flood: Flood) {
    let network = NetworkId::random();
    let mut source = Source::open(network, flood.lag).await;
    let address = source.address();
    let readers = Readers::open(network, &address).await;
    let mut never = NeverReader::open(network, address).await;
    let calm = readers.read(source::CALM, source::calm_items(flood.items));
    let all = readers.read(source::FLOOD, flood.items);
    let (sent, (), ()) = futures::join!(source.run(flood.items), calm, all);
    let held = never.held();
    let got = never.read(flood.items).await;
    let outcome = Outcome { sent, held, got, told: source.gaps() };
    outcome.print(&flood);
    let bound = PRODUCER + (READERS + 1) * CONSUMER + REST;
    within("eleven nodes", outcome.sent.growth, bound, &Memory::now().to_string());
    outcome.check(&flood);
}

/// A process for the producer, one for the consumer that never reads, and this one for the others.
async fn in_three_processes(flood: Flood) {
    let network = NetworkId::random();
    let words = format!("source {network} {} {}", flood.items, flood.lag.as_millis());
    let mut producer = Process::start("producer", &mut role::command(None, &words));
    let address: EndpointAddr = answer(&producer, "address");
    let words = format!("never {network} {address}");
    let mut never = Process::start("never", &mut role::command(None, &words));
    let readers = Readers::open(network, &address).await;
    let calm = readers.read(source::CALM, source::calm_items(flood.items));
    let all = readers.read(source::FLOOD, flood.items);
    producer.say("run");
    futures::join!(calm, all);
    let sent: Sent = answer(&producer, "sent");
    never.say("held");
    let held: Held = answer(&never, "held");
    never.say(&format!("read {}", flood.items));
    let got: Got = answer(&never, "got");
    producer.say("gaps");
    let told = answer(&producer, "gaps");
    let outcome = Outcome { sent, held, got, told };
    outcome.print(&flood);
    let Outcome { sent, held, .. } = &outcome;
    within("the producer's process", sent.growth, PRODUCER + REST, &sent.memory);
    within("the never-reader's process", held.growth, CONSUMER + REST, &held.memory);
    outcome.check(&flood);
}

/// What a process printed behind this word.
fn answer<T: DeserializeOwned>(process: &Process, word: &str) -> T {
    role::answer(process, word, PATIENCE)
}

/// The parts that are played in processes of their own.
#[test]
fn role() {
    role::play(|runtime, words, told| match *words {
        ["source", network, items, lag] => {
            let (network, items) = (network.into(), items.parse().expect("a number"));
            let lag = Duration::from_millis(lag.parse().expect("milliseconds"));
            let mut source = runtime.block_on(Source::open(network, lag));
            say("address", source.address());
            for line in told {
                match line.as_str() {
                    "run" => say("sent", runtime.block_on(source.run(items))),
                    _ => say("gaps", source.gaps()),
                }
            }
        }
        ["never", network, address] => {
            let address = address.parse().expect("an address");
            let mut never = runtime.block_on(NeverReader::open(network.into(), address));
            for line in told {
                match line.split_once(' ') {
                    Some((_, items)) => {
                        let items = items.parse().expect("a number");
                        say("got", runtime.block_on(never.read(items)));
                    }
                    None => say("held", never.held()),
                }
            }
        }
        _ => panic!("no such role: {words:?}"),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_never_reads() {
    in_one_process(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_never_reads_in_a_process_of_its_own() {
    in_three_processes(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form: see the top of this file"]
async fn a_million_items_in_one_process() {
    in_one_process(FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form: see the top of this file"]
async fn a_million_items_in_three_processes() {
    in_three_processes(FULL).await;
}
