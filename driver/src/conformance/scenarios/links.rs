//! Connecting, and not.

use futures_util::future::join;
use mosaik_proto::Digest;

use super::{Bench, Harness, knows, meet};
use crate::{conformance::NodeOptions, discovery::Error};

/// LINK-02, LINK-05: a node that is dialled at its address is connected once, and both know who
/// the other is.
pub async fn link_02_connect<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    bench.soon(a.online()).await;
    meet(&bench, &a, &b).await;
    bench.until(|| knows(&a, &b) && knows(&b, &a)).await;
    let entry = b.discovery().catalog().get_signed(&a.local().id()).cloned();
    assert_eq!(entry.map(|entry| entry.id()), Some(Bench::<H>::id("a")));
    bench.until(|| a.discovery().catalog().rtt(&b.local().id()).is_some()).await;
    assert_eq!(bench.ends(&a, &b), 2, "one link, two ends");
}

/// LINK-14: who is not admitted gets no link and learns nothing; forgiven, it is let in.
pub async fn link_14_refuse<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    b.admission().deny(a.local().id());
    let refused = bench.soon(a.discovery().sync_with(b.local().addr())).await;
    assert!(matches!(refused, Err(Error::Unreachable | Error::LinkLost)), "{refused:?}");
    assert!(!knows(&a, &b) && !knows(&b, &a), "nothing was exchanged");
    b.admission().forgive(a.local().id());
    meet(&bench, &a, &b).await;
    // Whoever is known and denied later loses its link.
    bench.until(|| bench.ends(&a, &b) == 2).await;
    b.admission().deny(a.local().id());
    bench.until(|| bench.ends(&a, &b) == 0).await;
}

/// LINK-01, DISC-14: nodes of two networks have nothing to say to each other, and say so.
pub async fn link_01_another_network<H: Harness>(bench: Bench<H>) {
    let a = bench.node("a");
    let foreign = NodeOptions { network: Some(Digest::hash(b"foreign")), ..NodeOptions::default() };
    let b = bench.node_with("b", foreign);
    let met = bench.soon(a.discovery().sync_with(b.local().addr())).await;
    assert_eq!(met, Ok(()), "nothing to exchange is no failure");
    assert_eq!(a.discovery().catalog().peers_count(), 0);
    assert_eq!(b.discovery().catalog().peers_count(), 0);
    bench.until(|| bench.ends(&a, &b) == 0).await;
}

/// LINK-04, LINK-05: two that dial each other at the same time end with one link, and both syncs
/// succeed.
pub async fn link_04_simultaneous_dial<H: Harness>(bench: Bench<H>) {
    for round in 0..8 {
        let (a, b) = (bench.node(&format!("a{round}")), bench.node(&format!("b{round}")));
        let forth = a.discovery().sync_with(b.local().addr());
        let back = b.discovery().sync_with(a.local().addr());
        assert_eq!(bench.soon(join(forth, back)).await, (Ok(()), Ok(())), "round {round}");
        assert!(knows(&a, &b) && knows(&b, &a));
        bench.until(|| bench.ends(&a, &b) == 2).await;
    }
}
