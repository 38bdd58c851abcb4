//! The write-ahead log beside a bare append and fdatasync of the same bytes.
//!
//! `cargo bench -p mosaik-driver --bench wal [-- filter…]`
//!
//! A batch is one write of so many commands in one run, and one sync; the peer appends the run's
//! bytes to a file, without framing or checksum, and syncs. Both sides begin each round with an empty
//! file in the same directory; rounds alternate and the medians are compared, because what a sync
//! costs changes with whoever else uses the disk. `wal-thread` is the same through a store's thread,
//! one write outstanding.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use mosaik_driver::storage::{LogStore, Report, StoreThread, Task, Wal};
use mosaik_proto::{
    raft::{Kind, LogIndex, Origin, Run, Term, Ticket, Write},
    streams::item,
};

const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(250);
/// Bytes that one round may leave on the disk.
const ROUND_BYTES: usize = 128 * 1024 * 1024;

#[derive(Clone, Copy)]
struct Row {
    batch: u32,
    payload: usize,
}

impl Row {
    fn name(self) -> String {
        let payload = if self.payload < 1024 { "16B" } else { "1KiB" };
        format!("{}/{payload}", self.batch)
    }

    fn run(self, first: u64) -> Run {
        let mut data = Vec::with_capacity((self.payload + item::SHORT) * self.batch as usize);
        for n in 0..self.batch {
            data.extend(item::short(self.payload).expect("it is short"));
            data.resize(data.len() + self.payload, n as u8 ^ first as u8);
        }
        let (term, first, count) = (Term(1), LogIndex(first), self.batch);
        Run {
            term,
            first,
            count,
            kind: Kind::Commands,
            origin: Origin::default(),
            data: data.into(),
        }
    }

    /// Entries per second. `sync` makes one batch durable.
    fn round(self, mut sync: impl FnMut(Write)) -> f64 {
        let batches = (ROUND_BYTES / (self.payload * self.batch as usize)).max(1);
        let write = |batch: u64| {
            let runs = vec![self.run(1 + batch * u64::from(self.batch))];
            Write { runs, ..Write::default() }
        };
        sync(write(0));
        let mut spent = Duration::ZERO;
        let mut done = 0;
        while spent < ROUND && done < batches {
            done += 1;
            let next = write(done as u64);
            let start = Instant::now();
            sync(next);
            spent += start.elapsed();
        }
        done as f64 * f64::from(self.batch) / spent.as_secs_f64()
    }

    fn ours(self, place: &Path) -> f64 {
        let mut store = Wal::new(place);
        store.load().expect("it loads");
        self.round(|write| {
            store.write(&write).expect("it writes");
            store.sync().expect("it syncs");
        })
    }

    fn thread(self, place: &Path) -> f64 {
        let (report, reports) = mpsc::channel();
        let report = move |it| drop(report.send(it));
        let thread = StoreThread::start(Box::new(Wal::new(place)), report).expect("it starts");
        reports.recv().expect("it loads");
        let mut ticket = Ticket(0);
        self.round(|write| {
            ticket.0 += 1;
            thread.submit(Task::Write(ticket, write)).expect("it is idle");
            let report = reports.recv().expect("it lives");
            assert!(matches!(report, Report::Persisted(done) if done == ticket), "{report:?}");
        })
    }

    fn theirs(self, place: &Path) -> f64 {
        fs::create_dir_all(place).expect("a directory");
        let mut file = File::create(place.join("log")).expect("a file");
        self.round(|write| {
            file.write_all(&write.runs[0].data).expect("it writes");
            file.sync_data().expect("it syncs");
        })
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is `cargo test`, which has nothing to do here.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for kind in ["wal", "wal-thread"] {
        for payload in [16, 1024] {
            for batch in [1, 64, 1024] {
                let row = Row { batch, payload };
                let name = format!("{kind}/{}", row.name());
                if filters.is_empty() || filters.iter().any(|filter| name.contains(*filter)) {
                    compare(row, &name, kind == "wal-thread");
                }
            }
        }
    }
}

fn compare(row: Row, name: &str, threaded: bool) {
    let place: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wal-bench-{}", std::process::id()));
    let clean = || drop(fs::remove_dir_all(&place));
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..ROUNDS {
        clean();
        ours.push(if threaded { row.thread(&place) } else { row.ours(&place) });
        clean();
        theirs.push(row.theirs(&place));
    }
    clean();
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "RESULT name={name} ours={ours:.0} peer=append-fdatasync theirs={theirs:.0} ratio={:.3} unit=entries/s",
        ours / theirs
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
