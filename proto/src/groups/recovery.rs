//! What operators ask for: another leader, going on without lost voters, an end of a conflict.

use alloc::{boxed::Box, collections::BTreeSet};

use super::{
    FrozenHead, Notice, OperatorError, Output, context::Cx, control::Control, group::Group, head,
    state::State,
};
use crate::{
    Digest,
    ids::{PeerId, RequestId},
    mutant::{self, Mutant},
    raft::{self, Kind, Lineage, LogIndex, Origin, Position, Role, Seat, Snapshot, sole},
    time::Instant,
};

/// A request that waits for something.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: RequestId,
    until: Instant,
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Operator {
    transfer: Option<Waiting>,
    yielding: Option<(Waiting, Lineage)>,
    /// A recovery waits for this snapshot.
    recovering: Option<(Waiting, Snapshot)>,
}

impl Operator {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let yielding = self.yielding.iter().map(|(waiting, _)| waiting);
        let recovering = self.recovering.iter().map(|(waiting, _)| waiting);
        self.transfer.iter().chain(yielding).chain(recovering).map(|waiting| waiting.until).min()
    }
}

type Answer = Result<(), OperatorError>;

impl Group {
    fn reply(&self, request: RequestId, result: Answer, cx: &mut Cx<'_>) {
        self.output(cx, Output::Reply { request, result });
    }

    fn until(&self, cx: &Cx<'_>) -> Instant {
        cx.now() + self.config.timing.election_timeout
    }

