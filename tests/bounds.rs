//! What must compile: bounds of every public type and future, and the traps of a glob import.

mod common;

use std::{fmt, future::Future, time::Duration};

use common::{Data1, is_ready};
use futures::{Sink, Stream, stream::FusedStream};
use mosaik::{
    discovery::{
        Catalog, ConfigBuilder, Discovery, EndpointAddr, Event, Events, Lagged, PeerEntry,
        PeerEntryVersion, PeerInfo, RecvError, SignedPeerEntry, SyncWith,
    },
    streams::{
        ChannelConditions, ChannelInfo, Consumer, Criteria, Producer, State, Stats, StreamDef,
        Streams, When, consumer, producer,
    },
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    *,
};

const fn shared<T: Send + Sync + 'static>() {}
const fn handle<T: Send + Sync + Unpin + fmt::Debug + 'static>() {}
const fn cloned<T: Clone>() {}
const fn copied<T: Copy + Eq + Ord + std::hash::Hash + fmt::Display + fmt::Debug>() {}
const fn error<E: std::error::Error + Send + Sync + 'static>() {}
const fn compared<T: PartialEq + fmt::Debug + Clone>() {}

/// Evaluated by the compiler.
const _: () = {
    shared::<Network>();
    handle::<Network>();
    handle::<network::LocalNode>();
    handle::<Discovery>();
    handle::<Catalog>();
    handle::<Streams>();
    handle::<Events<Event>>();
    handle::<Producer<Data1>>();
    handle::<Consumer<Data1>>();
    handle::<When>();
    handle::<ChannelConditions>();
    handle::<ChannelInfo>();
    handle::<Stats>();
    handle::<StreamDef<Data1>>();
    shared::<SyncWith>();
    shared::<NetworkBuilder>();
    shared::<ConfigBuilder>();

    cloned::<Discovery>();
    cloned::<Catalog>();
    cloned::<Streams>();
    cloned::<Producer<Data1>>();
    cloned::<When>();
    cloned::<ChannelConditions>();
    cloned::<ChannelInfo>();
    cloned::<ConfigBuilder>();
    cloned::<network::LocalNode>();
    cloned::<producer::Error<Data1>>();
    cloned::<PeerInfo>();

    copied::<UniqueId>();
    copied::<PeerId>();
    compared::<Event>();
    compared::<PeerEntry>();
    compared::<SignedPeerEntry>();
    compared::<PeerEntryVersion>();
    compared::<EndpointAddr>();
    compared::<Ticket>();
    compared::<Expiration>();
    compared::<CloseCode>();
    compared::<Criteria>();
    compared::<State>();
    compared::<producer::Error<Data1>>();

    error::<network::Error>();
    error::<discovery::Error>();
    error::<discovery::ConfigError>();
    error::<discovery::EntryError>();
    error::<RecvError>();
    error::<Lagged>();
    error::<InvalidTicket>();
    error::<producer::Error<Data1>>();
    error::<producer::BuilderError<Data1>>();
    error::<consumer::TryRecvError>();
};

/// A type whose values can be sent, and are neither `Sync` nor `Clone` nor `Debug`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Bare(std::cell::Cell<u8>);

const _: () = {
    handle::<Producer<Bare>>();
    handle::<Consumer<Bare>>();
    cloned::<Producer<Bare>>();
    const fn sink<T: Sink<Bare, Error = producer::Error<Bare>>>() {}
    sink::<Producer<Bare>>();
    const fn stream<T: Stream<Item = Bare> + FusedStream>() {}
    stream::<Consumer<Bare>>();
    const fn events<T: Stream<Item = Result<Event, Lagged>>>() {}
    events::<Events<Event>>();
    const fn condition<T: Future<Output = ()> + Unpin + Clone>() {}
    condition::<ChannelConditions>();
    const fn synced<T: Future<Output = Result<(), discovery::Error>> + Unpin>() {}
    synced::<SyncWith>();
    const fn validator<T: TicketValidator>() {}
    validator::<Box<dyn TicketValidator>>();
    validator::<std::sync::Arc<dyn TicketValidator>>();
};

fn detached<F: Future + Send + Sync + 'static>(future: F) -> F {
    future
}

fn sent<F: Future + Send>(future: F) -> F {
    future
}

