//! Stores that are lost, copied or put back; members that come back as somebody else.

use std::{collections::BTreeSet, time::Duration};

use mosaik_proto::{
    groups::{Blocked, GroupConfig, Input, Notice, OperatorError, Outcome, Rejection, StoreFault},
    ids::RequestId,
    limits,
    raft::SeatId,
};

use crate::{
    cluster::{Cluster, config, peer},
    lives::{durable, formed, holds_all},
};

const SECOND: Duration = Duration::from_secs(1);

/// GRP-18: boot numbers detect a store that was rolled back once it meets somebody who saw the later
/// start; a vote that it gives before is a documented loss. It is never taken for what it was again.
#[test]
pub(crate) fn v8_rolled_back_seat_votes_again() {
    for seed in 0..20 {
        let (mut cluster, _) = formed(seed, 3, |_| durable());
        let copy = cluster.hosts[0].disk.copy();
        cluster.crash(0);
        cluster.start(0);
        cluster.until("it serves", 10 * SECOND, Cluster::is_settled);
        // Those who saw that start are away, and it meets one who did not.
        cluster.partition(&[0]);
        cluster.crash(0);
        cluster.hosts[0].disk.put_back(copy);
        cluster.start(0);
        cluster.run(3 * SECOND);
        assert!(cluster.hosts[0].notices.is_empty(), "nobody knows yet");
        cluster.heal();
        cluster.until("it begins anew", 10 * SECOND, |cluster| {
            cluster.hosts[0].notices.iter().any(|n| matches!(n, Notice::RolledBack(_)))
        });
        cluster.until("it is refilled", 10 * SECOND, Cluster::is_settled);
    }
}

/// A copy of a store that is in use is not told from it: the next start has a higher number.
#[test]
pub(crate) fn v8b_copy_of_running_store() {
    let (mut cluster, commands) = formed(3, 3, |_| durable());
    let copy = cluster.hosts[0].disk.copy();
    cluster.crash(0);
    cluster.hosts[0].disk.put_back(copy);
    cluster.start(0);
    cluster.until("it serves", 10 * SECOND, Cluster::is_settled);
    assert!(cluster.hosts.iter().all(|host| host.notices.is_empty()));
    holds_all(&cluster, &commands);
}

/// GRP-19: a store that fails under way is never adopted again: a new one under another seat.
#[test]
pub(crate) fn grp_19_a_store_that_fails_is_begun_anew() {
    for seed in 0..20 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        let at = (seed % 3) as usize;
        let seat = cluster.hosts[at].status().seat;
        cluster.input(at, Input::StoreFailed(StoreFault::Failed("no space".into())));
        let blocked = cluster.hosts[at].status().blocked.clone();
        assert!(matches!(blocked, Some(Blocked::StoreFailed(_))), "{blocked:?}");
        cluster.until("it is refilled", 10 * SECOND, Cluster::is_settled);
        assert_ne!(cluster.hosts[at].status().seat, seat);
        holds_all(&cluster, &commands);
    }
}

/// GRP-19: a store that cannot be begun anew serves nobody, and nobody waits for it.
#[test]
pub(crate) fn grp_19_who_has_no_store_says_so_to_all_who_wait() {
    let (mut cluster, _) = formed(5, 3, |_| durable());
    let at = (cluster.leader().unwrap() + 1) % 3;
    cluster.partition(&[at]);
    let (waits, fault) = (cluster.execute(at), StoreFault::Failed("no space".into()));
    cluster.input(at, Input::Read(1));
    cluster.input(at, Input::StoreFailed(fault.clone()));
    assert_eq!(cluster.hosts[at].outcomes.get(&waits), None, "another store may help");
    cluster.input(at, Input::StoreFailed(fault.clone()));
    let late = cluster.execute(at);
    cluster.input(at, Input::Read(2));
    let host = &cluster.hosts[at];
    for command in [waits, late] {
        let end = host.outcomes.get(&command);
        assert_eq!(end, Some(&Outcome::Rejected(Rejection::StoreFailed)), "{command}");
    }
    assert!([1, 2].iter().all(|read| host.reads.get(read) == Some(&None)), "{:?}", host.reads);
    assert_eq!(host.notices, [Notice::StoreLost(fault)], "it is said once");
    // If it comes after all, all is well.
    cluster.heal();
    cluster.until("it is refilled", 10 * SECOND, Cluster::is_settled);
    let next = cluster.execute(at);
    cluster.until("the next", 5 * SECOND, |cluster| cluster.committed(at, next));
}

/// GRP-19: in memory, too, who begins anew is somebody else.
#[test]
pub(crate) fn grp_19_a_member_that_joins_again_has_another_seat() {
    let (mut cluster, commands) = formed(1, 3, |_| config());
    let seat = cluster.hosts[1].status().seat.unwrap();
    cluster.input(1, Input::Leave);
    cluster.until("it left", 2 * SECOND, |cluster| cluster.hosts[1].closed);
    cluster.again(1);
    cluster.until("it votes again", 10 * SECOND, Cluster::is_settled);
    let now = cluster.hosts[1].status().seat.unwrap();
    assert!(now.peer == seat.peer && now.id != seat.id && now.id != SeatId([0; 16]));
    holds_all(&cluster, &commands);
}

