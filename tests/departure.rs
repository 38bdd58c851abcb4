//! Leaving, falling silent, coming back, and staying apart.

mod common;

use std::time::{Duration, Instant};

use common::{
    Data1, discover_all, event, eventually, eventually_within, node, nodes, quiet, shy, soon,
    within,
};
use futures::future::join_all;
use mosaik::{
    discovery::{Event, RecvError},
    *,
};

fn departed(event: &Event) -> Option<PeerId> {
    match event {
        Event::PeerDeparted(peer) => Some(*peer),
        Event::PeerDiscovered(_) | Event::PeerUpdated(_) => None,
    }
}

fn discovered(event: &Event) -> Option<PeerId> {
    match event {
        Event::PeerDiscovered(entry) => Some(entry.id()),
        Event::PeerDeparted(_) | Event::PeerUpdated(_) => None,
    }
}

#[tokio::test]
async fn dropping_announces_departure() {
    let [a, b, c] = nodes().await;
    let mut events = [a.discovery().events(), c.discovery().events()];
    let gone = b.local().id();
    let start = Instant::now();
    drop(b);
    for events in &mut events {
        assert_eq!(event(events, departed).await, gone);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "quickly, not by silence: {start:?}");
    assert!(a.discovery().catalog().get(&gone).is_none());
    assert_eq!(c.discovery().catalog().peers_count(), 1);
}

#[tokio::test]
async fn handles_do_not_hold_a_dropped_network() {
    let [a, b] = nodes().await;
    let mut events = a.discovery().events();
    let _handles = (
        b.streams().produce::<Data1>(),
        b.streams().consume::<Data1>(),
        b.discovery().clone(),
        b.streams().clone(),
        b.local().clone(),
        b.discovery().events(),
    );
    let gone = b.local().id();
    drop(b);
    assert_eq!(within(Duration::from_secs(3), event(&mut events, departed)).await, gone);
}

#[tokio::test]
async fn shutdown_resolves_when_peers_were_told() {
    let [a, b] = nodes().await;
    let mut events = a.discovery().events();
    let gone = b.local().id();
    within(Duration::from_secs(3), b.shutdown()).await;
    within(Duration::from_secs(1), b.closed()).await;
    within(Duration::from_secs(1), b.shutdown()).await;
    assert_eq!(within(Duration::from_secs(1), event(&mut events, departed)).await, gone);

    // What is left of it says so.
    let discovery = b.discovery();
    let error = within(Duration::from_secs(1), discovery.sync_with(a.local().addr())).await;
    assert_eq!(error, Err(discovery::Error::ShuttingDown));
    within(Duration::from_secs(1), discovery.dial(a.local().addr())).await;
    let closed = within(Duration::from_secs(1), discovery.events().recv()).await;
    assert_eq!(closed, Err(RecvError::Closed));
}

/// Who departed is not brought back by those who have not heard of it.
#[tokio::test]
async fn the_departed_are_not_revived() {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    let b = node(id, shy()).await;
    let c = node(id, shy()).await;
    discover_all([&a, &b]).await;
    // Node c knows b only from hearsay: an entry without a link.
    assert!(c.discovery().feed(b.discovery().me()));
    let gone = b.local().id();
    let mut events = a.discovery().events();
    soon(b.shutdown()).await;
    assert_eq!(event(&mut events, departed).await, gone);

    let mut of_c = c.discovery().events();
    soon(a.discovery().sync_with(c.local().addr())).await.expect("they meet");
    assert!(a.discovery().catalog().get(&gone).is_none(), "revived");
    assert_eq!(event(&mut of_c, departed).await, gone);
    assert!(c.discovery().catalog().get(&gone).is_none());
    let d = node(id, shy()).await;
    for other in [&a, &c] {
        soon(d.discovery().sync_with(other.local().addr())).await.expect("they meet");
    }
    assert_eq!(d.discovery().catalog().peers_count(), 2);
}

/// A node with this key.
async fn node_of(id: NetworkId, key: &SecretKey) -> Network {
    let builder = Network::builder(id).with_secret_key(key.clone()).with_discovery(shy());
    soon(builder.build()).await.expect("a node")
}

