//! The soak run judges: a group that does everything right, and groups that do one thing wrong.
//!
//! Members are processes that pass every line on to a server in here, so that killing one is real and
//! what it forgets is up to the test. The real ones are in the facade's `tests/soak.rs`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use mosaik_sim::{
    Failure,
    soak::{
        self, Options, Store, Summary,
        protocol::{Answer, Ask, Update, VOTES},
    },
};

/// What a group does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// It acknowledges and forgets.
    Loses,
    /// It applies again.
    Repeats,
    /// It applies what it refuses.
    Refuses,
    /// It reads what was there before.
    Stale,
    /// Its members do not hold the same.
    Differs,
    /// It stops to serve.
    Stops,
    /// A member gives up.
    Exits,
}

#[derive(Debug, Default)]
struct Group {
    store: Store,
    /// What it held before the last command.
    before: Store,
    commands: u64,
    members: u64,
}

impl Group {
    fn answer(&mut self, ask: &Ask, member: u64, bug: Bug) -> Option<Answer> {
        Some(match ask {
            Ask::Known(_) => return None,
            Ask::Execute(id, command) => {
                self.commands += 1;
                // Some answers never come, and of those some commands were in force.
                let strange = self.commands.is_multiple_of(50);
                if bug == Bug::Stops && self.commands > 200 {
                    return None;
                }
                if !strange || bug != Bug::Loses {
                    self.before = self.store.clone();
                    self.store.apply(command);
                }
                match bug {
                    Bug::Repeats if strange => self.store.apply(command),
                    Bug::Refuses if strange => return Some(Answer::Refused(*id, "no".into())),
                    Bug::None if strange => return Some(Answer::Unknown(*id, "who knows".into())),
                    _ => {}
                }
                let swapped = matches!(command.update, Update::Cas(..))
                    .then(|| self.store.swapped(command.client, command.number));
                Answer::Done(*id, swapped.flatten())
            }
            Ask::Read(id, key) => {
                let store = if bug == Bug::Stale { &self.before } else { &self.store };
                Answer::Value(*id, store.value(*key))
            }
            Ask::Dump(id) => {
                let mut store = self.store.clone();
                if bug == Bug::Differs && member % 3 == 1 {
                    store = Store::default();
                }
                Answer::Dump(*id, Box::new(store))
            }
            Ask::Status(id) => Answer::Status(*id, format!("{VOTES}, {} commands", self.commands)),
        })
    }
}

fn serve(stream: TcpStream, group: &Mutex<Group>, bug: Bug) {
    let mut out = stream.try_clone().unwrap();
    let member = {
        let mut group = group.lock().unwrap();
        group.members += 1;
        group.members
    };
    let mut say = move |answer: Answer| writeln!(out, "{answer}").is_ok();
    say(Answer::Address(format!("member-{member}")));
    say(Answer::Online);
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let ask = line.parse().unwrap();
        let mut group = group.lock().unwrap();
        if bug == Bug::Exits && group.commands > 200 {
            return;
        }
        // In the lock: what is answered was in force then.
        if let Some(answer) = group.answer(&ask, member, bug) {
            say(answer);
        }
    }
}

fn start(bug: Bug) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (addr, group) = (listener.local_addr().unwrap(), Arc::new(Mutex::default()));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let group = Arc::clone(&group);
            thread::spawn(move || serve(stream, &group, bug));
        }
    });
    addr
}

fn relay() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).expect("the test is in target/<profile>/deps");
    let path =
        profile.join("examples").join("soak_relay").with_extension(env::consts::EXE_EXTENSION);
    assert!(path.exists(), "cargo build -p mosaik-sim --example soak_relay");
    path
}

fn run(bug: Bug) -> Summary {
    let (addr, relay) = (start(bug), relay());
    let dir = env::temp_dir().join(format!("mosaik-soak-test-{}-{bug:?}", std::process::id()));
    let options = Options {
        clients: 20,
        keys: 5,
        time: Duration::from_secs(2),
        pause: Duration::from_millis(10),
        every: (Duration::from_millis(50), Duration::from_millis(400)),
        down: (Duration::from_millis(10), Duration::from_millis(200)),
        stall: Duration::from_secs(20),
        damage: bug == Bug::None,
        settle: Duration::from_secs(if bug == Bug::Differs { 1 } else { 20 }),
        ..Options::new(7, dir.clone())
    };
    let stall = if bug == Bug::Stops { Duration::from_millis(300) } else { options.stall };
    let options = Options { stall, ..options };
    let launch = |_: &soak::Place<'_>| {
        let mut command = Command::new(&relay);
        command.arg(addr.to_string());
        command
    };
    let summary = soak::run(&options, None, &launch).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    println!("{bug:?}: {summary}");
    summary
}

/// The complaint about a group, of this kind.
fn complaint(bug: Bug) -> String {
    match run(bug).failure {
        Some(Failure::Safety(what)) => what,
        other => panic!("{bug:?}: {other:?}"),
    }
}

#[test]
fn a_group_that_does_everything_right_is_well() {
    let summary = run(Bug::None);
    assert_eq!(summary.failure, None);
    let tally = summary.tally;
    assert!(tally.acknowledged > 100 && tally.unknown > 2 && tally.reads > 50, "{tally:?}");
    assert!(
        summary.kills > 2 && summary.damages > 0 && summary.judged.applied >= tally.acknowledged,
        "{summary}"
    );
    assert!(summary.to_string().contains("\nwell: "), "{summary}");
}

#[test]
fn lost_commands_are_found() {
    let what = complaint(Bug::Loses);
    assert!(what.contains("was acknowledged and is lost"), "{what}");
}

#[test]
fn repeated_commands_are_found() {
    let what = complaint(Bug::Repeats);
    assert!(what.contains("was applied twice"), "{what}");
}

#[test]
fn refused_commands_in_force_are_found() {
    let what = complaint(Bug::Refuses);
    assert!(what.contains("was refused for certain and is in force"), "{what}");
}

#[test]
fn stale_reads_are_found() {
    let what = complaint(Bug::Stale);
    assert!(what.contains("not linearizable"), "{what}");
}

#[test]
fn groups_that_stop_are_found() {
    let failure = run(Bug::Stops).failure;
    assert!(
        matches!(&failure, Some(Failure::Liveness(what)) if what.contains("no service for")),
        "{failure:?}"
    );
}

#[test]
fn members_that_give_up_are_found() {
    let failure = run(Bug::Exits).failure;
    assert!(
        matches!(&failure, Some(Failure::Crash(what)) if what.contains("ended by itself")),
        "{failure:?}"
    );
}

#[test]
fn members_that_differ_are_found() {
    let what = complaint(Bug::Differs);
    assert!(what.contains("do not hold the same"), "{what}");
}
