//! Admitted peers that say what they may not: on the control channel it ends their link, on a stream
//! channel that channel (WIRE-08), and nobody else notices.

mod common;
mod hostile;

use common::{Data2, eventually, soon};
use hostile::{
    CONTROL, HELLO, Hostile, READY, STREAM, Victim, counted,
    entries::item,
    memory,
    peer::{accept, announced, frame, subscribe, subscribe_with},
    report,
};
use mosaik::{
    network::LinkLimits,
    proto::{
        discovery::{PeerEntryVersion, frames::*},
        limits,
        links::DownReason,
        wire,
    },
    *,
};

const SUBSCRIBE: u8 = 1;
const CREDIT: u8 = 2;
const ACCEPT: u8 = 3;
const ITEMS_OF_STREAM: u8 = 4;

/// What is wrong, and the bytes.
type Case = (String, Vec<u8>);

/// A well-formed payload of each kind of the control channel, and the limit of the kind.
fn control_frames(me: &Hostile) -> Vec<(u8, Vec<u8>, u32)> {
    let version = PeerEntryVersion { incarnation: 7, counter: 7 };
    let other = SecretKey::generate().public();
    let everybody = (1u64, None::<PeerId>, None::<PeerId>, true);
    let large = limits::SYNC_FRAME_BYTES;
    let of = |payload: Bytes| payload.to_vec();
    vec![
        (
            HAVE,
            [of(wire::encode(&everybody)), of(wire::encode(&(other, version, 0u8)))].concat(),
            large,
        ),
        (NEED, [of(wire::encode(&(1u64, true))), of(wire::encode(&other))].concat(), large),
        (ITEMS, item(&me.entry()), large),
        (DONE, of(wire::encode(&7u64)), 10),
        (SYNCED, of(wire::encode(&7u64)), 10),
        (SUSPECT, of(wire::encode(&(other, version))), 52),
        (PROBE, of(wire::encode(&(7u64, 7u128))), 29),
        (LIST, of(wire::encode(&7u64)), 10),
    ]
}

fn wrong_control_frames(me: &Hostile) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, payload, limit) in control_frames(me) {
        cases.push((format!("{kind}: a byte too long"), announced(kind, limit + 1)));
        cases.push((format!("{kind}: 4 GiB"), announced(kind, u32::MAX)));
        cases.push((format!("{kind}: a byte less"), frame(kind, &payload[..payload.len() - 1])));
        let garbage = vec![0xff; (limit as usize).min(200)];
        cases.push((format!("{kind}: garbage"), frame(kind, &garbage)));
        let longer = [&payload[..], &[0]].concat();
        cases.push((format!("{kind}: a byte more"), frame(kind, &longer)));
    }
    for kind in [0, 3, 15, 24, 47, 48, 255] {
        cases.push((format!("{kind}: unknown"), frame(kind, &[])));
    }
    let out_of_order = {
        let front = wire::encode(&(1u64, None::<PeerId>, None::<PeerId>, true));
        let one = wire::encode(&(me.id(), PeerEntryVersion::default(), 0u8));
        [&front[..], &one, &one].concat()
    };
    cases.push(("a list out of order".into(), frame(HAVE, &out_of_order)));
    cases.push(("a second hello".into(), frame(HELLO, &me.hello())));
    cases.push(("READY with a payload".into(), announced(READY, 1)));
    cases
}

/// WIRE-03, WIRE-04, DISC-22: whatever is wrong with a control frame ends the link, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_control_frames_end_the_link() {
    let victim = Victim::new().await;
    let before = memory();
    let network = *victim.node.network_id();
    let count = wrong_control_frames(&Hostile::new(network)).len();
    for n in 0..count {
        let me = Hostile::new(network);
        let (what, bytes) = wrong_control_frames(&me).swap_remove(n);
        let violations = counted(&victim.node, "mosaik.links.violations", "");
        let (raw, mut control) = me.join(&victim.node).await;
        control.send(&bytes).await;
        assert_eq!(raw.closed().await, CloseCode::PROTOCOL_VIOLATION, "{what}");
        let now = counted(&victim.node, "mosaik.links.violations", "");
        assert_eq!(now, violations + 1, "{what}");
    }
    report(&format!("{count} wrong control frames"), before);
    victim.was_undisturbed().await;
}

