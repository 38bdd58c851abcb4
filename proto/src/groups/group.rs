//! One group on this node: its bonds, the history that it takes part in, and its host's calls.

use alloc::{string::String, vec::Vec};

use super::{
    Action, Counter, GroupConfig, Input, Loaded, Notice, Output, Rejection, StoreFault,
    applying::Handing,
    bonds::{BondEvent, Bonds},
    boots::{Boots, Start},
    calls::Calls,
    context::Cx,
    frames::{Class, Frame, Told},
    leaving::Leaving,
    recovery::Operator,
    state::State,
    state_sync::StateSync,
    status::Published,
};
use crate::{
    core::{Core as _, Outbox},
    ids::PeerId,
    mutant::{self, Mutant},
    raft::{self, Lineage, LogIndex, Message, Role, Run, Seat, SeatId},
    rng::Rng,
    time::Instant,
    wire::CloseCode,
};

/// What is to be looked at again before a step ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dirty {
    /// Who is bonded, or what they say.
    pub(super) bonds: bool,
    /// What this member is.
    pub(super) standing: bool,
}

/// One group. See the module's documentation.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) me: PeerId,
    pub(super) config: GroupConfig,
    pub(super) rng: Rng,
    pub(super) bonds: Bonds,
    pub(super) state: State,
    /// This member's store; not known before it is loaded.
    pub(super) seat: Option<Seat>,
    pub(super) boot: u64,
    /// Tells this start of the process from others.
    pub(super) start: u64,
    boots: Boots,
    pub(super) handing: Handing,
    pub(super) sync: StateSync,
    pub(super) dirty: Dirty,
    /// When a founder will have waited long enough.
    pub(super) found_at: Option<Instant>,
    /// It has.
    pub(super) waited: bool,
    /// The store is being made anew.
    pub(super) wiping: bool,
    /// Another lineage that will not yield, and who leads it.
    pub(super) conflict: Option<(PeerId, Lineage)>,
    pub(super) fenced: Option<String>,
    /// It leads, but should not.
    hand_on: bool,
    pub(super) store_fault: Option<StoreFault>,
    /// The store cannot be begun anew either, or is another's: this member takes no part.
    pub(super) storeless: bool,
    pub(super) leaving: Option<Leaving>,
    pub(super) operator: Operator,
    pub(super) published: Published,
    pub(super) calls: Calls,
    /// Where Raft appended what was proposed last, or why not.
    pub(super) accepted: Option<LogIndex>,
    pub(super) refused: Option<raft::Refused>,
    actions: Outbox<raft::Action>,
    pub(super) runs: Vec<Run>,
    /// Rises with every lineage entered or left.
    pub(super) tenure: u64,
    pub(super) closed: bool,
}

impl Group {
    /// Takes part from now on; a member with a store waits for it.
    pub(super) fn join(config: GroupConfig, cx: &mut Cx<'_>) -> Self {
        let (me, bonds) = (cx.me, Bonds::new(&config));
        let mut rng = Rng::new(cx.shared.rng.bytes());
        let seat = (!config.durable).then(|| new_seat(me, &mut rng));
        let calls = Calls::new(me, rng.next_u64(), &config.timing);
        let mut group = Self {
            me,
            bonds,
            state: if config.durable { State::Loading } else { State::Empty },
            seat,
            boot: 0,
            start: rng.next_u64(),
            boots: Boots::default(),
            handing: Handing::default(),
            sync: StateSync::new(&config),
            dirty: Dirty { bonds: true, standing: true },
            found_at: None,
            waited: false,
            wiping: false,
            conflict: None,
            fenced: None,
            hand_on: false,
            store_fault: None,
            storeless: false,
            leaving: None,
            operator: Operator::default(),
            published: Published::default(),
            calls,
            accepted: None,
            refused: None,
            actions: Outbox::new(),
            runs: Vec::new(),
            tenure: 0,
            closed: false,
            config,
            rng,
        };
        group.judge_calls();
        group
    }

