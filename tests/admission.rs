//! Who may have a link at all, decided on the key and the hello, and changed while running.

mod common;

use std::time::Duration;

use common::{Data2, eventually, node, shy, soon};
use mosaik::{
    network::{Error, LimitsError, LinkLimits},
    *,
};

fn linked(a: &Network, b: &Network) -> bool {
    a.discovery().catalog().rtt(&b.local().id()).is_some()
}

/// LINK-14: a denied peer is put out at once and stays out, whoever dials; forgiven it comes back.
#[tokio::test]
async fn the_denied_stay_out_until_forgiven() -> Result<(), discovery::Error> {
    let id = NetworkId::random();
    let (a, b) = (node(id, shy()).await, node(id, shy()).await);
    soon(a.discovery().sync_with(b.local().addr())).await?;
    let producer = a.streams().produce::<Data2>();
    let mut consumer = b.streams().consume::<Data2>();
    soon(producer.when().subscribed()).await;

    a.admission().deny(b.local().id());
    soon(producer.when().unsubscribed()).await;
    eventually(|| !linked(&a, &b) && !linked(&b, &a)).await;
    let refused =
        tokio::time::timeout(Duration::from_secs(2), b.discovery().sync_with(a.local().addr()));
    assert!(!matches!(refused.await, Ok(Ok(()))), "the denied is not let in");
    assert!(!linked(&a, &b) && producer.consumers().next().is_none());

    a.admission().forgive(b.local().id());
    soon(producer.when().subscribed()).await;
    soon(producer.send(Data2(7))).await.expect("accepted");
    assert_eq!(soon(consumer.next()).await, Some(Data2(7)));
    Ok(())
}

/// A test of the entry decides from the first hello on, and again when the entry changes.
#[tokio::test]
async fn entries_are_tested_now_and_later() -> Result<(), discovery::Error> {
    let id = NetworkId::random();
    let badge = |peer: &discovery::PeerEntry| peer.tags().contains(&"badge".into());
    let builder = Network::builder(id).with_discovery(shy()).with_admission(badge);
    let (guarded, visitor) = (builder.build().await.expect("starts"), node(id, shy()).await);
    guarded.discovery().dial(visitor.local().addr()).await;
    let refused = tokio::time::timeout(
        Duration::from_secs(1),
        visitor.discovery().sync_with(guarded.local().addr()),
    );
    assert!(!matches!(refused.await, Ok(Ok(()))));
    assert!(!linked(&guarded, &visitor));

    visitor.discovery().add_tags("badge")?;
    soon(visitor.discovery().sync_with(guarded.local().addr())).await?;
    assert!(linked(&guarded, &visitor));

    visitor.discovery().remove_tags("badge")?;
    eventually(|| !linked(&guarded, &visitor)).await;
    // A test that panics refuses, and the node lives.
    guarded.admission().require(|_| panic!("deliberate"));
    visitor.discovery().add_tags("badge")?;
    let other = node(id, shy()).await;
    let refused = tokio::time::timeout(
        Duration::from_secs(1),
        other.discovery().sync_with(guarded.local().addr()),
    );
    assert!(!matches!(refused.await, Ok(Ok(()))));
    guarded.admission().require(|_| true);
    soon(other.discovery().sync_with(guarded.local().addr())).await?;
    Ok(())
}

/// LINK-15: a lower limit puts nobody out, and refuses newcomers until it is raised again.
#[tokio::test]
async fn limits_hold_for_newcomers() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let few = LinkLimits { links: 2, ..LinkLimits::default() };
    let nonsense = LinkLimits { links: 0, ..few };
    let refused = Network::builder(id).with_link_limits(nonsense).build().await;
    assert!(matches!(refused, Err(Error::LinkLimits(LimitsError::TooLow { limit: "links", .. }))));

    let a = Network::builder(id).with_discovery(shy()).with_link_limits(few).build().await?;
    assert_eq!(a.admission().limits(), few);
    let (b, c, d) = (node(id, shy()).await, node(id, shy()).await, node(id, shy()).await);
    for visitor in [&b, &c] {
        soon(visitor.discovery().sync_with(a.local().addr())).await?;
    }
    assert!(a.admission().set_limits(nonsense).is_err());
    assert_eq!(a.admission().limits(), few, "nothing changed");
    a.admission().set_limits(LinkLimits { links: 1, ..few })?;
    let sync = d.discovery().sync_with(a.local().addr());
    let third = tokio::time::timeout(Duration::from_secs(1), sync);
    assert!(!matches!(third.await, Ok(Ok(()))), "there is no room");
    assert!(!linked(&a, &d) && linked(&a, &b) && linked(&a, &c), "who is in stays");
    a.admission().set_limits(LinkLimits::default())?;
    soon(d.discovery().sync_with(a.local().addr())).await?;
    assert!(linked(&a, &d));
    Ok(())
}
