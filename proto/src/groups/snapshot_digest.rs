//! What names the content of a snapshot.

use crate::Digest;

/// The digest of a snapshot's bytes: this core's part, then what the machine wrote of itself. Members
/// that froze the same state at the same entry have the same one, if the machine writes equal states
/// as equal bytes.
#[derive(Clone, Debug)]
pub struct SnapshotDigest(blake3::Hasher);

impl SnapshotDigest {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("mosaik 2026 group snapshot"))
    }

    /// Takes the next bytes; how they are cut does not matter.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was taken so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest::from_hasher(&self.0)
    }
}

impl Default for SnapshotDigest {
    fn default() -> Self {
        Self::new()
    }
}
