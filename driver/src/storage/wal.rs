//! The write-ahead log: how records get to disk, and when they leave it.
//!
//! Format and rules: `docs/spec/store.md`. Reading back is in `recovery.rs`.

use std::{collections::VecDeque, path::Path};

use mosaik_proto::{
    limits,
    raft::{LogIndex, Position, Seat, SeatId, Snapshot, Write},
};

use super::{
    Loaded, LogStore, SnapshotReader, StoreError,
    chain::Chain,
    disk::{Directory, Disk, DiskFile, write_full},
    memory::fresh_seat,
    record::Record,
    recovery,
    segment::{self, Header, Mark, RECORDS_AT},
    snapshot_file::{Reader, Staged, Writer},
    state::State,
};

/// Framed records are handed to the operating system from this size on.
const SPILL: usize = 1024 * 1024;
const WRITING: &str = "writing the log";

/// A store in a directory of its own: survives crashes, and notices when its files were changed.
///
/// Nothing is read or created before [`load`](LogStore::load). A directory has one user at a time.
/// Restoring it from a copy counts as losing it.
#[derive(Debug)]
pub struct Wal {
    disk: Box<dyn Disk>,
    segment_bytes: u64,
    open: Option<Open>,
    failed: bool,
}

/// What an open store knows.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) state: State,
    pub(super) active: Active,
    /// Segments before the active one, and the highest entry that each was given.
    pub(super) sealed: VecDeque<(u64, LogIndex)>,
    pub(super) next_snapshot: u64,
    pub(super) writing: Option<Writer>,
    pub(super) staged: Option<Staged>,
    /// Files that nothing refers to once everything taken is durable.
    pub(super) stale: Vec<String>,
}

/// The segment that grows.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) header: Header,
    pub(super) file: Box<dyn DiskFile>,
    /// Framed and not yet written; its place in the file.
    pub(super) buffer: Vec<u8>,
    pub(super) buffer_at: u64,
    pub(super) length: u64,
    /// Behind everything framed.
    pub(super) chain: Chain,
    pub(super) highest: LogIndex,
    /// Something is written or framed and not synced.
    pub(super) dirty: bool,
    /// Written last, the slot for the next, and whether it was synced.
    pub(super) mark: Mark,
    pub(super) slot: usize,
    pub(super) mark_synced: bool,
}

impl Wal {
    /// A store in this directory, which is created by [`load`](LogStore::load).
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::on(Box::new(Directory::new(path.as_ref())))
    }

    /// A store on other files than this machine's.
    #[must_use]
    pub fn on(disk: Box<dyn Disk>) -> Self {
        Self { disk, segment_bytes: limits::SEGMENT_BYTES, open: None, failed: false }
    }

    /// Segments of another size than [`limits::SEGMENT_BYTES`].
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// STORE-07: whatever fails, nothing is tried again.
    fn run<T>(
        &mut self,
        act: impl FnOnce(&mut Open, &dyn Disk) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.open.take().ok_or(StoreError::Poisoned)?;
        let result = act(&mut open, &*self.disk);
        if result.is_ok() {
            self.open = Some(open);
        } else {
            self.failed = true;
        }
        result
    }

    fn put(&mut self, records: impl Iterator<Item = Record>) -> Result<(), StoreError> {
        let segment_bytes = self.segment_bytes;
        self.run(|open, disk| open.put(records, segment_bytes, disk))
    }

    fn lock(&mut self) -> Result<(), StoreError> {
        self.disk.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::Locked,
            _ => StoreError::io("locking the directory")(error),
        })
    }

    fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            // Everything acknowledged is durable without it.
            let _ = open.sync(&*self.disk);
            let _ = open.active.finish();
        }
    }
}

