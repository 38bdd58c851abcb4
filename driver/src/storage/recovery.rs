//! Reading a store back: what was durable is there, or it is damage.

use std::collections::VecDeque;

use mosaik_proto::raft::LogIndex;

use super::{
    Loaded, StoreError,
    chain::Chain,
    contents::Contents,
    disk::{Disk, DiskFile, read_full, write_full},
    error::Damage,
    memory::fresh_seat,
    record::Record,
    segment::{self, Header, Mark, Segment},
    snapshot_file::Reader,
    state::State,
    wal::{Active, Open, found, is_ours, remove},
};

/// Bytes copied at once.
const COPY: usize = 64 * 1024;

/// Opens the store of a directory, or begins one.
pub(super) fn recover(disk: &dyn Disk) -> Result<(Open, Loaded), StoreError> {
    let names = disk.list().map_err(StoreError::io("listing the directory"))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| segment::number_of(name, ".wal")).collect();
    numbers.sort_unstable();
    let (contents, mut sealed, active, cut) = if numbers.is_empty() {
        let seat = fresh_seat();
        (Contents::at(State::new(seat)), VecDeque::new(), found(disk, 1, seat)?, 0)
    } else {
        read(disk, &numbers)?
    };
    let first = sealed.front().map_or(active.header.number, |(number, _)| *number);
    let missing = || StoreError::damaged(&segment::name(first), 0, Damage::Entries);
    let stored = contents.stored().ok_or_else(missing)?;
    let state = contents.state;
    if let Some(file) = &state.file {
        let (reader, root) = Reader::open(disk, state.seat, &state.base, file)?;
        reader.verify(root, file)?;
    }
    let active_number = active.header.number;
    let is_used = |name: &str| {
        segment::number_of(name, ".wal").is_some_and(|n| (first..=active_number).contains(&n))
            || state.file.as_ref().is_some_and(|file| file.name() == name)
    };
    names.iter().filter(|name| is_ours(name) && !is_used(name)).for_each(|name| remove(disk, name));
    let snapshots = names
        .iter()
        .filter_map(|name| segment::number_of(name.strip_suffix(".tmp").unwrap_or(name), ".snap"));
    let next_snapshot = snapshots.max().map_or(1, |highest| highest.saturating_add(1));
    let loaded = Loaded {
        seat: state.seat,
        boot: state.boot,
        boots: state.boots.clone(),
        stored,
        snapshot: state.file.as_ref().map(|file| file.bytes),
        fresh: state.boot == 0,
        cut,
    };
    sealed.shrink_to_fit();
    let (writing, staged, stale) = (None, None, Vec::new());
    Ok((Open { state, active, sealed, next_snapshot, writing, staged, stale }, loaded))
}

type Read = (Contents, VecDeque<(u64, LogIndex)>, Active, u64);

/// Reads the segments that count, and repairs the end of the last.
fn read(disk: &dyn Disk, numbers: &[u64]) -> Result<Read, StoreError> {
    let mut segments = open_segments(disk, numbers)?;
    let mut sealed = VecDeque::new();
    let mut replay: Option<Replay> = None;
    while let Some(mut segment) = segments.pop() {
        let last = segments.is_empty();
        let mut now = Replay::begin(replay.take(), &mut segment)?;
        now.read(&mut segment, last)?;
        if now.reset {
            sealed.iter_mut().for_each(|(_, highest)| *highest = LogIndex(0));
        }
        if last {
            let (contents, active, cut) = now.end(segment)?;
            return Ok((contents, sealed, active, cut));
        }
        sealed.push_back((segment.header.number, now.highest));
        replay = Some(now);
    }
    unreachable!("there is a segment")
}

