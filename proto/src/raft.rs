//! Raft: one log that all members of a lineage agree on.
//!
//! # Theory of operation
//!
//! A member follows a leader, or asks for votes, or leads. The leader appends what it is asked to,
//! sends it to the others, and counts an entry as committed when a majority of the voters has it in
//! a durable place. Everything a step decides is in its actions; the host carries messages, writes
//! to a store, and applies committed entries.
//!
//! ```text
//!            election timeout            majority would            majority votes
//! Follower ───────────────► PreCandidate ────────────► Candidate ───────────────► Leader
//!    ▲  ▲                        │                         │                        │
//!    │  └────────────────────────┴─── a leader is heard ───┘                        │
//!    └──────────────────────── a higher term, or no majority heard ─────────────────┘
//! ```
//!
//! **Runs.** Entries travel and are kept as [`Run`]s: contiguous entries of one term whose bytes are
//! written once and shared by the log, the store and every message. A batch of a thousand commands
//! costs each step as much as one.
//!
//! **Durability** (RAFT-05). What a message promises is on disk before it leaves: votes wait for
//! their write, and an acknowledgement says how much of the log survives a crash. A leader sends
//! entries while it writes them itself, and its own copy counts when the write is done. Writes are
//! named by tickets, and a completed write is matched to the log as it is now, so a late one says
//! nothing about entries that replaced it. Members without a disk write nothing.
//!
//! **Elections** (RAFT-01 to 04). Pre-vote, so that a member that comes back does not disturb;
//! stickiness, so that one that hears a leader does not help to topple it; check-quorum, so that a
//! leader that nobody hears gives up.
//!
//! **Voters** (RAFT-07 to 12) are data in the log. Every change is joint but for the one that leaves a
//! set of one. Learners are known to the leader only, and get committed entries only. While the log
//! holds no command there is one voter; the change that brings the others follows the first command
//! in the same step.
//!
//! **Reads** (RAFT-13). A leader that has committed in its term knows that its commit index covers
//! every acknowledged write; a majority that answers a round proves that it still led when the
//! round began. Reads that wait share one round; those of followers are asked of the leader.
//!
//! # Invariants
//!
//! - INV-RAFT-1: at most one leader per term. INV-RAFT-2: logs with an equal entry are equal up to it.
//! - INV-RAFT-3: a leader holds every committed entry. INV-RAFT-4: commit and term never fall.
//! - INV-RAFT-5: nothing up to the commit index is ever cut off (asserted).
//!
//! References: D. Ongaro, *Consensus: Bridging Theory and Practice* (2014), by section; rules
//! RAFT-nn in `docs/spec/raft.md`; founding and the half rule after `groups-model.md`.

mod election;
mod follower;
mod fork;
mod log;
mod membership;
mod progress;
mod read;
mod replication;
mod store;
mod vocabulary;
mod voters;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use self::{
    election::Ballot, follower::Owed, read::Reads, replication::Leader, store::Store,
    voters::History,
};
pub use self::{
    log::Log,
    vocabulary::{
        Ack, Action, Append, Config, Event, Fault, Founders, HardState, Kind, Lag, LogIndex,
        Message, Origin, Outcome, Position, Refused, Role, Run, Snapshot, Term, Ticket, Write,
        sole,
    },
    voters::{Lineage, Membership, Seat, SeatId, Voters},
};
use crate::{
    core::{Core, Outbox},
    mutant::{self, Mutant},
    rng::Rng,
    time::Instant,
};

/// What a member does at present, and what it needs for that.
#[derive(Debug)]
enum State {
    Follower,
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Leader),
}

/// What a start finds in the store.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Term and vote.
    pub hard: HardState,
    /// What the log begins with.
    pub base: Snapshot,
    /// The entries behind it.
    pub runs: Vec<Run>,
}

/// A linked member.
#[derive(Clone, Copy, Debug)]
struct Peer {
    can_vote: bool,
}

/// One member of one lineage. See the module's documentation.
#[derive(Debug)]
pub struct Raft {
    config: Config,
    rng: Rng,
    hard: HardState,
    log: Log,
    history: History,
    commit: LogIndex,
    state: State,
    leader: Option<Seat>,
    /// When the leader was heard last.
    heard: Option<Instant>,
    /// The log agrees with the present leader's up to here.
    verified: LogIndex,
    owed: Owed,
    /// The present election timeout, with its jitter, and when it ends.
    patience: core::time::Duration,
    election_at: Instant,
    peers: BTreeMap<Seat, Peer>,
    /// Under which seats peers are there, whatever lineage they take part in.
    met: BTreeSet<Seat>,
    store: Store,
    reads: Reads,
    reported: (Role, Term, Option<Seat>),
}

