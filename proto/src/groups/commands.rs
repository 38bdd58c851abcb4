//! Commands and reads between the group's parts: host, client, bonds, Raft, machine.

use bytes::Bytes;

use super::{
    Applying, Index, Output, Rejection,
    bonds::BondEvent,
    calls::{self, Proposal, Verdict},
    client::Ask,
    context::Cx,
    control::Control,
    frames::{Class, Frame},
    group::Group,
    intake::{Asked, Why},
    state::State,
};
use crate::{
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::{self, Kind, Lineage, LogIndex, Origin, Refused, Role, Run, Seat},
    wire::CloseCode,
};

/// What a leader has to say to commands.
type Answer = Result<Option<Index>, Why>;

impl Group {
    // --- from the host ---------------------------------------------------------------------

    pub(super) fn on_execute(&mut self, first: u64, count: u32, data: Bytes, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.calls.client.execute(first, count, data, now, &mut self.calls.out);
    }

    pub(super) fn on_read(&mut self, id: u64, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.calls.reads.read(id, now, &mut self.calls.out);
        if self.fenced.is_some() || self.storeless {
            self.calls.reads.fail_all(&mut self.calls.out);
        }
    }

    /// New commands are rejected as long as this member may not write.
    pub(super) fn judge_calls(&mut self) {
        let rejection = if self.leaving.is_some() {
            Some(Rejection::Closed)
        } else if self.storeless {
            Some(Rejection::StoreFailed)
        } else {
            (!self.config.can_vote).then_some(Rejection::ReadOnly)
        };
        self.calls.client.refuse(rejection);
    }

    /// Nothing more is applied here: what waits for that ends.
    pub(super) fn end_calls(&mut self, rejection: Rejection, cx: &mut Cx<'_>) {
        self.calls.client.close(rejection, &mut self.calls.out);
        self.calls.reads.fail_all(&mut self.calls.out);
        self.say(cx);
    }

    /// Tells the host what is to be told, in order.
    pub(super) fn say(&mut self, cx: &mut Cx<'_>) {
        let group = self.config.id;
        self.calls.out.drain().for_each(|output| cx.output(group, output));
    }

    // --- snapshots -------------------------------------------------------------------------

    /// The sessions behind an entry, as a snapshot holds them.
    pub(super) fn encoded_sessions(&self, at: LogIndex) -> Bytes {
        self.calls.sessions.encode(at)
    }

    /// The sessions are those of a snapshot up to `at`. False if they are none.
    pub(super) fn restore_sessions(&mut self, sessions: &[u8], at: LogIndex) -> bool {
        self.calls.install(sessions, at)
    }

    // --- asking ----------------------------------------------------------------------------

    /// The way to the leader was cut, or something moved on it.
    pub(super) fn on_calls_bond(&mut self, event: &BondEvent, cx: &Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let Some(leader) = standing.raft.leader() else { return };
        let client = &mut self.calls.client;
        match *event {
            BondEvent::Drained { peer, class: Class::Commands } if peer == leader.peer => {
                client.on_progress(cx.now());
            }
            BondEvent::Closed { peer, class: Class::Commands, accepted: false }
            | BondEvent::Down(peer)
                if peer == leader.peer =>
            {
                client.on_cut(cx.now());
            }
            _ => {}
        }
    }

