//! What a member tells its host about itself.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use super::{
    Blocked, Cursor, Index, Member, Output, Status, context::Cx, group::Group, state::State,
};
use crate::{
    ids::PeerId,
    raft::{Founders, Lag, Membership, Raft, Role, Seat, Term},
    time::Instant,
};

/// What was published last, and what is due.
#[derive(Debug, Default)]
pub(super) struct Published {
    status: Option<Status>,
    log: Cursor,
    /// Something that handles wait for may have changed.
    pub(super) dirty: bool,
    /// Positions moved; they are published then.
    due: Option<Instant>,
}

impl Published {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Group {
    /// GRP-27: publishes what changed: positions at most once per heartbeat, everything else at once.
    pub(super) fn publish(&mut self, cx: &mut Cx<'_>) {
        if self.closed {
            return;
        }
        let now = cx.now();
        let log = self.end_of_log();
        if log != self.published.log {
            self.published.log = log;
            self.output(cx, Output::LogPosition(log));
            let due = now + self.config.timing.heartbeat_interval;
            self.published.due.get_or_insert(due);
        }
        // What stands in the way may be gone without a sign of its own.
        let before = self.published.status.as_ref().and_then(|status| status.blocked.as_ref());
        if before.is_some() || self.sync.is_fetching() {
            self.published.dirty |= self.blocked().as_ref() != before;
        }
        let due = self.published.due.is_some_and(|at| at <= now);
        if !self.published.dirty && !due {
            return;
        }
        self.published.dirty = false;
        self.published.due = None;
        let status = self.status();
        if self.published.status.as_ref() != Some(&status) {
            self.published.status = Some(status.clone());
            self.output(cx, Output::Status(Box::new(status)));
        }
    }

    fn end_of_log(&self) -> Cursor {
        let State::Member(standing) = &self.state else { return Cursor::default() };
        let log = standing.raft.log();
        let term = if log.commands() == 0 { Term(0) } else { log.last().term };
        Cursor::new(term, Index(log.commands()))
    }

    fn status(&self) -> Status {
        let blocked = self.blocked();
        let mut status = Status {
            role: Role::Follower,
            can_vote: self.config.can_vote,
            term: Term(0),
            leader: None,
            seat: self.seat,
            lineage: None,
            forked_from: None,
            voters: Vec::new(),
            learners: Vec::new(),
            bonds: self.bonds.peers().map(|(peer, _)| peer).collect(),
            log: self.end_of_log(),
            committed: Index::ZERO,
            durable: Index::ZERO,
            online: matches!(blocked, None | Some(Blocked::Conflict(_))),
            blocked,
            tolerates: 0,
        };
        if let State::Member(standing) = &self.state {
            let raft = &standing.raft;
            status.role = raft.role();
            status.term = raft.term();
            status.leader = raft.leader().map(|leader| leader.peer);
            status.lineage = Some(standing.lineage);
            status.forked_from = standing.parent;
            status.committed = Index(standing.committed);
            status.durable = durable(raft);
            self.list_members(raft, &mut status);
        }
        status
    }

    fn list_members(&self, raft: &Raft, status: &mut Status) {
        let lags: Vec<Lag> = raft.lags().collect();
        let member = |seat: &Seat| Member {
            seat: *seat,
            linked: self.is_linked(seat),
            lag: lags.iter().find(|lag| lag.seat == *seat).copied(),
        };
        let membership = raft.membership();
        status.voters = membership.seats().iter().map(member).collect();
        let learners = lags.iter().filter(|lag| !lag.voter && lag.linked);
        status.learners = learners.map(|lag| member(&lag.seat)).collect();
        status.tolerates = membership
            .sets()
            .map(|set| {
                let linked = set.iter().filter(|seat| self.is_linked(seat)).count();
                linked.saturating_sub(set.len() / 2 + 1)
            })
            .min()
            .unwrap_or(0);
    }

    /// True if it is this member, or bonded under this very seat.
    pub(super) fn is_linked(&self, seat: &Seat) -> bool {
        if seat.peer == self.me {
            return self.seat == Some(*seat);
        }
        self.bonds.get(&seat.peer).is_some_and(|said| said.seat == seat.id)
    }

