//! Nodes on every executor that a program may have.

use std::{
    collections::BTreeSet,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    thread,
};

use mosaik_driver::{discovery::ConfigBuilder, runtime::Runtime as _};
use mosaik_driver_smol::{Executor, Network, Smol};
use mosaik_proto::NetworkId;

async fn node(network: NetworkId, runtime: Smol) -> Network {
    Network::builder(network)
        .with_runtime(runtime)
        .with_addresses([SocketAddr::from(([127, 0, 0, 1], 0))])
        .with_discovery(ConfigBuilder::default().no_auto_bootstrap())
        .build()
        .await
        .expect("a node")
}

/// Two nodes meet, one item goes each way, and both leave. Notes where the nodes ran.
async fn two_nodes(runtime: Smol) -> BTreeSet<Option<String>> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let network = NetworkId::random();
    let (a, b) = (node(network, runtime.clone()).await, node(network, runtime).await);
    b.discovery().sync_with(a.local().addr()).await.expect("they meet");
    for (from, to) in [(&a, &b), (&b, &a)] {
        let looks = Arc::clone(&seen);
        let producer = from
            .streams()
            .producer::<u64>()
            // Runs in the loop.
            .require(move |_| {
                let name = thread::current().name().map(str::to_owned);
                looks.lock().expect("no panic").insert(name);
                true
            })
            .build()
            .expect("a producer");
        let mut consumer = to.streams().consume::<u64>();
        producer.when().subscribed().await;
        producer.send(7).await.expect("sent");
        assert_eq!(consumer.next().await, Some(7));
    }
    a.shutdown().await;
    b.shutdown().await;
    let seen = seen.lock().expect("no panic");
    seen.clone()
}

fn this_thread() -> BTreeSet<Option<String>> {
    BTreeSet::from([thread::current().name().map(str::to_owned)])
}

fn are_of_the_pool(seen: &BTreeSet<Option<String>>) -> bool {
    !seen.is_empty()
        && seen.iter().all(|name| name.as_ref().is_some_and(|name| name.starts_with("mosaik-smol")))
}

#[test]
fn in_block_on_tasks_run_on_the_shared_pool() {
    let seen = smol::block_on(two_nodes(Smol::default()));
    assert!(are_of_the_pool(&seen), "{seen:?}");
}

#[test]
fn in_a_task_of_smol() {
    let seen = smol::block_on(smol::spawn(two_nodes(Smol::default())));
    assert!(are_of_the_pool(&seen), "{seen:?}");
}

#[test]
fn on_an_executor_of_the_caller_everything_runs_in_its_thread() {
    let executor = Arc::new(Executor::new());
    let here = Smol::on(Arc::clone(&executor));
    let seen = smol::block_on(executor.run(two_nodes(here)));
    assert_eq!(seen, this_thread());
}

#[test]
fn on_the_global_executor_of_smol() {
    let smol = Smol::spawning(|task: Pin<Box<dyn Future<Output = ()> + Send>>| {
        smol::spawn(task).detach();
    });
    let seen = smol::block_on(two_nodes(smol));
    assert_eq!(seen, BTreeSet::from([Some("smol-1".to_owned())]));
}

#[test]
fn inside_of_another_runtime_without_timers_and_sockets() {
    let other = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let seen = other.block_on(two_nodes(Smol::default()));
    assert!(are_of_the_pool(&seen), "{seen:?}");
}

/// What a handler does wrong stays its own affair.
#[test]
fn a_task_that_blocks_does_not_stop_the_pool() {
    let runtime = Smol::default().runtime();
    for _ in 0..3 {
        let (go, stop) = std::sync::mpsc::channel();
        let (done, end) = futures::channel::oneshot::channel();
        runtime.spawn(async move { done.send(stop.recv()).expect("somebody waits") });
        runtime.spawn(async move { go.send(()).expect("it is blocked") });
        assert_eq!(smol::block_on(end).expect("no panic"), Ok(()));
        // And sockets and timers go on.
        smol::block_on(two_nodes(Smol::default()));
    }
}
