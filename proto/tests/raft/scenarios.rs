//! Schedules with a name.

use std::time::Duration;

use mosaik_proto::{
    limits,
    raft::{Event, Role},
};

use crate::cluster::Cluster;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn formed(hosts: usize, durable: bool) -> Cluster {
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
pub(crate) fn raft_12_the_founder_leads_alone_until_the_first_command() {
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
pub(crate) fn raft_04_a_minority_acknowledges_nothing_and_catches_up() {
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

/// Its heartbeats arrive, so nobody would ask for votes before it falls silent.
#[test]
pub(crate) fn raft_04_a_leader_that_hears_nobody_has_another_campaign() {
    for offset in 0..10 {
        let mut cluster = formed(3, true);
        cluster.run(offset * Duration::from_millis(170));
        let (leader, from) = (cluster.leader().unwrap(), cluster.now);
        cluster.deaf.insert(leader);
        cluster.until("another leads", 10 * SECOND, |cluster| {
            cluster.running().any(|(at, raft)| at != leader && raft.role() == Role::Leader)
        });
        let timeout = cluster.hosts[leader].config.election_timeout;
        let taken = cluster.now.since(from);
        assert!(taken < timeout + cluster.hosts[leader].config.heartbeat + SECOND / 4, "{taken:?}");
    }
}

/// Simulator, seed 867: each heartbeat, and each round of reads, asked anew where the logs agree, and who
/// was receiving the question said that it had nothing: each time all was sent from the beginning.
#[test]
pub(crate) fn raft_15_who_catches_up_over_a_slow_path_is_sent_everything_once() {
    let mut cluster = formed(3, true);
    let leader = cluster.leader().unwrap();
    let behind = (leader + 1) % 3;
    for round in 0..130 {
        if round == 100 {
            cluster.crash(behind);
        }
        cluster.propose_large(leader, 20_000);
        cluster.run(SECOND / 20);
    }
    // The next leader does not know how far it is.
    cluster.feed(leader, Event::Transfer(None));
    let next = (leader + 2) % 3;
    cluster.until("another leads", SECOND, |c| c.hosts[next].raft().role() == Role::Leader);
    cluster.run(SECOND);
    let (leader, before) = (next, cluster.sent.get(&behind).copied().unwrap_or_default());
    cluster.delay = (SECOND / 5, SECOND / 5);
    cluster.restart(behind);
    for round in 0..400 {
        cluster.read(leader);
        if round % 10 == 0 {
            let seat = cluster.hosts[leader].config.seat;
            cluster.feed(behind, Event::Receiving(seat));
        }
        cluster.run(SECOND / 100);
    }
    let commit = cluster.hosts[leader].raft().commit();
    assert_eq!(cluster.hosts[behind].raft().commit(), commit, "{}", cluster.describe());
    let sent = cluster.sent[&behind] - before;
    assert!(sent < 1_000_000, "{sent} bytes, 600,000 were missing");
}

#[test]
pub(crate) fn raft_01_pre_vote_keeps_terms_low() {
    let mut cluster = formed(3, true);
    let term = cluster.hosts[0].raft().term();
    cluster.partition(&[2]);
    cluster.run(100 * SECOND);
    cluster.heal();
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[0].raft().term(), term, "who comes back topples nobody");
}

#[test]
pub(crate) fn a_member_without_a_disk_comes_back_as_another_seat() {
    let mut cluster = formed(3, false);
    cluster.crash(2);
    let old = cluster.hosts[2].config.seat;
    cluster.restart(2);
    cluster.until("it votes again", 10 * SECOND, |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        !voters.is_joint() && voters.lists(&cluster.hosts[2].config.seat) && !voters.lists(&old)
    });
}

/// The half rule: without it every pair without disks is stuck after one restart.
#[test]
pub(crate) fn pair_of_memory_members_one_restarts() {
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
pub(crate) fn raft_17_leadership_is_handed_over() {
    let mut cluster = formed(3, true);
    let to = cluster.hosts[2].config.seat;
    cluster.feed(0, Event::Transfer(Some(to)));
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(2));
}

#[test]
pub(crate) fn raft_19_a_leader_that_leaves_is_succeeded() {
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
pub(crate) fn raft_13_reads_are_answered_everywhere_and_not_by_a_minority() {
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
pub(crate) fn raft_16_who_is_far_behind_fetches_a_snapshot() {
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

/// Figure 8 of the Raft paper: an entry of an earlier term is on a majority and yet not committed,
/// because who lacks it can still be elected.
#[test]
pub(crate) fn raft_figure_8_is_not_committed() {
    let mut cluster = formed(5, true);
    // So large that the entry that follows it travels by itself.
    let large = limits::APPEND_BYTES + 1;
    cluster.island(&[0, 1]);
    cluster.propose_large(0, large);
    cluster.pump();
    let index = cluster.hosts[0].raft().log().last().index;
    // The fifth is elected by those that lack it, and has an entry of its own at that place.
    cluster.island(&[2, 3, 4]);
    cluster.campaign(4);
    cluster.play(&[(4, 2), (2, 4), (4, 3), (3, 4)], |cluster| cluster.leader() == Some(4));
    assert_eq!(cluster.hosts[4].raft().log().last().index, index, "its first entry");
    cluster.island(&[0, 1, 2]);
    // The first is elected again, and the third gets the large entry but not what follows it.
    cluster.campaign(0);
    cluster.pump();
    cluster.campaign(0);
    let has_it = |cluster: &Cluster| cluster.hosts[2].raft().log().last().index == index;
    cluster.play(&[(1, 0), (0, 1), (2, 0), (0, 2)], has_it);
    cluster.write_all();
    while cluster.deliver_one(1, 0) | cluster.deliver_one(2, 0) {}
    let entry = cluster.hosts[0].raft().log().term_at(index);
    assert_eq!(cluster.hosts[2].raft().log().term_at(index), entry, "three have it");
    assert!(cluster.hosts[0].raft().commit() < index, "and yet it is not committed");
    // Indeed the fifth can still be elected, and replaces it.
    cluster.island(&[2, 3, 4]);
    cluster.campaign(4);
    cluster.pump();
    cluster.island(&[1, 2, 3, 4]);
    cluster.campaign(4);
    cluster.pump();
    cluster.heal();
    cluster.run(30 * SECOND);
}

/// R16, R17: nothing that promises a vote leaves before the vote is durable.
#[test]
pub(crate) fn raft_05_a_vote_in_flight_is_lost_with_its_voter() {
    let mut cluster = formed(3, true);
    cluster.island(&[1, 2]);
    cluster.campaign(1);
    // The pre-vote passes; the vote is asked for and decided, but not written.
    cluster.write_all();
    while cluster.deliver_one(1, 2) | cluster.deliver_one(2, 1) {
        if cluster.hosts[1].raft().role() == Role::Candidate {
            break;
        }
    }
    cluster.write_all();
    assert!(cluster.deliver_one(1, 2), "the vote is asked for");
    assert!(!cluster.deliver_one(2, 1), "no answer before the vote is durable");
    cluster.write_all();
    assert!(cluster.deliver_one(2, 1), "the answer");
}

/// R45: a write of entries that were replaced since says nothing about those that are there now.
#[test]
pub(crate) fn raft_06_a_late_write_vouches_only_for_what_is_still_there() {
    let mut cluster = formed(3, true);
    cluster.island(&[]);
    let before = cluster.hosts[0].raft().log().last().index;
    assert!(cluster.propose(0) && cluster.propose(0));
    // The first has two entries under way to its disk; the others go on without it.
    cluster.cut.clear();
    cluster.island(&[1, 2]);
    cluster.campaign(1);
    for _ in 0..20 {
        for (from, to) in [(1, 2), (2, 1)] {
            cluster.write_of(1);
            cluster.write_of(2);
            cluster.deliver_one(from, to);
        }
    }
    assert_eq!(cluster.leader(), Some(1));
    cluster.heal();
    while cluster.deliver_one(1, 0) | cluster.deliver_one(0, 1) {}
    let raft = cluster.hosts[0].raft();
    assert_eq!(raft.durable(), before, "its own entries are gone, the new ones are not written");
    assert!(raft.log().last().index > before);
}

/// Who dies as the sole voter, before or after its first write, is nobody or the sole voter again.
#[test]
pub(crate) fn a_founder_that_restarts_still_votes_alone() {
    let mut cluster = Cluster::new(1, 1, |_| true);
    cluster.run(SECOND);
    assert!(cluster.propose(0));
    cluster.run(SECOND);
    cluster.crash(0);
    cluster.restart(0);
    cluster.until("it leads again", 10 * SECOND, |cluster| cluster.leader() == Some(0));
    assert!(cluster.propose(0));
    cluster.run(SECOND);
    assert_eq!(cluster.hosts[0].commands(), [1, 2]);
}
