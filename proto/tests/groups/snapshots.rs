//! Logs that are compacted, members that need more than the log holds, machines that went astray.

use std::time::Duration;

use mosaik_proto::{
    groups::{Blocked, GroupConfig, Input, Notice},
    ids::RequestId,
};

use crate::cluster::{Cluster, config, peer};

const SECOND: Duration = Duration::from_secs(1);

/// Machines are frozen after a few dozen commands.
fn small() -> GroupConfig {
    GroupConfig { snapshots: true, snapshot_after: 3_000, log_tail: 600, digests: true, ..config() }
}

fn durable() -> GroupConfig {
    GroupConfig { durable: true, ..small() }
}

/// Commands at a member, one after the other.
fn write(cluster: &mut Cluster, at: usize, commands: usize) {
    for _ in 0..commands {
        cluster.execute(at);
        cluster.run(Duration::from_millis(1));
    }
}

/// A group whose members vote but for those that are down, with some commands.
fn formed(seed: u64, hosts: usize, down: &[usize], of: impl Fn(usize) -> GroupConfig) -> Cluster {
    let mut cluster = Cluster::new(seed, hosts, of);
    cluster.crash_all(down.iter().copied());
    cluster.until("a leader", 5 * SECOND, Cluster::is_formed);
    let at = cluster.leader().unwrap();
    cluster.execute(at);
    cluster.until("all vote", 5 * SECOND, Cluster::is_settled);
    // The last change of voters may be under way still.
    cluster.run(Duration::from_millis(200));
    cluster
}

/// Commands until everybody has a snapshot that does not cover the first of them only.
fn compacted(cluster: &mut Cluster, commands: usize) {
    let at = cluster.leader().unwrap();
    write(cluster, at, commands);
    cluster.until("all have the same", 5 * SECOND, |c| {
        let ended = |(command, by): (&u64, &usize)| *by != at || c.committed(at, *command);
        c.executed.iter().all(ended) && c.is_even() && has_all(c)
    });
    cluster.run(Duration::from_millis(100));
    for host in cluster.hosts.iter().filter(|host| host.is_up()) {
        let frozen = host.machine.frozen.as_ref().map(|frozen| frozen.snapshot.commands);
        assert!(frozen > Some(10), "it was frozen\n{}", cluster.describe());
    }
}

/// Whatever was said to be committed is in every machine, once.
fn has_all(cluster: &Cluster) -> bool {
    cluster.hosts.iter().filter(|host| host.is_up()).all(|host| {
        let committed = cluster.executed.iter().filter(|(c, at)| cluster.committed(**at, **c));
        let mut seen = host.machine.commands().to_vec();
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        assert_eq!(all, seen.len(), "nothing twice");
        committed.into_iter().all(|(command, _)| seen.binary_search(command).is_ok())
    })
}

fn catches_up(cluster: &mut Cluster) {
    cluster.until("all have the same", 30 * SECOND, |c| {
        c.is_formed() && c.is_even() && has_all(c) && !c.hosts[0].machine.commands().is_empty()
    });
}

#[test]
pub(crate) fn grp_41_s14_what_is_compacted_survives_a_restart() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 3, &[], |_| durable());
        compacted(&mut cluster, 120);
        assert!(cluster.hosts.iter().all(|host| host.disk.snapshot().is_some()));
        let before = cluster.hosts[0].machine.commands().to_vec();
        cluster.restart_all(0..3);
        catches_up(&mut cluster);
        // The machine asserts that nothing is applied twice or left out.
        assert_eq!(cluster.hosts[1].machine.commands()[..before.len()], before);
        assert!(cluster.hosts.iter().all(|host| host.machine.installed == 1), "from the store");
        let leader = cluster.leader().unwrap();
        write(&mut cluster, leader, 60);
        catches_up(&mut cluster);
    }
}

#[test]
pub(crate) fn grp_43_a_newcomer_gets_what_the_log_does_not_hold_any_more() {
    for (seed, of) in (0..20).map(|seed| (seed, if seed % 2 == 0 { small } else { durable })) {
        let mut cluster = formed(seed, 4, &[3], |_| of());
        compacted(&mut cluster, 100);
        cluster.hosts.iter_mut().for_each(|host| host.machine.padding = 1_200_000);
        // The next snapshot is a large one.
        compacted(&mut cluster, 60);
        cluster.start(3);
        catches_up(&mut cluster);
        assert_eq!(cluster.hosts[3].machine.installed, 1, "one snapshot is enough");
        let served = cluster.hosts.iter().filter(|host| host.machine.served > 0).count();
        assert!(served > 1, "more than one member serves");
        cluster.until("it votes", 5 * SECOND, Cluster::is_settled);
        // It can lead, and serve.
        cluster.execute(3);
        catches_up(&mut cluster);
    }
}

