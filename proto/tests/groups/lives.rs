//! Members that restart, with or without what they had; copies; leaving; operators.

use std::{collections::BTreeSet, time::Duration};

use mosaik_proto::{
    groups::{Blocked, GroupConfig, Input, Notice, OperatorError, StoreFault},
    ids::RequestId,
};

use crate::cluster::{Cluster, config, peer};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn durable() -> GroupConfig {
    GroupConfig { durable: true, ..config() }
}

/// A group whose members all vote, and which holds a few commands.
pub(crate) fn formed(
    seed: u64,
    hosts: usize,
    config: impl Fn(usize) -> GroupConfig,
) -> (Cluster, Vec<u64>) {
    let mut cluster = Cluster::new(seed, hosts, config);
    cluster.until("a leader", SECOND, Cluster::is_formed);
    let mut commands = Vec::new();
    for at in 0..hosts {
        if cluster.hosts[at].config.can_vote {
            commands.push(cluster.execute(at));
        }
    }
    let all = commands.clone();
    cluster.until("everybody votes", 5 * SECOND, |cluster| {
        let ended = |c: &u64| cluster.hosts.iter().any(|host| host.outcomes.contains_key(c));
        cluster.is_settled() && all.iter().all(ended)
    });
    // The last change of voters may be under way still.
    cluster.run(Duration::from_millis(100));
    (cluster, commands)
}

/// What happens to several hosts.
impl Cluster {
    pub(crate) fn crash_all(&mut self, hosts: impl IntoIterator<Item = usize>) {
        hosts.into_iter().for_each(|at| self.crash(at));
    }

    pub(crate) fn start_all(&mut self, hosts: impl IntoIterator<Item = usize>) {
        hosts.into_iter().for_each(|at| self.start(at));
    }

    /// All of them die before the first is there again.
    pub(crate) fn restart_all(&mut self, hosts: impl IntoIterator<Item = usize> + Clone) {
        self.crash_all(hosts.clone());
        self.start_all(hosts);
    }
}

/// Everybody who may vote does so, and holds these commands.
fn settles(cluster: &mut Cluster, what: &str, time: Duration, commands: &[u64]) {
    cluster.until(what, time, Cluster::is_settled);
    holds_all(cluster, commands);
}

/// A group of three, new, whose leader has just been given the first command: leader and command.
fn begun(seed: u64) -> (Cluster, usize, u64) {
    let mut cluster = Cluster::new(seed, 3, |_| config());
    cluster.until("a leader", SECOND, Cluster::is_formed);
    cluster.run(Duration::from_millis(50));
    let leader = cluster.leader().unwrap();
    let command = cluster.execute(leader);
    (cluster, leader, command)
}

pub(crate) fn holds_all(cluster: &Cluster, commands: &[u64]) {
    for host in cluster.hosts.iter().filter(|host| host.is_up() && !host.closed) {
        for command in commands {
            let times = host.machine.commands().iter().filter(|c| *c == command).count();
            assert_eq!(times, 1, "command {command}\n{}", cluster.describe());
        }
    }
}

#[test]
pub(crate) fn grp_21_pair_of_memory_members_one_restarts() {
    for seed in 0..50 {
        let (mut cluster, commands) = formed(seed, 2, |_| config());
        let at = (seed % 2) as usize;
        cluster.crash(at);
        cluster.run(Duration::from_millis(500 * (seed % 9)));
        cluster.start(at);
        settles(&mut cluster, "both vote again", 10 * SECOND, &commands);
    }
}

#[test]
pub(crate) fn four_of_which_two_restart() {
    for seed in 0..50 {
        let (mut cluster, commands) = formed(seed, 4, |_| config());
        let gone = [(seed % 4) as usize, (seed / 4 % 3 + seed % 4 + 1) as usize % 4];
        cluster.crash_all(gone);
        cluster.run(Duration::from_millis(300 * (seed % 9)));
        cluster.start_all(gone);
        settles(&mut cluster, "all vote again", 20 * SECOND, &commands);
    }
}

