//! A write-ahead log whose syncs are counted: those that the member asked for, and those of files.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use mosaik::{
    driver::storage::{
        Loaded, LogStore, SnapshotReader, StoreError, Wal,
        disk::{Disk, DiskFile},
    },
    proto::raft::{Position, Seat, Snapshot, Write},
};

/// What was done, by all stores that share it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Batches: what was written since the last one is made durable.
    batches: AtomicU64,
    fsyncs: AtomicU64,
}

impl Counts {
    /// Batches and fsyncs so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.batches.load(Relaxed), self.fsyncs.load(Relaxed))
    }
}

/// A [`Wal`], counted.
pub(crate) struct Counted {
    wal: Wal,
    counts: Arc<Counts>,
    written: bool,
}

impl Counted {
    pub(crate) fn new(path: &Path, counts: &Arc<Counts>) -> Self {
        let disk = Plain { path: path.to_owned(), counts: counts.clone() };
        Self { wal: Wal::on(Box::new(disk)), counts: counts.clone(), written: false }
    }
}

impl LogStore for Counted {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.wal.load()
    }

    fn raise_boot(&mut self) -> Result<u64, StoreError> {
        self.wal.raise_boot()
    }

    fn remember_boot(&mut self, seat: Seat, boot: u64) -> Result<(), StoreError> {
        self.wal.remember_boot(seat, boot)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.written = true;
        self.wal.write(write)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.counts.batches.fetch_add(u64::from(std::mem::take(&mut self.written)), Relaxed);
        self.wal.sync()
    }

    fn begin_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.wal.begin_snapshot(snapshot)
    }

    fn snapshot_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.wal.snapshot_chunk(chunk)
    }

    fn finish_snapshot(&mut self) -> Result<(), StoreError> {
        self.wal.finish_snapshot()
    }

    fn compact(&mut self, last: Position) -> Result<(), StoreError> {
        self.wal.compact(last)
    }

    fn open_snapshot(&mut self) -> Result<Option<Box<dyn SnapshotReader>>, StoreError> {
        self.wal.open_snapshot()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.wal.settle()
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        self.wal.wipe()
    }
}

/// A directory without a lock.
#[derive(Debug)]
struct Plain {
    path: PathBuf,
    counts: Arc<Counts>,
}

impl Plain {
    fn file(&self, file: File) -> Box<dyn DiskFile> {
        Box::new(PlainFile { file: Box::new(file), counts: self.counts.clone() })
    }
}

impl Disk for Plain {
    fn lock(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(self.file(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(self.file(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.counts.fsyncs.fetch_add(1, Relaxed);
        File::open(&self.path)?.sync_all()
    }
}

/// What the store makes of a file of this machine.
#[derive(Debug)]
struct PlainFile {
    file: Box<dyn DiskFile>,
    counts: Arc<Counts>,
}

impl DiskFile for PlainFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.file.write_at(bytes, at)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.fsyncs.fetch_add(1, Relaxed);
        self.file.sync()
    }
}
