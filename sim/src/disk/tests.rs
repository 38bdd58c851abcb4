//! A disk does all that it may do, and nothing else.

use bytes::Bytes;
use mosaik_proto::{
    PeerId, limits,
    raft::{HardState, Kind, LogIndex, Position, Run, Seat, SeatId, Snapshot, Term, Ticket, Write},
    rng::Rng,
    time::Instant,
};
use std::time::Duration;

use super::*;

/// A disk and its clock.
struct Bench {
    disk: Disk,
    now: Instant,
    reports: Vec<Report>,
}

impl Bench {
    fn new(seed: u8) -> Self {
        let disk = Disk::new(Rng::new([seed; 32]), Habits::default());
        Self { disk, now: Instant::ZERO, reports: Vec::new() }
    }

    fn submit(&mut self, task: Task) {
        self.disk.submit(self.now, task).unwrap();
    }

    fn write(&mut self, index: u64) {
        self.submit(Task::Write(Ticket(index), entry(1, index)));
    }

    /// Until the next thing that is due is done.
    fn step(&mut self) -> bool {
        let Some(at) = self.disk.deadline() else { return false };
        assert!(at >= self.now, "time does not go back");
        self.now = at;
        self.disk.advance(at, &mut self.reports);
        true
    }

    fn run(&mut self) -> Vec<Report> {
        while self.step() {}
        take(&mut self.reports)
    }

    fn open(&mut self) -> Result<Loaded, DiskError> {
        self.disk.open(self.now);
        match self.run().pop() {
            Some(Report::Loaded(loaded)) => loaded.map(|loaded| *loaded),
            other => panic!("{other:?}"),
        }
    }

    fn stage(&mut self, snapshot: &Snapshot, bytes: &'static [u8]) {
        self.submit(Task::BeginSnapshot(snapshot.clone()));
        for chunk in bytes.chunks(2) {
            self.submit(Task::SnapshotChunk(Bytes::from_static(chunk)));
        }
        self.submit(Task::FinishSnapshot);
    }
}

fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: LogIndex(index) }
}

fn entry(term: u64, index: u64) -> Write {
    let run = Run::empty(Term(term), LogIndex(index), Kind::Noop);
    Write { runs: vec![run], ..Write::default() }
}

fn snapshot(term: u64, index: u64) -> Snapshot {
    Snapshot { last: position(term, index), ..Snapshot::default() }
}

fn last(loaded: &Loaded) -> u64 {
    loaded.stored.runs.last().map_or(loaded.stored.base.last, Run::end).index.0
}

/// The tickets of reports, and what became of them.
fn tickets(reports: &[Report]) -> Vec<(u64, Option<DiskError>)> {
    let one = |report: &Report| match report {
        Report::Persisted(ticket) => Some((ticket.0, None)),
        Report::PersistFailed(ticket, error) => Some((ticket.0, Some(*error))),
        Report::Loaded(_) | Report::Staged(_) | Report::Compacted(_) | Report::Snapshot(_) => None,
    };
    reports.iter().filter_map(one).collect()
}

#[test]
fn what_is_written_is_there_after_a_start() {
    let mut bench = Bench::new(1);
    let first = bench.open().unwrap();
    assert!(first.fresh && first.boot == 1 && last(&first) == 0);
    let hard = HardState { term: Term(3), vote: None };
    let seat = Seat { peer: PeerId::from_bytes([7; 32]), id: SeatId([7; 16]) };
    bench.submit(Task::RememberBoot(seat, 5));
    bench.submit(Task::RememberBoot(seat, 4));
    bench.submit(Task::Write(Ticket(1), Write { hard: Some(hard), ..entry(1, 1) }));
    bench.write(2);
    bench.submit(Task::Write(Ticket(3), Write { truncate: Some(LogIndex(2)), ..entry(2, 2) }));
    assert_eq!(tickets(&bench.run()), [(1, None), (2, None), (3, None)]);
    bench.disk.close();
    let second = bench.open().unwrap();
    assert_eq!((second.seat, second.boot, second.fresh), (first.seat, 2, false));
    assert_eq!((second.stored.hard, second.boots.clone()), (hard, vec![(seat, 5)]));
    assert_eq!(second.stored.runs.last().unwrap().end(), position(2, 2));
}

