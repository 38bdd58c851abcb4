//! Seeded randomness with labelled forks.
//!
//! Each core draws from its own fork, so adding a core, or a draw in one, does not shift the
//! others' draws and a recorded seed keeps meaning what it meant.

use core::time::Duration;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// A deterministic generator (ChaCha8). Not for keys or nonces: those are inputs.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: [u8; 32],
    stream: ChaCha8Rng,
}

impl Rng {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, stream: ChaCha8Rng::from_seed(seed) }
    }

    /// An independent generator for one purpose; depends on the seed and the label, not on draws.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        hasher.update(label.as_bytes());
        Self::new(*hasher.finalize().as_bytes())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number below `bound` (0 if `bound` is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: biased by less than 2^-32 for the bounds used here.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with probability `per_million` / 1,000,000.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// A duration drawn evenly from `base - base/spread ..= base + base/spread`.
    pub fn jittered(&mut self, base: Duration, spread: u32) -> Duration {
        let nanos = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / u64::from(spread.max(1));
        Duration::from_nanos((nanos - half).saturating_add(self.below(half.saturating_mul(2) + 1)))
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        RngCore::fill_bytes(&mut self.stream, &mut bytes);
        bytes
    }

    /// Shuffles a slice (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_depend_on_seed_and_label_only() {
        let mut a = Rng::new([7; 32]);
        let before = a.fork("links").next_u64();
        a.next_u64();
        assert_eq!(a.fork("links").next_u64(), before);
        assert_ne!(a.fork("streams").next_u64(), before);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new([1; 32]);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }
}
