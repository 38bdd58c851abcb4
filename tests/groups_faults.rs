//! What goes wrong at one member stays there, and is said in types.

mod common;
#[path = "groups/counter.rs"]
mod counter;
#[path = "groups/fragile.rs"]
mod fragile;

use common::{nodes, soon};
use counter::{counters, value};
use fragile::{Blob, Fragile, Full, Letter, Mailbox, Misspelt, Slow};
use futures::future::join_all;
use mosaik::{
    groups::{Blocked, CommandError, QueryError, StateMachine},
    proto::limits,
    *,
};

async fn online<M: StateMachine>(groups: &[Group<M>]) {
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
}

/// Each of these machines in one group.
fn join_all_with<M: StateMachine>(nodes: &[Network], machines: Vec<M>) -> Vec<Group<M>> {
    let key = GroupKey::random();
    let pairs = nodes.iter().zip(machines);
    pairs.map(|(node, sm)| node.groups().with_key(key).with_state_machine(sm).join()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grp_26_a_machine_that_panics_fences_its_member_alone() {
    let nodes = nodes::<3>().await;
    let others = counters(&nodes);
    let machines = [false, false, true].map(|panics| Fragile { panics, ..Fragile::default() });
    let groups = join_all_with(&nodes, machines.into());
    online(&groups).await;
    online(&others).await;
    soon(groups[0].execute(7)).await.expect("in force");
    soon(groups[0].execute(Fragile::DEADLY)).await.expect("in force on the others");
    // The third says so: reads are refused there, and its own commands are not confirmed as applied.
    let broken = &groups[2];
    soon(
        broken
            .when()
            .status_is(|status| matches!(status.blocked, Some(Blocked::Fenced(_))).then_some(())),
    )
    .await;
    let refused = soon(broken.query((), Weak)).await.expect_err("its state is not to be trusted");
    assert!(matches!(&refused, QueryError::Fenced((), why) if why.contains("a deadly command")));
    assert!(!broken.is_online());
    let refused = soon(broken.execute(1)).await.expect_err("nobody could say that it is applied");
    assert!(matches!(&refused, CommandError::MachineFailed(back, why)
        if *back == [1] && why.contains("a deadly command")));
    // The others go on, and so does the other group of the same nodes.
    for group in &groups[..2] {
        soon(group.when().online()).await;
        soon(group.execute(1)).await.expect("in force");
        assert!(*soon(group.query((), Strong)).await.expect("served") > 0);
    }
    for (i, group) in others.iter().enumerate() {
        soon(group.execute(1)).await.expect("in force");
        assert_eq!(soon(group.query((), Strong)).await.expect("served"), i as i64 + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grp_26_a_command_that_one_member_cannot_decode_fences_that_member_alone() {
    let nodes = nodes::<3>().await;
    let key = GroupKey::random();
    let new: Vec<_> = nodes[..2]
        .iter()
        .map(|node| {
            node.groups().with_key(key).with_state_machine(Mailbox::<false>::default()).join()
        })
        .collect();
    let old = nodes[2].groups().with_key(key).with_state_machine(Mailbox::<true>::default()).join();
    assert_eq!(old.id(), new[0].id(), "an older version of the same program");
    online(&new).await;
    soon(old.when().online()).await;
    soon(new[0].execute(Letter(1))).await.expect("in force");
    soon(old.execute(Letter(2))).await.expect("in force");
    assert_eq!(soon(old.query((), Strong)).await.expect("served"), 2);
    soon(new[1].execute(Letter(Letter::<false>::NEW))).await.expect("in force");
    soon(old.when().offline()).await;
    let refused = soon(old.query((), Weak)).await.expect_err("it missed one");
    assert!(matches!(&refused, QueryError::Fenced((), why) if why.contains("does not decode")));
    assert_eq!(old.committed(), 2);
    for group in &new {
        soon(group.execute(Letter(3))).await.expect("in force");
        assert!(*soon(group.query((), Strong)).await.expect("served") > 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_panics_is_an_error_of_that_query() {
    let nodes = nodes::<1>().await;
    let groups = join_all_with(&nodes, vec![Fragile { queries: true, ..Fragile::default() }]);
    let failed = soon(groups[0].query((), Weak)).await.expect_err("it panics");
    assert!(matches!(&failed, QueryError::Panicked(what) if what.contains("a deadly query")));
    assert!(groups[0].status().blocked.is_none() || !groups[0].is_online(), "not fenced by it");
}

/// Whoever asks meanwhile finds the machine half-way: neither the query nor the thread waited until all
/// commands of a batch were applied.
async fn a_slow_machine_is_asked_between_its_commands() {
    const MANY: usize = 100;
    let nodes = nodes::<2>().await;
    let groups = join_all_with(&nodes, vec![Slow::default(), Slow::default()]);
    online(&groups).await;
    soon(groups[0].execute(())).await.expect("in force");
    let many = groups[0].execute_many(vec![(); MANY]);
    let seen = loop {
        let seen = *soon(groups[0].query((), Weak)).await.expect("weak queries need nobody");
        if seen > 1 {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert!(seen < MANY as u64, "of {MANY} commands {seen} were applied before the first answer");
    soon(many).await.expect("in force");
    assert_eq!(soon(groups[1].query((), Strong)).await.expect("served"), MANY as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_machine_keeps_nobody_from_asking() {
    a_slow_machine_is_asked_between_its_commands().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_slow_machine_keeps_no_thread_to_itself() {
    a_slow_machine_is_asked_between_its_commands().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_would_not_decode_is_refused_at_the_caller() {
    let nodes = nodes::<2>().await;
    let groups = join_all_with(&nodes, vec![fragile::Speller::default(); 2]);
    online(&groups).await;
    for group in &groups {
        let refused = soon(group.execute(Misspelt::Wrong)).await.expect_err("nobody could read it");
        assert!(refused.is_certain());
        assert!(matches!(&refused, CommandError::Decoding(back, _) if *back == [Misspelt::Wrong]));
        let refused = soon(group.execute(Misspelt::Mute)).await.expect_err("it has no encoding");
        assert!(matches!(&refused, CommandError::Encoding(back, _) if *back == [Misspelt::Mute]));
        let many = [Misspelt::Right, Misspelt::Wrong, Misspelt::Right];
        let refused = soon(group.execute_many(many)).await.expect_err("one of them");
        assert_eq!(refused.into_commands(), [Misspelt::Wrong, Misspelt::Right], "those not sent");
    }
    for group in &groups {
        soon(group.when().committed().reaches(2)).await;
        assert_eq!(soon(group.query((), Strong)).await.expect("served"), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
    let nodes = nodes::<3>().await;
    let groups = join_all_with(&nodes, vec![fragile::Scale::default(); 3]);
    online(&groups).await;
    for (i, group) in groups.iter().enumerate() {
        let most = Blob(vec![i as u8; limits::COMMAND_BYTES].into());
        assert_eq!(soon(group.execute(most)).await.expect("in force"), i as i32 + 1);
        let over = Blob(vec![i as u8; limits::COMMAND_BYTES + 1].into());
        match soon(group.execute(over.clone())).await {
            Err(CommandError::TooLarge(back, bytes)) => {
                assert_eq!((back, bytes), (vec![over], limits::COMMAND_BYTES + 1));
            }
            other => panic!("{other:?}"),
        }
    }
    for group in &groups {
        let weight = soon(group.query((), Strong)).await.expect("served");
        assert_eq!(weight, 3 * limits::COMMAND_BYTES as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_group_refuses_and_everything_that_waits_resolves() {
    let nodes = nodes::<2>().await;
    let groups = counters(&nodes);
    online(&groups).await;
    soon(groups[0].execute(1)).await.expect("in force");
    let waits = groups[0].transfer(PeerId::from_bytes([9; 32]));
    let closed = groups[0].when().closed();
    let offline = groups[0].when().offline();
    soon(nodes[0].shutdown()).await;
    soon(closed).await;
    soon(offline).await;
    // Nobody who still looks takes this node for a leader, or the others for its peers.
    assert!(!groups[0].is_leader() && groups[0].leader().is_none());
    assert!(groups[0].bonds().is_empty() && !groups[0].status().online);
    assert!(soon(waits).await.is_err());
    let refused = soon(groups[0].execute(1)).await.expect_err("stopped");
    assert!(matches!(refused, CommandError::GroupTerminated), "{refused}");
    let refused = soon(groups[0].execute_many([1, 2])).await.expect_err("stopped");
    assert!(matches!(refused, CommandError::GroupTerminated));
    let refused = soon(groups[0].feed(1)).await.expect_err("stopped");
    assert!(matches!(refused, CommandError::GroupTerminated));
    for consistency in [Weak, Strong] {
        let refused = soon(groups[0].query((), consistency)).await.expect_err("stopped");
        assert!(matches!(refused, QueryError::GroupTerminated(())), "{refused}");
    }
    // The other member goes on alone: the first has left in good order.
    soon(groups[1].when().online()).await;
    soon(groups[1].execute(1)).await.expect("in force");
    assert_eq!(value(&groups[1]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_space_stops_nobody_else() {
    let nodes = nodes::<3>().await;
    let others = counters(&nodes);
    let key = GroupKey::random();
    let full = Full::default();
    let groups: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| {
            let builder = node.groups().with_key(key);
            let builder = builder.with_state_machine(counter::Counter::default());
            // The first member's disk will be full.
            let store = if i == 0 { full.store() } else { Full::default().store() };
            builder.with_log_storage(store).join()
        })
        .collect();
    online(&groups).await;
    online(&others).await;
    for group in &groups {
        soon(group.execute(1)).await.expect("in force");
    }
    let mut notices = groups[0].notices();
    full.fill_up();
    // Whoever leads: what is acknowledged is in force.
    for _ in 0..3 {
        for group in &groups[1..] {
            soon(group.execute(1)).await.expect("two of three have room");
        }
    }
    let lost = soon(notices.recv()).await.expect("it is said");
    assert!(matches!(lost, groups::Notice::StoreLost(_)), "{lost:?}");
    for group in &groups[1..] {
        assert_eq!(soon(group.query((), Strong)).await.expect("served"), 9);
    }
    for group in &others {
        soon(group.execute(1)).await.expect("another group of the same node");
    }
}