#[test]
fn store_01_a_crash_leaves_what_was_reported_and_a_prefix_of_the_rest() {
    let mut kept = [0; 3];
    for seed in 0..200 {
        let mut bench = Bench::new(seed);
        bench.disk.habits.shuffled = seed % 2 == 0;
        bench.open().unwrap();
        (1..=4).for_each(|index| bench.write(index));
        let steps = seed % 5;
        (0..steps).for_each(|_| _ = bench.step());
        (5..=8).for_each(|index| bench.write(index));
        let reported =
            tickets(&take(&mut bench.reports)).into_iter().map(|(ticket, _)| ticket).max();
        bench.disk.crash();
        assert_eq!(bench.disk.deadline(), None, "a dead process hears nothing");
        let lost = bench.disk.tally().lost;
        let loaded = bench.open().unwrap();
        let last = last(&loaded);
        assert!(
            last >= reported.unwrap_or(0),
            "seed {seed}: {reported:?} was reported, {last} is left"
        );
        assert_eq!((last + lost, bench.disk.tally().written), (8, last), "seed {seed}");
        kept[usize::from(last > reported.unwrap_or(0)) + usize::from(last == 8)] += 1;
    }
    assert!(kept[0] > 10 && kept[1] > 10, "both happen: {kept:?}");
}

#[test]
fn store_17_what_waits_shares_a_sync() {
    let mut bench = Bench::new(2);
    bench.open().unwrap();
    (1..=100).for_each(|index| bench.write(index));
    let reports = bench.run();
    assert!(tickets(&reports).iter().map(|(ticket, _)| *ticket).eq(1..=100));
    let tally = bench.disk.tally();
    assert_eq!((tally.written, tally.syncs), (100, 2), "the first alone, then all that waited");
}

#[test]
fn reports_come_late_and_in_any_order() {
    let mut bench = Bench::new(3);
    bench.disk.habits = Habits { shuffled: true, stalls: 200_000, ..Habits::default() };
    bench.open().unwrap();
    let (begin, mut disorder) = (bench.now, 0);
    for round in 0..50 {
        (1..=4).for_each(|index| bench.write(round * 4 + index));
        let reported = tickets(&bench.run());
        assert_eq!(reported.len(), 4);
        disorder += usize::from(!reported.is_sorted_by_key(|(ticket, _)| *ticket));
    }
    let tally = bench.disk.tally();
    assert!(disorder > 10 && tally.stalls > 10, "{disorder} {tally:?}");
    assert!(bench.now.since(begin) > Duration::from_secs(3), "stalls take time");
}

#[test]
fn store_07_after_an_error_nothing_is_tried_again() {
    for (seed, error) in (0..16).zip([DiskError::Full, DiskError::Io].into_iter().cycle()) {
        let mut bench = Bench::new(seed);
        let seat = bench.open().unwrap().seat;
        bench.write(1);
        bench.run();
        bench.disk.fail(error);
        bench.write(2);
        assert_eq!(tickets(&bench.run()), [(2, Some(error))]);
        bench.disk.fail(DiskError::Damaged);
        bench.write(3);
        assert_eq!(tickets(&bench.run()), [(3, Some(error))], "always the first");
        bench.disk.mend();
        bench.write(3);
        assert_eq!(tickets(&bench.run()), [(3, Some(error))], "also when it works again");
        bench.disk.crash();
        let left = last(&bench.open().unwrap());
        assert!(left == 1 || left == 2, "2 may have been written, 3 was not: {left}");
        bench.submit(Task::Wipe);
        let Some(Report::Loaded(Ok(loaded))) = bench.run().pop() else { panic!("wiped") };
        assert!(loaded.fresh && loaded.seat != seat && last(&loaded) == 0);
        bench.write(1);
        assert_eq!(tickets(&bench.run()), [(1, None)]);
        assert_eq!(bench.disk.tally().refused, 3);
    }
}

