//! Schedules of the groups model (`groups-model.md` §3 and §6), and those that a rule needs to bite:
//! without it they end in two leaders, a lost entry, or nobody who leads.

use std::time::Duration;

use mosaik_proto::raft::{Ack, Config, Event, LogIndex, Message, Outcome, Role, SeatId};

use crate::{
    cluster::Cluster,
    scenarios::{SECOND, formed},
    walks::calm,
};

const EVERYTHING: usize = usize::MAX;

/// A group that these hosts formed, with so many seats; the others are not linked yet.
fn formed_by(among: &[usize], hosts: usize, durable: bool, max_voters: usize) -> Cluster {
    let mut cluster = Cluster::with(1, hosts, |config| Config { durable, max_voters, ..config });
    cluster.island(among);
    cluster.run(SECOND);
    assert!(cluster.propose(0));
    cluster.until("they vote", 10 * SECOND, |cluster| {
        let voters = cluster.hosts[0].raft().membership();
        !voters.is_joint() && voters.voters.len() == among.len().min(max_voters)
    });
    cluster.run(SECOND);
    cluster
}

fn last(cluster: &Cluster, host: usize) -> LogIndex {
    cluster.hosts[host].raft().log().last().index
}

// --- changes of voters -------------------------------------------------------------------------

/// {0, 1, 2} becomes {0, 1, 3}. Were it enough that the new set has it (one step, or the final set
/// appended before the joint one is committed), 0 and 3 would commit what 1 and 2 know nothing of.
#[test]
pub(crate) fn raft_11_a_swap_of_voters_needs_both_sets() {
    let mut cluster = formed_by(&[0, 1, 2], 4, true, 3);
    cluster.heal();
    cluster.run(SECOND);
    cluster.can_vote(2, false);
    cluster.island(&[0, 3]);
    cluster.pump();
    assert_eq!(last(&cluster, 0), last(&cluster, 3), "the newcomer has it");
    cluster.island(&[1, 2]);
    cluster.campaign(1);
    cluster.pump();
    assert_eq!(cluster.leader(), Some(1));
    calm(&mut cluster, 3);
}

/// Ongaro's bug of single-server changes (R1): 0 adds 4, only 4 hears of it; 1 leads and removes 3, only
/// 2 hears of it; then 0 leads again with 3 and 4.
#[test]
pub(crate) fn raft_10_two_leaders_two_changes() {
    let mut cluster = formed_by(&[0, 1, 2, 3], 5, true, 5);
    cluster.island(&[0, 4]);
    cluster.pump();
    assert_eq!(last(&cluster, 0), last(&cluster, 4));
    cluster.island(&[1, 2, 3]);
    cluster.can_vote(3, false);
    cluster.campaign(1);
    cluster.play(&[(1, 2), (2, 1), (1, 3), (3, 1)], |cluster| cluster.leader() == Some(1));
    cluster.island(&[1, 2]);
    cluster.pump();
    cluster.island(&[0, 3, 4]);
    // It gives up, hears of the term, asks for votes.
    for _ in 0..3 {
        cluster.campaign(0);
        cluster.pump();
    }
    calm(&mut cluster, 5);
}

/// {0, 1} becomes {0, 1, 2}; 0 and 2 have it. 0 comes back empty, and 1 is half of the set that it knows.
#[test]
pub(crate) fn half_rule_with_one_step_change() {
    let mut cluster = formed_by(&[0, 1], 3, false, 5);
    cluster.island(&[0, 2]);
    cluster.pump();
    assert_eq!(last(&cluster, 0), last(&cluster, 2));
    cluster.crash(0);
    cluster.island(&[0, 1]);
    cluster.restart(0);
    cluster.campaign(1);
    cluster.pump();
    assert_eq!(cluster.leader(), Some(1));
    calm(&mut cluster, 3);
}

/// Groups model, V5: 0 leads the change from {0, 1} to {1, 2}, appends the final set, and is deposed before
/// anybody has it. It is in no set that it has in force, its log is the longest, and 1 and 2 need its vote.
fn dropped_leader_deposed_before_final_set(stays: bool) {
    let mut cluster = formed_by(&[0, 1], 3, true, 2);
    cluster.heal();
    cluster.run(SECOND);
    cluster.can_vote(0, false);
    let me = cluster.hosts[0].config.seat;
    let wires = [(0, 1), (1, 0), (0, 2), (2, 0)];
    cluster.play(&wires, |cluster| !cluster.hosts[0].raft().membership().lists(&me));
    cluster.island(&[]);
    cluster.can_vote(0, stays);
    cluster.run(10 * SECOND);
    let has_it = |host: usize| !cluster.hosts[host].raft().membership().lists(&me);
    assert_eq!([has_it(0), has_it(1), has_it(2)], [true, false, false]);
    cluster.heal();
    cluster.until("somebody leads", 60 * SECOND, |cluster| {
        let leader = cluster.leader().map(|leader| cluster.hosts[leader].raft());
        leader.is_some_and(|raft| raft.log().term_at(raft.commit()) == Some(raft.term()))
    });
    calm(&mut cluster, 2);
}

