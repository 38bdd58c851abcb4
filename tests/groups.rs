//! Groups over real links: forming, writing anywhere, reading anywhere, losing the leader.

mod common;
#[path = "groups/counter.rs"]
mod counter;

use common::{eventually, nodes, soon};
use counter::{Counter, counters, leader_of, value};
use futures::future::{join_all, try_join_all};
use mosaik::{
    groups::{CommandError, IndexRange},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_members_form_and_agree_on_a_leader() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    let leader = soon(groups[0].when().leader_elected()).await;
    for group in &groups {
        soon(group.when().leader_is(leader)).await;
        assert_eq!(group.id(), groups[0].id());
        eventually(|| group.bonds().len() == 2).await;
        assert!(group.bonds().iter().all(|bond| bond.peer().id() != group_node(group, &nodes)));
    }
    assert_eq!(groups.iter().filter(|group| group.is_leader()).count(), 1);
}

fn group_node(group: &Group<Counter>, nodes: &[Network]) -> PeerId {
    let seat = group.status().seat.expect("it takes part");
    assert!(nodes.iter().any(|node| node.local().id() == seat.peer));
    seat.peer
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_any_member_are_applied_by_all() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    let mut last = groups::Index::ZERO;
    for (group, by) in groups.iter().zip([1, 10, 100]) {
        let index = soon(group.execute(by)).await.expect("in force");
        assert!(index > last, "places follow each other");
        last = index;
        assert!(group.committed() >= index, "applied here");
    }
    assert_eq!(last, 3);
    for group in &groups {
        let strong = soon(group.query((), Strong)).await.expect("a leader answers");
        assert_eq!(strong, 111);
        assert_eq!(strong.state_position(), 3);
        soon(group.when().committed().reaches(3)).await;
        assert_eq!(soon(group.query((), Weak)).await.expect("at once"), 111);
        assert_eq!(soon(group.when().log().reaches(last)).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_keep_their_order_and_follow_each_other() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    for (round, group) in groups.iter().enumerate() {
        let range: IndexRange = soon(group.execute_many(1..=100)).await.expect("in force");
        let first = 1 + 100 * round as u64;
        assert_eq!(range, groups::Index(first)..=groups::Index(first + 99));
        assert_eq!(soon(group.when().committed().reaches(range)).await, first + 99);
    }
    let fed = soon(groups[1].feed_many([1, 2, 3])).await.expect("in the leader's log");
    assert_eq!(*fed.end(), 303);
    assert_eq!(soon(groups[1].feed(4)).await.expect("in the leader's log"), 304);
    for group in &groups {
        soon(group.when().committed().reaches(304)).await;
        assert_eq!(value(group).await, 3 * 5050 + 10);
    }
    let none = soon(groups[0].execute_many([])).await;
    assert!(matches!(none, Err(CommandError::NoCommands)));
}

/// The futures need nobody who polls them.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_future_is_dropped_is_in_force_all_the_same() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    for group in &groups {
        drop(group.execute(5));
        drop(group.feed(6));
        drop(group.execute_many([7, 8]));
    }
    for group in &groups {
        soon(group.when().committed().reaches(12)).await;
        assert_eq!(value(group).await, 3 * 26);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_loses_no_acknowledged_command() {
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    let leader = leader_of(&groups).await;
    let sent = groups.iter().flat_map(|group| (0..50).map(|_| group.execute(1)));
    soon(try_join_all(sent)).await.expect("in force");
    let mut members: Vec<_> = nodes.into_iter().zip(groups).collect();
    let (node, group) = members.remove(leader);
    let before = node.local().id();
    drop(node);
    drop(group);
    for (done, (_, group)) in members.iter().enumerate() {
        let another = move |leader: PeerId| (leader != before).then_some(());
        soon(group.when().status_is(move |status| status.leader.and_then(another))).await;
        soon(group.when().online()).await;
        let sum = soon(group.query((), Strong)).await.expect("served");
        assert_eq!(sum, 150 + done as i64);
        soon(group.execute(1)).await.expect("in force");
    }
    for (_, group) in &members {
        soon(group.when().committed().reaches(152)).await;
        assert_eq!(value(group).await, 152);
    }
}
