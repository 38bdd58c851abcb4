//! How things end.

use std::net::SocketAddr;

use futures_util::future::join_all;
use mosaik_proto::{PeerId, discovery::EndpointAddr, ids::StreamId};

use super::{Bench, Harness, fill, meet, numbers, subscribed};
use crate::{
    discovery::{Error, RecvError},
    streams::{StreamDef, producer},
};

/// NODE-02, LINK-12, DISC-35: whatever was under way when a node shuts down, every future resolves
/// and nothing of the node keeps running.
pub async fn node_02_shutdown_with_work_in_flight<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let producer = a.streams().producer_of(numbers());
    let producer = producer.disconnect_lagging(false).build().expect("the only one");
    let consumer = b.streams().consumer_of(numbers()).with_window(8, 1 << 16).build();
    subscribed(&bench, &producer, &consumer).await;
    // A producer whose consumer does not read, a consumer without a producer, a producer without a
    // consumer, a dial to nobody, conditions that never hold.
    let unread = fill(&bench, &producer).await;
    let full = producer.send(unread);
    let other = StreamDef::<u64>::with_stream_id(StreamId::hash(b"other"));
    let offline = a.streams().producer_of(other).build().expect("the only one");
    let waiting = offline.send(1);
    let third = StreamDef::<u64>::with_stream_id(StreamId::hash(b"third"));
    let mut starved = a.streams().consumer_of(third).build();
    let nobody: SocketAddr = ([127, 0, 0, 1], 9).into();
    let nobody = EndpointAddr::new(PeerId::from_bytes([3; 32]), [nobody]);
    let sync = a.discovery().sync_with(nobody);
    let mut events = a.discovery().events();
    let me = a.local().id();
    let (ended, again) = (a.shutdown(), a.shutdown());
    assert!(matches!(bench.soon(full).await, Err(producer::Error::Closed(Some(_)))));
    assert!(matches!(bench.soon(waiting).await, Err(producer::Error::Closed(Some(1)))));
    assert_eq!(bench.soon(starved.recv()).await, None);
    assert_eq!(bench.soon(sync).await, Err(Error::ShuttingDown));
    bench.soon(async { while events.recv().await != Err(RecvError::Closed) {} }).await;
    bench.soon(ended).await;
    bench.soon(again).await;
    bench.soon(a.closed()).await;
    bench.soon(producer.when().offline()).await;
    bench.soon(consumer.when().unsubscribed()).await;
    // Handles that outlive their node resolve, and start nothing.
    assert_eq!(a.discovery().sync_with(b.local().addr()).await, Err(Error::ShuttingDown));
    assert_eq!(a.streams().consumer_of(third).build().recv().await, None);
    bench.until(|| bench.tasks(me) == 0).await;
}

/// STR-13, DISC-01: of a thousand handles that were dropped nothing is left but one more version of
/// the entry; their streams are not advertised and their peers are told.
pub async fn str_13_a_thousand_handles<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    let stream = |number: usize| {
        StreamDef::<u64>::with_stream_id(StreamId::hash(format!("stream {number}").as_bytes()))
    };
    let before = bench.tasks(a.local().id());
    let producers: Vec<_> = (0..500)
        .map(|number| a.streams().producer_of(stream(number)).build().expect("the only one"))
        .collect();
    let consumers: Vec<_> =
        (0..500).map(|number| b.streams().consumer_of(stream(number)).build()).collect();
    bench.soon(join_all(producers.iter().map(|each| each.when().subscribed()))).await;
    assert_eq!(a.discovery().me().entry().streams().len(), 500);
    let ends: Vec<_> = consumers.iter().map(|consumer| consumer.when().unsubscribed()).collect();
    drop(producers);
    bench.soon(join_all(ends)).await;
    drop(consumers);
    assert!(a.discovery().me().entry().streams().is_empty());
    bench.until(|| bench.tasks(a.local().id()) <= before).await;
    // The node goes on as before.
    let producer = a.streams().producer_of(numbers()).build().expect("the only one");
    let mut consumer = b.streams().consumer_of(numbers()).build();
    subscribed(&bench, &producer, &consumer).await;
    bench.soon(producer.send(1)).await.expect("online");
    assert_eq!(bench.soon(consumer.recv()).await, Some(1));
}

/// LINK-12, DISC-35: a network whose handle is dropped ends as one that is shut down.
pub async fn link_12_dropped_networks<H: Harness>(bench: Bench<H>) {
    let names: Vec<_> = (0..4).map(|number| format!("node {number}")).collect();
    let networks: Vec<_> = names.iter().map(|name| bench.node(name)).collect();
    for network in &networks[1..] {
        meet(&bench, network, &networks[0]).await;
    }
    let everybody = |network: &crate::Network| network.discovery().catalog().peers_count() == 3;
    bench.until(|| networks.iter().all(everybody)).await;
    let closed: Vec<_> = networks.iter().map(crate::Network::closed).collect();
    drop(networks);
    bench.soon(join_all(closed)).await;
    bench.until(|| names.iter().all(|name| bench.tasks(Bench::<H>::id(name)) == 0)).await;
}
