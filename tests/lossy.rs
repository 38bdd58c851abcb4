//! Lossy streams: nobody is waited for, and every gap is known exactly.

mod common;

use std::time::{Duration, Instant};

use common::{Data2, gaps, nodes, quiet, soon};
use mosaik::streams::{EndReason, StreamKind};

/// STR-18: it accepts without any consumer, at once, and a consumer is told the kind.
#[tokio::test]
async fn nobody_is_waited_for() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().lossy().build()?;
    assert!(producer.is_online() && producer.config().kind == StreamKind::Lossy);
    // More than any buffer, to nobody at all.
    for n in 0..10_000 {
        soon(producer.send(Data2(n))).await?;
    }
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    soon(consumer.when().subscribed()).await;
    let there = consumer.producers().next().expect("a producer");
    let here = producer.consumers().next().expect("a consumer");
    assert_eq!((there.kind(), here.kind()), (Some(StreamKind::Lossy), Some(StreamKind::Lossy)));
    assert_eq!((there.first(), here.first()), (Some(10_000), Some(10_000)));
    producer.send(Data2(10_000)).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data2(10_000)));
    // With a condition of its own it waits for that.
    let picky = n0.streams().producer::<Data2>().with_stream_id("picky").lossy();
    let picky = picky.online_when(|c| c.minimum_of(1)).build()?;
    assert!(!picky.is_online() && picky.try_send(Data2(1)).is_err());
    Ok(())
}

/// STR-18, S16: a consumer that takes nothing for long holds nobody and is not cut off; what it
/// misses both ends know by its numbers, and it goes on at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_consumer_goes_on_at_the_tail() -> anyhow::Result<()> {
    const ITEMS: u64 = 20_000;
    let [n0, n1, n2] = nodes().await;
    let lag = Duration::from_millis(300);
    let builder = n0.streams().producer::<Data2>().lossy().with_tail(64, 1 << 20);
    let producer = builder.with_lag_timeout(lag).build()?;
    let mut stuck = n1.streams().consumer::<Data2>().with_window(8, 1_000).build();
    let mut reader = n2.streams().consume::<Data2>();
    soon(producer.when().subscribed().minimum_of(2)).await;
    let (mut seen, mut told) = (stuck.events(), producer.events());
    let info = producer.consumers().find(|c| c.peer().id() == n1.local().id()).expect("listed");
    let start = Instant::now();
    let reading = async {
        let mut got = 0;
        while got + reader.missed() < ITEMS {
            got += u64::from(reader.next().await.is_some());
        }
        got
    };
    let sending = async {
        for n in 0..ITEMS {
            producer.send(Data2(n)).await.expect("sent");
        }
    };
    let (got, ()) = soon(async { tokio::join!(reading, sending) }).await;
    assert!(got > 0);
    println!("{ITEMS} items in {:?}, the reader got {got}", start.elapsed());
    // Long after any lag timeout it is still there, and what it lags is what was not sent.
    quiet(3 * lag, info.disconnected()).await;
    assert_eq!(info.ended(), None);
    assert_eq!(info.lag().items, ITEMS - 8);

    let (mut next, mut missed) = (0, Vec::new());
    while next < ITEMS {
        let Data2(n) = soon(stuck.next()).await.expect("an item");
        if n > next {
            missed.push((next, n - 1));
        }
        next = n + 1;
    }
    assert!(!missed.is_empty());
    assert_eq!(gaps(&mut seen), missed, "the consumer was told exactly that");
    let missing: u64 = missed.iter().map(|(first, last)| last - first + 1).sum();
    assert_eq!((stuck.missed(), info.stats().missed()), (missing, missing));
    let of_both = gaps(&mut told);
    assert!(missed.iter().all(|gap| of_both.contains(gap)), "{missed:?} of {of_both:?}");
    Ok(())
}

/// A lossy producer that ends is over for everybody, in good order.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_lossy_stream() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let lag = Duration::from_millis(200);
    let producer = n0.streams().producer::<Data2>().lossy().with_lag_timeout(lag).build()?;
    let mut stuck = n1.streams().consumer::<Data2>().with_window(2, 1_000).build();
    soon(producer.when().subscribed()).await;
    soon(stuck.when().subscribed()).await;
    let there = stuck.producers().next().expect("a producer");
    for n in 0..100 {
        producer.send(Data2(n)).await?;
    }
    drop(producer);
    soon(there.disconnected()).await;
    assert_eq!(there.ended(), Some(EndReason::Closed), "not too slow");
    assert_eq!(soon(stuck.next()).await, Some(Data2(0)));
    Ok(())
}
