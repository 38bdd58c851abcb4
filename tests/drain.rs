//! What a producer accepted outlives its last handle.
mod common;
use common::{Data2, eventually, nodes, soon};
use mosaik::Bytes;
use std::time::Duration;

/// What was accepted before the last handle went is still delivered.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_items_outlive_the_producer() -> anyhow::Result<()> {
    const ITEMS: u64 = 500;
    let [n0, n1] = nodes().await;
    for round in 0..5 {
        let producer = n0.streams().produce::<Data2>();
        let mut consumer = n1.streams().consume::<Data2>();
        soon(producer.when().subscribed()).await;
        for n in 0..ITEMS {
            producer.send(Data2(n)).await?;
        }
        drop(producer);
        for n in 0..ITEMS {
            let next = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await;
            assert_eq!(next.ok().flatten(), Some(Data2(n)), "round {round}");
        }
        // Behind the last item the subscription ends.
        soon(consumer.when().unsubscribed()).await;
    }
    Ok(())
}

/// The same when the consumer has room for a part of it only.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_items_outlive_the_producer_of_a_slow_consumer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let mut consumer = n1.streams().consumer::<Data2>().with_window(8, 1_000).build();
    soon(producer.when().subscribed()).await;
    for n in 0..200 {
        producer.send(Data2(n)).await?;
    }
    let stream = *producer.stream_id();
    drop(producer);
    // The end is known before anything is read.
    let theirs = || n1.discovery().catalog().get(&n0.local().id()).cloned().expect("known");
    eventually(|| !theirs().streams().contains(&stream)).await;
    for n in 0..200 {
        let next = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await;
        assert_eq!(next.ok().flatten(), Some(Data2(n)));
    }
    Ok(())
}

/// The same under load: credit flows while the end is under way.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_items_outlive_the_producer_under_load() -> anyhow::Result<()> {
    const ITEMS: u64 = 4_000;
    let [n0, n1, n2, n3] = nodes().await;
    for round in 0..3 {
        let producer = n0.streams().produce::<(u64, Bytes)>();
        let readers: Vec<_> = [&n1, &n2, &n3]
            .map(|node| {
                let mut consumer = node.streams().consume::<(u64, Bytes)>();
                tokio::spawn(async move {
                    for n in 0..ITEMS {
                        let next = soon(consumer.next()).await.map(|(number, _)| number);
                        assert_eq!(next, Some(n), "round {round}");
                    }
                })
            })
            .into();
        soon(producer.when().subscribed().minimum_of(3)).await;
        let padding = Bytes::from_static(&[7; 1_000]);
        for n in 0..ITEMS {
            producer.send((n, padding.clone())).await?;
        }
        drop(producer);
        for reader in readers {
            soon(reader).await?;
        }
    }
    Ok(())
}
