//! Groups: what members may never do, seen from what goes in and out of their cores.
//!
//! | file | invariant (`reliability.md` §8.0) |
//! |---|---|
//! | `members.rs` | commands are handed over one after the other; what is committed never goes back |
//! | `lineages.rs` | one leader per term; one command per place; no command at two places; what was refused is never applied; machines that applied the same are the same |
//! | `logs.rs` | stored logs that agree on an entry agree on all before it; what is committed is in every leader's log and never cut off; voter sets overlap |
//! | `history.rs` | what clients asked and heard: linearizable, and nothing that was acknowledged is gone |

mod history;
mod lineages;
mod logs;
mod members;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mosaik_proto::{
    Digest,
    groups::{Applying, Index, Input, Notice, Output, Rejection, Status},
    ids::GroupId,
    node::{Action, Event},
    raft::{Lineage, Role, Seat},
    time::Instant,
};

pub use self::history::{Asked, History, Judged};
use self::{lineages::Lineages, logs::Logs, members::Member};
use crate::net::Process;

/// One process's part in a group.
pub(crate) type Part = (Process, GroupId);

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commands that were acknowledged.
    pub committed: u64,
    /// Commands that were refused for certain.
    pub rejected: u64,
    /// Commands of which nobody could say what became.
    pub unknown: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Reads that were not.
    pub failed_reads: u64,
    /// Leaders that were seen.
    pub leaders: u64,
    /// Commands that machines applied.
    pub applied: u64,
    /// Writes that stores were asked for.
    pub persisted: u64,
    /// Snapshots that were installed.
    pub installed: u64,
    /// Times that a member left its history for another.
    pub superseded: u64,
}

impl Figures {
    /// Adds those of another run.
    pub const fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.rejected += other.rejected;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.failed_reads += other.failed_reads;
        self.leaders += other.leaders;
        self.applied += other.applied;
        self.persisted += other.persisted;
        self.installed += other.installed;
        self.superseded += other.superseded;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, rejected, unknown, reads, failed_reads, .. } = self;
        let Self { leaders, applied, persisted, installed, superseded, .. } = self;
        write!(
            f,
            "{committed} commands in force, {rejected} rejected, {unknown} unknown, {reads} reads, {failed_reads} failed, \
             {applied} applied, {persisted} writes, {leaders} leaders, {installed} snapshots installed, {superseded} superseded"
        )
    }
}

/// The checkers of groups.
#[derive(Debug, Default)]
pub struct Groups {
    members: BTreeMap<Part, Member>,
    lineages: Lineages,
    logs: Logs,
    /// What clients asked and heard.
    pub history: History,
    figures: Figures,
    /// Lineages that members said they left, with commands that are not in force any more.
    left: BTreeMap<Lineage, u64>,
    /// Lineages that a conflict was reported with.
    conflicts: BTreeSet<Lineage>,
    /// Lineages that were made from another: members forget that with the entry that says so.
    forks: BTreeSet<Lineage>,
}

impl Groups {
    /// What happened so far.
    #[must_use]
    pub const fn figures(&self) -> Figures {
        self.figures
    }

    /// Lineages that members left, with the most commands that one of them said were lost by it.
    #[must_use]
    pub const fn left(&self) -> &BTreeMap<Lineage, u64> {
        &self.left
    }

    /// Lineages that a conflict was reported with.
    #[must_use]
    pub const fn conflicts(&self) -> &BTreeSet<Lineage> {
        &self.conflicts
    }

    /// True if any member ever said that a lineage was made from another, whose answers count in it.
    #[must_use]
    pub fn is_fork(&self, lineage: Lineage) -> bool {
        self.forks.contains(&lineage)
    }