/// WIRE-01: a further channel is a stream or a group, or the end of the link.
#[tokio::test(flavor = "multi_thread")]
async fn channels_of_no_protocol_end_the_link() {
    let victim = Victim::new().await;
    for first in [0, CONTROL, 4, 200] {
        let me = Hostile::new(*victim.node.network_id());
        let (raw, _control) = me.join(&victim.node).await;
        let _channel = raw.open(first).await;
        assert_eq!(raw.closed().await, CloseCode::PROTOCOL_VIOLATION, "{first}");
    }
    assert_eq!(counted(&victim.node, "mosaik.links.violations", ""), 4);
    victim.was_undisturbed().await;
}

/// What a consumer may not say, and with which code its channel ends.
fn wrong_consumers(stream: &StreamId) -> Vec<(Case, CloseCode)> {
    let violation = CloseCode::PROTOCOL_VIOLATION;
    let good = subscribe(stream);
    let credit = |items: u64, bytes: u64| frame(CREDIT, &wire::encode(&(items, bytes)));
    let then = |rest: Vec<u8>| [good.clone(), rest].concat();
    let payload = &good[5..];
    let other = StreamId::from("nobody produces this");
    let cases = [
        ("a stream that is not here", subscribe(&other), CloseCode::STREAM_NOT_FOUND),
        ("SUBSCRIBE: too long", announced(SUBSCRIBE, 129), violation),
        ("SUBSCRIBE: 4 GiB", announced(SUBSCRIBE, u32::MAX), violation),
        ("SUBSCRIBE: empty", frame(SUBSCRIBE, &[]), violation),
        ("SUBSCRIBE: a byte less", frame(SUBSCRIBE, &payload[..payload.len() - 1]), violation),
        ("SUBSCRIBE: a byte more", frame(SUBSCRIBE, &[payload, &[0]].concat()), violation),
        ("SUBSCRIBE: garbage", frame(SUBSCRIBE, &[0xff; 128]), violation),
        ("SUBSCRIBE: twice", then(good.clone()), violation),
        ("credit at first", credit(1, 1), violation),
        ("ACCEPT to a producer", accept(1, 1), violation),
        ("ACCEPT to a producer, later", then(accept(1, 1)), violation),
        ("ITEMS to a producer", then(frame(ITEMS_OF_STREAM, &[0; 20])), violation),
        ("an unknown kind", frame(99, &[]), violation),
        ("an unknown kind, later", then(frame(99, &[])), violation),
        (
            "all the credit in the world",
            subscribe_with(stream, (u64::MAX, u64::MAX), None),
            violation,
        ),
        ("so many items", subscribe_with(stream, (1 << 25, 1_000_000), None), violation),
        ("so many bytes", subscribe_with(stream, (1_000, 1 << 31), None), violation),
        ("all the credit, later", then(credit(u64::MAX, u64::MAX)), violation),
        ("falling items", then(credit(999, 1_000_000)), violation),
        ("falling bytes", then(credit(1_000, 999_999)), violation),
        ("CREDIT: too long", then(announced(CREDIT, 21)), violation),
        ("CREDIT: a byte less", then(frame(CREDIT, &[1])), violation),
        ("CREDIT: a byte more", then(frame(CREDIT, &[0xe8, 0x7, 0xc0, 0x84, 0x3d, 0])), violation),
    ];
    cases.into_iter().map(|(what, bytes, code)| ((what.into(), bytes), code)).collect()
}

