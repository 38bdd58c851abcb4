//! Segments: a header, two marks, records.
//!
//! ```text
//! 0      4096     8192     12288
//! │header│ mark 0 │ mark 1 │ checkpoint │ record │ record │ … │ zeros to grow into
//! ```
//!
//! A mark says up to where a sync reached, and the chain there. It is written after the sync, without
//! one of its own: the next sync carries it along. The two take turns, so that a mark that is torn
//! leaves the one before it.

use bytes::Bytes;
use mosaik_proto::raft::SeatId;

use super::{
    chain::{CHECK, Chain},
    disk::{DiskFile, read_full, write_full},
    error::{Damage, StoreError},
    record::{FRAME, HEAD, Record},
};

const MAGIC: [u8; 8] = *b"mosaik-L";
const VERSION: u32 = 1;
const PAGE: usize = 4096;
/// Where records begin.
pub(super) const RECORDS_AT: u64 = 3 * PAGE as u64;
const HEADER: usize = 72;
const MARK: usize = 48;
/// Read at once.
const READ: usize = 64 * 1024;

pub(super) fn name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The number in a name that [`name`] makes.
pub(super) fn number_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let plain =
        digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The first of its store: nothing before it counts.
    pub(super) founding: bool,
    pub(super) number: u64,
    pub(super) seat: SeatId,
    /// The chain before its first record.
    pub(super) chain: Chain,
}

/// How far syncs reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) count: u64,
    pub(super) at: u64,
    pub(super) chain: [u8; 32],
}

impl Header {
    /// The pages in front of the records. Both marks say that nothing is synced behind `at`.
    pub(super) fn pages(&self, mark: Mark) -> Vec<u8> {
        let mut pages = Vec::with_capacity(RECORDS_AT as usize);
        pages.extend_from_slice(&MAGIC);
        pages.extend_from_slice(&VERSION.to_le_bytes());
        pages.extend_from_slice(&u32::from(self.founding).to_le_bytes());
        pages.extend_from_slice(&self.number.to_le_bytes());
        pages.extend_from_slice(&self.seat.0);
        pages.extend_from_slice(&self.chain.0);
        let check = header_check(&pages);
        pages.extend_from_slice(&check);
        pages.resize(PAGE, 0);
        for slot in 0..2 {
            pages.extend_from_slice(&self.mark(Mark { count: slot, ..mark }));
            pages.resize((slot as usize + 2) * PAGE, 0);
        }
        pages
    }

    /// STORE-05: a mark is bound to its segment.
    fn mark(&self, mark: Mark) -> [u8; MARK + CHECK] {
        let mut bytes = [0; MARK + CHECK];
        bytes[..8].copy_from_slice(&mark.count.to_le_bytes());
        bytes[8..16].copy_from_slice(&mark.at.to_le_bytes());
        bytes[16..MARK].copy_from_slice(&mark.chain);
        let check = self.chain.next([b"mark", &bytes[..MARK]]).check();
        bytes[MARK..].copy_from_slice(&check);
        bytes
    }

    fn read_mark(&self, page: &[u8]) -> Option<Mark> {
        let (count, rest) = page.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (chain, _) = rest.split_first_chunk::<32>()?;
        let mark =
            Mark { count: u64::from_le_bytes(*count), at: u64::from_le_bytes(*at), chain: *chain };
        (self.mark(mark) == page[..MARK + CHECK]).then_some(mark)
    }

    /// Writes a mark; durable with the next sync.
    pub(super) fn write_mark(
        &self,
        file: &dyn DiskFile,
        slot: usize,
        mark: Mark,
    ) -> Result<(), StoreError> {
        let at = ((slot + 1) * PAGE) as u64;
        write_full(file, &self.mark(mark), at).map_err(StoreError::io("marking a segment"))
    }
}

fn header_check(bytes: &[u8]) -> [u8; CHECK] {
    // The same in every version, so that a newer format is told from a broken one (STORE-03).
    Chain::keyed("mosaik store: header", bytes).check()
}

/// Reads a segment from its beginning; memory is bounded by the largest record.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) header: Header,
    pub(super) marks: [Option<Mark>; 2],
    pub(super) length: u64,
    /// Up to where records were read, and the chain there.
    pub(super) at: u64,
    pub(super) chain: Chain,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    buffer_at: u64,
}

const READING: &str = "reading a segment";

