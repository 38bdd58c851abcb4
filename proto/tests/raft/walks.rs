//! Random faults, then calm: nothing committed is lost, and the group serves again.

use std::{collections::BTreeSet, time::Duration};

use mosaik_proto::raft::{Event, Seat};

use crate::cluster::Cluster;

/// One seed. `wipes`: disks may be lost, as long as a majority keeps its own.
fn walk(seed: u64, hosts: usize, durable: bool, steps: usize) {
    println!("SEED={seed}");
    let mut cluster = Cluster::new(seed, hosts, |_| durable);
    cluster.trace = std::env::var("TRACE").is_ok();
    let slow = cluster.rng.chance(300_000);
    if slow {
        cluster.disk_delay = (Duration::from_millis(1), Duration::from_millis(300));
        cluster.delay = (Duration::from_millis(10), Duration::from_millis(150));
    }
    cluster.run(Duration::from_millis(500));
    for _ in 0..steps {
        let host = cluster.rng.below(hosts as u64) as usize;
        let other = cluster.rng.below(hosts as u64) as usize;
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
            74..80 if may_crash(&cluster, durable, host) => cluster.crash(host),
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
        let pause = cluster.rng.below(400);
        cluster.run(Duration::from_millis(pause));
    }
    calm(&mut cluster);
}

/// Without disks only one store may be missing at a time: until everybody is a voter again.
fn may_crash(cluster: &Cluster, durable: bool, host: usize) -> bool {
    if cluster.hosts[host].raft.is_none() {
        return false;
    }
    if durable {
        return true;
    }
    let seats: BTreeSet<Seat> = cluster.hosts.iter().map(|host| host.config.seat).collect();
    let all = cluster.hosts.iter().all(|host| host.raft.is_some());
    let Some(leader) = cluster.leader() else { return false };
    let voters = cluster.hosts[leader].raft().membership();
    let settled =
        !voters.is_joint() && voters.voters.iter().copied().collect::<BTreeSet<_>>() == seats;
    let equal = cluster.running().all(|(_, raft)| {
        raft.membership() == voters
            && raft.log().last() == cluster.hosts[leader].raft().log().last()
    });
    all && settled && equal && seats.len() > 2
}

fn calm(cluster: &mut Cluster) {
    for host in 0..cluster.hosts.len() {
        if cluster.hosts[host].raft.is_none() {
            cluster.restart(host);
        }
    }
    cluster.heal();
    // The second time, because a hand-over may have been under way.
    for _ in 0..2 {
        cluster.run(Duration::from_secs(3));
        cluster.until("a leader that all follow", Duration::from_secs(60), |cluster| {
            let Some(leader) = cluster.leader() else { return false };
            let leader = cluster.hosts[leader].raft().seat();
            cluster.running().all(|(_, raft)| raft.leader() == Some(leader))
        });
    }
    let leader = cluster.leader().expect("there is one");
    let before = cluster.acknowledged.len();
    assert!(cluster.propose(leader), "{}", cluster.describe());
    cluster.until(
        "a command is committed and applied by all",
        Duration::from_secs(60),
        |cluster| {
            let len = |host: &crate::cluster::Host| host.applied.last().map(|(index, ..)| *index);
            let first = len(&cluster.hosts[0]);
            cluster.acknowledged.len() > before
                && cluster.hosts.iter().all(|host| len(host) == first)
        },
    );
    let commands: BTreeSet<_> = cluster.hosts[0].commands().into_iter().collect();
    assert_eq!(commands.len(), cluster.hosts[0].commands().len(), "no command twice");
    for command in &cluster.acknowledged {
        assert!(commands.contains(command), "acknowledged command {command} is lost");
    }
    cluster.until("everybody votes", Duration::from_secs(60), |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        !voters.is_joint() && cluster.hosts.iter().all(|host| voters.lists(&host.config.seat))
    });
}

fn seeds() -> std::ops::Range<u64> {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    first.map_or(0..count, |first| first..first + 1)
}

#[test]
fn three_with_disks() {
    seeds().for_each(|seed| walk(seed, 3, true, 60));
}

#[test]
fn five_with_disks() {
    seeds().for_each(|seed| walk(seed, 5, true, 60));
}

#[test]
fn two_with_disks() {
    seeds().for_each(|seed| walk(seed, 2, true, 60));
}

#[test]
fn three_without_disks() {
    seeds().for_each(|seed| walk(seed, 3, false, 60));
}

#[test]
fn five_without_disks() {
    seeds().for_each(|seed| walk(seed, 5, false, 60));
}
