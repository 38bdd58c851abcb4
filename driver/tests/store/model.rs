//! What a store should hold, in the simplest terms, and steps that change it.

use std::collections::BTreeMap;

use bytes::Bytes;
use mosaik_driver::storage::{Loaded, LogStore, StoreError};
use mosaik_proto::{
    PeerId,
    raft::{
        HardState, Kind, Lineage, LogIndex, Origin, Position, Run, Seat, SeatId, Snapshot, Term,
        Write, sole,
    },
    streams::item,
};
use proptest::prelude::*;

pub(crate) const ORIGIN: Origin = Origin { session: 0x1122_3344_5566_7788, number: 9 };
pub(crate) const LINEAGE: Lineage = Lineage(*b"a whole lineage.");

pub(crate) type Entry = (Term, Kind, Vec<u8>);

/// Entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) hard: HardState,
    pub(crate) base: Snapshot,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) boot: u64,
    pub(crate) boots: Vec<(Seat, u64)>,
}

/// Something that is done to a store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Append so many commands of this size, in a term that is so much later.
    Append { count: u8, size: u16, terms: u8 },
    /// One command of so many bytes.
    Large { bytes: u32 },
    /// Cut off so many entries, and append something of a later term in the same write.
    Replace { cut: u8, count: u8 },
    /// A vote.
    Vote { terms: u8 },
    /// A snapshot of so many bytes, so many entries before the end.
    Compact { before: u8, bytes: u32 },
    /// The same, of a history that is not that of the log.
    Disagree { before: u8 },
    /// A snapshot of another history, so many entries ahead.
    Reset { ahead: u8, bytes: u32 },
    /// One that is never used.
    Stage { bytes: u32 },
    /// A start.
    Boot,
    /// A start of somebody else.
    Seen { who: u8, boot: u8 },
    /// Everything so far is durable.
    Sync,
    /// Close and open.
    Reopen,
    /// The power fails.
    Crash { seed: u64 },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u8..6, 0u16..1500, 0u8..2)
            .prop_map(|(count, size, terms)| Step::Append { count, size, terms }),
        1 => (60_000u32..140_000).prop_map(|bytes| Step::Large { bytes }),
        3 => (1u8..12, 0u8..4).prop_map(|(cut, count)| Step::Replace { cut, count }),
        2 => (0u8..2).prop_map(|terms| Step::Vote { terms }),
        2 => (0u8..8, 0u32..700_000).prop_map(|(before, bytes)| Step::Compact { before, bytes }),
        1 => (0u8..8).prop_map(|before| Step::Disagree { before }),
        1 => (0u8..20, 0u32..3_000).prop_map(|(ahead, bytes)| Step::Reset { ahead, bytes }),
        1 => (0u32..3_000).prop_map(|bytes| Step::Stage { bytes }),
        1 => Just(Step::Boot),
        1 => (0u8..4, 0u8..9).prop_map(|(who, boot)| Step::Seen { who, boot }),
        5 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ];
    proptest::collection::vec(step, 1..60)
}

pub(crate) fn seat(n: u8) -> Seat {
    Seat { peer: PeerId::from_bytes([n; 32]), id: SeatId([n; 16]) }
}

/// A run of commands of this size.
pub(crate) fn commands(term: u64, first: u64, count: u8, size: u16) -> Run {
    let mut data = Vec::new();
    for n in 0..count {
        data.extend(item::short(size.into()).unwrap());
        data.extend(std::iter::repeat_n(n ^ first as u8 ^ term as u8, size.into()));
    }
    let (term, first, count) = (Term(term), LogIndex(first), count.into());
    Run { term, first, count, kind: Kind::Commands, origin: ORIGIN, data: data.into() }
}

/// A snapshot's content.
pub(crate) fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n ^ (n >> 8) ^ bytes) as u8).collect()
}

impl Model {
    pub(crate) fn last(&self) -> Position {
        let last = self.entries.last_key_value();
        last.map_or(self.base.last, |(index, (term, ..))| Position {
            term: *term,
            index: LogIndex(*index),
        })
    }

    pub(crate) fn apply(&mut self, write: &Write) {
        if let Some(base) = &write.reset {
            self.base = base.clone();
            self.entries.clear();
            self.snapshot = None;
        }
        if let Some(from) = write.truncate {
            self.entries.split_off(&from.0);
        }
        for run in &write.runs {
            let mut items = item::Items::new(run.data.clone());
            for n in 0..run.count {
                let data = match run.kind {
                    Kind::Commands => items.next().unwrap().unwrap(),
                    Kind::Noop | Kind::Control | Kind::Membership => run.data.clone(),
                };
                self.entries.insert(run.first.0 + u64::from(n), (run.term, run.kind, data.into()));
            }
        }
        self.hard = write.hard.unwrap_or(self.hard);
    }

    fn compact(&mut self, base: Snapshot, bytes: Vec<u8>) {
        let index = base.last.index.0;
        let agrees = index == self.base.last.index.0
            || self.entries.get(&index).is_some_and(|(term, ..)| *term == base.last.term);
        self.entries = self.entries.split_off(&(index + 1));
        if !agrees {
            self.entries.clear();
        }
        (self.base, self.snapshot) = (base, Some(bytes));
    }

    fn remember(&mut self, seat: Seat, boot: u64) {
        let before = self.boots.iter().position(|(known, _)| *known == seat);
        let before = before.map_or(0, |at| self.boots.remove(at).1);
        self.boots.push((seat, before.max(boot)));
    }

