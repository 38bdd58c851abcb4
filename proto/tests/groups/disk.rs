//! A disk that takes its time, and forgets what it had not written when the host dies.

use std::collections::{BTreeMap, VecDeque};

use mosaik_proto::{
    groups::{Input, Loaded},
    raft::{Log, Seat, SeatId, Stored, Ticket, Write},
    rng::Rng,
    time::Instant,
};

#[derive(Clone, Debug)]
enum Job {
    Open,
    Write(Ticket, Box<Write>),
    Renew,
}

/// What a store holds.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    seat: SeatId,
    boot: u64,
    boots: BTreeMap<Seat, u64>,
    stored: Stored,
}

#[derive(Debug)]
pub(crate) struct Disk {
    rng: Rng,
    contents: Option<Contents>,
    jobs: VecDeque<(Instant, Job)>,
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
    pub(crate) fn work(&mut self) -> Input {
        let (_, job) = self.jobs.pop_front().expect("something waits");
        self.done(job).expect("a store says what it did")
    }

    fn done(&mut self, job: Job) -> Option<Input> {
        match job {
            Job::Open => {}
            Job::Renew => self.contents = None,
            Job::Write(ticket, write) => {
                if let Some(contents) = &mut self.contents {
                    apply(&mut contents.stored, *write);
                }
                return Some(Input::Persisted(ticket));
            }
        }
        let rng = &mut self.rng;
        let contents = self.contents.get_or_insert_with(|| {
            let mut id = [0; 16];
            id.copy_from_slice(&rng.bytes()[..16]);
            let stored = Stored::default();
            Contents { seat: SeatId(id), boot: 0, boots: BTreeMap::new(), stored }
        });
        contents.boot += 1;
        let Contents { seat, boot, boots, stored } = contents.clone();
        let boots = boots.into_iter().collect();
        Some(Input::Loaded(Box::new(Loaded { seat, boot, boots, stored, snapshot: None })))
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
