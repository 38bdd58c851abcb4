//! What is counted of groups, under the names that are promised.

mod common;
#[path = "groups/counter.rs"]
mod counter;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{eventually, nodes, soon};
use counter::counters;
use futures::future::join_all;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// The latest value of a gauge, the sum of a counter, the number of values of a histogram.
#[derive(Debug, Default)]
struct Value(AtomicU64);

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    fn decrement(&self, by: f64) {
        self.0.fetch_sub(by as u64, Ordering::Relaxed);
    }

    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::Relaxed);
    }
}

impl HistogramFn for Value {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// By name and labels.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<BTreeMap<String, Arc<Value>>>>);

impl Board {
    fn slot(&self, key: &Key) -> Arc<Value> {
        let mut labels: Vec<_> = key.labels().map(metrics::Label::key).collect();
        labels.sort_unstable();
        let name = format!("{}{labels:?}", key.name());
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(board.entry(name).or_default())
    }

    fn get(&self, name: &str) -> Option<u64> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(name).map(|value| value.0.load(Ordering::Relaxed))
    }
}

impl Recorder for Board {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.slot(key))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_counted_under_the_promised_names() {
    let board = Board::default();
    metrics::set_global_recorder(board.clone()).expect("the only recorder of this process");
    let nodes = nodes::<3>().await;
    let groups = counters(&nodes);
    join_all(groups.iter().map(|group| soon(group.when().online()))).await;
    for group in &groups {
        soon(group.execute(1)).await.expect("in force");
        soon(group.when().status_is(|status| (status.tolerates == 1).then_some(()))).await;
    }
    let of_group = |name: &str| format!("mosaik.groups.{name}[\"group\", \"network\"]");
    let seen = |name: &str| board.get(&of_group(name));
    for name in [
        "bonds.bytes.sent",
        "bonds.bytes.received",
        "bonds.messages.sent",
        "bonds.messages.received",
        "raft.leader.changes",
        "commit.seconds",
        "batch.commands",
    ] {
        eventually(|| seen(name).is_some_and(|value| value > 0)).await;
    }
    for (name, value) in [
        ("bonds.active", 2),
        ("raft.committed", 3),
        ("raft.committee.voters", 3),
        ("raft.committee.non_voters", 0),
        ("raft.committee.size", 3),
        ("commands.rejected", 0),
        ("commands.unknown", 0),
    ] {
        eventually(|| seen(name) == Some(value)).await;
    }
    assert!(seen("raft.elections").is_some());
    assert_eq!(board.get("mosaik.groups.active[\"network\"]"), Some(1));
    drop(groups);
    eventually(|| board.get("mosaik.groups.active[\"network\"]") == Some(0)).await;
}
