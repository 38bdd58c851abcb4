//! The group of a seed: members, disks, machines, clients.

use std::time::Duration;

use mosaik_proto::{
    Digest,
    groups::{ConsensusConfig, GroupConfig},
    ids::GroupId,
    raft::Founders,
    rng::Rng,
};

use super::{GroupSwarm, group};
use crate::{
    clock::Clock,
    disk::Habits,
    host::{GroupSpec, NodeSpec},
    net::{self, HostId},
    scenario::network,
    world::{Options, World},
};

/// The timing of simulated groups: a quarter of the defaults, so that more happens.
#[must_use]
pub(super) fn timing() -> ConsensusConfig {
    let defaults = ConsensusConfig::default();
    ConsensusConfig {
        heartbeat_interval: defaults.heartbeat_interval / 4,
        election_timeout: defaults.election_timeout / 4,
        election_timeout_jitter: defaults.election_timeout_jitter / 4,
        bootstrap_delay: defaults.bootstrap_delay / 4,
        ..defaults
    }
}

/// The world of a seed, and its group.
pub(super) fn build(seed: u64, rng: &Rng, swarm: GroupSwarm, trace: bool) -> (World, GroupId) {
    let mut draw = rng.fork("world");
    let wan = draw.chance(250_000);
    let net = net::Options {
        window: 1 << (17 + draw.below(4)),
        uplink: 1 << (23 + draw.below(5)),
        ..if wan { net::Options::wan() } else { net::Options::default() }
    };
    let mut world = World::new(seed, Options { net, trace });
    let members = 3 + draw.below(3) as usize;
    let observers = if swarm.observers { 1 + draw.below(2) as usize } else { 0 };
    // All on disk, all in memory, or some of each.
    let durable = draw.below(3);
    let mut timing = if draw.chance(750_000) { timing() } else { ConsensusConfig::default() };
    if draw.chance(500_000) {
        timing.dead_voter_timeout = Duration::from_secs(8);
        timing.command_timeout = Duration::from_secs(5);
    }
    let founders = match draw.below(4) {
        0 => Founders::Count(2 + draw.below(members as u64 - 1) as usize),
        _ => Founders::Anybody,
    };
    let (snapshots, slow) = (draw.chance(700_000), swarm.slow_machines);
    // Bytes of the log after which machines are frozen.
    let after = [2_000, 30_000, 1_000_000][draw.below(3) as usize];
    let padding = [0, 200, 20_000][draw.below(3) as usize];
    let first = draw.below(members as u64) as usize;
    for node in 0..members + observers {
        let mut spec = NodeSpec::new(network());
        spec.start = Duration::from_millis(draw.below(1_500));
        if swarm.drift {
            let drift = draw.below(401) as i32 - 200;
            spec.clock = Clock::new(drift, draw.below(10_000) as i64 - 5_000);
        }
        spec.bootstrap = [first, (first + 1) % members].map(HostId).to_vec();
        spec.bootstrap.retain(|host| host.0 != node);
        let host = world.add_node(spec);
        let mut config = GroupConfig::new(group(), Digest::hash(b"a secret"));
        config.can_vote = node < members;
        config.durable = match durable {
            0 => true,
            1 => false,
            _ => draw.chance(500_000),
        };
        (config.snapshots, config.restartable, config.digests) = (snapshots, true, true);
        (config.snapshot_after, config.log_tail) = (after, after / 8);
        config.timing = timing.clone();
        config.founders = founders.clone();
        config.max_voters = if draw.chance(200_000) { 3 } else { 5 };
        let mut part = GroupSpec::new(config);
        part.padding = padding;
        part.clients = 1 + draw.below(4);
        part.think = Duration::from_millis(20 + draw.below(400));
        if slow {
            let most = Duration::from_micros(draw.below(30_000));
            part.apply = (most / 4, most);
        }
        if swarm.slow_disks {
            part.disk = habits(&mut draw);
        }
        world.add_group(host, part);
    }
    (world, group())
}

/// A disk that is slow, stalls, and reports in any order, or not.
pub(super) fn habits(draw: &mut Rng) -> Habits {
    let most = Duration::from_micros(500 + draw.below(60_000));
    Habits {
        delay: (most / 8, most),
        stalls: draw.below(5_000) as u32,
        stall: Duration::from_millis(100 + draw.below(1_500)),
        shuffled: draw.chance(500_000),
    }
}
