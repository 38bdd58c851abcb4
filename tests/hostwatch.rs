//! The hostwatch example as real processes: on one host, on three, and in two networks.

#![cfg(unix)]

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Hosts, Process, RuntimeDir, example, unique};

/// For what has no figure of its own.
const PATIENCE: Duration = Duration::from_secs(30);

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Where processes run: on this host or on three, but always with one file system.
struct Site {
    network: String,
    runtime: RuntimeDir,
    hosts: Option<Hosts>,
}

impl Site {
    fn new(hosts: Option<Hosts>) -> Self {
        Self { network: unique("hostwatch"), runtime: RuntimeDir::new(), hosts }
    }

    /// Starts one of three processes. Its name and its number give it its identity.
    fn start(&self, index: u8, bootstrap: Option<&str>) -> Hostwatch {
        self.start_in(&self.network, index, bootstrap)
    }

    fn start_in(&self, network: &str, index: u8, bootstrap: Option<&str>) -> Hostwatch {
        let more: Vec<_> = bootstrap.iter().flat_map(|peer| ["--bootstrap", peer]).collect();
        self.start_with(network, index, &more)
    }

    fn start_with(&self, network: &str, index: u8, more: &[&str]) -> Hostwatch {
        let program = example("hostwatch");
        let mut command = match &self.hosts {
            Some(hosts) => hosts.command(index, program),
            None => Command::new(program),
        };
        let name = format!("{network}:{index}");
        command
            .args(["--json", "--name", &name, "--network", network, "--secret", &name])
            // Nothing outlives a test that was killed by much.
            .args(["--for", "120"])
            .args(more)
            .env("MOSAIK_RUNTIME_DIR", self.runtime.path())
            .env("RUST_LOG", "mosaik=debug,mosaik_driver=debug,mosaik_proto=debug");
        Hostwatch { process: Process::start(&name, &mut command), name }
    }

    /// What others can find this process by, where it takes that.
    fn bootstrap(&self, watch: &Hostwatch, index: u8) -> Option<String> {
        let addr = self.hosts.as_ref()?.addr(index).to_string();
        Some(watch.address(&addr))
    }
}

struct Hostwatch {
    process: Process,
    name: String,
}

impl Hostwatch {
    /// Waits until so many such events of that process were printed; how many there are then.
    fn sees(&self, event: &str, of: &str, times: usize, deadline: Instant) -> usize {
        let what = format!("{event} {of}, {times} times");
        self.process.find(&what, deadline, |lines| {
            let count = count(lines, event, of);
            (count >= times).then_some(count)
        })
    }

    /// How many such events of that process were printed until now.
    fn count(&self, event: &str, of: &str) -> usize {
        self.process.find("", Instant::now(), |lines| Some(count(lines, event, of)))
    }

    /// `<peer>@<addr>` with an address that begins so, as the process introduced itself.
    fn address(&self, addr: &str) -> String {
        self.process.find_err(addr, Instant::now() + PATIENCE, |lines| {
            let mut words = lines.iter().flat_map(|line| line.split(' '));
            let at = format!("@{addr}");
            words.find(|word| word.contains(&at)).map(str::to_owned)
        })
    }

    /// The names of its threads.
    fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.pid()));
        let names = tasks.expect("a process has threads").filter_map(|task| {
            std::fs::read_to_string(task.expect("a thread").path().join("comm")).ok()
        });
        names.collect()
    }

    /// Ends the process by a signal that it minds; it leaves in good order.
    fn stop(mut self, signal: &str) {
        self.process.signal(signal);
        let status = self.process.exited(Instant::now() + PATIENCE);
        assert_eq!(status.code(), Some(0), "{} ends well", self.name);
    }
}

fn count(lines: &[String], event: &str, name: &str) -> usize {
    lines.iter().filter(|line| parse(line) == (event.to_owned(), name.to_owned())).count()
}

