//! Slow consumers, lost ones, and the end of a stream.

mod common;

use std::time::{Duration, Instant};

use common::{Data1, Data2, eventually, gaps, nodes, quiet, soon, within};
use futures::StreamExt as _;
use mosaik::{
    discovery::Events,
    streams::{StreamEvent, producer},
    *,
};

/// A consumer that is not read holds its producer, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_holds_the_producer() -> anyhow::Result<()> {
    const ITEMS: usize = 3_000;
    const SIZE: usize = 10_000;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Vec<u8>>().disconnect_lagging(false).build()?;
    let mut consumer = n1.streams().consume::<Vec<u8>>();
    soon(producer.when().subscribed()).await;
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move {
            for n in 0..ITEMS {
                producer.send(vec![n as u8; SIZE]).await.expect("sent");
            }
        }
    });
    // 30 MB do not fit: the windows are 2 MiB, the producer keeps 4 MiB, the lane 1 MiB.
    let info = producer.consumers().next().expect("a consumer");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!sending.is_finished(), "the sender waits");
    let ahead = info.stats().bytes();
    assert!(ahead < 8_000_000, "{ahead} bytes were sent ahead");
    for n in 0..ITEMS {
        let item = soon(consumer.next()).await.expect("an item");
        assert!(item.len() == SIZE && item[0] == n as u8, "item {n}");
    }
    soon(sending).await?;
    Ok(())
}

/// Reading a little now and then is enough to stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_not_cut_off() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let lag = Duration::from_secs(1);
    let producer = n0.streams().producer::<Data2>().with_lag_timeout(lag).build()?;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(4, 1_000).build();
    soon(producer.when().subscribed()).await;
    let mut told = producer.events();
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move {
            for n in 0..24 {
                producer.send(Data2(n)).await.expect("sent");
            }
        }
    });
    for n in 0..24 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    soon(sending).await?;
    assert!(!was_cut_off(&mut told));
    Ok(())
}

/// Nor is one that takes its time over every item of a batch that came as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_large_batch_is_not_cut_off() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let lag = Duration::from_secs(2);
    let producer = n0.streams().producer::<Data2>().with_lag_timeout(lag).build()?;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(64, 100_000).build();
    soon(producer.when().subscribed()).await;
    let mut told = producer.events();
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move {
            for n in 0..200 {
                producer.send(Data2(n)).await.expect("sent");
            }
        }
    });
    for n in 0..200 {
        // A quarter of the window takes longer than the lag timeout.
        let pause = if n < 20 { 250 } else { 0 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    soon(sending).await?;
    assert!(!was_cut_off(&mut told));
    Ok(())
}

/// True if one of the events tells that a subscription ended.
fn was_cut_off(events: &mut Events<StreamEvent>) -> bool {
    std::iter::from_fn(|| events.try_recv().ok().flatten())
        .any(|event| matches!(event, StreamEvent::Disconnected { .. }))
}

/// Who does not read at all is cut off, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_consumer_is_cut_off() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    let lag = Duration::from_secs(1);
    let producer = n0.streams().producer::<Vec<u8>>().with_lag_timeout(lag).build()?;
    let mut reader = n1.streams().consume::<Vec<u8>>();
    let mut stuck = n2.streams().consumer::<Vec<u8>>().with_window(2, 10_000).build();
    soon(producer.when().subscribed().minimum_of(2)).await;
    let (mut seen, mut told) = (stuck.events(), producer.events());
    let victim = producer.consumers().find(|c| c.peer().id() == n2.local().id());
    let cut = victim.expect("it consumes").disconnected();
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move {
            for n in 0_u32..2_000 {
                let mut item = vec![0; 10_000];
                item[..4].copy_from_slice(&n.to_le_bytes());
                producer.send(item).await.expect("sent");
            }
        }
    });
    let start = Instant::now();
    let reading = async {
        for n in 0_u32..2_000 {
            let item = reader.next().await.expect("an item");
            assert_eq!(item[..4], n.to_le_bytes(), "the reader misses nothing");
        }
    };
    let (_, ()) = soon(async { tokio::join!(cut, reading) }).await;
    assert!(start.elapsed() >= lag, "not before its time");
    soon(sending).await?;

    // What it had is still there; then it goes on, and knows what it missed.
    let first = soon(stuck.next()).await.expect("an item");
    assert_eq!(first[..4], 0_u32.to_le_bytes());
    let mut last = 0;
    let mut got = 1;
    while last < 1_999 {
        let item = soon(stuck.next()).await.expect("an item");
        let n = u32::from_le_bytes(item[..4].try_into()?);
        assert!(n > last, "in order, and once");
        (last, got) = (n, got + 1);
    }
    let missed = stuck.producers().next().map_or(0, |p| p.stats().missed());
    println!("got {got}, missed {missed}, last {last}");
    assert_eq!(got + missed, 2_000, "every item arrived or is known as missed");
    assert_eq!(stuck.missed(), missed);
    assert_eq!(
        stuck.try_recv(),
        Err(streams::consumer::TryRecvError::Empty),
        "nothing behind the last"
    );

    // Both ends were told of the same gaps.
    let missing = gaps(&mut seen);
    assert_eq!(missing.iter().map(|(first, last)| last - first + 1).sum::<u64>(), missed);
    assert_eq!(gaps(&mut told), missing);
    Ok(())
}

