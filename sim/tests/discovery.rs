//! Who is there: joining, leaving, dying, coming back, partitions, clocks.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use mosaik_proto::{Digest, time::Instant};
use mosaik_sim::{
    Fault, HostId, NodeSpec, Options, World, net,
    scenario::{cluster, generator, network},
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A world of nodes that all know each other.
fn joined(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, Options::default());
    cluster(&mut world, &mut generator(seed), nodes, Duration::from_millis(100), 2);
    world.run_for(Duration::from_millis(100)).unwrap();
    world.run_until_converged(secs(10)).unwrap();
    world
}

/// Both directions of all paths between two sets of hosts.
fn between(a: &[usize], b: &[usize]) -> Vec<(HostId, HostId)> {
    let pairs = a.iter().flat_map(|a| b.iter().map(|b| (HostId(*a), HostId(*b))));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

fn seen_by_nobody(world: &World, gone: HostId) -> Result<(), String> {
    match world.hosts().find(|host| world.sees(*host, gone)) {
        Some(host) => Err(format!("{host} still sees {gone}")),
        None => Ok(()),
    }
}

#[test]
fn ten_nodes_know_each_other_within_three_seconds() {
    for seed in 0..5 {
        let mut world = joined(seed, 10);
        assert!(world.now() < Instant::ZERO + secs(3), "seed {seed}: {:?}", world.now());
        world.run_for(secs(5)).unwrap();
        world.settled().unwrap();
    }
}

#[test]
fn thirty_two_nodes_know_each_other_within_five_seconds() {
    let mut world = joined(1, 32);
    assert!(world.now() < Instant::ZERO + secs(5), "{:?}", world.now());
    world.run_for(secs(5)).unwrap();
    world.settled().unwrap();
}

/// Beyond the full mesh, with loss.
#[test]
fn forty_nodes_settle_under_loss() {
    let mut world = joined(2, 40);
    world.inject(Fault::Loss(50_000));
    world.run_for(secs(10)).unwrap();
    world.converged().unwrap();
    world.inject(Fault::Calm);
    world.run_for(secs(3)).unwrap();
    world.settled().unwrap();
}

#[test]
fn the_dead_are_gone_and_come_back_once() {
    for seed in 0..5 {
        let (mut world, dead) = (joined(seed, 8), HostId(3));
        world.inject(Fault::Crash(dead));
        let limit = world.now() + secs(15);
        let gone = world.run_until_holds(limit, |world| seen_by_nobody(world, dead)).unwrap();
        world.run_for(secs(5)).unwrap();
        seen_by_nobody(&world, dead).unwrap();
        world.inject(Fault::Start(dead));
        let back = world.run_until_converged(world.now().since(Instant::ZERO) + secs(10)).unwrap();
        assert!(back > gone);
        for _ in 0..100 {
            world.run_for(Duration::from_millis(100)).unwrap();
            world.converged().unwrap();
        }
    }
}

/// D4: a process that starts again with its wall clock behind jumps above its old version.
#[test]
fn d4_a_restart_with_the_clock_behind_is_seen() {
    let (mut world, host) = (joined(4, 6), HostId(2));
    let before = world.version(host).unwrap();
    world.inject(Fault::Crash(host));
    world.inject(Fault::Jump(host, -20_000));
    world.inject(Fault::Start(host));
    let limit = world.now().since(Instant::ZERO) + secs(15);
    world.run_until_converged(limit).unwrap();
    assert!(world.version(host).unwrap() > before);
}

#[test]
fn d2_who_leaves_is_gone_within_three_seconds_for_good() {
    for seed in 0..5 {
        let (mut world, leaver) = (joined(seed, 10), HostId(4));
        // Two nodes miss the farewell and still know the entry when they come back.
        let late = between(&[7, 8], &[0, 1, 2, 3, 4, 5, 6, 9]);
        world.inject(Fault::Cut(late.clone()));
        world.run_for(Duration::from_millis(500)).unwrap();
        world.inject(Fault::Shutdown(leaver));
        let limit = world.now() + secs(3);
        let others = |world: &World| {
            let mut others = world.hosts().filter(|host| !matches!(host.0, 7 | 8));
            match others.find(|host| world.sees(*host, leaver)) {
                Some(host) => Err(format!("{host} still sees who left")),
                None => Ok(()),
            }
        };
        world.run_until_holds(limit, others).unwrap();
        assert!(!world.is_running(leaver));
        world.inject(Fault::Mend(late));
        for _ in 0..200 {
            world.run_for(Duration::from_millis(50)).unwrap();
            others(&world).unwrap();
        }
        seen_by_nobody(&world, leaver).unwrap();
        world.settled().unwrap();
    }
}

#[test]
fn two_networks_never_see_each_other() {
    let mut world = World::new(9, Options::default());
    let other = Digest::hash(b"another network");
    for node in 0..8 {
        let mut spec = NodeSpec::new(if node % 2 == 0 { network() } else { other });
        // All know the first two, one of each network.
        spec.bootstrap = (0..2).filter(|host| *host != node).map(HostId).collect();
        world.add_node(spec);
    }
    for _ in 0..300 {
        world.run_for(Duration::from_millis(100)).unwrap();
        for (a, b) in world.hosts().flat_map(|a| world.hosts().map(move |b| (a, b))) {
            assert!(a.0 % 2 == b.0 % 2 || !world.sees(a, b), "{a} sees {b}");
        }
    }
    world.settled().unwrap();
}

#[test]
fn d13_a_healed_partition_becomes_one_network() {
    for seed in 0..3 {
        let mut world = joined(seed, 10);
        let cut = between(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]);
        world.inject(Fault::Cut(cut.clone()));
        world.run_for(secs(20)).unwrap();
        assert!(!world.sees(HostId(0), HostId(9)) && world.sees(HostId(5), HostId(9)));
        // Both sides change meanwhile.
        world.edit(HostId(1), |draft| draft.tags().extend([Digest::hash(b"one")]));
        world.edit(HostId(8), |draft| draft.tags().extend([Digest::hash(b"eight")]));
        world.run_for(secs(1)).unwrap();
        world.inject(Fault::Mend(cut));
        let limit = world.now().since(Instant::ZERO) + secs(15);
        world.run_until_converged(limit).unwrap();
        world.run_for(secs(5)).unwrap();
        world.settled().unwrap();
    }
}