#[test]
pub(crate) fn durable_members_that_all_restart_know_everything() {
    for seed in 0..50 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        cluster.restart_all(0..3);
        settles(&mut cluster, "serving again", 5 * SECOND, &commands);
    }
}

#[test]
pub(crate) fn a_sole_durable_member_serves_at_once_after_its_restart() {
    let (mut cluster, commands) = formed_alone(5);
    cluster.crash(0);
    cluster.start(0);
    let took = cluster.until("serving", SECOND, |c| c.hosts[0].leads() && c.is_even());
    assert!(took < Duration::from_millis(50), "{took:?}");
    cluster.until("all is applied", SECOND, |c| c.hosts[0].machine.commands().len() == 3);
    holds_all(&cluster, &commands);
}

fn formed_alone(seed: u64) -> (Cluster, Vec<u64>) {
    let mut cluster = Cluster::new(seed, 1, |_| durable());
    cluster.until("a leader", 10 * SECOND, |cluster| cluster.leader().is_some());
    let commands: Vec<_> = (0..3).map(|_| cluster.execute(0)).collect();
    let last = commands[2];
    cluster.until("committed", SECOND, |cluster| cluster.committed(0, last));
    (cluster, commands)
}

#[test]
pub(crate) fn one_of_three_loses_its_store_and_is_refilled() {
    for seed in 0..50 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        let at = (seed % 3) as usize;
        let seat = cluster.hosts[at].status().seat;
        cluster.crash(at);
        cluster.wipe(at);
        cluster.start(at);
        cluster.until("all vote again", 10 * SECOND, Cluster::is_settled);
        assert_ne!(cluster.hosts[at].status().seat, seat);
        holds_all(&cluster, &commands);
    }
}

#[test]
pub(crate) fn grp_28_who_votes_under_a_new_seat_is_not_to_be_called_gone() {
    // Simulator, seeds 1385 and 1615: a second store is lost while the first is being replaced, and
    // `recover` refused what the status said.
    for seed in 0..30 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        let leader = cluster.leader().expect("one leads");
        let (back, lost) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.crash(back);
        cluster.wipe(back);
        cluster.start(back);
        let changes = |c: &Cluster| c.hosts[leader].status().voters.len() == 4;
        cluster.until("both seats are listed", 10 * SECOND, changes);
        cluster.crash(lost);
        cluster.wipe(lost);
        cluster.start(lost);
        cluster.run(20 * SECOND);
        let Some(Blocked::NeedsRecovery { lost: gone }) =
            cluster.hosts[leader].status().blocked.clone()
        else {
            panic!("two of three stores are gone\n{}", cluster.describe());
        };
        assert_eq!(gone, [peer(lost)]);
        let (request, gone) = (RequestId(1), gone.into_iter().collect());
        cluster.input(leader, Input::Recover { request, gone });
        cluster.until("all vote again", 10 * SECOND, Cluster::is_settled);
        assert_eq!(cluster.replies(leader), [(request, Ok(()))]);
        holds_all(&cluster, &commands);
    }
}

