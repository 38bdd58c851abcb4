//! What waits for a producer or consumer resolves when that is gone.

mod common;

use common::{Data1, nodes, soon};
use mosaik::{
    discovery::{Events, RecvError},
    streams::StreamEvent,
    *,
};

/// The peers whose subscriptions ended, once there will be no more events.
async fn to_the_end(mut events: Events<StreamEvent>) -> Vec<PeerId> {
    let mut all = Vec::new();
    loop {
        match soon(events.recv()).await {
            Ok(StreamEvent::Disconnected { peer, .. }) => all.push(peer),
            Ok(other) => panic!("{other:?}"),
            Err(RecvError::Closed) => return all,
            Err(RecvError::Lagged(_)) => panic!("few events"),
        }
    }
}

/// Its subscriptions outlive its last handle, and so does what waits for their end.
#[tokio::test]
async fn of_a_producer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.when().online()).await;
    let events = producer.events();
    let (offline, unsubscribed) = (producer.when().offline(), producer.when().unsubscribed());
    let over = producer.consumers().next().expect("a consumer").disconnected();
    producer.send(Data1("last".into())).await?;
    drop(producer);
    soon(async { tokio::join!(offline, unsubscribed, over) }).await;
    assert_eq!(to_the_end(events).await, [n1.local().id()]);
    assert_eq!(soon(consumer.next()).await, Some(Data1("last".into())));
    Ok(())
}

/// Without a consumer there is nothing to wait for.
#[tokio::test]
async fn of_a_producer_that_nobody_reads() -> anyhow::Result<()> {
    let [n0] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let events = producer.events();
    let offline = producer.when().offline();
    drop(producer);
    soon(offline).await;
    assert!(to_the_end(events).await.is_empty());
    Ok(())
}

#[tokio::test]
async fn of_a_consumer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let consumer = n1.streams().consume::<Data1>();
    soon(consumer.when().subscribed()).await;
    let events = consumer.events();
    let (offline, unsubscribed) = (consumer.when().offline(), consumer.when().unsubscribed());
    drop(consumer);
    soon(async { tokio::join!(offline, unsubscribed) }).await;
    assert_eq!(to_the_end(events).await, [n0.local().id()]);
    soon(producer.when().offline()).await;
    Ok(())
}

/// The node ends while a producer without handles still has to deliver.
#[tokio::test]
async fn of_a_producer_that_still_drains() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data1>().disconnect_lagging(false).build()?;
    let _stuck = n1.streams().consumer::<Data1>().with_window(1, 1_000).build();
    soon(producer.when().online()).await;
    for n in 0..10 {
        soon(producer.send(Data1(n.to_string()))).await?;
    }
    let (offline, events) = (producer.when().offline(), producer.events());
    drop(producer);
    drop(n0);
    soon(offline).await;
    to_the_end(events).await;
    Ok(())
}