#[test]
fn a_broken_device_keeps_its_store_and_cannot_be_wiped() {
    let mut bench = Bench::new(5);
    let seat = bench.open().unwrap().seat;
    bench.write(1);
    bench.run();
    bench.disk.fail(DiskError::Full);
    bench.submit(Task::Wipe);
    assert!(matches!(bench.run()[..], [Report::Loaded(Err(DiskError::Full))]));
    bench.disk.crash();
    assert_eq!(bench.open().unwrap_err(), DiskError::Full, "no boot number can be raised");
    bench.disk.crash();
    bench.disk.mend();
    let loaded = bench.open().unwrap();
    assert_eq!((loaded.seat, last(&loaded)), (seat, 1));
}

#[test]
fn store_14_a_flipped_bit_is_damage_until_the_store_is_wiped() {
    let mut bench = Bench::new(6);
    bench.disk.flip(Part::Log);
    let seat = bench.open().unwrap().seat;
    bench.write(1);
    bench.run();
    bench.disk.flip(Part::Log);
    bench.write(2);
    assert_eq!(tickets(&bench.run()), [(2, None)], "who runs does not notice");
    bench.disk.crash();
    for _ in 0..2 {
        assert_eq!(bench.open().unwrap_err(), DiskError::Damaged);
        bench.write(3);
        assert_eq!(tickets(&bench.run()), [(3, Some(DiskError::Damaged))]);
        bench.disk.crash();
    }
    bench.open().unwrap_err();
    bench.submit(Task::Wipe);
    let Some(Report::Loaded(Ok(loaded))) = bench.run().pop() else { panic!("wiped") };
    assert!(loaded.fresh && loaded.seat != seat && loaded.boot == 1);
}

#[test]
fn store_16_a_copy_comes_back_with_an_old_boot_number() {
    let mut bench = Bench::new(7);
    let seat = bench.open().unwrap().seat;
    bench.write(1);
    bench.run();
    let copy = bench.disk.copy();
    bench.write(2);
    bench.run();
    bench.disk.close();
    assert_eq!(bench.open().unwrap().boot, 2);
    bench.disk.crash();
    bench.disk.roll_back(copy);
    let loaded = bench.open().unwrap();
    assert_eq!((loaded.seat, loaded.boot, last(&loaded)), (seat, 2, 1), "2 was there before");
}

#[test]
fn a_deleted_directory_is_empty_for_the_next_process() {
    let mut bench = Bench::new(8);
    let seat = bench.open().unwrap().seat;
    bench.disk.delete();
    bench.write(1);
    assert_eq!(tickets(&bench.run()), [(1, None)], "open files go on");
    assert!(bench.disk.copy().is_none());
    bench.disk.crash();
    let loaded = bench.open().unwrap();
    assert!(loaded.fresh && loaded.seat != seat && last(&loaded) == 0);
}

