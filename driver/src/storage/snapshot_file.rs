//! Snapshots on disk: chunks that are checked one by one, and a root that covers all.
//!
//! ```text
//! magic, version, number, seat, length of meta │ check │ meta │ check │ chunk │ check │ chunk │ check …
//! ```

use std::sync::Arc;

use bytes::Bytes;
use mosaik_proto::{
    limits,
    raft::{SeatId, Snapshot},
    wire,
};
use serde::{Deserialize, Serialize};

use super::{
    SnapshotReader,
    chain::{CHECK, Chain},
    disk::{Disk, DiskFile, read_full, write_full},
    error::{Damage, StoreError},
};

const MAGIC: [u8; 8] = *b"mosaik-S";
const VERSION: u32 = 1;
const HEADER: usize = 40;

/// Says which file holds a snapshot, and proves that it is that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotFile {
    pub(super) number: u64,
    pub(super) bytes: u64,
    root: [u8; 32],
}

impl SnapshotFile {
    pub(super) fn name(&self) -> String {
        name(self.number)
    }
}

pub(super) fn name(number: u64) -> String {
    format!("{number:016x}.snap")
}

fn key(seat: SeatId, number: u64) -> Chain {
    let mut place = [0; 24];
    place[..16].copy_from_slice(&seat.0);
    place[16..].copy_from_slice(&number.to_le_bytes());
    Chain::keyed("mosaik store 1: snapshot", &place)
}

/// A snapshot that is being written, under a name that no reader looks for.
#[derive(Debug)]
pub(super) struct Writer {
    snapshot: Snapshot,
    file: Box<dyn DiskFile>,
    number: u64,
    key: Chain,
    root: Chain,
    at: u64,
    bytes: u64,
    chunks: u64,
    buffer: Vec<u8>,
}

const WRITING: &str = "writing a snapshot";

impl Writer {
    pub(super) fn begin(
        disk: &dyn Disk,
        seat: SeatId,
        number: u64,
        snapshot: &Snapshot,
    ) -> Result<Self, StoreError> {
        let file = disk.create(&Self::temporary(number)).map_err(StoreError::io(WRITING))?;
        let key = key(seat, number);
        let snapshot = snapshot.clone();
        let meta = wire::encode(&snapshot);
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&seat.0);
        header.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        let (at, bytes, chunks, buffer) = (0, 0, 0, Vec::new());
        let mut writer = Self { snapshot, file, number, key, root: key, at, bytes, chunks, buffer };
        writer.put(b"header", &header)?;
        writer.put(b"meta", &meta)?;
        Ok(writer)
    }

    fn temporary(number: u64) -> String {
        format!("{}.tmp", name(number))
    }

    fn put(&mut self, label: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let check = self.key.next([label, bytes]).check();
        write_full(&*self.file, bytes, self.at).map_err(StoreError::io(WRITING))?;
        self.at += bytes.len() as u64;
        write_full(&*self.file, &check, self.at).map_err(StoreError::io(WRITING))?;
        self.at += CHECK as u64;
        self.root = self.root.next([&check, &[]]);
        Ok(())
    }

    fn put_chunk(&mut self, length: usize) -> Result<(), StoreError> {
        let rest = self.buffer.split_off(length);
        let chunk = std::mem::replace(&mut self.buffer, rest);
        self.put(&self.chunks.to_le_bytes(), &chunk)?;
        self.chunks += 1;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let free = limits::SNAPSHOT_CHUNK - self.buffer.len();
            let (now, later) = bytes.split_at(free.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == limits::SNAPSHOT_CHUNK {
                self.put_chunk(limits::SNAPSHOT_CHUNK)?;
            }
        }
        Ok(())
    }

    /// STORE-12: the content is durable before the name, and the name before anybody refers to it.
    pub(super) fn finish(mut self, disk: &dyn Disk) -> Result<Staged, StoreError> {
        if !self.buffer.is_empty() {
            self.put_chunk(self.buffer.len())?;
        }
        self.file.sync().map_err(StoreError::io("syncing a snapshot"))?;
        let naming = || StoreError::io("naming a snapshot");
        disk.rename(&Self::temporary(self.number), &name(self.number)).map_err(naming())?;
        disk.sync_names().map_err(naming())?;
        let Self { snapshot, number, bytes, root, .. } = self;
        Ok(Staged { snapshot, file: SnapshotFile { number, bytes, root: root.0 } })
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Removes what a writer left that failed. What stays, the next start removes.
    pub(super) fn discard(disk: &dyn Disk, number: u64) {
        let _ = disk.remove(&Self::temporary(number));
        let _ = disk.remove(&name(number));
    }
}

