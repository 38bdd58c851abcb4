//! Futures that are given up, wherever they wait.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_util::{SinkExt, future::Either, future::select};
use mosaik_proto::ids::StreamId;

use super::{Bench, Harness, knows, meet, numbers, subscribed};
use crate::streams::{StreamDef, consumer::Consumer, producer::Producer};

/// More await points than any future of a handle passes.
const POLLS: usize = 6;
/// Items sent and taken for each number of polls.
const ITEMS: u64 = 40;

/// Polls a future `1 + polls` times, as it asks for it, and drops it then.
async fn given_up<H: Harness, T>(
    bench: &Bench<H>,
    mut polls: usize,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let some = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    });
    // Some are woken once only, or never.
    match select(pin!(some), pin!(bench.sleep(Duration::from_millis(20)))).await {
        Either::Left((value, _)) => value,
        Either::Right(((), _)) => None,
    }
}

/// STR-04, STR-05, DISC-12, NODE-02: a future of a handle may be dropped wherever it waits. An item is
/// accepted or still in the future, an item that arrived is taken or still there, a request is
/// forgotten, and an end that has begun goes on.
pub async fn str_04_given_up_anywhere<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let producer = a.streams().producer_of(numbers()).with_buffer_size(1);
    let mut producer = producer.build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).with_window(2, 1 << 16).build();
    subscribed(&bench, &producer, &consumer).await;
    let (mut sent, mut taken) = (0, 0);
    for polls in 0..POLLS {
        assert_eq!(given_up(&bench, polls, consumer.recv()).await, None, "nothing was sent");
        let goal = sent + ITEMS;
        let sending = send(&bench, polls, &mut producer, (&mut sent, goal));
        let taking = take(&bench, polls, &mut consumer, (&mut taken, goal));
        bench.soon(futures_util::future::join(sending, taking)).await;
        conditions(&bench, polls, &a, &producer).await;
        let sync = a.discovery().sync_with(b.local().addr());
        let _ = given_up(&bench, polls, sync).await;
        drop(a.discovery().sync_with(b.local().addr()));
        given_up(&bench, polls, a.discovery().dial(b.local().addr())).await;
        meet(&bench, &a, &b).await;
        assert!(knows(&a, &b) && knows(&b, &a));
    }
    assert_eq!((producer.missed(), consumer.missed()), (0, 0));
    ends(&bench, a, b).await;
}

/// Sends items up to `goal`; whatever was given up is sent again.
async fn send<H: Harness>(
    bench: &Bench<H>,
    polls: usize,
    producer: &mut Producer<u64>,
    (sent, goal): (&mut u64, u64),
) {
    while *sent < goal {
        let result = match *sent % 2 {
            0 => given_up(bench, polls, producer.send(*sent)).await,
            // The same as a sink.
            _ => given_up(bench, polls, SinkExt::send(producer, *sent)).await,
        };
        match result {
            Some(Ok(())) => *sent += 1,
            Some(Err(error)) => panic!("nothing has ended: {error}"),
            None => bench.sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Takes the items up to `goal`, each once and in order.
async fn take<H: Harness>(
    bench: &Bench<H>,
    polls: usize,
    consumer: &mut Consumer<u64>,
    (taken, goal): (&mut u64, u64),
) {
    while *taken < goal {
        match given_up(bench, polls, consumer.recv()).await {
            Some(item) => {
                assert_eq!(item, Some(*taken), "given up after {polls} polls");
                *taken += 1;
            }
            None => bench.sleep(Duration::from_millis(1)).await,
        }
    }
}

/// What is waited for without being changed: given up, it is there for the next who asks.
async fn conditions<H: Harness>(
    bench: &Bench<H>,
    polls: usize,
    node: &crate::Network,
    producer: &Producer<u64>,
) {
    let mut events = node.discovery().events();
    given_up(bench, polls, events.recv()).await;
    given_up(bench, polls, node.discovery().catalog_changed()).await;
    given_up(bench, polls, producer.when().offline()).await;
    given_up(bench, polls, producer.when().subscribed().minimum_of(2)).await;
    for channel in producer.consumers() {
        given_up(bench, polls, channel.disconnected()).await;
    }
    assert_eq!(given_up(bench, polls, node.closed()).await, None, "the node lives");
    bench.soon(node.online()).await;
    bench.soon(producer.when().online()).await;
    bench.soon(producer.when().subscribed()).await;
}

/// Sends that wait for a consumer, and the end itself.
async fn ends<H: Harness>(bench: &Bench<H>, a: crate::Network, b: crate::Network) {
    let other = StreamDef::<u64>::with_stream_id(StreamId::hash(b"nobody yet"));
    let producer = a.streams().producer_of(other).build().expect("the only one");
    for polls in 0..POLLS {
        let sent = given_up(bench, polls, producer.send(polls as u64)).await;
        assert!(sent.is_none(), "nobody consumes it");
    }
    let mut consumer = b.streams().consumer_of(other).build();
    bench.soon(producer.send(7)).await.expect("online at last");
    assert_eq!(bench.soon(consumer.recv()).await, Some(7), "and nothing that was given up");
    let id = a.local().id();
    given_up(bench, 0, a.shutdown()).await;
    drop(a.shutdown());
    bench.soon(a.closed()).await;
    bench.until(|| bench.tasks(id) == 0).await;
}
