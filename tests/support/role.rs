//! A test program that plays a part of its own test, in a process of its own.
//!
//! The program starts itself again with [`command`]; that process runs the test `role` only, which
//! asks [`role`] what to do. It prints what it finds, is told by lines on its standard input, and
//! ends with that input, so nothing outlives a test that was killed.

use std::{
    env,
    io::{BufRead, stdin},
    process::{Command, exit},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use super::Hosts;

const ROLE: &str = "MOSAIK_TEST_ROLE";

/// Starts this very test program in another role, on this host or on one of `hosts`.
pub(crate) fn command(host: Option<(&Hosts, u8)>, role: &str) -> Command {
    let program = env::current_exe().expect("the test is a file");
    let mut command = match host {
        Some((hosts, index)) => hosts.command(index, program),
        None => Command::new(program),
    };
    command.args(["--exact", "role", "--nocapture", "--test-threads", "1"]).env(ROLE, role);
    command
}

/// The words of the role that this process plays, and the lines that it is told; `None` in the test
/// itself.
pub(crate) fn role() -> Option<(Vec<String>, Receiver<String>)> {
    let role = env::var(ROLE).ok()?;
    // The test harness has begun a line.
    println!();
    let (tell, told) = sync_channel(16);
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
        exit(0);
    });
    Some((role.split(' ').map(str::to_owned).collect(), told))
}
