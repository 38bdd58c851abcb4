//! One member: its process, what it is asked, what it answers.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    lock,
    protocol::{Answer, Ask},
};

/// Lines that wait for a process to read them.
const LINES: usize = 4_096;

/// A process that was started. It is killed when this goes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    line: Arc<Line>,
}

/// The way to a process; it may be gone.
#[derive(Debug)]
pub(super) struct Line {
    input: SyncSender<String>,
    heard: Mutex<Heard>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Heard {
    address: Option<String>,
    online: bool,
    ended: bool,
    waiting: BTreeMap<u64, SyncSender<Answer>>,
    /// What was said that nobody could read.
    nonsense: Option<String>,
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    /// It never reached the process.
    NotAsked,
    /// The process ended, or was too slow.
    Silence,
}

impl Process {
    pub(super) fn start(command: &mut Command) -> Result<Self, String> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".to_owned());
        };
        let (input, lines) = sync_channel(LINES);
        let line = Arc::new(Line {
            input,
            heard: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let heard = Arc::clone(&line);
        thread::spawn(move || speak(stdin, &lines));
        thread::spawn(move || heard.listen(stdout));
        Ok(Self { child, line })
    }

    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// How it ended by itself; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(status.to_string())
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A process of its own may hold the pipe; nobody waits for that.
        self.line.end();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn speak(mut stdin: ChildStdin, lines: &Receiver<String>) {
    while let Ok(line) = lines.recv() {
        // Lines that wait go together.
        let mut text = line + "\n";
        while text.len() < 32 * 1024
            && let Ok(line) = lines.try_recv()
        {
            text += &line;
            text.push('\n');
        }
        if stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

impl Line {
    fn listen(&self, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let mut heard = lock(&self.heard);
            match line.parse() {
                Ok(Answer::Address(address)) => heard.address = Some(address),
                Ok(Answer::Online) => heard.online = true,
                Ok(answer) => {
                    if let Some(waiting) = id(&answer).and_then(|id| heard.waiting.remove(&id)) {
                        // Whoever asked may have given up.
                        let _ = waiting.try_send(answer);
                    }
                }
                Err(_) => heard.nonsense = Some(line),
            }
            drop(heard);
            self.changed.notify_all();
        }
        self.end();
    }

    fn end(&self) {
        let mut heard = lock(&self.heard);
        heard.ended = true;
        heard.waiting.clear();
        drop(heard);
        self.changed.notify_all();
    }

    /// Says something that has no answer.
    pub(super) fn say(&self, ask: &Ask) {
        let _ = self.input.try_send(ask.to_string());
    }

    /// Asks, and waits.
    pub(super) fn ask(&self, ask: impl FnOnce(u64) -> Ask, patience: Duration) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = sync_channel(1);
        let mut heard = lock(&self.heard);
        if heard.ended {
            return Reply::NotAsked;
        }
        heard.waiting.insert(id, answer);
        drop(heard);
        match self.input.try_send(ask(id).to_string()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                lock(&self.heard).waiting.remove(&id);
                return Reply::NotAsked;
            }
        }
        let reply = answered.recv_timeout(patience);
        lock(&self.heard).waiting.remove(&id);
        reply.map_or(Reply::Silence, Reply::Answer)
    }

    /// Where it can be reached, as soon as it says so.
    pub(super) fn address(&self, patience: Duration) -> Option<String> {
        self.wait(patience, |heard| heard.address.clone())
    }

    pub(super) fn online(&self, patience: Duration) -> bool {
        self.wait(patience, |heard| heard.online.then_some(())).is_some()
    }

    fn wait<T>(&self, patience: Duration, find: impl Fn(&Heard) -> Option<T>) -> Option<T> {
        let until = Instant::now() + patience;
        let mut heard = lock(&self.heard);
        loop {
            let found = find(&heard);
            let left = until.saturating_duration_since(Instant::now());
            if found.is_some() || heard.ended || left.is_zero() {
                return found;
            }
            heard = match self.changed.wait_timeout(heard, left) {
                Ok((heard, _)) => heard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// A line that was said and is not of the protocol.
    pub(super) fn nonsense(&self) -> Option<String> {
        lock(&self.heard).nonsense.clone()
    }
}

const fn id(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Address(_) | Answer::Online => None,
        Answer::Done(id, _)
        | Answer::Value(id, _)
        | Answer::Dump(id, _)
        | Answer::Refused(id, _)
        | Answer::Unknown(id, _)
        | Answer::Status(id, _) => Some(*id),
    }
}
