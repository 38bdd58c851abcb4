//! Commands from end to end: clients of every member, leaders that go, ways that are cut.

use std::{collections::BTreeMap, time::Duration};

use mosaik_proto::{
    groups::{GroupConfig, Input, Outcome, Rejection},
    ids::RequestId,
    raft::LogIndex,
};

use crate::cluster::{Cluster, Command, config};

const SECOND: Duration = Duration::from_secs(1);

fn formed(seed: u64, hosts: usize) -> Cluster {
    let mut cluster = Cluster::new(seed, hosts, |_| config());
    cluster.until("one leader", SECOND, Cluster::is_formed);
    cluster
}

/// Every outcome is true: what is committed is in every machine once, what is rejected in none.
fn check(cluster: &mut Cluster) {
    // Machines are behind what they were handed.
    cluster.run(Duration::from_millis(50));
    let leader = cluster.leader().expect("somebody leads");
    let mut applied: BTreeMap<Command, usize> = BTreeMap::new();
    for command in cluster.hosts[leader].machine.commands() {
        *applied.entry(*command).or_default() += 1;
    }
    assert!(applied.values().all(|times| *times == 1), "S11: nothing twice");
    for (command, at) in &cluster.executed {
        let times = applied.get(command).copied().unwrap_or(0);
        match cluster.hosts[*at].outcomes.get(command) {
            None => panic!("{command} of {at} does not end"),
            Some(Outcome::Committed { index }) => {
                let there = cluster.hosts[leader].machine.commands()[index.0 as usize - 1];
                assert_eq!((times, there), (1, *command), "S10: of {at}");
            }
            Some(Outcome::Rejected(_)) => assert_eq!(times, 0, "{command} of {at}"),
            Some(Outcome::Unknown) => {}
        }
    }
}

#[test]
pub(crate) fn commands_of_every_member_are_applied_everywhere() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 3);
        for round in 0..30 {
            (0..3).for_each(|at| {
                cluster.execute_many(at, 1 + round % 7);
            });
            cluster.run(Duration::from_millis(u64::from(round) % 4));
        }
        cluster.until("all of them", 2 * SECOND, |cluster| {
            cluster.executed.iter().all(|(command, at)| cluster.committed(*at, *command))
                && cluster.is_even()
        });
        check(&mut cluster);
    }
}

#[test]
pub(crate) fn a_lost_leader_costs_no_command() {
    // GRP-34: what it had and had not taken is asked of the next; nothing is applied twice.
    for seed in 0..40 {
        let mut cluster = formed(seed, 3);
        cluster.until("a first word", SECOND, |cluster| cluster.is_formed());
        cluster.execute(0);
        cluster.until("three voters", 5 * SECOND, Cluster::is_full);
        let leader = cluster.leader().unwrap();
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        for round in 0..40 {
            others.iter().for_each(|at| {
                cluster.execute(*at);
            });
            cluster.run(Duration::from_micros(300));
            if round == 20 {
                cluster.crash(leader);
            }
        }
        cluster.until("all of them", 8 * SECOND, |cluster| {
            let of_others = cluster.executed.iter().filter(|(_, at)| others.contains(at));
            of_others.into_iter().all(|(command, at)| cluster.committed(*at, *command))
        });
    }
}

#[test]
pub(crate) fn grp_36_nobody_leads_and_every_command_ends() {
    let mut cluster = formed(1, 3);
    cluster.execute(0);
    cluster.until("three voters", 5 * SECOND, Cluster::is_full);
    let leader = cluster.leader().unwrap();
    let alone = (leader + 1) % 3;
    cluster.partition(&[alone]);
    let lonely = cluster.execute(alone);
    let ended = |c: &Cluster| c.hosts[alone].outcomes.contains_key(&lonely);
    let took = cluster.until("its end", 31 * SECOND, ended);
    let end = cluster.hosts[alone].outcomes[&lonely];
    assert_eq!((end, took), (Outcome::Rejected(Rejection::Offline), 30 * SECOND), "never sent");
    cluster.heal();
    cluster.until("one group", 5 * SECOND, Cluster::is_formed);
    let next = cluster.execute(alone);
    cluster.until("the next", 5 * SECOND, |cluster| cluster.committed(alone, next));
    check(&mut cluster);
}