/// A snapshot that is durable and that nothing refers to yet.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) snapshot: Snapshot,
    pub(super) file: SnapshotFile,
}

/// An open snapshot.
#[derive(Debug)]
pub(super) struct Reader {
    snapshot: Snapshot,
    file: Arc<dyn DiskFile>,
    name: String,
    key: Chain,
    bytes: u64,
    /// Where the first chunk begins.
    chunks_at: u64,
}

const READING: &str = "reading a snapshot";

impl Reader {
    /// Opens the snapshot of a store, and checks its header.
    pub(super) fn open(
        disk: &dyn Disk,
        seat: SeatId,
        expected: &Snapshot,
        at: &SnapshotFile,
    ) -> Result<(Self, Chain), StoreError> {
        let name = at.name();
        let damaged = |place: u64| StoreError::damaged(&name, place, Damage::Snapshot);
        let file: Arc<dyn DiskFile> = match disk.open(&name) {
            Ok(file) => file.into(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged(0)),
            Err(error) => return Err(StoreError::io("opening a snapshot")(error)),
        };
        let key = key(seat, at.number);
        let mut header = [0; HEADER + CHECK];
        let read = read_full(&*file, &mut header, 0).map_err(StoreError::io(READING))?;
        let (head, check) = header.split_at(HEADER);
        if read < header.len() || *check != key.next([b"header", head]).check() {
            return Err(damaged(0));
        }
        // The WAL names the format's file by content, so that a newer one never gets here.
        let meta = wire::encode(expected);
        let mut found = vec![0; meta.len() + CHECK];
        let meta_at = header.len() as u64;
        let read = read_full(&*file, &mut found, meta_at).map_err(StoreError::io(READING))?;
        let meta_check = key.next([b"meta", &meta]).check();
        if read < found.len() || found[..meta.len()] != *meta || found[meta.len()..] != meta_check {
            return Err(damaged(meta_at));
        }
        let chunks_at = meta_at + found.len() as u64;
        let whole = at.bytes.div_ceil(limits::SNAPSHOT_CHUNK as u64) * CHECK as u64 + at.bytes;
        let length = file.length().map_err(StoreError::io(READING))?;
        if length != chunks_at + whole {
            return Err(damaged(length));
        }
        let root = key.next([check, &[]]).next([&meta_check, &[]]);
        let snapshot = expected.clone();
        Ok((Self { snapshot, file, name, key, bytes: at.bytes, chunks_at }, root))
    }

    /// STORE-13: every byte is the one that was written.
    pub(super) fn verify(&self, mut root: Chain, at: &SnapshotFile) -> Result<(), StoreError> {
        let mut number = 0;
        while let Some((_, check)) = self.read(number)? {
            root = root.next([&check, &[]]);
            number += 1;
        }
        if root.0 == at.root {
            Ok(())
        } else {
            Err(StoreError::damaged(&self.name, 0, Damage::Snapshot))
        }
    }

    fn read(&self, number: u64) -> Result<Option<(Bytes, [u8; CHECK])>, StoreError> {
        let size = limits::SNAPSHOT_CHUNK as u64;
        let Some(from) = number.checked_mul(size).filter(|from| *from < self.bytes) else {
            return Ok(None);
        };
        let length = size.min(self.bytes - from) as usize;
        let at = self.chunks_at + from + number * CHECK as u64;
        let mut chunk = vec![0; length + CHECK];
        let read = read_full(&*self.file, &mut chunk, at).map_err(StoreError::io(READING))?;
        let mut chunk = Bytes::from(chunk);
        let check = chunk.split_off(length);
        let right = self.key.next([&number.to_le_bytes(), &chunk]).check();
        if read < length + CHECK || *check != right {
            return Err(StoreError::damaged(&self.name, at, Damage::Snapshot));
        }
        Ok(Some((chunk, right)))
    }
}

impl SnapshotReader for Reader {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn chunk(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(number)?.map(|(chunk, _)| chunk))
    }
}