/// The segments that follow each other up to the newest, which comes first. What lies before a gap
/// or before the founding of the store is left over from a compaction or a wipe: were any of it
/// needed, the entries would not be complete.
fn open_segments(disk: &dyn Disk, numbers: &[u64]) -> Result<Vec<Segment>, StoreError> {
    let mut segments: Vec<Segment> = Vec::new();
    for number in numbers.iter().rev() {
        let newer = segments.last().map(|segment| segment.header.clone());
        if newer.as_ref().is_some_and(|newer| newer.founding || newer.number != number + 1) {
            break;
        }
        let name = segment::name(*number);
        let file = disk.open(&name).map_err(StoreError::io("opening a segment"))?;
        let segment = Segment::open(name, file)?;
        let Header { founding, number: own, seat, chain } = segment.header;
        let follows = newer.is_none_or(|newer| newer.seat == seat);
        if own != *number || !follows || founding && chain != Chain::founding(seat) {
            return Err(segment.damaged(Damage::Header));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Segments read so far.
struct Replay {
    contents: Contents,
    chain: Chain,
    /// The highest entry of the present segment, and whether all before it were dropped in it.
    highest: LogIndex,
    reset: bool,
    /// Up to where the present segment holds whole writes, and the chain there.
    whole: (u64, Chain),
}

impl Replay {
    /// Begins a segment: its checkpoint says what the segments before it amount to.
    fn begin(before: Option<Self>, segment: &mut Segment) -> Result<Self, StoreError> {
        let Some((Record::Checkpoint(state), true)) = segment.next()? else {
            return Err(segment.damaged(Damage::Record));
        };
        let contents = match before {
            None if state.seat == segment.header.seat => Contents::at(*state),
            Some(Self { contents, chain, .. })
                if chain == segment.header.chain && contents.state == *state =>
            {
                contents
            }
            _ => return Err(segment.damaged(Damage::Sequence)),
        };
        let whole = (segment.at, segment.chain);
        Ok(Self { contents, chain: segment.chain, highest: LogIndex(0), reset: false, whole })
    }

    /// STORE-06: up to the mark everything is whole; in all segments but the last, up to the end.
    fn read(&mut self, segment: &mut Segment, last: bool) -> Result<(), StoreError> {
        let both = segment.marks.iter().all(Option::is_some);
        let mark = segment.mark().filter(|_| last || both);
        let mark = mark.ok_or_else(|| segment.damaged(Damage::Marks))?;
        let mut marked = self.is_at(&mark);
        let mut group = Vec::new();
        while let Some((record, end)) = segment.next()? {
            match &record {
                Record::Run(run) => self.highest = self.highest.max(run.end().index),
                Record::Reset(..) => (self.highest, self.reset) = (LogIndex(0), true),
                _ => {}
            }
            group.push(record);
            if end {
                let applied = group.drain(..).try_for_each(|record| self.contents.apply(record));
                applied.map_err(|_| segment.damaged(Damage::Sequence))?;
                self.whole = (segment.at, segment.chain);
                self.chain = segment.chain;
                marked |= self.is_at(&mark);
            }
        }
        if !marked {
            return Err(segment.damaged(Damage::Record));
        }
        let sealed = segment.at == segment.length && group.is_empty() && self.is_at(&mark);
        if last || sealed { Ok(()) } else { Err(segment.damaged(Damage::Length)) }
    }

    fn is_at(&self, mark: &Mark) -> bool {
        self.whole.0 == mark.at && self.whole.1.0 == mark.chain
    }

    /// Cuts the torn tail of the last segment, and makes what is before it durable.
    ///
    /// STORE-08: what is whole behind the mark may never have reached the disk, although it can be
    /// read: a sync that failed leaves it in memory. It is written again.
    fn end(self, segment: Segment) -> Result<(Contents, Active, u64), StoreError> {
        let (at, chain) = self.whole;
        let cut = torn(&*segment.file, at, segment.length)?;
        let Segment { header, file, marks, length, .. } = segment;
        let newest = usize::from(marks[1] > marks[0]);
        let mut mark = marks[newest].expect("it was read");
        let mut slot = 1 - newest;
        let repairing = || StoreError::io("repairing the log");
        if at > mark.at || length > at || marks.contains(&None) {
            rewrite(&*file, mark.at, at)?;
            if length > at {
                file.set_length(at).map_err(repairing())?;
            }
            file.sync().map_err(repairing())?;
            mark = Mark { count: mark.count + 1, at, chain: chain.0 };
            header.write_mark(&*file, slot, mark)?;
            slot = 1 - slot;
        }
        // Even if nothing was repaired: the mark itself may not have reached the disk yet.
        file.sync().map_err(repairing())?;
        let active = Active {
            header,
            file,
            buffer: Vec::new(),
            buffer_at: at,
            length: at,
            chain,
            highest: self.highest,
            dirty: false,
            mark,
            slot,
            mark_synced: true,
        };
        Ok((self.contents, active, cut))
    }
}

/// Bytes from `at` up to the last that is not zero.
fn torn(file: &dyn DiskFile, at: u64, length: u64) -> Result<u64, StoreError> {
    let mut torn = 0;
    copy(file, at, length, |place, bytes| {
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            torn = place + last as u64 + 1 - at;
        }
        Ok(())
    })?;
    Ok(torn)
}

/// Writes what is there once more, so that the next sync includes it.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> Result<(), StoreError> {
    copy(file, from, to, |at, bytes| {
        write_full(file, bytes, at).map_err(StoreError::io("repairing the log"))
    })
}

fn copy(
    file: &dyn DiskFile,
    from: u64,
    to: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut bytes = vec![0; COPY];
    let mut at = from;
    while at < to {
        let count = COPY.min((to - at) as usize);
        let read = read_full(file, &mut bytes[..count], at);
        let read = read.map_err(StoreError::io("reading a segment"))?;
        if read == 0 {
            break;
        }
        take(at, &bytes[..read])?;
        at += read as u64;
    }
    Ok(())
}
