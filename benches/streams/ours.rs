//! Our side: nodes in this process, as a program would use them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mosaik::{
    Network, NetworkId, StreamId,
    discovery::Config,
    streams::{Consumer, Producer},
};

use crate::side::{Load, PACK, Side, Small, receive};

async fn node(network: NetworkId) -> Network {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    Network::builder(network)
        .with_addresses([loopback])
        .with_discovery(Config::builder().no_auto_bootstrap())
        .build()
        .await
        .expect("a node")
}

async fn linked(from: &Network, network: NetworkId) -> Network {
    let node = node(network).await;
    node.discovery().sync_with(from.local().addr()).await.expect("the nodes meet");
    node
}

/// One producer and `fan_out` consumers, each a node.
pub(crate) async fn flow<D: Load>(fan_out: usize) -> Side {
    let mut side = Side::new();
    let network = NetworkId::random();
    let origin = node(network).await;
    let producer = origin.streams().produce::<D>();
    for _ in 0..fan_out {
        let node = linked(&origin, network).await;
        let mut consumer = node.streams().consume::<D>();
        consumer.when().subscribed().await;
        let count = side.counter();
        side.keep.push(Box::new(node));
        side.tasks.spawn(async move {
            while let Some(item) = consumer.next().await {
                receive(&count, item.number());
            }
        });
    }
    producer.when().subscribed().minimum_of(fan_out).await;
    side.keep.push(Box::new(origin));
    let mut gate = side.gate();
    side.tasks.spawn(async move {
        let template = D::first();
        let stride = (PACK / D::BYTES).clamp(1, 64) as u64;
        for number in 0.. {
            if number % stride == 0 {
                gate.opened().await;
            }
            producer.send(template.numbered(number)).await.expect("sent");
        }
    });
    side
}

/// Two nodes with a stream each way; the far one echoes.
pub(crate) struct PingPong {
    near: Network,
    far: Network,
    ends: Option<(Producer<Small>, Consumer<Small>)>,
    echo: tokio::task::JoinHandle<()>,
}

impl PingPong {
    pub(crate) async fn new() -> Self {
        let network = NetworkId::random();
        let far = node(network).await;
        let near = linked(&far, network).await;
        let (there, back) = (StreamId::from("there"), StreamId::from("back"));
        let open = |node: &Network, out: StreamId, into: StreamId| {
            let producer = node.streams().producer::<Small>().with_stream_id(out).build();
            let consumer = node.streams().consumer::<Small>().with_stream_id(into).build();
            (producer.expect("a producer"), consumer)
        };
        let ends = open(&near, there, back);
        let (out, mut into) = open(&far, back, there);
        ends.0.when().subscribed().await;
        ends.1.when().subscribed().await;
        out.when().subscribed().await;
        into.when().subscribed().await;
        let echo = tokio::spawn(async move {
            while let Some(item) = into.next().await {
                out.send(item).await.expect("echoed");
            }
        });
        Self { near, far, ends: Some(ends), echo }
    }

    /// Round trips, one after the other.
    pub(crate) async fn run(&mut self, time: Duration) -> Vec<Duration> {
        let (out, mut into) = self.ends.take().expect("runs follow each other");
        let run = tokio::spawn(async move {
            let mut trips = Vec::new();
            let (start, template) = (Instant::now(), Small::first());
            while start.elapsed() < time {
                let sent = Instant::now();
                let number = trips.len() as u64;
                out.send(template.numbered(number)).await.expect("sent");
                let item = into.next().await.expect("an echo");
                assert_eq!(item.number(), number);
                trips.push(sent.elapsed());
            }
            (trips, out, into)
        });
        let (trips, out, into) = run.await.expect("a run");
        self.ends = Some((out, into));
        trips
    }

    pub(crate) async fn end(self) {
        self.echo.abort();
        self.near.shutdown().await;
        self.far.shutdown().await;
    }
}
