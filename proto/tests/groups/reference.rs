//! The faults of the reference by their numbers (S1 to S18, L1 to L18): each schedule, and what
//! happens here. Those that have a test elsewhere:
//!
//! | schedule | test |
//! |---|---|
//! | S8 old-term entries by counting | `raft_figure_8_is_not_committed` and its mutant |
//! | S10, S11, S12, S16, L3, L10, L14 | `commands.rs` |
//! | S13, S14, S15, S17, L4, L5, L7, L11, L17 | `snapshots.rs`, and beside the components |
//! | L13 a panic in the machine | `tests/groups_faults.rs` (`grp_26_a_machine_that_panics…`) |
//! | L15 one of several handles | `tests/groups_members.rs` (`every_handle_keeps…`) |
//! | L16 a registry lock across an await | `tests/groups_members.rs` (`l16_joining_and_leaving…`, on one thread) |
//! | L18 a wait that subscribes late | `tests/groups_members.rs` (`bonds_say_when_they_change`) |

use std::time::Duration;

use mosaik_proto::groups::{Blocked, GroupConfig, Notice, Outcome};

use crate::{
    cluster::{Cluster, Command, config},
    lives::{formed, holds_all},
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Hosts that each lead a lineage of their own, with so many commands each.
fn rivals(seed: u64, commands: &[usize]) -> (Cluster, Vec<Vec<Command>>) {
    let mut cluster = Cluster::apart(seed, commands.len(), |_| config());
    cluster.until("all lead alone", 10 * SECOND, |c| c.hosts.iter().all(|host| host.leads()));
    let all = (0..commands.len())
        .map(|at| (0..commands[at]).map(|_| commit(&mut cluster, at)).collect())
        .collect();
    (cluster, all)
}

fn commit(cluster: &mut Cluster, at: usize) -> Command {
    let command = cluster.execute(at);
    cluster.until("it is committed", 10 * SECOND, |cluster| cluster.committed(at, command));
    command
}

fn is_one(cluster: &Cluster) -> bool {
    cluster.is_full() && cluster.is_even()
}

/// What the hosts say they lost.
fn lost(cluster: &Cluster) -> Vec<u64> {
    let of = |notice: &Notice| match notice {
        Notice::Superseded { lost, .. } => Some(*lost),
        _ => None,
    };
    cluster.hosts.iter().flat_map(|host| host.notices.iter().filter_map(of)).collect()
}

#[test]
pub(crate) fn s01_rivals_of_equal_length_do_not_merge() {
    for seed in 0..20 {
        let (mut cluster, commands) = rivals(seed, &[1, 1]);
        cluster.heal();
        cluster.until("one group", 10 * SECOND, is_one);
        let kept = cluster.leader().unwrap();
        assert_eq!(lost(&cluster), [1], "said, not hidden");
        holds_all(&cluster, &commands[kept]);
        assert_eq!(cluster.hosts[1 - kept].machine.commands(), commands[kept], "nothing is mixed");
    }
}

#[test]
pub(crate) fn s02_rivals_of_different_length_keep_no_false_prefix() {
    for seed in 0..20 {
        let (mut cluster, commands) = rivals(seed, &[3, 1, 0]);
        cluster.heal();
        cluster.until("one group", 10 * SECOND, is_one);
        assert_eq!(cluster.leader(), Some(0), "more commands");
        for host in &cluster.hosts {
            assert_eq!(host.machine.commands(), commands[0]);
        }
    }
}

#[test]
pub(crate) fn s03_the_minority_does_not_override_the_majority() {
    for seed in 0..10 {
        let (mut cluster, mut kept) = formed(seed, 5, |_| config());
        let leader = cluster.leader().unwrap();
        let minority = [leader, (leader + 1) % 5];
        cluster.partition(&minority);
        let doomed = cluster.execute(minority[1]);
        let others = (leader + 2) % 5;
        cluster.until("another leads", 10 * SECOND, |c| {
            (0..5).any(|at| !minority.contains(&at) && c.hosts[at].leads())
        });
        kept.extend((0..5).map(|_| commit(&mut cluster, others)));
        cluster.run(20 * SECOND);
        assert!(!cluster.committed(minority[1], doomed), "a minority acknowledges nothing");
        cluster.heal();
        cluster.until("one group", 10 * SECOND, is_one);
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s04_a_leader_that_is_cut_off_acknowledges_nothing() {
    for seed in 0..10 {
        let (mut cluster, mut kept) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        cluster.partition(&[leader]);
        let alone: Vec<_> = (0..3).map(|_| cluster.execute(leader)).collect();
        cluster.until("it says why", 6 * SECOND, |c| {
            let status = c.hosts[leader].status();
            let few = matches!(status.blocked, Some(Blocked::NoQuorum { linked: 1, needed: 2 }));
            !status.online && few
        });
        kept.push(commit(&mut cluster, (leader + 1) % 3));
        assert!(alone.iter().all(|command| !cluster.committed(leader, *command)));
        cluster.heal();
        cluster.until("all ends", 40 * SECOND, |cluster| {
            alone.iter().all(|command| cluster.hosts[leader].outcomes.contains_key(command))
        });
        cluster.until("one group", 10 * SECOND, is_one);
        // What was not certain may be in force now; then it is so everywhere, and once.
        cluster.run(SECOND);
        kept.extend(alone.iter().filter(|command| cluster.committed(leader, **command)));
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s05_no_quorum_shrinks_after_an_election() {
    for seed in 0..10 {
        let (mut cluster, mut kept) = formed(seed, 5, |_| config());
        let first = cluster.leader().unwrap();
        let second = (first + 1) % 5;
        // Only `second` gets the entry; then both leaders die, one after the other.
        for other in (0..5).filter(|other| ![first, second].contains(other)) {
            cluster.unlink(first, other);
            cluster.cut.insert((first.min(other), first.max(other)));
        }
        let command = cluster.execute(first);
        cluster.run(5 * MS);
        assert!(!cluster.committed(first, command), "two of five");
        cluster.crash(first);
        cluster.until("another leads", 20 * SECOND, |c| {
            c.hosts.iter().filter(|host| host.is_up()).any(|host| host.leads())
        });
        kept.push(commit(&mut cluster, (first + 2) % 5));
        let leader = (0..5).find(|at| cluster.hosts[*at].is_up() && cluster.hosts[*at].leads());
        cluster.crash(leader.unwrap());
        cluster.until("three of five serve", 20 * SECOND, |c| {
            c.hosts.iter().filter(|host| host.is_up()).any(|host| host.leads())
        });
        cluster.run(SECOND);
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s06_those_who_commit_are_those_who_elect() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, 9, |_| config());
        cluster.until("a leader", SECOND, Cluster::is_formed);
        let mut kept = vec![commit(&mut cluster, 0)];
        cluster.run(SECOND);
        let voters: Vec<usize> = {
            let listed = |at: &usize| {
                let me = cluster.hosts[*at].status().seat;
                let leader = cluster.leader().unwrap();
                let voters = &cluster.hosts[leader].status().voters;
                voters.iter().any(|member| Some(member.seat) == me)
            };
            (0..9).filter(listed).collect()
        };
        assert_eq!(voters.len(), 5, "of nine, five vote");
        let leader = cluster.leader().unwrap();
        kept.push(commit(&mut cluster, leader));
        // Two of the five die with it in hand: whoever is elected has it.
        let others: Vec<usize> = voters.iter().copied().filter(|at| *at != leader).collect();
        cluster.crash(leader);
        cluster.crash(others[0]);
        cluster.until("another leads", 20 * SECOND, |c| {
            c.hosts.iter().filter(|host| host.is_up()).any(|host| host.leads())
        });
        let next = (0..9).find(|at| cluster.hosts[*at].is_up() && cluster.hosts[*at].leads());
        assert!(others.contains(&next.unwrap()), "a learner does not lead");
        cluster.run(SECOND);
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s07_who_forgot_its_vote_has_none() {
    // B helps C into office and restarts without memory; then A hears nobody but B. The invariants say
    // that no term has two leaders.
    for seed in 0..30 {
        let (mut cluster, kept) = formed(seed, 3, |_| config());
        let a = cluster.leader().unwrap();
        cluster.partition(&[a]);
        let led = |cluster: &Cluster| (0..3).find(|at| *at != a && cluster.hosts[*at].leads());
        cluster.until("another leads", 20 * SECOND, |cluster| led(cluster).is_some());
        let c = led(&cluster).unwrap();
        let b = 3 - a - c;
        cluster.crash(b);
        cluster.cut.insert((b.min(c), b.max(c)));
        cluster.cut.remove(&(a.min(b), a.max(b)));
        cluster.start(b);
        cluster.run(10 * SECOND);
        assert!(!cluster.hosts[a].leads() && !cluster.hosts[b].leads(), "a vote of two is not one");
        cluster.heal();
        cluster.until("one group", 20 * SECOND, is_one);
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s09_what_is_cut_off_was_never_applied() {
    for seed in 0..10 {
        let (mut cluster, mut kept) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        cluster.partition(&[leader]);
        let tail: Vec<_> = (0..5).map(|_| cluster.execute(leader)).collect();
        cluster.run(10 * MS);
        let applied = cluster.hosts[leader].machine.commands().to_vec();
        assert!(tail.iter().all(|command| !applied.contains(command)));
        let before = cluster.hosts[leader].status().committed;
        let other = (leader + 1) % 3;
        cluster.until("another leads", 10 * SECOND, |c| {
            (0..3).any(|at| at != leader && c.hosts[at].leads())
        });
        kept.extend((0..7).map(|_| commit(&mut cluster, other)));
        cluster.heal();
        cluster.until("one group", 10 * SECOND, is_one);
        assert!(cluster.hosts[leader].status().committed >= before);
        assert_eq!(cluster.hosts[leader].machine.commands()[..applied.len()], applied, "a prefix");
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn s18_two_ways_to_one_state_give_one_snapshot() {
    // One member replays the log, another begins with a snapshot: what both freeze is the same, which
    // digests compare; one that differed would be fenced.
    for seed in 0..5 {
        let snapshots = || GroupConfig { snapshots: true, ..config() };
        let (mut cluster, mut kept) = formed(seed, 3, |_| snapshots());
        let away = (cluster.leader().unwrap() + 1) % 3;
        cluster.crash(away);
        let at = cluster.leader().unwrap();
        kept.extend((0..50).map(|_| commit(&mut cluster, at)));
        cluster.start(away);
        cluster.until("one group", 10 * SECOND, is_one);
        holds_all(&cluster, &kept);
        assert!(cluster.hosts.iter().all(|host| {
            host.notices.iter().all(|notice| !matches!(notice, Notice::Diverged { .. }))
        }));
    }
}

#[test]
pub(crate) fn l01_a_joiner_catches_up_under_steady_writes() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(seed, 4, |_| config());
        cluster.crash(3);
        cluster.until("a leader", SECOND, |c| (0..3).any(|at| c.hosts[at].leads()));
        let leader = cluster.leader().unwrap();
        let mut sent = vec![commit(&mut cluster, leader)];
        for round in 0..200 {
            if round == 50 {
                cluster.start(3);
            }
            sent.push(cluster.execute(leader));
            cluster.run(MS);
        }
        cluster.until("it has everything", SECOND, |cluster| {
            sent.iter().all(|command| cluster.hosts[3].machine.commands().contains(command))
        });
    }
}

#[test]
pub(crate) fn l02_voters_that_reconnect_do_not_wait_for_each_other() {
    for seed in 0..20 {
        let (mut cluster, mut kept) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        let command = cluster.execute(leader);
        cluster.partition(&[leader]);
        cluster.run(MS);
        cluster.heal();
        cluster.until("it is committed", SECOND, |cluster| cluster.committed(leader, command));
        kept.push(command);
        holds_all(&cluster, &kept[..1]);
    }
}

#[test]
pub(crate) fn l06_links_that_come_and_go_leave_one_bond_each() {
    for seed in 0..10 {
        let (mut cluster, kept) = formed(seed, 3, |_| config());
        for round in 0..40 {
            let (a, b) = [(0, 1), (1, 2), (0, 2)][round % 3];
            cluster.unlink(a, b);
            cluster.run(Duration::from_micros(300 * (seed + 1)));
            cluster.link(a, b);
        }
        cluster.until("all are bonded", SECOND, |cluster| {
            cluster.hosts.iter().all(|host| host.status().bonds.len() == 2)
        });
        cluster.until("one group", 10 * SECOND, is_one);
        holds_all(&cluster, &kept);
    }
}

#[test]
pub(crate) fn l09_who_lost_only_the_leader_does_not_depose_it() {
    for seed in 0..10 {
        let (mut cluster, _) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        let term = cluster.hosts[leader].status().term;
        let other = (leader + 1) % 3;
        cluster.unlink(leader, other);
        cluster.cut.insert((leader.min(other), leader.max(other)));
        cluster.run(20 * SECOND);
        assert!(cluster.hosts[leader].leads(), "it goes on");
        cluster.heal();
        cluster.run(5 * SECOND);
        assert_eq!(cluster.hosts[leader].status().term, term, "and was not even disturbed");
    }
}

#[test]
pub(crate) fn l12_readers_without_a_writer_are_offline() {
    for seed in 0..10 {
        let observer = |at: usize| GroupConfig { can_vote: at != 2, ..config() };
        let (mut cluster, kept) = formed(seed, 3, observer);
        assert!(cluster.hosts[2].status().online);
        cluster.crash(0);
        cluster.crash(1);
        cluster.until("it says so", 6 * SECOND, |cluster| !cluster.hosts[2].status().online);
        assert!(cluster.hosts[2].status().blocked.is_some());
        assert!(kept.iter().all(|command| cluster.hosts[2].machine.commands().contains(command)));
    }
}

#[test]
pub(crate) fn l08_large_commands_that_cross_do_not_wait_for_each_other() {
    for seed in 0..5 {
        let (mut cluster, _) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        let other = (leader + 1) % 3;
        // More than channels and windows hold at once, both ways.
        let (mut sent, mut rounds) = (vec![], 0);
        while sent.len() < 40 {
            for at in [leader, other] {
                if cluster.is_open(at) {
                    sent.push((at, cluster.execute_many(at, 1_000)));
                }
            }
            cluster.run(Duration::from_micros(100));
            rounds += 1;
            assert!(rounds < 10_000, "windows open again");
        }
        cluster.until("all ends", 20 * SECOND, |cluster| {
            sent.iter().all(|(at, command)| cluster.committed(*at, command + 999))
        });
        let unknown = |outcome: &Outcome| !matches!(outcome, Outcome::Committed { .. });
        assert!(!cluster.hosts.iter().any(|host| host.outcomes.values().any(unknown)));
    }
}
