//! Who is there: meeting, telling, knowing.

mod common;

use std::time::Duration;

use common::{
    Pass, discover_all, event, eventually, is_ready, node, nodes, quiet, shy, soon, within,
};
use futures::StreamExt as _;
use mosaik::{
    discovery::{EndpointAddr, Event, Lagged, PeerEntry, RecvError},
    proto::{crypto::SecretKey, discovery::LocalEntry, time::UnixMillis},
    *,
};

#[tokio::test]
async fn sync_with_an_address_makes_both_know() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id))?;
    assert_eq!(a.discovery().catalog().peers_count(), 0);
    a.discovery().add_tags("before")?;
    b.discovery().add_tags("of-b")?;
    soon(a.discovery().sync_with(b.local().addr())).await?;
    // As of the call, in both catalogs, at once.
    let of_b = a.discovery().catalog().get(&b.local().id()).cloned().expect("a knows b");
    assert!(of_b.tags().contains(&"of-b".into()));
    assert_eq!(of_b, b.discovery().me().into_unsigned());
    let of_a = b.discovery().catalog().get(&a.local().id()).cloned().expect("b knows a");
    assert!(of_a.tags().contains(&"before".into()));
    Ok(())
}

#[tokio::test]
async fn every_sync_carries_what_was_said_before() -> anyhow::Result<()> {
    let [a, b] = nodes().await;
    for round in 0..20 {
        let tag = Tag::from_u64(round);
        if round % 2 == 0 {
            a.discovery().add_tags(tag)?
        } else {
            b.discovery().add_tags(tag)?
        }
        soon(a.discovery().sync_with(b.local().addr())).await?;
        for (x, y) in [(&a, &b), (&b, &a)] {
            let seen = x.discovery().catalog().get(&y.local().id()).cloned().expect("known");
            assert_eq!(seen, y.discovery().me().into_unsigned(), "round {round}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn sync_with_a_bare_id() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    let b = node(id, shy()).await;
    soon(a.discovery().sync_with(b.local().id())).await?;
    assert!(a.discovery().catalog().get(&b.local().id()).is_some());
    assert!(b.discovery().catalog().get(&a.local().id()).is_some());
    Ok(())
}

#[tokio::test]
async fn sync_with_itself_and_with_nobody() -> anyhow::Result<()> {
    let a = Network::new(NetworkId::random()).await?;
    soon(a.discovery().sync_with(a.local().addr())).await?;
    assert_eq!(a.discovery().catalog().peers_count(), 0);

    let nobody = SecretKey::generate().public();
    let error = within(Duration::from_secs(25), a.discovery().sync_with(nobody)).await;
    assert_eq!(error, Err(discovery::Error::Unreachable));
    assert!(a.discovery().catalog().get(&nobody).is_none());
    Ok(())
}

/// The exchange starts with the call; whoever polls late loses nothing.
#[tokio::test]
async fn a_sync_needs_no_poll() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id))?;
    let sync = a.discovery().sync_with(b.local().addr());
    eventually(|| b.discovery().catalog().get(&a.local().id()).is_some()).await;
    soon(sync).await?;
    Ok(())
}

#[tokio::test]
async fn many_syncs_at_once() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id))?;
    let syncs = (0..50).flat_map(|_| {
        [a.discovery().sync_with(b.local().addr()), b.discovery().sync_with(a.local().id())]
    });
    for result in soon(futures::future::join_all(syncs)).await {
        result?;
    }
    assert_eq!(a.discovery().catalog().peers_count(), 1);
    Ok(())
}

