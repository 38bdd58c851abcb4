//! Groups under faults: members, clients and disks; then calm, and nothing may be lost.

mod config;
mod copies;
mod ending;
mod operator;
mod spare;
mod swarm;

use std::{fmt, time::Duration};

use mosaik_proto::{Digest, ids::GroupId, rng::Rng, time::Instant};

use self::copies::Copies;
pub use self::swarm::{FaultCounts, GroupSwarm};
use super::generator;
use crate::{
    checkers::groups::{Figures, Judged},
    net::HostId,
    verdict::Failure,
    world::World,
};

/// Faults begin after this.
const WARM_UP: Duration = Duration::from_secs(2);
/// After calm the group must serve within this.
const SERVES: Duration = Duration::from_secs(60);
/// Fresh commands of all members must be in force within this, and every client must have heard.
const FRESH: Duration = Duration::from_secs(40);

/// The parameters.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The seed of the world, of the faults and of everything else.
    pub seed: u64,
    /// When faults end.
    pub faults: Duration,
    /// The kinds of faults; drawn from the seed if not given.
    pub swarm: Option<GroupSwarm>,
    /// Excused losses are failures too.
    pub strict: bool,
    /// Older copies of stores come back (V8).
    pub copies: bool,
    /// Print the trace to stderr.
    pub trace: bool,
}

/// Commands that were lost with an excuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Their history never had a second voter nor a disk, and met a better one.
    pub superseded: u64,
    /// An operator gave their history up, or went on without a majority of its voters.
    pub given_up: u64,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The kinds of faults that were on.
    pub swarm: GroupSwarm,
    /// What was done.
    pub faults: FaultCounts,
    /// What happened.
    pub figures: Figures,
    /// What the history of the clients says.
    pub judged: Judged,
    /// How long after the faults the group served.
    pub served: Duration,
    /// How long the world lasted.
    pub time: Duration,
    /// Commands that clients were told are in force and that are not. Any without an excuse is a failure.
    pub losses: Losses,
    /// An operator had to end a conflict, or to call `recover`.
    pub operator: bool,
    /// The hash of the trace.
    pub trace: Digest,
    /// Its lines.
    pub lines: u64,
}

impl Groups {
    /// The defaults for a seed: faults for 25 s.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let faults = Duration::from_secs(25);
        Self { seed, faults, swarm: None, strict: false, copies: false, trace: false }
    }

    /// The kinds of faults of this run.
    #[must_use]
    pub fn swarm(&self) -> GroupSwarm {
        self.swarm.unwrap_or_else(|| GroupSwarm::draw(&mut generator(self.seed).fork("swarm")))
    }

    /// Runs it.
    ///
    /// # Errors
    /// What a checker found, or that the group did not serve again.
    pub fn run(&self) -> Result<GroupReport, Failure> {
        let rng = generator(self.seed);
        let swarm = self.swarm();
        let (mut world, group) = config::build(self.seed, &rng, swarm, self.trace);
        world.run_until(Instant::ZERO + WARM_UP)?;
        let calm = Instant::ZERO + self.faults;
        let copies = self.copies.then(|| Copies::new(rng.fork("copies")));
        let faults = swarm.run(&mut world, &mut rng.fork("faults"), copies, group, calm)?;
        let end = ending::end(&mut world, group, self.strict)?;
        Copies::check(&world, group)?;
        Ok(GroupReport {
            swarm,
            faults,
            figures: world.checkers().groups.figures(),
            judged: end.judged,
            served: end.served.since(calm),
            time: world.now().since(Instant::ZERO),
            losses: end.losses,
            operator: end.operator,
            trace: world.trace_hash(),
            lines: world.trace_lines(),
        })
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { committed, rejected, unknown, reads, leaders, .. } = self.figures;
        write!(
            f,
            "served {:?} after calm; {committed} commands in force, {rejected} rejected, {unknown} unknown, {reads} reads, {leaders} leaders, {} superseded, {} given up, {} lines [{}]",
            self.served, self.losses.superseded, self.losses.given_up, self.lines, self.swarm
        )
    }
}

/// What follows faults: the group serves again, with or without an operator, executes fresh commands,
/// and has lost nothing; clients saw one copy.
///
/// # Errors
/// What is not so. With `strict` a loss with an excuse, or an operator, is a failure too.
pub fn judge(world: &mut World, group: GroupId, strict: bool) -> Result<Judged, Failure> {
    ending::end(world, group, strict).map(|end| end.judged)
}

/// The group of all scenarios.
#[must_use]
pub fn group() -> GroupId {
    Digest::hash(b"a simulated group")
}

/// The members of a group that may vote, and run.
pub(crate) fn writers(world: &World, group: GroupId) -> Vec<HostId> {
    let may = |host: &HostId| {
        world.group_status(*host, group).is_some_and(|status| status.can_vote)
            && world.is_member(*host, group)
    };
    world.hosts().filter(may).collect()
}

/// One of them.
pub(crate) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> Option<T> {
    (!of.is_empty()).then(|| of[rng.below(of.len() as u64) as usize])
}
