//! STR-21: why a subscription ended, at both ends.

mod common;

use std::{fmt::Debug, time::Duration};

use common::{Data2, Pass, gaps, nodes, soon};
use mosaik::{
    discovery::Events,
    streams::{ChannelInfo, EndReason, StreamEvent},
    *,
};

/// The next end that is told.
async fn end(events: &mut Events<StreamEvent>) -> EndReason {
    loop {
        match soon(events.recv()).await.expect("events") {
            StreamEvent::Disconnected { reason, .. } | StreamEvent::Refused { reason, .. } => {
                return reason;
            }
            _ => {}
        }
    }
}

/// Both ends of the one subscription there is, by their handles.
fn pair<D: Datum + Debug>(
    producer: &streams::Producer<D>,
    consumer: &streams::Consumer<D>,
) -> [ChannelInfo; 2] {
    let here = producer.consumers().next().expect("a consumer");
    [here, consumer.producers().next().expect("a producer")]
}

async fn both_say(pair: [ChannelInfo; 2], reason: EndReason) {
    for end in pair {
        soon(end.disconnected()).await;
        assert_eq!(end.ended(), Some(reason));
    }
}

async fn subscribed(producer: &streams::Producer<Data2>, consumer: &streams::Consumer<Data2>) {
    soon(producer.when().subscribed()).await;
    soon(consumer.when().subscribed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_slow() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let lag = Duration::from_millis(300);
    let builder = n0.streams().producer::<Data2>().with_lag_timeout(lag).with_tail(16, 1 << 20);
    let producer = builder.online_when(|c| c.minimum_of(0)).build()?;
    let mut consumer = n1.streams().consumer::<Data2>().with_window(4, 1_000).build();
    subscribed(&producer, &consumer).await;
    let (mut told, mut seen) = (producer.events(), consumer.events());
    let ends = pair(&producer, &consumer);
    for n in 0..8 {
        soon(producer.send(Data2(n))).await?;
    }
    both_say(ends, EndReason::TooSlow).await;
    assert_eq!(end(&mut told).await, EndReason::TooSlow);
    assert_eq!(end(&mut seen).await, EndReason::TooSlow);
    // Nobody holds the producer now, and what it keeps goes past the other's place.
    for n in 8..100 {
        soon(producer.send(Data2(n))).await?;
    }
    let (mut next, mut missed) = (0, Vec::new());
    while next < 100 {
        let Data2(n) = soon(consumer.next()).await.expect("an item");
        if n > next {
            missed.push((next, n - 1));
        }
        next = n + 1;
    }
    assert!(!missed.is_empty());
    assert_eq!((gaps(&mut seen), gaps(&mut told)), (missed.clone(), missed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_and_cancelled() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let consumer = n1.streams().consume::<Data2>();
    subscribed(&producer, &consumer).await;
    let ends = pair(&producer, &consumer);
    drop(consumer);
    both_say(ends, EndReason::Cancelled).await;

    let consumer = n1.streams().consume::<Data2>();
    subscribed(&producer, &consumer).await;
    let ends = pair(&producer, &consumer);
    let mut seen = consumer.events();
    drop(producer);
    both_say(ends, EndReason::Closed).await;
    assert_eq!(end(&mut seen).await, EndReason::Closed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn not_allowed_any_more() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("pass");
    for guarded_by_producer in [true, false] {
        let name = if guarded_by_producer { "producer" } else { "consumer" };
        let (mut producer, mut consumer) =
            (n0.streams().producer::<Data2>(), n1.streams().consumer::<Data2>());
        let guest = if guarded_by_producer {
            producer = producer.require_ticket(pass);
            &n1
        } else {
            consumer = consumer.require_ticket(pass);
            &n0
        };
        guest.discovery().add_ticket(pass.ticket())?;
        let producer = producer.with_stream_id(name).build()?;
        let consumer = consumer.with_stream_id(name).build();
        subscribed(&producer, &consumer).await;
        let ends = pair(&producer, &consumer);
        guest.discovery().remove_tickets_of(pass.class)?;
        both_say(ends, EndReason::NotAllowed).await;
    }
    // And of predicates, at either end.
    n1.discovery().add_tags("member")?;
    let member = |peer: &discovery::PeerInfo| peer.tags().contains(&"member".into());
    let producer =
        n0.streams().producer::<Data2>().with_stream_id("tag").require(member).build()?;
    let consumer = n1.streams().consumer::<Data2>().with_stream_id("tag").build();
    subscribed(&producer, &consumer).await;
    let ends = pair(&producer, &consumer);
    n1.discovery().remove_tags("member")?;
    both_say(ends, EndReason::NotAllowed).await;
    Ok(())
}

/// Who is refused is told why, once.
#[tokio::test(flavor = "multi_thread")]
async fn refused() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let full = n0.streams().producer::<Data2>().with_stream_id("full").with_max_consumers(0);
    let full = full.build()?;
    let closed = n0.streams().producer::<Data2>().with_stream_id("closed").require(|_| false);
    let closed = closed.build()?;
    for (stream, reason) in [("full", EndReason::NoCapacity), ("closed", EndReason::NotAllowed)] {
        let consumer = n1.streams().consumer::<Data2>().with_stream_id(stream).build();
        let mut events = consumer.events().with_history();
        let event = soon(events.recv()).await?;
        assert_eq!(event, StreamEvent::Refused { peer: n0.local().id(), reason });
        assert_eq!(consumer.producers().count(), 0);
    }
    drop((full, closed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_node_ends() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let consumer = n1.streams().consume::<Data2>();
    subscribed(&producer, &consumer).await;
    let [here, there] = pair(&producer, &consumer);
    soon(n0.shutdown()).await;
    soon(there.disconnected()).await;
    assert_eq!(there.ended(), Some(EndReason::Closed), "in good order");
    soon(here.disconnected()).await;
    assert_eq!(here.ended(), Some(EndReason::Closed));
    Ok(())
}

/// Who is put out by the other's node is told so; the owner of the node sees the same.
#[tokio::test(flavor = "multi_thread")]
async fn not_admitted_any_more() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let consumer = n1.streams().consume::<Data2>();
    subscribed(&producer, &consumer).await;
    let ends = pair(&producer, &consumer);
    n0.admission().deny(n1.local().id());
    both_say(ends, EndReason::NotAllowed).await;
    Ok(())
}

/// A process that is gone without a word.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_node_dies() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let n0 = soon(Network::new(id)).await?;
    let producer = n0.streams().produce::<Data2>();
    let addr = n0.local().addr();
    let (tell, told) = tokio::sync::oneshot::channel();
    let doomed = std::thread::spawn(move || {
        let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = one_thread.expect("a runtime");
        let all = runtime.block_on(async {
            let n1 = soon(Network::new(id)).await.expect("a node");
            let consumer = n1.streams().consume::<Data2>();
            n1.discovery().dial(addr).await;
            soon(consumer.when().subscribed()).await;
            (n1, consumer)
        });
        // Nobody drives the runtime any more, and nothing is dropped: no last words.
        told.blocking_recv().expect("a word");
        std::mem::forget((runtime, all));
    });
    soon(producer.when().subscribed()).await;
    let here = producer.consumers().next().expect("a consumer");
    tell.send(()).expect("it waits");
    soon(here.disconnected()).await;
    assert_eq!(here.ended(), Some(EndReason::LinkLost));
    doomed.join().expect("no panic");
    Ok(())
}