/// An unread consumer bounds what waits, in items too.
#[tokio::test]
async fn windows_count_items() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let mut consumer = n1.streams().consumer::<Data2>().with_window(8, 1 << 20).build();
    soon(producer.when().subscribed()).await;
    for n in 0..100 {
        soon(producer.send(Data2(n))).await?;
    }
    let sent = || producer.consumers().next().map_or(0, |c| c.stats().datums());
    eventually(|| sent() == 8).await;
    // What comes later by another way has arrived: nothing more was under way.
    let later = n0.streams().produce::<Data1>();
    let mut arrived = n1.streams().consume::<Data1>();
    soon(later.send(Data1("later".into()))).await?;
    assert!(soon(arrived.next()).await.is_some());
    assert_eq!(sent(), 8);
    for n in 0..100 {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    Ok(())
}

#[tokio::test]
async fn dropping_the_producer_ends_the_stream() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let stream = *producer.stream_id();
    let mut consumer = n1.streams().consume::<Data1>();
    let clone = producer.clone();
    soon(producer.send(Data1("last".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("last".into())));
    drop(producer);
    assert!(n0.discovery().me().streams().contains(&stream), "a clone is left");
    quiet(Duration::from_millis(100), consumer.when().unsubscribed()).await;
    drop(clone);
    assert!(!n0.discovery().me().streams().contains(&stream));
    soon(consumer.when().unsubscribed()).await;
    eventually(|| consumer.producers().count() == 0).await;
    let theirs = || n1.discovery().catalog().get(&n0.local().id()).cloned().expect("known");
    eventually(|| !theirs().streams().contains(&stream)).await;

    // The consumer stays, and follows the next producer.
    let again = n0.streams().produce::<Data1>();
    soon(again.send(Data1("first".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("first".into())));
    Ok(())
}

#[tokio::test]
async fn dropping_a_consumer_frees_its_place() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data1>().with_max_consumers(1).build()?;
    for n in 0..20 {
        let mut consumer = n1.streams().consume::<Data1>();
        soon(producer.when().online()).await;
        soon(producer.send(Data1(n.to_string()))).await?;
        assert_eq!(soon(consumer.next()).await, Some(Data1(n.to_string())));
        drop(consumer);
        within(Duration::from_secs(5), producer.when().offline()).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_network_of_the_consumer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.send(Data1("one".into()))).await?;
    let info = producer.consumers().next().expect("a consumer");
    eventually(|| info.stats().datums() == 1).await;
    let of_consumer = consumer.when().subscribed();
    soon(of_consumer).await;
    eventually(|| consumer.producers().any(|p| p.stats().datums() == 1)).await;
    drop(n1);
    within(Duration::from_secs(3), producer.when().offline()).await;
    assert_eq!(producer.consumers().count(), 0);
    assert!(matches!(producer.try_send(Data1("two".into())), Err(producer::Error::Offline(_))));
    // What had arrived can still be taken, then it is over, for good.
    assert_eq!(soon(consumer.next()).await, Some(Data1("one".into())));
    assert_eq!(soon(consumer.next()).await, None);
    assert_eq!(soon(consumer.next()).await, None);
    assert_eq!(consumer.try_recv(), Err(streams::consumer::TryRecvError::Disconnected));
    assert!(!consumer.is_online() && consumer.producers().next().is_none());
    let rest: Vec<_> = soon(consumer.collect()).await;
    assert_eq!(rest, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_network_of_the_producer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.when().online()).await;
    let parked = tokio::spawn({
        let other = n0.streams().producer::<Data1>().with_stream_id("nobody").build()?;
        async move { other.send(Data1("never".into())).await }
    });
    let (closed, handle) = (n0.closed(), n0.streams().clone());
    drop(n0);
    within(Duration::from_secs(3), consumer.when().unsubscribed()).await;
    soon(closed).await;
    let error = within(Duration::from_secs(1), producer.send(Data1("late".into()))).await;
    assert_eq!(error, Err(producer::Error::Closed(Some(Data1("late".into())))));
    assert!(matches!(soon(parked).await?, Err(producer::Error::Closed(_))));
    quiet(Duration::from_millis(200), consumer.next()).await;
    // Opening something on an ended node is no crash.
    assert!(handle.produce::<Data2>().try_send(Data2(1)).is_err());
    assert_eq!(soon(handle.consume::<Data2>().next()).await, None);
    drop(n1);
    assert_eq!(soon(consumer.next()).await, None);
    Ok(())
}

/// A producer's node dies and comes back with the same key: the consumer goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_follows_a_restarted_producer() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let key = SecretKey::generate();
    let n1 = Network::new(id).await?;
    let mut consumer = n1.streams().consume::<Data1>();
    for life in 0..3 {
        let n0 = Network::builder(id).with_secret_key(key.clone()).build().await?;
        let producer = n0.streams().produce::<Data1>();
        n0.discovery().dial(n1.local().addr()).await;
        soon(producer.send(Data1(format!("life {life}")))).await?;
        assert_eq!(soon(consumer.next()).await, Some(Data1(format!("life {life}"))));
        assert_eq!(consumer.producers().count(), 1);
        soon(n0.shutdown()).await;
    }
    Ok(())
}
