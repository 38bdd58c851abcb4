//! What the members of one history agree on.

use std::collections::{BTreeMap, BTreeSet};

use mosaik_proto::{
    Digest,
    groups::{Applying, Index, Rejection, Status},
    raft::{Lineage, LogIndex, Role, Seat, Term},
};

use super::commands;
use crate::host::Command;

/// One place in the order of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    entry: LogIndex,
    term: Term,
    /// The command, or that it is void.
    content: Option<Digest>,
}

#[derive(Debug, Default)]
struct History {
    leaders: BTreeMap<Term, Seat>,
    places: BTreeMap<Index, Place>,
    /// Committed entries that hold commands, and their terms.
    entries: BTreeMap<LogIndex, Term>,
    /// Where each command stands.
    by_command: BTreeMap<u64, Index>,
    machines: BTreeMap<Index, Digest>,
    acknowledged: BTreeMap<u64, Index>,
    /// Every seat that was ever listed.
    voters: BTreeSet<Seat>,
    /// The voters that were seen last, by who knew most: commands in force, term, whether it leads.
    present: Vec<Seat>,
    known: (Index, Term, bool),
    /// A member with a store led.
    durable: bool,
}

/// All histories of all groups.
#[derive(Debug, Default)]
pub(super) struct Lineages {
    all: BTreeMap<Lineage, History>,
    rejected: BTreeMap<u64, Rejection>,
}

impl Lineages {
    /// A member leads; true if that is new.
    pub(super) fn lead(
        &mut self,
        of: Lineage,
        term: Term,
        seat: Seat,
        durable: bool,
    ) -> Result<bool, String> {
        let history = self.all.entry(of).or_default();
        history.durable |= durable;
        match history.leaders.insert(term, seat) {
            Some(other) if other != seat => {
                Err(format!("{other:?} and {seat:?} both lead {of:?} in {term:?}"))
            }
            before => Ok(before.is_none()),
        }
    }

    /// True if nobody leads in a later term.
    pub(super) fn leads_last(&self, of: Lineage, term: Term) -> bool {
        let last = self.all.get(&of).and_then(|history| history.leaders.last_key_value());
        last.is_none_or(|(last, _)| *last <= term)
    }

    pub(super) fn apply(&mut self, of: Lineage, applying: &Applying) -> Result<(), String> {
        let history = self.all.entry(of).or_default();
        for (number, bytes) in (0..).zip(commands(applying)?) {
            let index = Index(applying.first.0 + number);
            let entry = LogIndex(applying.entry.0 + number);
            let content = bytes.as_ref().map(|bytes| Digest::hash(bytes));
            let place = Place { entry, term: applying.term, content };
            match history.places.insert(index, place) {
                Some(before) if before != place => {
                    return Err(format!("{of:?} {index}: {place:?}, elsewhere {before:?}"));
                }
                Some(_) => continue,
                None => {}
            }
            history.entries.insert(entry, applying.term);
            let Some(bytes) = bytes else { continue };
            let id = Command::decode(&bytes).ok_or("it is not what a client executed")?.id;
            if let Some(before) = history.by_command.insert(id, index) {
                return Err(format!("{of:?}: command {id} stands at {before} and at {index}"));
            }
            if let Some(why) = self.rejected.get(&id) {
                return Err(format!("{of:?} {index}: command {id} was rejected: {why}"));
            }
        }
        Ok(())
    }

    pub(super) fn machine(&mut self, of: Lineage, at: Index, digest: Digest) -> Result<(), String> {
        match self.all.entry(of).or_default().machines.insert(at, digest) {
            Some(before) if before != digest => Err(format!("{of:?}: machines differ at {at}")),
            _ => Ok(()),
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        of: Lineage,
        command: u64,
        index: Index,
    ) -> Result<(), String> {
        let history = self.all.entry(of).or_default();
        match history.by_command.get(&command) {
            Some(at) if *at == index => {
                history.acknowledged.insert(command, index);
                Ok(())
            }
            at => Err(format!(
                "{of:?}: command {command} is acknowledged at {index}, and was applied at {at:?}"
            )),
        }
    }

    pub(super) fn reject(
        &mut self,
        of: Option<Lineage>,
        command: u64,
        why: Rejection,
    ) -> Result<(), String> {
        let here = of.and_then(|of| self.all.get(&of)?.by_command.get(&command).copied());
        if let Some(at) = here {
            return Err(format!("command {command} is rejected ({why}), but applied at {at}"));
        }
        // In a history that was left it may have been applied by its only voter.
        if why != Rejection::Superseded
            && let Some((of, at)) = self.find(command)
        {
            return Err(format!("command {command} is rejected ({why}), but in {of:?} at {at}"));
        }
        self.rejected.insert(command, why);
        Ok(())
    }

    fn find(&self, command: u64) -> Option<(Lineage, Index)> {
        let mut all = self.all.iter();
        all.find_map(|(of, history)| Some((*of, *history.by_command.get(&command)?)))
    }

    /// The entries of commands that are committed, with their terms, from one on.
    pub(super) fn entries(
        &self,
        of: Lineage,
        from: LogIndex,
    ) -> impl Iterator<Item = (LogIndex, Term)> + '_ {
        let entries = self.all.get(&of).map(|history| history.entries.range(from..));
        entries.into_iter().flatten().map(|(entry, term)| (*entry, *term))
    }

    pub(super) fn in_force(&self, of: Lineage) -> impl Iterator<Item = (u64, Index)> + '_ {
        let history = self.all.get(&of).into_iter();
        history.flat_map(|history| history.acknowledged.iter().map(|(id, at)| (*id, *at)))
    }

    pub(super) fn with_acknowledged(&self) -> Vec<Lineage> {
        let all = self.all.iter().filter(|(_, history)| !history.acknowledged.is_empty());
        all.map(|(of, _)| *of).collect()
    }

    /// Who is a voter, by what a member says of itself. One without a log knows of none.
    pub(super) fn voters(&mut self, of: Lineage, status: &Status) {
        let history = self.all.entry(of).or_default();
        let seats: Vec<Seat> = status.voters.iter().map(|voter| voter.seat).collect();
        history.voters.extend(&seats);
        let known = (status.committed, status.term, status.role == Role::Leader);
        if !seats.is_empty() && known >= history.known {
            (history.known, history.present) = (known, seats);
        }
    }

    pub(super) fn histories(&self) -> impl Iterator<Item = (Lineage, &[Seat])> {
        self.all.iter().map(|(of, history)| (*of, history.present.as_slice()))
    }

    pub(super) fn has_disk(&self, of: Lineage) -> bool {
        self.all.get(&of).is_some_and(|history| history.durable)
    }

    pub(super) fn had_second_voter(&self, of: Lineage) -> bool {
        self.all.get(&of).is_some_and(|history| history.voters.len() > 1)
    }
}
