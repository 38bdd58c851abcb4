//! What is written: records, and how they become bytes.

use bytes::Bytes;
use mosaik_proto::{
    raft::{HardState, Kind, LogIndex, Origin, Run, Seat, Snapshot, Term, Write},
    wire,
};

use super::{
    chain::{CHECK, Chain},
    error::StoreError,
    snapshot_file::SnapshotFile,
    state::State,
};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Everything that follows from the records before; begins a segment.
    Checkpoint(Box<State>),
    /// The log is what follows this.
    Reset(Box<Snapshot>, Option<SnapshotFile>),
    /// The log begins behind this; what follows stays if it agrees.
    Base(Box<Snapshot>, Option<SnapshotFile>),
    /// Entries from here on are gone.
    Truncate(LogIndex),
    /// Entries.
    Run(Run),
    /// Term and vote.
    Hard(HardState),
    /// A start.
    Boot(u64),
    /// A start of somebody else.
    Seen(Seat, u64),
}

/// Length of the payload (u32), kind (u8), checksum.
pub(super) const FRAME: usize = HEAD + CHECK;
/// The part of the frame that the checksum covers.
pub(super) const HEAD: usize = 5;
/// In the kind of the last record of those that count together or not at all.
const END: u8 = 0x80;
/// Term, first index, count, kind, session, number; the entries' bytes follow.
const RUN_HEAD: usize = 37;
/// Bytes of entries from which on they are written from where they are.
const LARGE: usize = 64 * 1024;

impl Record {
    /// The records of a write, in their order. `file` is that of the reset.
    pub(super) fn of(write: &Write, file: Option<SnapshotFile>) -> impl Iterator<Item = Self> {
        let reset = write.reset.clone().map(|base| Self::Reset(Box::new(base), file));
        let truncate = write.truncate.map(Self::Truncate);
        let hard = write.hard.map(Self::Hard);
        let runs = write.runs.iter().cloned().map(Self::Run);
        reset.into_iter().chain(truncate).chain(runs).chain(hard)
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Checkpoint(_) => 1,
            Self::Reset(..) => 2,
            Self::Base(..) => 3,
            Self::Truncate(_) => 4,
            Self::Run(_) => 5,
            Self::Hard(_) => 6,
            Self::Boot(_) => 7,
            Self::Seen(..) => 8,
        }
    }

    /// Appends it with its frame, and moves the chain on. Bytes of entries are not copied if there are
    /// many: they are given back, and must be written behind the rest.
    pub(super) fn frame(
        &self,
        end: bool,
        chain: &mut Chain,
        into: &mut Vec<u8>,
    ) -> Result<&[u8], StoreError> {
        let start = into.len();
        into.extend_from_slice(&[0; FRAME]);
        self.encode(into);
        let data: &[u8] = if let Self::Run(run) = self { &run.data } else { &[] };
        let (copied, rest) = if data.len() < LARGE { (data, &[][..]) } else { (&[][..], data) };
        into.extend_from_slice(copied);
        let bytes = into.len() - start - FRAME + rest.len();
        let length = u32::try_from(bytes).map_err(|_| StoreError::TooLarge { bytes })?;
        let (frame, payload) = into[start..].split_at_mut(FRAME);
        let (head, check) = frame.split_at_mut(HEAD);
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = self.code() | if end { END } else { 0 };
        *chain = chain.next([head, payload, rest]);
        check.copy_from_slice(&chain.check());
        Ok(rest)
    }

    /// The payload, but for the bytes of entries.
    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Checkpoint(state) => wire::encode_into(state, into),
            Self::Reset(base, file) | Self::Base(base, file) => {
                wire::encode_into(&(base, file), into);
            }
            Self::Truncate(index) => wire::encode_into(index, into),
            Self::Run(run) => {
                into.extend_from_slice(&run.term.0.to_le_bytes());
                into.extend_from_slice(&run.first.0.to_le_bytes());
                into.extend_from_slice(&run.count.to_le_bytes());
                into.push(kind_code(run.kind));
                into.extend_from_slice(&run.origin.session.to_le_bytes());
                into.extend_from_slice(&run.origin.number.to_le_bytes());
            }
            Self::Hard(hard) => wire::encode_into(hard, into),
            Self::Boot(boot) => wire::encode_into(boot, into),
            Self::Seen(seat, boot) => wire::encode_into(&(seat, boot), into),
        }
    }

    /// The record of a frame whose checksum is right, and whether it ends those that count together.
    pub(super) fn decode(kind: u8, payload: Bytes) -> Option<(Self, bool)> {
        let record = match kind & !END {
            1 => Self::Checkpoint(wire::decode(&payload).ok()?),
            code @ (2 | 3) => {
                let (base, file) = wire::decode(&payload).ok()?;
                if code == 2 { Self::Reset(base, file) } else { Self::Base(base, file) }
            }
            4 => Self::Truncate(wire::decode(&payload).ok()?),
            5 => Self::Run(run(payload)?),
            6 => Self::Hard(wire::decode(&payload).ok()?),
            7 => Self::Boot(wire::decode(&payload).ok()?),
            8 => {
                let (seat, boot) = wire::decode(&payload).ok()?;
                Self::Seen(seat, boot)
            }
            _ => return None,
        };
        Some((record, kind & END != 0))
    }
}

fn run(payload: Bytes) -> Option<Run> {
    let (term, rest) = payload.split_first_chunk::<8>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let kind = kind_of(*kind)?;
    let (session, rest) = rest.split_first_chunk::<8>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    let origin =
        Origin { session: u64::from_le_bytes(*session), number: u64::from_le_bytes(*number) };
    Some(Run {
        term: Term(u64::from_le_bytes(*term)),
        first: LogIndex(u64::from_le_bytes(*first)),
        count: u32::from_le_bytes(*count),
        kind,
        origin,
        data: payload.slice(RUN_HEAD..),
    })
}

const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Noop => 0,
        Kind::Membership => 1,
        Kind::Commands => 2,
        Kind::Control => 3,
    }
}

const fn kind_of(code: u8) -> Option<Kind> {
    Some(match code {
        0 => Kind::Noop,
        1 => Kind::Membership,
        2 => Kind::Commands,
        3 => Kind::Control,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was() {
        let run = Run {
            term: Term(3),
            first: LogIndex(7),
            count: 1,
            kind: Kind::Control,
            origin: Origin { session: 5, number: u64::MAX },
            data: Bytes::from_static(b"opaque"),
        };
        let mut bytes = Vec::new();
        let record = Record::Run(run);
        record.frame(true, &mut Chain::keyed("test", b""), &mut bytes).unwrap();
        let (kind, payload) = (bytes[4], Bytes::copy_from_slice(&bytes[FRAME..]));
        assert_eq!(Record::decode(kind, payload), Some((record, true)));
    }
}
