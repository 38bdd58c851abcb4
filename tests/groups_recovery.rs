//! Stores that were lost or damaged, and what brings the group back.

mod common;
#[path = "groups/counter.rs"]
mod counter;
#[path = "support/scratch.rs"]
mod scratch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{discover_all, quiet, shy, soon};
use counter::{Counter, value};
use futures::future::join_all;
use mosaik::{
    groups::{Blocked, Notice, Status},
    *,
};
use scratch::Scratch;

/// Three members with a directory each.
struct Trio {
    id: NetworkId,
    key: GroupKey,
    dirs: Scratch,
    nodes: Vec<Network>,
    groups: Vec<Group<Counter>>,
}

impl Trio {
    async fn start() -> Self {
        let mut trio = Self {
            id: NetworkId::random(),
            key: GroupKey::random(),
            dirs: Scratch::new(),
            nodes: Vec::new(),
            groups: Vec::new(),
        };
        trio.restart().await;
        join_all(trio.groups.iter().map(|group| soon(group.when().online()))).await;
        soon(trio.groups[0].execute_many([1; 10])).await.expect("in force");
        trio.is_safe().await;
        trio
    }

    fn dir(&self, at: usize) -> PathBuf {
        self.dirs.path().join(at.to_string())
    }

    /// Nodes with the keys and directories that they had.
    async fn restart(&mut self) {
        let node = |at: usize| {
            let key = SecretKey::from_bytes(&[at as u8 + 1; 32]);
            let builder = Network::builder(self.id).with_secret_key(key).with_discovery(shy());
            soon(builder.build())
        };
        let nodes = join_all((0..3).map(node)).await;
        self.nodes = nodes.into_iter().map(|node| node.expect("a node")).collect();
        discover_all(&self.nodes).await;
        let join = |(at, node): (usize, &Network)| {
            let builder = node.groups().with_key(self.key).with_state_machine(Counter::default());
            builder.with_data_dir(self.dir(at)).join()
        };
        self.groups = self.nodes.iter().enumerate().map(join).collect();
    }

    async fn stop(&mut self) {
        self.groups.clear();
        join_all(self.nodes.drain(..).map(|node| async move { soon(node.shutdown()).await })).await;
    }

    /// Every member votes, and has everything.
    async fn is_safe(&self) {
        let safe = |status: &Status| status.tolerates == 1 && status.voters.len() == 3;
        let safe = |group: &Group<Counter>| {
            soon(group.when().status_is(move |status| safe(status).then_some(())))
        };
        join_all(self.groups.iter().map(safe)).await;
    }

    fn seat_id(&self, at: usize) -> groups::SeatId {
        self.groups[at].status().seat.expect("it takes part").id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_that_lost_their_stores_elect_nobody_until_an_operator_says_so() {
    let mut trio = Trio::start().await;
    trio.stop().await;
    for lost in [1, 2] {
        fs::remove_dir_all(trio.dir(lost)).expect("deleted");
    }
    trio.restart().await;
    let needs = |status: &Status| match &status.blocked {
        Some(Blocked::NeedsRecovery { lost }) => Some(lost.clone()),
        _ => None,
    };
    let mut lost = soon(trio.groups[0].when().status_is(needs)).await;
    lost.sort();
    let mut named: Vec<_> = trio.nodes[1..].iter().map(|node| node.local().id()).collect();
    named.sort();
    assert_eq!(lost, named, "status() says who is missed");
    let waits = trio.groups[1].execute(1);
    let elected = trio.groups.iter().map(|group| group.when().leader_elected());
    let elected = futures::future::select_all(elected);
    quiet(std::time::Duration::from_secs(6), elected).await;

    soon(trio.groups[0].recover(named)).await.expect("recovered");
    soon(trio.groups[0].when().online()).await;
    assert_eq!(value(&trio.groups[0]).await, 10, "what the survivor had is in force");
    // A command that was waiting meanwhile ends, one way or the other.
    let sum = if soon(waits).await.is_ok() { 11 } else { 10 };
    soon(trio.groups[2].execute(1)).await.expect("served again");
    for group in &trio.groups {
        soon(group.when().online()).await;
        // A member that is online may be behind what another acknowledged just now: not for this query.
        let value: i64 = soon(group.query((), Strong)).await.expect("served").into();
        assert_eq!(value, sum + 1);
    }
    trio.is_safe().await;
}

/// Those with something in them.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if fs::metadata(&path).expect("its size").len() > 0 {
            all.push(path);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_any_file_is_found_and_the_member_refilled() {
    let mut trio = Trio::start().await;
    let (at, mut sum) = (2, 10);
    // Where in the file, in parts of eight: its first byte, its last, and between.
    for place in [0, 1, 3, 4, 6, 8] {
        let before = trio.seat_id(at);
        trio.stop().await;
        let all = files(&trio.dir(at));
        assert!(!all.is_empty(), "it has a store");
        for file in &all {
            let mut bytes = fs::read(file).expect("readable");
            let place = (bytes.len() - 1) * place / 8;
            bytes[place] ^= 0x10;
            fs::write(file, bytes).expect("writable");
        }
        trio.restart().await;
        let mut notices = trio.groups[at].notices().with_history();
        soon(trio.groups[at].when().online()).await;
        assert_eq!(value(&trio.groups[at]).await, sum, "{place}");
        soon(trio.groups[at].execute(1)).await.expect("in force");
        sum += 1;
        assert_ne!(trio.seat_id(at), before, "never adopted: {place}");
        let lost = soon(notices.recv()).await;
        assert!(matches!(lost, Ok(Notice::StoreLost(_))), "{place}: {lost:?}");
        trio.is_safe().await;
    }
}
