//! The core of streams beyond its transcripts (`testdata/streams`): sharing, bounds, every moment
//! of a lost link, and input that no honest peer sends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

#[path = "streams/pair.rs"]
mod pair;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::{
    links::frame,
    streams::{Bench, CREDIT, ITEMS, SUBSCRIBE, batch, items, read_items, subscribe},
};
use mosaik_proto::{
    Core as _,
    ids::{ChannelId, ConsumerId, ProducerId, SubscriptionId},
    links::DownReason,
    rng::Rng,
    streams::{Action, Event, Replay, item},
    wire::{self, CloseCode},
};

fn data(channel: u64, chunk: Bytes) -> Event {
    Event::Data { channel: ChannelId(channel), chunk }
}

fn closed(actions: &[Action]) -> Option<CloseCode> {
    actions.iter().find_map(|action| match action {
        Action::Close { code, .. } => Some(*code),
        _ => None,
    })
}

/// `ITEMS` frames by channel: first, count, batch.
fn sent(actions: &[Action]) -> Vec<(ChannelId, u64, u32, Bytes)> {
    let writes = actions.iter().filter_map(|action| match action {
        Action::Write { channel, head, body } if head.as_slice()[0] == ITEMS => {
            let payload = [&head.as_slice()[5..], body].concat().into();
            let (first, count, _) = read_items(&payload);
            Some((*channel, first, count, body.clone()))
        }
        _ => None,
    });
    writes.collect()
}

/// STR-14: however many they are, they are sent the same memory.
#[test]
fn str_14_all_subscribers_share_one_body() {
    let mut bench = Bench::new();
    bench.run("producer 1 s");
    for n in 0..20u8 {
        let peer = char::from(b'n' + n % 10);
        bench.run(&format!("peer {peer}"));
        bench.run(&format!("accept {peer} {}", 2 * n + 1));
        bench.run(&format!("subscribe {} s window=8/100000", 2 * n + 1));
    }
    let data = batch(3, 1_000);
    let (producer, payload) = (ProducerId(1), 3_000);
    let actions = bench.step(Event::Offer { producer, items: 3, payload, data: data.clone() });
    let sent = sent(&actions);
    assert_eq!(sent.len(), 20);
    assert!(sent.iter().all(|(.., body)| body.as_ptr() == data.as_ptr() && *body == data));
    // And whoever is sent a part only, is sent a part of it.
    bench.run("peer b");
    bench.run("accept b 101");
    bench.run("subscribe 101 s window=1/100000");
    let data = batch(2, 1_000);
    let payload = 2_000;
    let actions = bench.step(Event::Offer { producer, items: 2, payload, data: data.clone() });
    let part = self::sent(&actions).into_iter().find(|(channel, ..)| channel.0 == 101).unwrap();
    assert_eq!((part.3.as_ptr(), part.3.len()), (data.as_ptr(), 1_002));
}

/// STR-14: batches that are not what their frame says.
#[test]
fn str_14_a_batch_is_whole_items() {
    let whole = batch(2, 5);
    let long = [&item::long(5)[..], &[7; 5], &item::long(5), &[7; 5]].concat();
    let cases: [(u32, &[u8], bool); 6] = [
        (2, &whole, true),
        (2, &long, true),
        (1, &whole, false),
        (3, &whole, false),
        (2, &whole[..whole.len() - 1], false),
        (2, &[&whole[..], &[0]].concat(), false),
    ];
    for (count, batch, good) in cases {
        let mut bench = Bench::new();
        for command in ["consumer 1 s", "peer b streams=s", "link b 1", "welcome 2 1/0"] {
            bench.run(command);
        }
        let actions = bench.step(data(2, frame(ITEMS, &items(0, count, batch))));
        let expected = (!good).then_some(CloseCode::PROTOCOL_VIOLATION);
        assert_eq!(closed(&actions), expected, "{count} in {batch:?}");
    }
}

/// WIRE-04, STR-03, W2: cut off at each byte, or with one more.
#[test]
fn wire_04_a_subscribe_is_read_to_its_last_byte() {
    let mut bench = Bench::new();
    bench.run("producer 1 s");
    bench.run("peer b");
    let whole = subscribe("s", (8, 100), (8, 100), Some((3, 4)), Replay::Tail);
    let longer = [&whole[..], &[0]].concat();
    let cut = (0..whole.len()).map(|length| &whole[..length]);
    for (n, payload) in cut.chain([&longer[..]]).enumerate() {
        bench.run(&format!("accept b {}", 2 * n + 1));
        let actions = bench.step(data(2 * n as u64 + 1, frame(SUBSCRIBE, payload)));
        assert_eq!(closed(&actions), Some(CloseCode::PROTOCOL_VIOLATION), "{}", payload.len());
    }
    bench.run("accept b 1001");
    assert_eq!(closed(&bench.step(data(1001, frame(SUBSCRIBE, &whole)))), None);
}

