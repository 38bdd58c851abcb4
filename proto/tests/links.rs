//! The core of links beyond its transcripts (`testdata/links`): limits, every interleaving, and
//! input that no honest peer sends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

#[path = "links/pair.rs"]
mod pair;

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use common::{
    args::code,
    clock, entry, id, key,
    links::{Bench, HELLO, READY, frame, hello},
    network,
};
use mosaik_proto::{
    Core as _, Outbox,
    crypto::SecretKey,
    discovery::{Catalog, LocalEntry, SignedPeerEntry},
    ids::{ChannelId, LinkId, Side},
    limits,
    links::{Action, Counter, DialError, DownReason, Env, Event, Interest, LinkLimits, Links},
    rng::Rng,
    time::{Instant, UnixMillis},
    wire::{self, CloseCode, PROTOCOL_VERSION},
};

/// `x`'s hello on a link that it dialled; returns what the core closed the link with.
fn refusal(payload: &[u8]) -> Option<CloseCode> {
    let mut bench = Bench::new();
    bench.run("up 1 x listener");
    bench.run("channel 1 3 data=01");
    let chunk = frame(HELLO, payload);
    let actions = bench.step(Event::Data { channel: ChannelId(3), chunk });
    actions.iter().find_map(|action| match action {
        Action::CloseLink { code, .. } => Some(*code),
        _ => None,
    })
}

/// WIRE-04, W2: cut off at each byte, or with one more.
#[test]
fn wire_04_a_hello_is_read_to_its_last_byte() {
    let whole = hello(PROTOCOL_VERSION, network(), 0, &entry("x"));
    assert_eq!(refusal(&whole), None);
    for length in 0..whole.len() {
        assert_eq!(refusal(&whole[..length]), Some(CloseCode::PROTOCOL_VIOLATION), "{length}");
    }
    assert_eq!(refusal(&[&whole[..], &[0]].concat()), Some(CloseCode::PROTOCOL_VIOLATION));
}

/// WIRE-05: an entry in an encoding that we would not choose is as authentic, and is passed on as
/// it came.
#[test]
fn wire_05_what_is_signed_is_what_came() {
    let (payload, _): (Bytes, _) = wire::decode_first(&wire::encode(&entry("x"))).unwrap();
    assert_eq!(payload[0], 1, "the protocol version, as a varint");
    let other = Bytes::from([&[0x81, 0], &payload[1..]].concat());
    let signature = key("x").sign("mosaik v1 peer entry", &other);
    let hello = wire::encode(&(PROTOCOL_VERSION, network(), 0u64, &other, signature));
    let mut bench = Bench::new();
    bench.run("up 1 x listener");
    bench.run("channel 1 3 data=01");
    bench.step(Event::Data { channel: ChannelId(3), chunk: frame(HELLO, &hello) });
    let actions = bench.step(Event::Data { channel: ChannelId(3), chunk: frame(READY, &[]) });
    let Some(Action::Connected { entry, .. }) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(wire::encode(entry), wire::encode(&(&other, signature)));
}

/// WIRE-06: every other version is refused, and only for that.
#[test]
fn wire_06_versions_are_equal() {
    for version in [0, PROTOCOL_VERSION + 1, u16::MAX] {
        let payload = hello(version, network(), 0, &entry("x"));
        assert_eq!(refusal(&payload), Some(CloseCode::VERSION_MISMATCH));
    }
}

#[test]
fn wire_07_codes_are_numbers() {
    assert_eq!((code("BUSY").code(), code("STREAM_TOO_SLOW").code()), (106, 10413));
    assert_eq!(CloseCode::from(10509), CloseCode::STREAM_NO_CAPACITY);
    let mut bench = Bench::new();
    bench.run("up 1 x listener");
    bench.run("hello 1 0");
    bench.run("ready 1");
    let reason = DownReason::Closed(CloseCode::from(4_711));
    let ended = bench.shown(Event::LinkDown { link: LinkId(1), reason });
    assert_eq!(ended, ["path x none", "disconnected x link1 closed 4711"]);
}

