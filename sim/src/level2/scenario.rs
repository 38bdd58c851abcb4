//! The fault world of level 2: programs with producers, consumers, syncs, predicates and handles that
//! come and go; faults, then calm, then everything must be well.

use std::{fmt, sync::Arc, time::Duration};

use mosaik_proto::{Digest, rng::Rng, time::Instant};

use super::{
    Fault, Options, World,
    program::{self, Plan},
};
use crate::{
    checkers::order::Counts,
    clock::Clock,
    net::{self, HostId},
    scenario::generator,
    swarm::Swarm,
    verdict::Failure,
};

/// Faults begin after this.
const WARM_UP: Duration = Duration::from_secs(2);
/// The time for fresh items to arrive after the world has converged.
const DELIVERY: Duration = Duration::from_secs(60);
/// After that nothing may fall apart for this long.
const STABLE: Duration = Duration::from_secs(6);
/// The time for all programs to end when they are asked to, and for their tasks to be gone.
const GOODBYE: Duration = Duration::from_secs(6);

/// The parameters.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed of the world, of the programs and of the faults.
    pub seed: u64,
    /// Hosts.
    pub nodes: usize,
    /// When faults end.
    pub faults: Duration,
    /// When the world must have converged.
    pub until: Duration,
    /// The kinds of faults; drawn from the seed if not given.
    pub swarm: Option<Swarm>,
    /// Print the trace to stderr.
    pub trace: bool,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kinds of faults that were on.
    pub swarm: Swarm,
    /// How long after the faults the world had converged.
    pub converged: Duration,
    /// Items as the cores delivered them.
    pub items: Counts,
    /// Items that programs took from their handles.
    pub taken: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// The hash of the trace.
    pub trace: Digest,
    /// Its lines.
    pub lines: u64,
}

impl Scenario {
    /// The defaults for a seed: 5 hosts, faults for 20 s, 120 s in all.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 5,
            faults: Duration::from_secs(20),
            until: Duration::from_secs(120),
            swarm: None,
            trace: false,
        }
    }

    /// The kinds of faults of this run.
    #[must_use]
    pub fn swarm(&self) -> Swarm {
        self.swarm.unwrap_or_else(|| Swarm::draw(&mut generator(self.seed).fork("level 2 swarm")))
    }

    /// Runs it.
    ///
    /// # Errors
    /// What a checker found, or that the world did not converge.
    pub fn run(&self) -> Result<Report, Failure> {
        let rng = generator(self.seed);
        let swarm = self.swarm();
        let plan = Arc::new(Plan::new(self.nodes));
        let mut world = self.build(&rng, swarm, &plan);
        let calm = Instant::ZERO + self.faults;
        let hosts: Vec<_> = world.hosts().collect();
        let faults = swarm.plan(&mut rng.fork("faults"), &hosts, Instant::ZERO + WARM_UP, calm);
        faults.into_iter().for_each(|(at, fault)| world.schedule(at, fault));
        world.run_until(calm)?;
        plan.be_calm();
        let limit = Instant::ZERO + self.until;
        let converged =
            world.run_until_holds(limit, |_| plan.settled().and_then(|()| plan.following()))?;
        plan.make_fresh_items();
        let well = |_: &World| plan.settled().and_then(|()| plan.delivered());
        world.run_until_holds(world.now() + DELIVERY, well)?;
        world.run_for(STABLE)?;
        well(&world).map_err(|what| Failure::Liveness(format!("not stable: {what}")))?;
        self.part(&mut world, &hosts)?;
        Ok(Report {
            swarm,
            converged: converged.since(calm),
            items: world.counts(),
            taken: plan.taken(),
            polls: world.polls(),
            trace: world.trace_hash(),
            lines: world.trace_lines(),
        })
    }

    /// Everybody ends in good order, one after the other, and leaves nothing.
    fn part(&self, world: &mut World, hosts: &[HostId]) -> Result<(), Failure> {
        hosts.iter().for_each(|host| world.inject(Fault::Shutdown(*host)));
        let gone = |world: &World| match hosts.iter().find(|host| world.is_running(**host)) {
            Some(host) => Err(format!("{host} was asked to end and still runs")),
            None => Ok(()),
        };
        world.run_until_holds(world.now() + GOODBYE, gone)?;
        world.run_for(GOODBYE)
    }

    fn build(&self, rng: &Rng, swarm: Swarm, plan: &Arc<Plan>) -> World {
        let mut draw = rng.fork("level 2 world");
        let wan = draw.chance(300_000);
        let net = net::Options {
            window: 1 << (17 + draw.below(4)),
            uplink: 1 << (23 + draw.below(5)),
            ..if wan { net::Options::wan() } else { net::Options::default() }
        };
        let clock = |draw: &mut Rng| {
            Clock::new(draw.below(401) as i32 - 200, draw.below(10_000) as i64 - 5_000)
        };
        let clocks = (0..self.nodes).map(|_| clock(&mut draw));
        let clocks = if swarm.drift { clocks.collect() } else { Vec::new() };
        let options = Options { net, clocks, stamped: true, trace: self.trace };
        let mut world = World::with_options(self.seed, options);
        for node in 0..self.nodes {
            let plan = Arc::clone(plan);
            world.spawn_node(&format!("node {node}"), move |host| program::run(host, plan.clone()));
        }
        world
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { items, reported, between, .. } = self.items;
        write!(
            f,
            "converged {:?} after calm, {items} items, {} taken, {reported} reported missing, {between} between subscriptions, {} polls, {} lines [{}]",
            self.converged, self.taken, self.polls, self.lines, self.swarm
        )
    }
}
