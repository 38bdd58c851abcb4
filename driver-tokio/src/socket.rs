//! A UDP socket of tokio for quinn.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket as StdSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

/// A receive that brought less than was asked for has emptied the socket: on Linux it ends at the
/// first packet that is not there.
const SHORT_IS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket that asks the system once per wake-up: quinn's own asks again until the system says
/// that there is nothing more, and most packets of a group come alone.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// A send would have blocked, and nobody has seen room since.
    full: AtomicBool,
}

impl Socket {
    /// Called with the runtime entered.
    pub(crate) fn new(socket: StdSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state, full: AtomicBool::new(false) })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent =
            self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit));
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
        let most = bufs.len().min(BATCH_SIZE);
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut last = None;
            let received = self.io.try_io(Interest::READABLE, || {
                let count = self.state.recv((&self.io).into(), bufs, meta)?;
                if SHORT_IS_EMPTY && count < most {
                    last = Some(count);
                    // tokio forgets that the socket was readable, unless that is news.
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            match (received, last) {
                (_, Some(count)) => return Poll::Ready(Ok(count)),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {}
                (received, None) => return Poll::Ready(received),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
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
    wait: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.wait.is_none() && !this.socket.full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let socket = &this.socket;
        let wait = this.wait.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let room = ready!(wait.as_mut().poll(cx));
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
