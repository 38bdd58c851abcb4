//! What is measured: data, and flows of them that can be switched on and off.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mosaik::{Bytes, Datum};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// A datum that carries its number, so that its receiver can check that none is missing.
pub(crate) trait Load: Datum + Clone {
    /// Bytes of its encoding.
    const BYTES: usize;
    /// As rows are named.
    const NAME: &'static str;
    /// The first of a kind.
    fn first() -> Self;
    /// The same with another number.
    fn numbered(&self, number: u64) -> Self;
    /// Its number.
    fn number(&self) -> u64;
}

/// 32 bytes: four fixed fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Small {
    number: f64,
    fields: (f64, f64, f64),
}

impl Load for Small {
    const BYTES: usize = 32;
    const NAME: &'static str = "32B";

    fn first() -> Self {
        Self { number: 0.0, fields: (1.0, 2.0, 3.0) }
    }

    fn numbered(&self, number: u64) -> Self {
        Self { number: number as f64, ..*self }
    }

    fn number(&self) -> u64 {
        self.number as u64
    }
}

/// A number and `BODY` bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blob<const BODY: usize> {
    number: f64,
    body: Bytes,
}

/// 1 KiB with number and length.
pub(crate) type Medium = Blob<1_014>;
/// 64 KiB with number and length.
pub(crate) type Large = Blob<65_525>;

impl<const BODY: usize> Load for Blob<BODY> {
    const BYTES: usize = 8 + if BODY < 0x4000 { 2 } else { 3 } + BODY;
    const NAME: &'static str = if BODY < 0x4000 { "1KiB" } else { "64KiB" };

    fn first() -> Self {
        Self { number: 0.0, body: vec![7; BODY].into() }
    }

    fn numbered(&self, number: u64) -> Self {
        Self { number: number as f64, body: self.body.clone() }
    }

    fn number(&self) -> u64 {
        self.number as u64
    }
}

/// Bytes in one write of the raw side, and so many items between two looks at the gate.
pub(crate) const PACK: usize = 64 * 1024;

/// Senders send while it is open.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Receiver<bool>);

impl Gate {
    pub(crate) fn new(gate: &watch::Sender<bool>) -> Self {
        Self(gate.subscribe())
    }

    pub(crate) async fn opened(&mut self) {
        if !*self.0.borrow() && self.0.wait_for(|open| *open).await.is_err() {
            std::future::pending().await
        }
    }
}

/// One side of a comparison: senders behind a gate, receivers that count.
pub(crate) struct Side {
    gate: watch::Sender<bool>,
    counts: Vec<Arc<AtomicU64>>,
    pub(crate) tasks: JoinSet<()>,
    /// Nodes and endpoints, alive as long as the side is.
    pub(crate) keep: Vec<Box<dyn Any>>,
    /// Processor time and items of all measurements.
    cpu: (Duration, u64),
}

impl Side {
    pub(crate) fn new() -> Self {
        Self {
            gate: watch::Sender::new(false),
            counts: Vec::new(),
            tasks: JoinSet::new(),
            keep: Vec::new(),
            cpu: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::new(&self.gate)
    }

    /// A counter of received items; each belongs to one receiver.
    pub(crate) fn counter(&mut self) -> Arc<AtomicU64> {
        let counter = Arc::new(AtomicU64::new(0));
        self.counts.push(Arc::clone(&counter));
        counter
    }

    /// Items per second, over all receivers.
    pub(crate) async fn rate(&mut self, warm: Duration, time: Duration) -> f64 {
        self.gate.send_replace(true);
        sleep(warm).await;
        let (start, cpu, before) = (Instant::now(), cpu_time(), self.received());
        sleep(time).await;
        let (elapsed, after) = (start.elapsed(), self.received());
        self.cpu.0 += cpu_time().saturating_sub(cpu);
        self.cpu.1 += after - before;
        self.gate.send_replace(false);
        self.rest().await;
        (after - before) as f64 / elapsed.as_secs_f64()
    }

    /// Nanoseconds of processor time per item, user and system, of the whole process.
    pub(crate) fn cpu_per_item(&self) -> f64 {
        self.cpu.0.as_nanos() as f64 / self.cpu.1.max(1) as f64
    }

    /// Waits until nothing is under way any more.
    async fn rest(&self) {
        let mut before = u64::MAX;
        while before != self.received() {
            before = self.received();
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn received(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Checks the number of an item and counts it.
pub(crate) fn receive(count: &AtomicU64, number: u64) {
    let expected = count.load(Ordering::Relaxed);
    assert_eq!(number, expected, "an item is missing or came twice");
    count.store(expected + 1, Ordering::Relaxed);
}

/// Processor time of this process so far, in steps of 10 ms.
pub(crate) fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}
