//! A QUIC client that does not keep to the rules.

#[path = "../../../tests/support/stranger_tls.rs"]
mod tls;

use std::{net::SocketAddr, sync::Arc};

use mosaik_driver::quic::ALPN;
use mosaik_proto::{PeerId, crypto::SecretKey};
use quinn::{Connection, ConnectionError, crypto::rustls::QuicClientConfig};
use rustls::{ClientConfig, crypto::ring};

/// A client that claims to be the first and signs with the second; or presents no key at all.
pub(crate) fn raw_config(identity: Option<(PeerId, &SecretKey)>) -> ClientConfig {
    let mut config = tls::client(ring::default_provider(), identity);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Connects from a socket of its own.
pub(crate) async fn connect_raw(
    config: ClientConfig,
    addr: SocketAddr,
) -> Result<Connection, ConnectionError> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let config_of_endpoint = quinn::EndpointConfig::default();
    let endpoint =
        quinn::Endpoint::new(config_of_endpoint, None, socket, crate::on::quinn()).expect("new");
    let crypto = Arc::new(QuicClientConfig::try_from(config).expect("AES-128"));
    let config = quinn::ClientConfig::new(crypto);
    endpoint.connect_with(config, addr, "anybody").expect("connecting").await
}