#[test]
pub(crate) fn grp_22_who_may_not_vote_may_not_write() {
    let mut cluster = Cluster::new(1, 3, |at| GroupConfig { can_vote: at != 2, ..config() });
    cluster.until("one leader", SECOND, Cluster::is_formed);
    let command = cluster.execute(2);
    cluster.run(Duration::from_millis(1));
    let end = cluster.hosts[2].outcomes.get(&command);
    assert_eq!(end, Some(&Outcome::Rejected(Rejection::ReadOnly)));
}

#[test]
pub(crate) fn grp_34_ways_that_are_cut_again_and_again_lose_nothing() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 3);
        cluster.execute(0);
        cluster.until("three voters", 5 * SECOND, Cluster::is_full);
        for _ in 0..60 {
            let (a, b) = (cluster.rng.below(3) as usize, cluster.rng.below(3) as usize);
            if a != b {
                cluster.unlink(a, b);
            }
            for at in 0..3 {
                let count = 1 + cluster.rng.below(20) as u32;
                cluster.execute_many(at, count);
            }
            cluster.run(Duration::from_millis(5));
            cluster.heal();
            cluster.run(Duration::from_millis(40));
        }
        cluster.until("all of them", 40 * SECOND, |cluster| {
            cluster
                .executed
                .iter()
                .all(|(command, at)| cluster.hosts[*at].outcomes.contains_key(command))
                && cluster.is_even()
        });
        check(&mut cluster);
        let all = cluster.executed.len();
        let committed = cluster.executed.iter().filter(|(c, at)| cluster.committed(**at, **c));
        assert!(committed.count() > all * 9 / 10, "links that come back are no reason to give up");
    }
}

#[test]
pub(crate) fn grp_24_a_founder_that_leaves_at_once_leaves_its_commands() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 3);
        let leader = cluster.leader().unwrap();
        let first = cluster.execute_many(leader, 10);
        cluster.input(leader, Input::Leave);
        cluster.until("the end", 2 * SECOND, |cluster| cluster.hosts[leader].closed);
        assert!((first..first + 10).all(|command| cluster.committed(leader, command)));
        let heir = (leader + 1) % 3;
        cluster.until("its heirs", 3 * SECOND, |cluster| {
            cluster.leader().is_some() && cluster.hosts[heir].machine.commands().len() == 10
        });
    }
}

/// Everybody votes, and one command is in force.
fn settled(seed: u64, hosts: usize) -> Cluster {
    let mut cluster = formed(seed, hosts);
    cluster.execute(0);
    // Not in the middle of a change: then the old set has to agree, too.
    cluster.until("everybody votes", 5 * SECOND, |cluster| {
        cluster.is_settled() && cluster.hosts.iter().all(|host| host.status().tolerates == 1)
    });
    cluster
}

#[test]
pub(crate) fn s12_a_leader_that_is_none_any_more_serves_no_reads() {
    for seed in 0..20 {
        let mut cluster = settled(seed, 3);
        let old = cluster.leader().unwrap();
        let other = (old + 1) % 3;
        cluster.partition(&[old]);
        cluster.input(old, Input::Read(1));
        let command = cluster.execute(other);
        cluster.until("the others go on", 8 * SECOND, |c| c.committed(other, command));
        cluster.input(old, Input::Read(2));
        cluster.run(3 * SECOND);
        let failed: BTreeMap<u64, Option<u64>> = [(1, None), (2, None)].into();
        assert_eq!(cluster.hosts[old].reads, failed, "RAFT-13: nobody else confirmed it");
        cluster.heal();
        cluster.until("one group", 5 * SECOND, Cluster::is_formed);
        cluster.input(old, Input::Read(3));
        cluster.until("it is served", 3 * SECOND, |c| c.hosts[old].reads.contains_key(&3));
        assert!(cluster.hosts[old].reads[&3] >= Some(2));
    }
}

