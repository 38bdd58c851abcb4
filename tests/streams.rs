//! Typed data from producers to consumers.

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{Data1, Data2, discover_all, eventually, is_ready, nodes, quiet, soon};
use futures::SinkExt;
use mosaik::{
    streams::{StreamDef, producer},
    *,
};

fn text(n: usize) -> Data1 {
    Data1(format!("item {n}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn send_and_receive() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.when().subscribed()).await;
    assert!(producer.is_online());
    producer.send(text(1)).await?;
    assert_eq!(soon(consumer.next()).await, Some(text(1)));
    producer.try_send(text(2))?;
    assert_eq!(soon(consumer.recv()).await, Some(text(2)));
    assert_eq!(consumer.try_recv(), Err(streams::consumer::TryRecvError::Empty));
    producer.send(text(3)).await?;
    eventually(|| consumer.try_recv() == Ok(text(3))).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_items_in_order() -> anyhow::Result<()> {
    const ITEMS: u64 = 100_000;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data2>();
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move {
            for n in 0..ITEMS {
                producer.send(Data2(n)).await.expect("sent");
            }
        }
    });
    for n in 0..ITEMS {
        assert_eq!(soon(consumer.next()).await, Some(Data2(n)));
    }
    sending.await?;
    assert_eq!(consumer.stats().datums(), ITEMS);
    quiet(Duration::from_millis(50), consumer.next()).await;
    Ok(())
}

#[tokio::test]
async fn sends_before_anybody_listens() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    assert!(!producer.is_online());
    let error = producer.try_send(text(1)).expect_err("offline");
    assert_eq!(error, producer::Error::Offline(text(1)));
    assert_ne!(error, producer::Error::Full(text(1)));
    assert_eq!(error.into_inner(), Some(text(1)), "the datum comes back");

    // A parked send is woken by the first consumer, through every interface.
    let mut sink = producer.clone();
    let parked = [
        tokio::spawn({
            let producer = producer.clone();
            async move { producer.send(text(2)).await }
        }),
        tokio::spawn(async move { SinkExt::send(&mut sink, text(3)).await }),
    ];
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(parked.iter().all(|task| !task.is_finished()));
    let mut consumer = n1.streams().consume::<Data1>();
    for task in parked {
        soon(task).await.expect("a task").expect("sent");
    }
    let mut got = [soon(consumer.next()).await, soon(consumer.next()).await];
    got.sort_by_key(|item| item.clone().map(|item| item.0));
    assert_eq!(got, [Some(text(2)), Some(text(3))]);
}

#[tokio::test]
async fn a_dropped_send_sends_nothing() {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Data1>();
    assert!(!is_ready(producer.send(text(1))));
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.send(text(2))).await.expect("sent");
    assert_eq!(soon(consumer.next()).await, Some(text(2)));
}

/// An eager producer takes items without consumers; those who come later miss them.
#[tokio::test]
async fn an_eager_producer_and_a_full_buffer() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0
        .streams()
        .producer::<Data1>()
        .online_when(|c| c.minimum_of(0))
        .with_buffer_size(3)
        .build()?;
    soon(producer.when().online()).await;
    // The current thread holds the loop back, so the lane only fills.
    let mut refused = None;
    for n in 0..10 {
        if let Err(error) = producer.try_send(text(n)) {
            refused = Some((n, error));
            break;
        }
    }
    assert_eq!(refused, Some((3, producer::Error::Full(text(3)))));
    soon(producer.send(text(3))).await?;
    eventually(|| is_ready(producer.send(text(4)))).await;
    let mut consumer = n1.streams().consume::<Data1>();
    soon(producer.when().subscribed()).await;
    soon(producer.send(text(5))).await?;
    assert_eq!(soon(consumer.next()).await, Some(text(5)), "only what came after");
    Ok(())
}

/// Waiting is not failing: a sink never says that it is full.
#[tokio::test]
async fn a_small_buffer_holds_the_sender() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut producer = n0.streams().producer::<Data2>().with_buffer_size(1).build()?;
    let mut consumer = n1.streams().consume::<Data2>();
    soon(producer.when().online()).await;
    let send = async {
        for n in 0..500 {
            SinkExt::send(&mut producer, Data2(n)).await.expect("no error");
        }
        let more = futures::stream::iter((500..1_000).map(|n| Ok(Data2(n))));
        producer.send_all(&mut { more }).await.expect("no error");
    };
    let receive = async {
        for n in 0..1_000 {
            assert_eq!(consumer.next().await, Some(Data2(n)));
        }
    };
    soon(async { tokio::join!(send, receive) }).await;
    Ok(())
}

