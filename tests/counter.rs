//! The counter example as real processes: members with data directories that are killed, one by one
//! and all at once.

#![cfg(unix)]

#[path = "support/scratch.rs"]
mod scratch;
mod support;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use scratch::Scratch;
use support::{Process, RuntimeDir, example};

/// A dead peer is noticed within seconds, dials back off, the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One member.
struct Member {
    process: Process,
    /// How many answers were read.
    read: usize,
}

impl Member {
    fn start(place: usize, dirs: &Path, runtime: &RuntimeDir) -> Self {
        let mut command = Command::new(example("counter"));
        command
            .arg("--data-dir")
            .arg(dirs.join(place.to_string()))
            .env("MOSAIK_RUNTIME_DIR", runtime.path());
        Self { process: Process::start(&format!("member {place}"), &mut command), read: 0 }
    }

    /// The next answer: the value, and how many voters keep it.
    fn answer(&mut self) -> (i64, usize) {
        let (at, deadline) = (self.read, Instant::now() + PATIENCE);
        let line = self.process.find("an answer", deadline, |lines| lines.get(at).cloned());
        self.read += 1;
        let words: Vec<_> = line.split([' ', ',']).collect();
        let ["=", value, "", "kept", "by", voters, "voters"] = words[..] else {
            panic!("no answer: {line}")
        };
        (value.parse().expect("a value"), voters.parse().expect("a number"))
    }

    fn value(&mut self) -> i64 {
        self.answer().0
    }

    /// Adds to the counter, and reads it.
    fn add(&mut self, by: i64) -> i64 {
        self.process.say(&by.to_string());
        self.value()
    }

    /// Waits until all three vote, without whom nobody may die.
    fn secured(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.process.say("");
            if self.answer().1 == 3 {
                return;
            }
            assert!(Instant::now() < deadline, "not all members became voters");
        }
    }

    fn kill(self) {
        self.process.signal("KILL");
    }
}

#[test]
fn the_value_survives_one_death_and_the_death_of_all() {
    let (scratch, runtime) = (Scratch::new(), RuntimeDir::new());
    let start = |place| Member::start(place, scratch.path(), &runtime);
    let mut members: Vec<_> = (0..3).map(start).collect();
    assert_eq!(members.iter_mut().map(Member::value).collect::<Vec<_>>(), [0, 0, 0]);

    let mut sum = 5;
    assert_eq!(members[0].add(5), sum);
    // One of them leads.
    for dies in 0..3 {
        members[dies].secured();
        members.remove(dies).kill();
        sum += 10;
        assert_eq!(members[1].add(10), sum, "two of three go on");
        members.insert(dies, start(dies));
        assert_eq!(members[dies].value(), sum, "it is back, with what it missed");
    }

    members[0].secured();
    members.drain(..).for_each(Member::kill);
    let mut members: Vec<_> = (0..3).map(start).collect();
    for member in &mut members {
        assert_eq!(member.value(), sum, "all were dead");
    }
    assert_eq!(members[2].add(-sum), 0);
}
