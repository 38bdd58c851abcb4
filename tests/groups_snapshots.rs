//! Machines that are frozen: logs are compacted, newcomers fetch what the log does not hold any more.

mod common;
#[path = "groups/fragile.rs"]
mod fragile;
#[path = "support/scratch.rs"]
mod scratch;

use std::{error::Error, path::Path, time::Duration};

use common::{discover_all, shy, soon};
use fragile::Full;
use futures::future::join_all;
use mosaik::{
    groups::{ApplyContext, Image, LogReplaySync, SnapshotMachine, SnapshotSync, StateMachine},
    *,
};
use scratch::Scratch;

/// Keeps the sum of what it was given; large commands fill the log.
#[derive(Clone, Debug, Default)]
struct Sum {
    total: u64,
    commands: u64,
    /// What makes its snapshots large.
    ballast: Vec<u8>,
}

impl StateMachine for Sum {
    /// Text, because that is decoded at once.
    type Command = (u64, String);
    type Query = ();
    type QueryResult = (u64, u64);
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("a sum with snapshots")
    }

    fn apply(&mut self, (by, load): (u64, String), _: &dyn ApplyContext) {
        self.total += by;
        self.commands += 1;
        self.ballast.resize(3_000_000, 7);
        let at = self.commands as usize * 1_000 % self.ballast.len();
        self.ballast[at] = load.len() as u8;
    }

    fn query(&self, (): ()) -> (u64, u64) {
        (self.total, self.commands)
    }

    fn state_sync(&self) -> Self::StateSync {
        SnapshotSync::default()
    }

    fn fresh(&self) -> Option<Self> {
        Some(Self::default())
    }

    fn digest(&self) -> Option<Digest> {
        Some(Digest::from_parts(&[&self.total.to_be_bytes()[..], &self.ballast]))
    }
}

impl SnapshotMachine for Sum {
    fn freeze(&self) -> Image {
        let frozen = self.clone();
        Image::later(move |bytes| {
            bytes.extend(frozen.total.to_be_bytes());
            bytes.extend(frozen.commands.to_be_bytes());
            bytes.extend(frozen.ballast);
        })
    }

    fn restore(&self, bytes: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (total, rest) = bytes.split_first_chunk().ok_or("too short")?;
        let (commands, ballast) = rest.split_first_chunk().ok_or("too short")?;
        let (total, commands) = (u64::from_be_bytes(*total), u64::from_be_bytes(*commands));
        Ok(Self { total, commands, ballast: ballast.to_vec() })
    }
}

async fn node(id: NetworkId, name: u8) -> Network {
    let key = SecretKey::from_bytes(&[name; 32]);
    let builder = Network::builder(id).with_secret_key(key).with_discovery(shy());
    soon(builder.build()).await.expect("a node")
}

fn join(node: &Network, key: GroupKey, dir: Option<&Path>) -> Group<Sum> {
    let builder = node.groups().with_key(key).with_state_machine(Sum::default());
    match dir {
        Some(dir) => builder.with_data_dir(dir).join(),
        None => builder.join(),
    }
}

/// More commands than the log keeps.
async fn fill(group: &Group<Sum>) {
    for _ in 0..15 {
        let commands = (0..16).map(|by| (by, "x".repeat(200_000 + by as usize)));
        soon(group.execute_many(commands)).await.expect("in force");
    }
}

async fn applied(group: &Group<Sum>, commands: u64) -> (u64, u64) {
    soon(group.when().committed().reaches(commands)).await;
    soon(group.query((), Weak)).await.expect("weak queries need nobody").into()
}

/// GRP-43: in memory. The newcomer gets the snapshot from members that hold it, and the log behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_fetches_a_snapshot() {
    let (id, key) = (NetworkId::random(), GroupKey::random());
    let mut nodes = join_all((1..=3).map(|name| node(id, name))).await;
    discover_all(&nodes).await;
    let mut groups: Vec<_> = nodes.iter().map(|node| join(node, key, None)).collect();
    soon(groups[0].when().online()).await;
    fill(&groups[0]).await;
    let expected = applied(&groups[0], 240).await;
    assert_eq!(expected, (15 * 120, 240));
    nodes.push(node(id, 4).await);
    discover_all(&nodes).await;
    groups.push(join(&nodes[3], key, None));
    assert_eq!(applied(&groups[3], 240).await, expected);
    soon(groups[3].execute((5, String::new()))).await.expect("it writes");
    for group in &groups {
        assert_eq!(applied(group, 241).await, (15 * 120 + 5, 241));
    }
}

