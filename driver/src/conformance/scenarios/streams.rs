//! Items from producers to consumers.

use bytes::Bytes;
use mosaik_proto::{
    discovery::PeerEntry,
    ids::{Digest, Tag, TicketClass, UniqueId},
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    time::UnixMillis,
};

use super::{Bench, Harness, fill, knows, meet, numbers, subscribed, take};
use crate::{
    Network,
    streams::{StreamEvent, producer::Error},
};

/// STR-05, STR-07: a consumer that is not read stops its producer after a bounded number of items;
/// read again, it gets all of them in order.
pub async fn str_05_back_pressure<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let producer = a.streams().producer_of(numbers());
    let producer = producer.disconnect_lagging(false).build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).with_window(16, 1 << 16).build();
    subscribed(&bench, &producer, &consumer).await;
    let (held, more) = (fill(&bench, &producer).await, 1_000);
    let sending = async {
        for item in held..held + more {
            bench.soon(producer.send(item)).await.expect("room comes");
        }
    };
    let taking = take(&bench, &mut consumer, held + more);
    let ((), taken) = futures_util::future::join(sending, taking).await;
    assert!(taken.into_iter().eq(0..held + more), "all in order");
    assert_eq!((producer.missed(), consumer.missed()), (0, 0));
}

/// STR-09: after a lost link a consumer goes on where it was, without gap or duplicate.
pub async fn str_09_reconnect_and_resume<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let producer = a.streams().producer_of(numbers()).build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).build();
    subscribed(&bench, &producer, &consumer).await;
    let mut events = consumer.events();
    for round in 0..3 {
        let first = round * 1_000;
        for item in first..first + 500 {
            bench.soon(producer.send(item)).await.expect("online");
        }
        let mut taken = take(&bench, &mut consumer, 100).await;
        bench.cut(&a, &b);
        bench.until(|| bench.ends(&a, &b) == 0).await;
        bench.mend(&a, &b);
        for item in first + 500..first + 1_000 {
            bench.soon(producer.send(item)).await.expect("online again");
        }
        taken.extend(take(&bench, &mut consumer, 900).await);
        assert!(taken.into_iter().eq(first..first + 1_000), "all in order, round {round}");
    }
    assert_eq!((producer.missed(), consumer.missed()), (0, 0));
    let mut connected = 0;
    while let Ok(Some(event)) = events.try_recv() {
        assert!(!matches!(event, StreamEvent::Gap { .. } | StreamEvent::Restarted(_)), "{event:?}");
        connected += usize::from(matches!(event, StreamEvent::Connected { .. }));
    }
    assert_eq!(connected, 3, "one connection for each cut");
}

/// STR-02, STR-03, STR-10: producers and consumers that refuse each other are not connected, and are
/// as soon as an entry changes so that they fit.
pub async fn str_10_predicates<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    let (makes, takes) = (Tag::hash(b"makes"), Tag::hash(b"takes"));
    let producer = a.streams().producer_of(numbers());
    let producer = producer.require(move |peer| peer.tags().contains(&takes));
    let producer = producer.build().expect("the only one");
    let consumer = b.streams().consumer_of(numbers());
    let consumer = consumer.require(move |peer| peer.tags().contains(&makes));
    let mut consumer = consumer.build();
    meet(&bench, &a, &b).await;
    assert!(knows(&b, &a));
    assert_eq!(consumer.producers().count(), 0, "it does not follow who does not fit");
    a.discovery().add_tags(makes).expect("room for a tag");
    meet(&bench, &b, &a).await;
    // Now it asks, and is refused: the producer has no consumer.
    assert!(matches!(producer.try_send(0), Err(Error::Offline(0))), "refused by the producer");
    b.discovery().add_tags(takes).expect("room for a tag");
    subscribed(&bench, &producer, &consumer).await;
    bench.soon(producer.send(7)).await.expect("online");
    assert_eq!(take(&bench, &mut consumer, 1).await, [7]);
    a.discovery().remove_tags(makes).expect("a tag less");
    bench.soon(consumer.when().unsubscribed()).await;
    bench.soon(producer.when().offline()).await;
}