/// STR-17: one channel breaks the protocol; its neighbours of the same peer go on.
#[test]
fn str_17_a_violation_ends_one_channel() {
    let mut bench = Bench::new();
    for command in [
        "producer 1 s",
        "producer 2 t",
        "peer b",
        "accept b 1",
        "subscribe 1 s",
        "accept b 3",
        "subscribe 3 t",
        "accept b 5",
        "subscribe 5 s",
    ] {
        bench.run(command);
    }
    assert_eq!(
        bench.run("credit 1 0/0"),
        ["count violation s", "close ch1 PROTOCOL_VIOLATION", "prod1 sub1 gone: Violation"]
    );
    assert_eq!(bench.run("state"), ["ch3 b", "ch5 b"]);
    assert_eq!(sent(&bench.step_offer(1, 1, 10)).len(), 1);
    assert_eq!(sent(&bench.step_offer(2, 1, 10)).len(), 1);
}

/// STR-07: nobody takes anything, and nothing grows.
#[test]
fn str_07_a_producer_that_cannot_send_is_offered_half_its_log() {
    let mut bench = Bench::new();
    for command in [
        "producer 1 s tail=100/100000 patient",
        "peer b",
        "accept b 1",
        "subscribe 1 s window=10/1000",
    ] {
        bench.run(command);
    }
    let mut offered = 0;
    while bench.room(1).0 > 0 {
        bench.run("offer 1 1 10");
        offered += 1;
    }
    assert_eq!(offered, 50 + 10, "half the log, behind what the window took");
    // The bytes are bounded as well; one item may exceed the window by itself.
    bench.run("producer 2 t tail=100000/1000 patient");
    bench.run("accept b 3");
    bench.run("subscribe 3 t window=10/100");
    let mut offered = 0;
    while bench.room(2).0 > 0 && bench.room(2).1 > 0 {
        bench.run("offer 2 1 90");
        offered += 90;
    }
    assert_eq!(offered, 90 + 540, "500 bytes, and what began below them");
}

/// STR-07, STR-09: what is kept without anybody is the tail.
#[test]
fn str_07_the_tail_is_bounded() {
    let mut bench = Bench::new();
    bench.run("producer 1 s tail=100/100000");
    bench.run("peer b");
    for _ in 0..1_000 {
        bench.run("offer 1 1 10");
    }
    bench.run("accept b 1");
    bench.take();
    bench.run("subscribe 1 s window=1000/100000 resume=1000000/0");
    let items: u32 = sent(&bench.take()).iter().map(|(_, _, count, _)| count).sum();
    assert_eq!(items, 100);
}

/// STR-05, STR-06, S6: whatever a consumer grants, the producer stays within it; what falls or is
/// beyond all bounds ends the channel.
#[test]
fn str_05_grants_are_kept_whatever_they_are() {
    for seed in 0..200u8 {
        let mut rng = Rng::new([seed; 32]);
        let mut bench = Bench::new();
        bench.run("producer 1 s patient");
        bench.run("peer b");
        let window = (1 + rng.below(20), 1 + rng.below(500));
        bench.run("accept b 1");
        bench.run(&format!("subscribe 1 s window={}/{}", window.0, window.1));
        let (mut granted, mut used) = (window, (0, 0));
        for _ in 0..100 {
            bench.take();
            if rng.chance(400_000) {
                granted.0 += rng.below(30);
                granted.1 += rng.below(600);
                bench.step(data(1, frame(CREDIT, &wire::encode(&granted))));
            } else if bench.room(1).0 > 0 && bench.room(1).1 > 0 {
                bench.step_offer(1, 1 + rng.below(5) as u32, rng.below(800) as usize);
            }
            for (_, _, count, batch) in sent(&bench.take()) {
                let payload: u64 =
                    item::Items::new(batch).map(|item| item.unwrap().len() as u64).sum();
                let free = granted.1.saturating_sub(used.1);
                used = (used.0 + u64::from(count), used.1 + payload);
                assert!(used.0 <= granted.0, "seed {seed}: items");
                let alone = count == 1 && 2 * free >= window.1;
                assert!(used.1 <= granted.1 || alone, "seed {seed}: bytes");
            }
        }
        // The first ends this channel, the others one that begins with 8/1000.
        for hostile in [(0, 0), (u64::MAX, 1_000), (8, u64::MAX), (7, 1_000), (8, 999)] {
            let actions = bench.step(data(1, frame(CREDIT, &wire::encode(&hostile))));
            assert_eq!(closed(&actions), Some(CloseCode::PROTOCOL_VIOLATION), "seed {seed}");
            bench.run("accept b 1");
            bench.run("subscribe 1 s");
        }
    }
}

