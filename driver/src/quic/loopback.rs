//! A loopback of our own, for hosts whose loopback interface is down.
//!
//! A fresh network namespace (`unshare -n`) has an interface `lo` that nobody switched on: not even
//! 127.0.0.1 can be reached. Nodes of one process still reach each other: where the host has no
//! loopback when a socket is bound, packets to 127.0.0.1 go from socket to socket in memory. Like
//! UDP it is bounded and drops what does not fit; nothing above the socket knows the difference.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, Weak},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use quinn::udp::{RecvMeta, Transmit};

use super::socket::has_route;
use crate::sync::cell::lock;

/// Packets that wait for one socket; more are dropped, as a full socket buffer would do.
const PACKETS: usize = 1_024;

static SOCKETS: LazyLock<Mutex<BTreeMap<u16, Weak<Mailbox>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    data: Vec<u8>,
}

/// What arrived for one socket.
#[derive(Debug)]
pub(super) struct Mailbox {
    port: u16,
    packets: Mutex<VecDeque<Packet>>,
    waker: AtomicWaker,
}

/// A mailbox for a socket bound to `local`, if the host cannot carry its packets to itself.
pub(super) fn mailbox(local: SocketAddr) -> Option<Arc<Mailbox>> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ours = local.ip().is_unspecified() || local.ip() == ip;
    if !local.is_ipv4()
        || !ours
        || has_route(Ipv4Addr::UNSPECIFIED.into(), (ip, local.port()).into())
    {
        return None;
    }
    let mailbox = Arc::new(Mailbox {
        port: local.port(),
        packets: Mutex::default(),
        waker: AtomicWaker::new(),
    });
    lock(&SOCKETS).insert(local.port(), Arc::downgrade(&mailbox));
    Some(mailbox)
}

/// True if packets to this address are ours to carry.
pub(super) fn reaches(remote: SocketAddr) -> bool {
    of(remote).is_some()
}

fn of(remote: SocketAddr) -> Option<Arc<Mailbox>> {
    let local = remote.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
    if local { lock(&SOCKETS).get(&remote.port())?.upgrade() } else { None }
}

impl Mailbox {
    /// Carries what a socket sends; false if it is not for one of us.
    pub(super) fn send(&self, transmit: &Transmit<'_>) -> bool {
        let Some(to) = of(transmit.destination) else { return false };
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        {
            let mut packets = lock(&to.packets);
            let room = PACKETS - packets.len().min(PACKETS);
            let segments = transmit.contents.chunks(size).take(room);
            packets.extend(segments.map(|data| Packet { from, data: data.to_vec() }));
        }
        to.waker.wake();
        true
    }

    /// Takes packets that arrived; ready only if there are any.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<usize> {
        self.waker.register(cx.waker());
        let mut packets = lock(&self.packets);
        let mut taken = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(packet) = packets.pop_front() else { break };
            let len = packet.data.len().min(buf.len());
            buf[..len].copy_from_slice(&packet.data[..len]);
            *meta = RecvMeta::default();
            meta.addr = packet.from;
            meta.len = len;
            meta.stride = len;
            taken += 1;
        }
        if taken == 0 { Poll::Pending } else { Poll::Ready(taken) }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut sockets = lock(&SOCKETS);
        if sockets.get(&self.port).is_some_and(|known| known.strong_count() == 0) {
            sockets.remove(&self.port);
        }
    }
}
