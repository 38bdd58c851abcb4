//! Groups with a data directory: what was acknowledged survives every process.

mod common;
#[path = "groups/counter.rs"]
mod counter;
#[path = "support/scratch.rs"]
mod scratch;

use std::path::Path;

use common::{discover_all, shy, soon};
use counter::{Counter, value};
use futures::future::join_all;
use mosaik::{
    groups::{Blocked, Notice, StoreFault},
    *,
};
use scratch::Scratch;

/// A node that is the same one at every start.
async fn node(id: NetworkId, name: u8) -> Network {
    let key = SecretKey::from_bytes(&[name; 32]);
    let builder = Network::builder(id).with_secret_key(key).with_discovery(shy());
    soon(builder.build()).await.expect("a node")
}

async fn start<const N: usize>(id: NetworkId) -> Vec<Network> {
    let nodes = join_all((0..N).map(|i| node(id, i as u8 + 1))).await;
    discover_all(&nodes).await;
    nodes
}

fn join(node: &Network, key: GroupKey, dir: &Path) -> Group<Counter> {
    let builder = node.groups().with_key(key).with_state_machine(Counter::default());
    builder.with_data_dir(dir).join()
}

fn join_all_in(nodes: &[Network], key: GroupKey, dirs: &Scratch) -> Vec<Group<Counter>> {
    let all = nodes.iter().enumerate();
    all.map(|(i, node)| join(node, key, &dirs.path().join(i.to_string()))).collect()
}

async fn online(groups: &[Group<Counter>]) {
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_stopped_goes_on_where_it_was() {
    let (id, key, dirs) = (NetworkId::random(), GroupKey::random(), Scratch::new());
    for round in 0..3 {
        let nodes = start::<3>(id).await;
        let groups = join_all_in(&nodes, key, &dirs);
        online(&groups).await;
        for (i, group) in groups.iter().enumerate() {
            let before = 30 * round + 10 * i as i64;
            assert_eq!(soon(group.query((), Strong)).await.expect("served"), before);
            soon(group.execute_many([1; 10])).await.expect("in force");
        }
        // Positions are published once per heartbeat.
        let durable = groups[0].when().status_is(|status| (status.durable > 0).then_some(()));
        soon(durable).await;
        // All at once: as when a rack is switched off, but in good order.
        join_all(nodes.iter().map(|node| soon(node.shutdown()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_durable_member_keeps_what_it_was_told() {
    let (id, key, dirs) = (NetworkId::random(), GroupKey::random(), Scratch::new());
    for round in 0..2 {
        let node = node(id, 1).await;
        let group = join(&node, key, dirs.path());
        soon(group.when().online()).await;
        assert_eq!(soon(group.execute(1)).await.expect("in force"), round + 1);
        assert_eq!(value(&group).await, i64::from(round) + 1);
        soon(node.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_directory_was_deleted_is_refilled() {
    let (id, key, dirs) = (NetworkId::random(), GroupKey::random(), Scratch::new());
    let nodes = start::<3>(id).await;
    let mut groups = join_all_in(&nodes, key, &dirs);
    online(&groups).await;
    soon(groups[0].execute_many([1; 10])).await.expect("in force");
    // Not in the middle of a change: two voters survive no crash.
    let safe = |group: &Group<Counter>| {
        soon(group.when().status_is(|status| (status.tolerates == 1).then_some(())))
    };
    join_all(groups.iter().map(safe)).await;
    let mut nodes = nodes;
    let (gone, group) = (nodes.remove(2), groups.remove(2));
    let before = group.status().seat.expect("it took part");
    soon(gone.shutdown()).await;
    drop((gone, group));
    std::fs::remove_dir_all(dirs.path().join("2")).expect("deleted");
    soon(groups[0].execute(1)).await.expect("two of three");
    let back = node(id, 3).await;
    nodes.push(back);
    discover_all(&nodes).await;
    let group = join(&nodes[2], key, &dirs.path().join("2"));
    soon(group.when().online()).await;
    assert_eq!(soon(group.query((), Strong)).await.expect("served"), 11);
    let seat = group.status().seat.expect("it takes part");
    assert_eq!(seat.peer, before.peer);
    assert_ne!(seat.id, before.id, "an empty store is another seat");
    // It becomes a voter again, by a committed change.
    soon(groups[0].execute(1)).await.expect("in force");
    let listed = group.when().status_is(move |status| {
        status.voters.iter().any(|member| member.seat == seat).then_some(())
    });
    soon(listed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_left_alone() {
    let (key, dirs) = (GroupKey::random(), Scratch::new());
    let first = node(NetworkId::random(), 1).await;
    let group = join(&first, key, dirs.path());
    soon(group.when().online()).await;
    soon(group.execute(1)).await.expect("in force");
    let second = node(NetworkId::random(), 2).await;
    let intruder = join(&second, key, dirs.path());
    let fault = intruder.when().status_is(|status| match &status.blocked {
        Some(Blocked::StoreFailed(fault)) => Some(fault.clone()),
        _ => None,
    });
    assert!(matches!(soon(fault).await, StoreFault::Failed(why) if why.contains("in use")));
    soon(group.execute(1)).await.expect("the owner is not disturbed");
    let mut notices = intruder.notices().with_history();
    assert!(matches!(soon(notices.recv()).await, Ok(Notice::StoreLost(_))));
    soon(first.shutdown()).await;
    let again = node(*first.network_id(), 1).await;
    let group = join(&again, key, dirs.path());
    soon(group.when().online()).await;
    assert_eq!(value(&group).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_joined_again_at_once_waits_for_its_store() {
    let (id, key, dirs) = (NetworkId::random(), GroupKey::random(), Scratch::new());
    let node = node(id, 1).await;
    let group = join(&node, key, dirs.path());
    soon(group.when().online()).await;
    let mut group = group;
    // The loop sees the new member while the old one is leaving, or has left, or has its store still.
    for round in 1..=40 {
        soon(group.execute(1)).await.expect("in force");
        drop(group);
        for _ in 0..round % 10 {
            tokio::task::yield_now().await;
        }
        group = join(&node, key, dirs.path());
        soon(group.when().online()).await;
        assert_eq!(value(&group).await, round);
    }
}
