//! Ready-made runs: what the command line and the tests start.

pub mod cuts;
mod discovery;
mod faults;
pub mod groups;
pub mod mutants;
pub mod single;
mod streams;

use std::time::Duration;

use mosaik_proto::{Digest, NetworkId, ids::Tag, rng::Rng};

pub use self::{
    discovery::{Discovery, DiscoveryReport},
    faults::{FaultReport, Faults},
    streams::{StreamReport, Streams},
};
use crate::{host::NodeSpec, net::HostId, world::World};

/// The network of all scenarios.
#[must_use]
pub fn network() -> NetworkId {
    Digest::hash(b"simulated")
}

/// Adds `nodes` hosts that start within `spread` and know the first; each with `tags` tags.
pub fn cluster(world: &mut World, rng: &mut Rng, nodes: usize, spread: Duration, tags: usize) {
    let first = HostId(world.hosts().count());
    for node in 0..nodes {
        let mut spec = NodeSpec::new(network());
        if node > 0 {
            spec.start = Duration::from_nanos(rng.below(spread.as_nanos() as u64 + 1));
            spec.bootstrap = vec![first];
        }
        spec.tags = (0..tags).map(|tag| Tag::hash(format!("{node} {tag}").as_bytes())).collect();
        world.add_node(spec);
    }
}

/// The generator of a scenario, apart from the world's own.
#[must_use]
pub fn generator(seed: u64) -> Rng {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Rng::new(bytes)
}
