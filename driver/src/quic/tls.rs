//! TLS 1.3 between two ed25519 keys (RFC 7250), without certificates and without memory.
//!
//! Both ends present a SubjectPublicKeyInfo, which for ed25519 is a fixed prefix and the 32 bytes
//! of the key, and sign the handshake with it. The dialler puts the key that it expects into the
//! TLS server name, where the verifier finds it; so one configuration dials everybody. The name is
//! never sent. The listener takes whoever proves a key: admission is decided later, by the core.
//!
//! Nothing is resumed: every link proves both keys anew.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use mosaik_proto::{PeerId, crypto::SecretKey, ids::Hex};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use super::config::ALPN;

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// PKCS#8, version 1, of an ed25519 seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// How we dial.
pub(super) fn client(key: &SecretKey) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Arc::new(Verifier::new(&provider));
    let certified = certified(key)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// How we are dialled.
pub(super) fn server(key: &SecretKey) -> Result<ServerConfig, Error> {
    let provider = provider();
    let verifier = Arc::new(Verifier::new(&provider));
    let certified = certified(key)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The TLS server name that stands for a key. The last label is there because a name must not end
/// in a label of digits only, and half a key in hexadecimal may be one.
pub(super) fn server_name(peer: &PeerId) -> String {
    let (left, right) = peer.as_bytes().split_at(16);
    format!("{}.{}.peer", Hex(left), Hex(right))
}

/// The key that the other end of a connection proved.
pub(super) fn proved_peer(connection: &quinn::Connection) -> Option<PeerId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match identity.as_slice() {
        [spki] => peer_of(spki).ok(),
        _ => None,
    }
}

/// *ring*, passed explicitly: the process-wide default belongs to the application. AES-128 comes
/// first because it is the fastest where there is hardware for it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider.kx_groups = vec![ring::kx_group::X25519];
    Arc::new(provider)
}

fn certified(key: &SecretKey) -> Result<Arc<CertifiedKey>, Error> {
    let pkcs8 = [PKCS8_PREFIX.as_slice(), &key.to_bytes()].concat();
    let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
    let spki = [SPKI_PREFIX.as_slice(), key.public().as_bytes()].concat();
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)))
}

/// The key in a SubjectPublicKeyInfo. Other algorithms and encodings are refused, and so are keys
/// for which everybody can sign.
fn peer_of(spki: &CertificateDer<'_>) -> Result<PeerId, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let key = spki.strip_prefix(&SPKI_PREFIX).ok_or_else(bad)?;
    let key: [u8; 32] = key.try_into().map_err(|_| bad())?;
    match VerifyingKey::from_bytes(&key) {
        Ok(point) if !point.is_weak() => Ok(PeerId::from_bytes(key)),
        _ => Err(bad()),
    }
}

/// Checks keys and the signatures made with them, for both ends.
#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }

    /// The presented key, which must come alone.
    fn presented(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<PeerId, Error> {
        if !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        peer_of(end_entity)
    }

    fn verify(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(Error::InvalidCertificate(CertificateError::BadSignature));
        }
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        expected: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let peer = self.presented(end_entity, intermediates)?;
        if expected.to_str() == server_name(&peer) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.presented(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of digits only is no DNS name; about one key in three million has such a half.
    #[test]
    fn every_key_has_a_server_name() {
        for byte in [0x00, 0x11, 0x99, 0xab, 0xff] {
            let name = server_name(&PeerId::from_bytes([byte; 32]));
            assert!(ServerName::try_from(name.as_str()).is_ok(), "{name}");
        }
    }

    #[test]
    fn only_strong_ed25519_keys_are_peers() {
        let key = SecretKey::from_bytes(&[7; 32]).public();
        let spki = |prefix: &[u8], key: &[u8]| CertificateDer::from([prefix, key].concat());
        assert_eq!(peer_of(&spki(&SPKI_PREFIX, key.as_bytes())), Ok(key));
        let mut x25519 = SPKI_PREFIX;
        x25519[8] = 0x6e;
        assert!(peer_of(&spki(&x25519, key.as_bytes())).is_err());
        assert!(peer_of(&spki(&SPKI_PREFIX, &key.as_bytes()[1..])).is_err());
        assert!(peer_of(&spki(&SPKI_PREFIX, &[key.as_bytes().as_slice(), &[0]].concat())).is_err());
        let mut identity = [0; 32];
        identity[0] = 1;
        for weak in [[0; 32], identity] {
            assert!(peer_of(&spki(&SPKI_PREFIX, &weak)).is_err());
        }
        let no_point = (0..=255u8)
            .map(|byte| [byte; 32])
            .find(|bytes| VerifyingKey::from_bytes(bytes).is_err());
        assert!(peer_of(&spki(&SPKI_PREFIX, &no_point.expect("half of all bytes"))).is_err());
    }
}
