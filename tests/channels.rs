//! What handles tell of their subscriptions: state, lag, conditions; and settings at their limits.

mod common;

use std::time::Duration;

use common::{Data2, eventually, is_ready, nodes, soon};
use mosaik::{
    streams::{Backoff, Lag, Replay, State},
    *,
};

/// Behind by what was accepted and not sent, and by what was delivered and not taken.
#[tokio::test]
async fn lag_counts_items_and_bytes() -> anyhow::Result<()> {
    const SIZE: u64 = 101;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Vec<u8>>().with_tail(16, 1 << 20).build()?;
    let mut consumer = n1.streams().consumer::<Vec<u8>>().with_window(4, 1 << 20).build();
    soon(producer.when().subscribed()).await;
    soon(consumer.when().subscribed()).await;
    let here = producer.consumers().next().expect("a consumer");
    let there = consumer.producers().next().expect("a producer");
    assert_eq!((here.lag(), there.lag()), (Lag::default(), Lag::default()));
    let lag = |items| Lag { items, bytes: items * SIZE };
    for n in 0..20 {
        // 100 bytes and their length.
        producer.send(vec![n; 100]).await?;
    }
    // Sent as the window allows; the rest waits in the log, and then before it.
    eventually(|| here.lag() == lag(16)).await;
    eventually(|| there.lag() == lag(4)).await;
    for n in 0..20 {
        let item = soon(consumer.next()).await.expect("an item");
        assert_eq!(item, [n; 100]);
        let left = 19 - u64::from(n);
        eventually(|| here.lag().items + there.lag().items == left).await;
        assert!(there.lag().items <= 4 && there.lag().bytes == there.lag().items * SIZE);
    }
    assert_eq!((here.lag(), there.lag()), (lag(0), lag(0)));
    assert_eq!((here.stats().datums(), there.stats().datums()), (20, 20));
    let shown = here.stats().to_string();
    assert!(shown.starts_with("uptime: ") && shown.ends_with("datums: 20, bytes: 2.02 kB"));
    Ok(())
}

/// A batch is taken item by item, and every item counts.
#[tokio::test]
async fn lag_within_a_batch() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Data2>().online_when(|c| c.minimum_of(0)).build()?;
    for n in 0..100 {
        producer.send(Data2(n)).await?;
    }
    let mut consumer = n1.streams().consumer::<Data2>().with_replay(Replay::Tail).build();
    soon(consumer.when().subscribed()).await;
    let there = consumer.producers().next().expect("a producer");
    eventually(|| there.lag().items == 100).await;
    for n in 0..100 {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
        assert_eq!(there.lag().items, 99 - n);
    }
    assert_eq!(there.lag(), Lag::default());
    Ok(())
}

/// A channel that was asked for once goes on to tell its state.
#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_channel_is_live() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let consumer = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    let here = producer.consumers().next().expect("a consumer");
    assert_eq!((here.state(), here.ended()), (State::Connected, None));
    let over = here.disconnected();
    assert!(!is_ready(here.disconnected()));
    drop(consumer);
    soon(over).await;
    assert!(here.state() == State::Terminated && !here.is_connected());
    assert!(is_ready(here.disconnected()), "whoever asks later");
    // Nor does it matter that there is another one meanwhile.
    let again = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    assert!(is_ready(here.disconnected()) && here.lag() == Lag::default());
    drop(again);
    Ok(())
}

/// STR-15: tags count as they are now, in what is waited for and in `online_when`.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_see_tags_that_come_and_go() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let builder = n0.streams().producer::<Data2>().online_when(|c| c.with_tags("gold"));
    let producer = builder.build()?;
    let consumer = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    let gold = producer.when().subscribed().with_tags("gold");
    assert!(!producer.is_online() && !is_ready(gold.clone()));
    n1.discovery().add_tags("gold")?;
    soon(gold.clone()).await;
    soon(producer.when().online()).await;
    soon(producer.send(Data2(1))).await?;
    n1.discovery().remove_tags("gold")?;
    soon(producer.when().offline()).await;
    soon(gold.unmet()).await;
    assert_eq!(producer.consumers().count(), 1, "it consumes all the same");
    drop(consumer);
    Ok(())
}

/// All of them have to hold, and who fails the first is not asked the second.
#[tokio::test(flavor = "multi_thread")]
async fn requirements_add_up() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    n1.discovery().add_tags(["a", "b"])?;
    n2.discovery().add_tags("b")?;
    let has =
        |tag: &'static str| move |peer: &discovery::PeerInfo| peer.tags().contains(&tag.into());
    let builder = n0.streams().producer::<Data2>().require(has("a"));
    let producer = builder.require(|peer| peer.tags().contains(&"b".into())).build()?;
    let both = n1.streams().consume::<Data2>();
    let one = n2.streams().consume::<Data2>();
    let mut refused = one.events().with_history();
    soon(both.when().subscribed()).await;
    assert!(matches!(soon(refused.recv()).await?, streams::StreamEvent::Refused { .. }));
    let peers: Vec<_> = producer.consumers().map(|c| c.peer().id()).collect();
    assert_eq!(peers, [n1.local().id()]);
    Ok(())
}

/// Nonsense in a setter is no panic: the least or the most that makes sense is taken.
#[tokio::test(flavor = "multi_thread")]
async fn settings_at_their_limits() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let (zero, ever) = (Duration::ZERO, Duration::MAX);
    let producers = [
        ("least", n0.streams().producer::<Data2>().with_buffer_size(0).with_tail(0, 0)),
        ("most", {
            let builder = n0.streams().producer().with_buffer_size(usize::MAX);
            builder.with_tail(u64::MAX, u64::MAX).with_lag_timeout(ever)
        }),
        ("lossy", n0.streams().producer().lossy().with_tail(0, 0).with_lag_timeout(zero)),
    ];
    for (stream, builder) in producers {
        let producer = builder.with_stream_id(stream).build()?;
        let consumers = [
            n1.streams().consumer::<Data2>().with_window(0, 0),
            n1.streams().consumer().with_window(u64::MAX, u64::MAX),
            n1.streams().consumer().with_replay(Replay::Last(u64::MAX)),
            n1.streams().consumer().with_backoff(Backoff { min: zero, max: zero }),
            n1.streams().consumer().with_backoff(Backoff { min: ever, max: zero }),
        ];
        for (n, builder) in (1..).zip(consumers) {
            let mut consumer = builder.with_stream_id(stream).build();
            soon(consumer.when().subscribed()).await;
            soon(producer.when().subscribed().minimum_of(1)).await;
            soon(producer.send(Data2(n))).await?;
            // A replay may begin before it.
            while soon(consumer.next()).await != Some(Data2(n)) {}
            drop(consumer);
            soon(producer.when().unsubscribed()).await;
        }
    }
    // Nobody fits in: nobody does, for ever.
    let nobody = n0.streams().producer::<Data2>().with_stream_id("nobody").with_max_consumers(0);
    let nobody = nobody.build()?;
    let consumer = n1.streams().consumer::<Data2>().with_stream_id("nobody");
    let consumer = consumer.with_backoff(Backoff { min: zero, max: zero }).build();
    let mut events = consumer.events().with_history();
    assert!(matches!(soon(events.recv()).await?, streams::StreamEvent::Refused { .. }));
    assert!(!nobody.is_online());
    Ok(())
}
