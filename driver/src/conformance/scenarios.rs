//! The scenarios. Each is an `async fn` over a [`Bench`]; its name begins with its rule.

mod cancel;
mod discovery;
mod ends;
mod groups;
mod links;
mod streams;

use std::time::Duration;

use mosaik_proto::ids::StreamId;

pub use self::{
    cancel::str_04_given_up_anywhere,
    discovery::{disc_12_sync, disc_31_a_lost_peer_comes_back, disc_35_departure},
    ends::{
        link_12_dropped_networks, node_02_shutdown_with_work_in_flight, str_13_a_thousand_handles,
    },
    groups::{
        grp_24_shutdown_with_calls_in_flight, grp_30_commands_of_all_members,
        raft_04_a_leader_is_cut_off,
    },
    links::{link_01_another_network, link_02_connect, link_04_simultaneous_dial, link_14_refuse},
    streams::{
        str_05_back_pressure, str_09_reconnect_and_resume, str_10_predicates, str_11_clock_jump,
        str_13_accepted_items_outlive_the_producer,
    },
};
use super::{Bench, Harness};
use crate::{
    Network,
    streams::{
        StreamDef,
        consumer::Consumer,
        producer::{Error, Producer},
    },
};

/// The stream of numbers that most scenarios use.
pub(super) fn numbers() -> StreamDef<u64> {
    StreamDef::with_stream_id(StreamId::hash(b"numbers"))
}

/// Both learn of each other, over a link that `a` dials.
pub(super) async fn meet<H: Harness>(bench: &Bench<H>, a: &Network, b: &Network) {
    let met = bench.soon(a.discovery().sync_with(b.local().addr())).await;
    assert_eq!(met, Ok(()), "two nodes meet");
}

/// True if `a` knows `b`, by a signed entry.
pub(super) fn knows(a: &Network, b: &Network) -> bool {
    a.discovery().catalog().get_signed(&b.local().id()).is_some()
}

/// A producer and a consumer of [`numbers`] that are connected.
pub(super) async fn subscribed<H: Harness>(
    bench: &Bench<H>,
    producer: &Producer<u64>,
    consumer: &Consumer<u64>,
) {
    bench.soon(producer.when().subscribed()).await;
    bench.soon(consumer.when().subscribed()).await;
}

/// Takes this many items and returns them.
pub(super) async fn take<H: Harness>(
    bench: &Bench<H>,
    consumer: &mut Consumer<u64>,
    items: u64,
) -> Vec<u64> {
    let mut taken = Vec::new();
    for _ in 0..items {
        taken.extend(bench.soon(consumer.recv()).await);
    }
    taken
}

/// Sends until nothing moves any more, and returns how many items that took: it was full for a second
/// at a stretch.
async fn fill<H: Harness>(bench: &Bench<H>, producer: &Producer<u64>) -> u64 {
    let (mut sent, mut full) = (0, 0);
    while full < 100 {
        match producer.try_send(sent) {
            Ok(()) => (sent, full) = (sent + 1, 0),
            Err(Error::Full(_)) => {
                full += 1;
                bench.sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("back-pressure is no failure: {error}"),
        }
        assert!(sent < 200_000, "{sent} items and no end");
    }
    sent
}