    /// Asks the leader for what waits. True if it is this member, so that something may be committed.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>) -> bool {
        let asked = self.ask_reads(cx);
        let State::Member(standing) = &self.state else { return asked };
        let Some(leader) = standing.raft.leader() else { return asked };
        let (lineage, leader) = (standing.lineage, leader.peer);
        if leader == self.me {
            self.ask_here(cx) || asked
        } else {
            self.ask_there(leader, lineage, cx)
        }
    }

    fn ask_reads(&mut self, cx: &mut Cx<'_>) -> bool {
        if !matches!(self.state, State::Member(_)) {
            return false;
        }
        let Some(id) = self.calls.reads.next() else { return false };
        self.refused = None;
        self.raft(raft::Event::Read { id }, cx);
        if self.refused.take().is_some() {
            self.calls.reads.on_refused(&mut self.calls.out);
        }
        true
    }

    /// This member leads.
    fn ask_here(&mut self, cx: &mut Cx<'_>) -> bool {
        let (now, mut asked) = (cx.now(), false);
        while let Some(ask) = self.calls.client.next(now) {
            asked = true;
            match ask {
                Ask::Open { nonce, attempt } => {
                    if let Err(why) = self.open_session(self.me, nonce, cx) {
                        self.on_refused(attempt, 0, why, cx);
                    }
                }
                Ask::Commands { session, number, count, attempt, data } => {
                    let asked = Asked { peer: self.me, session, number, count, attempt };
                    match self.take(&asked, data, cx) {
                        Ok(index) => self.on_taken(attempt, number, index, cx),
                        Err(why) => self.on_refused(attempt, number, why, cx),
                    }
                }
            }
        }
        asked
    }

    /// Another member leads.
    fn ask_there(&mut self, leader: PeerId, lineage: Lineage, cx: &mut Cx<'_>) -> bool {
        let now = cx.now();
        while self.bonds.debt(&leader, Class::Commands) < limits::CHANNEL_DEBT
            && let Some(ask) = self.calls.client.next(now)
        {
            let frame = match ask {
                Ask::Open { nonce, attempt } => Frame::OpenSession { lineage, nonce, attempt },
                Ask::Commands { session, number, count, attempt, data } => {
                    Frame::Commands { lineage, session, number, count, attempt, data }
                }
            };
            if !self.bonds.send(&leader, &frame, cx) {
                self.calls.client.on_cut(now);
            }
        }
        false
    }

    fn on_taken(&mut self, attempt: u64, number: u64, index: Option<Index>, cx: &Cx<'_>) {
        self.calls.client.on_taken(attempt, number, index, cx.now(), &mut self.calls.out);
    }

    fn on_refused(&mut self, attempt: u64, number: u64, why: Why, cx: &Cx<'_>) {
        self.calls.on_refused(attempt, number, why, self.handing.handed(), cx.now());
    }

    // --- answering -------------------------------------------------------------------------

    /// A frame of a channel for commands.
    pub(super) fn on_commands(&mut self, peer: PeerId, frame: Frame, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let (mine, leader) = (standing.lineage, standing.raft.leader());
        match frame {
            Frame::Commands { lineage, session, number, count, attempt, data }
                if lineage == mine =>
            {
                if !calls::is_sound(&data, count) {
                    return self.bonds.refuse(&peer, CloseCode::PROTOCOL_VIOLATION, cx);
                }
                let asked = Asked { peer, session, number, count, attempt };
                let answer = self.may_write(&peer).and_then(|()| self.take(&asked, data, cx));
                self.answer(peer, lineage, number, attempt, answer, cx);
            }
            Frame::OpenSession { lineage, nonce, attempt } if lineage == mine => {
                let opened =
                    self.may_write(&peer).and_then(|()| self.open_session(peer, nonce, cx));
                if let Err(why) = opened {
                    self.answer(peer, lineage, 0, attempt, Err(why), cx);
                }
            }
            Frame::Taken { lineage, number, attempt, index }
                if lineage == mine && leader.is_some_and(|leader| leader.peer == peer) =>
            {
                self.on_taken(attempt, number, index, cx);
            }
            Frame::Refused { lineage, number, attempt, why }
                if lineage == mine && leader.is_some_and(|leader| leader.peer == peer) =>
            {
                self.on_refused(attempt, number, why, cx);
            }
            // Of another lineage than this member's: who asked will hear of that.
            _ => {}
        }
    }

    fn answer(
        &mut self,
        peer: PeerId,
        lineage: Lineage,
        number: u64,
        attempt: u64,
        answer: Answer,
        cx: &mut Cx<'_>,
    ) {
        let frame = match answer {
            Ok(index) => Frame::Taken { lineage, number, attempt, index },
            Err(why) => Frame::Refused { lineage, number, attempt, why },
        };
        // Who does not read its answers asks again.
        self.bonds.send(&peer, &frame, cx);
    }

    /// GRP-22: the leader checks the role of who writes.
    fn may_write(&self, peer: &PeerId) -> Result<(), Why> {
        let writes = self.bonds.get(peer).is_some_and(|said| said.can_vote);
        if writes || mutant::on(Mutant::ObserverWrites) { Ok(()) } else { Err(Why::ReadOnly) }
    }

    fn leads(&self) -> bool {
        matches!(&self.state, State::Member(standing) if standing.raft.role() == Role::Leader)
    }

    /// Takes commands into the log, if this member leads; their place, if that is known.
    fn take(&mut self, asked: &Asked, data: Bytes, cx: &mut Cx<'_>) -> Answer {
        if !self.leads() {
            return Err(Why::NotLeader);
        }
        match self.calls.admit(asked, data, self.handing.handed())? {
            Verdict::Known(index) => Ok(index),
            Verdict::Propose(proposal, data) => {
                let Proposal { kind, count, origin, .. } = proposal;
                self.propose(&asked.peer, kind, count, origin, data, cx)?;
                let State::Member(standing) = &self.state else { return Err(Why::NotLeader) };
                Ok(self.calls.appended(&proposal, standing.raft.log().commands()))
            }
        }
    }

    fn open_session(&mut self, peer: PeerId, nonce: u64, cx: &mut Cx<'_>) -> Result<(), Why> {
        if !self.leads() {
            return Err(Why::NotLeader);
        }
        if self.calls.intake.admit_opening(&self.calls.sessions, &peer, nonce) {
            let data = Control::OpenSession { peer, nonce }.encode();
            let at = self.propose(&peer, Kind::Control, 1, Origin::default(), data, cx)?;
            self.calls.intake.opening(at, peer, nonce);
        }
        Ok(())
    }

    /// Proposes entries that a member asks for; the place of the first.
    fn propose(
        &mut self,
        peer: &PeerId,
        kind: Kind,
        count: u32,
        origin: Origin,
        data: Bytes,
        cx: &mut Cx<'_>,
    ) -> Result<LogIndex, Why> {
        (self.accepted, self.refused) = (None, None);
        let asker = self.bonds.get(peer).map(|said| Seat { peer: *peer, id: said.seat });
        self.raft(raft::Event::Propose { kind, count, origin, data, asker }, cx);
        self.accepted.take().ok_or_else(|| self.refused.take().map_or(Why::NotLeader, Why::from))
    }

    // --- from Raft -------------------------------------------------------------------------

    pub(super) fn on_accepted(&mut self, first: LogIndex) {
        self.accepted = Some(first);
    }

    pub(super) const fn on_raft_refused(&mut self, refused: Refused) {
        self.refused = Some(refused);
    }

    /// The role, the term or the leader is another.
    pub(super) fn on_led(&mut self, role: Role, leader: Option<Seat>) {
        let State::Member(standing) = &self.state else { return };
        let raft = &standing.raft;
        let leader = leader.map(|leader| (leader.peer, raft.term()));
        let leads = role == Role::Leader;
        let (handed, commands) = (self.handing.handed(), self.handing.index());
        self.calls.on_leader(leader, leads, raft.log(), handed, commands);
    }

    /// Commands are handed to the machine, and what is known by that to the host.
    pub(super) fn hand_commands(&mut self, run: Run, cx: &mut Cx<'_>) {
        let first = Index(self.handing.index().0 + 1 - u64::from(run.count));
        let void = !self.calls.hand(&run, first);
        let Run { term, first: entry, count, data, .. } = run;
        let data = if void { Bytes::new() } else { data };
        self.output(cx, Output::Apply(Applying { term, entry, first, count, data, void }));
        self.say(cx);
    }
}
