//! What this member says of itself.

use super::{context::Cx, frames::Announcement, group::Group, standing::Claim, state::State};
use crate::raft::{Position, Role, SeatId};

impl Group {
    /// Tells the others what this member is, if that changed.
    pub(super) fn announce(&mut self, cx: &mut Cx<'_>) {
        self.judge_own();
        let Some(seat) = self.seat else { return };
        let mine = self.claim();
        let mut said = Announcement {
            lineage: mine.lineage,
            seat: seat.id,
            boot: self.boot,
            start: self.start,
            can_vote: mine.can_vote,
            holds: mine.holds,
            leads: mine.leads,
            follows: None,
            established: mine.established,
            commands: mine.commands,
            end: Position::default(),
            parent: mine.parent,
            left: self.closed,
        };
        if let State::Member(standing) = &self.state {
            let leader = standing.raft.leader();
            said.follows = leader.map(|leader| leader.peer).filter(|leader| *leader != self.me);
            let before = self.bonds.mine().filter(|before| before.lineage == mine.lineage);
            if leader.is_none() {
                said.end = standing.raft.log().last();
            } else if let Some(before) = before.filter(|_| mine.established) {
                // Not worth a word with every command: only lineages that may yield are counted.
                (said.commands, said.end) = (before.commands, before.end);
            }
        }
        self.bonds.announce(said, cx);
    }

    /// What this member says of itself.
    pub(super) fn claim(&self) -> Claim {
        let mut claim = Claim {
            peer: self.me,
            seat: self.seat.map_or(SeatId([0; 16]), |seat| seat.id),
            can_vote: self.config.can_vote && (self.leaving.is_none() || self.config.durable),
            lineage: None,
            holds: false,
            leads: false,
            follows: false,
            established: false,
            commands: 0,
            parent: None,
        };
        if let State::Member(standing) = &self.state {
            let raft = &standing.raft;
            claim.lineage = Some(standing.lineage);
            claim.holds = raft.holds();
            claim.leads = raft.role() == Role::Leader;
            claim.follows = !claim.leads && raft.leader().is_some();
            claim.established = standing.established;
            claim.commands = raft.log().commands();
            claim.parent = standing.parent.map(|(lineage, _)| lineage);
        }
        claim
    }
}
