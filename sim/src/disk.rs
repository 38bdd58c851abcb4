//! A disk that holds the store of one group, and everything that can happen to it.
//!
//! # Theory of operation
//!
//! What `mosaik_driver::storage` does with a thread and files is data here. A host [opens](Disk::open)
//! its store, [submits](Disk::submit) [`Task`]s, and takes [`Report`]s when they are due
//! ([`deadline`](Disk::deadline), [`advance`](Disk::advance)). The rules are those of
//! `docs/spec/store.md`: writes that wait while the disk is busy share one sync (STORE-17); a crash
//! leaves everything that was synced, and of the rest a prefix of whole writes (STORE-01); after an
//! error nothing is tried again (STORE-07); a snapshot counts from the write that refers to it on
//! (STORE-12).
//!
//! ```text
//!            submit                     disk is free              sync is done
//! Task ─────────────► queue ─────────────────────────► tail ─────────────────────► synced
//!                       │ lost by a crash                │ a prefix survives          │ survives
//!                                                                    Report ◄─────────┘ later, maybe
//!                                                                              in another order
//! ```
//!
//! | what happens to it | call |
//! |---|---|
//! | it is slow, or does not answer for a while | [`Habits`] |
//! | writes are reported in another order than theirs | [`Habits::shuffled`] |
//! | the process is killed, the host loses power | [`Disk::crash`] |
//! | no space, an I/O error; until it is mended, and the store is wiped | [`Disk::fail`], [`Disk::mend`] |
//! | a bit changes at rest: the next load is refused | [`Disk::flip`] |
//! | somebody restores a copy | [`Disk::copy`], [`Disk::roll_back`] |
//! | somebody deletes the directory | [`Disk::delete`] |
//!
//! The same calls, in the same order, with the same generator, give the same reports.

mod contents;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    mem::take,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    limits,
    raft::{Position, Seat, SeatId, Snapshot, Stored, Ticket, Write},
    rng::Rng,
    time::Instant,
};

use self::contents::Change;
pub use self::contents::Contents;

/// What a store is asked for; done in the order in which it is asked.
#[derive(Clone, Debug)]
pub enum Task {
    /// Make this durable.
    Write(Ticket, Write),
    /// Keep the highest boot number seen of a seat; durable with the next write.
    RememberBoot(Seat, u64),
    /// Begin a snapshot beside the present one.
    BeginSnapshot(Snapshot),
    /// Append to it.
    SnapshotChunk(Bytes),
    /// It is whole: keep it until a reset or [`Compact`](Self::Compact) makes it the base of the log.
    FinishSnapshot,
    /// Make it the base, and drop the entries that it covers.
    Compact(Position),
    /// Give the bytes of the snapshot that the log begins with.
    ReadSnapshot,
    /// Forget everything and begin anew, under a new seat.
    Wipe,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Report {
    /// The store was opened, or wiped. Its boot number is raised.
    Loaded(Result<Box<Loaded>, DiskError>),
    /// The write is durable. All before it are as well, though perhaps not reported yet.
    Persisted(Ticket),
    /// It is not, and nothing will be until the store is wiped.
    PersistFailed(Ticket, DiskError),
    /// [`Task::FinishSnapshot`] ended.
    Staged(Result<(), DiskError>),
    /// [`Task::Compact`] ended.
    Compacted(Result<Position, DiskError>),
    /// [`Task::ReadSnapshot`] ended.
    Snapshot(Result<Option<Bytes>, DiskError>),
}

/// What a store held when it was opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Names the store.
    pub seat: SeatId,
    /// The number of this start, from 1.
    pub boot: u64,
    /// The highest boot number seen of other seats, the one raised last at the end.
    pub boots: Vec<(Seat, u64)>,
    /// What the Raft core starts with.
    pub stored: Stored,
    /// The snapshot that the log begins with.
    pub snapshot: Option<Bytes>,
    /// No start has used it before.
    pub fresh: bool,
}

/// Why a store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// Something that was durable has changed. It counts as empty: wipe it.
    #[error("the store is damaged")]
    Damaged,
    /// There is no space.
    #[error("no space is left")]
    Full,
    /// The device reports an error.
    #[error("input or output failed")]
    Io,
    /// No snapshot up to there is staged, or none was begun.
    #[error("no such snapshot is staged")]
    NoSnapshot,
}

/// The queue is full: the task comes back.
#[derive(Debug, thiserror::Error)]
#[error("the store takes no more tasks at present")]
pub struct Busy(pub Box<Task>);

