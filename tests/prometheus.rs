//! The metrics endpoint. Needs the feature: `cargo test --features prometheus --test prometheus`.
#![cfg(feature = "prometheus")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use mosaik::{network::Error, *};

fn scrape(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("the endpoint listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = free.local_addr().expect("bound");
    drop(free);
    let network = NetworkId::random();
    let n0 = Network::builder(network).with_prometheus_addr(addr).build().await.expect("starts");
    let n1 = Network::new(network).await.expect("starts");
    let second = Network::builder(network).with_prometheus_addr(addr).build().await;
    assert!(matches!(second, Err(Error::Prometheus(_))), "one endpoint per process");

    n1.discovery().sync_with(n0.local().addr()).await.expect("reachable");
    let producer = n0.streams().produce::<u64>();
    let mut consumer = n1.streams().consume::<u64>();
    producer.when().subscribed().await;
    for n in 0..10 {
        producer.send(n).await.expect("accepted");
        assert_eq!(consumer.next().await, Some(n));
    }

    assert_eq!(scrape(addr, "/health"), "OK");
    let names = [
        "mosaik_network_connections_opened",
        "mosaik_network_egress_bytes",
        "mosaik_network_ingress_bytes",
        "mosaik_discovery_catalog_size",
        "mosaik_discovery_peers_discovered",
        "mosaik_discovery_catalog_syncs",
        "mosaik_discovery_gossip_neighbors",
        "mosaik_streams_producers_active",
        "mosaik_streams_producer_consumers",
        "mosaik_streams_producer_consumers_accepted",
        "mosaik_streams_producer_items_sent",
        "mosaik_streams_producer_bytes_sent",
        "mosaik_streams_connections_accepted",
        "mosaik_streams_consumers_active",
        "mosaik_streams_consumer_producers",
        "mosaik_streams_consumer_items_received",
        "mosaik_streams_consumer_bytes_received",
        "mosaik_streams_datums_total",
        "mosaik_streams_bytes_total",
    ];
    // Bytes are counted when the transport reports them, a moment later than items.
    let mut missing = Vec::new();
    for _ in 0..50 {
        let body = scrape(addr, "/metrics");
        missing = names.iter().filter(|name| !body.contains(**name)).collect();
        if missing.is_empty() {
            let label = format!("network=\"{}\"", primitives::Short(network));
            assert!(body.contains(&label), "{body}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("missing: {missing:?}");
}
