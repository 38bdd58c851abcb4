//! Who is there.

use mosaik_proto::ids::Tag;

use super::{Bench, Harness, knows, meet};
use crate::{
    Network,
    discovery::{Event, Events, RecvError},
};

/// The next event that is one of these.
async fn event<H: Harness>(
    bench: &Bench<H>,
    events: &mut Events<Event>,
    wanted: impl Fn(&Event) -> bool,
) {
    loop {
        match bench.soon(events.recv()).await {
            Ok(event) if wanted(&event) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => panic!("the events ended"),
        }
    }
}

fn tagged(by: &Network, of: &Network, tag: Tag) -> bool {
    by.discovery().catalog().get(&of.local().id()).is_some_and(|entry| entry.tags().contains(&tag))
}

/// DISC-10, DISC-12, DISC-20: after a sync both hold what either held; what is said later is news.
pub async fn disc_12_sync<H: Harness>(bench: Bench<H>) {
    let (a, b, c) = (bench.node("a"), bench.node("b"), bench.node("c"));
    meet(&bench, &a, &b).await;
    let tag = Tag::hash(b"late");
    b.discovery().add_tags(tag).expect("room for a tag");
    assert!(b.discovery().me().entry().tags().contains(&tag), "own changes are there at once");
    meet(&bench, &c, &a).await;
    assert!(knows(&c, &a) && knows(&a, &c));
    bench.until(|| knows(&c, &b) && knows(&b, &c)).await;
    bench.until(|| tagged(&a, &b, tag) && tagged(&c, &b, tag)).await;
    // Every sync carries what was said before it.
    let again = Tag::hash(b"again");
    a.discovery().add_tags(again).expect("room for a tag");
    meet(&bench, &c, &a).await;
    assert!(tagged(&c, &a, again));
}

/// DISC-35: who shuts down is gone at once, for those too who hear of it from others.
pub async fn disc_35_departure<H: Harness>(bench: Bench<H>) {
    let (a, b, c) = (bench.node("a"), bench.node("b"), bench.node("c"));
    meet(&bench, &a, &b).await;
    meet(&bench, &c, &a).await;
    bench.until(|| knows(&c, &b) && knows(&b, &c)).await;
    let gone = b.local().id();
    let mut events = (a.discovery().events(), c.discovery().events());
    bench.soon(b.shutdown()).await;
    let departed = |event: &Event| matches!(event, Event::PeerDeparted(peer) if *peer == gone);
    event(&bench, &mut events.0, departed).await;
    event(&bench, &mut events.1, departed).await;
    assert!(!knows(&a, &b) && !knows(&c, &b));
    // A later sync does not bring it back.
    meet(&bench, &c, &a).await;
    assert!(!knows(&a, &b) && !knows(&c, &b));
    bench.until(|| bench.tasks(gone) == 0).await;
}

/// DISC-31, DISC-38: who cannot be reached is given up, and comes back when it can.
pub async fn disc_31_a_lost_peer_comes_back<H: Harness>(bench: Bench<H>) {
    let (a, b) = (bench.node("a"), bench.node("b"));
    meet(&bench, &a, &b).await;
    bench.until(|| knows(&b, &a)).await;
    bench.cut(&a, &b);
    bench.until(|| !knows(&a, &b) && !knows(&b, &a)).await;
    bench.mend(&a, &b);
    bench.until(|| knows(&a, &b) && knows(&b, &a)).await;
    bench.until(|| bench.ends(&a, &b) == 2).await;
}
