//! What members with stores wrote to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mosaik_proto::{
    Digest,
    groups::Loaded,
    raft::{Kind, Lineage, LogIndex, Membership, Run, Seat, SeatId, Snapshot, Term, Ticket, Write},
    streams::item::Items,
    wire,
};

use super::{Part, lineages::Lineages};
use crate::net::Process;

/// An entry of a history.
type Entry = (Lineage, LogIndex, Term);

/// A write under way.
#[derive(Debug)]
struct Writing {
    ticket: Ticket,
    done: bool,
    /// The entries in it with which the store's own seat ceases to vote alone.
    leaves: Vec<Entry>,
}

/// What one store was told to hold.
#[derive(Debug, Default)]
struct Log {
    /// Whose store it is.
    seat: Option<SeatId>,
    writing: VecDeque<Writing>,
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
    entries: BTreeMap<Entry, Digest>,
    /// Every store that was ever opened: any other seat is in memory.
    stores: BTreeSet<SeatId>,
    /// The changes that leave a set of one, once that one has them on its disk.
    left: BTreeMap<Entry, SeatId>,
}

impl Logs {
    pub(super) fn loaded(&mut self, part: Part, loaded: &Loaded) {
        let log = self.logs.entry(part).or_default();
        *log = Log { seat: Some(loaded.seat), ..Log::default() };
        self.stores.insert(loaded.seat);
        log.begin(&loaded.stored.base);
        for run in &loaded.stored.runs {
            // What was written may be there before the host heard that it is.
            if let Ok(Some(one)) = log.follows(run)
                && one.id == loaded.seat
            {
                self.left.insert((log.lineage, run.first, run.term), loaded.seat);
            }
            log.append(run);
        }
    }

    pub(super) fn write(
        &mut self,
        part: Part,
        ticket: Ticket,
        write: &Write,
        lineages: &Lineages,
    ) -> Result<(), String> {
        let log = self.logs.entry(part).or_default();
        if let Some(base) = &write.reset {
            log.begin(base);
        }
        if let Some(from) = write.truncate {
            log.cut(from, lineages)?;
            let (lineage, seat) = (log.lineage, log.seat);
            let gone = |(of, at, _): &Entry| *of == lineage && *at >= from;
            self.left.retain(|entry, one| Some(*one) != seat || !gone(entry));
            log.writing.iter_mut().for_each(|writing| writing.leaves.retain(|one| !gone(one)));
        }
        let mut leaves = Vec::new();
        for run in &write.runs {
            let of = (log.lineage, run.first, run.term);
            match log.follows(run)? {
                Some(one) if Some(one.id) == log.seat => leaves.push(of),
                // RAFT-11: it could vote alone again, and lead without this entry.
                Some(one) if self.stores.contains(&one.id) && !self.left.contains_key(&of) => {
                    return Err(format!(
                        "{of:?} is written before {one:?} has it, which voted alone"
                    ));
                }
                _ => {}
            }
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
        log.writing.push_back(Writing { ticket, done: false, leaves });
        Ok(())
    }

    /// A write is done; it counts when all before it are (RAFT-06).
    pub(super) fn persisted(&mut self, part: Part, ticket: Ticket) {
        let Some(log) = self.logs.get_mut(&part) else { return };
        if let Some(writing) = log.writing.iter_mut().find(|writing| writing.ticket == ticket) {
            writing.done = true;
        }
        let Some(seat) = log.seat else { return };
        while let Some(writing) = log.writing.pop_front_if(|writing| writing.done) {
            self.left.extend(writing.leaves.into_iter().map(|entry| (entry, seat)));
        }
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
    fn begin(&mut self, base: &Snapshot) {
        (self.lineage, self.base) = (base.lineage, base.last.index);
        self.entries.clear();
        self.memberships.clear();
        if !base.membership.voters.is_empty() {
            self.memberships.insert(self.base, base.membership.clone());
        }
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

    /// A change of voters follows from the one before it: majorities of the two overlap, or it leaves
    /// a set of one. Says which.
    fn follows(&self, run: &Run) -> Result<Option<Seat>, String> {
        let last = self.entries.last_key_value().map_or(self.base, |(at, _)| *at);
        if run.first != last.next() {
            return Err(format!("{:?} is written behind {last:?}", run.first));
        }
        if run.kind != Kind::Membership {
            return Ok(None);
        }
        let next: Membership = wire::decode(&run.data).map_err(|error| error.to_string())?;
        let Some((_, before)) = self.memberships.last_key_value() else { return Ok(None) };
        let one = before.voters.iter().next().filter(|_| before.voters.len() == 1);
        match (&before.leaving, &next.leaving) {
            // Into the joint set: the old one stays in it.
            (None, Some(leaving)) if *leaving == before.voters => Ok(None),
            // Out of it.
            (Some(_), None) if next.voters == before.voters => Ok(None),
            (None, None) if next.voters == before.voters => Ok(None),
            // RAFT-11: in one step only from a set of one, whoever stays. Nobody else could lead before
            // it, and nobody can without it, once the one has it.
            (None, None) if let Some(one) = one => Ok(Some(*one)),
            _ => Err(format!("{next:?} follows {before:?}")),
        }
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
