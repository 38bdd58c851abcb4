//! The QUIC transport over real sockets on loopback.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    channel::oneshot,
    future::{FutureExt as _, join, join_all},
};
use mosaik_driver::{
    quic::{DIAL_TIMEOUT, IDLE_MAX, QuicLink, QuicRead, QuicTransport, QuicWrite},
    transport::{ChunkRead, ChunkWrite, Link, Transport},
};
use mosaik_proto::{
    PeerId,
    crypto::SecretKey,
    links::{DialError, DownReason, LinkLimits},
    wire::{CloseCode, Head},
};

use super::stranger::{connect_raw, raw_config};
use crate::on::{self, Mortal};

/// A transport at a free port of loopback.
fn node(seed: u8) -> (QuicTransport, PeerId, Vec<SocketAddr>) {
    node_on(on::quinn(), seed)
}

fn node_on(runtime: Arc<dyn quinn::Runtime>, seed: u8) -> (QuicTransport, PeerId, Vec<SocketAddr>) {
    bound(runtime, seed, Ipv4Addr::LOCALHOST)
}

fn bound(
    runtime: Arc<dyn quinn::Runtime>,
    seed: u8,
    ip: Ipv4Addr,
) -> (QuicTransport, PeerId, Vec<SocketAddr>) {
    let key = SecretKey::from_bytes(&[seed; 32]);
    let addrs = BTreeSet::from([SocketAddr::from((ip, 0))]);
    let transport = QuicTransport::bind(runtime, &key, &addrs).expect("bound");
    let addrs = transport.local_addrs().into_iter().collect();
    (transport, key.public(), addrs)
}

/// Two nodes and both ends of a link between them.
struct Pair {
    a: QuicTransport,
    b: QuicTransport,
    dialled: QuicLink,
    accepted: QuicLink,
}

async fn pair() -> Pair {
    let (a, _, _) = node(1);
    let (b, peer_b, addrs_b) = node(2);
    let (dialled, accepted) = join(a.dial(peer_b, addrs_b), b.accept()).await;
    Pair { a, b, dialled: dialled.expect("dialled"), accepted: accepted.expect("accepted") }
}

type Channel = (QuicRead, QuicWrite);

/// A channel whose first byte has arrived.
async fn channel(pair: &Pair) -> (Channel, Channel) {
    let (read, mut write) = pair.dialled.open().await.expect("opened");
    write.write(Head::new(), Bytes::from_static(&[0])).await.expect("written");
    let (mut far_read, far_write) = pair.accepted.accept().await.expect("accepted");
    assert_eq!(read_exactly(&mut far_read, 1).await, [0]);
    ((read, write), (far_read, far_write))
}

async fn read_exactly(read: &mut QuicRead, len: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    while chunks.iter().map(Bytes::len).sum::<usize>() < len {
        assert_eq!(read.read(&mut chunks).await, Ok(true), "the channel goes on");
    }
    let bytes = chunks.concat();
    assert_eq!(bytes.len(), len);
    bytes
}

/// Runs a task in the background, which ends before the test does.
fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let (done, result) = oneshot::channel();
    on::quinn().spawn(Box::pin(async move {
        let _ = done.send(task.await);
    }));
    async { result.await.expect("the task has not panicked") }
}

/// The reason why reading ends; what comes before is skipped.
async fn read_end(read: &mut QuicRead) -> Result<(), DownReason> {
    let mut chunks = Vec::new();
    while read.read(&mut chunks).await? {
        chunks.clear();
    }
    Ok(())
}

async fn both_ends_prove_their_keys() {
    let pair = pair().await;
    assert_eq!(pair.dialled.peer(), SecretKey::from_bytes(&[2; 32]).public());
    assert_eq!(pair.accepted.peer(), SecretKey::from_bytes(&[1; 32]).public());
    assert!(pair.dialled.rtt() < Duration::from_secs(1));
}

/// LINK-18: what a proof is bound to is known to both ends of a link, and is of this link only.
async fn link_18_both_ends_of_a_link_and_no_other_have_its_binding() {
    let Pair { a, b, dialled, accepted } = pair().await;
    assert_eq!(dialled.binding(), accepted.binding());
    let addrs: Vec<_> = b.local_addrs().into_iter().collect();
    let (again, other_end) = join(a.dial(dialled.peer(), addrs), b.accept()).await;
    let (again, other_end) = (again.expect("dialled"), other_end.expect("accepted"));
    assert_eq!(again.binding(), other_end.binding());
    assert_ne!(again.binding(), dialled.binding());
    assert_ne!(again.binding(), [0; 32]);
}