/// GRP-41 (S14): with stores. What was compacted is there after a restart, and applied once.
#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_store_is_restored() {
    let (id, key, dirs) = (NetworkId::random(), GroupKey::random(), Scratch::new());
    let dir = |name: u8| dirs.path().join(name.to_string());
    for round in 1..=2 {
        let nodes = join_all((1..=3).map(|name| node(id, name))).await;
        discover_all(&nodes).await;
        let groups: Vec<_> =
            nodes.iter().zip(1..).map(|(node, name)| join(node, key, Some(&dir(name)))).collect();
        join_all(groups.iter().map(|group| soon(group.when().online()))).await;
        let before: (u64, u64) = soon(groups[1].query((), Strong)).await.expect("served").into();
        assert_eq!(before, ((round - 1) * 15 * 120, (round - 1) * 240));
        fill(&groups[1]).await;
        for group in &groups {
            assert_eq!(applied(group, round * 240).await, (round * 15 * 120, round * 240));
        }
        drop(groups);
        join_all(nodes.iter().map(|node| soon(node.shutdown()))).await;
    }
    // One of them lost its directory: it fetches what it had.
    std::fs::remove_dir_all(dir(2)).expect("deleted");
    let nodes = join_all((1..=3).map(|name| node(id, name))).await;
    discover_all(&nodes).await;
    let groups: Vec<_> =
        nodes.iter().zip(1..).map(|(node, name)| join(node, key, Some(&dir(name)))).collect();
    assert_eq!(applied(&groups[1], 480).await, (2 * 15 * 120, 480));
    soon(groups[1].execute((1, String::new()))).await.expect("it writes");
    for group in &groups {
        assert_eq!(applied(group, 481).await, (2 * 15 * 120 + 1, 481));
    }
}

/// GRP-41: a store that has no room for a snapshot keeps its log; the group does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_snapshots_keeps_its_log() {
    let (id, key, full) = (NetworkId::random(), GroupKey::random(), Full::default());
    let mut nodes = join_all((1..=3).map(|name| node(id, name))).await;
    discover_all(&nodes).await;
    full.refuse_snapshots(true);
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| {
            let builder = node.groups().with_key(key).with_state_machine(Sum::default());
            builder.with_log_storage(full.store()).join()
        })
        .collect();
    soon(groups[0].when().online()).await;
    fill(&groups[0]).await;
    fill(&groups[1]).await;
    for group in &groups {
        assert_eq!(applied(group, 480).await, (2 * 15 * 120, 480));
        let status = group.status();
        assert!(status.online && status.blocked.is_none(), "{status:?}");
    }
    // Where there is room again the next one is kept, and a newcomer gets it.
    full.refuse_snapshots(false);
    fill(&groups[2]).await;
    nodes.push(node(id, 4).await);
    discover_all(&nodes).await;
    let group = join(&nodes[3], key, None);
    assert_eq!(applied(&group, 720).await, (3 * 15 * 120, 720));
}

/// The surface of mosaik 0.4.
#[test]
fn replaying_the_log_is_configured_as_before() {
    struct Nothing;
    impl StateMachine for Nothing {
        type Command = u8;
        type Query = ();
        type QueryResult = ();
        type StateSync = LogReplaySync<Self>;
        fn signature(&self) -> UniqueId {
            id!("nothing")
        }
        fn apply(&mut self, _: u8, _: &dyn ApplyContext) {}
        fn query(&self, (): ()) {}
        fn state_sync(&self) -> Self::StateSync {
            let entries = std::num::NonZeroU64::new(100).expect("not zero");
            LogReplaySync::default()
                .with_batch_size(entries)
                .with_fetch_timeout(Duration::from_secs(9))
        }
    }
    use mosaik::groups::StateSync as _;
    assert!(!Nothing.state_sync().has_snapshots());
    assert_ne!(Nothing.state_sync().signature(), LogReplaySync::<Nothing>::default().signature());
}
