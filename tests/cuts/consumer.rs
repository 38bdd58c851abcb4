//! The host that consumes.

use std::{fmt, sync::mpsc::Receiver, time::Duration};

use mosaik::{
    discovery::{EndpointAddr, Events},
    streams::StreamEvent,
    *,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{Item, STREAM, support::role::say};

/// How often it says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(50);

/// What a consumer got, by the numbers in the items and by what it was told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) received: u64,
    pub(crate) damaged: u64,
    /// Ranges that are missing among the numbers.
    pub(crate) missing: Vec<(u64, u64)>,
    /// Gaps by its events.
    pub(crate) told: Vec<(u64, u64)>,
    /// Items of gaps, by its own count.
    pub(crate) missed: u64,
    pub(crate) connections: u64,
    /// The longest time without an item, in milliseconds.
    pub(crate) silence_ms: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, missed, missing, connections, silence_ms, .. } = self;
        let gaps = missing.len();
        write!(f, "{received} received, {missed} missed in {gaps} gaps, {connections} ")?;
        write!(f, "connections, longest silence {silence_ms} ms")
    }
}

impl Found {
    /// Takes an item; the number that is expected next.
    fn take(&mut self, item: &Item, next: u64) -> u64 {
        assert!(item.number >= next, "{} after {next}: twice, or out of order", item.number);
        if item.number > next {
            self.missing.push((next, item.number - 1));
        }
        self.received += 1;
        self.damaged += u64::from(!item.is_whole());
        item.number + 1
    }

    fn hear(&mut self, events: &mut Events<StreamEvent>) {
        while let Some(event) = events.try_recv().expect("few events at a time") {
            match event {
                StreamEvent::Gap { first, last, .. } => self.told.push((first, last)),
                StreamEvent::Connected { .. } => self.connections += 1,
                StreamEvent::Restarted { .. } => panic!("nobody restarted"),
                _ => {}
            }
        }
    }
}

/// Reads until the item before the number that it is told at last.
pub(crate) async fn run(network: NetworkId, known: EndpointAddr, told: Receiver<String>) {
    let discovery = discovery::Config::builder().no_auto_bootstrap().with_bootstrap(known);
    let node = Network::builder(network).with_discovery(discovery).build().await.expect("a node");
    let mut consumer = node.streams().consumer::<Item>().with_stream_id(STREAM).build();
    let mut events = consumer.events();
    let mut found = Found::default();
    let (mut next, mut end, mut last) = (0, None, Instant::now());
    let mut say_at = last;
    while end != Some(next) {
        if let Ok(item) = timeout(SAY_EVERY, consumer.next()).await {
            next = found.take(&item.expect("an item"), next);
            found.silence_ms = found.silence_ms.max(last.elapsed().as_millis() as u64);
            last = Instant::now();
        }
        if say_at.elapsed() >= SAY_EVERY {
            say_at = Instant::now();
            println!("at: {next}");
            found.hear(&mut events);
            let line = told.try_recv().ok();
            end = line.and_then(|line| line.strip_prefix("until ")?.parse().ok()).or(end);
        }
    }
    found.hear(&mut events);
    found.missed = consumer.missed();
    say("found", found);
    // The other end counts on us until it has told its gaps; our input ends with the test.
    sleep_until(Instant::now() + Duration::from_secs(600)).await;
}
