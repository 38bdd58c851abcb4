//! Mutants of level 2: a clock of this machine, an unordered map, a task that stays. Each is caught.

use std::{
    collections::HashMap,
    future::{Future, pending},
    time::{Duration, Instant as RealInstant, SystemTime},
};

use mosaik_driver::{Config, Launch, Network, NetworkBuilder, runtime::Runtime};
use mosaik_proto::{
    Digest,
    ids::Tag,
    time::{Instant, Now},
};
use mosaik_sim::{
    Failure, HostId,
    level2::{Host, SimRuntime, SimTimer, World},
};

/// What is changed about the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// Nothing: the tests below would pass.
    Sound,
    /// The loop reads the clock of this machine.
    RealClock,
    /// A task is left behind with each that ends.
    Leak,
}

#[derive(Debug)]
struct Mutated {
    inner: SimRuntime,
    mutant: Mutant,
    origin: RealInstant,
}

impl Runtime for Mutated {
    type Timer = SimTimer;

    fn now(&self) -> Now {
        let now = self.inner.now();
        match self.mutant {
            Mutant::RealClock => Now { mono: Instant::ZERO + self.origin.elapsed(), ..now },
            Mutant::Sound | Mutant::Leak => now,
        }
    }

    fn timer(&self) -> SimTimer {
        self.inner.timer()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(task);
        if self.mutant == Mutant::Leak {
            self.inner.spawn(pending());
        }
    }

    fn entropy(&self) -> [u8; 32] {
        self.inner.entropy()
    }
}

/// Starts nodes on a mutated runtime; which one, the host's name says.
#[derive(Default)]
struct Bad;

impl Launch for Bad {
    fn launch(self, config: Config) -> Result<Network, mosaik_driver::Error> {
        let host = Host::current();
        let mutant = match &*host.name() {
            "clock" => Mutant::RealClock,
            "leak" => Mutant::Leak,
            _ => Mutant::Sound,
        };
        let booted = host.boot(config.key().public());
        let (inner, transport) = booted.map_err(mosaik_driver::Error::Bind)?;
        let runtime = Mutated { inner, mutant, origin: RealInstant::now() };
        host.start(runtime, transport, config)
    }
}

/// Two hosts that meet; one of them has this name. What came of it, and the trace.
fn world_with(name: &str) -> Result<Digest, Failure> {
    let mut world = World::new(5);
    for name in ["sound", name] {
        world.spawn_node(name, |host| async move {
            let network = NetworkBuilder::<Bad>::new("mutants").with_secret_key(host.key());
            let network = network.build().await.expect("a node");
            network.discovery().dial(host.endpoint_of(HostId(0))).await;
            host.sleep(Duration::from_millis(700)).await;
            network.shutdown().await;
            host.sleep(Duration::from_secs(10)).await;
        });
    }
    world.run_for(Duration::from_secs(5))?;
    Ok(world.trace_hash())
}

/// NODE-03, and the control of the tests below.
#[test]
fn a_sound_runtime_passes() {
    let (first, second) = (world_with("other"), world_with("other"));
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(first, second);
}

#[test]
fn a_loop_that_reads_the_clock_of_this_machine_is_caught() {
    let (first, second) = (world_with("clock"), world_with("clock"));
    // Either time stands still for somebody who waits for it, or no two runs are the same.
    assert!(first.is_err() || first != second, "{first:?} twice");
}

#[test]
fn a_task_that_outlives_its_network_is_caught() {
    match world_with("leak") {
        Err(Failure::Safety(what)) => assert!(what.contains("outlive"), "{what}"),
        other => panic!("nobody missed the leak: {other:?}"),
    }
}

/// A program that does something in an order that nobody gave.
fn world_of<F>(program: impl Fn(Host) -> F + Copy + 'static) -> Result<Digest, Failure>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new(9);
    world.spawn_node("a", program);
    world.run_for(Duration::from_secs(5))?;
    Ok(world.trace_hash())
}

#[test]
fn a_program_that_iterates_an_unordered_map_is_caught() {
    let program = |host: Host| async move {
        let network = host.network("maps").build().await.expect("a node");
        let tags: HashMap<u32, Tag> =
            (0..12).map(|tag: u32| (tag, Tag::hash(&tag.to_be_bytes()))).collect();
        for tag in tags.values() {
            network.discovery().add_tags(*tag).expect("room for a tag");
            host.sleep(Duration::from_millis(1)).await;
        }
    };
    assert_ne!(world_of(program), world_of(program));
}

#[test]
fn a_program_that_reads_the_clock_of_this_machine_is_caught() {
    let program = |host: Host| async move {
        let _network = host.network("clocks").build().await.expect("a node");
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        host.sleep(Duration::from_millis(u64::from(since.subsec_nanos() % 1_000))).await;
    };
    assert_ne!(world_of(program), world_of(program));
}