async fn every_link_proves_the_keys_again() {
    let Pair { a, b, dialled, .. } = pair().await;
    let addrs: Vec<_> = b.local_addrs().into_iter().collect();
    for _ in 0..3 {
        let (again, accepted) = join(a.dial(dialled.peer(), addrs.clone()), b.accept()).await;
        assert_eq!(again.expect("dialled").peer(), dialled.peer());
        assert_eq!(accepted.expect("accepted").peer(), SecretKey::from_bytes(&[1; 32]).public());
    }
}

async fn another_key_at_the_address_is_a_wrong_peer() {
    let (a, _, _) = node(1);
    let (_b, _, addrs) = node(2);
    let expected = SecretKey::from_bytes(&[3; 32]).public();
    assert_eq!(a.dial(expected, addrs).await.map(drop), Err(DialError::WrongPeer));
}

async fn a_wrong_peer_does_not_hide_the_right_one() {
    let (a, _, _) = node(1);
    let (_b, _, mut addrs) = node(2);
    let (c, peer_c, addrs_c) = node(3);
    addrs.extend(addrs_c);
    let (dialled, accepted) = join(a.dial(peer_c, addrs), c.accept()).await;
    assert_eq!(dialled.expect("dialled").peer(), peer_c);
    assert!(accepted.is_some());
}

async fn clients_without_a_proved_key_are_refused() {
    let (b, peer_b, addrs_b) = node(2);
    let victim = SecretKey::from_bytes(&[9; 32]).public();
    let attacker = SecretKey::from_bytes(&[8; 32]);
    for config in [raw_config(None), raw_config(Some((victim, &attacker)))] {
        // The client's side may finish first; the server then ends the connection.
        let refused = match connect_raw(config, addrs_b[0]).await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        };
        assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused:?}");
    }
    // The same client is taken with a key of its own; nothing came before it.
    let honest = raw_config(Some((attacker.public(), &attacker)));
    let (connected, accepted) = join(connect_raw(honest, addrs_b[0]), b.accept()).await;
    assert_eq!(accepted.expect("accepted").peer(), attacker.public());
    assert!(connected.is_ok());
    assert_ne!(peer_b, attacker.public());
}

