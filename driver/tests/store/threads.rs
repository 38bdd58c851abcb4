//! The thread that owns a store: order, group commit, errors, the end.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
};

use mosaik_driver::storage::{LogStore, Report, StoreError, StoreThread, Task, Wal};
use mosaik_proto::{
    limits,
    raft::{LogIndex, Position, Snapshot, Term, Ticket, Write, sole},
};

use crate::{
    asked_store::{AskedStore, Call},
    files::Place,
    model::{LINEAGE, commands, content, seat},
};

/// How a sync ends.
enum How {
    Well,
    Badly,
    Panicking,
}

impl How {
    fn end(self) -> Result<(), StoreError> {
        match self {
            Self::Well => Ok(()),
            Self::Badly => {
                let error = Arc::new(std::io::Error::other("no"));
                Err(StoreError::Io { doing: "testing", error })
            }
            Self::Panicking => panic!("as the test wants it"),
        }
    }
}

struct Rig {
    thread: StoreThread,
    reports: Receiver<Report>,
    syncs: Arc<AtomicUsize>,
    entered: Receiver<()>,
    gate: Sender<How>,
    settled: Receiver<()>,
}

fn start(store: impl LogStore) -> (StoreThread, Receiver<Report>) {
    let (report, reports) = mpsc::channel();
    let thread = StoreThread::start(Box::new(store), move |it| {
        let _ = report.send(it);
    });
    (thread.unwrap(), reports)
}

/// Its store syncs only when told how that ends.
fn gated() -> Rig {
    let (enter, entered) = mpsc::channel();
    let (gate, gated) = mpsc::channel::<How>();
    let (settle, settled) = mpsc::channel();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = syncs.clone();
    let (thread, reports) = start(AskedStore::new(move |call| match call {
        Call::Sync => {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = enter.send(());
            match gated.recv() {
                Ok(how) => how.end(),
                // A disk that never answers.
                Err(_) => loop {
                    std::thread::park();
                },
            }
        }
        Call::Settle => {
            let _ = settle.send(());
            Ok(())
        }
        Call::Load | Call::Write | Call::SnapshotChunk | Call::Wipe => Ok(()),
    }));
    assert!(matches!(reports.recv().unwrap(), Report::Loaded(Ok(loaded)) if loaded.boot == 1));
    Rig { thread, reports, syncs, entered, gate, settled }
}

fn write(ticket: u64) -> Task {
    let run = commands(1, ticket, 1, 16);
    Task::Write(Ticket(ticket), Write { runs: vec![run], ..Write::default() })
}