    pub(super) fn operator_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if let Some(late) = self.operator.transfer.take_if(|waiting| waiting.until <= now) {
            self.reply(late.request, Err(OperatorError::TimedOut), cx);
        }
        if let Some((late, _)) = self.operator.yielding.take_if(|(waiting, _)| waiting.until <= now)
        {
            self.reply(late.request, Err(OperatorError::TimedOut), cx);
        }
    }

    /// The group is left: nobody waits for an answer for ever.
    pub(super) fn end_requests(&mut self, cx: &mut Cx<'_>) {
        let transfer = self.operator.transfer.take();
        let yielding = self.operator.yielding.take().map(|(waiting, _)| waiting);
        let recovering = self.operator.recovering.take().map(|(waiting, _)| waiting);
        for waiting in transfer.into_iter().chain(yielding).chain(recovering) {
            self.reply(waiting.request, Err(OperatorError::Closed), cx);
        }
    }

    // --- transfer --------------------------------------------------------------------------

    /// GRP-25: somebody else is to lead.
    pub(super) fn transfer(&mut self, request: RequestId, to: Option<PeerId>, cx: &mut Cx<'_>) {
        match self.successor(to) {
            Ok(seat) => {
                let waiting = Waiting { request, until: self.until(cx) };
                if let Some(earlier) = self.operator.transfer.replace(waiting) {
                    self.reply(earlier.request, Err(OperatorError::TimedOut), cx);
                }
                self.raft(raft::Event::Transfer(seat), cx);
            }
            Err(error) => self.reply(request, Err(error), cx),
        }
    }

    fn successor(&self, to: Option<PeerId>) -> Result<Option<Seat>, OperatorError> {
        let State::Member(standing) = &self.state else { return Err(OperatorError::NotLeader) };
        if standing.raft.role() != Role::Leader {
            return Err(OperatorError::NotLeader);
        }
        let able = |seat: &Seat| {
            let said = self.bonds.get(&seat.peer);
            said.is_some_and(|said| said.seat == seat.id && said.can_vote)
        };
        let seats = standing.raft.membership().seats();
        let mut able = seats.into_iter().filter(able);
        match to {
            Some(peer) => {
                let seat = able.find(|seat| seat.peer == peer);
                seat.map(Some).ok_or(OperatorError::NotAVoter(peer))
            }
            None => able.next().map(|_| None).ok_or(OperatorError::NotAVoter(self.me)),
        }
    }

    /// The leader is another.
    pub(super) fn on_leader(&mut self, leader: Option<Seat>, cx: &mut Cx<'_>) {
        let other = leader.is_some_and(|leader| leader.peer != self.me);
        if let Some(done) = self.operator.transfer.take_if(|_| other) {
            self.reply(done.request, Ok(()), cx);
        }
    }

    // --- recovery --------------------------------------------------------------------------

    /// GRP-17: the operator says that these voters are lost for good.
    pub(super) fn recover(&mut self, request: RequestId, gone: &BTreeSet<PeerId>, cx: &mut Cx<'_>) {
        let result = self.recoverable(gone);
        if result.is_err() || !self.is_frozen_first() {
            if result.is_ok() {
                self.fork(cx);
            }
            return self.reply(request, result, cx);
        }
        let until = self.until(cx);
        match self.freeze_for_fork(cx) {
            Some(snapshot) => {
                let waiting = Waiting { request, until };
                self.operator.recovering = Some((waiting, snapshot));
            }
            None => self.reply(request, Err(OperatorError::TimedOut), cx),
        }
    }

    /// A store begins a lineage behind a snapshot only with that snapshot: what it has is of the old one.
    fn is_frozen_first(&self) -> bool {
        self.config.durable && self.config.snapshots && self.handing.handed() > LogIndex(0)
    }

    fn freeze_for_fork(&mut self, cx: &mut Cx<'_>) -> Option<Snapshot> {
        let (handed, commands) = (self.handing.handed(), self.handing.index().0);
        let lineage = self.new_lineage();
        let (State::Member(standing), Some(seat)) = (&self.state, self.seat) else { return None };
        let term = standing.raft.log().term_at(handed)?;
        let last = Position { term, index: handed };
        let snapshot = Snapshot { lineage, last, membership: sole(seat), commands };
        let head = head::encode(&snapshot, &self.encoded_sessions(handed))?;
        if self.sync.snapshots.is_freezing() || self.sync.is_fetching() {
            return None;
        }
        self.output(cx, Output::Freeze { snapshot: Box::new(snapshot.clone()), head });
        Some(snapshot)
    }

    /// True if the snapshot is the one that a recovery waits for: the new lineage begins behind it.
    pub(super) fn on_frozen_for_fork(
        &mut self,
        frozen: &Snapshot,
        bytes: u64,
        digest: Digest,
        cx: &mut Cx<'_>,
    ) -> bool {
        let waits = self.operator.recovering.take_if(|(_, snapshot)| snapshot == frozen);
        let Some((waiting, snapshot)) = waits else { return false };
        let unchanged = matches!(&self.state, State::Member(standing)
            if standing.raft.leader().is_none() && self.handing.handed() == snapshot.last.index);
        let head = head::encode(&snapshot, &self.encoded_sessions(snapshot.last.index));
        let (true, Some(head)) = (unchanged, head) else {
            self.reply(waiting.request, Err(OperatorError::NothingToRecover), cx);
            return true;
        };
        self.fork_behind(snapshot.clone(), cx);
        self.sync.snapshots.loaded(snapshot, &FrozenHead { head, bytes, digest });
        self.reply(waiting.request, Ok(()), cx);
        true
    }

    fn recoverable(&self, gone: &BTreeSet<PeerId>) -> Answer {
        let State::Member(standing) = &self.state else {
            return Err(OperatorError::NothingToRecover);
        };
        if mutant::on(Mutant::RecoveryUnchecked) {
            return Ok(());
        }
        let raft = &standing.raft;
        if raft.leader().is_some() || raft.log().last().index.0 == 0 {
            return Err(OperatorError::NothingToRecover);
        }
        for seat in raft.membership().seats() {
            // Who is here under another seat has lost that one, whatever the operator says.
            if self.is_superseded(&seat) {
                continue;
            }
            match (gone.contains(&seat.peer), self.is_linked(&seat)) {
                (true, true) => return Err(OperatorError::NotGone(seat.peer)),
                (false, false) => return Err(OperatorError::NotLinked(seat.peer)),
                _ => {}
            }
        }
        let lineage = Some(standing.lineage);
        let mine = raft.log().last();
        let ahead = |said: &super::frames::Announcement| said.lineage == lineage && said.end > mine;
        match self.bonds.peers().find(|(_, said)| ahead(said)) {
            Some((peer, _)) => Err(OperatorError::BehindAnother(peer)),
            None => Ok(()),
        }
    }

    // --- conflicts -------------------------------------------------------------------------

    /// GRP-14: the operator names the lineage that stays, and it is not this one.
    pub(super) fn yield_to(&mut self, request: RequestId, to: Lineage, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else {
            return self.reply(request, Err(OperatorError::NoConflict), cx);
        };
        let met = self.bonds.peers().any(|(_, said)| said.leads && said.lineage == Some(to));
        if standing.lineage == to || !met {
            return self.reply(request, Err(OperatorError::NoConflict), cx);
        }
        match standing.raft.leader() {
            Some(leader) if leader.peer != self.me => {
                self.reply(request, Err(OperatorError::NotLeader), cx);
            }
            // Nobody can log it: this member goes alone.
            None => {
                self.give_up(cx);
                self.reply(request, Ok(()), cx);
            }
            Some(_) => {
                let waiting = Waiting { request, until: self.until(cx) };
                self.operator.yielding = Some((waiting, to));
                let data = Control::Yield { to }.encode();
                let (kind, origin, asker) = (Kind::Control, Origin::default(), None);
                self.raft(raft::Event::Propose { kind, count: 1, origin, data, asker }, cx);
            }
        }
    }

    /// The lineage was given up, by an entry of its own: every member that has it goes.
    pub(super) fn on_yield(&mut self, to: Lineage, cx: &mut Cx<'_>) {
        let done = self.operator.yielding.take_if(|(_, wanted)| *wanted == to);
        self.give_up(cx);
        if let Some((done, _)) = done {
            self.reply(done.request, Ok(()), cx);
        }
    }

    fn give_up(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let (lineage, lost) = (standing.lineage, standing.raft.log().commands());
        self.notice(Notice::Superseded { lineage, lost }, cx);
        self.begin_anew(cx);
    }
}