async fn chunks_come_back_in_order() {
    let pair = pair().await;
    let ((mut read, mut write), (mut far_read, mut far_write)) = channel(&pair).await;
    let echo = async {
        let mut chunks = Vec::new();
        while far_read.read(&mut chunks).await.expect("no error") {
            for chunk in chunks.drain(..) {
                far_write.write(Head::new(), chunk).await.expect("written");
            }
        }
        far_write.finish();
    };
    let mut sent = Vec::new();
    let send = async {
        for (round, len) in [0, 1, 1_023, 1_024, 100_000, 0].into_iter().enumerate() {
            let head = Head::new().with(&[round as u8; 9]);
            let body = Bytes::from(vec![round as u8 ^ 0xff; len]);
            sent.extend_from_slice(head.as_slice());
            sent.extend_from_slice(&body);
            write.write(head, body).await.expect("written");
        }
        write.write(Head::new(), Bytes::new()).await.expect("nothing is written at once");
        write.finish();
    };
    let receive = async {
        let mut chunks = Vec::new();
        while read.read(&mut chunks).await.expect("no error") {}
        chunks.concat()
    };
    let ((), ((), received)) = join(echo, join(send, receive)).await;
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

async fn bulk_arrives_complete() {
    const TOTAL: usize = 64 << 20;
    let pair = pair().await;
    let ((_read, mut write), (mut far_read, _far_write)) = channel(&pair).await;
    let body = Bytes::from((0..64 * 1024).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    let began = Instant::now();
    let expected = body.clone();
    let sender = spawn(async move {
        for _ in 0..TOTAL / body.len() {
            write.write(Head::new(), body.clone()).await.expect("written");
        }
        write.finish();
    });
    let mut chunks = Vec::new();
    let mut at = 0;
    while far_read.read(&mut chunks).await.expect("no error") {
        for chunk in chunks.drain(..) {
            let offset = at % expected.len();
            let first = chunk.len().min(expected.len() - offset);
            assert!(chunk[..first] == expected[offset..offset + first]);
            assert!(chunk[first..] == expected[..chunk.len() - first]);
            at += chunk.len();
        }
    }
    sender.await;
    assert_eq!(at, TOTAL);
    let rate = TOTAL as f64 / 1_048_576.0 / began.elapsed().as_secs_f64();
    println!("64 MiB at {rate:.0} MiB/s");
}

async fn close_codes_arrive() {
    let pair = pair().await;
    let ((mut read, _write), (mut far_read, mut far_write)) = channel(&pair).await;
    pair.accepted.close(CloseCode::NOT_ADMITTED);
    let closed = DownReason::Closed(CloseCode::NOT_ADMITTED);
    assert_eq!(pair.dialled.closed().await, closed);
    assert_eq!(pair.dialled.open().await.map(drop), Err(closed));
    assert_eq!(pair.dialled.accept().await.map(drop), Err(closed));
    assert_eq!(read_end(&mut read).await, Err(closed));
    let local = DownReason::Local(CloseCode::NOT_ADMITTED);
    assert_eq!(pair.accepted.closed().await, local);
    assert_eq!(read_end(&mut far_read).await, Err(local));
    let body = Bytes::from_static(b"late");
    assert_eq!(far_write.write(Head::new(), body).await, Err(local));
}

async fn a_finished_channel_ends_without_an_error() {
    let pair = pair().await;
    let ((_read, mut write), (mut far_read, _far_write)) = channel(&pair).await;
    write.write(Head::new(), Bytes::from_static(b"last words")).await.expect("written");
    write.finish();
    drop(write);
    assert_eq!(read_exactly(&mut far_read, 10).await, b"last words");
    let mut chunks = Vec::new();
    assert_eq!(far_read.read(&mut chunks).await, Ok(false));
    assert_eq!(far_read.read(&mut chunks).await, Ok(false), "and stays so");
    assert!(chunks.is_empty());
}

async fn reset_and_stop_carry_their_codes() {
    let pair = pair().await;
    let ((mut read, mut write), (mut far_read, mut far_write)) = channel(&pair).await;
    write.reset(CloseCode::STREAM_TOO_SLOW);
    let slow = DownReason::Closed(CloseCode::STREAM_TOO_SLOW);
    assert_eq!(read_end(&mut far_read).await, Err(slow));
    let late = write.write(Head::new(), Bytes::from_static(b"x")).await;
    assert_eq!(late, Err(DownReason::Local(CloseCode::STREAM_TOO_SLOW)));

    read.stop(CloseCode::IDLE);
    let body = Bytes::from(vec![0; 64 * 1024]);
    let refused = loop {
        if let Err(reason) = far_write.write(Head::new(), body.clone()).await {
            break reason;
        }
    };
    assert_eq!(refused, DownReason::Closed(CloseCode::IDLE));
    assert_eq!(read_end(&mut read).await, Err(DownReason::Local(CloseCode::IDLE)));
}

async fn a_dropped_channel_does_not_look_complete() {
    let pair = pair().await;
    let ((read, write), (mut far_read, mut far_write)) = channel(&pair).await;
    drop((read, write));
    let cancelled = Err(DownReason::Closed(CloseCode::CANCELLED));
    assert_eq!(read_end(&mut far_read).await, cancelled);
    let body = Bytes::from(vec![0; 64 * 1024]);
    while far_write.write(Head::new(), body.clone()).await.is_ok() {}
    assert_eq!(far_write.write(Head::new(), body).await, cancelled);
}

async fn reading_can_be_cancelled() {
    let pair = pair().await;
    let ((_read, mut write), (mut far_read, _far_write)) = channel(&pair).await;
    let mut chunks = Vec::new();
    for round in 0..100u8 {
        // Polled once and dropped, whether there is something already or not.
        let _ = far_read.read(&mut chunks).now_or_never();
        write.write(Head::new(), Bytes::from(vec![round; 100])).await.expect("written");
    }
    write.finish();
    while far_read.read(&mut chunks).await.expect("no error") {}
    assert_eq!(chunks.concat(), (0..100u8).flat_map(|round| [round; 100]).collect::<Vec<_>>());
}

async fn closing_the_transport_tells_everybody() {
    let Pair { a, b, dialled, accepted } = pair().await;
    b.close(CloseCode::GRACEFUL_SHUTDOWN);
    assert_eq!(dialled.closed().await, DownReason::Closed(CloseCode::GRACEFUL_SHUTDOWN));
    assert_eq!(accepted.closed().await, DownReason::Local(CloseCode::GRACEFUL_SHUTDOWN));
    assert!(b.accept().await.is_none());
    b.drained().await;
    let addrs = a.local_addrs().into_iter().collect();
    let late = b.dial(accepted.peer(), addrs).await;
    assert_eq!(late.map(drop), Err(DialError::Transport));
}

async fn dropping_the_transport_closes_its_links() {
    let Pair { a: _a, b, dialled, accepted } = pair().await;
    drop(b);
    assert_eq!(dialled.closed().await, DownReason::Closed(CloseCode::CANCELLED));
    assert_eq!(accepted.closed().await, DownReason::Local(CloseCode::CANCELLED));
}

async fn dropping_all_handles_of_a_link_closes_it() {
    let Pair { a: _a, b: _b, dialled, accepted } = pair().await;
    drop(accepted);
    assert_eq!(dialled.closed().await, DownReason::Closed(CloseCode::UNEXPECTED));
}

/// A process that is killed says nothing. Its links go down all the same, and idle links to the
/// living do not.
async fn the_dead_are_noticed_and_the_silent_are_not() {
    let Pair { a, b: _b, dialled, accepted } = pair().await;
    let process = Mortal::new();
    let (doomed, peer, addrs) = node_on(process.quinn(), 4);
    let to_doomed = a.dial(peer, addrs).await.expect("dialled");
    let killed = Instant::now();
    process.kill();
    assert_eq!(to_doomed.closed().await, DownReason::Timeout);
    let took = killed.elapsed();
    assert!(took < IDLE_MAX + Duration::from_secs(3), "{took:?}");
    drop(doomed);
    let (_read, mut write) = dialled.open().await.expect("the link stands");
    write.write(Head::new(), Bytes::from_static(b"x")).await.expect("written");
    assert!(accepted.accept().await.is_ok());
}

async fn silence_is_a_timeout() {
    let (a, _, _) = node(1);
    let mute = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let addr = mute.local_addr().expect("its address");
    let peer = SecretKey::from_bytes(&[2; 32]).public();
    let began = Instant::now();
    assert_eq!(a.dial(peer, vec![addr]).await.map(drop), Err(DialError::Timeout));
    let took = began.elapsed();
    assert!(took >= DIAL_TIMEOUT && took < DIAL_TIMEOUT + Duration::from_secs(3), "{took:?}");
}

async fn a_silent_address_delays_the_next_by_a_moment() {
    let (a, _, _) = node(1);
    let (b, peer_b, addrs_b) = node(2);
    let mute = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let mut addrs = vec![mute.local_addr().expect("its address")];
    addrs.extend(addrs_b);
    let began = Instant::now();
    let (dialled, _accepted) = join(a.dial(peer_b, addrs), b.accept()).await;
    assert!(dialled.is_ok());
    assert!(began.elapsed() < DIAL_TIMEOUT / 2);
}

async fn without_a_usable_address_a_dial_fails_at_once() {
    let (a, peer, _) = node(1);
    let none = ["0.0.0.0:9", "127.0.0.1:0", "224.0.0.1:9"].map(|addr| addr.parse().expect("addr"));
    assert_eq!(a.dial(peer, Vec::new()).await.map(drop), Err(DialError::NoAddress));
    assert_eq!(a.dial(peer, none.to_vec()).await.map(drop), Err(DialError::NoAddress));
    let other_family = vec!["[::1]:9".parse().expect("addr")];
    assert_eq!(a.dial(peer, other_family).await.map(drop), Err(DialError::Transport));
}

async fn two_hundred_dial_at_once() {
    let (b, peer_b, addrs_b) = node(2);
    let b = Arc::new(b);
    let acceptor = spawn({
        let b = b.clone();
        async move {
            let mut links = Vec::new();
            while links.len() < 200 {
                let link = b.accept().await.expect("open");
                link.admitted();
                links.push(link);
            }
            links
        }
    });
    let dialers: Vec<_> = (0..20).map(|seed| node(100 + seed).0).collect();
    let dials = (0..200).map(|at| dialers[at % 20].dial(peer_b, addrs_b.clone()));
    let dialled: Result<Vec<_>, _> = join_all(dials).await.into_iter().collect();
    assert_eq!(dialled.expect("all of them").len(), 200);
    let peers: BTreeSet<_> = acceptor.await.iter().map(Link::peer).collect();
    assert_eq!(peers.len(), 20);
}

/// LINK-16: links that are not admitted keep their seats, whoever took them; one address gets half.
async fn a_crowd_that_nobody_admits_is_refused_and_leaves_seats_for_others() {
    let (b, peer_b, addrs_b) = node(2);
    let refusals = Arc::new(std::sync::Mutex::new(Vec::new()));
    b.on_refused({
        let refusals = refusals.clone();
        Arc::new(move |code| refusals.lock().expect("no panic").push(code))
    });
    let (a, _, _) = node(1);
    let dials = (0..300).map(|_| a.dial(peer_b, addrs_b.clone()));
    let (made, refused): (Vec<_>, Vec<_>) =
        join_all(dials).await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), mosaik_proto::limits::HANDSHAKES / 2);
    let errors: Vec<_> = refused.into_iter().filter_map(Result::err).collect();
    let told = |error: &DialError| *error == DialError::Closed(CloseCode::BUSY);
    assert!(errors.iter().all(told), "{errors:?}");
    let counted = refusals.lock().expect("no panic").clone();
    assert!(counted.len() >= errors.len());
    assert!(counted.iter().all(|code| *code == CloseCode::BUSY), "{counted:?}");

    let elsewhere = bound(on::quinn(), 3, Ipv4Addr::new(127, 0, 0, 2)).0;
    let link = elsewhere.dial(peer_b, addrs_b.clone()).await.expect("another address has a seat");
    // Taken is not admitted; admitted is no handshake any more.
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(b.accept().await.expect("open"));
    }
    assert_eq!(
        a.dial(peer_b, addrs_b.clone()).await.err(),
        Some(DialError::Closed(CloseCode::BUSY))
    );
    taken.iter().for_each(Link::admitted);
    let more = a.dial(peer_b, addrs_b.clone()).await.expect("a seat");
    b.set_limits(LinkLimits { handshakes_per_ip: 1, ..LinkLimits::default() });
    assert_eq!(a.dial(peer_b, addrs_b).await.err(), Some(DialError::Closed(CloseCode::BUSY)));
    drop((made, link, more));
}

