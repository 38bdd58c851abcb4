//! A producer that is killed in the middle of a stream and comes back with the same key: a process
//! of its own, `kill -9`, again and again.

#![cfg(unix)]

mod common;
mod support;

use std::time::{Duration, Instant};

use common::{shy, soon};
use mosaik::{discovery::EndpointAddr, streams::StreamEvent, *};
use serde::{Deserialize, Serialize};
use support::{Process, role, unique};

/// The stream.
const STREAM: &str = "restart";
/// Times that the producer is killed.
const DEATHS: u64 = 4;
/// Items of one life that arrive before it ends; some more are under way then.
const ITEMS: u64 = 2_000;
/// A dead peer is noticed within seconds, dials back off, the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// An item says which run of the producer sent it.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    run: u64,
    number: u64,
    body: Bytes,
}

/// The parts that are played in processes of their own.
#[test]
fn role() {
    role::play(|runtime, words, _told| {
        let [network, secret, run, known] = *words else { panic!("no such role: {words:?}") };
        let (run, known) = (run.parse().expect("a number"), known.parse().expect("an address"));
        runtime.block_on(produce(network.into(), secret, run, known));
    });
}

/// Sends as fast as it may until it is killed.
async fn produce(network: NetworkId, secret: &str, run: u64, known: EndpointAddr) {
    let node = Network::builder(network)
        .with_secret_key(Digest::from(secret))
        .with_discovery(shy().with_bootstrap(known))
        .build()
        .await
        .expect("a node");
    let builder = node.streams().producer::<Item>().with_stream_id(STREAM);
    let producer = builder.build().expect("the only one");
    for number in 0.. {
        let body = Bytes::from(vec![number as u8; 100]);
        producer.send(Item { run, number, body }).await.expect("sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producer_comes_back_as_another() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let secret = unique("restart");
    let node = Network::builder(network).with_discovery(shy()).build().await?;
    let mut consumer = node.streams().consumer::<Item>().with_stream_id(STREAM).build();
    let mut events = consumer.events();
    let start = |run: u64| {
        let known = node.local().addr();
        let words = format!("{network} {secret} {run} {known}");
        Process::start(&format!("run {run}"), &mut role::command(None, &words))
    };
    let (mut restarts, mut connections) = (0, 0);
    let mut producer = start(0);
    for run in 0..=DEATHS {
        let (mut next, mut killed) = (0, None);
        loop {
            let item = common::within(PATIENCE, consumer.next()).await.expect("an item");
            while let Some(event) = events.try_recv()? {
                match event {
                    StreamEvent::Restarted { .. } => restarts += 1,
                    StreamEvent::Connected { .. } => connections += 1,
                    StreamEvent::Gap { first, last, .. } => panic!("a gap: {first}..={last}"),
                    _ => {}
                }
            }
            if item.run != run {
                // The next life: nothing of the old one comes after it.
                let killed: Instant = killed.expect("it was not killed yet");
                println!(
                    "run {}: after {:.1?}, behind {next} of {run}",
                    item.run,
                    killed.elapsed()
                );
                assert_eq!((item.run, item.number), (run + 1, 0), "from its first item on");
                assert_eq!(restarts, run + 1, "the consumer was told before");
                break;
            }
            // The first item of a later life was the one that ended the loop before.
            let expected = if next == 0 && run > 0 { 1 } else { next };
            assert_eq!(item.number, expected, "without gap or duplicate in run {run}");
            assert_eq!(item.body[..], [item.number as u8; 100]);
            next = item.number + 1;
            if next == ITEMS && run < DEATHS {
                producer.signal("KILL");
                killed = Some(Instant::now());
                producer = start(run + 1);
            }
            if next == ITEMS && run == DEATHS {
                break;
            }
        }
    }
    assert_eq!((restarts, connections), (DEATHS, DEATHS + 1));
    assert_eq!(consumer.missed(), 0);
    drop(producer);
    soon(node.shutdown()).await;
    Ok(())
}