impl LogStore for Wal {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        self.close();
        self.lock()?;
        let (mut open, loaded) = recovery::recover(&*self.disk)?;
        open.sweep(&*self.disk);
        self.open = Some(open);
        Ok(loaded)
    }

    fn raise_boot(&mut self) -> Result<u64, StoreError> {
        let boot = self.open.as_ref().ok_or(StoreError::Poisoned)?.state.boot + 1;
        self.put([Record::Boot(boot)].into_iter())?;
        self.sync()?;
        Ok(boot)
    }

    fn remember_boot(&mut self, seat: Seat, boot: u64) -> Result<(), StoreError> {
        self.put([Record::Seen(seat, boot)].into_iter())
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        let mut file = None;
        if let Some(reset) = &write.reset {
            file = self.run(|open, _| open.reset(reset))?.map(|staged| staged.file);
        }
        self.put(Record::of(write, file))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.run(Open::sync)
    }

    fn begin_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Poisoned)?;
        if let Some(writer) = open.writing.take() {
            Writer::discard(&*self.disk, writer.number());
        }
        if let Some(staged) = open.staged.take() {
            remove(&*self.disk, &staged.file.name());
        }
        let number = open.next_snapshot;
        open.next_snapshot += 1;
        let begun = Writer::begin(&*self.disk, open.state.seat, number, snapshot);
        open.writing = Some(begun.inspect_err(|_| Writer::discard(&*self.disk, number))?);
        Ok(())
    }

    fn snapshot_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Poisoned)?;
        let mut writer = open.writing.take().ok_or_else(none_begun)?;
        let number = writer.number();
        writer.append(chunk).inspect_err(|_| Writer::discard(&*self.disk, number))?;
        open.writing = Some(writer);
        Ok(())
    }

    fn finish_snapshot(&mut self) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Poisoned)?;
        let writer = open.writing.take().ok_or_else(none_begun)?;
        let number = writer.number();
        let staged = writer.finish(&*self.disk);
        open.staged = Some(staged.inspect_err(|_| Writer::discard(&*self.disk, number))?);
        Ok(())
    }

    fn compact(&mut self, last: Position) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Poisoned)?;
        let staged = open.staged.take_if(|staged| staged.snapshot.last == last);
        let Staged { snapshot, file } = staged.ok_or(StoreError::NoSnapshot(last))?;
        open.outdate_snapshot();
        self.put([Record::Base(Box::new(snapshot), Some(file))].into_iter())?;
        self.sync()
    }

    fn open_snapshot(&mut self) -> Result<Option<Box<dyn SnapshotReader>>, StoreError> {
        let State { seat, base, file, .. } = &self.open.as_ref().ok_or(StoreError::Poisoned)?.state;
        let Some(file) = file else { return Ok(None) };
        let (reader, _) = Reader::open(&*self.disk, *seat, base, file)?;
        Ok(Some(Box::new(reader)))
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.run(|open, disk| {
            open.sync(disk)?;
            open.active.sync_mark()
        })
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        self.open = None;
        self.lock()?;
        let names = self.disk.list().map_err(StoreError::io("listing the directory"))?;
        let numbers = names.iter().filter_map(|name| segment::number_of(name, ".wal"));
        let number = numbers.max().map_or(1, |highest| highest.saturating_add(1));
        let seat = fresh_seat();
        found(&*self.disk, number, seat)?;
        self.failed = false;
        let kept = segment::name(number);
        names.iter().filter(|name| is_ours(name) && **name != kept).for_each(|name| {
            remove(&*self.disk, name);
        });
        Ok(())
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn put(
        &mut self,
        records: impl Iterator<Item = Record>,
        segment_bytes: u64,
        disk: &dyn Disk,
    ) -> Result<(), StoreError> {
        if !self.active.dirty && self.active.buffer_at >= segment_bytes {
            self.roll(disk)?;
        }
        let mut records = records.peekable();
        while let Some(record) = records.next() {
            self.state.apply(&record).map_err(StoreError::Misfit)?;
            self.active.push(&record, records.peek().is_none())?;
        }
        Ok(())
    }

    /// Takes the snapshot of a reset; everything before is of no use once the reset is durable.
    fn reset(&mut self, snapshot: &Snapshot) -> Result<Option<Staged>, StoreError> {
        let staged = self.staged.take_if(|staged| staged.snapshot == *snapshot);
        if staged.is_none() && snapshot.last.index.0 > 0 {
            return Err(StoreError::NoSnapshot(snapshot.last));
        }
        self.outdate_snapshot();
        self.sealed.iter_mut().for_each(|(_, highest)| *highest = LogIndex(0));
        self.active.highest = LogIndex(0);
        Ok(staged)
    }

    fn outdate_snapshot(&mut self) {
        self.stale.extend(self.state.file.as_ref().map(|file| file.name()));
    }

    /// One append, one sync, one mark.
    fn sync(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        if self.active.dirty {
            self.active.sync()?;
            self.sweep(disk);
        }
        Ok(())
    }

    /// STORE-11: files go when nothing durable refers to them any more; oldest segments first.
    fn sweep(&mut self, disk: &dyn Disk) {
        let base = self.state.base.last.index;
        while let Some((number, _)) = self.sealed.pop_front_if(|(_, highest)| *highest <= base) {
            self.stale.push(segment::name(number));
        }
        self.stale.drain(..).for_each(|name| remove(disk, &name));
    }

    /// Ends the active segment and begins the next.
    fn roll(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        self.active.finish()?;
        let Header { number, seat, .. } = self.active.header;
        let header = Header { founding: false, number: number + 1, seat, chain: self.active.chain };
        let next = create(disk, header, &self.state)?;
        self.sealed.push_back((number, self.active.highest));
        self.active = next;
        Ok(())
    }
}