#[test]
pub(crate) fn raft_07_a_dropped_leader_deposed_before_the_final_set_campaigns() {
    dropped_leader_deposed_before_final_set(true);
}

/// R31: it campaigns also if it wishes to go, or it could never.
#[test]
pub(crate) fn raft_07_a_leaver_deposed_before_the_final_set_campaigns() {
    dropped_leader_deposed_before_final_set(false);
}

/// Groups model, V6: 2 leads and dies; only a learner heard of it. 0 cannot win without that learner,
/// which a change in its log lists.
#[test]
pub(crate) fn learner_ahead_of_voters() {
    let mut cluster = formed_by(&[0, 1, 2], 4, true, 3);
    cluster.heal();
    cluster.run(SECOND);
    cluster.can_vote(1, false);
    assert!(cluster.hosts[0].raft().membership().is_joint());
    cluster.island(&[1, 2]);
    cluster.campaign(2);
    cluster.play(&[(2, 1), (1, 2)], |cluster| cluster.leader() == Some(2));
    cluster.island(&[2, 3]);
    cluster.pump();
    cluster.crash(2);
    cluster.heal();
    cluster.can_vote(1, true);
    cluster.run(SECOND);
    cluster.until("the others elect", 60 * SECOND, |cluster| {
        let leader = cluster.leader().map(|leader| cluster.hosts[leader].raft());
        leader.is_some_and(|raft| raft.log().term_at(raft.commit()) == Some(raft.term()))
    });
    calm(&mut cluster, 3);
}

/// 0 leads and leaves {0, 1}; meanwhile 2 and 3 have become ready. Were it 0 that let them in, they would
/// commit without 1, which votes alone. Found by a walk (five of which three vote, seed 16993).
#[test]
pub(crate) fn raft_11_who_votes_alone_lets_others_in_itself() {
    let mut cluster = formed_by(&[0, 1], 4, true, 5);
    cluster.can_vote(0, false);
    let me = cluster.hosts[0].config.seat;
    let gone = |cluster: &Cluster| !cluster.hosts[0].raft().membership().lists(&me);
    cluster.play(&[(0, 1), (1, 0)], gone);
    for other in [2, 3] {
        cluster.cut.remove(&(0, other));
        cluster.link(0, other);
        let wires = [(0, other), (other, 0)];
        let commit = cluster.hosts[0].raft().commit();
        cluster.play(&wires, |cluster| last(cluster, other) == commit);
        cluster.write_of(other);
        while cluster.deliver_one(other, 0) {}
    }
    let last_set = last(&cluster, 0);
    let done = |cluster: &Cluster| cluster.hosts[0].raft().commit() >= last_set;
    cluster.play(&[(0, 1), (1, 0)], done);
    cluster.write_of(0);
    // 1 is cut off at once.
    cluster.unlink(0, 1);
    cluster.cut.insert((0, 1));
    cluster.pump();
    cluster.campaign(1);
    cluster.pump();
    assert_eq!(cluster.leader(), Some(1));
    calm(&mut cluster, 3);
}

// --- half of a set -----------------------------------------------------------------------------

#[test]
pub(crate) fn raft_09_half_that_is_cut_off_but_alive_must_not_elect() {
    for (hosts, durable) in [(2, true), (2, false), (4, true), (4, false)] {
        let mut cluster = formed(hosts, durable);
        let before = cluster.acknowledged.len();
        cluster.partition(&(0..hosts / 2).collect::<Vec<_>>());
        for _ in 0..10 {
            cluster.run(3 * SECOND);
            for host in 0..hosts {
                cluster.propose(host);
            }
        }
        assert_eq!(cluster.leader(), None);
        assert_eq!(cluster.acknowledged.len(), before);
        calm(&mut cluster, hosts);
    }
}

/// One of a pair comes back empty, and once more while the change that takes it in is under way.
#[test]
pub(crate) fn joint_change_while_half_superseded() {
    let mut cluster = formed(2, false);
    cluster.crash(1);
    cluster.restart(1);
    cluster.until("the change is under way", 20 * SECOND, |cluster| {
        cluster.hosts[0].raft().membership().is_joint()
    });
    cluster.crash(1);
    cluster.restart(1);
    calm(&mut cluster, 2);
}

#[test]
pub(crate) fn four_of_which_two_restart() {
    for both in [[0, 1], [2, 3]] {
        let mut cluster = formed(4, false);
        both.iter().for_each(|host| cluster.crash(*host));
        both.iter().for_each(|host| cluster.restart(*host));
        calm(&mut cluster, 4);
    }
}

