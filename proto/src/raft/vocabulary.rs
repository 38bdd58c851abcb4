//! What can happen to a Raft member, what it can ask for, and what members say to each other.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Lineage, Membership, Seat, Voters};
use crate::limits;

/// A term: at most one leader each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

impl Term {
    /// The term after it. Saturates: nobody lives through 2^64 elections.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// The place of an entry in the log. The first is 1; 0 is before the first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The place behind it. Saturates: what peers claim is added to before it is checked.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before it; 0 stays.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Debug for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// An entry by term and place. Orders logs: a later term first, then the longer log (§5.4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Its term.
    pub term: Term,
    /// Its place.
    pub index: LogIndex,
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.term, self.index)
    }
}

/// What entries hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Nothing: a leader's first entry.
    Noop,
    /// A [`Membership`].
    Membership,
    /// Commands of users, each with its length in front (see [`item`](crate::streams::item)).
    Commands,
    /// Something of the host's own: one entry, opaque, not counted as a command.
    Control,
}

/// Which commands of which client a run holds, so that nothing is taken twice. Raft carries it and
/// counts on when it cuts a run in two; what it means is the host's affair.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Origin {
    /// The session: the place of the entry that opened it. 0 is none.
    pub session: u64,
    /// The number of the first command in it.
    pub number: u64,
}

/// Entries of one term and kind that follow each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Run {
    /// Their term.
    pub term: Term,
    /// The place of the first.
    pub first: LogIndex,
    /// How many; more than one only for commands.
    pub count: u32,
    /// What they hold.
    pub kind: Kind,
    /// Whose they are.
    pub origin: Origin,
    /// Their content.
    pub data: Bytes,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { term, first, count, kind, data, origin: _ } = self;
        write!(f, "{kind:?}({term:?}{first:?}+{count}, {} B)", data.len())
    }
}

/// What must survive a crash besides the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// Who got our vote in it.
    pub vote: Option<Seat>,
}

/// What members say to each other. Which lineage they speak of is in the envelope around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would you vote for me in this term? Changes nothing at the voter (dissertation §9.6).
    PreVote {
        /// The term after the sender's.
        term: Term,
        /// The end of its log.
        last: Position,
    },
    /// The answer.
    PreVoteReply {
        /// The term asked about if granted, else the voter's.
        term: Term,
        /// Yes.
        granted: bool,
    },
    /// Vote for me.
    Vote {
        /// The candidate's term.
        term: Term,
        /// The end of its log.
        last: Position,
        /// The leader wants it to lead: stickiness does not apply (§3.10).
        transfer: bool,
    },
    /// The answer.
    VoteReply {
        /// The voter's term.
        term: Term,
        /// Yes.
        granted: bool,
    },
    /// Entries, or a heartbeat without any.
    Append(Append),
    /// The answer to [`Append`](Self::Append).
    Ack(Ack),
    /// The log is committed up to here. Not answered.
    Commit {
        /// The leader's term.
        term: Term,
        /// Up to where.
        commit: LogIndex,
    },
    /// The entries that you need are in a snapshot: fetch one that reaches this far. Repeated instead
    /// of heartbeats; answered by an [`Ack`], which agrees once the snapshot is installed.
    Behind {
        /// The leader's term.
        term: Term,
        /// The leader's round.
        round: u64,
        /// The last entry that is only in snapshots.
        base: Position,
    },
    /// Begin an election at once (§3.10).
    Campaign {
        /// The leader's term.
        term: Term,
    },
    /// Up to where must I apply to serve a linearizable read? (§6.4)
    Read {
        /// The asker's term.
        term: Term,
        /// Names the question.
        id: u64,
    },
    /// The answer.
    ReadReply {
        /// The leader's term.
        term: Term,
        /// The question.
        id: u64,
        /// Up to here.
        index: LogIndex,
    },
}

/// Entries for a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first of these.
    pub prev: Position,
    /// The entries; none in a heartbeat.
    pub runs: Vec<Run>,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// The leader's round, returned by the answer: a majority for a round proves that the leader led
    /// when it began.
    pub round: u64,
}