#[test]
pub(crate) fn grp_17_two_of_three_lose_theirs_and_the_operator_recovers() {
    for seed in 0..50 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        for at in [0, 1] {
            cluster.crash(at);
            cluster.wipe(at);
        }
        let before = cluster.hosts[2].lineage();
        let (request, gone) = (RequestId(1), BTreeSet::from([peer(0), peer(1)]));
        cluster.input(2, Input::Recover { request, gone: BTreeSet::new() });
        cluster.run(5 * SECOND);
        cluster.start_all([0, 1]);
        cluster.run(20 * SECOND);
        assert_eq!(cluster.leader(), None, "the empties elect nobody");
        let blocked = cluster.hosts[2].status().blocked.clone();
        assert!(matches!(blocked, Some(Blocked::NeedsRecovery { .. })), "{blocked:?}");
        assert!(matches!(cluster.replies(2)[0], (_, Err(_))));
        cluster.input(2, Input::Recover { request, gone });
        assert_eq!(cluster.replies(2).last(), Some(&(request, Ok(()))));
        cluster.until("all vote again", 10 * SECOND, Cluster::is_settled);
        let status = cluster.hosts[0].status();
        assert_eq!(status.forked_from.map(|(lineage, _)| Some(lineage)), Some(before));
        holds_all(&cluster, &commands);
        // It survives the next restart.
        cluster.restart_all(0..3);
        settles(&mut cluster, "serving again", 5 * SECOND, &commands);
    }
}

/// A leader that has just begun says that nothing is committed, until the first entry of its term is.
#[test]
pub(crate) fn grp_28_after_a_restart_of_all_nobody_is_online_before_it_has_everything() {
    for seed in 0..30 {
        let (mut cluster, commands) = formed(seed, 3, |_| durable());
        cluster.restart_all(0..3);
        let mut seen = [false; 3];
        for _ in 0..100_000 {
            if seen == [true; 3] {
                break;
            }
            let end = cluster.now + 10 * SECOND;
            assert!(cluster.step(end), "nothing happens\n{}", cluster.describe());
            for at in (0..3).filter(|at| cluster.hosts[*at].status.is_some()) {
                let status = cluster.hosts[at].status();
                assert!(
                    !status.online || status.committed.0 >= commands.len() as u64,
                    "{status:?}"
                );
                seen[at] |= status.online;
            }
        }
        assert_eq!(seen, [true; 3]);
    }
}

/// Behind a snapshot the new lineage begins with one of its own.
#[test]
pub(crate) fn grp_17_recovery_of_a_compacted_log() {
    for seed in 0..20 {
        let small = |_| GroupConfig {
            snapshots: true,
            snapshot_after: 1_500,
            log_tail: 300,
            durable: seed % 4 > 0,
            ..config()
        };
        let (mut cluster, mut commands) = formed(seed, 3, small);
        for _ in 0..200 {
            let at = cluster.leader().unwrap();
            commands.push(cluster.execute(at));
            cluster.run(Duration::from_millis(2));
        }
        cluster.run(SECOND);
        cluster.until("all is even", 5 * SECOND, Cluster::is_settled);
        cluster.crash_all([0, 1]);
        cluster.run(5 * SECOND);
        let (request, gone) = (RequestId(1), BTreeSet::from([peer(0), peer(1)]));
        cluster.input(2, Input::Recover { request, gone });
        cluster.until("it serves alone", SECOND, |c| c.hosts[2].leads());
        assert_eq!(cluster.replies(2), [(request, Ok(()))]);
        commands.push(cluster.execute(2));
        cluster.run(SECOND);
        for at in [0, 1] {
            cluster.wipe(at);
            cluster.start(at);
        }
        settles(&mut cluster, "all vote again", 10 * SECOND, &commands);
        if seed % 4 > 0 {
            cluster.restart_all(0..3);
        }
        settles(&mut cluster, "serving again", 5 * SECOND, &commands);
    }
}

#[test]
pub(crate) fn grp_17_recovery_is_refused_where_it_would_lose() {
    let (mut cluster, _) = formed(9, 3, |_| durable());
    let gone = |peers: &[usize]| peers.iter().map(|at| peer(*at)).collect::<BTreeSet<_>>();
    let request = RequestId(1);
    cluster.input(0, Input::Recover { request, gone: gone(&[1]) });
    assert_eq!(cluster.replies(0), [(request, Err(OperatorError::NothingToRecover))]);
    cluster.partition(&[0]);
    cluster.run(10 * SECOND);
    cluster.input(0, Input::Recover { request, gone: gone(&[1]) });
    assert_eq!(cluster.replies(0)[1].1, Err(OperatorError::NotLinked(peer(2))));
    cluster.cut.clear();
    cluster.partition(&[2]);
    cluster.partition(&[1]);
    cluster.join(&[0, 1]);
    let leader = cluster.until("a leader", 10 * SECOND, |cluster| cluster.leader().is_some());
    let _ = leader;
}

