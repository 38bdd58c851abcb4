//! The contract of `Sink`, and predicates that misbehave in conditions.
mod common;
use common::*;
use futures::SinkExt;
use mosaik::*;
use std::time::Duration;

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
    tokio::time::sleep(Duration::from_millis(500)).await;
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
    let _bad = n1
        .streams()
        .consumer::<Data1>()
        .online_when(|c| c.with_predicate(|_| panic!("deliberate")))
        .build();
    tokio::time::sleep(Duration::from_millis(500)).await;
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