#[test]
pub(crate) fn grp_40_a_fetch_ends_though_the_log_grows_meanwhile() {
    for seed in 0..5 {
        let mut cluster = formed(seed, 4, &[3], |_| small());
        cluster.hosts.iter_mut().for_each(|host| host.machine.padding = 6_000_000);
        compacted(&mut cluster, 100);
        // Several round trips, and a log that calls for the next snapshot within each of them.
        let trip = Duration::from_millis(20);
        cluster.delay = (trip, trip);
        cluster.start(3);
        let leader = cluster.leader().unwrap();
        let mut waited = Duration::ZERO;
        while cluster.hosts[3].machine.installed == 0 {
            assert!(waited < 3 * SECOND, "it begins anew for ever\n{}", cluster.describe());
            cluster.execute(leader);
            cluster.run(Duration::from_micros(200));
            waited += Duration::from_micros(200);
        }
        catches_up(&mut cluster);
        assert_eq!(cluster.hosts[3].machine.installed, 1, "one snapshot is enough");
    }
}

#[test]
pub(crate) fn l4_a_source_that_dies_in_the_middle_is_replaced() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 5, &[4], |_| small());
        cluster.hosts.iter_mut().for_each(|host| host.machine.padding = 1_500_000);
        compacted(&mut cluster, 100);
        cluster.start(4);
        let begun = |c: &Cluster| {
            c.hosts[4].machine.fetched.as_ref().is_some_and(|(_, bytes)| !bytes.is_empty())
        };
        cluster.until("it fetches", 5 * SECOND, begun);
        let leader = cluster.leader().unwrap();
        let dies = if seed % 2 == 0 { leader } else { (leader + 1) % 4 };
        cluster.crash(dies);
        cluster.until("it has the rest from others", 20 * SECOND, |c| {
            c.hosts[4].machine.installed > 0
        });
        cluster.until("they agree", 20 * SECOND, |c| c.is_even() && has_all(c));
    }
}

/// L11: the leader dies while the only other survivor lacks most of the log. It votes, and catches up.
#[test]
pub(crate) fn l11_who_fetches_still_votes() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 3, &[], |_| durable());
        let leader = cluster.leader().unwrap();
        let (late, other) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.crash(late);
        cluster.hosts.iter_mut().for_each(|host| host.machine.padding = 1_500_000);
        cluster.until("they go on", 5 * SECOND, |c| c.hosts[leader].leads());
        compacted(&mut cluster, 150);
        cluster.start(late);
        cluster.until("it fetches", 5 * SECOND, |c| c.hosts[late].machine.fetched.is_some());
        cluster.crash(leader);
        cluster.until("the other leads", 10 * SECOND, |c| c.hosts[other].leads());
        cluster.until("they agree", 20 * SECOND, |c| c.is_even() && has_all(c));
        cluster.execute(late);
        cluster.until("it is heard", 10 * SECOND, |c| c.is_even() && has_all(c));
    }
}

#[test]
pub(crate) fn grp_45_a_member_that_serves_wrong_bytes_is_not_believed() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 4, &[3], |_| small());
        cluster.hosts.iter_mut().for_each(|host| host.machine.padding = 1_200_000);
        compacted(&mut cluster, 100);
        let leader = cluster.leader().unwrap();
        cluster.hosts[(leader + 1) % 3].machine.lies = true;
        cluster.start(3);
        catches_up(&mut cluster);
        assert_eq!(cluster.hosts[3].machine.installed, 1, "nothing wrong was installed");
    }
}

/// S13: members with a short history of their own meet a long one whose beginning is gone.
#[test]
pub(crate) fn s13_a_short_history_gives_way_to_a_compacted_one() {
    for seed in 0..10 {
        let mut cluster = Cluster::apart(seed, 5, |_| small());
        cluster.join(&[0, 1, 2]);
        cluster.join(&[3, 4]);
        cluster.until("two leaders", 20 * SECOND, |c| {
            let leads = |side: [usize; 2]| side.iter().any(|at| c.hosts[*at].leads());
            (leads([0, 1]) || c.hosts[2].leads()) && leads([3, 4])
        });
        let long = (0..3).find(|at| cluster.hosts[*at].leads()).unwrap();
        write(&mut cluster, long, 100);
        cluster.run(SECOND);
        cluster.heal();
        catches_up(&mut cluster);
        assert!(cluster.hosts[3].machine.installed > 0);
        assert_eq!(cluster.hosts[3].lineage(), cluster.hosts[0].lineage());
    }
}

