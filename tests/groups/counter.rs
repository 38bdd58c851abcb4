//! A counter, as most tests of groups replicate it.

#![allow(dead_code, reason = "every test program uses a part of it")]

use mosaik::{
    groups::{ApplyContext, LeadershipPreference, LogReplaySync, StateMachine},
    *,
};

use crate::common::soon;

/// Adds. What it is given besides makes it another group, or another member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    pub(crate) value: i64,
    pub(crate) observes: bool,
}

impl StateMachine for Counter {
    type Command = i64;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("counter")
    }

    fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
        self.value = self.value.wrapping_add(by);
    }

    fn query(&self, (): ()) -> i64 {
        self.value
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }

    fn fresh(&self) -> Option<Self> {
        Some(Self { value: 0, ..self.clone() })
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        if self.observes { LeadershipPreference::Observer } else { LeadershipPreference::Normal }
    }
}

/// A counter on each of these nodes, in one group.
pub(crate) fn counters(nodes: &[Network]) -> Vec<Group<Counter>> {
    let key = GroupKey::random();
    nodes.iter().map(|node| join(node, key)).collect()
}

/// A counter in the group of a key.
pub(crate) fn join(node: &Network, key: GroupKey) -> Group<Counter> {
    node.groups().with_key(key).with_state_machine(Counter::default()).join()
}

/// What this member has applied.
pub(crate) async fn value(group: &Group<Counter>) -> i64 {
    soon(group.query((), Weak)).await.expect("weak queries need nobody").into()
}

/// Which of them leads.
pub(crate) async fn leader_of(groups: &[Group<Counter>]) -> usize {
    let all = groups.iter().map(|group| Box::pin(soon(group.when().is_leader())));
    futures::future::select_all(all).await.1
}