#[test]
pub(crate) fn grp_16_a_copy_of_a_lost_lineage_goes_on() {
    // Six in memory: five vote. All five voters restart at once; the sixth has everything.
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 6, |_| config());
        cluster.until("a leader", SECOND, Cluster::is_formed);
        let commands: Vec<_> = (0..6).map(|at| cluster.execute(at)).collect();
        cluster.until("five vote, all know", 5 * SECOND, |cluster| {
            cluster.hosts[cluster.leader().unwrap()].status().voters.len() == 5
                && cluster.hosts.iter().all(|host| host.machine.commands().len() == 6)
        });
        let voters: Vec<_> = (0..6)
            .filter(|at| {
                let seat = cluster.hosts[*at].status().seat.unwrap();
                let leader = cluster.leader().unwrap();
                cluster.hosts[leader].status().voters.iter().any(|member| member.seat == seat)
            })
            .collect();
        cluster.restart_all(voters);
        cluster.until("going on", 20 * SECOND, |c| c.is_formed() && c.is_even());
        assert!(cluster.hosts[0].status().forked_from.is_some());
        holds_all(&cluster, &commands);
    }
}

#[test]
pub(crate) fn grp_18_a_rolled_back_store_is_noticed() {
    for seed in 0..20 {
        let (mut cluster, mut commands) = formed(seed, 3, |_| durable());
        let copy = cluster.hosts[0].disk.copy();
        cluster.crash(0);
        cluster.start(0);
        cluster.until("serving", 10 * SECOND, Cluster::is_settled);
        let at = cluster.leader().unwrap();
        commands.push(cluster.execute(at));
        cluster.until("even", 10 * SECOND, |c| {
            c.is_even() && c.hosts[0].machine.commands().len() == 4
        });
        let seat = cluster.hosts[0].status().seat;
        cluster.crash(0);
        cluster.hosts[0].disk.put_back(copy);
        cluster.start(0);
        cluster.until("refilled", 10 * SECOND, |c| {
            c.is_full() && c.is_even() && c.hosts[0].status().seat != seat
        });
        let said = |notice: &Notice| matches!(notice, Notice::RolledBack(_));
        assert!(cluster.hosts.iter().any(|host| host.notices.iter().any(said)));
        holds_all(&cluster, &commands);
    }
}

#[test]
pub(crate) fn grp_24_leaving_leaders_stop_nobody_for_long() {
    for seed in 0..30 {
        let durable = seed % 2 == 1;
        let (mut cluster, _) = formed(seed, 3, |_| GroupConfig { durable, ..config() });
        let leader = cluster.leader().unwrap();
        let other = (leader + 1) % 3;
        cluster.input(leader, Input::Leave);
        let command = cluster.execute(other);
        let took = cluster.until("committed", SECOND, |c| c.committed(other, command));
        assert!(took < Duration::from_millis(100), "seed {seed}: {took:?}");
        cluster.until("left", 2 * SECOND, |cluster| cluster.hosts[leader].closed);
        cluster.until("another leads", SECOND, Cluster::is_formed);
        let voters = cluster.hosts[cluster.leader().unwrap()].status().voters.len();
        assert_eq!(voters, if durable { 3 } else { 2 });
    }
}

#[test]
pub(crate) fn grp_22_observers_copy_and_never_lead() {
    for seed in 0..20 {
        let observer = |at| GroupConfig { can_vote: at > 0, ..config() };
        let (mut cluster, commands) = formed(seed, 3, observer);
        holds_all(&cluster, &commands);
        cluster.crash_all([1, 2]);
        cluster.run(30 * SECOND);
        assert_eq!(cluster.leader(), None);
    }
}

