//! Durable members in processes of their own are killed and started again while clients use them:
//! nothing that was acknowledged is lost, nothing is applied twice, and clients see one copy.
//!
//! Here for ten seconds; for five minutes with 200 clients: `cargo run --release -p mosaik-sim -- soak`, and
//! the same with `--cut one-way` and `--cut two-way`.

#![cfg(unix)]

mod support;

use std::{process::Command, time::Duration};

use mosaik_sim::soak::{self, Cut, Options, Place};
use support::{Hosts, RuntimeDir, example, unique};

/// Members.
const MEMBERS: usize = 3;

/// Short, and with room for a busy machine: how fast a group comes back is measured by the command.
fn options(seed: u64, dir: &RuntimeDir) -> Options {
    Options {
        members: MEMBERS,
        clients: 30,
        keys: 20,
        time: Duration::from_secs(10),
        pause: Duration::from_millis(30),
        every: (Duration::from_millis(200), Duration::from_secs(1)),
        down: (Duration::from_millis(10), Duration::from_millis(300)),
        cut_off: (Duration::from_secs(1), Duration::from_secs(6)),
        stall: Duration::from_secs(60),
        ..Options::new(seed, dir.path().to_owned())
    }
}

fn run(options: &Options, hosts: Option<&Hosts>) -> soak::Summary {
    let (program, name) = (example("soak_member"), unique("soak"));
    let launch = |place: &Place<'_>| {
        let (mut command, bind) = match place.host {
            Some((hosts, index)) => (hosts.command(index, &program), hosts.addr(index).to_string()),
            None => (Command::new(&program), "127.0.0.1".to_owned()),
        };
        let secret = format!("{name} {}", place.index);
        command.args(["--network", &name, "--secret", &secret, "--bind", &bind]);
        command.args(["--founders", &MEMBERS.to_string(), "--dir"]).arg(&place.dir);
        command
    };
    let summary = soak::run(options, hosts, &launch).expect("members start");
    println!("{summary}");
    assert_eq!(summary.failure, None, "{summary}");
    assert!(summary.tally.acknowledged > 0 && summary.tally.reads > 0, "{summary}");
    summary
}

#[test]
fn killed_members_lose_nothing() {
    let dir = RuntimeDir::new();
    let summary = run(&options(1, &dir), None);
    assert!(summary.kills >= 3, "{summary}");
}

#[test]
fn members_that_are_cut_off_lose_nothing() {
    let dir = RuntimeDir::new();
    let hosts = match Hosts::new(MEMBERS as u8) {
        Ok(hosts) => hosts,
        Err(reason) => return println!("skipped, no network namespaces here: {reason}"),
    };
    let options = Options { cut: Some(Cut::OneWay), ..options(2, &dir) };
    let summary = run(&options, Some(&hosts));
    assert!(summary.cuts >= 1, "{summary}");
}
