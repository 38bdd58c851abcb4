//! What members refuse: others' proofs, other secrets, writers that may not, voters that are not ready.

use std::time::Duration;

use bytes::Bytes;
use mosaik_proto::{
    Core, Digest, Outbox,
    discovery::Catalog,
    groups::{Action, Env, Event, GroupConfig, Groups, Input, Outcome, Rejection},
    ids::{ChannelId, LinkId, Side},
    limits,
    links::{Path, Paths},
    rng::Rng,
    time::Instant,
};

use crate::{
    cluster::{Cluster, config, group, peer},
    common::{WALL, clock, edited, local, network},
    lives::{formed, holds_all},
};

const SECOND: Duration = Duration::from_secs(1);

/// What a member that is linked with `of` by a link with this binding writes to it, and closes, when
/// these things happen to it.
fn member(at: usize, of: usize, binding: u8, events: Vec<Event>) -> (Vec<u8>, bool) {
    let mut catalog = Catalog::new(network(), peer(at));
    for name in ["a", "b"] {
        let mut entry = local(name, network(), WALL);
        catalog.set(edited(&mut entry, |draft| {
            draft.groups().insert(group());
        }));
    }
    let (mut paths, link) = (Paths::default(), LinkId(1));
    let side = if at < of { Side::Dialer } else { Side::Listener };
    paths.set(peer(of), Some(Path { link, rtt: Duration::from_millis(1), side }));
    let mut groups = Groups::new(peer(at), Rng::new([at as u8; 32]));
    let linked = [
        Event::Input { group: group(), input: Input::Join(Box::new(config())) },
        Event::Connected { peer: peer(of), link, binding: [binding; 32] },
    ];
    let (mut written, mut closed) = (Vec::new(), false);
    for event in linked.into_iter().chain(events) {
        let mut out = Outbox::new();
        let env = Env { now: clock(Instant::from_millis(1)), catalog: &catalog, paths: &paths };
        groups.handle(env, event, &mut out);
        for action in out.drain() {
            match action {
                Action::Write { head, body, .. } => {
                    written.extend([head.as_slice(), &body].concat());
                }
                Action::Close { .. } => closed = true,
                _ => {}
            }
        }
    }
    (written, closed)
}

/// What was said on one link is worth nothing on another, though both ends are the same.
#[test]
pub(crate) fn grp_02_a_proof_of_another_link_is_none() {
    let (opener, acceptor) = if peer(0) < peer(1) { (0, 1) } else { (1, 0) };
    let (said, _) = member(opener, acceptor, 7, Vec::new());
    assert!(!said.is_empty(), "the smaller id opens");
    let channel = ChannelId::driver(1);
    let hears = |binding| {
        let accepted = Event::Accepted { peer: peer(opener), channel };
        let data = Event::Data { channel, chunk: Bytes::from(said.clone()) };
        member(acceptor, opener, binding, vec![accepted, data])
    };
    let (answer, closed) = hears(7);
    assert!(!answer.is_empty() && !closed, "the control: this is its link");
    let (answer, closed) = hears(8);
    assert!(answer.is_empty() && closed, "it is refused, and learns nothing");
}

/// GRP-02: who has not the secret is no member, though it names the group.
#[test]
pub(crate) fn grp_02_who_has_another_secret_is_no_member() {
    let stranger = |at| match at {
        2 => GroupConfig::new(group(), Digest::from("another secret")),
        _ => config(),
    };
    let mut cluster = Cluster::new(1, 3, stranger);
    cluster.run(10 * SECOND);
    assert_eq!(cluster.hosts[0].lineage(), cluster.hosts[1].lineage());
    assert_ne!(cluster.hosts[0].lineage(), cluster.hosts[2].lineage());
    let bonds: Vec<usize> = cluster.hosts.iter().map(|host| host.status().bonds.len()).collect();
    assert_eq!(bonds, [1, 1, 0]);
}

/// GRP-22: the leader refuses what a member sends that may not write any more.
#[test]
pub(crate) fn grp_22_who_may_not_vote_any_more_writes_nothing() {
    for seed in 0..20 {
        let (mut cluster, _) = formed(seed, 4, |_| config());
        let late = (cluster.leader().unwrap() + 1) % 4;
        cluster.partition(&[late]);
        cluster.run(10 * SECOND);
        let command = cluster.execute(late);
        cluster.hosts[late].config.can_vote = false;
        cluster.input(late, Input::CanVote(false));
        cluster.heal();
        let ended = |cluster: &Cluster| cluster.hosts[late].outcomes.contains_key(&command);
        cluster.until("it is told", 10 * SECOND, ended);
        let told = cluster.hosts[late].outcomes[&command];
        assert_eq!(told, Outcome::Rejected(Rejection::ReadOnly), "seed {seed}");
        cluster.until("they serve", 10 * SECOND, Cluster::is_settled);
        cluster.run(SECOND);
        let has = |at: usize| cluster.hosts[at].machine.commands().contains(&command);
        assert!((0..4).all(|at| !has(at)));
    }
}