#[test]
pub(crate) fn s12_reads_see_everything_that_was_acknowledged_before() {
    for seed in 0..30 {
        let mut cluster = settled(seed, 3);
        cluster.machine_delay = (Duration::ZERO, Duration::from_millis(3));
        let mut reads = Vec::new();
        for id in 0..200 {
            let at = cluster.rng.below(3) as usize;
            match cluster.rng.below(40) {
                0 => cluster.input(at, Input::Transfer { request: RequestId(1), to: None }),
                1 => cluster.partition(&[at]),
                2..8 => cluster.heal(),
                _ => {}
            }
            if cluster.is_open(at) {
                cluster.execute(at);
            }
            let told = cluster.hosts.iter().flat_map(|host| host.outcomes.values());
            let acknowledged = told.filter_map(|outcome| match outcome {
                Outcome::Committed { index } => Some(index.0),
                _ => None,
            });
            let floor = acknowledged.max();
            let at = cluster.rng.below(3) as usize;
            cluster.input(at, Input::Read(id));
            reads.push((at, id, floor));
            let pause = cluster.rng.below(20_000);
            cluster.run(Duration::from_micros(pause));
        }
        cluster.heal();
        cluster.run(5 * SECOND);
        let mut served = 0;
        for (at, id, floor) in reads {
            let seen = cluster.hosts[at].reads.get(&id).expect("every read ends");
            assert!(seen.is_none() || *seen >= floor, "{id} at {at}: {seen:?} but {floor:?}");
            served += usize::from(seen.is_some());
        }
        assert!(served > 100, "{served} of 200");
        cluster.run(30 * SECOND);
        check(&mut cluster);
    }
}

#[test]
pub(crate) fn l3_a_command_needs_no_other_to_follow() {
    for seed in 0..40 {
        let mut cluster = settled(seed, 3);
        let leader = cluster.leader().unwrap();
        let at = (leader + 1) % 3;
        let command = cluster.execute(at);
        let pause = cluster.rng.below(5_000);
        cluster.run(Duration::from_micros(pause));
        cluster.crash(leader);
        cluster.until("it alone", 6 * SECOND, |cluster| cluster.committed(at, command));
    }
}

#[test]
pub(crate) fn l10_commands_of_a_leader_that_was_cut_off_end_when_it_is_back() {
    for seed in 0..20 {
        let mut cluster = settled(seed, 3);
        let old = cluster.leader().unwrap();
        cluster.partition(&[old]);
        let stuck = cluster.execute_many(old, 3);
        let others = cluster.execute(((old) + 1) % 3);
        cluster.run(8 * SECOND);
        assert!(cluster.committed((old + 1) % 3, others));
        assert!(!cluster.hosts[old].outcomes.contains_key(&stuck));
        cluster.heal();
        cluster.until("they are in force", 3 * SECOND, |cluster| cluster.committed(old, stuck + 2));
        check(&mut cluster);
    }
}

#[test]
pub(crate) fn l14_a_member_that_applies_nothing_more_says_so_to_all_who_wait() {
    for (seed, input) in [
        (1, Input::Leave),
        (2, Input::MachineFailed { at: LogIndex(2), what: String::from("no more") }),
    ] {
        let mut cluster = settled(seed, 3);
        let at = (cluster.leader().unwrap() + 1) % 3;
        cluster.partition(&[at]);
        let command = cluster.execute_many(at, 5);
        cluster.input(at, Input::Read(1));
        cluster.input(at, input);
        cluster.until("they end", 2 * SECOND, |cluster| {
            let host = &cluster.hosts[at];
            (command..command + 5).all(|command| host.outcomes.contains_key(&command))
        });
        cluster.until("the read, too", 2 * SECOND, |c| c.hosts[at].reads.get(&1) == Some(&None));
    }
}
