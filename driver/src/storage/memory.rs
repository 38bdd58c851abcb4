//! A store that lives as long as its value.

use std::mem::take;

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    Digest, limits,
    raft::{Position, Seat, SeatId, Snapshot, Write},
};

use super::{
    Loaded, LogStore, SnapshotReader, StoreError, contents::Contents, record::Record, state::State,
};

/// Keeps everything in memory. A member whose store this is comes back as another seat.
#[derive(Debug, Default)]
pub struct InMemoryLogStore {
    contents: Option<Contents>,
    snapshot: Option<Kept>,
    begun: Option<(Snapshot, BytesMut)>,
    staged: Option<Kept>,
    failed: bool,
}

/// A snapshot with its bytes.
#[derive(Clone, Debug)]
struct Kept {
    snapshot: Snapshot,
    bytes: Bytes,
}

impl InMemoryLogStore {
    fn contents(&mut self) -> Result<&mut Contents, StoreError> {
        self.contents.as_mut().ok_or(StoreError::Poisoned)
    }

    fn apply(&mut self, record: Record) -> Result<(), StoreError> {
        self.contents()?.apply(record).map_err(|misfit| self.fail(StoreError::Misfit(misfit)))
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.contents = None;
        self.failed = true;
        error
    }
}

impl LogStore for InMemoryLogStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        let contents = self.contents.get_or_insert_with(|| Contents::at(State::new(fresh_seat())));
        let stored = contents.stored().ok_or(StoreError::Poisoned)?;
        let State { seat, boot, boots, .. } = contents.state.clone();
        let snapshot = self.snapshot.as_ref().map(|kept| kept.bytes.len() as u64);
        Ok(Loaded { seat, boot, boots, stored, snapshot, fresh: boot == 0, cut: 0 })
    }

    fn raise_boot(&mut self) -> Result<u64, StoreError> {
        let boot = self.contents()?.state.boot + 1;
        self.apply(Record::Boot(boot))?;
        Ok(boot)
    }

    fn remember_boot(&mut self, seat: Seat, boot: u64) -> Result<(), StoreError> {
        self.apply(Record::Seen(seat, boot))
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        if let Some(reset) = &write.reset {
            let staged = self.staged.take_if(|kept| kept.snapshot == *reset);
            if staged.is_none() && reset.last.index.0 > 0 {
                return Err(self.fail(StoreError::NoSnapshot(reset.last)));
            }
            self.snapshot = staged;
        }
        Record::of(write, None).try_for_each(|record| self.apply(record))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.contents().map(|_| ())
    }

    fn begin_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.staged = None;
        self.begun = Some((snapshot.clone(), BytesMut::new()));
        Ok(())
    }

    fn snapshot_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let none = || StoreError::NoSnapshot(Position::default());
        self.begun.as_mut().ok_or_else(none)?.1.extend_from_slice(chunk);
        Ok(())
    }

    fn finish_snapshot(&mut self) -> Result<(), StoreError> {
        let none = || StoreError::NoSnapshot(Position::default());
        let (snapshot, mut bytes) = self.begun.take().ok_or_else(none)?;
        self.staged = Some(Kept { snapshot, bytes: take(&mut bytes).freeze() });
        Ok(())
    }

    fn compact(&mut self, last: Position) -> Result<(), StoreError> {
        let kept = self.staged.take_if(|kept| kept.snapshot.last == last);
        let kept = kept.ok_or(StoreError::NoSnapshot(last))?;
        self.apply(Record::Base(Box::new(kept.snapshot.clone()), None))?;
        self.snapshot = Some(kept);
        Ok(())
    }

    fn open_snapshot(&mut self) -> Result<Option<Box<dyn SnapshotReader>>, StoreError> {
        Ok(self.snapshot.clone().map(|kept| Box::new(kept) as _))
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        *self = Self::default();
        Ok(())
    }
}

impl SnapshotReader for Kept {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn chunk(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        let from = usize::try_from(number).ok().and_then(|n| n.checked_mul(limits::SNAPSHOT_CHUNK));
        Ok(from.filter(|from| *from < self.bytes.len()).map(|from| {
            let to = self.bytes.len().min(from + limits::SNAPSHOT_CHUNK);
            self.bytes.slice(from..to)
        }))
    }
}

/// Names a new store.
pub(super) fn fresh_seat() -> SeatId {
    let mut id = [0; 16];
    id.copy_from_slice(&Digest::random().as_bytes()[..16]);
    SeatId(id)
}