fn persisted(reports: &Receiver<Report>) -> Option<u64> {
    match reports.recv().unwrap() {
        Report::Persisted(ticket) => Some(ticket.0),
        Report::PersistFailed { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// STORE-15: who starts while a program that ends still has the directory waits for it.
#[test]
fn a_directory_that_is_let_go_of_is_waited_for() {
    let mut refusals = 3;
    let (thread, reports) = start(AskedStore::new(move |call| match call {
        Call::Load if refusals > 0 => {
            refusals -= 1;
            Err(StoreError::Locked)
        }
        _ => Ok(()),
    }));
    assert!(matches!(reports.recv().unwrap(), Report::Loaded(Ok(loaded)) if loaded.boot == 1));
    thread.submit(write(1)).unwrap();
    assert_eq!(persisted(&reports), Some(1));
}

/// STORE-17: what waits while the disk is busy shares the next sync; reports keep the order.
#[test]
fn what_waits_shares_one_sync() {
    let rig = gated();
    rig.thread.submit(write(1)).unwrap();
    rig.entered.recv().unwrap();
    (2..=500).for_each(|ticket| rig.thread.submit(write(ticket)).unwrap());
    rig.gate.send(How::Well).unwrap();
    rig.gate.send(How::Well).unwrap();
    for ticket in 1..=500 {
        assert_eq!(persisted(&rig.reports), Some(ticket));
    }
    assert_eq!(rig.syncs.load(Ordering::SeqCst), 2);
}

/// STORE-04: a store that has nothing to do is told so, once.
#[test]
fn an_idle_thread_settles_its_store() {
    let rig = gated();
    rig.settled.recv().unwrap();
    rig.thread.submit(write(1)).unwrap();
    rig.gate.send(How::Well).unwrap();
    assert_eq!(persisted(&rig.reports), Some(1));
    rig.settled.recv().unwrap();
}

/// STORE-07 (R51, G40): from a failed sync on every write is refused, and each is told so.
#[test]
fn a_failed_sync_is_the_end() {
    for how in [How::Badly, How::Panicking] {
        let rig = gated();
        rig.thread.submit(write(1)).unwrap();
        rig.entered.recv().unwrap();
        rig.thread.submit(write(2)).unwrap();
        rig.gate.send(how).unwrap();
        rig.gate.send(How::Well).unwrap();
        assert_eq!((persisted(&rig.reports), persisted(&rig.reports)), (None, None));
        rig.thread.submit(write(3)).unwrap();
        assert_eq!(persisted(&rig.reports), None);
        assert_eq!(rig.syncs.load(Ordering::SeqCst), 1, "it is not tried again");
        // Empty, it goes on as somebody else.
        rig.thread.submit(Task::Wipe).unwrap();
        assert!(matches!(rig.reports.recv().unwrap(), Report::Loaded(Ok(loaded)) if loaded.fresh));
    }
}

/// STORE-18: the queue is bounded in tasks and in bytes; what it does not take comes back.
#[test]
fn a_full_queue_gives_the_task_back() {
    let rig = gated();
    rig.thread.submit(write(1)).unwrap();
    rig.entered.recv().unwrap();
    let tasks = limits::STORE_TASKS as u64;
    (2..2 + tasks).for_each(|ticket| rig.thread.submit(write(ticket)).unwrap());
    let busy = rig.thread.submit(write(0)).unwrap_err();
    assert!(matches!(*busy.0, Task::Write(Ticket(0), _)));
    drop(rig);

    let rig = gated();
    rig.thread.submit(write(1)).unwrap();
    rig.entered.recv().unwrap();
    let large = || Task::SnapshotChunk(vec![0; limits::STORE_QUEUE_BYTES / 2 + 1].into());
    rig.thread.submit(large()).unwrap();
    rig.thread.submit(large()).unwrap_err();
    rig.thread.submit(write(2)).unwrap();
    rig.gate.send(How::Well).unwrap();
    rig.gate.send(How::Well).unwrap();
    assert_eq!((persisted(&rig.reports), persisted(&rig.reports)), (Some(1), Some(2)));
}

/// STORE-18: a handle that is dropped waits for what it was given; but not for ever.
#[test]
fn the_end_writes_what_waits_and_is_bounded() {
    let place = Place::new();
    let (thread, reports) = start(Wal::new(&place.0));
    assert!(matches!(reports.recv().unwrap(), Report::Loaded(Ok(_))));
    (1..=300).for_each(|ticket| thread.submit(write(ticket)).unwrap());
    drop(thread);
    assert_eq!(reports.iter().count(), 300);
    let loaded = Wal::new(&place.0).load().unwrap();
    assert_eq!(loaded.stored.runs.len(), 300);

    let Rig { thread, entered, gate, reports, .. } = gated();
    thread.submit(write(1)).unwrap();
    entered.recv().unwrap();
    drop(gate);
    drop(thread);
    assert!(reports.try_recv().is_err());
}

/// Everything that a store can be asked for, through its thread, and a damaged one at the end.
#[test]
fn snapshots_boots_and_damage() {
    let place = Place::new();
    let (thread, reports) = start(Wal::new(&place.0));
    let Report::Loaded(Ok(first)) = reports.recv().unwrap() else { panic!("it loads") };
    let last = Position { term: Term(1), index: LogIndex(2) };
    let snapshot = Snapshot { lineage: LINEAGE, last, membership: sole(seat(1)), commands: 2 };
    let bytes = content(300_000);
    let tasks = [
        Task::SnapshotChunk(vec![1].into()),
        write(1),
        write(2),
        write(3),
        Task::RememberBoot(seat(2), 7),
        Task::BeginSnapshot(snapshot.clone()),
        Task::SnapshotChunk(bytes[..200_000].to_vec().into()),
        Task::SnapshotChunk(bytes[200_000..].to_vec().into()),
        Task::FinishSnapshot,
        Task::Compact(last),
        Task::Compact(last),
        Task::OpenSnapshot,
    ];
    tasks.into_iter().for_each(|task| thread.submit(task).unwrap());
    let mut seen: Vec<Report> = Vec::new();
    while !matches!(seen.last(), Some(Report::Opened(_))) {
        seen.push(reports.recv().unwrap());
    }
    let count = |what: fn(&Report) -> bool| seen.iter().filter(|report| what(report)).count();
    assert_eq!(count(|report| matches!(report, Report::Persisted(_))), 3);
    assert_eq!(count(|report| matches!(report, Report::Staged(Ok(())))), 1);
    assert_eq!(count(|report| matches!(report, Report::Compacted(Ok(_)))), 1);
    let none =
        |report: &Report| matches!(report, Report::Compacted(Err(StoreError::NoSnapshot(_))));
    assert_eq!(count(none), 1);
    let Some(Report::Opened(Ok(Some(reader)))) = seen.pop() else { panic!("there is a snapshot") };
    assert_eq!((reader.snapshot(), reader.bytes()), (&snapshot, 300_000));
    assert_eq!(reader.chunk(1).unwrap().unwrap(), bytes[limits::SNAPSHOT_CHUNK..]);
    thread.submit(write(4)).unwrap();
    assert_eq!(persisted(&reports), Some(4));
    drop(thread);

    let (thread, reports) = start(Wal::new(&place.0));
    let Report::Loaded(Ok(second)) = reports.recv().unwrap() else { panic!("it loads") };
    assert_eq!((second.seat, first.boot, second.boot), (first.seat, 1, 2));
    assert_eq!((second.stored.base, second.boots), (snapshot, vec![(seat(2), 7)]));
    assert_eq!(second.stored.runs, [commands(1, 3, 1, 16), commands(1, 4, 1, 16)]);
    drop(thread);

    let file = place.0.join("0000000000000001.wal");
    let mut bytes = fs::read(&file).unwrap();
    bytes[12_500] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (thread, reports) = start(Wal::new(&place.0));
    let report = reports.recv().unwrap();
    assert!(matches!(report, Report::Loaded(Err(StoreError::Damaged { .. }))), "{report:?}");
    thread.submit(write(1)).unwrap();
    assert_eq!(persisted(&reports), None);
    thread.submit(Task::Wipe).unwrap();
    let Report::Loaded(Ok(third)) = reports.recv().unwrap() else { panic!("it loads") };
    assert!(third.fresh && third.seat != first.seat && third.boot == 1);
}
