//! Which kinds of faults a seed has, and a run of them.

use std::{collections::BTreeMap, fmt, time::Duration};

use mosaik_proto::{ids::GroupId, rng::Rng, time::Instant};

use super::{config::habits, copies::Copies, pick, spare::may_lose};
use crate::{
    disk::{DiskError, Part},
    net::HostId,
    swarm::{both_ways, cut, millis, one_way, parts},
    verdict::Failure,
    world::{DiskFault, Fault, World},
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident),* $(,)?) => {
        /// The kinds of faults of one run. Half of them are off in each seed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct GroupSwarm {
            $($(#[$doc])* pub $kind: bool),*
        }

        impl GroupSwarm {
            /// None.
            pub const NONE: Self = Self { $($kind: false),* };
            /// Every kind.
            pub const ALL: Self = Self { $($kind: true),* };

            /// Each kind with probability one half.
            #[must_use]
            pub fn draw(rng: &mut Rng) -> Self {
                Self { $($kind: rng.chance(500_000)),* }
            }

            fn names(self) -> Vec<&'static str> {
                let all = [$((self.$kind, stringify!($kind))),*];
                all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
            }
        }
    };
}

kinds! {
    /// Packets are lost, 1 to 20 %.
    loss,
    /// The hosts fall into two parts that hear nothing of each other.
    partitions,
    /// A host is heard but hears nothing, or the reverse.
    one_way,
    /// Processes die and start again. Those without a store have lost it then.
    crashes,
    /// Processes die in the middle of a step, at a write to their store.
    writes,
    /// Processes end in good order and start again.
    departures,
    /// Members leave the group and come back.
    members,
    /// Links break.
    resets,
    /// Loops stand still.
    freezes,
    /// Clocks run up to 200 millionths too fast or slow.
    drift,
    /// Stores are lost: they fail, are deleted, or a bit of them changes.
    stores,
    /// Disks are slow, stall, and report writes in any order.
    slow_disks,
    /// Machines take time, and stop.
    slow_machines,
    /// Leaders are asked to hand over.
    transfers,
    /// Members that may not vote.
    observers,
    /// The hosts are apart when they start.
    apart,
}

/// How often each kind of fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(pub BTreeMap<&'static str, u64>);

impl FaultCounts {
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// Faults with what undoes them, each after its delay.
type Chain = Vec<(Duration, Fault)>;

impl GroupSwarm {
    /// Faults from now until `calm`, which comes then.
    pub(super) fn run(
        self,
        world: &mut World,
        rng: &mut Rng,
        mut copies: Option<Copies>,
        group: GroupId,
        calm: Instant,
    ) -> Result<FaultCounts, Failure> {
        let mut counts = FaultCounts::default();
        let hosts: Vec<_> = world.hosts().collect();
        if self.loss {
            world.inject(Fault::Loss(10_000 + rng.below(190_000) as u32));
            counts.count("loss");
        }
        while world.now() < calm {
            if let Some((kind, faults)) = self.one(world, rng, group, &hosts) {
                counts.count(kind);
                for (delay, fault) in faults {
                    let at = world.now() + delay;
                    if at < calm {
                        world.schedule(at, fault);
                    }
                }
            }
            if let Some(copies) = &mut copies {
                copies.act(world, group, calm, &mut counts);
            }
            let next = world.now() + millis(rng, 20, 1_500);
            world.run_until(next.min(calm))?;
        }
        world.inject(Fault::Calm);
        Ok(counts)
    }

    fn one(
        self,
        world: &World,
        rng: &mut Rng,
        group: GroupId,
        hosts: &[HostId],
    ) -> Option<(&'static str, Chain)> {
        let now = Duration::ZERO;
        let host = pick(rng, hosts)?;
        let other = pick(rng, hosts)?;
        // With every start its number comes nearer to that of what it took the place of.
        if world.has_older_copy(host, group) {
            return None;
        }
        let chain = match rng.below(13) {
            0 if self.partitions => {
                let (a, b) = parts(rng, hosts);
                ("partition", cut(both_ways(&a, &b), millis(rng, 100, 12_000)))
            }
            1 if self.one_way => {
                let rest: Vec<_> = hosts.iter().copied().filter(|h| *h != host).collect();
                let to_it = rng.chance(500_000);
                let paths = if to_it { one_way(&rest, &[host]) } else { one_way(&[host], &rest) };
                ("one-way cut", cut(paths, millis(rng, 100, 10_000)))
            }
            2 if self.crashes && (world.has_store(host, group) || may_lose(world, group, host)) => {
                let restart = millis(rng, 1, 8_000);
                ("crash", vec![(now, Fault::Crash(host)), (restart, Fault::Start(host))])
            }
            3 if self.writes && world.has_store(host, group) => {
                let write = Fault::CrashAtWrite(host, 1 + rng.below(6) as u32, rng.chance(500_000));
                (
                    "crash at a write",
                    vec![(now, write), (millis(rng, 500, 6_000), Fault::Start(host))],
                )
            }
            4 if self.departures
                && (world.has_store(host, group) || may_lose(world, group, host)) =>
            {
                let start = (millis(rng, 2_500, 9_000), Fault::Start(host));
                ("departure", vec![(now, Fault::Shutdown(host)), start])
            }
            5 if self.members && may_lose(world, group, host) => {
                let join = (millis(rng, 10, 8_000), Fault::Join(host));
                ("leave", vec![(now, Fault::Leave(host)), join])
            }
            6 if self.resets => ("reset", vec![(now, Fault::Reset(host, other))]),
            7 if self.freezes => {
                ("freeze", vec![(now, Fault::Freeze(host, millis(rng, 50, 1_500)))])
            }
            8 if self.stores && world.has_store(host, group) && may_lose(world, group, host) => {
                lose_store(rng, host)
            }
            9 if self.slow_machines => {
                let time = millis(rng, 50, 4_000);
                ("machine stops", vec![(now, Fault::SlowMachine(host, time))])
            }
            10 if self.transfers => ("transfer", vec![(now, Fault::Transfer(host))]),
            11 if self.slow_disks => {
                let habits = habits(rng);
                ("disk changes", vec![(now, Fault::Disk(host, DiskFault::Habits(habits)))])
            }
            12 => ("early timeout", vec![(now, Fault::EarlyTimeout(host))]),
            _ => return None,
        };
        Some(chain)
    }
}

/// A store fails, is deleted, or has changed at the next start.
fn lose_store(rng: &mut Rng, host: HostId) -> (&'static str, Chain) {
    let now = Duration::ZERO;
    let disk = |fault| (now, Fault::Disk(host, fault));
    let restart = [(now, Fault::Crash(host)), (millis(rng, 1, 5_000), Fault::Start(host))];
    match rng.below(4) {
        0 => {
            let error = if rng.chance(500_000) { DiskError::Full } else { DiskError::Io };
            let mend = (millis(rng, 10, 4_000), Fault::Disk(host, DiskFault::Mend));
            ("disk fails", vec![disk(DiskFault::Fail(error)), mend])
        }
        1 => ("flipped bit", [vec![disk(DiskFault::Flip(Part::Log))], restart.to_vec()].concat()),
        2 => (
            "flipped bit",
            [vec![disk(DiskFault::Flip(Part::Snapshot))], restart.to_vec()].concat(),
        ),
        _ => ("deleted store", [vec![disk(DiskFault::Delete)], restart.to_vec()].concat()),
    }
}

impl fmt::Display for GroupSwarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}