#[tokio::test]
async fn closing_a_handle_closes_that_handle() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let mut first = n0.streams().produce::<Data1>();
    let second = first.clone();
    let mut consumer = n1.streams().consume::<Data1>();
    soon(first.when().online()).await;
    SinkExt::<Data1>::flush(&mut first).await?;
    SinkExt::<Data1>::close(&mut first).await?;
    assert_eq!(first.try_send(text(1)), Err(producer::Error::Closed(Some(text(1)))));
    assert_eq!(soon(first.send(text(1))).await, Err(producer::Error::Closed(Some(text(1)))));
    assert_eq!(SinkExt::send(&mut first, text(1)).await, Err(producer::Error::Closed(None)));
    soon(second.send(text(2))).await?;
    assert_eq!(soon(consumer.next()).await, Some(text(2)));
    Ok(())
}

#[tokio::test]
async fn one_producer_per_stream_and_node() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let first = n0.streams().producer::<Data1>().with_max_consumers(7).build()?;
    let second = n0.streams().produce::<Data1>();
    let third = match n0.streams().producer::<Data1>().with_max_consumers(1).build() {
        Err(error @ producer::BuilderError::AlreadyExists(_)) => {
            assert!(error.to_string().contains(&first.stream_id().to_string()));
            let producer::BuilderError::AlreadyExists(producer) = error;
            producer
        }
        Ok(_) => panic!("two producers of one stream"),
    };
    assert_eq!((second.config().max_consumers, third.config().max_consumers), (7, 7));
    let mut consumer = n1.streams().consume::<Data1>();
    soon(third.when().online()).await;
    drop((first, third));
    soon(second.send(text(1))).await?;
    assert_eq!(soon(consumer.next()).await, Some(text(1)));

    // Streams of one type under other ids are other streams.
    const OTHER: StreamDef<Data1> = StreamDef::with_stream_id(unique_id!("other"));
    let other = n0.streams().producer_of(OTHER).build()?;
    assert_eq!(other.stream_id(), unique_id!("other"));
    let mut of_other = n1.streams().consumer_of(OTHER).build();
    soon(other.send(text(2))).await?;
    assert_eq!(soon(of_other.next()).await, Some(text(2)));
    quiet(Duration::from_millis(50), consumer.next()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_producers_and_consumers() -> anyhow::Result<()> {
    const ITEMS: u64 = 2_000;
    let all: [Network; 5] = nodes().await;
    let producers: Vec<_> = all[..3].iter().map(|n| n.streams().produce::<Data2>()).collect();
    let mut consumers: Vec<_> = all[3..].iter().map(|n| n.streams().consume::<Data2>()).collect();
    // Two consumers of one stream on one node both get everything.
    consumers.push(all[4].streams().consume::<Data2>());
    for producer in &producers {
        soon(producer.when().subscribed().minimum_of(3)).await;
    }
    for consumer in &consumers {
        soon(consumer.when().subscribed().minimum_of(3)).await;
    }
    for (p, producer) in producers.into_iter().enumerate() {
        let peers: BTreeSet<_> = producer.consumers().map(|c| c.peer().id()).collect();
        assert_eq!(peers, all[3..].iter().map(|n| n.local().id()).collect());
        tokio::spawn(async move {
            for n in 0..ITEMS {
                producer.send(Data2(n * 3 + p as u64)).await.expect("sent");
            }
            std::future::pending::<()>().await;
        });
    }
    for consumer in &mut consumers {
        let mut next = [0, 1, 2];
        for _ in 0..3 * ITEMS {
            let Data2(value) = soon(consumer.next()).await.expect("an item");
            let producer = (value % 3) as usize;
            assert_eq!(value, next[producer], "each producer's items in order");
            next[producer] += 3;
        }
    }
    Ok(())
}

#[tokio::test]
async fn channels_tell_who_and_how_much() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    n1.discovery().add_tags("consumer")?;
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consume::<Data1>();
    assert_eq!(producer.consumers().count(), 0);
    soon(producer.when().subscribed()).await;
    soon(consumer.when().subscribed()).await;
    let of_producer = producer.consumers().next().expect("a consumer");
    let of_consumer = consumer.producers().next().expect("a producer");
    for info in [&of_producer, &of_consumer] {
        assert_eq!(info.stream_id(), producer.stream_id());
        assert_eq!(info.producer_id(), n0.local().id());
        assert_eq!(info.consumer_id(), n1.local().id());
        assert_eq!(info.state(), streams::State::Connected);
        assert!(info.is_connected());
    }
    assert_eq!(of_producer.peer().id(), n1.local().id());
    assert_eq!(of_consumer.peer().id(), n0.local().id());
    assert!(of_producer.peer().tags().contains(&"consumer".into()));

    let size = Datum::encode(&text(0))?.len() as u64;
    for n in 0..10 {
        producer.send(text(n)).await?;
    }
    // What waits counts at the ends of the channel, what was taken at the consumer.
    eventually(|| of_producer.stats().datums() == 10 && of_consumer.stats().datums() == 10).await;
    assert_eq!(of_producer.stats().bytes(), 10 * size);
    assert_eq!(of_consumer.stats().bytes(), 10 * size);
    assert_eq!(consumer.stats().datums(), 0);
    for _ in 0..4 {
        soon(consumer.next()).await.expect("an item");
    }
    assert_eq!((consumer.stats().datums(), consumer.stats().bytes()), (4, 4 * size));
    let shown = consumer.stats().to_string();
    assert!(
        shown.starts_with("uptime: ") && shown.ends_with(", datums: 4, bytes: 28 B"),
        "{shown}"
    );
    assert!(of_consumer.stats().uptime().is_some());

    let (over, other) = (of_producer.disconnected(), of_consumer.disconnected());
    assert!(!is_ready(of_producer.disconnected()));
    drop(consumer);
    soon(over).await;
    soon(other).await;
    Ok(())
}

