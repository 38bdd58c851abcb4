//! A disk that takes its time, and forgets what it had not written when the host dies.

use std::collections::{BTreeMap, VecDeque};

use mosaik_proto::{
    groups::{Input, Loaded},
    raft::{Log, LogIndex, Position, Seat, SeatId, Stored, Ticket, Write},
    rng::Rng,
    time::Instant,
};

use crate::machine::Frozen;

#[derive(Clone, Debug)]
enum Job {
    Open,
    Write(Ticket, Box<Write>),
    Renew,
    /// Keep this beside the log; it is to be installed, or not.
    Stage(Frozen, bool),
    Compact(Position),
}

/// What a store holds.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    seat: SeatId,
    boot: u64,
    boots: BTreeMap<Seat, u64>,
    stored: Stored,
    /// What the log begins with.
    snapshot: Option<Frozen>,
    /// What it may begin with; forgotten by a crash.
    staged: Option<Frozen>,
}

#[derive(Debug)]
pub(crate) struct Disk {
    rng: Rng,
    contents: Option<Contents>,
    jobs: VecDeque<(Instant, Job)>,
}

impl Contents {
    /// How much of a log it has, and who it is.
    pub(crate) fn entries(&self) -> (SeatId, usize) {
        (self.seat, self.stored.runs.len())
    }
}

impl Disk {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, contents: None, jobs: VecDeque::new() }
    }

    fn job(&mut self, at: Instant, job: Job) {
        let after = self.jobs.back().map_or(at, |(last, _)| *last);
        self.jobs.push_back((at.max(after), job));
    }

    pub(crate) fn open(&mut self, at: Instant) {
        self.job(at, Job::Open);
    }

    pub(crate) fn write(&mut self, at: Instant, ticket: Ticket, write: Write) {
        self.job(at, Job::Write(ticket, write.into()));
    }

    pub(crate) fn renew(&mut self, at: Instant) {
        self.job(at, Job::Renew);
    }

    pub(crate) fn stage(&mut self, at: Instant, frozen: Frozen, install: bool) {
        self.job(at, Job::Stage(frozen, install));
    }

    pub(crate) fn compact(&mut self, at: Instant, last: Position) {
        self.job(at, Job::Compact(last));
    }

    /// What the log begins with.
    pub(crate) fn snapshot(&self) -> Option<&Frozen> {
        self.contents.as_ref()?.snapshot.as_ref()
    }

    /// What was staged last.
    pub(crate) fn staged(&self) -> Option<&Frozen> {
        self.contents.as_ref()?.staged.as_ref()
    }

    pub(crate) fn remember(&mut self, seat: Seat, boot: u64) {
        if let Some(contents) = &mut self.contents {
            contents.boots.insert(seat, boot);
        }
    }

    /// Of the writes under way a random number is done, and never reported.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let done = rng.below(self.jobs.len() as u64 + 1) as usize;
        for (_, job) in self.jobs.drain(..).take(done).collect::<Vec<_>>() {
            self.done(job);
        }
        if let Some(contents) = &mut self.contents {
            contents.staged = None;
        }
    }

    pub(crate) fn wipe(&mut self) {
        self.contents = None;
    }

    /// What is on it, to be put back later.
    pub(crate) fn copy(&self) -> Option<Contents> {
        self.contents.clone()
    }

    pub(crate) fn put_back(&mut self, contents: Option<Contents>) {
        self.contents = contents;
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.jobs.front().map(|(at, _)| *at)
    }

    /// Does the next job; what is said about it.
    pub(crate) fn work(&mut self) -> Option<Input> {
        let (_, job) = self.jobs.pop_front().expect("something waits");
        self.done(job)
    }

    fn done(&mut self, job: Job) -> Option<Input> {
        match job {
            Job::Open => {}
            Job::Renew => self.contents = None,
            Job::Write(ticket, write) => {
                if let Some(contents) = &mut self.contents {
                    contents.apply(*write);
                }
                return Some(Input::Persisted(ticket));
            }
            Job::Stage(frozen, install) => {
                let last = frozen.snapshot.last.index;
                let said = if install { Input::Installed(last) } else { frozen.said() };
                self.contents.as_mut()?.staged = Some(frozen);
                return Some(said);
            }
            Job::Compact(last) => {
                self.contents.as_mut()?.compact(last);
                return None;
            }
        }
        let rng = &mut self.rng;
        let contents = self.contents.get_or_insert_with(|| {
            let mut id = [0; 16];
            id.copy_from_slice(&rng.bytes()[..16]);
            let stored = Stored::default();
            let seat = SeatId(id);
            Contents { seat, boot: 0, boots: BTreeMap::new(), stored, snapshot: None, staged: None }
        });
        contents.boot += 1;
        let Contents { seat, boot, boots, stored, snapshot, staged: _ } = contents.clone();
        let boots = boots.into_iter().collect();
        let snapshot = snapshot.as_ref().map(Frozen::head);
        Some(Input::Loaded(Box::new(Loaded { seat, boot, boots, stored, snapshot })))
    }
}

impl Contents {
    /// The log begins with what was staged.
    fn begin(&mut self, last: Position) {
        self.snapshot = None;
        if last.index > LogIndex(0) {
            let staged = self.staged.take().expect("it was staged before");
            assert_eq!(staged.snapshot.last, last);
            self.snapshot = Some(staged);
        }
    }

    fn compact(&mut self, last: Position) {
        self.begin(last);
        let base = self.snapshot.as_ref().unwrap().snapshot.clone();
        let mut log = Log::behind(self.stored.base.last, self.stored.base.commands);
        self.stored.runs.drain(..).for_each(|run| log.append(run));
        assert_eq!(log.term_at(last.index), Some(last.term), "what was applied is in the log");
        let end = log.last().index;
        self.stored.runs = log.slice(last.index.next(), end, usize::MAX);
        self.stored.base = base;
    }

    fn apply(&mut self, write: Write) {
        if let Some(base) = &write.reset {
            self.begin(base.last);
        }
        apply(&mut self.stored, write);
    }
}

fn apply(stored: &mut Stored, write: Write) {
    let Stored { hard, base, runs } = stored;
    if let Some(reset) = write.reset {
        *base = reset;
        runs.clear();
    }
    if let Some(cut) = write.truncate {
        let mut log = Log::behind(base.last, base.commands);
        runs.drain(..).for_each(|run| log.append(run));
        log.truncate(cut);
        runs.extend(log.runs().cloned());
    }
    runs.extend(write.runs);
    *hard = write.hard.unwrap_or(*hard);
}
