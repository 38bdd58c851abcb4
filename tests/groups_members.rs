//! Who takes part in a group: handles, observers, founders, tickets, operators.

mod common;
#[path = "groups/counter.rs"]
mod counter;

use common::{LIMIT, Pass, eventually, nodes, quiet, soon};
use counter::{Counter, counters, join, leader_of, value};
use futures::future::join_all;
use mosaik::{
    groups::{Blocked, CommandError, LeadershipPreference, NoOp, OperatorError, Rejection, Role},
    *,
};

async fn online(groups: &[Group<Counter>]) {
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
}

fn observe(node: &Network, key: GroupKey) -> Group<Counter> {
    let machine = Counter { observes: true, ..Counter::default() };
    node.groups().with_key(key).with_state_machine(machine).join()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_a_machine_elects_a_leader() {
    let nodes = nodes::<3>().await;
    let key = GroupKey::random();
    let groups: Vec<Group<NoOp>> =
        nodes.iter().map(|node| node.groups().with_key(key).join()).collect();
    join_all(groups.iter().map(|group| soon(group.when().leader_elected()))).await;
    // Two that met late may have begun apart.
    eventually(|| groups.iter().all(|group| group.leader() == groups[0].leader())).await;
    soon(groups[0].execute(())).await.expect("nothing, in force");
}

/// With one thread for everything, a lock that is held across an await would stop it for ever.
#[tokio::test(flavor = "current_thread")]
async fn l16_joining_and_leaving_while_bonds_are_made_stops_nobody() {
    let nodes = nodes::<3>().await;
    let keys: Vec<_> = (0..8).map(|_| GroupKey::random()).collect();
    for round in 0..6 {
        let mut groups = Vec::new();
        for key in &keys {
            groups.extend(nodes.iter().map(|node| join(node, *key)));
            // Others are half-way through their bonds now; some handles go before they have any.
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            if groups.len() % 2 == 0 {
                drop(groups.swap_remove(round));
            }
        }
    }
    let groups: Vec<_> = nodes.iter().map(|node| join(node, keys[0])).collect();
    online(&groups).await;
    soon(groups[0].execute(1)).await.expect("in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_handle_keeps_the_member_and_the_last_one_ends_it() {
    let nodes = nodes::<2>().await;
    let key = GroupKey::random();
    let (first, other) = (join(&nodes[0], key), join(&nodes[1], key));
    let second = join(&nodes[0], key);
    let third = first.clone();
    soon(first.when().online()).await;
    soon(first.execute(1)).await.expect("in force");
    // What only one member in memory has goes with it.
    soon(first.when().status_is(|status| (status.voters.len() == 2).then_some(()))).await;
    let closed = first.when().closed();
    drop(first);
    drop(third);
    soon(second.execute(1)).await.expect("the second handle goes on");
    assert_eq!(value(&second).await, 2);
    drop(second);
    soon(closed).await;
    soon(other.when().online()).await;
    soon(other.execute(1)).await.expect("alone");
    eventually(|| other.bonds().is_empty()).await;
    assert!(nodes[0].discovery().me().entry().groups().is_empty(), "not advertised any more");
    let again = join(&nodes[0], key);
    soon(again.when().online()).await;
    assert_eq!(soon(again.query((), Strong)).await.expect("served"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_copy_and_read_but_neither_vote_nor_write() {
    let nodes = nodes::<3>().await;
    let key = GroupKey::random();
    let observer = observe(&nodes[2], key);
    let groups = [join(&nodes[0], key), join(&nodes[1], key)];
    online(&groups).await;
    soon(groups[0].execute(5)).await.expect("in force");
    soon(observer.when().online()).await;
    assert_eq!(soon(observer.query((), Strong)).await.expect("served"), 5);
    soon(observer.when().committed().reaches(1)).await;
    let refused = soon(observer.execute(1)).await.expect_err("it may only read");
    assert!(matches!(refused, CommandError::Rejected(_, Rejection::ReadOnly)), "{refused:?}");
    let me = nodes[2].local().id();
    let leader = leader_of(&groups).await;
    let status = groups[leader].status();
    assert!(status.voters.iter().all(|member| member.seat.peer != me));
    assert!(!observer.status().can_vote);
    // A writer's handle upgrades the member.
    let writer = join(&nodes[2], key);
    soon(writer.execute(1)).await.expect("in force");
    soon(writer.when().status_is(|status| status.can_vote.then_some(()))).await;
    let refused = soon(observer.execute(1)).await.expect_err("this handle still reads only");
    assert!(matches!(refused, CommandError::Rejected(_, Rejection::ReadOnly)));
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_alone_found_nothing() {
    let nodes = nodes::<2>().await;
    let key = GroupKey::random();
    let groups = [observe(&nodes[0], key), observe(&nodes[1], key)];
    quiet(std::time::Duration::from_secs(7), groups[0].when().online()).await;
    assert!(groups.iter().all(|group| group.leader().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_who_votes_and_who_is_how_far() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    online(&groups).await;
    assert_eq!(groups[0].config().consensus().bootstrap_delay.as_secs(), 3);
    assert_eq!(groups[0].config().group_id(), groups[0].id());
    soon(groups[0].execute(1)).await.expect("in force");
    let leader = leader_of(&groups).await;
    let full = groups[leader].when().status_is(|status| {
        let known = status.voters.iter().all(|member| member.lag.is_some() && member.linked);
        let full = status.tolerates == 1 && status.voters.len() == 3;
        (full && known && status.committed == 1).then_some(status.clone())
    });
    let status = soon(full).await;
    assert_eq!((status.role, status.tolerates, status.blocked), (Role::Leader, 1, None));
    assert!(status.lineage.is_some() && status.online);
    assert_eq!(groups[leader].log_position().index(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_on_request() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    online(&groups).await;
    soon(groups[0].execute(1)).await.expect("in force");
    let leader = leader_of(&groups).await;
    let next = (leader + 1) % 3;
    let refused = soon(groups[next].transfer(None)).await;
    assert_eq!(refused, Err(OperatorError::NotLeader));
    let voters = groups[leader].when().status_is(|s| (s.voters.len() == 3).then_some(()));
    soon(voters).await;
    soon(groups[leader].transfer(nodes[next].local().id())).await.expect("handed over");
    soon(groups[next].when().is_leader()).await;
    soon(groups[leader].when().is_follower()).await;
    soon(groups[leader].execute(1)).await.expect("in force");
    let refused = soon(groups[next].recover([nodes[leader].local().id()])).await;
    assert!(refused.is_err(), "nobody is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn founders_that_are_missing_hold_commands_back() {
    let nodes = nodes::<3>().await;
    let key = GroupKey::random();
    let found = |node: &Network| {
        let builder = node.groups().with_key(key).with_state_machine(Counter::default());
        builder.with_founders(3).join()
    };
    let mut groups = vec![found(&nodes[0]), found(&nodes[1])];
    // Who leads knows it.
    let blocked = groups.iter().map(|group| {
        let waits = |status: &groups::Status| matches!(status.blocked, Some(Blocked::Founders));
        group.when().status_is(move |status| waits(status).then_some(()))
    });
    soon(futures::future::select_all(blocked)).await;
    let mut waits = groups[0].execute(1);
    quiet(std::time::Duration::from_millis(300), &mut waits).await;
    groups.push(found(&nodes[2]));
    soon(waits).await.expect("all are there");
    online(&groups).await;
    let leader = leader_of(&groups).await;
    let voters = groups[leader].when().status_is(|s| (s.voters.len() == 3).then_some(()));
    soon(voters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_without_a_ticket_are_not_bonded() {
    let nodes = nodes::<3>().await;
    let pass = Pass::new("members");
    let key = GroupKey::from(&pass);
    let join = |node: &Network| {
        let builder = node.groups().with_key(key).with_state_machine(Counter::default());
        builder.require_ticket(pass).join()
    };
    for node in &nodes[..2] {
        node.discovery().add_ticket(pass.ticket()).expect("room for a ticket");
    }
    let groups: Vec<_> = nodes.iter().map(join).collect();
    online(&groups[..2]).await;
    soon(groups[0].execute(1)).await.expect("in force");
    assert_eq!(groups[2].bonds().len(), 0);
    assert_eq!(groups[0].bonds().iter().count(), 1);
    nodes[2].discovery().add_ticket(pass.ticket()).expect("room for a ticket");
    eventually(|| groups[2].bonds().len() == 2).await;
    soon(groups[2].when().online()).await;
    assert_eq!(soon(groups[2].query((), Strong)).await.expect("served"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bonds_say_when_they_change() {
    let nodes = nodes::<3>().await;
    let key = GroupKey::random();
    let first = join(&nodes[0], key);
    let bonds = first.bonds();
    assert!(bonds.is_empty());
    let _others = [join(&nodes[1], key), join(&nodes[2], key)];
    while bonds.len() < 2 {
        soon(bonds.changed()).await;
    }
    let bond = bonds.get(&nodes[1].local().id()).expect("bonded");
    assert!(!bond.is_terminated());
    drop(_others);
    common::within(LIMIT, bond.terminated()).await;
    while !bonds.is_empty() {
        soon(bonds.changed()).await;
    }
}

#[test]
fn preferences_have_names() {
    assert_eq!(LeadershipPreference::reluctant(), LeadershipPreference::Reluctant { factor: 3 });
}