#[tokio::test]
async fn dial_by_id_by_address_and_several() {
    let id = NetworkId::random();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(node(id, shy()).await);
    }
    let [hub, by_id, by_addr, one, two] = &all[..] else { unreachable!() };
    soon(hub.discovery().dial(by_id.local().id())).await;
    soon(hub.discovery().dial(by_addr.local().addr())).await;
    soon(hub.discovery().dial([one.local().addr(), two.local().id().into()])).await;
    eventually(|| all.iter().all(|n| n.discovery().catalog().peers_count() == 4)).await;
    // An unknown peer is no error, and nothing waits for it.
    within(Duration::from_secs(2), hub.discovery().dial(SecretKey::generate().public())).await;
    soon(hub.discovery().dial(Vec::<EndpointAddr>::new())).await;
}

#[tokio::test]
async fn bootstrap_by_id_and_by_address() {
    let id = NetworkId::random();
    let seed = node(id, shy()).await;
    let by_id = node(id, shy().with_bootstrap(seed.local().id())).await;
    let by_addr = node(id, shy().with_bootstrap(seed.local().addr())).await;
    let both = shy().with_bootstrap([by_id.local().id()]).with_bootstrap(by_addr.local().addr());
    let both = node(id, both).await;
    let all = [&seed, &by_id, &by_addr, &both];
    eventually(|| all.iter().all(|n| n.discovery().catalog().peers_count() == 3)).await;
}

/// A bootstrap peer that is not there yet is tried until it is.
#[tokio::test]
async fn bootstrap_before_the_peer_exists() {
    let id = NetworkId::random();
    let key = SecretKey::generate();
    let early = node(id, shy().with_bootstrap(key.public())).await;
    quiet(Duration::from_millis(700), early.discovery().catalog_changed()).await;
    let late = Network::builder(id).with_secret_key(key).with_discovery(shy()).build();
    let late = late.await.expect("a node");
    eventually(|| early.discovery().catalog().get(&late.local().id()).is_some()).await;
}

#[tokio::test]
async fn the_catalog_counts_and_lists() -> anyhow::Result<()> {
    let [a, b, c] = nodes().await;
    let catalog = a.discovery().catalog();
    assert_eq!(catalog.peers_count(), 2);
    assert_eq!(catalog.signed_peers_count(), 2);
    assert_eq!(catalog.signed_peers().count(), 2);
    assert_eq!(catalog.unsigned_peers().count(), 0);
    assert_eq!(catalog.iter().count(), 3, "ourselves included");
    assert_eq!(catalog.iter_signed().count(), 3);
    assert_eq!(catalog.local_id(), a.local().id());
    assert_eq!(catalog.network_id(), a.network_id());
    assert_eq!(catalog.get(&a.local().id()).map(PeerEntry::id), Some(a.local().id()));
    assert_eq!(catalog.get_signed(&b.local().id()).map(|e| e.id()), Some(b.local().id()));
    assert!(catalog.get(&SecretKey::generate().public()).is_none());
    let mut others = [b.local().id(), c.local().id()];
    others.sort_unstable();
    assert_eq!(catalog.peers().map(PeerEntry::id).collect::<Vec<_>>(), others, "in order");
    assert!(catalog.peers().rev().map(PeerEntry::id).eq(others.into_iter().rev()));
    assert_eq!(*catalog.local(), a.discovery().me());

    // A snapshot is a snapshot.
    a.discovery().add_tags("later")?;
    assert!(!catalog.local().tags().contains(&"later".into()));
    assert!(a.discovery().catalog().local().tags().contains(&"later".into()));
    Ok(())
}

