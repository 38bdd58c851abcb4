//! The transport that we ship: links over QUIC, for every async runtime.
//!
//! # Theory of operation
//!
//! A [`QuicTransport`] owns one UDP socket, and on it one quinn endpoint, per address that it was
//! told to listen at. Clocks, timers, tasks and socket readiness come from the `quinn::Runtime`
//! that it is given, so this module names no runtime.
//!
//! ```text
//!             dial ──► Race: addresses 100 ms apart, first success wins ──┐
//!                                                                         ▼
//!  UDP socket ── Endpoint                                              QuicLink ──► QuicRead
//!                                                                         ▲         QuicWrite
//!             others ──► Lobby: bounded seats, 5 s each ── accept ────────┘
//! ```
//!
//! **Identity.** TLS 1.3 with raw ed25519 keys on both sides; the key *is* the
//! [`PeerId`](mosaik_proto::PeerId) (`tls.rs`). A dial succeeds with the dialled key or not at
//! all. In TLS 1.3 the dialler finishes first: a link that was dialled is no proof that the
//! listener accepted it. The hello of the core is. There is no resumption and no early data.
//!
//! **Strangers.** A handshake takes a seat until its link is admitted
//! ([`Link::admitted`](crate::transport::Link::admitted)) or ends. The seats are
//! [`LinkLimits`](mosaik_proto::links::LinkLimits), in all and per source; when half of them are
//! taken senders prove their address first, and who gets none is refused, which the dialler sees
//! as [`BUSY`](mosaik_proto::wire::CloseCode::BUSY). Until a link is admitted its windows are
//! small. Admission is not decided here.
//!
//! **Silence.** Links send something every [`KEEP_ALIVE`] and are down after [`IDLE_MAX`] without
//! a packet. Errors of sockets are lost packets: interfaces may vanish and return.
//!
//! **Closing.** A close carries a [`CloseCode`](mosaik_proto::wire::CloseCode) and its name. What
//! is dropped instead of closed says so: a transport or a channel with `CANCELLED`; a link whose
//! last handle was dropped arrives as `UNEXPECTED`.
//!
//! # Bounds per link
//!
//! | what | bound |
//! |---|---|
//! | channels that the other end may have open | from [`LINK_CHANNELS`] on twice what it uses, up to [`CHANNELS_PER_LINK`](mosaik_proto::limits::CHANNELS_PER_LINK) |
//! | bytes received and not read, per channel | [`CHANNEL_WINDOW`] |
//! | bytes received and not read, all channels | [`LINK_WINDOW`] |
//! | the same before admission | [`STRANGER_CHANNELS`], [`STRANGER_WINDOW`] |
//! | bytes sent and not acknowledged | [`SEND_WINDOW`] |

mod addrs;
mod allowance;
mod channel;
mod config;
mod dial;
mod ids;
mod incoming;
mod link;
mod loopback;
mod seats;
mod socket;
mod timer;
mod tls;
mod transport;

pub use self::{
    channel::{QuicRead, QuicWrite},
    config::{
        ALPN, CHANNEL_WINDOW, DIAL_STAGGER, DIAL_TIMEOUT, IDLE_MAX, INCOMING_BUFFER, INITIAL_RTT,
        KEEP_ALIVE, LINK_CHANNELS, LINK_WINDOW, LOOPBACK_MTU, MTU_DISCOVERY, MTU_MAX, SEND_WINDOW,
        SOCKET_BUFFER, STRANGER_CHANNELS, STRANGER_WINDOW,
    },
    link::QuicLink,
    transport::QuicTransport,
};