impl Segment {
    /// Reads the pages in front of the records.
    pub(super) fn open(name: String, file: Box<dyn DiskFile>) -> Result<Self, StoreError> {
        let length = file.length().map_err(StoreError::io(READING))?;
        let mut pages = vec![0; RECORDS_AT as usize];
        let read = read_full(&*file, &mut pages, 0).map_err(StoreError::io(READING))?;
        if read < pages.len() {
            return Err(StoreError::damaged(&name, read as u64, Damage::Length));
        }
        let header = read_header(&name, &pages)?;
        let blank = |from: usize, to: usize| pages[from..to].iter().all(|byte| *byte == 0);
        let mut marks = [None; 2];
        for (slot, mark) in marks.iter_mut().enumerate() {
            let page = (slot + 1) * PAGE;
            if !blank(page + MARK + CHECK, page + PAGE) {
                return Err(StoreError::damaged(&name, page as u64, Damage::Padding));
            }
            *mark = header.read_mark(&pages[page..]);
        }
        let (at, chain) = (RECORDS_AT, header.chain);
        let (buffer, buffer_at) = (Vec::new(), at);
        Ok(Self { name, file, header, marks, length, at, chain, buffer, buffer_at })
    }

    /// The mark that was written last.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.marks.iter().flatten().max().copied()
    }

    pub(super) fn damaged(&self, damage: Damage) -> StoreError {
        StoreError::damaged(&self.name, self.at, damage)
    }

    /// The next record, and whether it ends those that count together; `None` where no whole record
    /// follows, be it the end or not.
    pub(super) fn next(&mut self) -> Result<Option<(Record, bool)>, StoreError> {
        let Some(frame) = self.read(self.at, FRAME)? else { return Ok(None) };
        let (head, check) = frame.split_at(HEAD);
        let mut length = [0; 4];
        length.copy_from_slice(&head[..4]);
        let length = u32::from_le_bytes(length) as usize;
        // Nothing is allocated that the file does not have (STORE-09).
        let Some(payload) = self.read(self.at + FRAME as u64, length)? else { return Ok(None) };
        let chain = self.chain.next([head, &payload]);
        if chain.check() != *check {
            return Ok(None);
        }
        let Some(record) = Record::decode(head[4], payload) else {
            // It is what was written, and we do not know it: a defect, not a crash.
            return Err(self.damaged(Damage::Record));
        };
        self.at += (FRAME + length) as u64;
        self.chain = chain;
        Ok(Some(record))
    }

    /// Bytes of the file, if it has so many.
    fn read(&mut self, at: u64, count: usize) -> Result<Option<Bytes>, StoreError> {
        if self.length.saturating_sub(at) < count as u64 {
            return Ok(None);
        }
        let begin = (at - self.buffer_at) as usize;
        if begin.saturating_add(count) > self.buffer.len() {
            let left = (self.length - at).min(READ.max(count) as u64) as usize;
            self.buffer.clear();
            self.buffer.resize(left, 0);
            self.buffer_at = at;
            let read = read_full(&*self.file, &mut self.buffer, at);
            if read.map_err(StoreError::io(READING))? < count {
                return Ok(None);
            }
        }
        let begin = (at - self.buffer_at) as usize;
        Ok(Some(Bytes::copy_from_slice(&self.buffer[begin..begin + count])))
    }
}

fn read_header(name: &str, pages: &[u8]) -> Result<Header, StoreError> {
    let damaged = |damage| StoreError::damaged(name, 0, damage);
    let (bytes, rest) = pages.split_at(HEADER);
    let (magic, fields) = bytes.split_at(MAGIC.len());
    if *magic != MAGIC || rest[..CHECK] != header_check(bytes) {
        return Err(damaged(Damage::Header));
    }
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&fields[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let version = word(0) as u32;
    if version > VERSION {
        return Err(StoreError::NewerFormat { file: name.to_owned(), version });
    }
    let founding = match (version, word(0) >> 32) {
        (VERSION, 0) => false,
        (VERSION, 1) => true,
        _ => return Err(damaged(Damage::Header)),
    };
    if rest[CHECK..PAGE - HEADER].iter().any(|byte| *byte != 0) {
        return Err(damaged(Damage::Padding));
    }
    let (mut seat, mut chain) = (SeatId([0; 16]), Chain([0; 32]));
    seat.0.copy_from_slice(&fields[16..32]);
    chain.0.copy_from_slice(&fields[32..64]);
    Ok(Header { founding, number: word(8), seat, chain })
}
