//! The other side: the same bytes over quinn alone, with our transport settings.
//!
//! `packed`: frames of four bytes of length and a payload, written 64 KiB at a time. `codec`: the
//! same, and each payload is encoded and decoded as ours is.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mosaik::{
    Bytes, BytesMut, SecretKey,
    driver::quic::{
        CHANNEL_WINDOW, IDLE_MAX, INITIAL_RTT, KEEP_ALIVE, LINK_WINDOW, LOOPBACK_MTU,
        MTU_DISCOVERY, SEND_WINDOW, SOCKET_BUFFER,
    },
};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    side::{Load, PACK, Side, Small, receive},
    tls,
};

/// Chunks taken at once.
const CHUNKS: usize = 32;
/// Bytes of a frame's length.
const LENGTH: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Packed,
    Codec,
}

impl Peer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Packed => "quinn-packed",
            Self::Codec => "quinn-codec",
        }
    }
}

fn transport() -> Arc<TransportConfig> {
    let idle = VarInt::from_u32(IDLE_MAX.as_millis() as u32);
    let mut config = TransportConfig::default();
    config
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(CHANNEL_WINDOW))
        .receive_window(VarInt::from_u32(LINK_WINDOW))
        .send_window(SEND_WINDOW)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle.into()))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(LOOPBACK_MTU);
    if !MTU_DISCOVERY {
        config.mtu_discovery_config(None);
    }
    Arc::new(config)
}

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&loopback.into()).expect("a bound socket");
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), server, socket.into(), runtime).expect("an endpoint")
}

/// A listener, and `count` endpoints with a connection to it.
async fn connected(count: usize) -> (Endpoint, Vec<(Connection, Connection, Endpoint)>) {
    let key = SecretKey::generate();
    let crypto = QuicServerConfig::try_from(tls::server(&key)).expect("a server's TLS");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(transport());
    let crypto = QuicClientConfig::try_from(tls::client()).expect("a client's TLS");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport());
    let listener = endpoint(Some(server));
    let to = listener.local_addr().expect("an address");
    let mut all = Vec::new();
    for _ in 0..count {
        let dialler = endpoint(None);
        let dial = dialler.connect_with(client.clone(), to, "peer").expect("a dial");
        let accept = async { listener.accept().await.expect("a dial").await };
        let (dialled, accepted) = tokio::join!(dial, accept);
        all.push((accepted.expect("accepted"), dialled.expect("connected"), dialler));
    }
    (listener, all)
}

/// A stream that the dialler opened, at both ends: that of the listener first.
async fn stream(
    listener: &Connection,
    dialler: &Connection,
) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
    let open = async {
        let (mut send, recv) = dialler.open_bi().await.expect("a stream");
        send.write_all(&[1]).await.expect("its first byte");
        (send, recv)
    };
    let accept = async {
        let (send, mut recv) = listener.accept_bi().await.expect("a stream");
        recv.read_exact(&mut [0]).await.expect("its first byte");
        (send, recv)
    };
    tokio::join!(accept, open)
}

/// One listener that sends to `fan_out` diallers, each over a connection of its own.
pub(crate) async fn flow<D: Load>(peer: Peer, fan_out: usize) -> Side {
    let mut side = Side::new();
    let (listener, connections) = connected(fan_out).await;
    side.keep.push(Box::new(listener));
    for (near, far, endpoint) in connections {
        let ((mut out, _), (_, mut into)) = stream(&near, &far).await;
        side.keep.push(Box::new((near, far, endpoint)));
        let count = side.counter();
        let mut gate = side.gate();
        side.tasks.spawn(async move {
            let mut number = 0;
            let (template, mut pack) = (D::first(), BytesMut::new());
            let body = template.encode().expect("an encoding");
            loop {
                gate.opened().await;
                pack.reserve(PACK + LENGTH + D::BYTES);
                while pack.len() + LENGTH + D::BYTES <= PACK.max(LENGTH + D::BYTES) {
                    pack.extend_from_slice(&(D::BYTES as u32).to_be_bytes());
                    if peer == Peer::Packed {
                        pack.extend_from_slice(&(number as f64).to_le_bytes());
                        pack.extend_from_slice(&body[8..]);
                    } else {
                        template.numbered(number).encode_into(&mut pack).expect("encoded");
                    }
                    number += 1;
                }
                out.write_chunk(pack.split().freeze()).await.expect("written");
            }
        });
        side.tasks.spawn(async move {
            let mut frames = Frames::default();
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            while let Ok(Some(taken)) = into.read_chunks(&mut chunks).await {
                for chunk in &mut chunks[..taken] {
                    frames.take(&std::mem::take(chunk), |payload| {
                        let number = match peer {
                            Peer::Packed => {
                                let (number, _) = payload.split_first_chunk().expect("a number");
                                f64::from_le_bytes(*number) as u64
                            }
                            Peer::Codec => D::decode(payload).expect("a datum").number(),
                        };
                        receive(&count, number);
                    });
                }
            }
        });
    }
    side
}