#[tokio::test]
async fn what_we_say_of_ourselves_is_there_at_once() -> anyhow::Result<()> {
    let n = Network::new(NetworkId::random()).await?;
    let (me, local) = (|| n.discovery().me(), || n.discovery().catalog().local().clone());
    let version = || me().update_version();
    let v0 = version();
    n.discovery().add_tags(["a", "b"])?;
    for entry in [me(), local()] {
        assert!(entry.tags().contains(&"a".into()) && entry.tags().contains(&"b".into()));
    }
    let v1 = version();
    assert!(v1 > v0);
    n.discovery().add_tags("a")?;
    n.discovery().remove_tags("nobody-has-it")?;
    assert_eq!(version(), v1, "nothing changed");
    n.discovery().remove_tags("a")?;
    assert!(!me().tags().contains(&"a".into()) && !local().tags().contains(&"a".into()));
    assert!(version() > v1);

    let pass = Pass::new("discovery.sync");
    let other = Pass::new("discovery.other");
    n.discovery().add_ticket(pass.ticket())?;
    n.discovery().add_ticket(Pass { secret: 7, ..pass }.ticket())?;
    n.discovery().add_ticket(other.ticket())?;
    assert_eq!((me().tickets().len(), local().tickets().len()), (3, 3));
    assert_eq!(me().tickets_of(pass.class).count(), 2);
    assert!(local().has_valid_ticket(pass.class, |data| data.starts_with(b"42:")));
    assert!(!local().has_valid_ticket(pass.class, |data| data == b"x"));
    n.discovery().remove_ticket(other.ticket().id())?;
    assert_eq!(local().tickets_of(other.class).count(), 0);
    let before = version();
    n.discovery().replace_ticket(pass.ticket())?;
    assert_eq!(me().tickets_of(pass.class).count(), 1);
    assert_eq!(version(), before.next(), "one version for one replacement");
    n.discovery().remove_tickets_of(pass.class)?;
    assert!(me().tickets().is_empty() && local().tickets().is_empty());

    let producer = n.streams().produce::<u8>();
    assert!(me().streams().contains(producer.stream_id()));
    assert!(local().streams().contains(producer.stream_id()));
    let id = *producer.stream_id();
    drop(producer);
    assert!(!me().streams().contains(&id) && !local().streams().contains(&id));
    Ok(())
}

/// Nothing re-versions an entry by itself.
#[tokio::test]
async fn versions_are_calm() {
    let [a, b] = nodes().await;
    let version = a.discovery().me().update_version();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(a.discovery().me().update_version(), version);
    let seen = b.discovery().catalog().get(&a.local().id()).map(PeerEntry::update_version);
    assert_eq!(seen, Some(version));
}

#[tokio::test]
async fn events_tell_what_happened() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id))?;
    let mut events = a.discovery().events();
    assert!(!is_ready(events.recv()));
    discover_all([&a, &b]).await;
    let Ok(Event::PeerDiscovered(entry)) = soon(events.recv()).await else { panic!("discovered") };
    assert_eq!(entry.id(), b.local().id());
    b.discovery().add_tags("new")?;
    let Ok(Event::PeerUpdated(entry)) = soon(events.recv()).await else { panic!("updated") };
    assert!(entry.tags().contains(&"new".into()));
    b.discovery().add_tags("new")?;
    soon(a.discovery().sync_with(b.local().addr())).await?;
    quiet(Duration::from_millis(200), events.recv()).await;
    drop(b);
    assert_eq!(soon(events.recv()).await, Ok(Event::PeerDeparted(entry.id())));
    assert!(a.discovery().catalog().get(&entry.id()).is_none(), "gone before the event is seen");
    let mut late = a.discovery().events();
    quiet(Duration::from_millis(100), late.recv()).await;
    soon(a.shutdown()).await;
    assert_eq!(soon(events.recv()).await, Err(RecvError::Closed));
    assert_eq!(soon(late.next()).await, None);
    Ok(())
}

#[tokio::test]
async fn events_say_how_many_were_missed() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let a = node(id, shy().with_events_backlog(2)).await;
    let b = node(id, shy()).await;
    let mut stream = a.discovery().events();
    let mut events = a.discovery().events();
    discover_all([&a, &b]).await;
    let mut seen = a.discovery().events();
    for n in 0..4 {
        b.discovery().add_tags(Tag::from_u64(n))?;
        event(&mut seen, |event| matches!(event, Event::PeerUpdated(_)).then_some(())).await;
    }
    // Five in all, two kept.
    assert_eq!(soon(events.recv()).await, Err(RecvError::Lagged(3)));
    assert!(matches!(soon(events.recv()).await, Ok(Event::PeerUpdated(_))));
    assert_eq!(soon(stream.next()).await, Some(Err(Lagged(3))));
    for tags in [3, 4] {
        let Some(Ok(Event::PeerUpdated(entry))) = soon(stream.next()).await else { panic!() };
        assert_eq!(entry.tags().len(), tags);
    }
    Ok(())
}

