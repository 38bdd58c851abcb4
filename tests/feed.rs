//! `feed` and `insert` answer at once, by the rules of the core.
mod common;

use std::time::Duration;

use common::{discover_all, event, node, shy, soon};
use mosaik::{
    discovery::Event,
    proto::{crypto::SecretKey, discovery::LocalEntry, time::UnixMillis},
    *,
};

#[tokio::test]
async fn the_configured_drift_holds_for_fed_entries() {
    let id = NetworkId::random();
    let wall = UnixMillis(chrono::Utc::now().timestamp_millis() as u64 + 20_000);
    let ahead = LocalEntry::new(id, SecretKey::generate(), wall).signed().clone();
    let strict = node(id, shy().with_max_time_drift(Duration::from_secs(5))).await;
    let taken = strict.discovery().feed(ahead.clone());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let shown = strict.discovery().catalog().get(&ahead.id()).is_some();
    assert_eq!((taken, shown), (false, false), "(taken, shown)");
}

#[tokio::test]
async fn the_departed_are_not_revived_by_feed() {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    let b = node(id, shy()).await;
    let mut events = a.discovery().events();
    discover_all([&a, &b]).await;
    let last = b.discovery().me();
    soon(b.shutdown()).await;
    event(&mut events, |e| matches!(e, Event::PeerDeparted(_)).then_some(())).await;
    let taken = a.discovery().feed(last.clone());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let shown = a.discovery().catalog().get(&last.id()).is_some();
    assert_eq!((taken, shown), (false, false), "(taken, shown)");
}

#[tokio::test]
async fn a_purged_version_is_not_admitted_again_by_feed() {
    let id = NetworkId::random();
    let a = node(id, shy().with_purge_after(Duration::from_millis(400))).await;
    let b = node(id, shy()).await;
    let mut events = a.discovery().events();
    discover_all([&a, &b]).await;
    event(&mut events, |e| matches!(e, Event::PeerDeparted(_)).then_some(())).await;
    let taken = a.discovery().feed(b.discovery().me());
    let shown = a.discovery().catalog().get(&b.local().id()).is_some();
    assert_eq!((taken, shown), (false, false), "(taken, shown)");
}