/// WIRE-03: the header alone is enough.
#[test]
fn wire_03_too_long_a_frame_closes_the_link_at_its_header() {
    for (kind, limit) in [(HELLO, limits::ENTRY_BYTES as u32 + 256), (READY, 0)] {
        for (length, closes) in [(limit, false), (limit + 1, true), (u32::MAX, true)] {
            let mut bench = Bench::new();
            bench.run("up 1 x listener");
            bench.run("channel 1 3 data=01");
            let mut chunk = frame(kind, &[]).to_vec();
            chunk[1..].copy_from_slice(&length.to_be_bytes());
            let event = Event::Data { channel: ChannelId(3), chunk: chunk.into() };
            let closed = !bench.step(event).is_empty();
            // READY is complete with its header, and comes too early.
            assert_eq!(closed, closes || kind == READY, "kind {kind}, {length}");
        }
    }
}

/// A core and its environment, for more peers than a bench has letters.
struct Crowd {
    core: Links,
    catalog: Catalog,
    now: Instant,
}

fn stranger(n: u64) -> SignedPeerEntry {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    LocalEntry::new(network(), SecretKey::from_bytes(&seed), UnixMillis(1)).signed().clone()
}

impl Crowd {
    fn new() -> Self {
        let core = Links::new(network(), id("m"), Rng::new([1; 32]));
        let catalog = Catalog::new(network(), id("m"));
        let mut crowd = Self { core, catalog, now: Instant::ZERO };
        crowd.step(Event::Local(entry("m")));
        crowd
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Outbox::new();
        let env = Env { now: clock(self.now), catalog: &self.catalog };
        self.core.handle(env, event, &mut out);
        out.drain().collect()
    }

    fn up(&mut self, n: u64, side: Side) -> Vec<Action> {
        let (link, peer) = (LinkId(n), stranger(n).id());
        self.step(Event::LinkUp { link, peer, side, rtt: Duration::ZERO, binding: [n as u8; 32] })
    }

    fn admit(&mut self, n: u64) -> Vec<Action> {
        let (link, channel) = (LinkId(n), ChannelId::driver(n));
        let mut actions = self.up(n, Side::Listener);
        actions.extend(self.step(Event::ChannelUp { link, channel }));
        let hello = hello(PROTOCOL_VERSION, network(), 0, &stranger(n));
        let bytes = [&[1], &frame(HELLO, &hello)[..], &frame(READY, &[])].concat();
        actions.extend(self.step(Event::Data { channel, chunk: bytes.into() }));
        actions
    }
}

fn closed(actions: &[Action]) -> Option<CloseCode> {
    actions.iter().find_map(|action| match action {
        Action::CloseLink { code, .. } | Action::CloseChannel { code, .. } => Some(*code),
        _ => None,
    })
}

/// LINK-18: siblings hear what their proofs on a link are bound to.
#[test]
fn link_18_the_binding_comes_with_the_link() {
    let mut crowd = Crowd::new();
    for n in 1..3 {
        let actions = crowd.admit(n);
        let bindings = actions.iter().filter_map(|action| match action {
            Action::Connected { binding, .. } => Some(*binding),
            _ => None,
        });
        assert_eq!(bindings.collect::<Vec<_>>(), [[n as u8; 32]]);
    }
}

/// LINK-10: strangers that say nothing; they do not keep us from dialling.
#[test]
fn link_10_handshakes_are_limited() {
    let mut crowd = Crowd::new();
    let limit = limits::HANDSHAKES as u64;
    for n in 0..limit {
        assert_eq!(closed(&crowd.up(n, Side::Listener)), None);
    }
    assert_eq!(closed(&crowd.up(limit, Side::Listener)), Some(CloseCode::BUSY));
    let peer = stranger(limit + 1).id();
    crowd.step(Event::Want { interest: Interest::Streams, peer, addrs: Vec::new() });
    assert!(matches!(crowd.step(Event::Timeout)[..], [Action::Dial { .. }]));
    assert_eq!(closed(&crowd.up(limit + 1, Side::Dialer)), None, "our own dial");
    // One that goes makes room for one.
    crowd.step(Event::LinkDown { link: LinkId(7), reason: DownReason::Lost });
    assert!(crowd.admit(limit + 2).iter().any(|a| matches!(a, Action::Connected { .. })));
    assert_eq!(closed(&crowd.up(limit + 3, Side::Listener)), None);
    assert_eq!(closed(&crowd.up(limit + 4, Side::Listener)), Some(CloseCode::BUSY));
}