/// The futures hold nothing of the handles that they came from.
#[tokio::test]
async fn futures_are_detached() {
    let network = Network::new(NetworkId::random()).await.expect("a node");
    let producer = network.streams().produce::<Bare>();
    let consumer = network.streams().consume::<Bare>();
    let futures = (
        detached(producer.when().online()),
        detached(producer.when().offline()),
        detached(producer.when().subscribed()),
        detached(producer.when().unsubscribed().minimum_of(2).with_tags("a").unmet()),
        detached(consumer.when().online()),
        detached(consumer.when().subscribed()),
        detached(network.discovery().sync_with(network.local().addr())),
        detached(network.shutdown()),
        detached(network.closed()),
    );
    drop((producer, consumer, network));
    drop(futures);
}

/// The futures of borrowing calls can be part of a spawned task.
#[tokio::test]
async fn calls_are_sent_between_threads() {
    let network = Network::new(NetworkId::random()).await.expect("a node");
    let producer = network.streams().produce::<Data1>();
    let mut consumer = network.streams().consume::<Data1>();
    let mut events = network.discovery().events();
    drop(sent(Network::new("x")));
    drop(sent(network.discovery().dial(network.local().addr())));
    drop(sent(network.discovery().dial([network.local().id()])));
    drop(sent(producer.send(Data1(String::new()))));
    drop(sent(consumer.next()));
    drop(sent(consumer.recv()));
    drop(sent(events.recv()));
    drop(sent(network.online()));
    drop(sent(network.local().online()));
    let mut met = producer.when().unsubscribed();
    assert!(is_ready(&mut met), "by reference");
    assert!(is_ready(met.clone()), "a clone is fresh");
    assert!(!is_ready(met), "by value");
    let task = tokio::spawn(async move {
        tokio::join!(async { drop(network) }, async { drop((producer, consumer)) });
    });
    task.await.expect("moved to a task");
}

/// Everything of the prelude means what it means without us.
#[test]
fn the_glob_shadows_nothing() -> Result<(), String> {
    let all: Vec<u8> = vec![1];
    let second: Duration = Duration::from_secs(1);
    let now = std::time::Instant::now();
    let map = std::collections::HashMap::<u8, Option<u8>>::new();
    let parsed: Result<u8, _> = "1".parse::<u8>();
    assert_eq!((all.len(), second.as_secs(), map.len(), parsed.is_ok()), (1, 1, 0, true));
    assert!(now.elapsed() < second * 60);
    Ok(())
}

/// With a glob on either side, method names stay unambiguous.
mod with_extension_traits {
    #[allow(unused_imports, reason = "programs import them; whether they are needed is ours")]
    use futures::{SinkExt, StreamExt, future::join_all};
    use mosaik::*;

    #[tokio::test]
    async fn glob() -> anyhow::Result<()> {
        let network_id = NetworkId::from("glob");
        let (n0, n1) = tokio::try_join!(Network::new(network_id), Network::new(network_id))?;
        let mut producer = n0.streams().produce::<String>();
        let mut consumer = n1.streams().consume::<String>();
        let synced = [
            n0.discovery().sync_with(n1.local().addr()),
            n1.discovery().sync_with(n0.local().addr()),
        ];
        for result in join_all(synced).await {
            result?;
        }
        super::common::soon(producer.when().subscribed()).await;
        producer.send("one".to_string()).await?;
        producer.feed("two".to_string()).await?;
        producer.flush().await?;
        assert_eq!(super::common::soon(consumer.next()).await.as_deref(), Some("one"));
        let rest: Vec<_> = super::common::soon(consumer.by_ref().take(1).collect()).await;
        assert_eq!(rest, ["two"]);
        producer.close().await?;
        assert!(producer.send("three".to_string()).await.is_err(), "this handle is closed");
        Ok(())
    }
}

/// The snippet of the readme, each half in a task.
mod snippet {
    use mosaik::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct SensorReading {
        temp: f64,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sensor() -> Result<(), Box<dyn std::error::Error>> {
        let network_id = NetworkId::random();
        let n0 = Network::new(network_id).await?;
        let n1 = Network::new(network_id).await?;
        let here = n0.local().addr();
        let sender = tokio::spawn(async move {
            let producer = n0.streams().produce::<SensorReading>();
            producer.when().subscribed().minimum_of(1).await;
            producer.send(SensorReading { temp: 21.5 }).await.expect("sent");
            (n0, producer)
        });
        n1.discovery().dial(here).await;
        let mut consumer = n1.streams().consume::<SensorReading>();
        let reading = super::common::soon(consumer.next()).await.ok_or("the end")?;
        assert_eq!(reading, SensorReading { temp: 21.5 });
        drop(sender.await?);
        Ok(())
    }
}