async fn without_addresses_it_listens_everywhere() {
    let key = SecretKey::from_bytes(&[2; 32]);
    let b = QuicTransport::bind(on::quinn(), &key, &BTreeSet::new()).expect("bound");
    let told = b.local_addrs();
    assert!(told.iter().any(|addr| addr.ip().is_loopback()));
    assert!(told.iter().all(|addr| addr.port() != 0 && !addr.ip().is_unspecified()));
    let a = QuicTransport::bind(on::quinn(), &[1; 32].into(), &BTreeSet::new()).expect("bound");
    for addr in told.into_iter().filter(|addr| addr.ip().is_loopback()) {
        let dialled = a.dial(key.public(), vec![addr]).await;
        assert!(dialled.is_ok() && b.accept().await.is_some(), "over {addr}");
    }
}

tests! {
    one_thread:
    both_ends_prove_their_keys
    link_18_both_ends_of_a_link_and_no_other_have_its_binding
    every_link_proves_the_keys_again
    another_key_at_the_address_is_a_wrong_peer
    a_wrong_peer_does_not_hide_the_right_one
    clients_without_a_proved_key_are_refused
    chunks_come_back_in_order
    close_codes_arrive
    a_finished_channel_ends_without_an_error
    reset_and_stop_carry_their_codes
    a_dropped_channel_does_not_look_complete
    reading_can_be_cancelled
    closing_the_transport_tells_everybody
    dropping_the_transport_closes_its_links
    dropping_all_handles_of_a_link_closes_it
    the_dead_are_noticed_and_the_silent_are_not
    silence_is_a_timeout
    a_silent_address_delays_the_next_by_a_moment
    without_a_usable_address_a_dial_fails_at_once
    without_addresses_it_listens_everywhere
}

tests! {
    many_threads:
    bulk_arrives_complete
    two_hundred_dial_at_once
    a_crowd_that_nobody_admits_is_refused_and_leaves_seats_for_others
}