/// The event and the name in a line, and whether it is as promised.
fn parse(line: &str) -> (String, String) {
    assert!(line.starts_with(r#"{"event":""#) && !line.contains(' '), "{line}");
    let object: Value = serde_json::from_str(line).expect(line);
    let peer = object["peer"].as_str().expect(line);
    assert!(peer.len() == 64 && peer.chars().all(|digit| digit.is_ascii_hexdigit()), "{line}");
    assert!(object["load1"].is_number() || cfg!(not(target_os = "linux")), "{line}");
    let text = |key: &str| object[key].as_str().expect(line).to_owned();
    (text("event"), text("name"))
}

/// Three processes find each other; one leaves, one dies and comes back.
fn comings_and_goings(site: &Site) {
    let first = site.start(0, None);
    let known = site.bootstrap(&first, 0);
    let second = site.start(1, known.as_deref());
    let third = site.start(2, known.as_deref());
    let deadline = after(10);
    let names = [&first, &second, &third].map(|watch| watch.name.clone());
    for watch in [&first, &second, &third] {
        for name in &names {
            watch.sees("reading", name, 1, deadline);
            assert_eq!(watch.count("joined", name), 1, "{name} at {}", watch.name);
        }
    }

    let deadline = after(3);
    third.process.signal("INT");
    first.sees("left", &names[2], 1, deadline);
    second.sees("left", &names[2], 1, deadline);
    third.stop("INT");

    let deadline = after(15);
    second.process.signal("KILL");
    first.sees("left", &names[1], 1, deadline);
    drop(second);

    let readings = first.count("reading", &names[1]);
    let second = site.start(1, known.as_deref());
    let deadline = after(10);
    first.sees("joined", &names[1], 2, deadline);
    second.sees("joined", &names[0], 1, deadline);
    // Whatever happens twice happens while these arrive.
    first.sees("reading", &names[1], readings + 4, Instant::now() + PATIENCE);
    for (watch, event, name, times) in [
        (&first, "joined", &names[1], 2),
        (&first, "left", &names[1], 1),
        (&first, "joined", &names[2], 1),
        (&first, "left", &names[2], 1),
        (&second, "joined", &names[0], 1),
        (&second, "left", &names[0], 0),
        (&second, "joined", &names[2], 0),
    ] {
        assert_eq!(watch.count(event, name), times, "{} {event} {name}", watch.name);
    }
    second.stop("TERM");
    first.sees("left", &names[1], 2, Instant::now() + PATIENCE);
    first.stop("INT");
}

#[test]
fn three_processes_on_one_host() {
    comings_and_goings(&Site::new(None));
}

#[test]
fn three_hosts_with_one_bootstrap_peer() {
    match Hosts::new(3) {
        Ok(hosts) => comings_and_goings(&Site::new(Some(hosts))),
        Err(reason) => println!("skipped, no network namespaces here: {reason}"),
    }
}

#[test]
fn networks_never_see_each_other() {
    let site = Site::new(None);
    let networks = [unique("red"), unique("blue")];
    let red = site.start_in(&networks[0], 0, None);
    // Even one who is told.
    let blue = site.start_in(&networks[1], 0, Some(&red.address("127.0.0.1")));
    let also_red = site.start_in(&networks[0], 1, None);
    let also_blue = site.start_in(&networks[1], 1, None);
    let sides = [[&red, &also_red], [&blue, &also_blue]];
    for [one, other] in sides {
        one.sees("reading", &other.name, 4, Instant::now() + PATIENCE);
        other.sees("reading", &one.name, 4, Instant::now() + PATIENCE);
    }
    for (ours, theirs) in [(sides[0], sides[1]), (sides[1], sides[0])] {
        for watch in ours {
            let strangers = theirs.map(|stranger| watch.count("joined", &stranger.name));
            assert_eq!(strangers, [0, 0], "at {}", watch.name);
        }
    }
}

/// One process on tokio and one on smol see each other's readings.
#[test]
fn runtimes_do_not_notice_each_other() {
    let site = Site::new(None);
    let start = |index, runtime| site.start_with(&site.network, index, &["--runtime", runtime]);
    let (tokio, smol) = (start(0, "tokio"), start(1, "smol"));
    for (one, other) in [(&tokio, &smol), (&smol, &tokio)] {
        one.sees("reading", &other.name, 4, Instant::now() + PATIENCE);
        assert_eq!(one.count("joined", &other.name), 1, "at {}", one.name);
    }
    if cfg!(target_os = "linux") {
        let on_tokio = |name: &String| name.starts_with("tokio");
        let (there, here) = (tokio.threads(), smol.threads());
        assert!(there.iter().any(on_tokio), "{there:?}");
        assert!(!here.iter().any(on_tokio), "{here:?}");
        assert!(here.iter().any(|name| name.starts_with("mosaik-smol")), "{here:?}");
    }
    // Each leaves in good order, and the other hears of it.
    let deadline = after(3);
    smol.process.signal("TERM");
    tokio.sees("left", &smol.name, 1, deadline);
    smol.stop("TERM");
    let smol = start(1, "smol");
    smol.sees("reading", &tokio.name, 1, Instant::now() + PATIENCE);
    let deadline = after(3);
    tokio.process.signal("INT");
    smol.sees("left", &tokio.name, 1, deadline);
    tokio.stop("INT");
    smol.stop("INT");
}