    /// What one step does to a model; the store does the same. The states that may be found after a
    /// crash in this step are pushed, the last of them first if it is durable.
    pub(crate) fn step(
        &mut self,
        step: &Step,
        store: &mut dyn LogStore,
    ) -> Result<Durable, StoreError> {
        let last = self.last();
        let write = match step {
            Step::Append { count, size, terms } => {
                let term = last.term.0.max(self.hard.term.0).max(1) + u64::from(*terms);
                let run = commands(term, last.index.0 + 1, *count, *size);
                let hard = (*terms > 0).then_some(HardState { term: Term(term), vote: None });
                Write { runs: vec![run], hard, ..Write::default() }
            }
            Step::Large { bytes } => self.large(*bytes),
            Step::Replace { cut, count } => self.replace(*cut, *count),
            Step::Vote { terms } => {
                let term = Term(self.hard.term.0 + u64::from(*terms));
                Write {
                    hard: Some(HardState { term, vote: Some(seat(*terms)) }),
                    ..Write::default()
                }
            }
            Step::Reset { ahead, bytes } => {
                let index = LogIndex(last.index.0 + u64::from(*ahead));
                let last = Position { term: last.term.next(), index };
                let base = base(last, 7, index.0 / 2);
                if index.0 > 0 {
                    stage(store, &base, &content(*bytes))?;
                }
                Write { reset: Some(base), ..Write::default() }
            }
            Step::Compact { before, bytes } => {
                let taken = self.snapshot_before(*before, *bytes);
                return self.adopt(taken, store);
            }
            Step::Disagree { before } => {
                let mut taken = self.snapshot_before(*before, 10);
                taken.iter_mut().for_each(|(base, _)| base.last.term = base.last.term.next());
                return self.adopt(taken, store);
            }
            Step::Stage { bytes } => {
                stage(store, &self.base, &content(*bytes))?;
                return Ok(Durable::No);
            }
            Step::Boot => {
                self.boot += 1;
                assert_eq!(store.raise_boot()?, self.boot);
                return Ok(Durable::Yes);
            }
            Step::Seen { who, boot } => {
                self.remember(seat(*who), (*boot).into());
                store.remember_boot(seat(*who), (*boot).into())?;
                return Ok(Durable::No);
            }
            Step::Sync => {
                store.sync()?;
                return Ok(Durable::Yes);
            }
            Step::Reopen | Step::Crash { .. } => unreachable!("the test does it"),
        };
        self.apply(&write);
        if let Step::Reset { bytes, .. } = step
            && self.base.last.index.0 > 0
        {
            self.snapshot = Some(content(*bytes));
        }
        store.write(&write)?;
        Ok(Durable::No)
    }

    fn large(&self, bytes: u32) -> Write {
        let last = self.last();
        let mut data = item::long(bytes as usize).to_vec();
        data.extend(content(bytes));
        let (term, first) = (last.term.max(self.hard.term), last.index.next());
        let run =
            Run { term, first, count: 1, kind: Kind::Commands, origin: ORIGIN, data: data.into() };
        Write { runs: vec![run], ..Write::default() }
    }

    fn replace(&self, cut: u8, count: u8) -> Write {
        let last = self.last();
        let from = (last.index.0 + 1).saturating_sub(cut.into()).max(self.base.last.index.0 + 1);
        let term = last.term.next().max(self.hard.term);
        let runs = if count > 0 {
            vec![
                Run::empty(term, LogIndex(from), Kind::Noop),
                commands(term.0, from + 1, count, 40),
            ]
        } else {
            Vec::new()
        };
        let hard = Some(HardState { term, vote: None });
        Write { reset: None, truncate: Some(LogIndex(from)), runs, hard }
    }

    fn adopt(
        &mut self,
        taken: Option<(Snapshot, Vec<u8>)>,
        store: &mut dyn LogStore,
    ) -> Result<Durable, StoreError> {
        let Some((base, bytes)) = taken else { return Ok(Durable::No) };
        self.compact(base.clone(), bytes.clone());
        stage(store, &base, &bytes)?;
        store.compact(base.last)?;
        Ok(Durable::Yes)
    }

    fn snapshot_before(&self, before: u8, bytes: u32) -> Option<(Snapshot, Vec<u8>)> {
        let index = self.last().index.0.saturating_sub(before.into());
        let (term, ..) = self.entries.get(&index)?;
        let last = Position { term: *term, index: LogIndex(index) };
        Some((base(last, 9, index), content(bytes)))
    }
}

fn base(last: Position, voter: u8, commands: u64) -> Snapshot {
    Snapshot { lineage: LINEAGE, last, membership: sole(seat(voter)), commands }
}

/// Whether everything up to a step is durable when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

fn stage(store: &mut dyn LogStore, base: &Snapshot, bytes: &[u8]) -> Result<(), StoreError> {
    store.begin_snapshot(base)?;
    bytes.chunks(100_000).try_for_each(|chunk| store.snapshot_chunk(chunk))?;
    store.finish_snapshot()
}

/// What a store that was just opened holds, in the model's terms.
pub(crate) fn found(store: &mut dyn LogStore, loaded: &Loaded) -> Result<Model, StoreError> {
    let mut model = Model::default();
    let stored = &loaded.stored;
    let all = Write {
        reset: Some(stored.base.clone()),
        runs: stored.runs.clone(),
        hard: Some(stored.hard),
        truncate: None,
    };
    model.apply(&all);
    model.boot = loaded.boot;
    model.boots = loaded.boots.clone();
    model.snapshot = match store.open_snapshot()? {
        None => None,
        Some(reader) => {
            assert_eq!((reader.snapshot(), Some(reader.bytes())), (&stored.base, loaded.snapshot));
            let mut bytes = Vec::new();
            let mut number = 0;
            while let Some(chunk) = reader.chunk(number)? {
                let chunk: Bytes = chunk;
                bytes.extend_from_slice(&chunk);
                number += 1;
            }
            Some(bytes)
        }
    };
    Ok(model)
}
