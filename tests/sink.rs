//! The contract of `Sink`, and predicates that misbehave in conditions.
mod common;
use common::*;
use futures::{Sink as _, SinkExt, StreamExt as _};
use mosaik::{streams::producer, *};
use std::{future::Future, pin::pin, task::Poll, time::Duration};

/// Two handles share a lane; `poll_ready` reserves nothing, so `start_send` may say Full.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sinks_that_share_a_producer_never_see_full() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(1).build().unwrap();
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().online()).await;
    let tasks: Vec<_> = (0..8u64)
        .map(|t| {
            let mut sink = producer.clone();
            tokio::spawn(async move {
                for n in 0..3_000 {
                    if let Err(error) = SinkExt::send(&mut sink, Data2(t * 10_000 + n)).await {
                        return Err(format!("{error:?} at {n}"));
                    }
                }
                Ok(())
            })
        })
        .collect();
    let reader = tokio::spawn(async move { while consumer.next().await.is_some() {} });
    let mut errors = Vec::new();
    for task in tasks {
        if let Err(e) = soon(task).await.unwrap() {
            errors.push(e);
        }
    }
    reader.abort();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The one predicate that the driver does not guard.
#[tokio::test]
async fn a_panicking_online_condition_does_not_end_the_node() {
    let [n0, n1] = nodes().await;
    let bad = n0
        .streams()
        .producer::<Data1>()
        .online_when(|c| c.with_predicate(|_| panic!("deliberate")))
        .build()
        .unwrap();
    let _c = n1.streams().consume::<Data1>();
    soon(bad.when().subscribed()).await;
    assert!(!bad.is_online());
    let open = n0.streams().producer::<Data1>().with_stream_id("open").build().unwrap();
    let mut reader = n1.streams().consumer::<Data1>().with_stream_id("open").build();
    within(Duration::from_secs(5), open.send(Data1("alive".into()))).await.unwrap();
    assert_eq!(within(Duration::from_secs(5), reader.next()).await, Some(Data1("alive".into())));
}

/// The same of a consumer.
#[tokio::test]
async fn a_panicking_online_condition_of_a_consumer() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let bad = n1
        .streams()
        .consumer::<Data1>()
        .online_when(|c| c.with_predicate(|_| panic!("deliberate")))
        .build();
    soon(bad.when().subscribed()).await;
    assert!(!bad.is_online());
    let mut good = n1.streams().consume::<Data1>();
    within(Duration::from_secs(5), producer.when().subscribed().minimum_of(2)).await;
    within(Duration::from_secs(5), producer.send(Data1("alive".into()))).await.unwrap();
    assert_eq!(within(Duration::from_secs(5), good.next()).await, Some(Data1("alive".into())));
}

/// A predicate of a waiter runs under the lock of the status that it may want to read.
#[test]
fn a_predicate_may_look_at_its_producer() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        rt.block_on(async {
            let [n0, n1] = nodes().await;
            let producer = n0.streams().produce::<Data1>();
            let _c = n1.streams().consume::<Data1>();
            soon(producer.when().online()).await;
            let same = producer.clone();
            let condition =
                producer.when().subscribed().with_predicate(move |_| same.consumers().count() == 1);
            tell.send(condition.is_condition_met()).unwrap();
        });
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true), "it deadlocks");
}

