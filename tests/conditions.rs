//! Who may subscribe, and waiting for what a producer or consumer becomes.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{Data1, eventually, is_ready, nodes, quiet, soon};
use mosaik::*;

#[tokio::test]
async fn online_and_offline() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    assert!(!producer.is_online() && !producer.when().is_online());
    assert!(is_ready(producer.when().offline()) && !is_ready(producer.when().online()));
    let online = producer.when().online();
    let consumer = n1.streams().consume::<Data1>();
    soon(consumer.when().online()).await;
    soon(online).await;
    assert!(producer.is_online());
    assert_eq!(producer.consumers().filter(|c| c.is_connected()).count(), 1);
    let offline = producer.when().offline();
    assert!(!is_ready(producer.when().offline()));
    drop(consumer);
    soon(offline).await;
    assert_eq!(producer.consumers().count(), 0, "offline means that nobody is listed");
    assert!(!producer.is_online());
    assert!(is_ready(producer.when().unsubscribed()));
    Ok(())
}

/// However often it happens: resolved futures and lists agree.
#[tokio::test(flavor = "multi_thread")]
async fn offline_is_never_ahead_of_the_list() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    for _ in 0..30 {
        let consumer = n1.streams().consume::<Data1>();
        soon(producer.when().online()).await;
        assert!(producer.consumers().any(|c| c.is_connected()));
        assert!(producer.is_online());
        drop(consumer);
        soon(producer.when().offline()).await;
        assert_eq!(producer.consumers().count(), 0);
        assert!(!producer.is_online());
    }
}

#[tokio::test]
async fn conditions_count() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    n1.discovery().add_tags(["a", "b"])?;
    n2.discovery().add_tags("b")?;
    let producer = n0.streams().produce::<Data1>();
    let two = producer.when().subscribed().minimum_of(2);
    let replaced = producer.when().subscribed().minimum_of(9).minimum_of(1);
    let tagged = producer.when().subscribed().with_tags("a");
    let both = producer.when().subscribed().with_tags(["a", "b"]).minimum_of(2);
    let repeated = producer.when().subscribed().with_tags("b").with_tags("a");
    let not_two = producer.when().subscribed().minimum_of(2).unmet().unmet();
    let (id1, id2) = (n1.local().id(), n2.local().id());
    let second = producer.when().subscribed().with_predicate(move |peer| peer.id() == id2);
    assert!(!two.is_condition_met() && not_two.is_condition_met());
    assert_eq!((two == false, false == two, not_two == true), (true, true, true));
    assert!(is_ready(not_two.clone()) && !is_ready(two.clone()));

    let _second = n2.streams().consume::<Data1>();
    soon(second.clone()).await;
    soon(replaced.clone()).await;
    assert!(!tagged.is_condition_met() && !repeated.is_condition_met());
    let _first = n1.streams().consume::<Data1>();
    soon(two.clone()).await;
    soon(tagged.clone()).await;
    soon(repeated).await;
    assert!(!both.is_condition_met(), "one of the two has only one of the tags");
    assert!(!not_two.is_condition_met());
    let _again = n1.streams().consume::<Data1>();
    soon(both).await;
    assert_eq!(producer.consumers().filter(|c| c.peer().id() == id1).count(), 2);
    assert!(format!("{two:?}").contains("true"));
    Ok(())
}

#[tokio::test]
async fn conditions_can_be_awaited_again() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let mut subscribed = producer.when().subscribed();
    let mut unsubscribed = producer.when().unsubscribed();
    soon(&mut unsubscribed).await;
    assert!(!is_ready(&mut unsubscribed), "no second time without a change");
    for _ in 0..3 {
        let consumer = n1.streams().consume::<Data1>();
        soon(&mut subscribed).await;
        assert!(!is_ready(&mut subscribed) && !is_ready(&mut unsubscribed));
        assert!(is_ready(subscribed.clone()), "a clone starts afresh");
        drop(consumer);
        soon(&mut unsubscribed).await;
        assert!(!is_ready(&mut subscribed) && !is_ready(&mut unsubscribed));
    }
    soon(unsubscribed.clone()).await;
}

