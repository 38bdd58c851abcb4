//! The numbers of the transport, each with its reason, and the quinn configuration made of them.

use std::{io, sync::Arc, time::Duration};

use mosaik_proto::{crypto::SecretKey, limits};
use quinn::{
    ClientConfig, EndpointConfig, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::{ids::RandomIds, tls};

/// The protocol that both ends name in the handshake.
pub const ALPN: &[u8] = b"mosaik/1";

/// Silence after which a packet is sent to keep a link alive. Three of them fit into
/// [`IDLE_MAX`], so two lost packets in a row do not end a link.
pub const KEEP_ALIVE: Duration = Duration::from_millis(1_500);

/// Silence after which a link is down. A process that is killed says nothing, and its death has to
/// be noticed within seconds; discovery's own detector relies on the links that still stand.
pub const IDLE_MAX: Duration = Duration::from_secs(5);

/// The round-trip time assumed before the first measurement. The first retransmission comes after
/// three times this: 0.2 s instead of 1 s with quinn's 333 ms, which under 5 % loss is the
/// difference between joining in one second and in three (`discovery-design.md`).
pub const INITIAL_RTT: Duration = Duration::from_millis(70);

/// Whether links search for a larger MTU than the 1,200 bytes with which QUIC starts.
///
/// Off: the search costs 12 kB per link and most links carry a few small frames
/// (`discovery-design.md`), while 1,200-byte packets cost bulk 1 % more bytes. quinn fixes the
/// choice when a connection starts, before anybody knows what it will carry. Should that change,
/// links with bulk want it on, with an upper bound of [`MTU_MAX`].
pub const MTU_DISCOVERY: bool = false;

/// The largest MTU worth searching for: quinn sends up to ten segments in one system call, and ten
/// of them have to fit into 64 KiB; at 7,000 the throughput collapses (`datapath.md` §3).
pub const MTU_MAX: u16 = 6_000;

/// The MTU on loopback, where it is known and nothing has to be searched for; the value at which a
/// search over Ethernet ends. Up to [`MTU_MAX`] would be possible, if the receiver's
/// `max_udp_payload_size` is raised too, and doubles the throughput of small items.
pub const LOOPBACK_MTU: u16 = 1_452;

/// Bytes that the other end may send ahead on one channel: 100 Mbit/s at 100 ms.
pub const CHANNEL_WINDOW: u32 = 1_280 * 1024;

/// Bytes that the other end may send ahead on all channels of a link together. Channels are read
/// without pause (flow control between applications is a matter of the cores), so it is never full
/// for long; it bounds what a link can make us hold.
pub const LINK_WINDOW: u32 = 16 * 1024 * 1024;

/// As [`LINK_WINDOW`], before the node admitted the link: a hello, and what its sender may say
/// right behind it. All strangers together can make us hold this times the handshakes.
pub const STRANGER_WINDOW: u32 = 192 * 1024;

/// Channels that the other end may open before the node admitted the link.
pub const STRANGER_CHANNELS: u32 = 16;

/// Channels that the other end may open once it is admitted; more when it uses half of them, up to
/// [`CHANNELS_PER_LINK`](limits::CHANNELS_PER_LINK).
pub const LINK_CHANNELS: u32 = 32;

/// Bytes of ours that are sent and not acknowledged, per link. More makes small writes slow
/// (`datapath.md` §3, rule 5).
pub const SEND_WINDOW: u64 = 1024 * 1024;

/// What we ask of the system as a socket's buffers. It may give less.
pub const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// Bytes kept of a connection attempt that waits for our decision; a first flight is one packet.
pub const INCOMING_BUFFER: u64 = 16 * 1024;

/// Time for a dial, over all addresses of the peer.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait before the next address is tried beside those in progress.
pub const DIAL_STAGGER: Duration = Duration::from_millis(100);

/// One configuration for addresses on this host and one for all others.
#[derive(Clone, Debug)]
pub(super) struct ByDistance<C> {
    pub(super) loopback: C,
    pub(super) other: C,
}

impl<C> ByDistance<C> {
    fn new(make: impl Fn(Arc<TransportConfig>) -> C) -> Self {
        Self { loopback: make(transport(LOOPBACK_MTU)), other: make(transport(1_200)) }
    }

    /// The configuration for a remote address.
    pub(super) fn of(&self, remote: std::net::IpAddr) -> &C {
        if remote.to_canonical().is_loopback() { &self.loopback } else { &self.other }
    }
}

/// Limits of the socket level. Tokens and resets are keyed afresh by every process.
pub(super) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// How we dial.
pub(super) fn client(key: &SecretKey) -> io::Result<ByDistance<ClientConfig>> {
    let tls = tls::client(key).map_err(io::Error::other)?;
    let crypto = Arc::new(QuicClientConfig::try_from(tls).map_err(io::Error::other)?);
    Ok(ByDistance::new(|transport| {
        let mut config = ClientConfig::new(crypto.clone());
        config.transport_config(transport);
        config
    }))
}

/// How we are dialled.
pub(super) fn server(key: &SecretKey) -> io::Result<ByDistance<Arc<ServerConfig>>> {
    let tls = tls::server(key).map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .max_incoming(2 * limits::HANDSHAKES)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * limits::HANDSHAKES as u64);
    Ok(ByDistance::new(|transport| {
        let mut config = config.clone();
        config.transport_config(transport);
        Arc::new(config)
    }))
}

/// Gives a connection what links have.
pub(super) fn widen(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(LINK_WINDOW));
}

fn transport(initial_mtu: u16) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STRANGER_CHANNELS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(CHANNEL_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(SEND_WINDOW)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX.as_millis() as u32).into()))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(initial_mtu);
    if !MTU_DISCOVERY {
        config.mtu_discovery_config(None);
    }
    Arc::new(config)
}
