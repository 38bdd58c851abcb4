//! A QUIC client that does not keep to the rules.

use std::{net::SocketAddr, sync::Arc};

use mosaik_driver::quic::ALPN;
use mosaik_proto::{PeerId, crypto::SecretKey};
use quinn::{Connection, ConnectionError, crypto::rustls::QuicClientConfig};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::TLS13,
};

const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A client that claims to be the first and signs with the second; or presents no key at all.
pub(crate) fn raw_config(identity: Option<(PeerId, &SecretKey)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((claimed, key)) => {
            let pkcs8 = [PKCS8_PREFIX.as_slice(), &key.to_bytes()].concat();
            let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("key");
            let spki = [SPKI_PREFIX.as_slice(), claimed.as_bytes()].concat();
            let certified = CertifiedKey::new(vec![CertificateDer::from(spki)], signer);
            let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(certified));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
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

#[derive(Debug)]
struct TrustAll;

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