/// GRP-16: voters that are silent are not gone. A copy that is alone does not go on in their place.
#[test]
pub(crate) fn grp_16_a_copy_that_is_cut_off_goes_on_for_nobody() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, 6, |_| config());
        cluster.until("a leader", SECOND, Cluster::is_formed);
        let commands: Vec<_> = (0..6).map(|at| cluster.execute(at)).collect();
        cluster.until("all know", 5 * SECOND, |cluster| {
            cluster.is_formed()
                && cluster.hosts[cluster.leader().unwrap()].status().voters.len() == 5
                && cluster.hosts.iter().all(|host| host.machine.commands().len() == 6)
        });
        let leader = cluster.leader().unwrap();
        let lineage = cluster.hosts[leader].lineage();
        let listed = |at: &usize| {
            let seat = cluster.hosts[*at].status().seat;
            let mut voters = cluster.hosts[leader].status().voters.iter();
            voters.any(|voter| Some(voter.seat) == seat)
        };
        let copy = (0..6).find(|at| !listed(at)).unwrap();
        cluster.partition(&[copy]);
        cluster.run(20 * SECOND);
        assert_eq!(cluster.hosts[copy].status().forked_from, None);
        cluster.heal();
        cluster.until("one group", 10 * SECOND, |c| c.is_formed() && c.is_even());
        assert_eq!(cluster.hosts[copy].lineage(), lineage);
        holds_all(&cluster, &commands);
    }
}

/// RAFT-12: who is made a voter has what was committed; a founder that is alone must not wait for it.
#[test]
pub(crate) fn raft_12_a_newcomer_votes_when_it_has_the_log() {
    for seed in 0..20 {
        let mut cluster = Cluster::apart(seed, 2, |_| config());
        cluster.until("it leads", 10 * SECOND, |cluster| cluster.hosts[0].leads());
        cluster.until("both do", 10 * SECOND, |cluster| cluster.hosts[1].leads());
        cluster.execute_many(0, 500);
        cluster.run(SECOND);
        cluster.delay = (Duration::from_millis(5), Duration::from_millis(50));
        cluster.heal();
        cluster.until("two vote", 20 * SECOND, |c| c.hosts[0].status().voters.len() == 2);
        assert_eq!(cluster.hosts[1].lineage(), cluster.hosts[0].lineage());
        assert!(cluster.hosts[1].log.index().0 >= 500, "{:?}", cluster.hosts[1].log);
    }
}

/// RAFT-19: of three voters a silent one stays, unless another takes its place: two of two would
/// decide, and neither may be lost then.
#[test]
pub(crate) fn raft_19_the_third_voter_is_not_given_up() {
    let (mut cluster, _) = formed(4, 3, |_| config());
    let leader = cluster.leader().unwrap();
    cluster.crash((leader + 1) % 3);
    cluster.run(90 * SECOND);
    let command = cluster.execute(leader);
    cluster.until("it is committed", SECOND, |cluster| cluster.committed(leader, command));
    assert_eq!(cluster.hosts[leader].status().voters.len(), 3);
}

/// GRP-38: a machine that has not been handed what a read must see answers none.
#[test]
pub(crate) fn grp_38_a_machine_that_lags_answers_no_read() {
    let (mut cluster, _) = formed(6, 3, |_| config());
    let leader = cluster.leader().unwrap();
    let slow = (leader + 1) % 3;
    cluster.hosts[slow].machine.slow = 60 * SECOND;
    let rounds = limits::APPLY_BYTES / (16_000 * 10) + 3;
    for _ in 0..rounds {
        let last = cluster.execute_many(leader, 16_000) + 15_999;
        cluster.until("it is in force", SECOND, |cluster| cluster.committed(leader, last));
    }
    cluster.run(SECOND);
    let in_force = cluster.hosts[leader].machine.handed();
    assert!(cluster.hosts[slow].machine.handed() < in_force, "it is not flooded");
    cluster.input(slow, Input::Read(1));
    cluster.input(leader, Input::Read(1));
    cluster.run(5 * SECOND);
    assert_eq!(cluster.hosts[leader].reads[&1], Some(in_force));
    assert_eq!(cluster.hosts[slow].reads[&1], None, "in two seconds it was not ready");
}
