//! Peers that are wrong, silent or endless before they are admitted. A key is proved in all cases.

mod common;
mod hostile;

use std::time::Duration;

use common::{eventually, soon, within};
use futures::future::join_all;
use hostile::{
    CONTROL, HELLO, Hostile, READY, STREAM, Victim, counted,
    counts::refused,
    entries::{Fields, hello, wall},
    memory,
    peer::{announced, frame},
    report,
    victim::hasty,
};
use mosaik::{
    driver::transport::Transport as _,
    network::LinkLimits,
    proto::{limits, links::DialError, time::UnixMillis, wire::PROTOCOL_VERSION},
    *,
};

/// One way to introduce oneself: what it is, the bytes of the first channel, and how it ends.
type Introduction = (&'static str, Vec<u8>, CloseCode);

/// What is not a hello, or not one of ours (LINK-01, LINK-03, WIRE-01, WIRE-03, WIRE-04).
fn introductions(me: &Hostile) -> Vec<Introduction> {
    let (network, key, entry) = (me.network, &me.key, me.entry());
    let with = |first: u8, rest: Vec<u8>| [vec![first], rest].concat();
    let hello_of = |payload: Vec<u8>| with(CONTROL, frame(HELLO, &payload));
    let of_entry = |entry: &[u8]| hello_of(hello(PROTOCOL_VERSION, network, 0, entry));
    let changed = |change: &dyn Fn(&mut Fields)| {
        let mut fields = me.fields.clone();
        change(&mut fields);
        of_entry(&fields.signed(key))
    };
    let other = SecretKey::generate();
    let good = me.hello();
    let mut flipped = entry.clone();
    *flipped.last_mut().expect("a signature") ^= 1;
    let version = |n| hello_of(hello(n, network, 0, &entry));
    let violation = CloseCode::PROTOCOL_VIOLATION;
    let mut all = vec![
        ("an older version", version(PROTOCOL_VERSION - 1), CloseCode::VERSION_MISMATCH),
        ("a newer version", version(u16::MAX), CloseCode::VERSION_MISMATCH),
        (
            "another network",
            hello_of(hello(PROTOCOL_VERSION, NetworkId::random(), 0, &entry)),
            CloseCode::DIFFERENT_NETWORK,
        ),
        ("an entry of another network", changed(&|f| f.network = NetworkId::random()), violation),
        (
            "an entry of another key",
            of_entry(&Fields::honest(network, &other).signed(&other)),
            violation,
        ),
        ("an entry that another key signed", of_entry(&me.fields.signed(&other)), violation),
        ("a signature with a flipped bit", of_entry(&flipped), violation),
        (
            "too many tags",
            changed(&|f| f.tags.extend((0..1_025).map(UniqueId::from_u64))),
            violation,
        ),
        ("an empty hello", hello_of(Vec::new()), violation),
        ("garbage", hello_of(vec![0xff; 300]), violation),
        ("a byte less", hello_of(good[..good.len() - 1].to_vec()), violation),
        ("a byte more", hello_of([good.clone(), vec![0]].concat()), violation),
        ("READY first", with(CONTROL, frame(READY, &[])), violation),
        ("discovery first", with(CONTROL, frame(18, &[])), violation),
        ("an unknown frame", with(CONTROL, frame(200, &[])), violation),
        ("a stream first", with(STREAM, frame(1, &[])), violation),
        ("no protocol of ours", with(77, Vec::new()), violation),
        ("two hellos", hello_of([good.clone(), Vec::new()].concat()), CloseCode::SUCCESS),
    ];
    let last = all.last_mut().expect("some");
    last.1.extend(frame(HELLO, &good));
    last.2 = violation;
    let limit = limits::HELLO_BYTES;
    for (what, length) in [("a byte too long", limit + 1), ("4 GiB", u32::MAX)] {
        all.push((what, with(CONTROL, announced(HELLO, length)), violation));
    }
    // Nothing is wrong with these but that they never end.
    all.push(("silence behind the first byte", with(CONTROL, Vec::new()), CloseCode::TIMEOUT));
    all.push(("half a header", with(CONTROL, vec![HELLO, 0]), CloseCode::TIMEOUT));
    all.push((
        "half a hello",
        with(CONTROL, [announced(HELLO, limit), vec![0; 99]].concat()),
        CloseCode::TIMEOUT,
    ));
    all.push(("no READY", hello_of(good), CloseCode::TIMEOUT));
    all
}

fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::VERSION_MISMATCH => "version_mismatch",
        CloseCode::DIFFERENT_NETWORK => "different_network",
        CloseCode::PROTOCOL_VIOLATION => "protocol_violation",
        CloseCode::TIMEOUT => "timeout",
        CloseCode::BUSY => "busy",
        other => panic!("{other}"),
    }
}