#[tokio::test]
async fn a_restart_with_the_same_key_is_the_same_peer() {
    let id = NetworkId::random();
    let key = SecretKey::generate();
    let a = node(id, shy()).await;
    let mut events = a.discovery().events();
    let first = node_of(id, &key).await;
    discover_all([&a, &first]).await;
    let before = first.discovery().me().update_version();
    assert_eq!(event(&mut events, discovered).await, key.public());
    soon(first.shutdown()).await;
    assert_eq!(event(&mut events, departed).await, key.public());

    let second = node_of(id, &key).await;
    discover_all([&second, &a]).await;
    assert_eq!(event(&mut events, discovered).await, key.public());
    let catalog = a.discovery().catalog();
    assert_eq!(catalog.peers_count(), 1);
    let entry = catalog.get(&key.public()).expect("known again");
    assert!(entry.update_version() > before);
    assert_eq!(entry.address(), &second.local().addr());
}

/// As after a crash: the second node comes while the first is still believed to be there.
#[tokio::test]
async fn a_second_node_with_the_same_key_does_not_spin() {
    let id = NetworkId::random();
    let key = SecretKey::generate();
    let a = node(id, shy()).await;
    let (one, two) = (node_of(id, &key).await, node_of(id, &key).await);
    for twin in [&one, &two] {
        soon(twin.discovery().sync_with(a.local().addr())).await.expect("met");
    }
    let versions = || [&one, &two].map(|n| n.discovery().me().update_version().counter);
    let before = versions();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let raised = versions().iter().zip(before).map(|(after, before)| after - before).max();
    assert!(raised < Some(8), "raised {raised:?} times within 4 s");
    assert_eq!(a.discovery().catalog().peers_count(), 1);
}

#[tokio::test]
async fn networks_stay_apart() {
    let ours = NetworkId::random();
    let (a, b) = (node(ours, shy()).await, node(ours, shy()).await);
    let foreign = node(NetworkId::random(), shy()).await;
    discover_all([&a, &b]).await;
    let mut events = foreign.discovery().events();
    let _consumer = foreign.streams().consume::<Data1>();
    let producer = a.streams().produce::<Data1>();
    // Whether a sync finds out in time is not the point here.
    let _ = soon(foreign.discovery().sync_with(a.local().addr())).await;
    foreign.discovery().dial([a.local().addr(), b.local().addr()]).await;
    quiet(Duration::from_millis(500), events.recv()).await;
    assert_eq!(foreign.discovery().catalog().peers_count(), 0);
    assert_eq!(a.discovery().catalog().peers_count(), 1);
    assert_eq!(producer.consumers().count(), 0);
}

#[tokio::test]
async fn an_announce_interval_keeps_an_entry_fresh() {
    let id = NetworkId::random();
    let interval = Duration::from_millis(200);
    let fresh = shy().with_announce_interval(interval).with_announce_jitter(0.1);
    let a = node(id, shy().with_purge_after(Duration::from_secs(2))).await;
    let fresh = node(id, fresh).await;
    let stale = node(id, shy()).await;
    let mut events = a.discovery().events();
    discover_all([&a, &fresh, &stale]).await;
    let version = fresh.discovery().me().update_version();

    assert_eq!(event(&mut events, departed).await, stale.local().id());
    assert!(fresh.discovery().me().update_version() > version.next().next());
    assert!(a.discovery().catalog().get(&fresh.local().id()).is_some());
    eventually(|| {
        let seen = a.discovery().catalog().get(&fresh.local().id()).map(|e| e.update_version());
        seen > Some(version.next().next())
    })
    .await;
    quiet(Duration::from_secs(3), async {
        // Re-signing alone is no news.
        let Ok(event) = events.recv().await else { return };
        panic!("{event:?}");
    })
    .await;
}

/// Reads hide at once, the event follows, the version stays out, and a higher one is new.
#[tokio::test]
async fn purging() {
    let id = NetworkId::random();
    let purge = Duration::from_millis(700);
    let a = node(id, shy().with_purge_after(purge)).await;
    let b = node(id, shy()).await;
    let mut events = a.discovery().events();
    let start = Instant::now();
    discover_all([&a, &b]).await;
    assert_eq!(event(&mut events, discovered).await, b.local().id());

    let there = || a.discovery().catalog().get(&b.local().id()).is_some();
    let lived = eventually(|| !there()).await;
    assert!(start.elapsed() >= purge && lived < purge * 4, "{lived:?}");
    let catalog = a.discovery().catalog();
    assert_eq!((catalog.peers_count(), catalog.signed_peers().count()), (0, 0));
    assert_eq!(event(&mut events, departed).await, b.local().id());
    assert!(b.discovery().catalog().get(&a.local().id()).is_some(), "b keeps everybody");

    for _ in 0..3 {
        soon(a.discovery().sync_with(b.local().addr())).await.expect("they are linked");
        assert!(!there(), "the same version is never admitted again");
    }
    quiet(Duration::from_millis(100), events.recv()).await;
    b.discovery().add_tags("alive").expect("a tag");
    assert_eq!(event(&mut events, discovered).await, b.local().id());
    assert!(there());
    assert_eq!(event(&mut events, departed).await, b.local().id());
}

