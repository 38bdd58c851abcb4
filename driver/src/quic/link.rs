//! A link: one QUIC connection whose two keys are proved.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use mosaik_proto::{
    PeerId,
    links::{DialError, DownReason},
    wire::CloseCode,
};
use quinn::{Connection, ConnectionError, TransportErrorCode};

use super::{
    allowance::{Allowance, Berth},
    channel::{QuicRead, QuicWrite, close_code, var_int},
    config,
    seats::Seat,
    tls,
};
use crate::{sync::cell::lock, transport::Link};

/// The label of the TLS exporter whose output binds proofs to a connection (RFC 9266, section 2).
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// A connection to a peer whose key is proved. Clones are handles of the same connection; when the
/// last handle and the last channel are gone, the connection closes.
#[derive(Clone, Debug)]
pub struct QuicLink {
    connection: Connection,
    peer: PeerId,
    binding: [u8; 32],
    closing: Closing,
    allowance: Allowance,
    /// Held by a link that somebody else made, until it is admitted or ends.
    seat: Arc<Mutex<Option<Seat>>>,
}

impl QuicLink {
    /// The link over a connection whose handshake is complete, `None` if it proved no key.
    pub(super) fn new(
        connection: Connection,
        transport: Arc<OnceLock<CloseCode>>,
        seat: Option<Seat>,
    ) -> Option<Self> {
        let peer = tls::proved_peer(&connection)?;
        let mut binding = [0; 32];
        connection.export_keying_material(&mut binding, EXPORTER, &[]).ok()?;
        let closing = Closing { transport, link: Arc::default() };
        let (allowance, seat) = (Allowance::new(), Arc::new(Mutex::new(seat)));
        Some(Self { connection, peer, binding, closing, allowance, seat })
    }
}

impl Link for QuicLink {
    type Read = QuicRead;
    type Write = QuicWrite;

    fn peer(&self) -> PeerId {
        self.peer
    }

    fn binding(&self) -> [u8; 32] {
        self.binding
    }

    fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    fn admitted(&self) {
        config::widen(&self.connection);
        self.allowance.admit(&self.connection);
        drop(lock(&self.seat).take());
    }

    /// Waits while the peer has as many channels of ours as it takes.
    async fn open(&self) -> Result<(QuicRead, QuicWrite), DownReason> {
        self.channel(self.connection.open_bi().await, None)
    }

    async fn accept(&self) -> Result<(QuicRead, QuicWrite), DownReason> {
        let streams = self.connection.accept_bi().await;
        let berth = streams.is_ok().then(|| Arc::new(self.allowance.opened(&self.connection)));
        self.channel(streams, berth)
    }

    fn close(&self, code: CloseCode) {
        self.closing.link.get_or_init(|| code);
        drop(lock(&self.seat).take());
        self.connection.close(var_int(code), code.name().unwrap_or_default().as_bytes());
    }

    async fn closed(&self) -> DownReason {
        self.closing.down_reason(&self.connection.closed().await)
    }
}

impl QuicLink {
    fn channel(
        &self,
        streams: Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>,
        berth: Option<Arc<Berth>>,
    ) -> Result<(QuicRead, QuicWrite), DownReason> {
        match streams {
            Ok((write, read)) => Ok((
                QuicRead::new(read, self.closing.clone(), berth.clone()),
                QuicWrite::new(write, self.closing.clone(), berth),
            )),
            Err(error) => Err(self.closing.down_reason(&error)),
        }
    }
}

/// With which code we closed the link, or the whole transport. quinn only says that we did.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    transport: Arc<OnceLock<CloseCode>>,
    link: Arc<OnceLock<CloseCode>>,
}

impl Closing {
    /// What the end of a connection means for its link and its channels.
    pub(super) fn down_reason(&self, error: &ConnectionError) -> DownReason {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                DownReason::Closed(application_code(close.error_code))
            }
            ConnectionError::LocallyClosed => {
                let code = self.link.get().or_else(|| self.transport.get());
                DownReason::Local(code.copied().unwrap_or(CloseCode::CANCELLED))
            }
            ConnectionError::TimedOut => DownReason::Timeout,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::CidsExhausted => DownReason::Lost,
        }
    }
}

/// What the end of a connection means for a dial in progress.
pub(super) fn dial_error(error: &ConnectionError) -> DialError {
    match error {
        ConnectionError::VersionMismatch => DialError::Closed(CloseCode::VERSION_MISMATCH),
        // Our own TLS refused what the other end presented.
        ConnectionError::TransportError(error) if alert(error.code).is_some() => {
            DialError::WrongPeer
        }
        ConnectionError::ConnectionClosed(close) => match close.error_code {
            TransportErrorCode::CONNECTION_REFUSED => DialError::Closed(CloseCode::BUSY),
            // QUIC hides the code of a close during the handshake.
            TransportErrorCode::APPLICATION_ERROR => DialError::Closed(CloseCode::UNEXPECTED),
            code if alert(code) == Some(NO_APPLICATION_PROTOCOL) => {
                DialError::Closed(CloseCode::VERSION_MISMATCH)
            }
            _ => DialError::Transport,
        },
        ConnectionError::ApplicationClosed(close) => {
            DialError::Closed(application_code(close.error_code))
        }
        ConnectionError::TimedOut => DialError::Timeout,
        ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => DialError::Transport,
    }
}

/// Zero is what quinn sends when the last handle of a connection was dropped: nobody said why.
fn application_code(code: quinn::VarInt) -> CloseCode {
    match close_code(code) {
        code if code.code() == 0 => CloseCode::UNEXPECTED,
        code => code,
    }
}

/// The TLS alert that says: we have no protocol in common.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The TLS alert in a QUIC error code, if it is one (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    match u64::from(code).to_be_bytes() {
        [0, 0, 0, 0, 0, 0, 1, alert] => Some(alert),
        _ => None,
    }
}
