//! Things that go wrong in the application, and what is left of it.

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use common::{Data1, Data2, eventually, node, nodes, shy, soon, within};
use futures::{FutureExt as _, future::join_all};
use mosaik::*;

/// Panics where it is told to.
#[derive(Debug, PartialEq)]
struct Fuse(u8);

const IN_ENCODE: u8 = 1;
const IN_DECODE: u8 = 2;

impl Datum for Fuse {
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        assert!(self.0 != IN_ENCODE, "deliberate");
        Ok(vec![self.0].into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        assert!(bytes[0] != IN_DECODE, "deliberate");
        Ok(Self(bytes[0]))
    }
}

/// The panic is the caller's; the stream goes on where it was.
#[tokio::test]
async fn a_codec_that_panics() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Fuse>();
    let mut consumer = n1.streams().consume::<Fuse>();
    soon(producer.when().subscribed()).await;
    for n in [7, IN_ENCODE, 8, IN_DECODE, 9] {
        let result = catch_unwind(AssertUnwindSafe(|| producer.try_send(Fuse(n))));
        assert_eq!(result.is_err(), n == IN_ENCODE, "{n}");
    }
    let mut got = Vec::new();
    for _ in 0..4 {
        let next = soon(AssertUnwindSafe(consumer.next()).catch_unwind()).await;
        got.push(next.ok().flatten());
    }
    assert_eq!(got, [Some(Fuse(7)), Some(Fuse(8)), None, Some(Fuse(9))]);
    Ok(())
}

/// A producer that comes and goes faster than the news of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fickle_producer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut consumer = n1.streams().consume::<Data2>();
    for round in 0..20 {
        for _ in 0..10 {
            drop(n0.streams().produce::<Data2>());
        }
        let producer = n0.streams().produce::<Data2>();
        soon(producer.send(Data2(round))).await?;
        assert_eq!(soon(consumer.next()).await, Some(Data2(round)));
        assert!(n0.discovery().me().streams().contains(producer.stream_id()));
    }
    Ok(())
}

/// Opened, cloned, sent into and dropped from many threads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_of_many_threads() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut consumer = n1.streams().consume::<Data2>();
    let keep = n0.streams().produce::<Data2>();
    soon(keep.when().subscribed()).await;
    let tasks = (0..50).map(|task| {
        let streams = n0.streams().clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let producer = streams.produce::<Data2>().clone();
                producer.send(Data2(task * 20 + n)).await.expect("sent");
            }
        })
    });
    for task in soon(join_all(tasks)).await {
        task?;
    }
    let mut got = Vec::new();
    for _ in 0..1_000 {
        got.push(soon(consumer.next()).await.expect("an item").0);
    }
    for task in 0..50 {
        let of_task: Vec<_> = got.iter().copied().filter(|n| n / 20 == task).collect();
        assert!(of_task.is_sorted(), "in order of each sender");
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..1_000), "each once");
    assert_eq!(n0.discovery().me().streams().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_between_two_nodes() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut pairs = Vec::new();
    for n in 0..200 {
        let id = StreamId::from_u64(n);
        let from = if n % 2 == 0 { (&n0, &n1) } else { (&n1, &n0) };
        let producer = from.0.streams().producer::<Data2>().with_stream_id(id).build()?;
        pairs.push((producer, from.1.streams().consumer::<Data2>().with_stream_id(id).build()));
    }
    for (n, (producer, _)) in pairs.iter().enumerate() {
        soon(producer.send(Data2(n as u64))).await?;
    }
    for (n, (_, consumer)) in pairs.iter_mut().enumerate() {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n as u64)));
    }
    let streams = |n: &Network| n.discovery().me().streams().len();
    assert_eq!((streams(&n0), streams(&n1)), (100, 100));
    drop(pairs);
    assert_eq!((streams(&n0), streams(&n1)), (0, 0));
    Ok(())
}

/// One stream id with two types on one node is a mistake of the program, and not silent.
#[tokio::test]
async fn one_stream_of_two_types() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let first = n0.streams().producer::<Data1>().with_stream_id("typed").build()?;
    let second = catch_unwind(AssertUnwindSafe(|| {
        n0.streams().producer::<Data2>().with_stream_id("typed").build().is_ok()
    }));
    assert!(second.is_err(), "it panics, as the documentation says");
    let mut consumer = n1.streams().consumer::<Data1>().with_stream_id("typed").build();
    soon(first.send(Data1("fine".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("fine".into())));
    Ok(())
}

/// Requests that are given up, and peers that go while they are asked.
#[tokio::test]
async fn syncs_that_come_to_nothing() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    for _ in 0..100 {
        drop(a.discovery().sync_with(SecretKey::generate().public()));
    }
    let mut syncs = Vec::new();
    for _ in 0..5 {
        let b = node(id, shy()).await;
        syncs.push(a.discovery().sync_with(b.local().addr()));
        drop(b);
    }
    // Either answer is right, but there must be one.
    within(Duration::from_secs(15), join_all(syncs)).await;
    let c = node(id, shy()).await;
    soon(a.discovery().sync_with(c.local().addr())).await?;
    eventually(|| a.discovery().catalog().peers_count() == 1).await;
    assert!(a.discovery().catalog().get(&c.local().id()).is_some());
    Ok(())
}