/// A follower's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The follower's term.
    pub term: Term,
    /// The round of the [`Append`].
    pub round: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an [`Append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The logs agree.
    Matched {
        /// Up to here.
        received: LogIndex,
        /// Of this so much survives a crash of the follower.
        durable: LogIndex,
    },
    /// The follower does not have the entry before the first.
    Conflict {
        /// The place of that entry.
        at: LogIndex,
        /// The last entry at or before it that may agree, by its term.
        hint: Position,
    },
}

/// Names a write to the store. Tickets rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the store has to do, in this order, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Replace everything by a log that begins behind this snapshot.
    pub reset: Option<Snapshot>,
    /// Cut off the entries from here on.
    pub truncate: Option<LogIndex>,
    /// Append these.
    pub runs: Vec<Run>,
    /// Replace the hard state.
    pub hard: Option<HardState>,
}

impl Message {
    /// The term in which the sender speaks; for a [`PreVote`](Self::PreVote) and its answer the one
    /// that it would be.
    #[must_use]
    pub const fn term(&self) -> Term {
        match self {
            Self::PreVote { term, .. }
            | Self::PreVoteReply { term, .. }
            | Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Append(Append { term, .. })
            | Self::Ack(Ack { term, .. })
            | Self::Commit { term, .. }
            | Self::Behind { term, .. }
            | Self::Campaign { term }
            | Self::Read { term, .. }
            | Self::ReadReply { term, .. } => *term,
        }
    }
}

impl Write {
    pub(super) const fn is_empty(&self) -> bool {
        self.reset.is_none()
            && self.truncate.is_none()
            && self.runs.is_empty()
            && self.hard.is_none()
    }
}

/// What a log begins with, where its first entries are in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The lineage of the log.
    pub lineage: Lineage,
    /// The last entry in it.
    pub last: Position,
    /// The membership in force there.
    pub membership: Membership,
    /// Commands up to there.
    pub commands: u64,
}

/// How a member behaves. The same for all members but for what names one of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub seat: Seat,
    /// The history that it takes part in.
    pub lineage: Lineage,
    /// May vote and lead. A member that may not stays a learner for ever.
    pub can_vote: bool,
    /// True if writes take time: then they are asked for and waited for. Else the log in memory is
    /// all there is, and a crash makes it a new seat.
    pub durable: bool,
    /// Silence of the leader after which a follower asks for votes, at least.
    pub election_timeout: Duration,
    /// Added at random to `election_timeout`, so that two seldom ask at once.
    pub election_jitter: Duration,
    /// How often an idle leader is heard.
    pub heartbeat: Duration,
    /// Silence after which a voter is replaced, or dropped if enough others are left.
    pub dead_voter_timeout: Duration,
    /// Seats that the leader fills.
    pub max_voters: usize,
    /// Commands are refused until the change of the first can list these.
    pub founders: Founders,
}

impl Config {
    /// The defaults for a seat.
    #[must_use]
    pub const fn new(seat: Seat) -> Self {
        Self {
            seat,
            lineage: Lineage([0; 16]),
            can_vote: true,
            durable: false,
            election_timeout: Duration::from_secs(2),
            election_jitter: Duration::from_millis(500),
            heartbeat: Duration::from_millis(500),
            dead_voter_timeout: Duration::from_secs(60),
            max_voters: limits::MAX_VOTERS,
            founders: Founders::Anybody,
        }
    }
}

/// Who must be there before the first command is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Founders {
    /// Nobody else.
    Anybody,
    /// So many voters.
    Count(usize),
    /// These peers.
    Named(alloc::collections::BTreeSet<crate::ids::PeerId>),
}

impl Founders {
    /// True if it is one of those named.
    pub(super) fn names(&self, peer: &crate::ids::PeerId) -> bool {
        matches!(self, Self::Named(named) if named.contains(peer))
    }
}

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Event {
    /// A deadline may have passed.
    Timeout,
    /// A member of this lineage can be reached: messages to it arrive in order, until it cannot. Said
    /// again when `can_vote` changes.
    Linked {
        /// Which.
        seat: Seat,
        /// It may vote and lead. A voter that may not any more wants to leave.
        can_vote: bool,
    },
    /// It cannot be reached any more. What was under way to it may be lost.
    Unlinked(Seat),
    /// Under these seats peers can be reached, in this lineage or any other; replaces what was said
    /// before. A voter whose peer is there under another seat is superseded (RAFT-09). Linked members
    /// need not be named.
    Met(Vec<Seat>),
    /// A linked member says something.
    Message {
        /// Which.
        from: Seat,
        /// What.
        message: Message,
    },
    /// A part of a message of a linked member arrived, and the rest is still to come: it is alive,
    /// however long that takes. A host says it now and then while that is so.
    Receiving(Seat),
    /// A write is done; so are all with lower tickets once they were reported as well.
    Persisted(Ticket),
    /// The host wants entries in the log. Only a leader takes them.
    Propose {
        /// [`Kind::Commands`] or [`Kind::Control`].
        kind: Kind,
        /// How many entries; one unless they are commands.
        count: u32,
        /// Whose they are.
        origin: Origin,
        /// Their content.
        data: Bytes,
        /// The member that waits for them: it hears at once that they are committed (RAFT-08).
        asker: Option<Seat>,
    },
    /// The host wants to know up to where it must apply for a linearizable read.
    Read {
        /// Names the read; not used again.
        id: u64,
    },
    /// The host has a snapshot up to this entry, which is applied.
    Compact(LogIndex),
    /// The host replaced its state by a snapshot.
    Install {
        /// The term of the member that it comes from, when it took it.
        term: Term,
        /// What the log begins with from now on.
        snapshot: Snapshot,
    },
    /// This member may vote and lead from now on, or wants to do neither: then its removal is
    /// committed, if another voter stays.
    CanVote(bool),
    /// The host wants somebody else to lead.
    Transfer(Option<Seat>),
}

/// What a member asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say something to a linked member.
    Send {
        /// To whom.
        to: Seat,
        /// What.
        message: Message,
    },
    /// Write to the store, and report with [`Event::Persisted`].
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// What to write. Boxed: it is large, and other actions need not be.
        write: Box<Write>,
    },
    /// Entries were appended for the last [`Event::Propose`].
    Accepted {
        /// The first of them.
        first: Position,
        /// How many.
        count: u32,
    },
    /// The last [`Event::Propose`] or [`Event::Read`] changed nothing.
    Refused(Refused),
    /// These entries are committed and follow those applied so far.
    Apply(Run),
    /// A read may be served once everything up to `index` is applied.
    ReadReady {
        /// Which.
        id: u64,
        /// Up to where.
        index: LogIndex,
    },
    /// Entries from here on are gone from the log; they were not committed.
    Truncated(LogIndex),
    /// Fetch a snapshot that holds this entry, and report with [`Event::Install`].
    Fetch {
        /// From the leader, or whoever has it.
        from: Seat,
        /// What it must hold at least.
        base: Position,
    },
    /// The role, the term or the leader changed.
    Role {
        /// What this member does.
        role: Role,
        /// In which term.
        term: Term,
        /// Whom it follows, or itself.
        leader: Option<Seat>,
    },
    /// A member broke the protocol, or lost what it had acknowledged: refuse to speak with it.
    Faulty {
        /// Which.
        seat: Seat,
        /// How.
        fault: Fault,
    },
}

/// Why a proposal or read was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This member does not lead.
    #[error("another member leads, or none does")]
    NotLeader,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// The founders are not all there.
    #[error("not all founders are there")]
    Founders,
    /// The log holds as much as it may; a snapshot makes room.
    #[error("the log is full")]
    LogFull,
    /// Too many reads wait.
    #[error("too many reads wait")]
    TooManyReads,
}

/// What a faulty member did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its entries contradict what is committed here.
    ContradictsCommit,
    /// It acknowledged less than before: its store lost something.
    LostStore,
    /// It sent what no member sends.
    Nonsense,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election would succeed.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// How far one member is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Which.
    pub seat: Seat,
    /// Listed as a voter.
    pub voter: bool,
    /// Can be reached.
    pub linked: bool,
    /// Acknowledged up to here.
    pub received: LogIndex,
    /// Of this so much survives a crash.
    pub durable: LogIndex,
}

/// A change of voters, as a membership entry holds it.
pub(super) fn encode(membership: &Membership) -> Bytes {
    crate::wire::encode(membership)
}

pub(super) fn decode(data: &[u8]) -> Option<Membership> {
    crate::wire::decode::<Membership>(data).ok().filter(Membership::is_sound)
}

/// The membership of a group with one voter.
#[must_use]
pub fn sole(seat: Seat) -> Membership {
    Membership::single(Voters::new([seat]))
}