impl Active {
    fn push(&mut self, record: &Record, end: bool) -> Result<(), StoreError> {
        self.dirty = true;
        let rest = record.frame(end, &mut self.chain, &mut self.buffer)?;
        if let Record::Run(run) = record {
            self.highest = self.highest.max(run.end().index);
        }
        if !rest.is_empty() || self.buffer.len() >= SPILL {
            self.flush()?;
            write_full(&*self.file, rest, self.buffer_at).map_err(StoreError::io(WRITING))?;
            self.buffer_at += rest.len() as u64;
            self.length = self.length.max(self.buffer_at);
        }
        Ok(())
    }

    /// Hands what is framed to the operating system.
    fn flush(&mut self) -> Result<(), StoreError> {
        write_full(&*self.file, &self.buffer, self.buffer_at).map_err(StoreError::io(WRITING))?;
        self.buffer_at += self.buffer.len() as u64;
        self.length = self.length.max(self.buffer_at);
        self.buffer.clear();
        Ok(())
    }

    /// The file grows in steps of zeros, so that the syncs of small batches need not change its
    /// length.
    fn pad(&mut self) {
        let end = self.buffer_at + self.buffer.len() as u64;
        if end > self.length && !self.buffer.is_empty() {
            let grown = end.next_multiple_of(limits::SEGMENT_STEP);
            self.buffer.resize(self.buffer.len() + (grown - end) as usize, 0);
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let end = self.buffer_at + self.buffer.len() as u64;
        self.pad();
        self.flush()?;
        self.buffer_at = end;
        self.file.sync().map_err(StoreError::io("syncing the log"))?;
        self.dirty = false;
        // STORE-04: it goes to disk with the next sync.
        let count = self.mark.count + 1;
        self.mark = Mark { count, at: self.buffer_at, chain: self.chain.0 };
        self.header.write_mark(&*self.file, self.slot, self.mark)?;
        self.slot = 1 - self.slot;
        self.mark_synced = false;
        Ok(())
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        if !self.mark_synced {
            self.file.sync().map_err(StoreError::io("syncing the mark"))?;
            self.mark_synced = true;
        }
        Ok(())
    }

    /// Cuts off the zeros, and makes the last mark durable.
    fn finish(&mut self) -> Result<(), StoreError> {
        if self.length > self.buffer_at {
            self.file.set_length(self.buffer_at).map_err(StoreError::io("cutting the log"))?;
            self.length = self.buffer_at;
            self.mark_synced = false;
        }
        self.sync_mark()
    }
}

/// Begins a store.
pub(super) fn found(disk: &dyn Disk, number: u64, seat: SeatId) -> Result<Active, StoreError> {
    let header = Header { founding: true, number, seat, chain: Chain::founding(seat) };
    create(disk, header, &State::new(seat))
}

/// STORE-10: a segment has its name only when it is whole.
fn create(disk: &dyn Disk, header: Header, state: &State) -> Result<Active, StoreError> {
    let making = || StoreError::io("beginning a segment");
    let mut records = Vec::new();
    let mut chain = header.chain;
    let checkpoint = Record::Checkpoint(Box::new(state.clone()));
    checkpoint.frame(true, &mut chain, &mut records)?;
    let length = RECORDS_AT + records.len() as u64;
    let mark = Mark { count: 1, at: length, chain: chain.0 };
    let mut bytes = header.pages(mark);
    bytes.append(&mut records);
    let name = segment::name(header.number);
    let temporary = format!("{name}.tmp");
    let file = disk.create(&temporary).map_err(making())?;
    write_full(&*file, &bytes, 0).map_err(making())?;
    file.sync().map_err(making())?;
    disk.rename(&temporary, &name).map_err(making())?;
    disk.sync_names().map_err(making())?;
    Ok(Active {
        header,
        file,
        buffer: Vec::new(),
        buffer_at: length,
        length,
        chain,
        highest: LogIndex(0),
        dirty: false,
        mark,
        slot: 0,
        mark_synced: true,
    })
}

/// True for the names of files that stores make.
pub(super) fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    [".wal", ".snap"].iter().any(|ending| segment::number_of(name, ending).is_some())
}

/// Removes a file that nothing refers to; if that fails the next start tries again.
pub(super) fn remove(disk: &dyn Disk, name: &str) {
    if let Err(error) = disk.remove(name) {
        tracing::warn!(name, %error, "a file of the store that is not needed stays");
    }
}

fn none_begun() -> StoreError {
    StoreError::NoSnapshot(Position::default())
}