#[test]
pub(crate) fn grp_23_an_observer_becomes_a_voter_and_back() {
    let (mut cluster, commands) = formed(4, 4, |at| GroupConfig { can_vote: at > 0, ..config() });
    cluster.hosts[0].config.can_vote = true;
    cluster.input(0, Input::CanVote(true));
    cluster.until("it votes", 5 * SECOND, Cluster::is_full);
    cluster.hosts[0].config.can_vote = false;
    cluster.input(0, Input::CanVote(false));
    settles(&mut cluster, "it does not", 5 * SECOND, &commands);
}

#[test]
pub(crate) fn grp_25_the_lead_is_handed_over() {
    for seed in 0..30 {
        let (mut cluster, _) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        let to = (leader + 1) % 3;
        let request = RequestId(9);
        cluster.input(to, Input::Transfer { request, to: None });
        assert_eq!(cluster.replies(to), [(request, Err(OperatorError::NotLeader))]);
        cluster.input(leader, Input::Transfer { request, to: Some(peer(to)) });
        let took = cluster.until("it leads", SECOND, |c| c.hosts[to].leads());
        assert!(took < Duration::from_millis(50), "{took:?}");
        cluster.until("formed", SECOND, Cluster::is_formed);
        assert_eq!(cluster.replies(leader), [(request, Ok(()))]);
    }
}

#[test]
pub(crate) fn grp_26_a_failed_machine_hands_over() {
    for seed in 0..10 {
        let (mut cluster, _) = formed(seed, 3, |_| config());
        let leader = cluster.leader().unwrap();
        let at = mosaik_proto::raft::LogIndex(3);
        cluster.input(leader, Input::MachineFailed { at, what: "a panic".into() });
        cluster.until("another leads", SECOND, |c| c.leader().is_some_and(|l| l != leader));
        let blocked = cluster.hosts[leader].status().blocked.clone();
        assert!(matches!(blocked, Some(Blocked::Fenced(_))), "{blocked:?}");
        let other = (leader + 1) % 3;
        let command = cluster.execute(other);
        cluster.until("committed", SECOND, |c| c.committed(other, command));
    }
}

#[test]
pub(crate) fn first_command_with_two_learners_one_crashes() {
    for seed in 0..60 {
        let (mut cluster, leader, command) = begun(seed);
        cluster.run(Duration::from_micros(200 * (seed % 20)));
        let gone = (leader + 1) % 3;
        cluster.crash(gone);
        cluster.until("committed", SECOND, |c| c.committed(leader, command));
        cluster.start(gone);
        settles(&mut cluster, "all vote", 10 * SECOND, &[command]);
    }
}

#[test]
pub(crate) fn promoted_learner_cut_off_leaves_unaware() {
    for seed in 0..60 {
        let (mut cluster, leader, command) = begun(seed);
        cluster.run(Duration::from_micros(100 * (seed % 20)));
        let gone = (leader + 1) % 3;
        cluster.partition(&[gone]);
        cluster.run(15 * SECOND);
        cluster.heal();
        settles(&mut cluster, "all vote", 20 * SECOND, &[command]);
    }
}

#[test]
pub(crate) fn half_cut_off_but_alive_must_not_elect() {
    for seed in 0..20 {
        let (mut cluster, _) = formed(seed, 4, |_| config());
        cluster.partition(&[0, 1]);
        cluster.run(20 * SECOND);
        assert_eq!(cluster.leader(), None, "{}", cluster.describe());
        cluster.heal();
        cluster.until("formed", 10 * SECOND, Cluster::is_formed);
    }
}