// --- one voter becomes several -----------------------------------------------------------------

/// Groups model, V3: who votes alone sends the first change to one other, and is gone.
#[test]
pub(crate) fn founder_dies_inside_first_change() {
    for hosts in [2, 3] {
        let mut cluster = Cluster::new(1, hosts, |_| false);
        cluster.run(SECOND);
        assert!(cluster.propose(0));
        while cluster.deliver_one(0, 1) {}
        assert_eq!(cluster.hosts[1].raft().membership().voters.len(), hosts);
        cluster.crash(0);
        cluster.restart(0);
        calm(&mut cluster, hosts);
        assert_eq!(cluster.hosts[0].commands()[0], 1, "what it sent is not lost");
    }
}

/// The first change is on the disk of the one who votes alone, and went to nobody; or others have
/// what goes before it, and its disk has nothing.
#[test]
pub(crate) fn sole_durable_voter_crashes_between_persist_and_send_of_first_change() {
    for written in [EVERYTHING, 0] {
        let mut cluster = Cluster::new(1, 3, |_| true);
        cluster.run(SECOND);
        assert!(cluster.propose(0));
        for other in [1, 2, 1, 2, 1, 2] {
            cluster.deliver_one(0, other);
            cluster.write_of(other);
            cluster.deliver_one(other, 0);
        }
        cluster.crash_after(0, written);
        cluster.run(10 * SECOND);
        assert_eq!(cluster.leader(), None, "the others are no voters");
        cluster.restart(0);
        calm(&mut cluster, 3);
        assert_eq!(cluster.hosts[1].commands()[0] == 1, written == EVERYTHING);
    }
}

// --- votes, writes and what is said of them ----------------------------------------------------

/// 0 and 1 ask for votes in one term, and 2 decides: for 1, which may come to lead. Then something
/// happens to 2, and only then does it hear 0.
fn raft_02_one_vote_whatever_happens(between: impl Fn(&mut Cluster)) {
    let mut cluster = formed(3, true);
    // 2 lacks an entry, so that it takes none of those that follow.
    cluster.island(&[0, 1]);
    assert!(cluster.propose(0));
    cluster.pump();
    cluster.island(&[]);
    cluster.campaign(0);
    cluster.write_all();
    assert_eq!(cluster.hosts[0].raft().role(), Role::Follower, "nobody heard it");
    for other in [0, 1] {
        cluster.cut.remove(&(other, 2));
        cluster.link(other, 2);
        cluster.campaign(other);
    }
    while cluster.deliver_one(0, 2) | cluster.deliver_one(1, 2) {}
    while cluster.deliver_one(2, 0) | cluster.deliver_one(2, 1) {}
    let asks = |host: usize| cluster.hosts[host].raft().role();
    assert_eq!([asks(0), asks(1)], [Role::Candidate; 2], "2 would have either");
    cluster.write_of(1);
    cluster.deliver_one(1, 2);
    between(&mut cluster);
    cluster.unlink(1, 2);
    cluster.cut.insert((1, 2));
    cluster.write_of(0);
    cluster.deliver_one(0, 2);
    cluster.write_of(2);
    cluster.deliver_one(2, 0);
    calm(&mut cluster, 3);
}

#[test]
pub(crate) fn raft_02_a_vote_counts_after_a_restart() {
    raft_02_one_vote_whatever_happens(|cluster| {
        cluster.write_of(2);
        cluster.deliver_one(2, 1);
        assert_eq!(cluster.leader(), Some(1));
        cluster.crash_after(2, EVERYTHING);
        cluster.restart(2);
        assert_eq!(cluster.hosts[2].raft().hard_state().vote, Some(cluster.hosts[1].config.seat));
    });
}

#[test]
pub(crate) fn raft_02_a_vote_counts_after_its_winner_was_heard() {
    raft_02_one_vote_whatever_happens(|cluster| {
        cluster.write_of(2);
        cluster.deliver_one(2, 1);
        assert!(cluster.deliver_one(1, 2), "entries that it cannot take yet");
        assert_eq!(cluster.hosts[2].raft().leader(), cluster.hosts[1].raft().leader());
    });
}

/// R17.
#[test]
pub(crate) fn raft_05_a_vote_that_is_lost_elected_nobody() {
    raft_02_one_vote_whatever_happens(|cluster| {
        cluster.deliver_one(2, 1);
        assert_ne!(cluster.leader(), Some(1));
        cluster.crash_after(2, 0);
        cluster.restart(2);
    });
}

