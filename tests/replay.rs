//! Late joiners that ask for what the producer kept.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Data2, gaps, nodes, soon};
use mosaik::{
    streams::{Replay, StreamEvent},
    *,
};

async fn take(consumer: &mut streams::Consumer<Data2>, items: u64) -> Vec<u64> {
    let mut got = Vec::new();
    for _ in 0..items {
        got.push(soon(consumer.next()).await.expect("an item").0);
    }
    got
}

/// STR-19: from the tail, the last few, or live; and where it began is known at both ends.
#[tokio::test]
async fn late_joiners_choose_where_to_begin() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().online_when(|c| c.minimum_of(0)).build()?;
    for n in 0..100 {
        soon(producer.send(Data2(n))).await?;
    }
    let streams = n1.streams();
    let mut joined = BTreeMap::new();
    for (first, replay) in [(0, Replay::Tail), (90, Replay::Last(10)), (100, Replay::Live)] {
        let mut consumer = streams.consumer::<Data2>().with_replay(replay).build();
        let mut events = consumer.events().with_history();
        let event = soon(events.recv()).await?;
        assert_eq!(event, StreamEvent::Connected { peer: n0.local().id(), first });
        assert_eq!(consumer.producers().next().and_then(|p| p.first()), Some(first));
        assert_eq!(take(&mut consumer, 100 - first).await, (first..100).collect::<Vec<_>>());
        joined.insert(first, consumer);
    }
    soon(producer.when().subscribed().minimum_of(3)).await;
    let starts: Vec<_> = producer.consumers().filter_map(|c| c.first()).collect();
    assert_eq!(starts, [0, 90, 100]);
    producer.send(Data2(100)).await?;
    for consumer in joined.values_mut() {
        assert_eq!(take(consumer, 1).await, [100]);
        assert_eq!(consumer.missed(), 0);
    }
    // Zero items back is live, and more than there are is all.
    for (replay, first) in [(Replay::Last(0), 101), (Replay::Last(u64::MAX), 0)] {
        let consumer = streams.consumer::<Data2>().with_replay(replay).build();
        soon(consumer.when().subscribed()).await;
        assert_eq!(consumer.producers().next().and_then(|p| p.first()), Some(first));
    }
    Ok(())
}

/// STR-19: a restarted producer is a new one, of which nothing was received.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_producer_is_replayed_too() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut consumer = n1.streams().consumer::<Data2>().with_replay(Replay::Tail).build();
    for life in 0..3 {
        // Nobody listens while it produces; then it is heard from its beginning.
        let builder = n0.streams().producer::<Data2>().require(|_| false);
        let closed = builder.online_when(|c| c.minimum_of(0)).build()?;
        drop(closed);
        let producer = n0.streams().producer::<Data2>().online_when(|c| c.minimum_of(0)).build()?;
        for n in 0..20 {
            soon(producer.send(Data2(100 * life + n))).await?;
        }
        let expected: Vec<_> = (0..20).map(|n| 100 * life + n).collect();
        assert_eq!(take(&mut consumer, 20).await, expected);
        soon(producer.when().subscribed()).await;
        drop(producer);
        soon(consumer.when().unsubscribed()).await;
    }
    assert_eq!(consumer.missed(), 0);
    Ok(())
}

/// STR-19, F6, S9: who joins for all that is kept and then reads nothing holds nobody; the live
/// consumer gets everything at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_holds_nobody() -> anyhow::Result<()> {
    const KEPT: u64 = 1_000;
    let [n0, n1, n2] = nodes().await;
    let builder = n0.streams().producer::<Data2>().disconnect_lagging(false);
    let producer = builder.with_tail(KEPT, 1 << 20).with_buffer_size(1_024).build()?;
    let mut live = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    for n in 0..KEPT {
        producer.send(Data2(n)).await?;
        assert_eq!(take(&mut live, 1).await, [n]);
    }
    let late = n2.streams().consumer::<Data2>().with_replay(Replay::Tail).with_window(8, 1_000);
    let mut late = late.build();
    let mut told = producer.events();
    soon(producer.when().subscribed().minimum_of(2)).await;
    // A patient producer would wait for ever for a consumer that holds it.
    for n in KEPT..5 * KEPT {
        soon(producer.send(Data2(n))).await?;
        assert_eq!(take(&mut live, 1).await, [n]);
    }
    // It gets what is left, and both ends know what is not.
    let (mut next, mut missed) = (0, Vec::new());
    let mut events = late.events().with_history();
    while next < 5 * KEPT {
        let Data2(n) = soon(late.next()).await.expect("an item");
        if n > next {
            missed.push((next, n - 1));
        }
        next = n + 1;
    }
    let missing: u64 = missed.iter().map(|(first, last)| last - first + 1).sum();
    assert!(missing > 0 && late.missed() == missing, "{missed:?}");
    assert_eq!([gaps(&mut events), gaps(&mut told)], [missed.clone(), missed]);
    // Caught up, it is a consumer like the other: what is sent now it holds.
    let sending = async {
        for n in 5 * KEPT..7 * KEPT {
            producer.send(Data2(n)).await.expect("sent");
        }
    };
    let drain = async { take(&mut live, 2 * KEPT).await };
    let stuck =
        tokio::time::timeout(Duration::from_millis(300), async { tokio::join!(sending, drain) });
    assert!(stuck.await.is_err(), "the producer waits for it");
    Ok(())
}