/// Each is refused with its code, counted under its reason, and unknown to the catalog.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_introductions_are_refused_with_their_code() {
    let victim = Victim::with(hasty()).await;
    let me = Hostile::new(*victim.node.network_id());
    for (what, bytes, code) in introductions(&me) {
        let before = refused(&victim.node, reason(code));
        let raw = me.connect(&victim.node).await;
        let mut control = raw.open_silent().await;
        control.send(&bytes).await;
        assert_eq!(raw.closed().await, code, "{what}");
        assert_eq!(refused(&victim.node, reason(code)), before + 1, "{what}");
        assert!(victim.node.discovery().catalog().get(&me.id()).is_none(), "{what}");
    }
    let before = refused(&victim.node, "timeout");
    let mute = me.connect(&victim.node).await;
    assert_eq!(mute.closed().await, CloseCode::TIMEOUT);
    assert_eq!(refused(&victim.node, "timeout"), before + 1);
    // The same peer, when it behaves.
    let (raw, _control) = me.join(&victim.node).await;
    eventually(|| victim.node.discovery().catalog().get(&me.id()).is_some()).await;
    raw.close();
    victim.was_undisturbed().await;
}

/// LINK-03: a second channel before the hello is answered; LINK-02: after it, it admits.
#[tokio::test(flavor = "multi_thread")]
async fn no_channel_before_the_hello() {
    let victim = Victim::new().await;
    let me = Hostile::new(*victim.node.network_id());
    let raw = me.connect(&victim.node).await;
    let _control = raw.open(CONTROL).await;
    let _second = raw.stream(&frame(1, &[0; 64])).await;
    assert_eq!(raw.closed().await, CloseCode::PROTOCOL_VIOLATION);
    assert_eq!(counted(&victim.node, "mosaik.links.violations", ""), 1);
    victim.was_undisturbed().await;
}

/// A hello may come byte by byte, in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_byte_by_byte_is_a_hello() {
    let victim = Victim::new().await;
    let me = Hostile::new(*victim.node.network_id());
    let raw = me.connect(&victim.node).await;
    let mut control = raw.open_silent().await;
    let bytes = [vec![CONTROL], frame(HELLO, &me.hello()), frame(READY, &[])].concat();
    for byte in &bytes {
        control.send(&[*byte]).await;
    }
    assert_eq!(control.next().await.expect("an answer").kind, HELLO);
    eventually(|| victim.node.discovery().catalog().get(&me.id()).is_some()).await;
    drop((raw, control));
    victim.was_undisturbed().await;
}

/// An announced hello that trickles holds what it sent, no more, and not for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_trickles_costs_what_it_sends() {
    let victim = Victim::with(hasty()).await;
    let before = memory();
    let peers: Vec<_> = (0..100).map(|_| Hostile::new(*victim.node.network_id())).collect();
    let trickles = peers.iter().map(|me| async {
        let raw = me.connect(&victim.node).await;
        let mut control = raw.open(CONTROL).await;
        control.send(&announced(HELLO, limits::HELLO_BYTES)).await;
        for _ in 0..20 {
            control.send(&[0]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(raw.closed().await, CloseCode::TIMEOUT);
    });
    soon(join_all(trickles)).await;
    report("a hundred trickling hellos", before);
    assert_eq!(refused(&victim.node, "timeout"), 100);
    victim.was_undisturbed().await;
}

/// DISC-04: an entry from the future admits a link but not the entry.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_the_future_is_linked_and_not_believed() {
    let victim = Victim::new().await;
    let mut me = Hostile::new(*victim.node.network_id());
    me.fields.wall = UnixMillis(wall().0 + 3_600_000);
    let (raw, _control) = me.join(&victim.node).await;
    eventually(|| counted(&victim.node, "mosaik.discovery.entries.refused", "drift") == 1).await;
    assert!(victim.node.discovery().catalog().get(&me.id()).is_none());
    let mut subscribe = raw.stream(&hostile::peer::subscribe(victim.producer.stream_id())).await;
    assert_eq!(subscribe.ended().await, CloseCode::UNKNOWN_PEER);
    victim.was_undisturbed().await;
}