#[test]
fn store_12_a_snapshot_counts_from_the_write_that_refers_to_it() {
    let mut bench = Bench::new(9);
    bench.open().unwrap();
    (1..=4).for_each(|index| bench.write(index));
    bench.run();
    bench.submit(Task::Compact(position(1, 3)));
    assert!(matches!(bench.run()[..], [Report::Compacted(Err(DiskError::NoSnapshot))]));
    bench.stage(&snapshot(1, 3), b"three");
    bench.submit(Task::Compact(position(1, 3)));
    let reports = bench.run();
    assert!(matches!(reports[..], [Report::Staged(Ok(())), Report::Compacted(Ok(_))]));
    bench.disk.crash();
    let loaded = bench.open().unwrap();
    assert_eq!((loaded.stored.base.last, last(&loaded)), (position(1, 3), 4), "entry 4 stays");
    assert_eq!(loaded.snapshot.as_deref(), Some(&b"three"[..]));

    bench.stage(&snapshot(2, 9), b"nine");
    bench.run();
    bench.disk.crash();
    assert_eq!(bench.open().unwrap().stored.base.last, position(1, 3), "nothing refers to it");
    let reset = Write { reset: Some(snapshot(2, 9)), ..entry(2, 10) };
    bench.submit(Task::Write(Ticket(1), reset.clone()));
    let failed = [(1, Some(DiskError::NoSnapshot))];
    assert_eq!(tickets(&bench.run()), failed, "what was staged is gone");
    bench.disk.crash();
    bench.open().unwrap();
    bench.stage(&snapshot(2, 9), b"nine");
    bench.submit(Task::Write(Ticket(1), reset));
    bench.submit(Task::ReadSnapshot);
    let reports = bench.run();
    assert_eq!(tickets(&reports), [(1, None)]);
    assert!(matches!(&reports[2], Report::Snapshot(Ok(Some(bytes))) if bytes == "nine"));
    bench.disk.flip(Part::Snapshot);
    bench.submit(Task::ReadSnapshot);
    assert!(matches!(bench.run()[..], [Report::Snapshot(Err(DiskError::Damaged))]));
    bench.disk.close();
    assert_eq!(bench.open().unwrap_err(), DiskError::Damaged);
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_log_alone() {
    let mut bench = Bench::new(10);
    bench.open().unwrap();
    bench.disk.fail(DiskError::Full);
    bench.stage(&snapshot(1, 0), b"none");
    assert!(matches!(bench.run()[..], [Report::Staged(Err(DiskError::Full))]));
    bench.disk.mend();
    bench.write(1);
    assert_eq!(tickets(&bench.run()), [(1, None)]);
}

#[test]
fn whatever_is_under_way_a_crash_leaves_the_old_or_the_new() {
    let (mut olds, mut news) = (0, 0);
    for seed in 0..40 {
        let mut bench = Bench::new(seed);
        let seat = bench.open().unwrap().seat;
        (1..=4).for_each(|index| bench.write(index));
        bench.stage(&snapshot(1, 3), b"three");
        bench.run();
        let wipe = seed % 2 == 0;
        bench.submit(if wipe { Task::Wipe } else { Task::Compact(position(1, 3)) });
        bench.disk.crash();
        let loaded = bench.open().unwrap();
        let is_new = if wipe { loaded.seat != seat } else { loaded.stored.base.last.index.0 == 3 };
        assert_eq!(last(&loaded), if wipe && is_new { 0 } else { 4 });
        assert_eq!(loaded.fresh, wipe && is_new);
        (olds, news) = (olds + u32::from(!is_new), news + u32::from(is_new));
    }
    assert!(olds > 5 && news > 5, "{olds} {news}");
}

#[test]
fn store_18_the_queue_is_bounded() {
    let mut bench = Bench::new(11);
    bench.open().unwrap();
    // The first is begun at once.
    for index in 1..=limits::STORE_TASKS as u64 + 1 {
        bench.write(index);
    }
    let task = Task::Write(Ticket(0), Write::default());
    assert!(matches!(bench.disk.submit(bench.now, task), Err(Busy(_))));
    assert_eq!(bench.run().len(), limits::STORE_TASKS + 1);
    bench.write(limits::STORE_TASKS as u64 + 2);
}

#[test]
fn the_same_calls_give_the_same_reports() {
    let run = || {
        let mut bench = Bench::new(12);
        bench.disk.habits = Habits { shuffled: true, stalls: 100_000, ..Habits::default() };
        let mut text = String::new();
        for round in 0..10 {
            text += &format!("{:?}", bench.open());
            let next = bench.disk.copy().map_or(1, |copy| {
                let stored = copy.stored();
                stored.runs.last().map_or(0, |run| run.end().index.0) + 1
            });
            (next..next + 5).for_each(|index| bench.write(index));
            (0..round % 4).for_each(|_| _ = bench.step());
            text += &format!("{:?} {:?}", bench.reports, bench.now);
            bench.reports.clear();
            bench.disk.crash();
        }
        text
    };
    assert_eq!(run(), run());
}