    /// Looks at all that a step of a process asks for, before any of it is done.
    pub(crate) fn step<'a>(&mut self, process: Process, actions: impl Iterator<Item = &'a Action>) {
        for action in actions {
            let Action::Group { group, output } = action else { continue };
            let Some(member) = self.members.get_mut(&(process, *group)) else { continue };
            match output {
                Output::Status(status) => member.will_be(status.lineage),
                Output::Reset => member.will_reset(),
                _ => {}
            }
        }
    }

    /// Looks at an event that a process is about to handle.
    pub(crate) fn event(&mut self, process: Process, event: &Event) {
        let Event::Group { group, input } = event else { return };
        let part = (process, *group);
        match input {
            Input::Join(config) => {
                self.members.insert(part, Member::new(config.durable));
            }
            Input::Loaded(loaded) => {
                let Some(member) = self.members.get_mut(&part) else { return };
                self.logs.loaded(part, loaded);
                member.loaded(&loaded.stored);
            }
            Input::InstallFailed { .. } => {
                self.members.get_mut(&part).into_iter().for_each(Member::install_failed);
            }
            Input::Persisted(ticket) => self.logs.persisted(part, *ticket),
            _ => {}
        }
    }

    /// Looks at an action of a process.
    ///
    /// # Errors
    /// What must never happen and did.
    pub(crate) fn action(
        &mut self,
        now: Instant,
        process: Process,
        action: &Action,
    ) -> Result<(), String> {
        let Action::Group { group, output } = action else { return Ok(()) };
        let part = (process, *group);
        let found = self.output(now, part, output);
        found.map_err(|what| format!("{} {group:?}: {what}", process.host))
    }

    fn output(&mut self, _now: Instant, part: Part, output: &Output) -> Result<(), String> {
        let member = self.members.get_mut(&part).ok_or("it says something before it joined")?;
        match output {
            Output::Persist { ticket, write } => {
                self.figures.persisted += 1;
                if !member.durable {
                    return Err("a member without a store writes".into());
                }
                self.logs.write(part, *ticket, write, &self.lineages)
            }
            Output::Wipe => {
                self.logs.forget(part);
                Ok(())
            }
            Output::Apply(applying) => {
                let lineage = member.apply(applying)?;
                self.lineages.apply(lineage, applying)
            }
            Output::Install { snapshot, .. } => {
                self.figures.installed += 1;
                member.install(snapshot);
                Ok(())
            }
            Output::Reset => {
                member.reset();
                Ok(())
            }
            Output::Status(status) => self.status(part, status),
            Output::Notice(Notice::Superseded { lineage, lost }) => {
                self.figures.superseded += 1;
                let most = self.left.entry(*lineage).or_default();
                *most = (*most).max(*lost);
                Ok(())
            }
            Output::Notice(Notice::Conflict(lineage)) => {
                self.conflicts.insert(*lineage);
                Ok(())
            }
            Output::Notice(Notice::Diverged { at }) => Err(format!("machines differ at {at:?}")),
            Output::Closed => {
                self.members.remove(&part);
                self.logs.forget(part);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn status(&mut self, part: Part, status: &Status) -> Result<(), String> {
        let Some(member) = self.members.get_mut(&part) else { return Ok(()) };
        member.status(status)?;
        let durable = member.durable;
        self.voters(status);
        let (Some(lineage), Some(seat)) = (status.lineage, status.seat) else { return Ok(()) };
        if status.forked_from.is_some() {
            self.forks.insert(lineage);
        }
        if status.role == Role::Leader {
            let new = self.lineages.lead(lineage, status.term, seat, durable)?;
            self.figures.leaders += u64::from(new);
            // One that leads in an earlier term than another need not have what that one committed.
            if new && self.lineages.leads_last(lineage, status.term) {
                self.logs.leads(part, lineage, &self.lineages)?;
            }
        }
        Ok(())
    }

    /// The lineage whose commands a part applies at present.
    pub(crate) fn lineage(&self, part: Part) -> Option<Lineage> {
        self.members.get(&part).and_then(Member::present)
    }

    /// A machine has applied everything up to a place, and is what this digest says.
    ///
    /// # Errors
    /// If another that applied the same is not.
    pub fn machine(&mut self, lineage: Lineage, at: Index, digest: Digest) -> Result<(), String> {
        self.figures.applied += 1;
        self.lineages.machine(lineage, at, digest)
    }

    /// A client is told that its command is in force.
    ///
    /// # Errors
    /// If it is not, there.
    pub fn acknowledged(
        &mut self,
        of: Option<Lineage>,
        command: u64,
        index: Index,
    ) -> Result<Lineage, String> {
        self.figures.committed += 1;
        let lineage = of.ok_or("a command is acknowledged outside of a lineage")?;
        self.lineages.acknowledge(lineage, command, index)?;
        Ok(lineage)
    }

    /// A client is told that its command never was and never will be in force.
    ///
    /// # Errors
    /// If it is.
    pub fn rejected(
        &mut self,
        of: Option<Lineage>,
        command: u64,
        why: Rejection,
    ) -> Result<(), String> {
        self.figures.rejected += 1;
        self.lineages.reject(of, command, why)
    }

    pub(crate) const fn unknown(&mut self) {
        self.figures.unknown += 1;
    }

    pub(crate) const fn read(&mut self, answered: bool) {
        if answered {
            self.figures.reads += 1;
        } else {
            self.figures.failed_reads += 1;
        }
    }

    /// The commands that clients were told are in force in a lineage, with their places.
    pub fn in_force(&self, lineage: Lineage) -> impl Iterator<Item = (u64, Index)> + '_ {
        self.lineages.in_force(lineage)
    }

    /// The lineages in which clients were told that a command is in force.
    #[must_use]
    pub fn lineages(&self) -> Vec<Lineage> {
        self.lineages.with_acknowledged()
    }

    /// All histories with the voters that were seen last.
    pub fn histories(&self) -> impl Iterator<Item = (Lineage, &[Seat])> {
        self.lineages.histories()
    }

    /// True if a second voter was ever seen in a lineage, be it in place of the first.
    #[must_use]
    pub fn had_second_voter(&self, lineage: Lineage) -> bool {
        self.lineages.had_second_voter(lineage)
    }

    /// True if a member with a store ever led a lineage.
    #[must_use]
    pub fn has_disk(&self, lineage: Lineage) -> bool {
        self.lineages.has_disk(lineage)
    }

    /// True if a process takes part in a group.
    pub(crate) fn has_part(&self, process: Process) -> bool {
        self.members.keys().any(|(of, _)| *of == process)
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, process: Process) {
        self.members.retain(|(of, _), _| *of != process);
        self.logs.ended(process);
    }

    /// Notes the voters that a status lists.
    fn voters(&mut self, status: &Status) {
        if let Some(lineage) = status.lineage {
            self.lineages.voters(lineage, status);
        }
    }
}

/// What an [`Applying`] holds, command by command; void ones are `None`.
fn commands(applying: &Applying) -> Result<Vec<Option<bytes::Bytes>>, String> {
    if applying.void {
        return Ok(vec![None; applying.count as usize]);
    }
    let items = mosaik_proto::streams::item::Items::new(applying.data.clone());
    let items: Result<Vec<_>, _> = items.map(|item| item.map(Some)).collect();
    let items = items.map_err(|error| error.to_string())?;
    if items.len() != applying.count as usize {
        return Err(format!("{} commands are said to be {}", items.len(), applying.count));
    }
    Ok(items)
}
