//! All members, as clients and chaos see them.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::{
    Clock, Launch, Options, PATIENCE, Place, lock,
    member::{Line, Process, Reply},
    protocol::{Answer, Ask, VOTES},
    pulse::{Incident, Pulse},
};
use crate::netns::Hosts;

/// See the module's documentation.
pub(super) struct Fleet<'a> {
    processes: Vec<Mutex<Option<Process>>>,
    hosts: Option<&'a Hosts>,
    launch: &'a Launch<'a>,
    dir: PathBuf,
    settle: Duration,
    pub(super) clock: Clock,
    pub(super) pulse: Mutex<Pulse>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        options: &Options,
        hosts: Option<&'a Hosts>,
        launch: &'a Launch<'a>,
        clock: Clock,
    ) -> Self {
        Self {
            processes: (0..options.members).map(|_| Mutex::default()).collect(),
            hosts,
            launch,
            dir: options.dir.clone(),
            settle: options.settle,
            clock,
            pulse: Mutex::new(Pulse::new(options.members)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(super) const fn hosts(&self) -> Option<&Hosts> {
        self.hosts
    }

    /// Starts all of them and waits until they can execute commands.
    pub(super) fn start_all(&self) -> Result<(), String> {
        for index in 0..self.len() {
            self.start(index)?;
        }
        for index in 0..self.len() {
            let online = self.line(index).is_some_and(|line| line.online(self.settle));
            if !online {
                let (settle, all) = (self.settle, self.describe());
                return Err(format!("member {index} is not online within {settle:?}{all}"));
            }
        }
        Ok(())
    }

    /// Starts a member, and lets all know of each other.
    pub(super) fn start(&self, index: usize) -> Result<(), String> {
        let dir = self.dir_of(index);
        fs::create_dir_all(&dir).map_err(|error| format!("{dir:?}: {error}"))?;
        let host = self.hosts.zip(u8::try_from(index).ok());
        let mut command = (self.launch)(&Place { index, dir, host });
        let log = self.dir.join(format!("member-{index}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(&log);
        command.stderr(log.map_err(|error| format!("a log: {error}"))?);
        let process = Process::start(&mut command)?;
        let line = process.line();
        *lock(&self.processes[index]) = Some(process);
        lock(&self.pulse).incident(index, Incident::Started, self.clock.now());
        let Some(address) = line.address(self.settle) else {
            return Err(format!("member {index} does not say where it is"));
        };
        for (other, theirs) in (0..self.len()).filter_map(|at| Some((at, self.line(at)?))) {
            if other != index {
                theirs.say(&Ask::Known(address.clone()));
                if let Some(address) = theirs.address(Duration::ZERO) {
                    line.say(&Ask::Known(address));
                }
            }
        }
        Ok(())
    }

    /// Where a member keeps what it keeps.
    pub(super) fn dir_of(&self, index: usize) -> PathBuf {
        self.dir.join(format!("member-{index}"))
    }

    /// True if a member says that it votes.
    pub(super) fn votes(&self, index: usize) -> bool {
        let status = self.line(index).map(|line| line.ask(Ask::Status, PATIENCE));
        matches!(status, Some(Reply::Answer(Answer::Status(_, status))) if status.starts_with(VOTES))
    }

    /// Kills a member that runs. An error says that it did not.
    pub(super) fn kill(&self, index: usize) -> Result<(), String> {
        self.check(index)?;
        let process = lock(&self.processes[index]).take();
        if let Some(process) = process {
            lock(&self.pulse).incident(index, Incident::Killed, self.clock.now());
            process.kill();
        }
        Ok(())
    }

    /// An error if a member ended by itself, or says what nobody understands.
    pub(super) fn check(&self, index: usize) -> Result<(), String> {
        let mut process = lock(&self.processes[index]);
        let Some(process) = &mut *process else { return Ok(()) };
        if let Some(status) = process.ended() {
            return Err(format!("member {index} ended by itself: {status}"));
        }
        match process.line().nonsense() {
            Some(line) => Err(format!("member {index} said: {line}")),
            None => Ok(()),
        }
    }

    /// The way to a member; `None` while it does not run.
    pub(super) fn line(&self, index: usize) -> Option<Arc<Line>> {
        lock(&self.processes[index]).as_ref().map(Process::line)
    }

    /// What all members say about themselves, and the ends of their logs.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for index in 0..self.len() {
            let status =
                match self.line(index).map(|line| line.ask(Ask::Status, Duration::from_secs(2))) {
                    Some(Reply::Answer(Answer::Status(_, status))) => status,
                    Some(reply) => format!("{reply:?}"),
                    None => "does not run".to_owned(),
                };
            text += &format!("\n  member {index}: {status}");
            let log = fs::read_to_string(self.dir.join(format!("member-{index}.log")));
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(6)..] {
                text += &format!("\n    {line}");
            }
        }
        text
    }

    /// Waits until everybody who runs has acknowledged something since it came back.
    pub(super) fn all_back(&self) -> Result<(), String> {
        let until = Instant::now() + self.settle;
        for index in 0..self.len() {
            while !lock(&self.pulse).is_back(index) {
                self.check(index)?;
                if Instant::now() > until {
                    return Err(format!("member {index} does not come back{}", self.describe()));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}