    /// [`Output::Closed`] was said: nothing more happens.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let raft = match &self.state {
            State::Member(standing) => standing.raft.deadline(),
            State::Loading | State::Empty => None,
        };
        let published = self.published.deadline();
        let own = [raft, self.found_at, published, self.operator.deadline(), self.calls.deadline()];
        let leaving = self.leaving.as_ref().map(Leaving::deadline);
        own.into_iter().flatten().chain(leaving).chain(self.sync.deadline()).min()
    }

    // --- events ----------------------------------------------------------------------------

    pub(super) fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if let State::Member(standing) = &self.state
            && standing.raft.deadline().is_some_and(|at| at <= now)
        {
            self.raft(raft::Event::Timeout, cx);
        }
        if self.found_at.take_if(|at| *at <= now).is_some() {
            self.waited = true;
            self.dirty.standing = true;
        }
        self.sync_timeout(cx);
        self.calls.on_timeout(now);
        self.operator_timeout(cx);
        self.leaving_timeout(cx);
    }

    pub(super) fn on_input(&mut self, input: Input, cx: &mut Cx<'_>) {
        match input {
            Input::CanVote(can_vote) => self.on_can_vote(can_vote, cx),
            Input::Leave => self.leave(cx),
            Input::Execute { first, count, data } => self.on_execute(first, count, data, cx),
            Input::Read(id) => self.on_read(id, cx),
            Input::Transfer { request, to } => self.transfer(request, to, cx),
            Input::Recover { request, gone } => self.recover(request, &gone, cx),
            Input::Yield { request, to } => self.yield_to(request, to, cx),
            Input::Loaded(loaded) => self.on_loaded(*loaded, cx),
            Input::StoreFailed(fault) => self.on_store_failed(fault, cx),
            Input::Persisted(ticket) => self.raft(raft::Event::Persisted(ticket), cx),
            Input::Applied(through) => self.handing.on_applied(through),
            Input::MachineFailed { at, what } => {
                self.end_calls(Rejection::Closed, cx);
                self.fence(alloc::format!("entry {at:?}: {what}"), cx);
            }
            input => self.on_sync_input(input, cx),
        }
    }

    fn on_bond(&mut self, event: BondEvent, cx: &mut Cx<'_>) {
        self.on_sync_bond(&event, cx);
        self.on_calls_bond(&event, cx);
        match event {
            BondEvent::Up(peer) | BondEvent::Changed(peer) => self.on_said(peer, cx),
            BondEvent::Down(_) => self.dirty.bonds = true,
            BondEvent::Frame { peer, frame } => self.on_frame(peer, frame, cx),
            BondEvent::Progress { peer, class: Class::Bond } => self.on_receiving(peer, cx),
            BondEvent::Progress { .. } | BondEvent::Drained { .. } | BondEvent::Closed { .. } => {}
        }
    }

    /// GRP-08: a large entry arrives: Raft is told so about as often as a heartbeat would come.
    fn on_receiving(&mut self, peer: PeerId, cx: &mut Cx<'_>) {
        let (now, pause) = (cx.now(), self.config.timing.heartbeat_interval / 2);
        let State::Member(standing) = &mut self.state else { return };
        let said = self.bonds.get(&peer).filter(|said| said.lineage == Some(standing.lineage));
        let Some(seat) = said.map(|said| Seat { peer, id: said.seat }) else { return };
        let lately = |(last, at): (Seat, Instant)| last == seat && now.since(at) < pause;
        if !standing.receiving.is_some_and(lately) {
            standing.receiving = Some((seat, now));
            self.raft(raft::Event::Receiving(seat), cx);
        }
    }

    /// A member said something new of itself.
    fn on_said(&mut self, peer: PeerId, cx: &mut Cx<'_>) {
        self.dirty.bonds = true;
        let Some(said) = self.bonds.get(&peer) else { return };
        let (seat, boot) = (Seat { peer, id: said.seat }, said.boot);
        match self.boots.meet(seat, said.boot, said.start) {
            Start::Known => {}
            Start::Later if self.config.durable && boot > 0 => {
                self.output(cx, Output::RememberBoot { seat, boot });
            }
            Start::Later => {}
            Start::RolledBack => {
                self.notice(Notice::RolledBack(peer), cx);
                self.bonds.send(&peer, &Frame::Told(Told::RolledBack), cx);
                // In good order: any other code may overtake what it is told.
                self.bonds.refuse(&peer, CloseCode::GRACEFUL_SHUTDOWN, cx);
            }
        }
    }

    fn on_frame(&mut self, peer: PeerId, frame: Frame, cx: &mut Cx<'_>) {
        match frame {
            Frame::Raft { lineage, seat, message } => {
                self.on_raft(Seat { peer, id: seat }, lineage, message, cx);
            }
            Frame::Told(Told::RolledBack) if self.config.durable && !self.wiping => {
                // GRP-18: what this store says was overtaken by what it said before.
                self.notice(Notice::RolledBack(self.me), cx);
                if !mutant::on(Mutant::RolledBackAdopted) {
                    self.begin_anew(cx);
                }
            }
            frame if frame.class() == Class::Commands => self.on_commands(peer, frame, cx),
            frame => self.on_sync_frame(peer, frame, cx),
        }
    }

    fn on_raft(&mut self, from: Seat, lineage: Lineage, message: Message, cx: &mut Cx<'_>) {
        // Whom a message comes from is settled before it is read: what it says of itself may have
        // changed with the frame before it.
        self.look_around(cx);
        let State::Member(standing) = &mut self.state else { return };
        if standing.lineage != lineage {
            return;
        }
        standing.hear(from, &message);
        self.raft(raft::Event::Message { from, message }, cx);
    }

    fn on_can_vote(&mut self, can_vote: bool, cx: &mut Cx<'_>) {
        if self.config.can_vote != can_vote {
            self.config.can_vote = can_vote;
            self.dirty = Dirty { bonds: true, standing: true };
            self.published.dirty = true;
            self.judge_calls();
            self.raft(raft::Event::CanVote(can_vote), cx);
        }
    }

    fn on_loaded(&mut self, loaded: Loaded, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Loading) {
            return;
        }
        let foreign = |owner: &PeerId| *owner != self.me && !mutant::on(Mutant::ForeignSeatTaken);
        if let Some(owner) = loaded.owner().filter(foreign) {
            return self.on_foreign_store(owner, cx);
        }
        let Loaded { seat, boot, boots, stored, snapshot } = loaded;
        self.seat = Some(Seat { peer: self.me, id: seat });
        self.boot = boot;
        self.boots = Boots::new(boots);
        self.store_fault = None;
        self.wiping = false;
        self.storeless = false;
        self.judge_calls();
        self.dirty = Dirty { bonds: true, standing: true };
        self.published.dirty = true;
        let lineage = stored.base.lineage;
        if lineage == Lineage::default() {
            self.state = State::Empty;
        } else {
            let base = stored.base.clone();
            self.resume(lineage, stored, cx);
            if !self.sync_loaded(base, snapshot.as_ref()) {
                let what = "the snapshot is not what the log begins with";
                self.on_store_failed(StoreFault::Damaged(what.into()), cx);
            }
        }
    }

    /// GRP-29: the part of another peer is neither taken over nor wiped.
    fn on_foreign_store(&mut self, owner: PeerId, cx: &mut Cx<'_>) {
        let fault = StoreFault::Foreign(owner);
        self.notice(Notice::StoreLost(fault.clone()), cx);
        self.store_fault = Some(fault);
        self.published.dirty = true;
        self.end_without_store(cx);
    }

    /// GRP-19: a store that failed is never adopted again. One that cannot even be made anew ends
    /// this member's part until it is joined again.
    fn on_store_failed(&mut self, fault: StoreFault, cx: &mut Cx<'_>) {
        if self.store_fault.as_ref() != Some(&fault) {
            self.notice(Notice::StoreLost(fault.clone()), cx);
        }
        if self.wiping {
            self.end_without_store(cx);
        } else {
            self.begin_anew(cx);
        }
        self.store_fault = Some(fault);
        self.published.dirty = true;
    }

    /// Commands and reads would wait for nothing.
    fn end_without_store(&mut self, cx: &mut Cx<'_>) {
        if !mutant::on(Mutant::StorelessWaits) {
            self.storeless = true;
            self.end_calls(Rejection::StoreFailed, cx);
        }
    }

    /// GRP-26: a machine that failed serves nobody; the others must not wait for this member to lead.
    pub(super) fn fence(&mut self, what: String, cx: &mut Cx<'_>) {
        self.fenced.get_or_insert(what);
        self.published.dirty = true;
        if !mutant::on(Mutant::FencedLeads) {
            self.raft(raft::Event::Transfer(None), cx);
        }
    }

    // --- raft ------------------------------------------------------------------------------

    /// Feeds Raft, and carries out what it asks for.
    pub(super) fn raft(&mut self, event: raft::Event, cx: &mut Cx<'_>) {
        let State::Member(standing) = &mut self.state else { return };
        let mut actions = core::mem::take(&mut self.actions);
        standing.raft.handle(cx.now(), event, &mut actions);
        for action in actions.drain() {
            self.execute(action, cx);
        }
        self.actions = actions;
    }

    fn execute(&mut self, action: raft::Action, cx: &mut Cx<'_>) {
        let State::Member(standing) = &mut self.state else { return };
        match action {
            raft::Action::Send { to, message } => {
                let frame = Frame::Raft { lineage: standing.lineage, seat: to.id, message };
                self.bonds.send(&to.peer, &frame, cx);
            }
            raft::Action::Persist { ticket, write } => {
                self.output(cx, Output::Persist { ticket, write });
            }
            raft::Action::Apply(run) => standing.committed += run.commands(),
            raft::Action::Role { role, leader, .. } => self.on_role(role, leader, cx),
            raft::Action::Faulty { seat, .. } => {
                self.notice(Notice::Faulty(seat.peer), cx);
                self.bonds.refuse(&seat.peer, CloseCode::PROTOCOL_VIOLATION, cx);
            }
            raft::Action::Accepted { first, .. } => self.on_accepted(first.index),
            raft::Action::Refused(refused) => self.on_raft_refused(refused),
            raft::Action::ReadReady { id, index } => self.calls.reads.on_answer(id, index),
            raft::Action::Truncated(from) => self.on_truncated(from),
            raft::Action::Fetch { from, base } => self.on_behind(from, base, cx),
        }
    }

    fn on_role(&mut self, role: Role, leader: Option<Seat>, cx: &mut Cx<'_>) {
        self.dirty.standing = true;
        self.published.dirty = true;
        if let State::Member(standing) = &mut self.state
            && role == Role::Leader
        {
            standing.led = leader;
            standing.goal = None;
        }
        self.on_leader(leader, cx);
        self.on_led(role, leader);
        self.on_sync_leader(role, leader, cx);
        if role == Role::Leader && self.fenced.is_some() {
            self.hand_on = !mutant::on(Mutant::FencedLeads);
        }
        let id = self.config.id;
        cx.out.push(Action::Count(match role {
            Role::Candidate => Counter::Election(id),
            _ => Counter::LeaderChanged(id),
        }));
    }

    /// Tells Raft who of its lineage is bonded, and under which seat.
    fn link_members(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &mut self.state else { return };
        let lineage = Some(standing.lineage);
        let mut wanted: Vec<(Seat, bool)> = self
            .bonds
            .peers()
            .filter(|(_, said)| said.lineage == lineage && !said.left)
            .map(|(peer, said)| {
                let can_vote = said.can_vote || mutant::on(Mutant::ObserverCounted);
                (Seat { peer, id: said.seat }, can_vote)
            })
            .collect();
        wanted.sort_unstable();
        standing.shared |= !wanted.is_empty();
        let known = core::mem::replace(&mut standing.linked, wanted.clone());
        for (seat, _) in &known {
            if !wanted.iter().any(|(linked, _)| linked == seat) {
                self.raft(raft::Event::Unlinked(*seat), cx);
            }
        }
        for member in wanted {
            if !known.contains(&member) {
                let (seat, can_vote) = member;
                self.raft(raft::Event::Linked { seat, can_vote }, cx);
            }
        }
    }

    /// Takes note of who is bonded.
    pub(super) fn look_around(&mut self, cx: &mut Cx<'_>) {
        if core::mem::take(&mut self.dirty.bonds) {
            self.dirty.standing = true;
            self.published.dirty = true;
            self.meet_seats(cx);
            self.link_members(cx);
        }
    }

    // --- the end of a step -----------------------------------------------------------------

    /// Does what a step calls for: decides, hands over what is committed, says what changed.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        // GRP-24: behind its end it does nothing more. The store may be another's already.
        if self.closed {
            return;
        }
        // Each round does something that cannot be done twice in a row; the bound is for bugs.
        for _ in 0..16 {
            while let Some(event) = self.bonds.next_event() {
                self.on_bond(event, cx);
            }
            self.look_around(cx);
            self.append_marks(cx);
            self.hand_over(cx);
            while self.ask(cx) {
                self.hand_over(cx);
            }
            self.passed(cx);
            if core::mem::take(&mut self.hand_on) {
                self.raft(raft::Event::Transfer(None), cx);
            }
            if core::mem::take(&mut self.dirty.standing) {
                self.decide(cx);
            }
            if !self.dirty.bonds && !self.dirty.standing {
                break;
            }
        }
        self.calls.reads.serve(self.handing.handed(), &mut self.calls.out);
        self.calls.client.open_window(&mut self.calls.out);
        self.say(cx);
        self.announce(cx);
        self.go_on_leaving(cx);
        self.publish(cx);
    }

    pub(super) fn output(&self, cx: &mut Cx<'_>, output: Output) {
        cx.output(self.config.id, output);
    }

    pub(super) fn notice(&self, notice: Notice, cx: &mut Cx<'_>) {
        self.output(cx, Output::Notice(notice));
    }
}

/// A store that was not there before.
pub(super) fn new_seat(me: PeerId, rng: &mut Rng) -> Seat {
    if mutant::on(Mutant::SeatReused) {
        return Seat { peer: me, id: SeatId([1; 16]) };
    }
    Seat { peer: me, id: SeatId(half(rng)) }
}

/// 128 random bits.
pub(super) fn half(rng: &mut Rng) -> [u8; 16] {
    let mut bits = [0; 16];
    bits.copy_from_slice(&rng.bytes()[..16]);
    bits
}