/// STR-03, STR-05, STR-17: a wrong subscription ends with its code; the link and the others stay.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_consumers_lose_their_channel() {
    let victim = Victim::new().await;
    let me = Hostile::new(*victim.node.network_id());
    let (raw, mut control) = me.join(&victim.node).await;
    let name = "mosaik.streams.violations";
    let stream = *victim.producer.stream_id();
    for ((what, bytes), code) in wrong_consumers(&stream) {
        let before = counted(&victim.node, name, "");
        let mut channel = raw.stream(&bytes).await;
        assert_eq!(channel.ended().await, code, "{what}");
        let expected = before + u64::from(code == CloseCode::PROTOCOL_VIOLATION);
        assert_eq!(counted(&victim.node, name, ""), expected, "{what}");
    }
    // A position that the producer never reached, in its own incarnation.
    let mut channel = raw.stream(&subscribe(&stream)).await;
    let accepted = channel.next().await.expect("accepted");
    let (incarnation, ..): (u64, u64, u8) = wire::decode(&accepted.payload).expect("a position");
    let ahead = subscribe_with(&stream, (10, 10), Some((incarnation, u64::MAX)));
    assert_eq!(raw.stream(&ahead).await.ended().await, CloseCode::PROTOCOL_VIOLATION);
    // The same link still serves who behaves.
    assert_eq!(channel.next().await.expect("items").kind, ITEMS_OF_STREAM);
    control.frame(PROBE, &wire::encode(&(9u64, 9u128))).await;
    drop(channel);
    eventually(|| victim.producer.consumers().count() == 1).await;
    victim.was_undisturbed().await;
}

/// A batch of one-byte items.
fn batch(items: usize) -> Vec<u8> {
    [0, 1, 7].repeat(items)
}

fn items(first: u64, count: u32, batch: &[u8]) -> Vec<u8> {
    let payload = [&first.to_be_bytes()[..], &count.to_be_bytes(), batch].concat();
    frame(ITEMS_OF_STREAM, &payload)
}

/// What a producer may not say.
fn wrong_producers() -> Vec<Case> {
    let then = |rest: Vec<u8>| [accept(5, 10), rest].concat();
    let long = [&[0x80, 0, 0xff, 0xff][..], &[7; 0xffff]].concat();
    let too_many =
        items(10, limits::WINDOW_ITEMS as u32 + 1, &batch(limits::WINDOW_ITEMS as usize + 1));
    let too_much = (0..40).flat_map(|n| items(10 + n, 1, &long)).collect();
    let cases = [
        ("ACCEPT: too long", announced(ACCEPT, 22)),
        ("ACCEPT: 4 GiB", announced(ACCEPT, u32::MAX)),
        ("ACCEPT: a byte less", frame(ACCEPT, &[5, 10])),
        ("ACCEPT: a byte more", frame(ACCEPT, &[5, 10, 0, 0])),
        ("ACCEPT: no such kind", frame(ACCEPT, &[5, 10, 2])),
        ("ACCEPT: garbage", frame(ACCEPT, &[0xff; 20])),
        ("ACCEPT: twice", then(accept(5, 10))),
        ("items at first", items(0, 1, &batch(1))),
        ("SUBSCRIBE to a consumer", frame(SUBSCRIBE, &[0; 40])),
        ("CREDIT to a consumer", then(frame(CREDIT, &[1, 1]))),
        ("an unknown kind", frame(77, &[])),
        ("ITEMS: too long", then(announced(ITEMS_OF_STREAM, 17 + limits::ITEM_BYTES as u32))),
        ("ITEMS: 4 GiB", then(announced(ITEMS_OF_STREAM, u32::MAX))),
        ("ITEMS: too short", then(frame(ITEMS_OF_STREAM, &[0; 11]))),
        ("ITEMS: none", then(items(10, 0, &[]))),
        ("ITEMS: none, with bytes", then(items(10, 0, &batch(1)))),
        ("ITEMS: one more than said", then(items(10, 1, &batch(2)))),
        ("ITEMS: one less than said", then(items(10, 2, &batch(1)))),
        ("ITEMS: four billion", then(items(10, u32::MAX, &batch(1)))),
        ("ITEMS: half an item", then(items(10, 2, &[0, 1, 7, 0, 2, 7]))),
        ("ITEMS: half a length", then(items(10, 2, &[0, 1, 7, 0]))),
        ("ITEMS: again", then([items(10, 1, &batch(1)), items(10, 1, &batch(1))].concat())),
        ("ITEMS: before what was accepted", then(items(9, 1, &batch(1)))),
        ("ITEMS: beyond the last number", then(items(u64::MAX, 2, &batch(2)))),
        ("more items than granted", then(too_many)),
        ("more bytes than granted", then(too_much)),
    ];
    cases.into_iter().map(|(what, bytes)| (what.into(), bytes)).collect()
}