#[tokio::test]
async fn unsigned_entries_are_local() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    let b = node(id, shy()).await;
    let c = node(id, shy()).await;
    let foreign = node(NetworkId::random(), shy()).await;
    let of_b = b.discovery().me();
    let mut events = a.discovery().events();
    assert!(!a.discovery().insert(a.discovery().me()), "ourselves");
    assert!(!a.discovery().insert(foreign.discovery().me()), "another network");
    assert!(a.discovery().insert(of_b.clone()));
    assert!(a.discovery().insert(c.discovery().me().into_unsigned()));
    let catalog = a.discovery().catalog();
    assert_eq!((catalog.peers_count(), catalog.signed_peers_count()), (2, 0));
    assert_eq!(catalog.unsigned_peers().count(), 2);
    assert!(catalog.get(&of_b.id()).is_some() && catalog.get_signed(&of_b.id()).is_none());

    assert!(a.discovery().remove(of_b.id()));
    assert!(!a.discovery().remove(of_b.id()), "was gone");
    assert!(a.discovery().clear_unsigned());
    assert!(!a.discovery().clear_unsigned(), "were gone");
    assert_eq!(a.discovery().catalog().peers_count(), 0);

    // A signed entry takes the place of an unsigned one, and is not replaced by one.
    assert!(a.discovery().insert(of_b.clone()));
    soon(a.discovery().sync_with(b.local().addr())).await?;
    let catalog = a.discovery().catalog();
    assert_eq!((catalog.signed_peers_count(), catalog.unsigned_peers().count()), (1, 0));
    assert!(!a.discovery().insert(of_b.clone()), "a signed one is there");
    assert!(!a.discovery().remove(of_b.id()), "a signed one cannot be removed");
    assert_eq!(a.discovery().catalog().peers_count(), 1);

    // Nobody else hears of an unsigned entry, and no events come of it.
    assert!(a.discovery().insert(c.discovery().me()));
    soon(b.discovery().sync_with(a.local().addr())).await?;
    assert!(b.discovery().catalog().get(&c.local().id()).is_none());
    let Ok(Event::PeerDiscovered(entry)) = soon(events.recv()).await else { panic!() };
    assert_eq!(entry.id(), of_b.id());
    assert!(!is_ready(events.recv()));
    Ok(())
}

#[tokio::test]
async fn signed_entries_can_be_fed() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let a = node(id, shy()).await;
    let b = node(id, shy()).await;
    let foreign = node(NetworkId::random(), shy()).await;
    let mut events = a.discovery().events();
    let old = b.discovery().me();
    b.discovery().add_tags("newer")?;
    let new = b.discovery().me();
    assert!(!a.discovery().feed(foreign.discovery().me()), "another network");
    assert!(!a.discovery().feed(a.discovery().me()), "ourselves");
    assert!(a.discovery().feed(old.clone()));
    assert_eq!(a.discovery().catalog().signed_peers_count(), 1);
    assert!(!a.discovery().feed(old.clone()), "known");
    assert!(a.discovery().feed(new.clone()));
    assert!(!a.discovery().feed(old), "older");
    assert_eq!(a.discovery().catalog().get_signed(&new.id()), Some(&new));
    assert!(!is_ready(events.recv()), "no event of what we did ourselves");

    // What was fed is believed, and passed on.
    let c = node(id, shy()).await;
    soon(c.discovery().sync_with(a.local().addr())).await?;
    assert_eq!(c.discovery().catalog().get_signed(&new.id()), Some(&new));
    Ok(())
}

