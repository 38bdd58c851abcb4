//! Links end for a reason, and leave nothing behind.
mod common;
use common::*;
use mosaik::*;
use std::time::Duration;

/// The end of the link may show first as the end of its control channel: the control channel's end hides DIFFERENT_NETWORK.
#[tokio::test]
async fn a_sync_across_networks_is_ok_and_quick() {
    let a = node(NetworkId::random(), shy()).await;
    let foreign = node(NetworkId::random(), shy()).await;
    let limit = Duration::from_secs(5);
    within(limit, foreign.discovery().sync_with(a.local().addr())).await.expect("nothing merged");
    within(limit, a.discovery().sync_with(foreign.local().id())).await.expect("nothing merged");
    assert_eq!(foreign.discovery().catalog().peers_count(), 0);
    assert_eq!(a.discovery().catalog().peers_count(), 0);
}

/// driver/src/task.rs drop_link: a pump_out whose link is gone is never woken.
#[test]
fn nothing_is_left_of_a_dropped_network() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = || runtime.metrics().num_alive_tasks();
    runtime.block_on(async {
        let [a, b] = nodes().await;
        let ends = (a.closed(), b.closed());
        drop((a, b));
        soon(async { tokio::join!(ends.0, ends.1) }).await;
        let took = eventually_within(Duration::from_secs(6), || tasks() == 0).await;
        println!("all tasks ended after {took:?}");
    });
}

/// The same while the node lives: links come and go, tasks must not stay.
#[test]
fn nothing_is_left_of_a_lost_link() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = || runtime.metrics().num_alive_tasks();
    runtime.block_on(async {
        let id = NetworkId::random();
        let a = node(id, shy()).await;
        let before = tasks();
        for _ in 0..10 {
            let b = node(id, shy()).await;
            discover_all([&a, &b]).await;
            soon(b.shutdown()).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(tasks() <= before + 2, "{before} tasks before, {} after ten visitors", tasks());
    });
}
