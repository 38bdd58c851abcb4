//! A process whose output can be waited for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A running process; dropping it kills it and shows its output if the test is failing.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    out: Arc<Output>,
    err: Arc<Output>,
}

/// What a process has printed so far.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Process {
    /// Starts a process; `name` is what failures call it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take();
        let out = Output::of(child.stdout.take().expect("a pipe"));
        let err = Output::of(child.stderr.take().expect("a pipe"));
        Self { name: name.to_owned(), child, input, out, err }
    }

    /// Writes a line to its standard input, which ends with us.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was not closed");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Ends its standard input: whoever plays a [role](super::role) ends with it.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// The first thing found in the lines on standard output, as soon as it is there.
    ///
    /// # Panics
    /// After the deadline.
    pub(crate) fn find<T>(
        &self,
        what: &str,
        deadline: Instant,
        find: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let found = self.out.find(deadline, find);
        found.unwrap_or_else(|| panic!("{} did not print in time: {what}", self.name))
    }

    /// The same on standard error.
    ///
    /// # Panics
    /// After the deadline.
    pub(crate) fn find_err<T>(
        &self,
        what: &str,
        deadline: Instant,
        find: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let found = self.err.find(deadline, find);
        found.unwrap_or_else(|| panic!("{} did not print in time: {what}", self.name))
    }

    /// The number that the system gave it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(status.success(), "{} cannot be signalled: {status}", self.name);
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// After the deadline.
    pub(crate) fn exited(&mut self, deadline: Instant) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end in time", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for (pipe, output) in [("output", &self.out), ("errors", &self.err)] {
                let lines = output.lines.lock().unwrap_or_else(PoisonError::into_inner);
                eprintln!("---- {} of {} ----\n{}", pipe, self.name, lines.join("\n"));
            }
        }
    }
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let filled = Arc::clone(&output);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                filled.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                filled.more.notify_all();
            }
        });
        output
    }

    fn find<T>(
        &self,
        deadline: Instant,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&lines) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.more.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