impl Raft {
    /// A member with what its store holds; an empty one has [`Stored::default`].
    #[must_use]
    pub fn new(config: Config, mut stored: Stored, mut rng: Rng, now: Instant) -> Self {
        // An empty store is told whose log it keeps with the first write.
        let unnamed = config.durable && stored.base.lineage != config.lineage;
        stored.base.lineage = config.lineage;
        if mutant::on(Mutant::VoteForgotten) {
            stored.hard.vote = None;
        }
        let named = unnamed.then(|| stored.base.clone());
        let reads = Reads::new(rng.next_u64());
        let mut log = Log::behind(stored.base.last, stored.base.commands);
        let commit = stored.base.last.index;
        let mut history = History::new(commit.0, stored.base.membership);
        for run in stored.runs {
            if let Some(membership) = membership_of(&run) {
                history.push(run.first.0, membership);
            }
            log.append(run);
        }
        let mut store = Store::new(log.last().index);
        store.write.reset = named;
        let mut raft = Self {
            config,
            rng,
            hard: stored.hard,
            log,
            history,
            commit,
            state: State::Follower,
            leader: None,
            heard: None,
            verified: commit,
            owed: Owed::default(),
            patience: core::time::Duration::ZERO,
            election_at: now,
            peers: BTreeMap::new(),
            met: BTreeSet::new(),
            store,
            reads,
            reported: (Role::Follower, stored.hard.term, None),
        };
        raft.rest(now);
        let voters = raft.history.latest();
        if !voters.is_joint() && voters.seats() == [raft.config.seat] {
            // Who votes alone has nobody to wait for.
            raft.election_at = now;
        }
        raft
    }

    /// The sole voter of a new lineage. It leads with the first timeout, which is due at once.
    #[must_use]
    pub fn found(config: Config, rng: Rng, now: Instant) -> Self {
        let membership = sole(config.seat);
        let base = Snapshot { lineage: config.lineage, membership, ..Snapshot::default() };
        let durable = config.durable;
        let stored = Stored { base: base.clone(), ..Stored::default() };
        let mut raft = Self::new(config, stored, rng, now);
        if durable {
            // Who votes before the first entry is in no log: it goes to disk with the first write.
            raft.store.write.reset = Some(base);
        }
        raft.election_at = now;
        raft
    }

    // --- views -----------------------------------------------------------------------------

    /// This member.
    #[must_use]
    pub const fn seat(&self) -> Seat {
        self.config.seat
    }

