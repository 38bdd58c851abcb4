//! What a producer accepted outlives its last handle.
mod common;
use common::{Data2, nodes, soon};
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
    drop(producer);
    tokio::time::sleep(Duration::from_millis(300)).await;
    for n in 0..200 {
        let next = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await;
        assert_eq!(next.ok().flatten(), Some(Data2(n)));
    }
    Ok(())
}
