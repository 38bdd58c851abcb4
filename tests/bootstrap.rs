//! Finding each other: by itself, and many from one.

mod common;

use std::time::{Duration, Instant};

use common::{Data1, eventually_within, node, nodes, quiet, shy, soon};
use futures::future::join_all;
use mosaik::*;

fn local() -> discovery::ConfigBuilder {
    discovery::Config::builder().with_local_discovery(true)
}

/// The memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn all_know_all(all: &[Network]) -> bool {
    all.iter().all(|n| n.discovery().catalog().peers_count() == all.len() - 1)
}

/// Debug builds on busy machines get three times the bar.
fn slack(bar: Duration) -> Duration {
    if cfg!(debug_assertions) { bar * 3 } else { bar }
}

async fn from_one_seed(count: usize, bar: Duration) {
    let id = NetworkId::random();
    let before = memory();
    let mut all = vec![node(id, shy()).await];
    let seed = all[0].local().addr();
    let start = Instant::now();
    let joining = (1..count).map(|_| node(id, shy().with_bootstrap(seed.clone())));
    all.extend(soon(join_all(joining)).await);
    eventually_within(slack(bar), || all_know_all(&all)).await;
    let (took, grown) = (start.elapsed(), memory().saturating_sub(before));
    println!("{count} nodes from one seed: all know all after {took:?}, {grown} MiB more in use");
    quiet(Duration::from_secs(1), async {
        loop {
            assert!(all_know_all(&all), "and it stays so");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_from_one_seed() {
    from_one_seed(10, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_from_one_seed() {
    from_one_seed(32, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn local_discovery_starts_at_once() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let start = Instant::now();
    let all = [node(id, local()).await, node(id, local()).await, node(id, local()).await];
    let took = eventually_within(Duration::from_secs(6), || all_know_all(&all)).await;
    println!("three nodes with nothing but a name: {took:?}");
    assert!(start.elapsed() < Duration::from_secs(6));

    // One that was not told to look, and a network of another name, are left alone.
    let shy = node(id, shy()).await;
    let other = node(NetworkId::random(), local()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(shy.discovery().catalog().peers_count(), 0);
    assert_eq!(other.discovery().catalog().peers_count(), 0);
    assert!(all_know_all(&all));
    Ok(())
}

/// The default: strangers for eight seconds, then company.
#[tokio::test]
async fn the_lonely_look_after_eight_seconds() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let start = Instant::now();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id))?;
    let producer = a.streams().produce::<Data1>();
    let mut consumer = b.streams().consume::<Data1>();
    let met = || a.discovery().catalog().peers_count() + b.discovery().catalog().peers_count() == 2;
    while start.elapsed() < Duration::from_millis(7_700) {
        assert!(!met(), "strangers before their time: {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually_within(Duration::from_secs(20), met).await;
    println!("met after {:?}", start.elapsed());
    soon(producer.send(Data1("hello".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("hello".into())));
    Ok(())
}

/// Who has company does not look for more.
#[tokio::test]
async fn those_with_company_do_not_look() {
    let id = NetworkId::random();
    let a = node(id, discovery::Config::builder()).await;
    let b = node(id, discovery::Config::builder()).await;
    common::discover_all([&a, &b]).await;
    let listed = node(id, local()).await;
    // The one that looks finds only those who are listed: nobody, for they are not alone.
    quiet(Duration::from_secs(10), async {
        loop {
            assert_eq!(listed.discovery().catalog().peers_count(), 0);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_networks_at_once() -> anyhow::Result<()> {
    let start = Instant::now();
    let all = soon(join_all((0..200).map(|_| Network::new(NetworkId::random())))).await;
    let took = start.elapsed();
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("200 networks after {took:?}, {} MiB in use", memory());
    assert!(took < Duration::from_secs(6), "{took:?}");
    for n in &all {
        soon(n.online()).await;
    }
    let ends: Vec<_> = all.iter().map(|n| n.closed()).collect();
    drop(all);
    soon(join_all(ends)).await;
    let [a, b] = nodes().await;
    assert_eq!(a.discovery().catalog().peers_count() + b.discovery().catalog().peers_count(), 2);
    Ok(())
}
