//! TLS as ours, for the raw side: ring, AES-128-GCM, one raw ed25519 key. Nobody is checked: both
//! ends are in this process.

#[path = "../../tests/support/stranger_tls.rs"]
mod stranger;

use std::sync::Arc;

use mosaik::SecretKey;
use rustls::{
    ClientConfig, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::AlwaysResolvesServerRawPublicKeys,
    version::TLS13,
};

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider
}

pub(crate) fn server(key: &SecretKey) -> ServerConfig {
    let certified = stranger::certified(key.public(), key);
    ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)))
}

pub(crate) fn client() -> ClientConfig {
    stranger::client(provider(), None)
}