/// Reads go by the clock: they need no turn of the loop, which this test holds back.
#[tokio::test(flavor = "current_thread")]
async fn purging_hides_without_the_loop() {
    let id = NetworkId::random();
    let purge = Duration::from_secs(1);
    let a = node(id, shy().with_purge_after(purge)).await;
    let b = node(id, shy()).await;
    discover_all([&a, &b]).await;
    assert_eq!(a.discovery().catalog().peers_count(), 1);
    std::thread::sleep(purge + Duration::from_millis(50));
    let catalog = a.discovery().catalog();
    assert!(catalog.get(&b.local().id()).is_none());
    assert_eq!((catalog.peers_count(), catalog.peers().count(), catalog.iter().count()), (0, 0, 1));
}

/// By default it is liveness that decides: an old entry of a live peer stays.
#[tokio::test]
async fn without_purging_the_living_stay() {
    let [a, b] = nodes().await;
    let mut events = a.discovery().events();
    quiet(Duration::from_secs(6), events.recv()).await;
    assert!(a.discovery().catalog().get(&b.local().id()).is_some());
}

/// A node dies without a word: its runtime is gone.
#[test]
fn a_silent_death_is_noticed() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (alive, dying) = (runtime(), runtime());
    let id = NetworkId::random();
    let (a, c) = alive.block_on(async { (node(id, shy()).await, node(id, shy()).await) });
    let b = dying.block_on(node(id, shy()));
    let mut events = [&a, &c].map(|n| n.discovery().events());
    alive.block_on(discover_all([&a, &b, &c]));
    let consumer = alive.block_on(async { a.streams().consume::<Data1>() });
    let producer = b.streams().produce::<Data1>();
    alive.block_on(soon(producer.when().subscribed()));
    let gone = b.local().id();
    let start = Instant::now();
    dying.shutdown_background();
    alive.block_on(async {
        let limit = Duration::from_secs(10);
        let streams = eventually_within(limit, || consumer.producers().count() == 0).await;
        for events in &mut events {
            let left = within(limit * 2, event(events, departed)).await;
            assert_eq!(left, gone);
        }
        println!("noticed by streams after {streams:?}, departed after {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(15));
    });
    drop((b, producer));
}

#[tokio::test]
async fn two_hundred_nodes_start_in_one_process() {
    let id = NetworkId::random();
    let start = Instant::now();
    let all = soon(join_all((0..200).map(|_| node(id, shy())))).await;
    let took = start.elapsed();
    println!("200 nodes started in {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    let mut ids: Vec<_> = all.iter().map(|n| n.local().id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    let ends: Vec<_> = all.iter().map(|n| n.closed()).collect();
    drop(all);
    within(Duration::from_secs(10), join_all(ends)).await;
}

/// When a network is dropped, whatever waits for it resolves.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_dropped_network() {
    let [a, b] = nodes().await;
    let producer = a.streams().produce::<Data1>();
    let mut consumer = b.streams().consume::<Data1>();
    soon(producer.when().subscribed()).await;
    let ends = (a.closed(), b.closed());
    let never = a.discovery().sync_with(SecretKey::generate().public());
    let (offline, unsubscribed) = (producer.when().offline(), producer.when().unsubscribed());
    drop((a, b));
    assert_eq!(soon(consumer.next()).await, None);
    assert!(soon(producer.send(Data1("late".into()))).await.is_err());
    assert_eq!(soon(never).await, Err(discovery::Error::ShuttingDown));
    soon(offline).await;
    soon(unsubscribed).await;
    within(Duration::from_secs(5), async { tokio::join!(ends.0, ends.1) }).await;
    assert!(!producer.is_online() && producer.consumers().next().is_none());
}

/// A version signed behind the farewell would outlive it: others would see the node again.
#[tokio::test]
async fn nothing_is_signed_behind_the_farewell() -> anyhow::Result<()> {
    let [n0, _n1] = nodes().await;
    let group = n0.groups().with_key(GroupKey::random()).join();
    let last = n0.discovery().me();
    let closed = n0.shutdown();
    n0.discovery().add_tags("too late")?;
    drop(group);
    soon(closed).await;
    assert_eq!(n0.discovery().me(), last);
    Ok(())
}