/// STR-05, STR-09, STR-14, STR-17: a wrong producer loses its channel; a good one of the same
/// stream is followed all the while.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_producers_lose_their_channel() {
    let victim = Victim::new().await;
    let network = *victim.node.network_id();
    let stream = StreamId::from("wanted");
    let good = victim.honest.streams().producer::<Data2>().with_stream_id(stream);
    let good = good.build().expect("the only one");
    let consumer = victim.node.streams().consumer::<Data2>().with_stream_id(stream).build();
    soon(good.when().subscribed()).await;
    let before = memory();
    for (what, bytes) in wrong_producers() {
        let mut me = Hostile::new(network);
        me.fields.streams.insert(stream);
        let violations = counted(&victim.node, "mosaik.streams.violations", "");
        let (raw, _control) = me.join(&victim.node).await;
        let mut channel = raw.accept().await;
        assert_eq!(channel.first().await, STREAM);
        assert_eq!(channel.next().await.expect("a subscription").kind, SUBSCRIBE);
        channel.send(&bytes).await;
        assert_eq!(channel.ended().await, CloseCode::PROTOCOL_VIOLATION, "{what}");
        // It tries again after a moment: that it did so before the channel's end is seen is fine.
        assert!(counted(&victim.node, "mosaik.streams.violations", "") > violations, "{what}");
        raw.close();
    }
    report("wrong producers", before);
    assert!(good.consumers().count() == 1 && good.missed() == 0);
    soon(good.send(Data2(1))).await.expect("accepted");
    drop(consumer);
    victim.was_undisturbed().await;
}

/// STR-09: the largest numbers that the wire can say, from a producer that keeps to the rules.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_numbers_are_only_numbers() {
    let victim = Victim::new().await;
    let stream = StreamId::from("far");
    let mut consumer = victim.node.streams().consumer::<Data2>().with_stream_id(stream).build();
    let mut me = Hostile::new(*victim.node.network_id());
    me.fields.streams.insert(stream);
    let (raw, _control) = me.join(&victim.node).await;
    let mut channel = raw.accept().await;
    channel.first().await;
    channel.next().await.expect("a subscription");
    channel.send(&accept(u64::MAX, 0)).await;
    channel.send(&items(0, 1, &batch(1))).await;
    channel.send(&items(u64::MAX - 1, 1, &batch(1))).await;
    for _ in 0..2 {
        assert_eq!(soon(consumer.next()).await, Some(Data2(7)));
    }
    eventually(|| consumer.missed() == u64::MAX - 2).await;
    channel.send(&items(u64::MAX, 1, &batch(1))).await;
    drop(channel);
    raw.close();
    victim.was_undisturbed().await;
}

/// LINK-10, LINK-15: channels without a first byte, and channels at all.
#[tokio::test(flavor = "multi_thread")]
async fn channels_above_the_limits_are_refused() {
    let limits =
        LinkLimits { channels_per_link: 16, unnamed_channels_per_link: 8, ..LinkLimits::default() };
    let victim = Victim::with(limits).await;
    let refused = || counted(&victim.node, "mosaik.links.channels.refused", "");
    let me = Hostile::new(*victim.node.network_id());
    let (raw, _control) = me.join(&victim.node).await;
    // To use a channel opens all those with lower numbers (RFC 9000 §2.1).
    let mut unnamed = Vec::new();
    for _ in 0..12 {
        unnamed.push(raw.open_silent().await);
    }
    unnamed[11].send(&[STREAM]).await;
    assert_eq!(unnamed[8].ended().await, CloseCode::BUSY);
    eventually(|| refused() == 4).await;
    drop(unnamed);

    // The control channel is one; those that were closed are none any more.
    let me = Hostile::new(*victim.node.network_id());
    let (raw, _control) = me.join(&victim.node).await;
    eventually(|| victim.node.discovery().catalog().get(&me.id()).is_some()).await;
    let subscription = subscribe(victim.producer.stream_id());
    let mut channels = Vec::new();
    for n in 0..40 {
        let mut channel = raw.stream(&subscription).await;
        match channel.next().await {
            Ok(frame) => assert!(frame.kind == ACCEPT && n < 15, "{n}"),
            Err(DownReason::Closed(CloseCode::BUSY)) => assert!(n >= 15, "{n}"),
            Err(other) => panic!("{other:?}"),
        }
        channels.push(channel);
    }
    assert_eq!(refused(), 4 + 25);
    victim.was_undisturbed().await;
}