/// Puts frames together; only what is cut by the end of a chunk is copied.
#[derive(Default)]
struct Frames {
    cut: Vec<u8>,
}

impl Frames {
    fn take(&mut self, mut chunk: &[u8], mut each: impl FnMut(&[u8])) {
        while !self.cut.is_empty() && !chunk.is_empty() {
            let whole = length(&self.cut).map_or(LENGTH, |length| LENGTH + length);
            let (more, rest) = chunk.split_at(chunk.len().min(whole - self.cut.len()));
            self.cut.reserve(whole - self.cut.len());
            self.cut.extend_from_slice(more);
            chunk = rest;
            if length(&self.cut).is_some_and(|length| LENGTH + length == self.cut.len()) {
                each(&self.cut[LENGTH..]);
                self.cut.clear();
            }
        }
        while let Some(frame) = length(chunk).and_then(|length| chunk.get(..LENGTH + length)) {
            each(&frame[LENGTH..]);
            chunk = &chunk[frame.len()..];
        }
        self.cut.extend_from_slice(chunk);
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.split_first_chunk()?;
    Some(u32::from_be_bytes(*length) as usize)
}

/// Two endpoints with a stream; the far one echoes frames of 32 bytes.
pub(crate) struct PingPong {
    stream: Option<(SendStream, RecvStream)>,
    _keep: (Endpoint, Vec<(Connection, Connection, Endpoint)>),
    echo: tokio::task::JoinHandle<()>,
}

impl PingPong {
    pub(crate) async fn new() -> Self {
        let (listener, connections) = connected(1).await;
        let (near, far, _) = &connections[0];
        let ((mut out, mut into), stream) = stream(near, far).await;
        let echo = tokio::spawn(async move {
            let mut frame = [0; LENGTH + Small::BYTES];
            while into.read_exact(&mut frame).await.is_ok() {
                out.write_all(&frame).await.expect("echoed");
            }
        });
        Self { stream: Some(stream), _keep: (listener, connections), echo }
    }

    /// Round trips, one after the other.
    pub(crate) async fn run(&mut self, time: Duration) -> Vec<Duration> {
        let (mut out, mut into) = self.stream.take().expect("runs follow each other");
        let run = tokio::spawn(async move {
            let mut trips = Vec::new();
            let start = Instant::now();
            while start.elapsed() < time {
                let sent = Instant::now();
                let mut frame = [0; LENGTH + Small::BYTES];
                frame[..LENGTH].copy_from_slice(&(Small::BYTES as u32).to_be_bytes());
                frame[LENGTH..][..8].copy_from_slice(&(trips.len() as f64).to_le_bytes());
                let mut echo = [0; LENGTH + Small::BYTES];
                out.write_all(&frame).await.expect("sent");
                into.read_exact(&mut echo).await.expect("an echo");
                assert_eq!(frame, echo);
                trips.push(sent.elapsed());
            }
            (trips, out, into)
        });
        let (trips, out, into) = run.await.expect("a run");
        self.stream = Some((out, into));
        trips
    }

    pub(crate) fn end(self) {
        self.echo.abort();
    }
}
