//! Nodes on tokio and on smol in one program: the same handles, the same declarations.

mod common;

use common::soon;
use mosaik::{declare::stream, discovery::Config, driver, *};

stream!(Numbers = u64, "numbers", max_consumers: 4);

/// What a library does that is for nodes on any runtime.
async fn relay(from: &driver::Network, to: &driver::Network, numbers: u64) {
    let producer = Numbers::online_producer(from);
    let mut consumer = Numbers::consumer(to);
    let producer = soon(producer).await;
    soon(producer.when().subscribed()).await;
    for number in 0..numbers {
        soon(producer.send(number)).await.expect("sent");
        assert_eq!(soon(consumer.next()).await, Some(number));
    }
}

#[tokio::test]
async fn both_in_one_program() {
    let network = NetworkId::random();
    let config = || Config::builder().no_auto_bootstrap();
    let on_tokio = Network::builder(network).with_discovery(config()).build().await;
    let on_tokio = on_tokio.expect("a node");
    let on_smol = mosaik_driver_smol::Network::builder(network).with_discovery(config()).build();
    let on_smol = on_smol.await.expect("a node");
    soon(on_smol.discovery().sync_with(on_tokio.local().addr())).await.expect("they meet");
    soon(relay(&on_tokio, &on_smol, 100)).await;
    soon(relay(&on_smol, &on_tokio, 100)).await;
    soon(futures::future::join(on_tokio.shutdown(), on_smol.shutdown())).await;
}

/// A node on a tokio runtime other than the caller's.
#[test]
fn a_tokio_runtime_is_named() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let there = network::Tokio::on(runtime.handle().clone());
    mosaik_driver_smol::block_on(async {
        let build = || Network::builder("named").with_runtime(there.clone());
        let build = || build().with_discovery(Config::builder().no_auto_bootstrap()).build();
        let (a, b) = (build().await.expect("a node"), build().await.expect("a node"));
        b.discovery().sync_with(a.local().addr()).await.expect("they meet");
        a.shutdown().await;
        b.shutdown().await;
    });
}
