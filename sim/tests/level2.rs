//! Level 2: the real loop and handles under faults. What it is to find is put in here, and found.

mod mutants;

use std::time::Duration;

use mosaik_proto::time::Instant;
use mosaik_sim::{
    Failure, Fault, HostId,
    level2::{Options, Scenario, World},
};

/// NODE-02, STR-09, DISC-30: whatever happens, nothing that must never happen does, and when it is
/// over all is well.
#[test]
fn some_seeds_of_the_fault_world() -> Result<(), Failure> {
    for seed in 1..=if cfg!(debug_assertions) { 4 } else { 60 } {
        let report = Scenario::new(seed).run().inspect_err(|_| eprintln!("seed {seed}"))?;
        assert!(report.taken > 1_000, "seed {seed}: {report}");
    }
    Ok(())
}

/// NODE-03: one commit and one seed are one run, also of the loop, the pumps and the handles.
#[test]
fn twenty_seeds_run_twice_give_equal_traces() -> Result<(), Failure> {
    let trace = |seed| {
        let faults = Duration::from_secs(5);
        let report = Scenario { nodes: 3, faults, ..Scenario::new(seed) }.run()?;
        Ok(report.trace)
    };
    let mut all = Vec::new();
    for seed in 1..=20 {
        let (first, second) = (trace(seed)?, trace(seed)?);
        assert_eq!(first, second, "seed {seed}");
        all.push(first);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20, "seeds differ");
    Ok(())
}

/// Time stands still while somebody can run, and does not wait for anybody.
#[test]
fn a_year_of_sleep_takes_no_time() -> Result<(), Failure> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    let mut world = World::new(1);
    let host = world.spawn_node("sleeper", |host| async move {
        let before = host.world_now();
        host.sleep(YEAR).await;
        assert_eq!(host.world_now(), before + YEAR);
    });
    world.run_until(Instant::ZERO + YEAR)?;
    assert!(!world.is_running(host));
    Ok(())
}

/// A crash takes everything of a program with it; the next start begins anew, with the same key.
#[test]
fn programs_crash_and_start_again() -> Result<(), Failure> {
    let mut world = World::new(3);
    let program = |host: mosaik_sim::level2::Host| async move {
        let network = host.network("crashes").build().await.expect("a node");
        network.discovery().dial(host.endpoint_of(HostId(0))).await;
        host.stopping().await;
        network.shutdown().await;
    };
    let (a, b) = (world.spawn_node("a", program), world.spawn_node("b", program));
    world.run_for(Duration::from_secs(2))?;
    assert!(world.tasks(a) > 2 && world.tasks(b) > 2, "loops and pumps run");
    world.inject(Fault::Crash(b));
    assert!(!world.is_running(b));
    assert_eq!(world.tasks(b), 0);
    world.run_for(Duration::from_secs(1))?;
    world.inject(Fault::Start(b));
    world.run_for(Duration::from_secs(1))?;
    assert!(world.is_running(b) && world.tasks(b) > 2);
    [a, b].into_iter().for_each(|host| world.inject(Fault::Shutdown(host)));
    world.run_for(Duration::from_secs(5))?;
    assert!(!world.is_running(a) && !world.is_running(b));
    Ok(())
}

/// Nodes of a world find each other by the world's address books only, and by no other world's.
#[test]
fn worlds_know_nothing_of_each_other() -> Result<(), Failure> {
    let build = |seed| {
        let mut world = World::with_options(seed, Options::default());
        for name in ["a", "b"] {
            world.spawn_node(name, |host| async move {
                let network = host.network("one for all").build().await.expect("a node");
                host.sleep(Duration::from_secs(20)).await;
                let others = network.discovery().catalog().signed_peers_count();
                assert_eq!(others, 1, "the other host of this world and nobody else");
            });
        }
        world
    };
    let mut worlds = [build(1), build(2)];
    for second in 1..=20 {
        for world in &mut worlds {
            world.run_until(Instant::from_millis(second * 1_001))?;
        }
    }
    for world in &worlds {
        assert!(world.hosts().all(|host| !world.is_running(host)));
    }
    Ok(())
}