/// A founder's last words arrive behind its next life: they are of another seat and lineage.
#[test]
pub(crate) fn late_append_of_dead_founder_adopted_after_its_restart() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(seed, 3, |_| config());
        cluster.delay = (Duration::from_micros(200), Duration::from_millis(40));
        cluster.until("a leader", SECOND, |cluster| cluster.leader().is_some());
        let founder = cluster.leader().unwrap();
        cluster.execute(founder);
        cluster.run(Duration::from_millis(seed % 40));
        cluster.crash(founder);
        cluster.start(founder);
        cluster.until("a leader that all follow", 40 * SECOND, Cluster::is_formed);
        let leader = cluster.leader().unwrap();
        let command = cluster.execute(leader);
        cluster.until("it serves", 10 * SECOND, |cluster| {
            cluster.committed(leader, command) && cluster.is_full() && cluster.is_even()
        });
    }
}

/// V7: a lineage that has ended is named late: nobody goes back to it.
#[test]
pub(crate) fn v7_late_rank_of_ended_lineage() {
    for seed in 0..40 {
        let mut cluster = Cluster::apart(seed, 3, |_| config());
        cluster.until("everybody leads alone", 10 * SECOND, |cluster| {
            cluster.hosts.iter().all(crate::cluster::Host::leads)
        });
        cluster.delay = (Duration::from_micros(200), Duration::from_millis(30));
        for at in [0, 1, 1, 2, 2, 2] {
            cluster.execute(at);
        }
        cluster.run(SECOND);
        cluster.join(&[0, 1]);
        cluster.run(Duration::from_millis(seed));
        cluster.join(&[1, 2]);
        cluster.run(Duration::from_millis(seed / 2));
        cluster.heal();
        cluster.until("one group", 10 * SECOND, |c| c.is_formed() && c.is_even());
    }
}

/// What was not durable when the sole voter died was acknowledged to nobody.
#[test]
pub(crate) fn sole_durable_voter_crashes_between_persist_and_send_of_first_change() {
    for seed in 0..100 {
        let mut cluster = Cluster::new(seed, 3, |_| GroupConfig { ..durable() });
        cluster.until("a leader", SECOND, Cluster::is_formed);
        cluster.run(Duration::from_millis(50));
        let leader = cluster.leader().unwrap();
        let command = cluster.execute(leader);
        cluster.run(Duration::from_micros(150 * (seed % 80)));
        let known = cluster.committed(leader, command);
        cluster.crash(leader);
        cluster.run(Duration::from_millis(400 * (seed % 5)));
        cluster.start(leader);
        cluster.until("a leader again", 20 * SECOND, Cluster::is_formed);
        let at = cluster.leader().unwrap();
        let next = cluster.execute(at);
        cluster.until("it serves", 10 * SECOND, |cluster| {
            cluster.committed(at, next) && cluster.is_settled()
        });
        assert!(!known || cluster.hosts[at].machine.commands().contains(&command), "seed {seed}");
        assert!(!matches!(
            cluster.hosts[leader].outcomes.get(&command),
            Some(Outcome::Rejected(_))
        ));
    }
}

/// GRP-17: who is left of the old voters follows the lineage that was made from theirs; it is made by
/// the one who has most.
#[test]
pub(crate) fn grp_17_survivors_follow_the_one_who_recovered() {
    for seed in 0..20 {
        let (mut cluster, mut commands) = formed(seed, 5, |_| durable());
        // The fourth misses a command that the others commit.
        cluster.partition(&[4]);
        cluster.run(5 * SECOND);
        let at = cluster.leader().unwrap();
        let last = cluster.execute(at);
        cluster.until("it is committed", 5 * SECOND, |cluster| {
            cluster.committed(at, last) && cluster.hosts[3].machine.commands().contains(&last)
        });
        commands.push(last);
        cluster.crash_all(0..3);
        cluster.run(5 * SECOND);
        cluster.join(&[3, 4]);
        cluster.run(5 * SECOND);
        let (request, gone) = (RequestId(1), (0..3).map(peer).collect::<BTreeSet<_>>());
        cluster.input(4, Input::Recover { request, gone: gone.clone() });
        assert_eq!(cluster.replies(4), [(request, Err(OperatorError::BehindAnother(peer(3))))]);
        cluster.input(3, Input::Recover { request, gone });
        assert_eq!(cluster.replies(3), [(request, Ok(()))]);
        cluster.until("both vote", 10 * SECOND, Cluster::is_settled);
        assert_eq!(cluster.hosts[4].lineage(), cluster.hosts[3].lineage());
        holds_all(&cluster, &commands);
        // Those who were said to be gone come back, with what they had: they follow as well.
        cluster.start_all(0..3);
        cluster.heal();
        cluster.until("all vote", 20 * SECOND, Cluster::is_settled);
        holds_all(&cluster, &commands);
    }
}

/// GRP-20: what a slow machine has not applied waits in the log.
#[test]
pub(crate) fn grp_20_a_slow_machine_is_not_flooded() {
    let (mut cluster, _) = formed(6, 3, |_| config());
    cluster.machine_delay = (60 * SECOND, 60 * SECOND);
    let leader = cluster.leader().unwrap();
    let mut most = 0;
    for _ in 0..50 {
        cluster.execute_many(leader, 16_000);
        cluster.run(Duration::from_millis(100));
        let waiting = cluster.hosts.iter().map(|host| host.machine.waiting()).max();
        most = most.max(waiting.unwrap_or(0));
        if !cluster.is_roomy(leader, 16_000) {
            break;
        }
    }
    let bound = limits::APPLY_BYTES + 16_000 * 10;
    assert!((limits::APPLY_BYTES / 2..bound).contains(&most), "{most} bytes");
}
