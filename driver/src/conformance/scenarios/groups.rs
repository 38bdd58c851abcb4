//! Members that agree on one order of commands.

use futures_util::future::{join_all, select_all};
use mosaik_proto::ids::UniqueId;

use super::{Bench, Harness, meet};
use crate::{
    Network,
    groups::{
        ApplyContext, CommandError, Consistency, Group, GroupKey, LogReplaySync, QueryError,
        StateMachine,
    },
};

/// Adds numbers.
#[derive(Debug, Default)]
struct Sum(i64);

impl StateMachine for Sum {
    type Command = i64;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::hash(b"sum")
    }

    fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
        self.0 += by;
    }

    fn query(&self, (): ()) -> i64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }

    fn fresh(&self) -> Option<Self> {
        Some(Self::default())
    }
}

/// Three nodes that know each other, and their members of one group, which are online.
async fn three<H: Harness>(bench: &Bench<H>) -> ([Network; 3], [Group<Sum>; 3]) {
    let nodes = ["a", "b", "c"].map(|name| bench.node(name));
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        meet(bench, &nodes[one], &nodes[other]).await;
    }
    let key = GroupKey::from_secret("conformance");
    let groups = [0, 1, 2]
        .map(|i| nodes[i].groups().with_key(key).with_state_machine(Sum::default()).join());
    bench.soon(join_all(groups.iter().map(|group| group.when().online()))).await;
    (nodes, groups)
}

/// GRP-30, RAFT-13: commands of every member are applied by all; reads see what was acknowledged.
pub async fn grp_30_commands_of_all_members<H: Harness>(bench: Bench<H>) {
    let (_nodes, groups) = three(&bench).await;
    let mut sum = 0;
    for round in 1..=5 {
        let all = groups.iter().flat_map(|group| (0..20).map(move |_| group.execute(round)));
        for outcome in bench.soon(join_all(all)).await {
            outcome.expect("in force");
        }
        sum += 60 * round;
        for group in &groups {
            let read = bench.soon(group.query((), Consistency::Strong)).await;
            assert_eq!(read.expect("a leader answers").into(), sum);
        }
    }
    for group in &groups {
        bench.soon(group.when().committed().reaches(300)).await;
        let read = bench.soon(group.query((), Consistency::Weak)).await;
        assert_eq!(read.expect("nobody is asked").into(), sum);
    }
}

/// RAFT-04, GRP-30: a leader that is cut off acknowledges nothing; the others go on without it, and it
/// catches up when it is back.
pub async fn raft_04_a_leader_is_cut_off<H: Harness>(bench: Bench<H>) {
    let (nodes, groups) = three(&bench).await;
    bench.soon(groups[0].execute(1)).await.expect("in force");
    // Not in the middle of a change: then the old set has to agree, too.
    let voters = groups
        .iter()
        .map(|group| group.when().status_is(|status| (status.tolerates == 1).then_some(())));
    bench.soon(join_all(voters)).await;
    let (_, cut, _) = bench.soon(select_all(groups.iter().map(|g| g.when().is_leader()))).await;
    let others = [(cut + 1) % 3, (cut + 2) % 3];
    others.iter().for_each(|other| bench.cut(&nodes[cut], &nodes[*other]));
    let lost = groups[cut].execute(1_000);
    let before = nodes[cut].local().id();
    for other in others {
        let leads = move |leader| (leader != before).then_some(());
        let led = groups[other].when().status_is(move |status| status.leader.and_then(leads));
        bench.soon(led).await;
        bench.soon(groups[other].execute(1)).await.expect("two of three");
    }
    bench.soon(groups[cut].when().offline()).await;
    let read = bench.soon(groups[cut].query((), Consistency::Strong)).await;
    assert!(matches!(read, Err(QueryError::Offline(()))), "{read:?}");
    others.iter().for_each(|other| bench.mend(&nodes[cut], &nodes[*other]));
    // Whatever became of it, all members agree.
    let counted = match bench.soon(lost).await {
        Ok(_) => 1,
        Err(CommandError::Offline(_)) => 0,
        Err(other) => panic!("{other:?}"),
    };
    bench.soon(groups[cut].when().online()).await;
    for group in &groups {
        let read = bench.soon(group.query((), Consistency::Strong)).await;
        assert_eq!(read.expect("served").into(), 3 + 1_000 * counted);
    }
}

/// NODE-02, GRP-24: whatever was under way when a node shuts down resolves, and nothing of it keeps
/// running; the others go on.
pub async fn grp_24_shutdown_with_calls_in_flight<H: Harness>(bench: Bench<H>) {
    let (nodes, groups) = three(&bench).await;
    bench.soon(groups[0].execute(1)).await.expect("in force");
    let commands: Vec<_> = (0..100).map(|_| groups[0].execute(1)).collect();
    let reads: Vec<_> = (0..100).map(|_| groups[0].query((), Consistency::Strong)).collect();
    let (offline, closed) = (groups[0].when().offline(), groups[0].when().closed());
    let me = nodes[0].local().id();
    bench.soon(nodes[0].shutdown()).await;
    let outcomes = bench.soon(join_all(commands)).await;
    let sure = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as i64;
    let perhaps = outcomes.iter().filter(|o| matches!(o, Err(CommandError::Unknown(_)))).count();
    bench.soon(join_all(reads)).await;
    bench.soon(offline).await;
    bench.soon(closed).await;
    let refused = bench.soon(groups[0].execute(1)).await;
    assert!(matches!(refused, Err(CommandError::GroupTerminated)), "{refused:?}");
    bench.until(|| bench.tasks(me) == 0).await;
    for group in &groups[1..] {
        bench.soon(group.when().online()).await;
        let read = bench.soon(group.query((), Consistency::Strong)).await;
        let value = read.expect("served").into();
        assert!((1 + sure..=1 + sure + perhaps as i64).contains(&value), "{value} of {sure}");
    }
}