/// S11, S15: what a snapshot covers is not applied again when its client asks again.
#[test]
pub(crate) fn s15_sessions_are_part_of_snapshots() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 3, &[], |_| durable());
        let leader = cluster.leader().unwrap();
        let late = (leader + 1) % 3;
        // It forwards commands, and does not hear what becomes of them.
        (0..5).for_each(|_| {
            cluster.execute(late);
        });
        cluster.run(Duration::from_micros(2_500));
        cluster.partition(&[late]);
        cluster.until("they go on", 10 * SECOND, |c| {
            (0..3).any(|at| at != late && c.hosts[at].leads())
        });
        let leader = (0..3).find(|at| *at != late && cluster.hosts[*at].leads()).unwrap();
        write(&mut cluster, leader, 150);
        cluster.run(SECOND);
        cluster.heal();
        catches_up(&mut cluster);
        cluster.until("all of its commands end", 40 * SECOND, |c| {
            c.executed
                .iter()
                .filter(|(_, at)| **at == late)
                .all(|(command, at)| c.hosts[*at].outcomes.contains_key(command))
        });
        catches_up(&mut cluster);
    }
}

fn many(cluster: &mut Cluster, at: usize) {
    for _ in 0..30 {
        cluster.execute_many(at, 200);
        cluster.run(Duration::from_millis(20));
    }
    cluster.run(2 * SECOND);
}

fn is_fenced(cluster: &Cluster, at: usize) -> bool {
    matches!(cluster.hosts[at].status().blocked, Some(Blocked::Fenced(_)))
}

#[test]
pub(crate) fn grp_48_a_follower_that_went_astray_is_fenced() {
    for seed in 0..4 {
        let mut cluster = formed(seed, 3, &[], |_| small());
        let leader = cluster.leader().unwrap();
        let astray = (leader + 1) % 3;
        cluster.hosts[astray].machine.strays = true;
        cluster.execute(leader);
        cluster.run(SECOND);
        cluster.hosts[astray].machine.strays = false;
        many(&mut cluster, leader);
        assert!(is_fenced(&cluster, astray));
        let told = |notice: &Notice| matches!(notice, Notice::Diverged { .. });
        assert!(cluster.hosts[astray].notices.iter().any(told));
        assert!((0..3).all(|at| at == astray || !is_fenced(&cluster, at)));
    }
}

#[test]
pub(crate) fn grp_48_a_leader_that_went_astray_is_fenced_and_hands_over() {
    for seed in 0..4 {
        let mut cluster = formed(seed, 3, &[], |_| small());
        let leader = cluster.leader().unwrap();
        cluster.hosts[leader].machine.strays = true;
        cluster.execute(leader);
        cluster.run(SECOND);
        cluster.hosts[leader].machine.strays = false;
        many(&mut cluster, leader);
        assert!(is_fenced(&cluster, leader));
        let next = cluster.leader().unwrap();
        assert!(next != leader && !is_fenced(&cluster, next));
        assert_eq!(cluster.hosts[leader].status().leader, Some(peer(next)), "it follows");
    }
}

#[test]
pub(crate) fn grp_48_equal_states_are_left_alone() {
    let mut cluster = formed(1, 3, &[], |_| small());
    let leader = cluster.leader().unwrap();
    many(&mut cluster, leader);
    assert!((0..3).all(|at| !is_fenced(&cluster, at)));
}

/// GRP-49: without snapshots the log stays whole, and newcomers get it.
#[test]
pub(crate) fn grp_49_a_log_that_cannot_be_compacted_is_replayed() {
    let mut cluster = formed(3, 4, &[3], |_| GroupConfig { snapshots: false, ..small() });
    let leader = cluster.leader().unwrap();
    write(&mut cluster, leader, 200);
    cluster.start(3);
    catches_up(&mut cluster);
    assert!(cluster.hosts.iter().all(|host| host.machine.frozen.is_none()));
    assert_eq!(cluster.hosts[3].machine.installed, 0);
}

/// GRP-47: a snapshot is being installed when another leader sends what it covers as entries.
#[test]
pub(crate) fn grp_47_nothing_is_handed_over_while_a_snapshot_is_installed() {
    for seed in 0..10 {
        let tail = |at| if at == 1 { 1_000_000 } else { 600 };
        let member = |at| GroupConfig { log_tail: tail(at), ..small() };
        let mut cluster = formed(seed, 3, &[], member);
        let leader = cluster.leader().unwrap();
        let (request, to) = (RequestId(1), Some(peer(0)));
        cluster.input(leader, Input::Transfer { request, to });
        cluster.until("the first leads", 5 * SECOND, |c| c.hosts[0].leads());
        cluster.partition(&[2]);
        write(&mut cluster, 0, 100);
        cluster.hosts[2].machine.slow = 20 * SECOND;
        cluster.heal();
        cluster.until("it fetches", 5 * SECOND, |c| c.hosts[2].machine.fetched.is_some());
        cluster.run(Duration::from_millis(200));
        cluster.crash(0);
        cluster.until("the second leads", 10 * SECOND, |c| c.hosts[1].leads());
        write(&mut cluster, 1, 10);
        cluster.until("they agree", 60 * SECOND, |c| c.is_even() && has_all(c));
        assert_eq!(cluster.hosts[2].machine.installed, 1);
    }
}