/// How a disk behaves while nothing is broken.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// What one sync, or anything else, takes: at least, at most.
    pub delay: (Duration, Duration),
    /// So many in a million take longer by [`stall`](Self::stall).
    pub stalls: u32,
    /// For how long a disk does not answer that stalls.
    pub stall: Duration,
    /// Reports of writes come in any order, each up to one more [`delay`](Self::delay) late.
    pub shuffled: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            delay: (Duration::from_millis(1), Duration::from_millis(5)),
            stalls: 0,
            stall: Duration::from_secs(1),
            shuffled: false,
        }
    }
}

/// What happened to a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that became durable.
    pub written: u64,
    /// Syncs that did it.
    pub syncs: u64,
    /// Writes that a crash took.
    pub lost: u64,
    /// Writes that were refused.
    pub refused: u64,
    /// Times that the disk stalled.
    pub stalls: u64,
}

/// Which part of a store a bit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Entries, votes, seat, boot numbers.
    Log,
    /// The snapshot: it is also noticed when it is read.
    Snapshot,
}

/// What the disk is doing.
#[derive(Debug)]
enum Work {
    Load,
    /// The tail is being synced for these.
    Sync(Vec<Ticket>),
    Other(Task),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Disk {
    rng: Rng,
    /// May be changed at any time.
    pub habits: Habits,
    tally: Tally,
    is_open: bool,
    /// `None`: there is no store.
    synced: Option<Contents>,
    /// Written, and perhaps on disk.
    tail: VecDeque<Change>,
    begun: Option<(Snapshot, BytesMut)>,
    staged: Option<(Snapshot, Bytes)>,
    queue: VecDeque<Task>,
    queued: usize,
    work: Option<(Instant, Work)>,
    reports: BTreeMap<(Instant, u64), Report>,
    numbered: u64,
    /// What the device answers to every write at present.
    broken: Option<DiskError>,
    /// The store met an error: it answers this until it is wiped.
    poisoned: Option<DiskError>,
    flipped: Option<Part>,
    deleted: bool,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: Rng, habits: Habits) -> Self {
        Self {
            rng,
            habits,
            tally: Tally::default(),
            is_open: false,
            synced: None,
            tail: VecDeque::new(),
            begun: None,
            staged: None,
            queue: VecDeque::new(),
            queued: 0,
            work: None,
            reports: BTreeMap::new(),
            numbered: 0,
            broken: None,
            poisoned: None,
            flipped: None,
            deleted: false,
        }
    }

    // --- the host --------------------------------------------------------------------------

    /// Opens the store, or creates it. [`Report::Loaded`] follows.
    ///
    /// # Panics
    /// If it is open.
    pub fn open(&mut self, now: Instant) {
        assert!(!self.is_open, "a directory has one user at a time");
        self.is_open = true;
        if take(&mut self.deleted) {
            (self.synced, self.flipped) = (None, None);
        }
        self.work = Some((now + self.delay(), Work::Load));
    }

    /// A process uses it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Hands over a task.
    ///
    /// # Errors
    /// [`Busy`] with the task.
    ///
    /// # Panics
    /// If the store is not open.
    pub fn submit(&mut self, now: Instant, task: Task) -> Result<(), Busy> {
        assert!(self.is_open, "nobody opened it");
        let bytes = bytes(&task);
        let over = self.queued > 0 && self.queued + bytes > limits::STORE_QUEUE_BYTES;
        if over || self.queue.len() >= limits::STORE_TASKS {
            return Err(Busy(Box::new(task)));
        }
        self.queued += bytes;
        self.queue.push_back(task);
        self.begin(now);
        Ok(())
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let work = self.work.as_ref().map(|(at, _)| *at);
        let report = self.reports.first_key_value().map(|((at, _), _)| *at);
        [work, report].into_iter().flatten().min()
    }

