//! What this host can say of itself. On systems without `/proc` that is less.

use std::{env, fs, time::Instant};

use mosaik::PeerId;
use serde::{Deserialize, Serialize};

/// One reading of one host. What it could not find out is `None`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Who says so: a consumer gets the items of all producers and is not told whose they are.
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    pub(crate) load1: Option<f64>,
    pub(crate) load5: Option<f64>,
    pub(crate) load15: Option<f64>,
    pub(crate) memory_total: Option<u64>,
    pub(crate) memory_used: Option<u64>,
    /// Bytes through all network interfaces but the loopback, since the host started.
    pub(crate) received: Option<u64>,
    pub(crate) sent: Option<u64>,
    /// When this was, in seconds since its hostwatch started: rates are differences of readings.
    pub(crate) uptime: f64,
}

impl Reading {
    pub(crate) fn take(peer: PeerId, name: &str, started: Instant) -> Self {
        let (total, available) = (memory("MemTotal:"), memory("MemAvailable:"));
        Self {
            peer,
            name: name.to_owned(),
            load1: load(0),
            load5: load(1),
            load15: load(2),
            memory_total: total,
            memory_used: total.zip(available).map(|(total, free)| total.saturating_sub(free)),
            received: traffic(0),
            sent: traffic(8),
            uptime: started.elapsed().as_secs_f64(),
        }
    }
}

/// The name of this host.
pub(crate) fn name() -> String {
    let proc = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = proc.or_else(|| env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// `/proc/loadavg`: `0.20 0.18 0.12 1/80 11206`.
fn load(column: usize) -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().nth(column)?.parse().ok()
}

/// `/proc/meminfo`: lines like `MemTotal:  1048576 kB`. In bytes.
fn memory(what: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(what))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// `/proc/net/dev`: two lines of headings, then `eth0: ` and 16 numbers; the first is the bytes
/// received, the ninth the bytes sent.
fn traffic(column: usize) -> Option<u64> {
    let text = fs::read_to_string("/proc/net/dev").ok()?;
    let interfaces = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    let bytes = interfaces
        .filter(|(name, _)| name.trim() != "lo")
        .filter_map(|(_, numbers)| numbers.split_whitespace().nth(column)?.parse::<u64>().ok());
    Some(bytes.sum())
}
