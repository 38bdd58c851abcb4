//! The readings of all hosts, and how they are shown.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use mosaik::PeerId;

use crate::host::Reading;

const HEADINGS: &str =
    "NAME             PEER        LOAD1  LOAD5 LOAD15  MEM%  RX kB/s  TX kB/s   AGE";

/// What is known of everyone.
pub(crate) struct Board {
    json: bool,
    /// Drawn in place; otherwise there is a line for every event.
    table: bool,
    /// Lines of the table that is on the screen.
    drawn: usize,
    hosts: BTreeMap<PeerId, Host>,
}

struct Host {
    reading: Reading,
    at: Instant,
    /// Bytes per second.
    received: Option<f64>,
    sent: Option<f64>,
}

/// An event as JSON.
#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'a str,
    #[serde(flatten)]
    reading: &'a Reading,
}

impl Board {
    pub(crate) fn new(json: bool) -> Self {
        let table = !json && io::stdout().is_terminal();
        Self { json, table, drawn: 0, hosts: BTreeMap::new() }
    }

    /// A host has spoken, perhaps for the first time.
    pub(crate) fn reading(&mut self, reading: Reading) -> io::Result<()> {
        let peer = reading.peer;
        let before = self.hosts.remove(&peer);
        let host = Host::new(reading, before.as_ref().map(|host| &host.reading));
        if before.is_none() {
            self.say("joined", &host)?;
        }
        self.say("reading", &host)?;
        self.hosts.insert(peer, host);
        Ok(())
    }

    /// Those for whom this is not true have left.
    pub(crate) fn retain(&mut self, there: impl Fn(&PeerId) -> bool) -> io::Result<()> {
        let gone: Vec<_> = self.hosts.extract_if(.., |peer, _| !there(peer)).collect();
        gone.iter().try_for_each(|(_, host)| self.say("left", host))
    }

    /// Brings the table up to date.
    pub(crate) fn draw(&mut self) -> io::Result<()> {
        if !self.table {
            return Ok(());
        }
        let mut hosts: Vec<_> = self.hosts.values().collect();
        hosts.sort_by_key(|host| &host.reading.name);
        let rows: String = hosts.iter().map(|host| format!("\n{}", host.row())).collect();
        // Back to the headings, and from there on everything anew.
        let back = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.drawn = hosts.len() + 1;
        print(&format!("{back}\x1b[1m{HEADINGS}\x1b[0m{rows}"))
    }

    fn say(&self, event: &str, host: &Host) -> io::Result<()> {
        match (self.json, self.table) {
            (true, _) => print(&serde_json::to_string(&Line { event, reading: &host.reading })?),
            (_, true) => Ok(()),
            _ => print(&format!("{event:<8} {}", host.row())),
        }
    }
}

impl Host {
    fn new(reading: Reading, before: Option<&Reading>) -> Self {
        let rate = |of: fn(&Reading) -> Option<u64>| {
            let seconds = reading.uptime - before?.uptime;
            let bytes = of(&reading)?.saturating_sub(of(before?)?) as f64;
            (seconds > 0.0).then_some(bytes / seconds)
        };
        let (received, sent) = (rate(|r| r.received), rate(|r| r.sent));
        Self { reading, at: Instant::now(), received, sent }
    }

    /// One line under the headings: 79 columns.
    fn row(&self) -> String {
        let now = &self.reading;
        // The name is what another host says it is, and may hold anything.
        let name: String = now.name.chars().filter(|c| !c.is_control()).take(16).collect();
        let loads = [now.load1, now.load5, now.load15];
        let [load1, load5, load15] = loads.map(|load| shown(load, 2));
        let rates = [self.received, self.sent];
        let [received, sent] = rates.map(|rate| shown(rate.map(|bytes| bytes / 1e3), 1));
        format!(
            "{name:<16} {:.10} {load1:>6} {load5:>6} {load15:>6} {:>5} {received:>8} {sent:>8} \
             {:>4}s",
            now.peer.to_string(),
            shown(now.memory, 0),
            self.at.elapsed().as_secs()
        )
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}
