//! A test program that plays a part of its own test, in a process of its own.
//!
//! The program starts itself again with [`command`]; that process runs the test `role` only, which
//! asks with [`play`] what to do. It prints what it finds, is told by lines on its standard input, and
//! ends with that input, so nothing outlives a test that was killed.

use std::{
    env,
    io::{BufRead, stdin},
    process::{Command, exit},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use super::{Hosts, Process};

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
fn role() -> Option<(Vec<String>, Receiver<String>)> {
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

/// Plays a part if this process has one: `part` gets a runtime, its words and what it is told.
pub(crate) fn play(part: impl FnOnce(&Runtime, &[&str], Receiver<String>)) {
    let Some((words, told)) = role() else { return };
    let runtime = Runtime::new().expect("a runtime");
    part(&runtime, &words.iter().map(String::as_str).collect::<Vec<_>>(), told);
}

/// Prints a value behind a word, for [`answer`] in the test.
pub(crate) fn say(word: &str, value: impl Serialize) {
    println!("{word}: {}", serde_json::to_string(&value).expect("plain data"));
}

/// What a process printed behind this word, as soon as it is there.
///
/// # Panics
/// If it is not there within `patience`.
pub(crate) fn answer<T: DeserializeOwned>(process: &Process, word: &str, patience: Duration) -> T {
    process.find(word, Instant::now() + patience, |lines| {
        let text = lines.iter().find_map(|line| line.strip_prefix(word)?.strip_prefix(": "))?;
        Some(serde_json::from_str(text).expect(text))
    })
}
