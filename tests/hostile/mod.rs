//! Peers that keep to no rule but the key's, and a node that has honest company meanwhile.
//!
//! A [`Hostile`] has a valid key and a real QUIC transport, and writes whatever bytes it likes.
//! A [`Victim`] is a node with an honest peer: between the two items flow all the time, and in the
//! end every one of them must have arrived over one and the same subscription.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod counts;
pub(crate) mod entries;
pub(crate) mod peer;
pub(crate) mod victim;

pub(crate) use self::{counts::counted, peer::Hostile, victim::Victim};

/// Kinds of the control channel that are not discovery's.
pub(crate) const HELLO: u8 = 1;
pub(crate) const READY: u8 = 2;
/// The first byte of a channel.
pub(crate) const CONTROL: u8 = 1;
pub(crate) const STREAM: u8 = 2;

/// Bytes of memory that this process has at the moment.
pub(crate) fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |n: u64| n * 4096)
}

/// Says what something cost, with `--nocapture`.
pub(crate) fn report(what: &str, before: u64) {
    let (now, mib) = (memory(), 1024 * 1024);
    println!("{what}: {} MiB before, {} MiB after", before / mib, now / mib);
}
