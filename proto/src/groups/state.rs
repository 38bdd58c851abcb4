//! Where a member stands: what it knows of the history that it takes part in.

use alloc::{boxed::Box, vec::Vec};

use super::Index;
use crate::{
    raft::{Lineage, LogIndex, Membership, Message, Raft, Seat},
    time::Instant,
};

/// Where a member stands.
#[derive(Debug)]
pub(super) enum State {
    /// Its store is being opened, or made anew.
    Loading,
    /// It takes part in no history.
    Empty,
    /// It has a log: as a voter, or as a copy.
    Member(Box<Standing>),
}

/// One member's part in one lineage.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) raft: Raft,
    pub(super) lineage: Lineage,
    /// What the lineage was made from, and with how many commands.
    pub(super) parent: Option<(Lineage, Index)>,
    /// The lineage never yields: its log listed a second voter, or commands count (GRP-12).
    pub(super) established: bool,
    /// This member began it, in this life: it saw all of its log.
    pub(super) founded: bool,
    /// Commands known to be committed.
    pub(super) committed: u64,
    /// The voters in force behind the last entry that was handed over.
    pub(super) voters: Membership,
    /// Members of this lineage that Raft was told of, and whether they may vote.
    pub(super) linked: Vec<(Seat, bool)>,
    /// Others were members: its log may live on elsewhere.
    pub(super) shared: bool,
    /// The seats of everybody who is bonded, as Raft was told.
    pub(super) met: Vec<Seat>,
    /// Commits that the leader spoke of when it was first heard are not all here yet.
    pub(super) goal: Option<LogIndex>,
    pub(super) led: Option<Seat>,
    /// Whose large message is arriving, and when Raft was told so last.
    pub(super) receiving: Option<(Seat, Instant)>,
}

impl Standing {
    pub(super) fn new(raft: Raft, lineage: Lineage, voters: Membership, committed: u64) -> Self {
        Self {
            raft,
            lineage,
            parent: None,
            established: false,
            founded: false,
            committed,
            voters,
            linked: Vec::new(),
            shared: false,
            met: Vec::new(),
            goal: None,
            led: None,
            receiving: None,
        }
    }

    /// A leader that has just begun, as after a restart of all, does not know yet what is committed:
    /// only an entry of its term says that all before it is (§6.4).
    pub(super) fn is_catching_up(&self) -> bool {
        let (raft, commit) = (&self.raft, self.raft.commit());
        let certain = raft.log().term_at(commit) == Some(raft.term());
        !certain || self.led.is_none() || self.goal.is_some_and(|goal| commit < goal)
    }

    /// A leader says what is committed: so much this member must have before it counts as up to date.
    pub(super) fn hear(&mut self, leader: Seat, message: &Message) {
        let commit = match message {
            Message::Append(append) => append.commit,
            Message::Behind { base, .. } => base.index,
            _ => return,
        };
        if self.led != Some(leader) {
            self.led = Some(leader);
            self.goal = Some(commit);
        }
    }
}