/// By hand: two bytes, big-endian; odd numbers have no encoding, and zero cannot be read.
#[derive(Debug, PartialEq)]
struct Even(u16);

#[derive(Debug, PartialEq)]
struct Odd;

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for Odd {}

impl Datum for Even {
    type EncodeError = Odd;
    type DecodeError = Odd;

    fn encode(&self) -> Result<Bytes, Odd> {
        if self.0.is_multiple_of(2) { Ok(self.0.to_be_bytes().to_vec().into()) } else { Err(Odd) }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Odd> {
        match bytes {
            [0, 0] => Err(Odd),
            [high, low] => Ok(Self(u16::from_be_bytes([*high, *low]))),
            _ => Err(Odd),
        }
    }
}

#[tokio::test]
async fn a_datum_by_hand() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Even>();
    assert_eq!(producer.stream_id(), StreamId::from(std::any::type_name::<Even>()));
    let mut consumer = n1.streams().consume::<Even>();
    soon(producer.send(Even(2))).await?;
    let Err(producer::Error::Encoding(item, Odd)) = producer.send(Even(3)).await else { panic!() };
    assert_eq!(item, Even(3), "it comes back");
    // What cannot be read is passed over, and does not end the stream.
    producer.send(Even(0)).await?;
    producer.send(Even(4)).await?;
    assert_eq!(soon(consumer.next()).await, Some(Even(2)));
    assert_eq!(soon(consumer.next()).await, Some(Even(4)));
    Ok(())
}

/// Two programs disagree about a type: the items are passed over, the node lives on.
#[tokio::test]
async fn datums_that_cannot_be_decoded() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let producer = n0.streams().producer::<Vec<u8>>().with_stream_id("typed").build()?;
    let mut consumer = n1.streams().consumer::<(u8, u8)>().with_stream_id("typed").build();
    soon(producer.send(vec![1; 100])).await?;
    soon(producer.send(vec![7])).await?;
    assert_eq!(soon(consumer.next()).await, Some((1, 7)), "read as what it could be");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_items() -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let [n0, n1] = nodes().await;
    let producer = n0.streams().produce::<Vec<u8>>();
    let mut consumer = n1.streams().consume::<Vec<u8>>();
    soon(producer.when().online()).await;
    for size in [5 * MIB, 0, 1, 5 * MIB, 70_000] {
        let item: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        soon(producer.send(item.clone())).await?;
        let got = soon(consumer.next()).await.expect("an item");
        assert!(got == item, "{size} bytes arrived differently");
    }
    let error = producer.send(vec![0; 9 * MIB]).await.expect_err("above the limit");
    assert!(
        matches!(&error, producer::Error::TooLarge(item, bytes)
        if item.len() == 9 * MIB && *bytes > 9 * MIB),
        "{error:?}"
    );
    soon(producer.send(vec![1])).await?;
    assert_eq!(soon(consumer.next()).await, Some(vec![1]));
    Ok(())
}

/// A node does not consume from itself.
#[tokio::test]
async fn others_only() -> anyhow::Result<()> {
    let n = Network::new(NetworkId::random()).await?;
    let producer = n.streams().produce::<Data1>();
    let consumer = n.streams().consume::<Data1>();
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;
    assert_eq!(consumer.producers().count(), 0);
    assert!(consumer.is_online(), "a consumer is online without producers, by default");
    Ok(())
}

#[tokio::test]
async fn streams_work_without_a_sync() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let (n0, n1) = tokio::try_join!(Network::new(id), Network::new(id))?;
    let producer = Arc::new(n0.streams().produce::<Data1>());
    let mut consumer = n1.streams().consume::<Data1>();
    n1.discovery().dial(n0.local().id()).await;
    soon(producer.send(text(1))).await?;
    assert_eq!(soon(consumer.next()).await, Some(text(1)));
    discover_all([&n0, &n1]).await;
    Ok(())
}