#[test]
pub(crate) fn grp_29_the_store_of_another_peer_is_left_alone() {
    let (mut cluster, commands) = formed(3, 2, |_| durable());
    cluster.crash_all([0, 1]);
    let store = cluster.hosts[0].disk.copy();
    let mut other = Cluster::new(4, 2, |_| durable());
    other.crash(1);
    other.hosts[1].disk.put_back(store.clone());
    other.start(1);
    other.until("it says so", SECOND, |cluster| {
        let fault = StoreFault::Foreign(peer(0));
        cluster.hosts[1].status().blocked == Some(Blocked::StoreFailed(fault))
    });
    let entries = |copy: Option<crate::disk::Contents>| copy.map(|copy| copy.entries());
    assert_eq!(entries(other.hosts[1].disk.copy()), entries(store), "nothing was written");
    // With the key that it belongs to, everything is there.
    cluster.start_all([0, 1]);
    cluster.until("they serve again", 10 * SECOND, Cluster::is_settled);
    cluster.run(SECOND);
    holds_all(&cluster, &commands);
}

#[test]
pub(crate) fn grp_24_when_all_leave_at_once_nobody_waits_for_those_who_left() {
    for durable in [false, true] {
        for (seed, hosts) in (0..20).flat_map(|seed| [2, 3, 5].map(|hosts| (seed, hosts))) {
            let (mut cluster, _) = formed(seed, hosts, |_| GroupConfig { durable, ..config() });
            (0..hosts).for_each(|at| cluster.input(at, Input::Leave));
            let all = |cluster: &Cluster| cluster.hosts.iter().all(|host| host.closed);
            let took = cluster.until("all have left", SECOND, all);
            assert!(took < Duration::from_millis(100), "{hosts}, durable {durable}: {took:?}");
        }
    }
}

/// What the last voter in memory holds is in no other place: who came back meanwhile gets it, also where
/// the leave begins before that one votes, or has anything (GRP-24).
#[test]
pub(crate) fn grp_24_the_last_voter_in_memory_hands_on_to_who_came_back() {
    let mut early = 0;
    for seed in 0..100 {
        let (mut cluster, commands) = formed(seed, 2, |_| config());
        let (last, heir) = ((seed % 2) as usize, 1 - (seed % 2) as usize);
        cluster.input(heir, Input::Leave);
        cluster.until("one has left", SECOND, |c| c.hosts[heir].closed);
        let alone = |c: &Cluster| c.hosts[last].status().voters.len() == 1;
        cluster.until("one votes", SECOND, |c| alone(c) && c.hosts[last].leads());
        cluster.again(heir);
        let follows = |c: &Cluster| c.hosts[heir].status.as_ref()?.leader;
        cluster.until("it is led", SECOND, |c| follows(c) == Some(peer(last)));
        cluster.run(Duration::from_micros(seed * 10));
        early += usize::from(alone(&cluster));
        cluster.input(last, Input::Leave);
        cluster.until("the other has left", 2 * SECOND, |c| c.hosts[last].closed);
        cluster.until("the heir leads", 5 * SECOND, |c| c.hosts[heir].leads());
        cluster.until("it has all", SECOND, |c| c.hosts[heir].machine.commands().len() == 2);
        holds_all(&cluster, &commands);
    }
    assert!(early > 10, "only {early} left before the other voted");
}

/// A member that would lead may be gone before it hears so.
#[test]
pub(crate) fn grp_24_a_leader_that_leaves_asks_another_if_the_first_goes_too() {
    for seed in 0..30 {
        let (mut cluster, _) = formed(seed, 3, |_| durable());
        let leader = cluster.leader().unwrap();
        let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
        let (gone, stays) = if seed % 2 == 0 { (first, second) } else { (second, first) };
        cluster.input(leader, Input::Leave);
        cluster.crash(gone);
        let took = cluster.until("the other leads", 5 * SECOND, |c| c.hosts[stays].leads());
        assert!(took < Duration::from_millis(100), "seed {seed}: {took:?}");
    }
}