/// S12: nothing is left of subscribers that come and go; `max_consumers` stays exact.
#[test]
fn str_04_nothing_is_left_of_a_subscription() {
    let mut bench = Bench::new();
    bench.run("producer 1 s max=2 tickets");
    bench.run("peer b ticket=100000");
    for n in 0..10_000u64 {
        bench.run(&format!("accept b {}", 2 * n + 1));
        bench.run(&format!("subscribe {} s window=1/1", 2 * n + 1));
        bench.run(&format!("down {} finished", 2 * n + 1));
    }
    assert_eq!(bench.core.deadline(), None);
    assert_eq!(bench.run("state"), [""; 0]);
    for (channel, counted) in [(30_001, true), (30_003, true), (30_005, false)] {
        bench.run(&format!("accept b {channel}"));
        let shown = bench.run(&format!("subscribe {channel} s")).join("\n");
        assert_eq!(shown.contains("ACCEPT"), counted, "{shown}");
    }
}

/// STR-02: a predicate may ask for the round-trip time, which is known with the link.
#[test]
fn str_02_one_link_serves_all_consumers_of_a_peer() {
    let mut bench = Bench::new();
    bench.run("consumer 1 s");
    bench.run("consumer 2 t");
    assert_eq!(bench.run("peer b streams=s,t")[0], "want b");
    let opened = bench.run("link b 1").iter().filter(|line| line.starts_with("open")).count();
    assert_eq!(opened, 2);
    // The want ends with the last of them.
    assert!(!bench.run("close consumer 1").contains(&"unwant b".to_owned()));
    assert!(bench.run("close consumer 2").contains(&"unwant b".to_owned()));
}

/// STR-10: the waits double, with jitter, and stay in their bounds.
#[test]
fn str_10_waits_double_and_differ() {
    let mut first = BTreeSet::new();
    for seed in 0..20 {
        let mut bench = Bench::of("m", [seed; 32]);
        for command in ["consumer 1 s", "peer b streams=s", "link b 1"] {
            bench.run(command);
        }
        let mut waits = Vec::new();
        for attempt in 0..10u64 {
            bench.run(&format!("down {} STREAM_NO_CAPACITY", 2 + 4 * attempt));
            let wait = bench.core.deadline().unwrap().since(bench.now.mono);
            waits.push(wait.as_millis() as u64);
            bench.run(&format!("advance {}ms", wait.as_millis() + 1));
        }
        for (attempt, wait) in waits.iter().enumerate() {
            let base = (50u64 << attempt.min(8)).min(1_000);
            let least = (base * 3 / 4).max(50);
            assert!((least..=base * 5 / 4).contains(wait), "{attempt}: {wait}");
        }
        first.insert(waits[3]);
    }
    assert!(first.len() > 10, "{first:?}");
}

/// W6: what belongs to nobody (any more) changes nothing.
#[test]
fn link_13_events_for_what_is_gone_are_ignored() {
    let mut bench = Bench::new();
    let (channel, reason) = (ChannelId(9), DownReason::Lost);
    let (consumer, producer) = (ConsumerId(9), ProducerId(9));
    let subscription = SubscriptionId(9);
    for event in [
        Event::Timeout,
        Event::ChannelDown { channel, reason },
        Event::Drained { channel, bytes: 7 },
        Event::Data { channel, chunk: Bytes::from_static(b"123") },
        Event::CloseProducer(producer),
        Event::CloseConsumer(consumer),
        Event::Consumed { consumer, subscription, items: 7, bytes: u64::MAX },
        Event::PeerChanged(common::id("b")),
        Event::Disconnected { peer: common::id("b"), link: mosaik_proto::ids::LinkId(1) },
        Event::Shutdown,
    ] {
        assert_eq!(bench.shown(event), [""; 0]);
    }
}

/// STR-01, STR-03: two producers of different streams are never mixed up (S15).
#[test]
fn str_01_a_stream_is_named_by_its_id() {
    let mut bench = Bench::new();
    bench.run("producer 1 s");
    bench.run("producer 2 t");
    bench.run("peer b");
    let mut subscribed = BTreeMap::new();
    for (channel, stream) in [(1, "s"), (3, "t"), (5, "u")] {
        bench.run(&format!("accept b {channel}"));
        let shown = bench.run(&format!("subscribe {channel} {stream}"));
        subscribed.insert(stream, shown.into_iter().find(|line| !line.starts_with("count")));
    }
    assert_eq!(subscribed["s"].as_deref(), Some("prod1 sub1 b connected"));
    assert_eq!(subscribed["t"].as_deref(), Some("prod2 sub2 b connected"));
    assert_eq!(subscribed["u"].as_deref(), Some("close ch5 STREAM_NOT_FOUND"));
}
