//! What a producer accepted and nobody got.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Data2, eventually, nodes, soon};

type Seen = Arc<Mutex<Vec<u64>>>;

fn sink() -> (Seen, impl Fn(Data2) + Send + Sync + 'static) {
    let seen = Seen::default();
    let push = Arc::clone(&seen);
    (seen, move |Data2(n)| push.lock().expect("no panic").push(n))
}

fn sorted(seen: &Seen) -> Vec<u64> {
    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort_unstable();
    seen
}

/// STR-20: each item goes to somebody or to the sink.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_got_is_told() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let (seen, sink) = sink();
    let builder = n0.streams().producer::<Data2>().online_when(|c| c.minimum_of(0));
    let producer = builder.with_undelivered_sink(sink).build()?;
    for n in 0..5 {
        producer.send(Data2(n)).await?;
    }
    eventually(|| sorted(&seen) == [0, 1, 2, 3, 4]).await;
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    for n in 5..10 {
        producer.send(Data2(n)).await?;
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    drop(consumer);
    soon(producer.when().unsubscribed()).await;
    producer.send(Data2(10)).await?;
    eventually(|| sorted(&seen) == [0, 1, 2, 3, 4, 10]).await;
    Ok(())
}

/// Also what waits when the producer, or its node, ends: in the lane, for a consumer that reads
/// nothing, or while the producer is offline.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_at_the_end_is_told() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    // The producer ends; its consumer took two items and leaves.
    let (seen, sink) = sink();
    let producer = n0.streams().producer::<Data2>().with_undelivered_sink(sink).build()?;
    let consumer = n1.streams().consumer::<Data2>().with_window(2, 1_000).build();
    soon(producer.when().subscribed()).await;
    for n in 0..10 {
        producer.send(Data2(n)).await?;
    }
    let info = producer.consumers().next().expect("a consumer");
    eventually(|| info.stats().datums() == 2).await;
    drop(producer);
    drop(consumer);
    eventually(|| sorted(&seen) == (2..10).collect::<Vec<_>>()).await;

    // The node ends while items wait for somebody to come.
    let (seen, sink) = self::sink();
    let builder = n0.streams().producer::<Data2>().with_stream_id("other");
    let producer = builder.with_undelivered_sink(sink).build()?;
    let consumer = n1.streams().consumer::<Data2>().with_stream_id("other").with_window(1, 99);
    let consumer = consumer.build();
    soon(producer.when().subscribed()).await;
    for n in 0..4 {
        producer.send(Data2(n)).await?;
    }
    let info = producer.consumers().next().expect("a consumer");
    eventually(|| info.stats().datums() == 1).await;
    drop(n0);
    soon(producer.when().offline()).await;
    eventually(|| sorted(&seen) == [1, 2, 3]).await;
    drop(consumer);
    Ok(())
}

/// STR-18, STR-20: of a lossy stream, what left the tail before it was sent to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lossy_stream_lost_is_told() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let (seen, sink) = sink();
    let builder = n0.streams().producer::<Data2>().lossy().with_tail(10, 1 << 20);
    let producer = builder.with_undelivered_sink(sink).build()?;
    let mut stuck = n1.streams().consumer::<Data2>().with_window(4, 1_000).build();
    soon(producer.when().subscribed()).await;
    for n in 0..1_000 {
        soon(producer.send(Data2(n))).await?;
    }
    let mut got = Vec::new();
    while got.last() != Some(&999) {
        got.push(soon(stuck.next()).await.expect("an item").0);
    }
    drop(producer);
    let all = || {
        let mut all = [sorted(&seen), got.clone()].concat();
        all.sort_unstable();
        all
    };
    eventually(|| all() == (0..1_000).collect::<Vec<_>>()).await;
    assert_eq!(stuck.missed(), sorted(&seen).len() as u64);
    Ok(())
}

/// A sink that panics costs what it panicked at.
#[tokio::test]
async fn a_sink_that_panics() -> anyhow::Result<()> {
    let [n0] = nodes().await;
    let (seen, sink) = sink();
    let builder = n0.streams().producer::<Data2>().lossy().with_tail(1, 1);
    let producer = builder
        .with_undelivered_sink(move |Data2(n)| {
            assert!(n % 2 == 0, "deliberate");
            sink(Data2(n));
        })
        .build()?;
    for n in 0..10 {
        producer.send(Data2(n)).await?;
    }
    drop(producer);
    eventually(|| sorted(&seen) == [0, 2, 4, 6, 8]).await;
    // The loop goes on.
    tokio::time::timeout(Duration::from_secs(5), n0.shutdown()).await?;
    Ok(())
}
