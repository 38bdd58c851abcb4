//! The host that produces.

use std::{
    sync::mpsc::{Receiver, TryRecvError},
    time::Duration,
};

use mosaik::*;
use tokio::time::sleep;

use crate::{Item, STREAM, common::gaps, support::role::say};

/// Items between two breaths: cuts fall into a transfer that goes on, and the machine has others.
const BURST: u64 = 128;
const BREATH: Duration = Duration::from_millis(10);

/// Sends until it is told to stop, then tells of gaps.
pub(crate) async fn run(network: NetworkId, witness: bool, told: Receiver<String>) {
    let node = Network::builder(network)
        .with_discovery(discovery::Config::builder().no_auto_bootstrap())
        .build()
        .await
        .expect("a node");
    let builder = node.streams().producer::<Item>().with_stream_id(STREAM);
    let producer = builder.build().expect("the only one");
    let mut events = producer.events();
    say("address", node.local().addr());
    let mut parties = 1;
    if witness {
        parties += 1;
        let address = node.local().addr();
        tokio::spawn(read_along(network, address));
    }
    producer.when().subscribed().minimum_of(parties).await;
    let mut sent = 0;
    while told.try_recv() == Err(TryRecvError::Empty) {
        for _ in 0..BURST {
            producer.send(Item::new(sent)).await.expect("sent");
            sent += 1;
        }
        sleep(BREATH).await;
    }
    say("sent", sent);
    while told.recv().is_ok() {
        say("gaps", gaps(&mut events));
    }
}

/// A second node in this process, which is never cut off.
async fn read_along(network: NetworkId, known: discovery::EndpointAddr) {
    let discovery = discovery::Config::builder().no_auto_bootstrap().with_bootstrap(known);
    let node = Network::builder(network).with_discovery(discovery).build().await.expect("a node");
    let mut consumer = node.streams().consumer::<Item>().with_stream_id(STREAM).build();
    let mut next = 0;
    while let Some(item) = consumer.next().await {
        assert_eq!(item.number, next, "the witness misses nothing");
        next += 1;
    }
}