#[test]
fn link_10_links_are_limited() {
    let mut crowd = Crowd::new();
    for n in 0..limits::LINKS as u64 {
        assert_eq!(closed(&crowd.admit(n)), None, "{n}");
    }
    assert_eq!(closed(&crowd.admit(5_000)), Some(CloseCode::BUSY));
    crowd.step(Event::LinkDown { link: LinkId(3), reason: DownReason::Lost });
    assert_eq!(closed(&crowd.admit(5_001)), None);
}

#[test]
fn link_10_channels_are_limited() {
    let mut crowd = Crowd::new();
    crowd.admit(0);
    let up = |n| Event::ChannelUp { link: LinkId(0), channel: ChannelId::driver(10 + n) };
    let name =
        |n| Event::Data { channel: ChannelId::driver(10 + n), chunk: Bytes::from_static(&[2]) };
    // Without a first byte few,
    let unnamed = limits::UNNAMED_CHANNELS_PER_LINK as u64;
    for n in 0..unnamed {
        assert_eq!(closed(&crowd.step(up(n))), None);
    }
    assert_eq!(closed(&crowd.step(up(unnamed))), Some(CloseCode::BUSY));
    assert!(crowd.step(name(unnamed)).is_empty(), "a refused channel is none");
    // in all more; the control channel is one of them.
    (0..unnamed).for_each(|n| assert_eq!(crowd.step(name(n)).len(), 1));
    for n in unnamed..limits::CHANNELS_PER_LINK as u64 - 1 {
        assert_eq!(closed(&crowd.step(up(n))), None, "{n}");
        crowd.step(name(n));
    }
    assert_eq!(closed(&crowd.step(up(4_000))), Some(CloseCode::BUSY));
    let channel = ChannelId::driver(10);
    crowd.step(Event::ChannelDown { channel, reason: DownReason::Finished });
    assert_eq!(closed(&crowd.step(up(4_001))), None);
}

/// LINK-15: lower limits refuse newcomers of each kind; what was let in stays.
#[test]
fn link_15_limits_change_while_links_are_there() {
    let mut crowd = Crowd::new();
    (0..8).for_each(|n| assert_eq!(closed(&crowd.admit(n)), None));
    (100..108).for_each(|n| assert_eq!(closed(&crowd.up(n, Side::Listener)), None));
    let up = |n: u64| Event::ChannelUp { link: LinkId(0), channel: ChannelId::driver(1_000 + n) };
    (0..4).for_each(|n| assert_eq!(closed(&crowd.step(up(n))), None));

    let few = LinkLimits {
        links: 4,
        handshakes: 2,
        channels_per_link: 3,
        handshake_timeout: Duration::from_secs(1),
        ..LinkLimits::default()
    };
    assert!(crowd.step(Event::Limits(few)).is_empty(), "nobody is put out");
    assert_eq!(closed(&crowd.step(up(4))), Some(CloseCode::BUSY));
    assert_eq!(closed(&crowd.up(108, Side::Listener)), Some(CloseCode::BUSY));
    crowd.step(Event::Limits(LinkLimits { handshakes: 100, ..few }));
    assert_eq!(closed(&crowd.admit(9)), Some(CloseCode::BUSY), "no more links");
    assert_eq!(closed(&crowd.up(109, Side::Listener)), None);
    assert_eq!(crowd.core.paths().len(), 8);

    // Who came before has the time of then.
    crowd.now = crowd.now + Duration::from_secs(2);
    let late = crowd.step(Event::Timeout);
    let refused = |action: &Action| match action {
        Action::CloseLink { link, code } => Some((link.0, *code)),
        _ => None,
    };
    let late: Vec<_> = late.iter().filter_map(refused).collect();
    assert_eq!(late, [(109, CloseCode::TIMEOUT)]);

    crowd.step(Event::Limits(LinkLimits::default()));
    assert_eq!(closed(&crowd.admit(10)), None);
    assert_eq!(closed(&crowd.step(up(5))), None);
}

