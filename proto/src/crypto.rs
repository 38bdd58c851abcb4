//! Keys and signatures: ed25519 with domain separation and strict verification.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, PeerId};

/// The secret half of a peer's identity. `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this 32-byte ed25519 seed.
    #[must_use]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed. Whoever has it can act as this peer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The identity that this key proves.
    #[must_use]
    pub fn public(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` for one purpose; a signature for one domain is none for another.
    #[must_use]
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        Signature(self.0.sign(digest(domain, message).as_bytes()).to_bytes().into())
    }
}

impl From<Digest> for SecretKey {
    fn from(seed: Digest) -> Self {
        Self::from_bytes(seed.as_bytes())
    }
}

impl From<[u8; 32]> for SecretKey {
    fn from(seed: [u8; 32]) -> Self {
        Self::from_bytes(&seed)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(SignatureBytes);

impl Signature {
    /// These 64 bytes as a signature; whether it is a good one shows at [`verify`](Self::verify).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes.into())
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0.0);
        bytes[32..].copy_from_slice(&self.0.1);
        bytes
    }

    /// True if `signer` signed `message` for `domain`. Strict: small-order keys and malleable
    /// signatures are refused, so all verifiers give the same answer.
    #[must_use]
    pub fn verify(&self, signer: &PeerId, domain: &str, message: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.to_bytes());
        VerifyingKey::from_bytes(signer.as_bytes())
            .and_then(|key| key.verify_strict(digest(domain, message).as_bytes(), &signature))
            .is_ok()
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:?})", crate::ids::Hex(&self.0.0[..5]))
    }
}

/// serde has arrays up to 32; two halves are a signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct SignatureBytes([u8; 32], [u8; 32]);

impl From<[u8; 64]> for SignatureBytes {
    fn from(bytes: [u8; 64]) -> Self {
        let mut halves = Self([0; 32], [0; 32]);
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        halves
    }
}

/// BLAKE3 in its key-derivation mode: the domain is a context string, so domains cannot collide.
fn digest(domain: &str, message: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    hasher.update(message);
    Digest::from_hasher(&hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_binds_key_domain_and_message() {
        let key = SecretKey::from_bytes(&[3; 32]);
        let signature = key.sign("test/a", b"hello");
        assert!(signature.verify(&key.public(), "test/a", b"hello"));
        assert!(!signature.verify(&key.public(), "test/b", b"hello"));
        assert!(!signature.verify(&key.public(), "test/a", b"hellp"));
        assert!(!signature.verify(&SecretKey::from_bytes(&[4; 32]).public(), "test/a", b"hello"));
        assert!(!signature.verify(&PeerId::from_bytes([0; 32]), "test/a", b"hello"));
    }
}