/// An entry from the future is refused on every path; an old one is not.
#[tokio::test]
async fn entries_from_the_future_are_refused() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let now = chrono::Utc::now().timestamp_millis() as u64;
    let at = |ahead: i64| {
        let wall = UnixMillis(now.saturating_add_signed(ahead * 1_000));
        LocalEntry::new(id, SecretKey::generate(), wall).signed().clone()
    };
    let a = node(id, shy()).await;
    assert!(!a.discovery().feed(at(120)), "two minutes ahead");
    assert!(a.discovery().feed(at(20)), "within the default of 50 s");
    assert!(a.discovery().feed(at(-100_000_000)), "three years old");
    assert_eq!(a.discovery().catalog().signed_peers_count(), 2);

    let strict = node(id, shy().with_max_time_drift(Duration::from_secs(5))).await;
    soon(strict.discovery().sync_with(a.local().addr())).await?;
    // Node a and the old one; not the one 20 s ahead.
    assert_eq!(strict.discovery().catalog().signed_peers_count(), 2);
    Ok(())
}

#[tokio::test]
async fn an_entry_has_limits() -> anyhow::Result<()> {
    let n = Network::new(NetworkId::random()).await?;
    let version = n.discovery().me().update_version();
    let huge = tickets::Ticket::new(id!("huge"), vec![7; 70_000].into());
    let Err(discovery::Error::Entry(discovery::EntryError::TooLarge { bytes })) =
        n.discovery().add_ticket(huge)
    else {
        panic!("a typed error")
    };
    assert!(bytes > 70_000);
    let many = (0..2_000).map(Tag::from_u64);
    let error = n.discovery().add_tags(many.collect::<Vec<_>>());
    assert!(matches!(error, Err(discovery::Error::Entry(_))), "{error:?}");
    assert_eq!(n.discovery().me().update_version(), version, "nothing changed");
    for k in 0..4 {
        n.discovery().add_ticket(tickets::Ticket::new(Tag::from_u8(k), vec![k; 8_000].into()))?;
    }

    let tags: Vec<_> = (0..2_000).map(Tag::from_u64).collect();
    let config = discovery::Config::builder().with_tags(tags);
    let error = Network::builder("too-large").with_discovery(config).build().await;
    assert!(matches!(error, Err(network::Error::Entry(_))), "{error:?}");

    // A large entry reaches others.
    let other = Network::new(*n.network_id()).await?;
    soon(other.discovery().sync_with(n.local().addr())).await?;
    let seen = other.discovery().catalog().get(&n.local().id()).cloned().expect("known");
    assert_eq!(seen.tickets().len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_senseless_configuration_is_refused() {
    let build = |config| Network::builder("config").with_discovery(config).build();
    for config in [
        shy().with_announce_interval(Duration::ZERO),
        shy().with_purge_after(Duration::ZERO),
        shy().with_announce_jitter(-0.5),
        shy().with_announce_jitter(f32::NAN),
    ] {
        let error = build(config).await;
        assert!(matches!(error, Err(network::Error::DiscoveryConfig(_))), "{error:?}");
    }
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addr = taken.local_addr().expect("bound");
    let builder = Network::builder("config").with_addresses([addr]);
    assert!(matches!(builder.build().await, Err(network::Error::Bind(_))));
}

#[tokio::test]
async fn a_key_is_an_identity() -> anyhow::Result<()> {
    let seed = Digest::random();
    let key = SecretKey::from(seed);
    let n = Network::builder("key").with_secret_key(seed).build().await?;
    assert_eq!(n.local().id(), key.public());
    assert_eq!(*n.network_id(), NetworkId::from("key"));
    assert_eq!(n.local().network_id(), n.network_id());
    assert_eq!(n.local().addr().id, n.local().id());
    assert!(!n.local().addr().addrs.is_empty(), "a node is bound when it exists");
    soon(n.online()).await;
    Ok(())
}