    /// What it does.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.hard.term
    }

    /// Term and vote.
    #[must_use]
    pub const fn hard_state(&self) -> HardState {
        self.hard
    }

    /// Whom it follows; itself if it leads.
    #[must_use]
    pub const fn leader(&self) -> Option<Seat> {
        self.leader
    }

    /// The log from behind the snapshot on.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The last entry known to be committed.
    #[must_use]
    pub const fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The last entry that survives a crash of this member.
    #[must_use]
    pub const fn durable(&self) -> LogIndex {
        if self.config.durable { self.store.durable() } else { self.log.last().index }
    }

    /// The voters in force: the last set in the log, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.history.latest()
    }

    /// The voters in force at an entry that is not below the last commit.
    #[must_use]
    pub fn membership_at(&self, index: LogIndex) -> &Membership {
        self.history.at(index.0)
    }

    /// True if it is a voter by its own log: any set from the last one known committed onwards lists
    /// it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.history.lists(&self.config.seat)
    }

    /// How far the members are, as the leader sees them; nothing elsewhere.
    pub fn lags(&self) -> impl Iterator<Item = Lag> + '_ {
        let leader = match &self.state {
            State::Leader(leader) => Some(leader),
            _ => None,
        };
        let (received, durable) = (self.log.last().index, self.durable());
        leader.into_iter().flat_map(Leader::lags).map(move |lag| {
            if lag.seat == self.config.seat {
                Lag { linked: true, received, durable, ..lag }
            } else {
                lag
            }
        })
    }

    // --- shared ----------------------------------------------------------------------------

    /// RAFT-09: the seat's peer is there under another seat.
    fn is_superseded(&self, seat: &Seat) -> bool {
        let of_peer = |id| Seat { peer: seat.peer, id };
        let all = of_peer(SeatId([0; 16]))..=of_peer(SeatId([u8::MAX; 16]));
        self.config.seat.peer == seat.peer && self.config.seat != *seat
            || self.peers.range(all.clone()).any(|(linked, _)| linked != seat)
            || self.met.range(all).any(|met| met != seat)
            || mutant::on(Mutant::HalfWhenSilent) && !self.peers.contains_key(seat)
    }

    fn send(&self, to: Seat, message: Message, out: &mut Outbox<Action>) {
        if self.peers.contains_key(&to) {
            out.push(Action::Send { to, message });
        }
    }

    /// Follows in `term`, whoever leads.
    fn step_down(&mut self, term: Term, now: Instant) {
        if term > self.hard.term || mutant::on(Mutant::VoteClearedInTerm) {
            self.set_hard(HardState { term, vote: None });
        }
        if !matches!(self.state, State::Follower) {
            self.state = State::Follower;
            self.rest(now);
        }
        self.leader = None;
        self.heard = None;
        self.verified = self.commit;
        self.reads.unanswered();
    }

    /// The log is committed up to here: hands the entries to the host.
    fn commit_to(&mut self, index: LogIndex, out: &mut Outbox<Action>) {
        let index = index.min(self.log.last().index);
        if index <= self.commit {
            return;
        }
        let from = self.commit.next();
        self.commit = index;
        self.history.commit(index.0);
        self.log.visit(from, index, usize::MAX, |run| out.push(Action::Apply(run)));
    }

    /// Appends a run to log and store.
    fn append(&mut self, run: Run) {
        if let Some(membership) = membership_of(&run) {
            self.history.push(run.first.0, membership);
        }
        if self.config.durable {
            self.store.write.runs.push(run.clone());
        }
        if let State::Leader(leader) = &mut self.state
            && run.kind != Kind::Commands
        {
            leader.urgent = run.end().index;
        }
        self.log.append(run);
    }

    fn report(&mut self, out: &mut Outbox<Action>) {
        let now = (self.role(), self.hard.term, self.leader);
        if now != self.reported {
            self.reported = now;
            let (role, term, leader) = now;
            out.push(Action::Role { role, term, leader });
        }
    }

    fn on_linked(&mut self, seat: Seat, can_vote: bool, now: Instant, out: &mut Outbox<Action>) {
        self.peers.insert(seat, Peer { can_vote });
        self.survey(now);
        if self.leader == Some(seat) {
            self.ask_reads(out);
        }
    }

    fn on_unlinked(&mut self, seat: Seat, now: Instant) {
        self.peers.remove(&seat);
        self.reads.forget(seat);
        self.survey(now);
        if self.leader == Some(seat) {
            // Nobody is heard any more: others may be helped into office (RAFT-03).
            self.leader = None;
            self.heard = None;
            self.reads.unanswered();
        }
    }

    fn on_met(&mut self, seats: Vec<Seat>, now: Instant) {
        self.met = seats.into_iter().collect();
        self.survey(now);
    }

    fn on_message(&mut self, from: Seat, message: Message, now: Instant, out: &mut Outbox<Action>) {
        if !self.peers.contains_key(&from) && !mutant::on(Mutant::UnlinkedHeard) {
            return;
        }
        match message {
            Message::PreVote { term, last } => self.on_pre_vote(from, term, last, now, out),
            Message::PreVoteReply { term, granted } => {
                self.on_pre_vote_reply(from, term, granted, now, out);
            }
            Message::Vote { term, last, transfer } => {
                self.on_vote(from, term, last, transfer, now, out);
            }
            Message::VoteReply { term, granted } => {
                self.on_vote_reply(from, term, granted, now, out);
            }
            Message::Append(append) => self.on_append(from, append, now, out),
            Message::Commit { term, commit } => self.on_commit(from, term, commit, now, out),
            Message::Behind { term, round, base } => {
                self.on_behind(from, term, base, round, now, out);
            }
            Message::Campaign { term } => self.on_campaign(term, now, out),
            Message::Ack(ack) => self.on_ack(from, ack, now, out),
            Message::Read { term, id } => self.on_read_request(from, term, id),
            Message::ReadReply { term, id, index } => self.on_read_reply(term, id, index, out),
        }
    }

    /// Ends a step: what was appended is written, what can be committed is, what is owed is said.
    fn settle(&mut self, now: Instant, out: &mut Outbox<Action>) {
        self.flush(out);
        if matches!(self.state, State::Leader(_)) {
            self.lead(now, out);
        }
        self.flush(out);
        self.acknowledge(out);
        self.report(out);
    }
}

impl Core for Raft {
    type Env<'a> = Instant;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, now: Instant, event: Event, out: &mut Outbox<Action>) {
        match event {
            Event::Timeout => self.on_timeout(now, out),
            Event::Linked { seat, can_vote } => self.on_linked(seat, can_vote, now, out),
            Event::Unlinked(seat) => self.on_unlinked(seat, now),
            Event::Met(seats) => self.on_met(seats, now),
            Event::Message { from, message } => self.on_message(from, message, now, out),
            Event::Receiving(from) => self.on_receiving(from, now),
            Event::Persisted(ticket) => self.on_persisted(ticket, now, out),
            Event::Propose { kind, count, origin, data, asker } => {
                self.propose(kind, count, origin, data, out);
                self.await_word(asker);
            }
            Event::Read { id } => self.on_read(id, out),
            Event::Compact(index) => self.on_compact(index),
            Event::Install { term, snapshot } => self.on_install(term, snapshot, now),
            Event::CanVote(can_vote) => {
                self.config.can_vote = can_vote;
                self.survey(now);
            }
            Event::Transfer(to) => self.on_transfer(to, now, out),
        }
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Leader(leader) => Some(leader.deadline()),
            _ => Some(self.election_at),
        }
    }
}

fn membership_of(run: &Run) -> Option<Membership> {
    if run.kind == Kind::Membership { vocabulary::decode(&run.data) } else { None }
}
