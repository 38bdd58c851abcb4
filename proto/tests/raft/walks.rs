//! Random faults, then calm: nothing committed is lost, and the group serves again.

use std::{collections::BTreeSet, time::Duration};

use mosaik_proto::raft::{Config, Event, Seat};

use crate::{
    cluster::{Cluster, Host},
    scenarios::SECOND,
};

/// A group that walks are made with.
pub(crate) struct Walk {
    pub(crate) name: &'static str,
    hosts: usize,
    durable: bool,
    /// Seats that the leader fills.
    voters: usize,
}

const fn group(name: &'static str, hosts: usize, durable: bool) -> Walk {
    Walk { name, hosts, durable, voters: 5 }
}

const THREE_WITH_DISKS: Walk = group("three_with_disks", 3, true);
const FIVE_WITH_DISKS: Walk = group("five_with_disks", 5, true);
const TWO_WITH_DISKS: Walk = group("two_with_disks", 2, true);
const THREE_WITHOUT_DISKS: Walk = group("three_without_disks", 3, false);
const FIVE_WITHOUT_DISKS: Walk = group("five_without_disks", 5, false);
const TWO_WITHOUT_DISKS: Walk = group("two_without_disks", 2, false);
const FOUR_WITHOUT_DISKS: Walk = group("four_without_disks", 4, false);
/// More hosts than seats: members want to vote and do not any more, and silent ones are replaced soon.
const FIVE_OF_WHICH_THREE_VOTE: Walk =
    Walk { voters: 3, ..group("five_of_which_three_vote", 5, true) };

/// All of them.
#[cfg_attr(not(mosaik_mutants), allow(dead_code, reason = "each has a test"))]
pub(crate) const WALKS: [Walk; 8] = [
    THREE_WITH_DISKS,
    FIVE_WITH_DISKS,
    TWO_WITH_DISKS,
    THREE_WITHOUT_DISKS,
    FIVE_WITHOUT_DISKS,
    TWO_WITHOUT_DISKS,
    FOUR_WITHOUT_DISKS,
    FIVE_OF_WHICH_THREE_VOTE,
];

impl Walk {
    fn is_restless(&self) -> bool {
        self.voters < self.hosts
    }

    fn cluster(&self, seed: u64) -> Cluster {
        let restless = self.is_restless();
        let mut cluster = Cluster::with(seed, self.hosts, |config| Config {
            durable: self.durable,
            max_voters: self.voters,
            dead_voter_timeout: if restless { SECOND * 3 } else { config.dead_voter_timeout },
            ..config
        });
        cluster.trace = std::env::var("TRACE").is_ok();
        let slow = cluster.rng.chance(300_000);
        if slow {
            cluster.disk_delay = (Duration::from_millis(1), Duration::from_millis(300));
            cluster.delay = (Duration::from_millis(10), Duration::from_millis(150));
        }
        cluster
    }

    /// One seed: so many random faults, then calm.
    pub(crate) fn run(&self, seed: u64) {
        let mut cluster = self.cluster(seed);
        cluster.run(Duration::from_millis(500));
        for _ in 0..60 {
            self.step(&mut cluster);
            let pause = cluster.rng.below(400);
            cluster.run(Duration::from_millis(pause));
        }
        calm(&mut cluster, self.hosts.min(self.voters));
    }

    fn step(&self, cluster: &mut Cluster) {
        let (hosts, durable) = (self.hosts, self.durable);
        let host = cluster.rng.below(hosts as u64) as usize;
        let other = cluster.rng.below(hosts as u64) as usize;
        if self.is_restless() && cluster.rng.chance(100_000) {
            let can_vote = !cluster.hosts[host].config.can_vote;
            return cluster.can_vote(host, can_vote);
        }
        match cluster.rng.below(100) {
            0..40 => {
                let host = cluster.leader().unwrap_or(host);
                let burst = 1 + cluster.rng.below(5);
                (0..burst).for_each(|_| {
                    cluster.propose(host);
                });
            }
            40..50 if host != other => cluster.unlink(host, other),
            50..65 => cluster.link(host, other.min(hosts - 1).max(usize::from(host == 0))),
            65..69 => cluster.partition(&[host, other]),
            69..74 => cluster.heal(),
            74..80 if may_crash(cluster, durable, host) => cluster.crash(host),
            80..88 if cluster.hosts[host].raft.is_none() => cluster.restart(host),
            88..91 => {
                if let Some(leader) = cluster.leader() {
                    let to = cluster.rng.chance(500_000).then(|| cluster.hosts[host].config.seat);
                    cluster.feed(leader, Event::Transfer(to));
                }
            }
            95..100 if cluster.hosts[host].raft.is_some() => {
                (0..hosts).for_each(|host| {
                    cluster.read(host);
                });
            }
            91..95 if cluster.hosts[host].raft.is_some() => {
                let commit = cluster.hosts[host].raft().commit();
                cluster.feed(host, Event::Compact(commit));
            }
            _ => {}
        }
    }
}