/// LINK-15: a hello above the node's own limit is not read; it is no violation.
#[test]
fn link_15_large_hellos_may_be_refused() {
    for (bytes, expected) in [(1_024, None), (1_025, Some(CloseCode::NOT_ADMITTED))] {
        let mut bench = Bench::new();
        bench.step(Event::Limits(LinkLimits { hello_bytes: 1_024, ..LinkLimits::default() }));
        bench.run("up 1 x listener");
        bench.run("channel 1 3 data=01");
        let mut chunk = frame(HELLO, &[]).to_vec();
        chunk[1..].copy_from_slice(&u32::to_be_bytes(bytes));
        let actions = bench.step(Event::Data { channel: ChannelId(3), chunk: chunk.into() });
        assert_eq!(closed(&actions), expected, "{bytes}");
        let violation = actions.iter().any(|a| matches!(a, Action::Count(Counter::Violation)));
        assert!(!violation);
    }
}

/// Every refusal is counted once, under the code that the peer is told.
#[test]
fn link_15_refusals_are_counted_by_code() {
    let counted = |actions: &[Action]| {
        let mut codes = actions.iter().filter_map(|action| match action {
            Action::Count(Counter::Refused(code)) => Some(*code),
            _ => None,
        });
        (codes.next(), codes.next())
    };
    let mut crowd = Crowd::new();
    crowd.step(Event::Limits(LinkLimits { links: 1, handshakes: 1, ..LinkLimits::default() }));
    assert_eq!(counted(&crowd.admit(0)), (None, None));
    assert_eq!(counted(&crowd.admit(1)), (Some(CloseCode::BUSY), None));
    assert_eq!(counted(&crowd.up(2, Side::Listener)), (None, None));
    assert_eq!(counted(&crowd.up(3, Side::Listener)), (Some(CloseCode::BUSY), None));
    crowd.now = crowd.now + limits::HANDSHAKE_TIMEOUT;
    assert_eq!(counted(&crowd.step(Event::Timeout)), (Some(CloseCode::TIMEOUT), None));
    crowd.up(4, Side::Listener);
    let (link, channel) = (LinkId(4), ChannelId::driver(4));
    crowd.step(Event::ChannelUp { link, channel });
    let chunk = Bytes::from_static(&[9]);
    let nonsense = crowd.step(Event::Data { channel, chunk });
    assert_eq!(counted(&nonsense), (Some(CloseCode::PROTOCOL_VIOLATION), None));
    // Of an admitted link it is a violation, and no refusal.
    let (link, code) = (LinkId(0), CloseCode::PROTOCOL_VIOLATION);
    let found = crowd.step(Event::CloseLink { link, code });
    assert!(matches!(found[0], Action::Count(Counter::Violation)));
    assert_eq!((counted(&found), closed(&found)), ((None, None), Some(code)));
}

