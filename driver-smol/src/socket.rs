//! A UDP socket of `async-io` for quinn.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_io::{Async, WritableOwned};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};

/// A socket that asks the reactor only after the system has said that it would block.
///
/// In `async-io` every wait for readiness is a system call, and one that begins while another
/// thread waits in the reactor may have to be repeated. Most receives find a packet at once and
/// nearly all sends find room.
#[derive(Debug)]
pub(crate) struct Socket {
    io: Arc<Async<UdpSocket>>,
    state: UdpSocketState,
    /// A send would have blocked, and nobody has seen room since.
    full: AtomicBool,
}

impl Socket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: Arc::new(Async::new(socket)?), state, full: AtomicBool::new(false) })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send((&*self.io).into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.state.recv((&*self.io).into(), bufs, meta) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        // Ready means: something came since the last wait, which may be what we have just taken.
        // The next wait begins now, and sees what comes while it begins.
        while let Poll::Ready(seen) = self.io.poll_readable(cx) {
            seen?;
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits for room to send, one per connection.
struct Room {
    socket: Arc<Socket>,
    wait: Option<WritableOwned<UdpSocket>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.wait.is_none() && !this.socket.full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let wait = this.wait.get_or_insert_with(|| Arc::clone(&this.socket.io).writable_owned());
        let room = ready!(Pin::new(wait).poll(cx));
        this.wait = None;
        // If another send found it full in between, the next one will find that out.
        this.socket.full.store(false, Ordering::Relaxed);
        Poll::Ready(room)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}