    /// Does what is due, and tells what came of it.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Report>) {
        while let Some((at, work)) = self.work.take_if(|(at, _)| *at <= now) {
            match work {
                Work::Load => self.load(at),
                Work::Sync(tickets) => self.sync(at, tickets),
                Work::Other(task) => self.carry_out(at, task),
            }
            self.begin(at);
        }
        while let Some(entry) = self.reports.first_entry().filter(|entry| entry.key().0 <= now) {
            out.push(entry.remove());
        }
    }

    /// The process ends in good order: what waits is written, unless the disk fails.
    pub fn close(&mut self) {
        while let Some(at) = self.work.as_ref().map(|(at, _)| *at) {
            self.advance(at, &mut Vec::new());
        }
        if self.poisoned.or(self.broken).is_none() {
            self.keep(self.tail.len());
        }
        self.stop();
    }

    /// The process is killed, or the host loses power. Of what was not synced a random prefix
    /// survives.
    pub fn crash(&mut self) {
        // What was under way is done, or it is not.
        match self.work.take_if(|_| self.rng.chance(500_000)) {
            Some((_, Work::Load)) => drop(self.read()),
            Some((_, Work::Other(Task::Compact(last)))) => drop(self.compact(last)),
            Some((_, Work::Other(Task::Wipe))) if self.broken.is_none() => self.forget(),
            _ => {}
        }
        let kept = self.rng.below(self.tail.len() as u64 + 1) as usize;
        self.keep(kept);
        let queued = self.queue.iter().filter(|task| matches!(task, Task::Write(..))).count();
        let lost = self.tail.iter().filter(|change| matches!(change, Change::Write(..))).count();
        self.tally.lost += (queued + lost) as u64;
        self.stop();
    }

    fn stop(&mut self) {
        self.is_open = false;
        self.tail.clear();
        self.queue.clear();
        self.queued = 0;
        self.reports.clear();
        (self.begun, self.staged, self.work, self.poisoned) = (None, None, None, None);
    }

    // --- what happens to it ----------------------------------------------------------------

    /// From now on every write fails.
    pub const fn fail(&mut self, error: DiskError) {
        self.broken = Some(error);
    }

    /// The device works again. A store that met the error does not, until it is wiped or opened anew.
    pub const fn mend(&mut self) {
        self.broken = None;
    }

    /// A bit changes. It is noticed when the store is opened the next time.
    pub const fn flip(&mut self, part: Part) {
        if self.synced.is_some() {
            self.flipped = Some(part);
        }
    }

    /// The directory is deleted. A process that uses it goes on, and the next finds nothing.
    pub const fn delete(&mut self) {
        self.deleted = true;
    }

    /// What it holds can be read: it works, no bit has changed and nobody deleted it.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.broken.is_none() && self.flipped.is_none() && !self.deleted
    }

    /// What the disk holds for certain; `None` if there is no store.
    #[must_use]
    pub fn copy(&self) -> Option<Contents> {
        self.synced.clone().filter(|_| !self.deleted)
    }

    /// Somebody restores a copy, which may be older than what was there, or another disk's.
    ///
    /// # Panics
    /// If the store is open.
    pub fn roll_back(&mut self, copy: Option<Contents>) {
        assert!(!self.is_open, "a directory has one user at a time");
        (self.synced, self.flipped, self.deleted) = (copy, None, false);
    }

    /// What happened to it so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    // --- the disk --------------------------------------------------------------------------

    fn delay(&mut self) -> Duration {
        let (least, most) = self.habits.delay;
        let span = most.saturating_sub(least).as_nanos() as u64;
        let mut delay = least + Duration::from_nanos(self.rng.below(span + 1));
        if self.rng.chance(self.habits.stalls) {
            self.tally.stalls += 1;
            delay += self.habits.stall;
        }
        delay
    }

    /// Begins with what waits, unless the disk is busy.
    fn begin(&mut self, now: Instant) {
        if self.work.is_some() {
            return;
        }
        let mut tickets = Vec::new();
        let mut taken = 0;
        while let Some(task) = self.queue.front() {
            let is_write = matches!(task, Task::Write(..) | Task::RememberBoot(..));
            taken += bytes(task);
            let full = !tickets.is_empty() && taken > limits::STORE_BATCH_BYTES;
            if full || !is_write && !tickets.is_empty() {
                break;
            }
            self.queued -= bytes(task);
            match self.queue.pop_front() {
                Some(Task::Write(ticket, write)) => {
                    tickets.push(ticket);
                    self.write(write);
                }
                Some(Task::RememberBoot(seat, boot)) if self.poisoned.is_none() => {
                    self.tail.push_back(Change::Seen(seat, boot));
                }
                Some(Task::RememberBoot(..)) | None => {}
                Some(task) => {
                    let done = now + self.delay();
                    self.work = Some((done, Work::Other(task)));
                    return;
                }
            }
        }
        if !tickets.is_empty() {
            let done = now + self.delay();
            self.work = Some((done, Work::Sync(tickets)));
        }
    }

    /// Puts a write behind what was written and not synced.
    fn write(&mut self, write: Write) {
        if self.poisoned.is_some() {
            return;
        }
        let mut snapshot = None;
        if let Some(reset) = &write.reset {
            snapshot = self.staged.take_if(|(staged, _)| staged == reset).map(|(_, bytes)| bytes);
            if snapshot.is_none() && reset.last.index.0 > 0 {
                self.poisoned = Some(DiskError::NoSnapshot);
                return;
            }
        }
        self.tail.push_back(Change::Write(Box::new(write), snapshot));
    }

    fn sync(&mut self, at: Instant, tickets: Vec<Ticket>) {
        self.meet_errors();
        if self.poisoned.is_none() {
            self.tally.syncs += 1;
            self.keep(self.tail.len());
        }
        for ticket in tickets {
            let late = if self.habits.shuffled { self.delay() } else { Duration::ZERO };
            match self.poisoned {
                None => self.report(at + late, Report::Persisted(ticket)),
                Some(error) => {
                    self.tally.refused += 1;
                    self.report(at + late, Report::PersistFailed(ticket, error));
                }
            }
        }
    }

    /// A store that writes now meets what the device has to say. Nobody knows then how much of the
    /// tail is on disk.
    fn meet_errors(&mut self) {
        if let (Some(error), None) = (self.broken, self.poisoned) {
            self.poisoned = Some(error);
            let kept = self.rng.below(self.tail.len() as u64 + 1) as usize;
            self.keep(kept);
            self.tail.clear();
        }
    }

    /// So much of the tail is on disk for good.
    fn keep(&mut self, changes: usize) {
        let Some(synced) = &mut self.synced else { return };
        for change in self.tail.drain(..changes) {
            self.tally.written += u64::from(matches!(change, Change::Write(..)));
            synced.apply(change);
        }
    }

    fn report(&mut self, at: Instant, report: Report) {
        self.numbered += 1;
        self.reports.insert((at, self.numbered), report);
    }

    fn load(&mut self, at: Instant) {
        let loaded = self.read();
        self.poisoned = loaded.as_ref().err().copied();
        self.report(at, Report::Loaded(loaded.map(Box::new)));
    }

    fn read(&mut self) -> Result<Loaded, DiskError> {
        if self.flipped.is_some() {
            return Err(DiskError::Damaged);
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        let rng = &mut self.rng;
        let contents = self.synced.get_or_insert_with(|| Contents::new(rng));
        let fresh = contents.boot() == 0;
        contents.apply(Change::Boot(contents.boot() + 1));
        Ok(Loaded { fresh, ..contents.loaded() })
    }

    fn carry_out(&mut self, at: Instant, task: Task) {
        match task {
            // These two go with the next sync.
            Task::Write(..) | Task::RememberBoot(..) => {}
            Task::BeginSnapshot(snapshot) => {
                self.staged = None;
                self.begun = Some((snapshot, BytesMut::new()));
            }
            Task::SnapshotChunk(chunk) => {
                if let Some((_, bytes)) = &mut self.begun {
                    bytes.extend_from_slice(&chunk);
                }
            }
            Task::FinishSnapshot => {
                let staged = self.finish();
                self.report(at, Report::Staged(staged));
            }
            Task::Compact(last) => {
                let compacted = self.compact(last);
                self.report(at, Report::Compacted(compacted));
            }
            Task::ReadSnapshot => {
                let read = match (self.flipped, &self.synced) {
                    (Some(Part::Snapshot), _) => Err(DiskError::Damaged),
                    (_, synced) => Ok(synced.as_ref().and_then(Contents::snapshot)),
                };
                self.report(at, Report::Snapshot(read));
            }
            Task::Wipe => {
                match self.broken {
                    // The old store is still there, and as bad as before.
                    Some(error) => self.report(at, Report::Loaded(Err(error))),
                    None => {
                        self.forget();
                        self.load(at);
                    }
                }
            }
        }
    }

    fn forget(&mut self) {
        (self.synced, self.flipped, self.deleted) = (None, None, false);
        (self.begun, self.staged, self.poisoned) = (None, None, None);
        self.tail.clear();
    }

    fn finish(&mut self) -> Result<(), DiskError> {
        let (snapshot, bytes) = self.begun.take().ok_or(DiskError::NoSnapshot)?;
        // A snapshot that cannot be written leaves the log alone.
        self.broken.or(self.poisoned).map_or(Ok(()), Err)?;
        self.staged = Some((snapshot, bytes.freeze()));
        Ok(())
    }

    fn compact(&mut self, last: Position) -> Result<Position, DiskError> {
        let staged = self.staged.take_if(|(staged, _)| staged.last == last);
        let (snapshot, bytes) = staged.ok_or(DiskError::NoSnapshot)?;
        self.meet_errors();
        self.poisoned.map_or(Ok(()), Err)?;
        self.tail.push_back(Change::Base(Box::new(snapshot), bytes));
        self.keep(self.tail.len());
        self.flipped = self.flipped.filter(|part| *part != Part::Snapshot);
        Ok(last)
    }
}

fn bytes(task: &Task) -> usize {
    match task {
        Task::Write(_, write) => write.runs.iter().map(|run| run.data.len()).sum(),
        Task::SnapshotChunk(chunk) => chunk.len(),
        Task::RememberBoot(..)
        | Task::BeginSnapshot(_)
        | Task::FinishSnapshot
        | Task::Compact(_)
        | Task::ReadSnapshot
        | Task::Wipe => 0,
    }
}