#[tokio::test]
async fn waiting_wakes_every_waiter() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let waiters: Vec<_> = (0..50)
        .map(|n| {
            let when = producer.when().clone();
            tokio::spawn(async move {
                if n % 2 == 0 { when.online().await } else { when.subscribed().await }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let _consumer = n1.streams().consume::<Data1>();
    for waiter in waiters {
        soon(waiter).await.expect("woken");
    }
}

#[tokio::test]
async fn online_when_is_what_is_asked() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    n2.discovery().add_tags("vip")?;
    let producer = n0
        .streams()
        .producer::<Data1>()
        .online_when(|c| c.minimum_of(1).with_tags("vip"))
        .build()?;
    let consumer = n1.streams().consumer::<Data1>().online_when(|c| c.minimum_of(1)).build();
    soon(producer.when().subscribed()).await;
    soon(consumer.when().online()).await;
    assert!(!producer.is_online(), "nobody important listens");
    assert!(producer.try_send(Data1(String::new())).is_err());
    let vip = n2.streams().consume::<Data1>();
    soon(producer.when().online()).await;
    n2.discovery().remove_tags("vip")?;
    soon(producer.when().offline()).await;
    n2.discovery().add_tags("vip")?;
    soon(producer.when().online()).await;
    drop((consumer, vip));
    soon(producer.when().offline()).await;
    Ok(())
}

#[tokio::test]
async fn a_producer_admits_by_tags_as_they_are_now() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0
        .streams()
        .producer::<Data1>()
        .require(|peer| peer.tags().contains(&"in".into()))
        .require(|peer| !peer.tags().contains(&"out".into()))
        .build()?;
    let mut consumer = n1.streams().consume::<Data1>();
    quiet(Duration::from_millis(300), producer.when().subscribed()).await;
    n1.discovery().add_tags("in")?;
    soon(producer.when().subscribed()).await;
    n1.discovery().add_tags("out")?;
    soon(producer.when().unsubscribed()).await;
    eventually(|| consumer.producers().all(|p| !p.is_connected())).await;
    n1.discovery().remove_tags("out")?;
    soon(producer.send(Data1("back".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("back".into())));
    n1.discovery().remove_tags("in")?;
    soon(producer.when().offline()).await;
    Ok(())
}

#[tokio::test]
async fn a_consumer_chooses_by_tags_as_they_are_now() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    n0.discovery().add_tags("good")?;
    let (good, other) = (n0.streams().produce::<Data1>(), n1.streams().produce::<Data1>());
    let consumer = n2
        .streams()
        .consumer::<Data1>()
        .require(|peer| peer.tags().contains(&"good".into()))
        .build();
    soon(good.when().subscribed()).await;
    quiet(Duration::from_millis(200), other.when().subscribed()).await;
    assert_eq!(consumer.producers().count(), 1);
    n1.discovery().add_tags("good")?;
    soon(other.when().subscribed()).await;
    n0.discovery().remove_tags("good")?;
    soon(good.when().unsubscribed()).await;
    eventually(|| consumer.producers().count() == 1).await;
    assert_eq!(consumer.producers().next().map(|p| p.peer().id()), Some(n1.local().id()));
    Ok(())
}

/// A round-trip time is there under the default configuration, also where it is demanded.
#[tokio::test]
async fn predicates_see_round_trip_times() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let limit = Duration::from_secs(5);
    let plausible = move |peer: &discovery::PeerInfo| {
        peer.rtt().is_some_and(|rtt| rtt > Duration::from_nanos(1) && rtt < limit)
            && peer.rtt_below(limit)
            && !peer.rtt_below(Duration::from_nanos(1))
    };
    let producer = n0.streams().producer::<Data1>().require(plausible).build()?;
    let mut consumer = n1.streams().consumer::<Data1>().require(plausible).build();
    soon(producer.send(Data1("near".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("near".into())));
    Ok(())
}

#[tokio::test]
async fn a_slot_is_freed_and_taken() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    let producer = n0.streams().producer::<Data1>().with_max_consumers(1).build()?;
    assert_eq!(producer.config().max_consumers, 1);
    let mut first = n1.streams().consume::<Data1>();
    soon(producer.when().subscribed()).await;
    let mut second = n2.streams().consume::<Data1>();
    quiet(Duration::from_millis(300), producer.when().subscribed().minimum_of(2)).await;
    assert!(second.producers().all(|p| !p.is_connected()));
    soon(producer.send(Data1("one".into()))).await?;
    assert_eq!(soon(first.next()).await, Some(Data1("one".into())));
    let mut free = producer.when().unsubscribed();
    drop(first);
    soon(&mut free).await;
    soon(second.when().subscribed()).await;
    assert_eq!(producer.consumers().next().map(|c| c.peer().id()), Some(n2.local().id()));
    soon(producer.send(Data1("two".into()))).await?;
    assert_eq!(soon(second.next()).await, Some(Data1("two".into())));
    Ok(())
}

#[tokio::test]
async fn a_panicking_predicate_denies() -> anyhow::Result<()> {
    let [n0, n1, n2] = nodes().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let producer = n0
        .streams()
        .producer::<Data1>()
        .require({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Relaxed);
                panic!("deliberate")
            }
        })
        .build()?;
    let consumer = n1.streams().consume::<Data1>();
    let picky = n2.streams().consumer::<Data1>().require(|_| panic!("deliberate")).build();
    eventually(|| calls.load(Relaxed) > 0).await;
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;
    assert_eq!(picky.producers().count(), 0);
    drop((consumer, picky));

    // All nodes go on.
    let other = n0.streams().producer::<Data1>().with_stream_id("other").build()?;
    let mut readers =
        [&n1, &n2].map(|n| n.streams().consumer::<Data1>().with_stream_id("other").build());
    soon(other.when().subscribed().minimum_of(2)).await;
    other.send(Data1("alive".into())).await?;
    for reader in &mut readers {
        assert_eq!(soon(reader.next()).await, Some(Data1("alive".into())));
    }
    Ok(())
}
