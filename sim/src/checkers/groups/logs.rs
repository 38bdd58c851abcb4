//! What members with stores wrote to them.

use std::collections::BTreeMap;

use mosaik_proto::{
    Digest,
    raft::{Kind, Lineage, LogIndex, Membership, Run, Snapshot, Stored, Term, Write},
    streams::item::Items,
    wire,
};

use super::{Part, lineages::Lineages};
use crate::net::Process;

/// What one store was told to hold.
#[derive(Debug, Default)]
struct Log {
    lineage: Lineage,
    /// The last entry that is only in a snapshot.
    base: LogIndex,
    entries: BTreeMap<LogIndex, Term>,
    /// The change of voters before the log, and those in it.
    memberships: BTreeMap<LogIndex, Membership>,
}

/// The stores, and every entry that was ever in one.
#[derive(Debug, Default)]
pub(super) struct Logs {
    logs: BTreeMap<Part, Log>,
    entries: BTreeMap<(Lineage, LogIndex, Term), Digest>,
}

impl Logs {
    pub(super) fn loaded(&mut self, part: Part, stored: &Stored) {
        let log = self.logs.entry(part).or_default();
        *log = Log::behind(&stored.base);
        for run in &stored.runs {
            log.append(run);
        }
    }

    pub(super) fn write(
        &mut self,
        part: Part,
        write: &Write,
        lineages: &Lineages,
    ) -> Result<(), String> {
        let log = self.logs.entry(part).or_default();
        if let Some(base) = &write.reset {
            *log = Log::behind(base);
        }
        if let Some(from) = write.truncate {
            log.cut(from, lineages)?;
        }
        for run in &write.runs {
            log.follows(run)?;
            for (at, digest) in contents(run)? {
                match self.entries.insert((log.lineage, at, run.term), digest) {
                    Some(other) if other != digest => {
                        let of = (log.lineage, at, run.term);
                        return Err(format!("two stores hold different entries at {of:?}"));
                    }
                    _ => {}
                }
            }
            log.append(run);
        }
        Ok(())
    }

    /// Who leads has every committed entry.
    pub(super) fn leads(
        &self,
        part: Part,
        lineage: Lineage,
        lineages: &Lineages,
    ) -> Result<(), String> {
        let Some(log) = self.logs.get(&part).filter(|log| log.lineage == lineage) else {
            return Ok(());
        };
        for (at, term) in lineages.entries(lineage, log.base.next()) {
            if log.entries.get(&at) != Some(&term) {
                let here = log.entries.get(&at);
                return Err(format!("it leads, but has {here:?} at {at:?}: {term:?} is committed"));
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, part: Part) {
        self.logs.remove(&part);
    }

    pub(super) fn ended(&mut self, process: Process) {
        self.logs.retain(|(of, _), _| *of != process);
    }
}

impl Log {
    fn behind(base: &Snapshot) -> Self {
        let (lineage, last) = (base.lineage, base.last.index);
        let mut memberships = BTreeMap::new();
        if !base.membership.voters.is_empty() {
            memberships.insert(last, base.membership.clone());
        }
        Self { lineage, base: last, entries: BTreeMap::new(), memberships }
    }

    fn append(&mut self, run: &Run) {
        for number in 0..u64::from(run.count) {
            self.entries.insert(LogIndex(run.first.0 + number), run.term);
        }
        if run.kind == Kind::Membership
            && let Ok(membership) = wire::decode(&run.data)
        {
            self.memberships.insert(run.first, membership);
        }
    }

    fn cut(&mut self, from: LogIndex, lineages: &Lineages) -> Result<(), String> {
        let cut = self.entries.split_off(&from);
        self.memberships.split_off(&from);
        for (at, term) in lineages.entries(self.lineage, from) {
            if cut.get(&at) == Some(&term) {
                return Err(format!("{at:?} of {term:?} is cut off, but committed"));
            }
        }
        Ok(())
    }

    /// A change of voters follows from the one before it: majorities of the two overlap.
    fn follows(&self, run: &Run) -> Result<(), String> {
        let last = self.entries.last_key_value().map_or(self.base, |(at, _)| *at);
        if run.first != last.next() {
            return Err(format!("{:?} is written behind {last:?}", run.first));
        }
        if run.kind != Kind::Membership {
            return Ok(());
        }
        let next: Membership = wire::decode(&run.data).map_err(|error| error.to_string())?;
        let Some((_, before)) = self.memberships.last_key_value() else { return Ok(()) };
        let legal = match (&before.leaving, &next.leaving) {
            // Into the joint set: the old one stays in it.
            (None, Some(leaving)) => *leaving == before.voters,
            // Out of it.
            (Some(_), None) => next.voters == before.voters,
            // In one step only from a set of one, which stays.
            (None, None) => {
                next.voters == before.voters
                    || before.voters.len() == 1
                        && before.voters.iter().all(|seat| next.voters.contains(seat))
            }
            (Some(_), Some(_)) => false,
        };
        if legal { Ok(()) } else { Err(format!("{next:?} follows {before:?}")) }
    }
}

/// Every entry of a run.
fn contents(run: &Run) -> Result<Vec<(LogIndex, Digest)>, String> {
    let kind = Digest::from_u8(run.kind as u8);
    if run.kind != Kind::Commands {
        return Ok(vec![(run.first, kind.derive(&run.data))]);
    }
    let items: Result<Vec<_>, _> = Items::new(run.data.clone()).collect();
    let items = items.map_err(|error| error.to_string())?;
    if items.len() != run.count as usize {
        return Err(format!("{run:?} holds {} commands", items.len()));
    }
    let each = (0..).zip(&items).map(|(number, item): (u64, _)| {
        let origin = (run.origin.session, run.origin.number + number);
        let kind = kind.derive(origin.0.to_be_bytes()).derive(origin.1.to_be_bytes());
        (LogIndex(run.first.0 + number), kind.derive(item))
    });
    Ok(each.collect())
}
