//! The readings of all hosts, and how they are shown.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use mosaik::PeerId;
use serde::Serialize;

use crate::host::Reading;

/// How many hosts a table has room for.
const ROWS: usize = 20;

/// What is known of everyone.
pub(crate) struct Board {
    style: Style,
    hosts: BTreeMap<PeerId, Host>,
    /// Lines of the table that is on the screen.
    drawn: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// A table that is drawn in place, for a terminal.
    Table,
    /// A line for every event, for a file or a pipe.
    Lines,
    /// The same as objects.
    Json,
}

struct Host {
    reading: Reading,
    at: Instant,
    /// Bytes received and sent in a second.
    rates: Option<(f64, f64)>,
}

/// An event as JSON.
#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    #[serde(flatten)]
    reading: &'a Reading,
}

impl Board {
    pub(crate) fn new(json: bool) -> Self {
        let style = match json {
            true => Style::Json,
            false if io::stdout().is_terminal() => Style::Table,
            false => Style::Lines,
        };
        Self { style, hosts: BTreeMap::new(), drawn: 0 }
    }

    /// A host has spoken, perhaps for the first time.
    pub(crate) fn reading(&mut self, reading: Reading) -> io::Result<()> {
        let peer = reading.peer;
        let before = self.hosts.get(&peer);
        let (rates, new) = (before.and_then(|host| host.rates(&reading)), before.is_none());
        self.hosts.insert(peer, Host { reading, at: Instant::now(), rates });
        let host = &self.hosts[&peer];
        if new {
            self.say("joined", host)?;
        }
        self.say("reading", host)
    }

    /// A host is not there any more.
    pub(crate) fn left(&mut self, peer: &PeerId) -> io::Result<()> {
        self.hosts.remove(peer).map_or(Ok(()), |host| self.say("left", &host))
    }

    /// Those for whom this is not true are not there any more.
    pub(crate) fn retain(&mut self, there: impl Fn(&PeerId) -> bool) -> io::Result<()> {
        let gone: Vec<_> = self.hosts.keys().copied().filter(|peer| !there(peer)).collect();
        gone.iter().try_for_each(|peer| self.left(peer))
    }

    /// Brings the table up to date.
    pub(crate) fn draw(&mut self) -> io::Result<()> {
        if self.style != Style::Table {
            return Ok(());
        }
        let mut hosts: Vec<_> = self.hosts.values().collect();
        hosts.sort_by_key(|host| (&host.reading.name, host.reading.peer));
        let mut lines = vec![format!("\x1b[1m{HEADINGS}\x1b[0m")];
        lines.extend(hosts.iter().take(ROWS).map(|host| match host.at.elapsed().as_secs() {
            0..5 => host.row(),
            _ => format!("\x1b[2m{}\x1b[0m", host.row()),
        }));
        if hosts.len() > ROWS {
            lines.push(format!("and {} more", hosts.len() - ROWS));
        }
        // Back to the table's first line, and from there on everything anew.
        let up = match std::mem::replace(&mut self.drawn, lines.len()) {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A\x1b[J"),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{up}{}", lines.join("\n"))?;
        out.flush()
    }

    fn say(&self, event: &str, host: &Host) -> io::Result<()> {
        let line = match self.style {
            Style::Table => return Ok(()),
            Style::Lines => format!("{event:<8} {}", host.row()),
            Style::Json => serde_json::to_string(&Line { event, reading: &host.reading })?,
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }
}

const HEADINGS: &str =
    "NAME              PEER        LOAD1  LOAD5 LOAD15   MEM     RX/S     TX/S   AGE";

impl Host {
    fn rates(&self, next: &Reading) -> Option<(f64, f64)> {
        let seconds = next.uptime - self.reading.uptime;
        let rate = |old: Option<u64>, new: Option<u64>| {
            Some(new?.saturating_sub(old?) as f64 / seconds).filter(|_| seconds > 0.0)
        };
        let received = rate(self.reading.received, next.received)?;
        Some((received, rate(self.reading.sent, next.sent)?))
    }

    /// One line under the headings: 79 columns.
    fn row(&self) -> String {
        let Reading { peer, name, load1, load5, load15, .. } = &self.reading;
        // The name is whatever another host says it is, and may hold anything.
        let name: String = name.chars().filter(|c| !c.is_control()).take(16).collect();
        let peer = &peer.to_string()[..10];
        let [load1, load5, load15] =
            [load1, load5, load15].map(|load| shown(*load, |load| format!("{load:.2}")));
        let memory = self.reading.memory_used.zip(self.reading.memory_total);
        let memory = shown(memory, |(used, total)| format!("{}%", used * 100 / total.max(1)));
        let received = shown(self.rates, |(received, _)| scaled(received));
        let sent = shown(self.rates, |(_, sent)| scaled(sent));
        let age = format!("{}s", self.at.elapsed().as_secs());
        format!(
            "{name:<16}  {peer:<10} {load1:>6} {load5:>6} {load15:>6} \
             {memory:>5} {received:>8} {sent:>8} {age:>5}"
        )
    }
}

fn shown<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A number of bytes as people read it.
fn scaled(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB"];
    let step = (bytes.max(1.0).log10() / 3.0).min(3.0) as usize;
    format!("{:.*} {}", usize::from(step > 0), bytes / 1000f64.powi(step as i32), units[step])
}
