//! Many keys at one socket: quinn alone, because a transport per key would need a socket each.

#[path = "../support/stranger_tls.rs"]
mod tls;

use std::{net::SocketAddr, sync::Arc};

use mosaik::{
    CloseCode, Network, NetworkId, SecretKey, driver::quic::ALPN, proto::wire::PROTOCOL_VERSION,
};
use quinn::{Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::crypto::ring;

use crate::{
    common::soon,
    hostile::{
        CONTROL, HELLO, READY,
        entries::{Fields, hello},
        peer::frame,
    },
};

/// Strangers that come one after the other, each with a key of its own.
#[derive(Clone)]
pub(crate) struct Crowd {
    endpoint: Endpoint,
    to: SocketAddr,
    network: NetworkId,
}

impl Crowd {
    pub(crate) fn new(to: &Network) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let runtime = Arc::new(quinn::TokioRuntime);
        let config = quinn::EndpointConfig::default();
        let endpoint = Endpoint::new(config, None, socket, runtime).expect("new");
        let addrs = to.local().addr().addrs;
        let near = addrs.into_iter().find(|addr| addr.is_ipv4() && addr.ip().is_loopback());
        Self { endpoint, to: near.expect("loopback"), network: *to.network_id() }
    }

    /// A fresh key connects, is admitted, and drops its connection. False if it was refused.
    pub(crate) async fn visit(&self) -> bool {
        match self.join().await {
            Ok(connection) => {
                connection.close(0u32.into(), b"");
                true
            }
            Err(code) => {
                assert_eq!(code, Some(CloseCode::BUSY), "nothing else is wrong");
                false
            }
        }
    }

    /// A fresh key that was admitted, or why not.
    pub(crate) async fn join(&self) -> Result<Connection, Option<CloseCode>> {
        let key = SecretKey::generate();
        let connecting = self.endpoint.connect_with(config(&key), self.to, "peer");
        let connection = soon(connecting.expect("a connection")).await.map_err(|e| code(&e))?;
        let ended = || connection.close_reason().as_ref().and_then(code);
        let entry = Fields::nowhere(self.network, &key).signed(&key);
        let hello = hello(PROTOCOL_VERSION, self.network, 0, &entry);
        let begin = [vec![CONTROL], frame(HELLO, &hello), frame(READY, &[])].concat();
        let (mut write, mut read) = soon(connection.open_bi()).await.map_err(|_| ended())?;
        let _ = soon(write.write_all(&begin)).await;
        let mut header = [0; 5];
        match soon(read.read_exact(&mut header)).await {
            Ok(()) => assert_eq!(header[0], HELLO),
            Err(_) => {
                soon(connection.closed()).await;
                return Err(ended());
            }
        }
        // Kept with the connection: a dropped control channel would end the link.
        tokio::spawn({
            let connection = connection.clone();
            async move {
                connection.closed().await;
                drop((write, read));
            }
        });
        Ok(connection)
    }

    pub(crate) fn close(&self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

fn code(error: &ConnectionError) -> Option<CloseCode> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            u32::try_from(close.error_code.into_inner()).ok().map(CloseCode::from)
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            Some(CloseCode::BUSY)
        }
        _ => None,
    }
}

fn config(key: &SecretKey) -> quinn::ClientConfig {
    let mut config = tls::client(ring::default_provider(), Some((key.public(), key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(config).expect("a cipher");
    quinn::ClientConfig::new(Arc::new(crypto))
}
