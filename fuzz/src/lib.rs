//! The bodies of the fuzz targets: each takes bytes, drives a core with them and panics if a
//! promise is broken.
//!
//! The fuzzer calls them (`fuzz_targets/`), and `proto/tests/corpora.rs`, which includes this file
//! as a module, plays the committed corpora with them. So there is no clock, no thread and no
//! unordered map here either.
#![allow(unreachable_pub, missing_docs, reason = "a module of a test as well as a crate")]

mod entries;
mod group_frames;
mod group_world;
mod hello;
mod input;
mod peers;
mod recipe;
mod seeds;
mod sequence;
mod stream_frames;
mod wire;
mod world;

pub use self::{
    entries::entries, group_frames::group_frames, hello::hello, seeds::seeds, sequence::node,
    stream_frames::stream_frames, wire::wire,
};

/// What the fuzzer calls with its bytes.
pub type Body = fn(&[u8]);

/// All targets by their names.
pub const TARGETS: [(&str, Body); 6] = [
    ("wire", wire),
    ("hello", hello),
    ("entries", entries),
    ("stream_frames", stream_frames),
    ("group_frames", group_frames),
    ("node", node),
];
