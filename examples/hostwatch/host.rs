//! What this host can say of itself; without `/proc` that is less.

use std::{fs, str::FromStr, time::Duration};

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
    /// The part of the memory that is in use, in percent.
    pub(crate) memory: Option<f64>,
    /// Bytes since the host started, through all network interfaces but the loopback.
    pub(crate) received: Option<u64>,
    pub(crate) sent: Option<u64>,
    /// Seconds since this hostwatch started; with the bytes of two readings it gives their rate.
    pub(crate) uptime: f64,
}

impl Reading {
    pub(crate) fn take(peer: PeerId, name: String, uptime: Duration) -> Self {
        let loads = read("/proc/loadavg"); // 0.20 0.18 0.12 1/80 11206
        let meminfo = read("/proc/meminfo"); // MemTotal:  1048576 kB
        let memory = |what| meminfo.lines().find_map(|line| word(line.strip_prefix(what)?, 0));
        let used = |(total, free): (f64, f64)| 100.0 * (1.0 - free / total);
        // eth0: and the bytes received, seven numbers more, the bytes sent, …
        let traffic = read("/proc/net/dev");
        let interfaces = || traffic.lines().filter_map(|line| line.split_once(':'));
        let bytes = |column| {
            let outside = interfaces().filter(|(name, _)| name.trim() != "lo");
            outside.filter_map(|(_, line)| word::<u64>(line, column)).reduce(|a, b| a + b)
        };
        Self {
            peer,
            name,
            load1: word(&loads, 0),
            load5: word(&loads, 1),
            load15: word(&loads, 2),
            memory: memory("MemTotal:").zip(memory("MemAvailable:")).map(used),
            received: bytes(0),
            sent: bytes(8),
            uptime: uptime.as_secs_f64(),
        }
    }
}

/// The name of this host.
pub(crate) fn name() -> String {
    word(&read("/proc/sys/kernel/hostname"), 0).unwrap_or_else(|| "unnamed".to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn word<T: FromStr>(line: &str, column: usize) -> Option<T> {
    line.split_whitespace().nth(column)?.parse().ok()
}
