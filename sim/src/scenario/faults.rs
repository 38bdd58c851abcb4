//! The fault world: everything at once, then calm, then everything must be well.

use std::{fmt, time::Duration};

use mosaik_proto::{Digest, rng::Rng, time::Instant};

use super::{generator, network, streams::populate};
use crate::{
    checkers::order::Counts,
    clock::Clock,
    host::NodeSpec,
    hostile::HostileSpec,
    net::{self, HostId},
    swarm::Swarm,
    verdict::Failure,
    world::{Options, World},
};

/// Faults begin after this.
const WARM_UP: Duration = Duration::from_secs(2);
/// Items that every producer makes after the faults, and the time for them to arrive.
const FRESH: u64 = 50;
const DELIVERY: Duration = Duration::from_secs(60);
/// After convergence nothing may fall apart for this long.
const STABLE: Duration = Duration::from_secs(6);

/// The parameters.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The seed of the world, of the faults and of everything else.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// When faults end.
    pub faults: Duration,
    /// When the world must have converged.
    pub until: Duration,
    /// The kinds of faults; drawn from the seed if not given.
    pub swarm: Option<Swarm>,
    /// Items missed between two subscriptions are failures too.
    pub strict: bool,
    /// Some windows of consumers hold less than one item.
    pub tight: bool,
    /// Print the trace to stderr.
    pub trace: bool,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// The kinds of faults that were on.
    pub swarm: Swarm,
    /// How long after the faults the world had converged.
    pub converged: Duration,
    /// Items, and what became of those that did not come.
    pub items: Counts,
    /// The hash of the trace.
    pub trace: Digest,
    /// Its lines.
    pub lines: u64,
}

impl Faults {
    /// The defaults for a seed: 6 nodes, faults for 30 s, 150 s in all.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 6,
            faults: Duration::from_secs(30),
            until: Duration::from_secs(150),
            swarm: None,
            strict: false,
            tight: false,
            trace: false,
        }
    }

    /// The kinds of faults of this run.
    #[must_use]
    pub fn swarm(&self) -> Swarm {
        self.swarm.unwrap_or_else(|| Swarm::draw(&mut generator(self.seed).fork("swarm")))
    }

    /// Runs it.
    ///
    /// # Errors
    /// What a checker found, or that the world did not converge.
    pub fn run(&self) -> Result<FaultReport, Failure> {
        let rng = generator(self.seed);
        let swarm = self.swarm();
        let mut world = self.build(&rng, swarm);
        if self.strict {
            world.be_strict();
        }
        let calm = Instant::ZERO + self.faults;
        let from = Instant::ZERO + WARM_UP;
        swarm.schedule(&mut world, &mut rng.fork("faults"), from, calm);
        world.run_until(calm)?;
        let limit = Instant::ZERO + self.until;
        // Who is just leaving at that moment starts again a little later.
        let whole = |world: &World| {
            world.complete()?;
            world.settled().and_then(|()| world.subscribed())
        };
        let converged = world.run_until_holds(limit, whole)?;
        world.top_up(FRESH);
        let well = |world: &World| world.settled().and_then(|()| world.delivered());
        // A window of a few bytes over a wide area moves an item or two per round trip (seed 3149).
        let delivery = if self.tight { 10 * DELIVERY } else { DELIVERY };
        world.run_until_holds(world.now() + delivery, well)?;
        world.run_for(STABLE)?;
        well(&world).map_err(|what| Failure::Liveness(format!("not stable: {what}")))?;
        Ok(FaultReport {
            swarm,
            converged: converged.since(calm),
            items: world.checkers().order.counts(),
            trace: world.trace_hash(),
            lines: world.trace_lines(),
        })
    }

    fn build(&self, rng: &Rng, swarm: Swarm) -> World {
        let mut draw = rng.fork("world");
        let wan = draw.chance(300_000);
        let net = net::Options {
            window: 1 << (17 + draw.below(4)),
            uplink: 1 << (23 + draw.below(5)),
            ..if wan { net::Options::wan() } else { net::Options::default() }
        };
        let mut world = World::new(self.seed, Options { net, trace: self.trace });
        for node in 0..self.nodes {
            let mut spec = NodeSpec::new(network());
            spec.start = Duration::from_millis(draw.below(1_000));
            if swarm.drift {
                let drift = draw.below(401) as i32 - 200;
                spec.clock = Clock::new(drift, draw.below(10_000) as i64 - 5_000);
            }
            // Everybody knows the first two, who know each other.
            spec.bootstrap = (0..2).map(HostId).filter(|host| host.0 != node).collect();
            spec.bootstrap.retain(|host| host.0 < self.nodes);
            world.add_node(spec);
        }
        populate(&mut world, &mut rng.fork("streams"), (swarm.slow, self.tight), self.faults);
        if swarm.hostile {
            let mut draw = rng.fork("hostile");
            world.add_hostile(HostileSpec {
                network: network(),
                start: Duration::from_millis(draw.below(4_000)),
                targets: world.hosts().collect(),
                streams: super::streams::names().to_vec(),
                every: Duration::from_millis(10 + draw.below(200)),
            });
        }
        world
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { items, reported, between, .. } = self.items;
        write!(
            f,
            "converged {:?} after calm, {items} items, {reported} reported missing, {between} between subscriptions, {} lines [{}]",
            self.converged, self.lines, self.swarm
        )
    }
}
