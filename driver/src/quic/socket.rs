//! UDP sockets: binding them, and keeping them alive through errors that pass.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    config::SOCKET_BUFFER,
    loopback::{self, Mailbox},
};

/// Where a node listens that was not told where: every IPv4 address and, where there is IPv6,
/// every IPv6 address, on random ports.
pub(super) fn bind_default() -> io::Result<Vec<UdpSocket>> {
    let v4 = bind((Ipv4Addr::UNSPECIFIED, 0).into());
    let v6 = bind((Ipv6Addr::UNSPECIFIED, 0).into());
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(vec![only]),
        (Err(error), Err(_)) => Err(error),
    }
}

/// A socket of one address family only: a node that wants both binds two.
pub(super) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system gives what it has; less only means more loss under load.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether packets from a socket bound to `local` have a way to `remote`. Asks the routing table
/// and sends nothing; so an address without a route fails at once instead of after five seconds of
/// silence, and quinn has no failing system call to warn about.
pub(super) fn has_route(local: IpAddr, remote: SocketAddr) -> bool {
    UdpSocket::bind((local, 0)).and_then(|probe| probe.connect(remote)).is_ok()
}

/// Errors in a row after which a socket is taken for dead.
const RECV_ERRORS_MAX: u32 = 1_000;

/// A socket whose errors are lost packets.
///
/// quinn ends an endpoint at its first receive error and a connection at its first send error.
/// Most runtimes hide the errors of sending; here it does not depend on them. Networks disappear
/// and come back, and QUIC retransmits.
pub(super) struct Tolerant {
    inner: Arc<dyn AsyncUdpSocket>,
    recv_errors: AtomicU32,
    /// Our own loopback, where the host has none.
    loopback: Option<Arc<Mailbox>>,
}

impl Tolerant {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        let loopback = inner.local_addr().ok().and_then(loopback::mailbox);
        Self { inner, recv_errors: AtomicU32::new(0), loopback }
    }
}

impl AsyncUdpSocket for Tolerant {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.loopback.as_ref().is_some_and(|loopback| loopback.send(transmit)) {
            return Ok(());
        }
        match self.inner.try_send(transmit) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if let Some(loopback) = &self.loopback
            && let Poll::Ready(packets) = loopback.poll_recv(cx, bufs, meta)
        {
            return Poll::Ready(Ok(packets));
        }
        match self.inner.poll_recv(cx, bufs, meta) {
            Poll::Ready(Err(error)) => {
                if self.recv_errors.fetch_add(1, Ordering::Relaxed) >= RECV_ERRORS_MAX {
                    return Poll::Ready(Err(error));
                }
                // The error may still be there: let others run before the next attempt.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            ready_or_pending => {
                if self.recv_errors.load(Ordering::Relaxed) != 0 {
                    self.recv_errors.store(0, Ordering::Relaxed);
                }
                ready_or_pending
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for Tolerant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