/// STR-13: items that were accepted are delivered although the last handle of the producer goes.
pub async fn str_13_accepted_items_outlive_the_producer<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let producer = a.streams().producer_of(numbers()).build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).with_window(64, 1 << 16).build();
    subscribed(&bench, &producer, &consumer).await;
    for item in 0..1_000 {
        bench.soon(producer.send(item)).await.expect("online");
    }
    drop(producer);
    let taken = take(&bench, &mut consumer, 1_000).await;
    assert!(taken.into_iter().eq(0..1_000), "all in order");
    bench.soon(consumer.when().unsubscribed()).await;
    assert!(a.discovery().me().entry().streams().is_empty(), "not advertised any more");
}

/// A ticket is its end, in wall milliseconds.
#[derive(Debug)]
struct Until;

impl Until {
    fn class() -> TicketClass {
        Digest::hash(b"until")
    }

    fn ticket(end: UnixMillis) -> Ticket {
        Ticket::new(Self::class(), Bytes::copy_from_slice(&end.0.to_be_bytes()))
    }
}

impl TicketValidator for Until {
    fn class(&self) -> TicketClass {
        Self::class()
    }

    fn signature(&self) -> UniqueId {
        Self::class()
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Err(InvalidTicket)
    }

    fn validate_at(
        &self,
        ticket: &[u8],
        _: &PeerEntry,
        now: UnixMillis,
    ) -> Result<Expiration, InvalidTicket> {
        let end = ticket.try_into().map(u64::from_be_bytes).map_err(|_| InvalidTicket)?;
        if now.0 < end { Ok(Expiration::at(UnixMillis(end))) } else { Err(InvalidTicket) }
    }
}

/// DISC-04, STR-11: a wall clock that jumps removes nobody and loses no item, but ends what it says
/// has expired; set back, it extends nothing.
pub async fn str_11_clock_jump<H: Harness>(bench: Bench<H>) {
    const HOUR_MS: u64 = 3_600_000;
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let end = UnixMillis(bench.wall().0 + HOUR_MS);
    b.discovery().add_ticket(Until::ticket(end)).expect("room for a ticket");
    let producer = a.streams().producer_of(numbers()).require_ticket(Until);
    let producer = producer.build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).build();
    subscribed(&bench, &producer, &consumer).await;
    jumps(&bench, [&a, &b]).await;
    for item in 0..100 {
        bench.soon(producer.send(item)).await.expect("online");
    }
    assert!(take(&bench, &mut consumer, 100).await.into_iter().eq(0..100));
    assert_eq!(bench.ends(&a, &b), 2, "nobody was removed");
    bench.jump(&a, HOUR_MS as i64 + 1);
    bench.soon(producer.when().unsubscribed()).await;
    assert!(knows(&a, &b) && knows(&b, &a), "the peer stays, the ticket does not");
    // A ticket that is good for longer brings the stream back.
    let renewed = Until::ticket(UnixMillis(end.0 + HOUR_MS));
    b.discovery().replace_ticket(renewed).expect("room for a ticket");
    subscribed(&bench, &producer, &consumer).await;
}

/// Both clocks jump, less than an hour in all, and entries are signed at every stage.
async fn jumps<H: Harness>(bench: &Bench<H>, nodes: [&Network; 2]) {
    for (step, by_ms) in [1_800_000, -3_600_000, 1_800_000].into_iter().enumerate() {
        for node in nodes {
            bench.jump(node, by_ms);
            let tag = Tag::hash(format!("{step} {}", node.local().id()).as_bytes());
            node.discovery().add_tags(tag).expect("room for a tag");
        }
        meet(bench, nodes[0], nodes[1]).await;
        let tags = |node: &Network| node.discovery().me().entry().tags().len();
        let seen = |by: &Network, of: &Network| {
            let catalog = by.discovery().catalog();
            catalog.get(&of.local().id()).map(|entry| entry.tags().len()) == Some(tags(of))
        };
        bench.until(|| seen(nodes[0], nodes[1]) && seen(nodes[1], nodes[0])).await;
    }
}