/// R45: entries of 0 are under way to its disk when 1 replaces them. Their writes, done late, say
/// nothing about what is in their place: that is lost when 0 dies.
#[test]
pub(crate) fn raft_06_a_late_write_of_entries_that_are_gone_commits_nothing() {
    let mut cluster = formed(3, true);
    cluster.island(&[]);
    assert!(cluster.propose(0) && cluster.propose(0));
    cluster.island(&[1, 2]);
    cluster.campaign(1);
    for _ in 0..20 {
        if cluster.leader() != Some(1) {
            cluster.deliver_one(1, 2);
            cluster.write_of(2);
            cluster.deliver_one(2, 1);
            cluster.write_of(1);
        }
    }
    cluster.island(&[0, 1]);
    for _ in 0..20 {
        cluster.deliver_one(1, 0);
        cluster.deliver_one(0, 1);
        cluster.write_of(1);
    }
    assert_eq!(last(&cluster, 0), last(&cluster, 1), "in place of what was there");
    cluster.write_one(0);
    cluster.write_one(0);
    while cluster.deliver_one(0, 1) {}
    cluster.crash_after(0, 0);
    cluster.island(&[0, 2]);
    cluster.restart(0);
    for _ in 0..2 {
        cluster.campaign(0);
        cluster.pump();
    }
    assert_eq!(cluster.leader(), Some(0), "it has the longest log of the two");
    calm(&mut cluster, 3);
}

/// Groups model, `stale_ack_of_old_seat_counted_once`.
#[test]
pub(crate) fn stale_ack_of_old_seat_is_not_counted() {
    let mut cluster = formed(3, false);
    let from = cluster.hosts[1].config.seat;
    cluster.island(&[]);
    assert!(cluster.propose(0));
    let (term, index) = (cluster.hosts[0].raft().term(), last(&cluster, 0));
    cluster.crash(1);
    cluster.island(&[0, 1]);
    cluster.restart(1);
    assert_ne!(cluster.hosts[1].config.seat.id, SeatId(from.id.0));
    let outcome = Outcome::Matched { received: index, durable: index };
    let message = Message::Ack(Ack { term, round: 0, outcome });
    cluster.feed(0, Event::Message { from, message });
    assert!(cluster.hosts[0].raft().commit() < index, "nobody has it but the leader");
    calm(&mut cluster, 3);
}

/// Of five, 0 and 4 hear nothing of a leader that commits. 4 gets a snapshot of that, and then 0's entries,
/// which contradict it: 0 is no liar, but leads no more.
#[test]
pub(crate) fn raft_16_who_installs_follows_no_older_leader() {
    let mut cluster = formed(5, true);
    cluster.island(&[]);
    (0..3).for_each(|_| assert!(cluster.propose(0)));
    cluster.island(&[1, 2, 3]);
    cluster.campaign(1);
    cluster.pump();
    assert!(cluster.propose(1) && cluster.propose(1));
    cluster.pump();
    assert_eq!(cluster.hosts[1].raft().commit(), last(&cluster, 0));
    cluster.island(&[0, 4]);
    while cluster.deliver_one(0, 4) {
        if cluster.hosts[4].raft().leader().is_some() {
            break;
        }
    }
    cluster.install_from(4, 1);
    cluster.pump();
    cluster.propose(0);
    cluster.pump();
    calm(&mut cluster, 5);
}

// --- reads -------------------------------------------------------------------------------------

/// R9: the answer to a question of an earlier life comes after a restart, when the question has been
/// asked anew.
#[test]
pub(crate) fn raft_13_an_answer_to_an_earlier_life_is_no_answer() {
    let mut cluster = formed(3, true);
    cluster.read(1);
    assert!(cluster.deliver_one(1, 0), "the leader has the question, and nobody answers its round");
    cluster.crash_after(1, EVERYTHING);
    cluster.restart(1);
    while cluster.hosts[1].raft().leader().is_none() && cluster.deliver_one(0, 1) {}
    let before = cluster.acknowledged.len();
    assert!(cluster.propose(0));
    cluster.play(&[(0, 2), (2, 0)], |cluster| cluster.acknowledged.len() > before);
    let late = cluster.read(1);
    cluster.run(SECOND);
    assert!(cluster.hosts[1].reads.contains_key(&late));
}

/// A member has asked the leader, and is told to lead itself before it has the answer. Found by a walk
/// (five of which three vote, seed 666): it waited for the answer as leader, and all its reads with it.
#[test]
pub(crate) fn raft_13_a_question_ends_with_the_leader_that_was_asked() {
    let mut cluster = formed(3, true);
    let read = cluster.read(2);
    let to = cluster.hosts[2].config.seat;
    cluster.feed(0, Event::Transfer(Some(to)));
    cluster.play(&[(0, 2), (2, 1), (1, 2)], |cluster| cluster.leader() == Some(2));
    cluster.run(Duration::from_millis(500));
    assert_eq!(cluster.leader(), Some(2));
    assert!(cluster.hosts[2].reads.contains_key(&read));
}
