//! A recorder of metrics that keeps every counter of the process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use mosaik::{Network, primitives::Short};

static COUNTERS: Mutex<BTreeMap<String, Arc<AtomicU64>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Counters;

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = COUNTERS.lock().expect("no panic");
        Counter::from_arc(Arc::clone(counters.entry(name_of(key)).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn name_of(key: &Key) -> String {
    let mut labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
    labels.sort();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

/// Keeps counters from now on: before the first node of the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| metrics::set_global_recorder(Counters).expect("the first recorder"));
}

/// What the nodes of a network have counted under a name; `reason` may be empty.
pub(crate) fn counted(node: &Network, name: &str, reason: &str) -> u64 {
    let network = Short(node.network_id());
    let labels = match reason {
        "" => format!("network={network}"),
        reason => format!("network={network},reason={reason}"),
    };
    let counters = COUNTERS.lock().expect("no panic");
    let counter = counters.get(&format!("{name}{{{labels}}}"));
    counter.unwrap_or_else(|| panic!("nobody counts {name} {labels}")).load(Ordering::Relaxed)
}

/// How many links the nodes of a network refused for this reason.
pub(crate) fn refused(node: &Network, reason: &str) -> u64 {
    counted(node, "mosaik.links.refused", reason)
}