    /// True if its peer is bonded under another seat, or is this one under another.
    pub(super) fn is_superseded(&self, seat: &Seat) -> bool {
        if seat.peer == self.me {
            return self.seat.is_some_and(|mine| mine != *seat);
        }
        self.bonds.get(&seat.peer).is_some_and(|said| said.seat != seat.id)
    }

    /// GRP-28: why commands and reads do not work here, or what the operator has to do.
    fn blocked(&self) -> Option<Blocked> {
        if let Some(fault) = &self.store_fault {
            return Some(Blocked::StoreFailed(fault.clone()));
        }
        if self.leaving.is_some() {
            return Some(Blocked::Leaving);
        }
        if let Some(what) = &self.fenced {
            return Some(Blocked::Fenced(what.clone()));
        }
        let standing = match &self.state {
            State::Loading => return Some(Blocked::Loading),
            State::Empty if self.bonds.peers().next().is_none() => return Some(Blocked::Alone),
            State::Empty => return Some(Blocked::NoLeader),
            State::Member(standing) => standing,
        };
        let raft = &standing.raft;
        if raft.leader().is_none() {
            return Some(self.without_leader(raft));
        }
        if raft.role() == Role::Leader {
            if raft.log().term_at(raft.commit()) != Some(raft.term()) {
                return Some(self.without_leader(raft));
            }
            let waits = raft.log().commands() == 0 && self.config.founders != Founders::Anybody;
            if waits && !raft.founders_are_here() {
                return Some(Blocked::Founders);
            }
        } else if standing.is_catching_up() || self.sync.is_fetching() {
            return Some(Blocked::CatchingUp);
        }
        self.conflict.map(|(_, lineage)| Blocked::Conflict(lineage))
    }

    fn without_leader(&self, raft: &Raft) -> Blocked {
        if !raft.holds() {
            return Blocked::NoLeader;
        }
        let membership = raft.membership();
        if can_go_on(membership, |seat| self.is_linked(seat), |seat| self.is_superseded(seat)) {
            return Blocked::NoLeader;
        }
        let hopeless = !can_go_on(
            membership,
            |seat| !self.is_superseded(seat),
            |seat| self.is_superseded(seat),
        );
        if hopeless {
            return Blocked::NeedsRecovery { lost: self.lost(membership) };
        }
        let of = |set: &crate::raft::Voters| {
            let linked = set.iter().filter(|seat| self.is_linked(seat)).count();
            (linked, set.len() / 2 + 1)
        };
        let worst = membership.sets().map(of).min_by_key(|(linked, needed)| {
            i64::try_from(*linked).unwrap_or(0) - i64::try_from(*needed).unwrap_or(0)
        });
        let (linked, needed) = worst.unwrap_or((0, 1));
        Blocked::NoQuorum { linked, needed }
    }

    /// Whom `recover` is to call gone. Not who is a voter under the seat that it has now: a change may list
    /// it under its old one as well.
    fn lost(&self, membership: &Membership) -> Vec<PeerId> {
        let seats = membership.seats();
        let here = seats.iter().filter(|seat| self.is_linked(seat)).map(|seat| seat.peer);
        let here: BTreeSet<PeerId> = here.collect();
        let lost = seats.iter().map(|seat| seat.peer).filter(|peer| !here.contains(peer));
        lost.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// True if these voters suffice to elect a leader.
fn can_go_on(
    membership: &Membership,
    has: impl Fn(&Seat) -> bool,
    superseded: impl Fn(&Seat) -> bool,
) -> bool {
    membership.has_majority(has, superseded)
}

/// Commands that survive a crash of this member: those at the end of the log that do not are few.
fn durable(raft: &Raft) -> Index {
    let (log, durable) = (raft.log(), raft.durable());
    let mut lost = 0;
    for run in log.runs_from_the_end() {
        if run.end().index <= durable {
            break;
        }
        let kept = (durable.0 + 1).saturating_sub(run.first.0);
        lost += run.commands().saturating_sub(kept);
    }
    Index(log.commands() - lost)
}