/// LINK-17: thousands of peers that nobody can reach cost one dial each at a time, no timers, and
/// do not keep us from coming back to a peer that we had a link with.
#[test]
fn link_17_invented_peers_do_not_delay_those_we_know() {
    let mut crowd = Crowd::new();
    crowd.admit(0);
    let interest = Interest::Discovery;
    for n in 1..10_000 {
        crowd.step(Event::Want { interest, peer: stranger(n).id(), addrs: Vec::new() });
    }
    let first = crowd.step(Event::Timeout);
    assert_eq!(first.len(), limits::STRANGER_DIALS);
    assert_eq!(crowd.core.deadline(), None, "who waits for others needs no timer");
    let known = stranger(0).id();
    crowd.step(Event::Want { interest: Interest::Streams, peer: known, addrs: Vec::new() });
    crowd.step(Event::LinkDown { link: LinkId(0), reason: DownReason::Lost });
    crowd.now = crowd.core.deadline().expect("its next dial");
    let again = crowd.step(Event::Timeout);
    assert!(matches!(again[..], [Action::Dial { peer, .. }] if peer == known), "{again:?}");
    // The same for one that the application names.
    let named = stranger(20_000).id();
    let addrs = vec![([127, 0, 0, 1], 9).into()];
    crowd.step(Event::Want { interest, peer: named, addrs });
    let asked = crowd.step(Event::Timeout);
    assert!(matches!(asked[..], [Action::Dial { peer, .. }] if peer == named), "{asked:?}");
    // One that ends lets the next begin, in order.
    let Action::Dial { peer, .. } = first[0] else { panic!() };
    let next = crowd.step(Event::DialFailed { peer, reason: DialError::Timeout });
    let dials = next.iter().filter(|action| matches!(action, Action::Dial { .. })).count();
    assert_eq!(dials, 1);
}

#[test]
fn link_10_dials_wait_their_turn() {
    let mut crowd = Crowd::new();
    let all = 2 * limits::DIALS;
    let interest = Interest::Discovery;
    for n in 0..all as u64 {
        let addrs = vec![([127, 0, 0, 1], 9).into()];
        crowd.step(Event::Want { interest, peer: stranger(n).id(), addrs });
    }
    let mut running: VecDeque<_> = crowd.step(Event::Timeout).into();
    assert_eq!(running.len(), limits::DIALS);
    let mut dialled = 0;
    while let Some(action) = running.pop_front() {
        let Action::Dial { peer, .. } = action else { panic!("{action:?}") };
        dialled += 1;
        crowd.step(Event::Unwant { interest, peer });
        running.extend(crowd.step(Event::DialFailed { peer, reason: DialError::Timeout }));
        assert!(running.len() <= limits::DIALS);
    }
    assert_eq!((dialled, crowd.core.deadline()), (all, None));
}

/// LINK-13, W6: anything in any order, from honest drivers with dishonest peers; the bench watches
/// the invariants.
#[test]
fn link_13_nothing_that_peers_do_breaks_an_invariant() {
    for seed in 0..300u32 {
        let mut rng = Rng::new([seed as u8; 32]).fork(&seed.to_string());
        let mut bench = Bench::of("m", [seed as u8; 32]);
        let mut links: Vec<(u64, &str)> = Vec::new();
        let mut channels = 10_001;
        for _ in 0..200 {
            let peer = ["b", "c", "x"][rng.below(3) as usize];
            let link = links.get(rng.below(links.len() as u64) as usize).copied();
            let command = match (rng.below(14), link) {
                (0, _) => format!("want {peer}"),
                (1, _) => format!("unwant {peer}"),
                (2, _) => format!("fail {peer}"),
                (3, _) => format!("advance {}ms", rng.below(3_000)),
                (4, _) | (_, None) => {
                    let side = if rng.chance(500_000) { "dialer" } else { "listener" };
                    links.push((links.len() as u64 + 1, peer));
                    format!("up {} {peer} {side}", links.len())
                }
                (5, Some((link, _))) => format!("drop {link} timeout"),
                (6..9, Some((link, _))) => format!("hello {link} {}", rng.below(20)),
                (9..11, Some((link, _))) => format!("ready {link}"),
                (11, Some((link, _))) => {
                    channels += 2;
                    format!("channel {link} {channels} data=0{}ff", 1 + rng.below(3))
                }
                (12, Some((link, _))) => format!("retire {link}"),
                (_, Some((link, _))) => format!("frame {link} {} payload=00", 16 + rng.below(9)),
            };
            // The transport is honest: what it closed or lost stays down.
            if link.is_none_or(|(link, _)| bench.is_up(link)) || !command.contains(' ') {
                bench.run(&command);
            }
        }
        bench.run("advance 60s");
        bench.run("shutdown");
        assert!(bench.core.paths().is_empty() && bench.core.deadline().is_none());
    }
}