/// A `send` that waits is woken by whatever ends its wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_send_is_always_woken() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(1).build()?;
    let send = |n: u64| {
        let producer = producer.clone();
        tokio::spawn(async move { producer.send(Data2(n)).await })
    };
    // By a consumer.
    let waiting = send(0);
    tokio::task::yield_now().await;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(1, 100).build();
    soon(waiting).await??;
    // By room, which a reader makes.
    let waiting: Vec<_> = (1..200).map(send).collect();
    let mut got = Vec::new();
    for _ in 0..200 {
        got.push(soon(consumer.next()).await.map(|Data2(n)| n));
    }
    for task in waiting {
        soon(task).await??;
    }
    got.sort_unstable();
    assert_eq!(got, (0..200).map(Some).collect::<Vec<_>>());
    // By the end of the node, for want of a consumer or of room, as a future or as a sink.
    let nobody = n0.streams().producer::<Data2>().with_stream_id("nobody").build()?;
    let mut waiting = vec![tokio::spawn(async move { nobody.send(Data2(7)).await })];
    waiting.extend((0..2_000).map(send));
    let sinks: Vec<_> = (0..20)
        .map(|_| {
            let mut sink = producer.clone();
            tokio::spawn(async move { SinkExt::feed(&mut sink, Data2(7)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(n0);
    let mut refused = 0;
    for task in waiting {
        match soon(task).await? {
            Ok(()) => {}
            Err(producer::Error::Closed(Some(Data2(_)))) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "the item comes back");
    for task in sinks {
        assert!(matches!(soon(task).await?, Ok(()) | Err(producer::Error::Closed(_))));
    }
    Ok(())
}

/// What the extension traits make of a sink: everything arrives, in order.
#[tokio::test(flavor = "multi_thread")]
async fn send_all_forward_feed_and_flush() -> anyhow::Result<()> {
    const EACH: u64 = 2_000;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(3).build()?;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(7, 100).build();
    let sending = tokio::spawn(async move {
        let mut sink = producer.clone();
        let part = |n: u64| futures::stream::iter(n * EACH..(n + 1) * EACH).map(|n| Ok(Data2(n)));
        sink.send_all(&mut part(0)).await?;
        // `forward` closes its sink: this handle only.
        part(1).forward(producer.clone()).await?;
        for n in 2 * EACH..3 * EACH {
            sink.feed(Data2(n)).await?;
        }
        SinkExt::flush(&mut sink).await?;
        SinkExt::close(&mut sink).await?;
        assert!(SinkExt::send(&mut sink, Data2(0)).await.is_err(), "it is closed");
        producer.send(Data2(3 * EACH)).await
    });
    for n in 0..=3 * EACH {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    soon(sending).await??;
    Ok(())
}

/// Wherever a `send` or a `next` is given up: an item was accepted and arrives, or was not and does
/// not.
#[tokio::test(flavor = "multi_thread")]
async fn futures_that_are_given_up_lose_nothing() -> anyhow::Result<()> {
    const ITEMS: u64 = 5_000;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(2).build()?;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(3, 100).build();
    soon(producer.when().online()).await;
    let sending = tokio::spawn(async move {
        let mut accepted = Vec::new();
        for n in 0..ITEMS {
            let polls = n % 4;
            let mut future = pin!(producer.send(Data2(n)));
            let mut left = polls;
            let outcome = std::future::poll_fn(|cx| {
                let poll = future.as_mut().poll(cx).map(Some);
                left = left.saturating_sub(1);
                if poll.is_pending() && left == 0 { Poll::Ready(None) } else { poll }
            });
            match outcome.await {
                Some(result) => {
                    result?;
                    accepted.push(n);
                }
                None => tokio::task::yield_now().await,
            }
        }
        producer.send(Data2(ITEMS)).await?;
        accepted.push(ITEMS);
        Ok::<_, producer::Error<Data2>>(accepted)
    });
    let mut got = Vec::new();
    while got.last() != Some(&ITEMS) {
        // Polled once and dropped, most of the time.
        match futures::FutureExt::now_or_never(consumer.next()) {
            Some(item) => got.extend(item.map(|Data2(n)| n)),
            None => got.extend(soon(consumer.next()).await.map(|Data2(n)| n)),
        }
    }
    let accepted = soon(sending).await??;
    println!("{} of {ITEMS} were accepted", accepted.len());
    assert_eq!(got, accepted);
    Ok(())
}

/// What `poll_ready` reserved goes back with its handle.
#[tokio::test]
async fn a_reserved_place_goes_back_with_its_handle() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().with_buffer_size(1).build()?;
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().online()).await;
    for n in 0..1_000 {
        let mut sink = producer.clone();
        soon(std::future::poll_fn(|cx| pin!(&mut sink).poll_ready(cx))).await?;
        assert!(matches!(producer.try_send(Data2(n)), Err(producer::Error::Full(_))));
    }
    soon(producer.send(Data2(1_000))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data2(1_000)));
    Ok(())
}
