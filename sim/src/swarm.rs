//! Swarm testing: each seed draws which kinds of faults it has at all, then a schedule of them.

use std::{fmt, time::Duration};

use mosaik_proto::{rng::Rng, time::Instant};

use crate::{
    net::HostId,
    world::{Fault, World},
};

/// The kinds of faults of one run. Half of them are off in each seed, so that no kind hides what
/// another would show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one switch per kind is the point")]
pub struct Swarm {
    /// Packets are lost, 1 to 20 %.
    pub loss: bool,
    /// The hosts fall into two parts that hear nothing of each other.
    pub partitions: bool,
    /// A host is heard but hears nothing, or the reverse.
    pub one_way: bool,
    /// Processes die and start again with the same key.
    pub crashes: bool,
    /// Processes end in good order and start again.
    pub departures: bool,
    /// Links break.
    pub resets: bool,
    /// Paths stand still for less than the idle time.
    pub stalls: bool,
    /// Loops stand still.
    pub freezes: bool,
    /// Clocks run up to 200 millionths too fast or slow.
    pub drift: bool,
    /// Wall clocks jump by up to 20 s, also just before a restart.
    pub jumps: bool,
    /// Consumers are slow, and stop for longer than producers wait for them.
    pub slow: bool,
    /// Dials fail.
    pub dials: bool,
    /// One more host says anything, also when all faults are over.
    pub hostile: bool,
}

impl Swarm {
    /// Every kind.
    pub const ALL: Self = Self::of(u32::MAX);
    /// None.
    pub const NONE: Self = Self::of(0);

    const fn of(bits: u32) -> Self {
        Self {
            loss: bits & 1 != 0,
            partitions: bits & 2 != 0,
            one_way: bits & 4 != 0,
            crashes: bits & 8 != 0,
            departures: bits & 16 != 0,
            resets: bits & 32 != 0,
            stalls: bits & 64 != 0,
            freezes: bits & 128 != 0,
            drift: bits & 256 != 0,
            jumps: bits & 512 != 0,
            slow: bits & 1024 != 0,
            dials: bits & 2048 != 0,
            hostile: bits & 4096 != 0,
        }
    }

    /// Each kind with probability one half.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        Self::of(rng.next_u64() as u32)
    }

    /// Schedules faults between `from` and `to`, and calm at `to`.
    pub fn schedule(self, world: &mut World, rng: &mut Rng, from: Instant, to: Instant) {
        let hosts: Vec<_> = world.hosts().collect();
        for (at, fault) in self.plan(rng, &hosts, from, to) {
            world.schedule(at, fault);
        }
    }

    /// Faults between `from` and `to`, and calm at `to`, in the order of scheduling.
    pub(crate) fn plan(
        self,
        rng: &mut Rng,
        hosts: &[HostId],
        from: Instant,
        to: Instant,
    ) -> Vec<(Instant, Fault)> {
        let mut plan = Vec::new();
        if self.loss {
            plan.push((from, Fault::Loss(10_000 + rng.below(190_000) as u32)));
        }
        if self.dials {
            plan.push((from, Fault::DialFailures(rng.below(300_000) as u32)));
        }
        let mut at = from;
        while at < to && hosts.len() > 1 {
            for (delay, fault) in self.one(rng, hosts) {
                if at + delay < to {
                    plan.push((at + delay, fault));
                }
            }
            at = at + millis(rng, 50, 3_000);
        }
        plan.push((to, Fault::Calm));
        plan
    }

    /// One fault with what undoes it; nothing if its kind is off.
    fn one(self, rng: &mut Rng, hosts: &[HostId]) -> Vec<(Duration, Fault)> {
        let now = Duration::ZERO;
        let host = hosts[rng.below(hosts.len() as u64) as usize];
        let other = hosts[rng.below(hosts.len() as u64) as usize];
        match rng.below(10) {
            0 if self.partitions => {
                let (a, b) = parts(rng, hosts);
                cut(both_ways(&a, &b), millis(rng, 100, 15_000))
            }
            1 if self.one_way => {
                let rest: Vec<_> = hosts.iter().copied().filter(|h| *h != host).collect();
                let paths = if rng.chance(500_000) {
                    one_way(&[host], &rest)
                } else {
                    one_way(&rest, &[host])
                };
                cut(paths, millis(rng, 100, 12_000))
            }
            2 if self.crashes => {
                vec![(now, Fault::Crash(host)), (millis(rng, 1, 12_000), Fault::Start(host))]
            }
            3 if self.departures => {
                vec![(now, Fault::Shutdown(host)), (millis(rng, 500, 12_000), Fault::Start(host))]
            }
            4 if self.resets => vec![(now, Fault::Reset(host, other))],
            5 if self.stalls && host != other => {
                cut(both_ways(&[host], &[other]), millis(rng, 50, 3_900))
            }
            6 if self.freezes => vec![(now, Fault::Freeze(host, millis(rng, 50, 1_500)))],
            7 if self.jumps => {
                // Half of the jumps are taken back later; a process may restart in between.
                let by = rng.below(20_000) as i64 - 10_000;
                let mut jumps = vec![(now, Fault::Jump(host, by))];
                if self.crashes && rng.chance(500_000) {
                    jumps.push((now, Fault::Crash(host)));
                    jumps.push((millis(rng, 1, 3_000), Fault::Start(host)));
                }
                jumps.push((millis(rng, 3_000, 9_000), Fault::Jump(host, -by)));
                jumps
            }
            8 if self.slow => vec![(now, Fault::Pause(host, millis(rng, 100, 9_000)))],
            9 => vec![(now, Fault::EarlyTimeout(host))],
            _ => Vec::new(),
        }
    }

    /// The names of the kinds that are on.
    fn names(self) -> Vec<&'static str> {
        let all = [
            (self.loss, "loss"),
            (self.partitions, "partitions"),
            (self.one_way, "one-way"),
            (self.crashes, "crashes"),
            (self.departures, "departures"),
            (self.resets, "resets"),
            (self.stalls, "stalls"),
            (self.freezes, "freezes"),
            (self.drift, "drift"),
            (self.jumps, "jumps"),
            (self.slow, "slow"),
            (self.dials, "dials"),
            (self.hostile, "hostile"),
        ];
        all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}

pub(crate) fn millis(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + rng.below(most - least + 1))
}

pub(crate) fn cut(paths: Vec<(HostId, HostId)>, time: Duration) -> Vec<(Duration, Fault)> {
    vec![(Duration::ZERO, Fault::Cut(paths.clone())), (time, Fault::Mend(paths))]
}

pub(crate) fn one_way(from: &[HostId], to: &[HostId]) -> Vec<(HostId, HostId)> {
    from.iter().flat_map(|a| to.iter().map(|b| (*a, *b))).collect()
}

/// All paths between two parts.
#[must_use]
pub(crate) fn both_ways(a: &[HostId], b: &[HostId]) -> Vec<(HostId, HostId)> {
    [one_way(a, b), one_way(b, a)].concat()
}

pub(crate) fn parts(rng: &mut Rng, hosts: &[HostId]) -> (Vec<HostId>, Vec<HostId>) {
    let mut hosts = hosts.to_vec();
    rng.shuffle(&mut hosts);
    let at = 1 + rng.below(hosts.len() as u64 - 1) as usize;
    let rest = hosts.split_off(at);
    (hosts, rest)
}