/// Without disks only one store may be missing at a time, until everybody is a voter again; of four two,
/// since what three had is still with the other two.
fn may_crash(cluster: &Cluster, durable: bool, host: usize) -> bool {
    if cluster.hosts[host].raft.is_none() {
        return false;
    }
    if durable {
        return true;
    }
    let seats: BTreeSet<Seat> = cluster.hosts.iter().map(|host| host.config.seat).collect();
    let down = cluster.hosts.iter().filter(|host| host.raft.is_none()).count();
    let all = down == 0 || down == 1 && cluster.hosts.len() == 4;
    let Some(leader) = cluster.leader() else { return false };
    let voters = cluster.hosts[leader].raft().membership();
    let settled =
        !voters.is_joint() && voters.voters.iter().copied().collect::<BTreeSet<_>>() == seats;
    let equal = cluster.running().all(|(_, raft)| {
        raft.membership() == voters
            && raft.log().last() == cluster.hosts[leader].raft().log().last()
    });
    all && settled && equal
}

/// Faults stop: the group serves again, and everything acknowledged is there.
pub(crate) fn calm(cluster: &mut Cluster, seats: usize) {
    for host in 0..cluster.hosts.len() {
        if cluster.hosts[host].raft.is_none() {
            cluster.restart(host);
        }
    }
    cluster.heal();
    // As many as there are seats want to vote; others stay as they are.
    for host in 0..cluster.hosts.len() {
        let willing = cluster.hosts.iter().filter(|host| host.config.can_vote).count();
        if willing < seats && !cluster.hosts[host].config.can_vote {
            cluster.can_vote(host, true);
        }
    }
    // The second time, because a hand-over may have been under way.
    for _ in 0..2 {
        cluster.run(Duration::from_secs(3));
        cluster.until("a leader that all follow", Duration::from_secs(60), |cluster| {
            let Some(leader) = cluster.leader() else { return false };
            let leader = cluster.hosts[leader].raft().seat();
            cluster.running().all(|(_, raft)| raft.leader() == Some(leader))
        });
    }
    let before = cluster.acknowledged.len();
    // A leader that wishes to go may lose what it took last.
    for _ in 0..5 {
        if cluster.acknowledged.len() == before {
            cluster.leader().map(|leader| cluster.propose(leader));
            cluster.run(3 * SECOND);
        }
    }
    assert!(cluster.acknowledged.len() > before, "{}", cluster.describe());
    cluster.until("everything is applied by all", Duration::from_secs(60), |cluster| {
        let last = |host: &Host| host.applied.last().map(|(index, ..)| *index);
        cluster.hosts.iter().all(|host| last(host) == last(&cluster.hosts[0]))
    });
    let commands: BTreeSet<_> = cluster.hosts[0].commands().into_iter().collect();
    assert_eq!(commands.len(), cluster.hosts[0].commands().len(), "no command twice");
    for command in &cluster.acknowledged {
        assert!(commands.contains(command), "acknowledged command {command} is lost");
    }
    cluster.until("all seats are filled", Duration::from_secs(60), |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        let votes = |host: &&Host| voters.lists(&host.config.seat);
        !voters.is_joint() && cluster.hosts.iter().filter(votes).count() == seats
    });
}

fn seeds() -> std::ops::Range<u64> {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    first.map_or(0..count, |first| first..first + 1)
}

fn walk(walk: &Walk) {
    seeds().for_each(|seed| {
        println!("{} SEED={seed}", walk.name);
        walk.run(seed);
    });
}

#[test]
fn three_with_disks() {
    walk(&THREE_WITH_DISKS);
}

#[test]
fn five_with_disks() {
    walk(&FIVE_WITH_DISKS);
}

#[test]
fn two_with_disks() {
    walk(&TWO_WITH_DISKS);
}

#[test]
fn three_without_disks() {
    walk(&THREE_WITHOUT_DISKS);
}

#[test]
fn five_without_disks() {
    walk(&FIVE_WITHOUT_DISKS);
}

#[test]
fn two_without_disks() {
    walk(&TWO_WITHOUT_DISKS);
}

#[test]
fn four_without_disks() {
    walk(&FOUR_WITHOUT_DISKS);
}

#[test]
fn five_of_which_three_vote() {
    walk(&FIVE_OF_WHICH_THREE_VOTE);
}
