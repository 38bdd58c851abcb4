//! Schedules with a name.

use std::time::Duration;

use mosaik_proto::raft::{Event, Role};

use crate::cluster::Cluster;

const SECOND: Duration = Duration::from_secs(1);

fn formed(hosts: usize, durable: bool) -> Cluster {
    let mut cluster = Cluster::new(1, hosts, |_| durable);
    cluster.run(SECOND);
    assert!(cluster.propose(0));
    cluster.until("all vote", 10 * SECOND, |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        !voters.is_joint() && voters.voters.len() == cluster.hosts.len().min(5)
    });
    cluster.run(SECOND);
    cluster
}

#[test]
fn the_founder_leads_alone_until_the_first_command() {
    let mut cluster = Cluster::new(1, 3, |_| true);
    cluster.run(5 * SECOND);
    assert_eq!(cluster.leader(), Some(0));
    assert_eq!(cluster.hosts[0].raft().membership().voters.len(), 1);
    assert!(cluster.propose(0));
    cluster.run(SECOND);
    assert_eq!(cluster.hosts[2].raft().membership().voters.len(), 3);
    assert!(cluster.hosts.iter().all(|host| host.commands() == [1]));
}

#[test]
fn a_minority_acknowledges_nothing_and_catches_up() {
    let mut cluster = formed(5, true);
    cluster.partition(&[0, 1]);
    let before = cluster.acknowledged.len();
    (0..3).for_each(|_| assert!(cluster.propose(0)));
    cluster.until("the others elect", 10 * SECOND, |cluster| {
        cluster.leader().is_some_and(|leader| leader > 1)
    });
    assert_eq!(cluster.acknowledged.len(), before);
    cluster.run(10 * SECOND);
    assert_ne!(cluster.hosts[0].raft().role(), Role::Leader, "nobody answered it");
    let leader = cluster.leader().unwrap();
    assert!(cluster.propose(leader));
    cluster.heal();
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[0].commands(), cluster.hosts[leader].commands());
}

#[test]
fn pre_vote_keeps_terms_low() {
    let mut cluster = formed(3, true);
    let term = cluster.hosts[0].raft().term();
    cluster.partition(&[2]);
    cluster.run(100 * SECOND);
    cluster.heal();
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[0].raft().term(), term, "who comes back topples nobody");
}

#[test]
fn a_member_without_a_disk_comes_back_as_another_seat() {
    let mut cluster = formed(3, false);
    cluster.crash(2);
    let old = cluster.hosts[2].config.seat;
    cluster.restart(2);
    cluster.until("it votes again", 10 * SECOND, |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        !voters.is_joint()
            && voters.lists(&cluster.hosts[2].config.seat)
            && !voters.lists(&old)
    });
}

/// The half rule: without it every pair without disks is stuck after one restart.
#[test]
fn pair_of_memory_members_one_restarts() {
    let mut cluster = formed(2, false);
    let leader = cluster.leader().unwrap();
    for host in [1 - leader, leader] {
        cluster.crash(host);
        cluster.restart(host);
        let seat = cluster.hosts[host].config.seat;
        cluster.until("it votes again", 20 * SECOND, |cluster| {
            let Some(leader) = cluster.leader() else { return false };
            let voters = cluster.hosts[leader].raft().membership();
            !voters.is_joint() && voters.lists(&seat) && voters.voters.len() == 2
        });
        cluster.run(SECOND);
    }
    let leader = cluster.leader().unwrap();
    assert!(cluster.propose(leader));
    cluster.run(SECOND);
    assert_eq!(cluster.hosts[0].commands(), [1, 2]);
    assert_eq!(cluster.hosts[1].commands(), [1, 2]);
}

#[test]
fn leadership_is_handed_over() {
    let mut cluster = formed(3, true);
    let to = cluster.hosts[2].config.seat;
    cluster.feed(0, Event::Transfer(Some(to)));
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(2));
}

#[test]
fn a_leader_that_leaves_is_succeeded() {
    let mut cluster = formed(3, true);
    let seat = cluster.hosts[0].config.seat;
    cluster.hosts[0].config.can_vote = false;
    cluster.feed(0, Event::CanVote(false));
    (1..3).for_each(|host| cluster.feed(host, Event::Linked { seat, can_vote: false }));
    cluster.until("somebody else leads", SECOND, |cluster| {
        cluster.leader().is_some_and(|leader| leader != 0)
    });
    let leader = cluster.leader().unwrap();
    cluster.run(SECOND);
    assert!(!cluster.hosts[leader].raft().membership().lists(&seat));
}

#[test]
fn reads_are_answered_everywhere_and_not_by_a_minority() {
    let mut cluster = formed(3, true);
    let reads: Vec<_> = (0..3).map(|host| cluster.read(host)).collect();
    cluster.run(SECOND);
    let commit = cluster.hosts[0].raft().commit();
    let mut read = cluster.hosts.iter().zip(reads);
    assert!(read.all(|(host, read)| host.reads[&read] == commit));
    cluster.partition(&[0]);
    let late = cluster.read(0);
    cluster.run(10 * SECOND);
    assert!(!cluster.hosts[0].reads.contains_key(&late));
    cluster.heal();
    cluster.run(5 * SECOND);
    assert!(cluster.hosts[0].reads.contains_key(&late), "it asks again");
}

#[test]
fn who_is_far_behind_fetches_a_snapshot() {
    let mut cluster = formed(3, true);
    cluster.partition(&[2]);
    (0..50).for_each(|_| assert!(cluster.propose(0)));
    cluster.run(SECOND);
    let commit = cluster.hosts[0].raft().commit();
    cluster.feed(0, Event::Compact(commit));
    cluster.feed(1, Event::Compact(commit));
    cluster.heal();
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[2].commands(), cluster.hosts[0].commands());
    cluster.crash(2);
    cluster.restart(2);
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[2].commands(), cluster.hosts[0].commands());
}