/// A path that is cut in one direction only takes nobody away who can be reached otherwise.
#[test]
fn a_one_way_cut_heals() {
    let mut world = joined(6, 8);
    let deaf: Vec<_> = (1..8).map(|host| (HostId(host), HostId(0))).collect();
    world.inject(Fault::Cut(deaf.clone()));
    world.run_for(secs(15)).unwrap();
    world.inject(Fault::Mend(deaf));
    let limit = world.now().since(Instant::ZERO) + secs(20);
    world.run_until_converged(limit).unwrap();
}

/// D6: what a wall clock does is nobody's business but its own.
#[test]
fn d6_jumps_of_a_wall_clock_are_harmless() {
    for by in [3_600_000, -3_600_000] {
        let mut world = joined(7, 6);
        world.inject(Fault::Jump(HostId(2), by));
        for _ in 0..100 {
            world.run_for(Duration::from_millis(100)).unwrap();
            world.converged().unwrap();
        }
        world.inject(Fault::Jump(HostId(2), -by));
        world.edit(HostId(2), |draft| draft.tags().extend([Digest::hash(b"after")]));
        world.run_for(secs(2)).unwrap();
        world.converged().unwrap();
    }
}

#[test]
fn two_nodes_that_dial_each_other_keep_one_link() {
    for seed in 0..20 {
        let mut world = World::new(seed, Options::default());
        for node in 0..2 {
            let mut spec = NodeSpec::new(network());
            spec.bootstrap = vec![HostId(1 - node)];
            world.add_node(spec);
        }
        world.run_for(Duration::from_millis(1)).unwrap();
        world.run_until_converged(secs(3)).unwrap();
        world.run_for(secs(2)).unwrap();
        assert_eq!(world.links().len(), 1, "seed {seed}");
        world.settled().unwrap();
    }
}

/// Without bootstrap peers the address book brings two lonely nodes together.
#[test]
fn lonely_nodes_find_each_other_through_the_address_book() {
    let mut world = World::new(3, Options::default());
    for _ in 0..3 {
        world.add_node(NodeSpec::new(network()));
    }
    let met = world.run_until_holds(Instant::ZERO + secs(20), |world| {
        if world.sees(HostId(0), HostId(2)) { world.converged() } else { Err("alone".to_owned()) }
    });
    assert!(met.unwrap() > Instant::ZERO + secs(8), "not before they are lonely");
}

/// D11: a node whose loop stands still for less than the idle time is not taken for dead.
#[test]
fn d11_a_slow_loop_removes_nobody() {
    let mut world = joined(8, 8);
    for round in 0..10 {
        world.inject(Fault::Freeze(HostId(round % 8), Duration::from_millis(1_500)));
        for _ in 0..20 {
            world.run_for(Duration::from_millis(100)).unwrap();
            world.converged().unwrap();
        }
    }
}

/// The close of a link must not overtake the farewell before it: who leaves in good order is gone
/// after a round trip or two, not after the silence of a dead peer.
#[test]
fn d2_farewells_arrive_before_links_are_closed() {
    for seed in 0..40 {
        let mut world = World::new(seed, Options { net: net::Options::wan(), trace: false });
        cluster(&mut world, &mut generator(seed), 2, Duration::from_millis(100), 2);
        world.run_for(secs(3)).unwrap();
        world.converged().unwrap();
        world.inject(Fault::Shutdown(HostId(1)));
        let limit = world.now() + secs(1);
        world
            .run_until_holds(limit, |world| seen_by_nobody(world, HostId(1)))
            .unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}