/// The same from the other side: the node dials, and who answers is wrong (LINK-01, LINK-02).
#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_refused_with_their_code() {
    let victim = Victim::with(hasty()).await;
    let network = *victim.node.network_id();
    for n in 0.. {
        // A new key each time: nobody is dialled again at once.
        let me = Hostile::new(network);
        let Some((what, bytes, code)) = introductions(&me).into_iter().nth(n) else { break };
        // Answers have no protocol byte; the listener never says READY; silence is silence.
        let Some(answer) =
            bytes.get(1..).filter(|_| !["no READY", "a stream first"].contains(&what))
        else {
            continue;
        };
        let code = match what {
            "no protocol of ours" => CloseCode::TIMEOUT,
            _ => code,
        };
        let before = refused(&victim.node, reason(code));
        let addr = discovery::EndpointAddr::new(me.id(), me.transport.local_addrs());
        victim.node.discovery().dial(addr).await;
        let link = soon(me.transport.accept()).await.expect("a link");
        let raw = hostile::peer::Raw { link, home: me.transport.clone() };
        let mut control = raw.accept().await;
        control.send(answer).await;
        // A dialler admits on the hello, so a second one is a violation of an admitted link.
        assert_eq!(raw.closed().await, code, "{what}");
        if what != "two hellos" {
            // Those before are dialled again: one of them may have been refused meanwhile, too.
            assert!(refused(&victim.node, reason(code)) > before, "{what}");
        }
        me.transport.close(CloseCode::CANCELLED);
    }
    victim.was_undisturbed().await;
}

/// LINK-16: TLS that is never finished, from more sockets than there are seats for one source.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_leave_room_for_others() {
    let limits = LinkLimits { handshakes: 32, ..hasty() };
    let victim = Victim::with(limits).await;
    let to = victim.node.local().addr();
    let target =
        *to.addrs.iter().find(|addr| addr.ip().is_loopback() && addr.is_ipv4()).expect("one");
    let me = Hostile::new(*victim.node.network_id());
    // Whatever passes: the first packet of the dialler, and nothing back.
    let mut firsts = Vec::new();
    for _ in 0..64 {
        let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let at = relay.local_addr().expect("bound");
        let dial = me.transport.dial(to.id, vec![at]);
        let mut packet = vec![0; 2_000];
        let first = async {
            let (length, _) = relay.recv_from(&mut packet).await.expect("a packet");
            relay.send_to(&packet[..length], target).await.expect("sent");
        };
        tokio::select! {
            _ = dial => panic!("nobody answered"),
            () = first => {}
        }
        firsts.push(relay);
    }
    eventually(|| refused(&victim.node, "busy") >= 32).await;
    // Another address has a seat at once, this one when the first have had their time.
    let elsewhere = Hostile::bound(*victim.node.network_id(), [127, 0, 0, 2]);
    elsewhere.join(&victim.node).await;
    eventually(|| refused(&victim.node, "timeout") >= 16).await;
    me.join(&victim.node).await;
    victim.was_undisturbed().await;
}

/// The same with TLS finished and no hello: an address has half of the seats until they time out.
#[tokio::test(flavor = "multi_thread")]
async fn links_without_a_hello_leave_room_for_others() {
    let wait = Duration::from_secs(2);
    let limits = LinkLimits { handshakes: 32, handshake_timeout: wait, ..LinkLimits::default() };
    let victim = Victim::with(limits).await;
    let network = *victim.node.network_id();
    let peers: Vec<_> = (0..20).map(|_| Hostile::new(network)).collect();
    let mut mute = Vec::new();
    for me in &peers {
        match me.try_connect(&victim.node).await {
            Ok(raw) => mute.push(raw),
            Err(error) => assert_eq!(error, DialError::Closed(CloseCode::BUSY)),
        }
    }
    assert_eq!(mute.len(), 16);
    Hostile::bound(network, [127, 0, 0, 2]).join(&victim.node).await;
    for raw in &mute {
        assert_eq!(raw.closed().await, CloseCode::TIMEOUT);
    }
    within(wait, Hostile::new(network).join(&victim.node)).await;
    victim.was_undisturbed().await;
}
