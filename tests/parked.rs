//! A million futures that wait and are given up leave nothing behind.

mod common;
#[path = "support/memory.rs"]
mod memory;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use common::{Data2, is_ready, nodes, soon};
use futures::Sink;
use memory::{Counting, Memory};
use mosaik::{streams::Producer, *};

#[global_allocator]
static HEAP: Counting = Counting;

/// Futures that wait at the same time, and how often that is repeated.
const AT_ONCE: usize = 50_000;
const ROUNDS: usize = 4;

/// Has so many futures wait, gives them up, and says how much is still allocated for them.
fn park<F: Future>(make: impl Fn() -> F) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut before = 0;
    for round in 0..=ROUNDS {
        let waiting: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let mut future = Box::pin(make());
                assert!(future.as_mut().poll(&mut cx).is_pending());
                future
            })
            .collect();
        drop(waiting);
        // The first round may leave room for the next ones.
        if round == 0 {
            before = Memory::now().heap;
        }
    }
    Memory::now().heap.saturating_sub(before)
}

/// The same with sinks, each a handle of its own.
fn park_sinks(producer: &Producer<Data2>) -> usize {
    park(|| {
        let mut sink = producer.clone();
        async move { std::future::poll_fn(|cx| pin!(&mut sink).poll_ready(cx)).await }
    })
}

/// More than a million in all: some wait for a consumer, some for room.
#[tokio::test]
async fn a_million_waiting_futures_leave_nothing() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(1).build()?;
    // Other tasks of the nodes allocate, too, but not per future.
    let slack = 256 * 1024;
    for (what, left) in [
        ("send, offline", park(|| producer.send(Data2(0)))),
        ("sink, offline", park_sinks(&producer)),
        ("online()", park(|| producer.when().online())),
        ("subscribed()", park(|| producer.when().subscribed())),
    ] {
        println!("{what}: {left} B");
        assert!(left < slack, "{what}: {left} B are left");
    }

    let mut consumer = n1.streams().consumer::<Data2>().with_window(512, 100_000).build();
    soon(producer.when().online()).await;
    let mut sent = 0;
    // Until nothing goes on any more: the window, the log and the lane are full.
    while tokio::time::timeout(common::LIMIT / 30, producer.send(Data2(sent))).await.is_ok() {
        sent += 1;
    }
    for (what, left) in [
        ("send, full", park(|| producer.send(Data2(u64::MAX)))),
        ("sink, full", park_sinks(&producer)),
        ("unsubscribed()", park(|| producer.when().unsubscribed())),
    ] {
        println!("{what}: {left} B");
        assert!(left < slack, "{what}: {left} B are left");
    }
    assert!(!is_ready(producer.send(Data2(u64::MAX))));

    // None of them was sent, and none holds a place.
    for n in 0..sent {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    soon(producer.send(Data2(sent))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data2(sent)));
    Ok(())
}
