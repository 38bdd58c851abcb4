//! What can happen to groups, and what they can ask for.

use alloc::{boxed::Box, collections::BTreeSet, string::String};

use bytes::Bytes;

use super::{Cursor, GroupConfig, Index, Loaded, Status, StoreFault};
use crate::{
    Digest,
    discovery::Catalog,
    ids::{ChannelId, GroupId, LinkId, PeerId, RequestId},
    links::{DownReason, Paths},
    raft::{Lineage, LogIndex, Position, Seat, Snapshot, Term, Ticket, Write},
    time::Now,
    wire::{CloseCode, Head},
};

/// What a step of groups may look at.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Both clocks.
    pub now: Now,
    /// Who is known, and in which groups they say they are.
    pub catalog: &'a Catalog,
    /// The admitted links.
    pub paths: &'a Paths,
}

/// What happens to groups.
#[derive(Clone, Debug)]
pub enum Event {
    /// A deadline may have passed.
    Timeout,
    /// A link was admitted.
    Connected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// What both ends of this link know and nobody else: proofs are bound to it (RFC 9266).
        binding: [u8; 32],
    },
    /// An admitted link ended, and all its channels with it.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// The visible entry of a peer changed, appeared or went.
    PeerChanged(PeerId),
    /// A peer opened a channel for a group.
    Accepted {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// Bytes arrived.
    Data {
        /// The channel.
        channel: ChannelId,
        /// The bytes.
        chunk: Bytes,
    },
    /// The transport took bytes of ours.
    Drained {
        /// The channel.
        channel: ChannelId,
        /// How many.
        bytes: u32,
    },
    /// A channel ended.
    ChannelDown {
        /// The channel.
        channel: ChannelId,
        /// Why.
        reason: DownReason,
    },
    /// The host has something for one group.
    Input {
        /// Which.
        group: GroupId,
        /// What.
        input: Input,
    },
    /// The node ends: every group is left.
    Shutdown,
}

/// What groups ask for.
#[derive(Clone, Debug)]
pub enum Action {
    /// To links: a link to this peer is needed.
    Want(PeerId),
    /// To links: it is not needed any more.
    Unwant(PeerId),
    /// To links: open a channel.
    Open {
        /// On which link.
        link: LinkId,
        /// Under which id.
        channel: ChannelId,
    },
    /// To links: append to a channel.
    Write {
        /// The channel.
        channel: ChannelId,
        /// Header bytes.
        head: Head,
        /// Shared body.
        body: Bytes,
    },
    /// To links: end a channel.
    Close {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
    /// To the host: something about one group.
    Output {
        /// Which.
        group: GroupId,
        /// What.
        output: Output,
    },
    /// To the host: a number to count.
    Count(Counter),
    /// To the node, after [`Event::Shutdown`]: every group has been left.
    Left,
}

/// What the host tells a group.
///
/// Calls of the application and reports of services: the store, the machine.
#[derive(Clone, Debug)]
pub enum Input {
    // --- life ---
    /// Take part. The first input of a group.
    Join(Box<GroupConfig>),
    /// The strongest live handle changed: a writer may vote, a reader may not.
    CanVote(bool),
    /// Leave in good order; ends with [`Output::Closed`].
    Leave,

    // --- calls ---
    /// Commands of this node, within the [`Output::Window`] that was opened. Ended by one or more
    /// [`Output::Outcome`]s, which cover every command once.
    Execute {
        /// The number of the first: numbers count all commands of this node in this group from 0,
        /// without holes.
        first: u64,
        /// How many.
        count: u32,
        /// The commands, each with its length in front ([`item`](crate::streams::item)).
        data: Bytes,
    },
    /// A linearizable read; ends with [`Output::ReadReady`] or [`Output::ReadFailed`].
    Read(u64),
    /// Let somebody else lead.
    Transfer {
        /// Names the request; ends with [`Output::Reply`].
        request: RequestId,
        /// Whom, or the best one.
        to: Option<PeerId>,
    },
    /// The operator says that these voters are lost for good: go on without them, in a new lineage.
    Recover {
        /// Names the request; ends with [`Output::Reply`].
        request: RequestId,
        /// Who is gone.
        gone: BTreeSet<PeerId>,
    },
    /// The operator ends a conflict: this lineage yields to the one named.
    Yield {
        /// Names the request; ends with [`Output::Reply`].
        request: RequestId,
        /// The lineage that stays.
        to: Lineage,
    },

    // --- the store ---
    /// The store was opened, at the start or after [`Output::Wipe`]; its boot number is raised.
    Loaded(Box<Loaded>),
    /// The store cannot be used: it counts as empty.
    StoreFailed(StoreFault),
    /// A write is durable. Every write is reported, in any order; none from before [`Output::Wipe`]
    /// behind the [`Loaded`](Self::Loaded) that answers it.
    Persisted(Ticket),

    // --- the machine ---
    /// Everything handed over up to here is applied.
    Applied(LogIndex),
    /// The machine failed: it applies nothing more.
    MachineFailed {
        /// At which entry.
        at: LogIndex,
        /// What it said.
        what: String,
    },
    /// The machine's state behind this entry has this digest; answers [`Output::TakeDigest`].
    StateDigest {
        /// The entry.
        at: LogIndex,
        /// The digest.
        digest: Digest,
    },

    // --- snapshots ---
    /// [`Output::Freeze`] was carried out: the snapshot can be read from now on, until another
    /// replaces it. With a store it is durable.
    Frozen {
        /// What it covers.
        snapshot: Box<Snapshot>,
        /// Its size.
        bytes: u64,
        /// The digest of its bytes ([`SnapshotDigest`](super::SnapshotDigest)).
        digest: Digest,
    },
    /// [`Output::Freeze`] failed; nothing changed.
    FreezeFailed(LogIndex),
    /// A chunk that [`Output::ReadChunk`] asked for; `None` if it cannot be read.
    Chunk {
        /// The question.
        read: u64,
        /// The bytes.
        data: Option<Bytes>,
    },
    /// One more [`Output::FetchChunk`] was taken over: there is room for another.
    ChunkKept,
    /// The snapshot that is being fetched cannot be kept: the store or the machine refused it.
    FetchFailed(String),
    /// [`Output::Install`] was carried out: the machine is that of the snapshot, which is staged if
    /// there is a store, and can be read like one that was frozen here.
    Installed(LogIndex),
    /// [`Output::Install`] failed. The machine is as it was.
    InstallFailed {
        /// The last entry of the snapshot.
        last: LogIndex,
        /// What was wrong.
        why: InstallFault,
    },
}

/// Why a snapshot was not installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallFault {
    /// Its bytes are not those of the digest: a member sent others.
    #[error("the snapshot that arrived is not the one that was asked for")]
    Digest,
    /// The machine or the store refused it.
    #[error("the snapshot was refused: {0}")]
    Refused(String),
}

/// What a group tells its host.
///
/// `Apply`, `Outcome`, `ReadReady`, `TakeDigest`, `Freeze`, `Install` and `Reset` concern the machine: they are
/// carried out one after the other, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    // --- the store ---
    /// Make this durable and report it.
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// What to write.
        write: Box<Write>,
    },
    /// Remember the boot number of a seat, durable with the next write.
    RememberBoot {
        /// The seat.
        seat: Seat,
        /// The number.
        boot: u64,
    },
    /// Forget everything and begin anew under a new seat; answered by [`Input::Loaded`].
    Wipe,

    // --- the machine, in order ---
    /// Apply these commands.
    Apply(Applying),
    /// How commands of this node ended. What was committed stands behind the `Apply` that holds it.
    Outcome {
        /// The first of them.
        first: u64,
        /// How many.
        count: u32,
        /// How.
        outcome: Outcome,
    },
    /// The read may be served now: everything before it was handed over.
    ReadReady(u64),
    /// The read may not be served.
    ReadFailed(u64),
    /// Freeze the machine as it is now: `head`, then what the machine writes of itself.
    Freeze {
        /// What it covers; `last` is the marker behind which nothing is applied yet.
        snapshot: Box<Snapshot>,
        /// This core's part.
        head: Bytes,
    },
    /// Take a digest of the machine's state, as it is behind everything handed over so far; answered
    /// by [`Input::StateDigest`]. Asked only of machines that can tell one
    /// ([`GroupConfig::digests`]).
    TakeDigest(LogIndex),
    /// Replace the machine by the fetched snapshot, and stage it in the store. After
    /// [`Input::Installed`] comes a [`Persist`](Self::Persist) with a reset or a
    /// [`Compact`](Self::Compact), which makes it what the log begins with.
    Install {
        /// What it covers.
        snapshot: Box<Snapshot>,
        /// The length of this core's part.
        head: u32,
        /// The bytes in all.
        bytes: u64,
        /// Their digest ([`SnapshotDigest`](super::SnapshotDigest)): compared by the host before
        /// anything changes.
        digest: Digest,
    },
    /// The history of the machine is lost: it begins as new. Where it cannot
    /// ([`GroupConfig::restartable`]), it serves no reads until joined again.
    Reset,

    // --- snapshots ---
    /// Drop the stored log up to here: the frozen or installed snapshot covers it.
    Compact(Position),
    /// Read a chunk of the frozen snapshot that ends at `last`; answered by [`Input::Chunk`].
    ReadChunk {
        /// Names the question.
        read: u64,
        /// Which snapshot.
        last: LogIndex,
        /// Which chunk, of [`SNAPSHOT_CHUNK`](crate::limits::SNAPSHOT_CHUNK) bytes.
        chunk: u64,
    },
    /// Begin to keep a snapshot that is being fetched; what was kept of another is dropped.
    FetchBegin {
        /// What it covers.
        snapshot: Box<Snapshot>,
        /// Bytes in all.
        bytes: u64,
    },
    /// Keep the next chunk of it. Chunks come in order; each is answered by [`Input::ChunkKept`], and
    /// no more than [`FETCH_WINDOW`](crate::limits::FETCH_WINDOW) bytes wait for that.
    FetchChunk(Bytes),
    /// The snapshot that was being fetched is not needed: what was kept of it is dropped.
    FetchCancel,

    // --- calls ---
    /// The leader has this node's commands in its log: a first word, not the last.
    Taken {
        /// The first of them.
        first: u64,
        /// How many.
        count: u32,
        /// Where the first stands, if it stays there.
        index: Index,
    },
    /// So much may be executed in all.
    Window {
        /// Commands since the start.
        commands: u64,
        /// Their bytes, lengths included.
        bytes: u64,
    },
    /// A request ended.
    Reply {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<(), OperatorError>,
    },

    // --- what handles see ---
    /// The status changed.
    Status(Box<Status>),
    /// The end of the log moved.
    LogPosition(Cursor),
    /// Something that the operator should know happened.
    Notice(Notice),
    /// The group was left; nothing more is said about it.
    Closed,
}

/// Committed commands for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    /// The term in which they were appended.
    pub term: Term,
    /// The entry of the first.
    pub entry: LogIndex,
    /// Its place among commands.
    pub first: Index,
    /// How many.
    pub count: u32,
    /// The commands, each with its length in front; nothing if they are void.
    pub data: Bytes,
    /// They are counted but not applied: their session had ended, or they were given up.
    pub void: bool,
}

impl Applying {
    /// The entry of the last.
    #[must_use]
    pub const fn through(&self) -> LogIndex {
        LogIndex(self.entry.0 + self.count as u64 - 1)
    }

    /// What they count for in [`APPLY_BYTES`](crate::limits::APPLY_BYTES), unless they are void.
    #[must_use]
    pub const fn cost(&self) -> usize {
        super::applying::cost(self.data.len())
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force on every member for ever, and applied here.
    Committed {
        /// Its place; that of the first where several are meant.
        index: Index,
    },
    /// It never was and never will be.
    Rejected(Rejection),
    /// It may have been, or may still be, applied.
    Unknown,
}

/// Why a command was not taken. Nothing changed, and it will not be applied later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No leader was found in time.
    #[error("no leader was found in time")]
    Offline,
    /// The group was left, or its node ended.
    #[error("the group was left")]
    Closed,
    /// This member's store failed and cannot be begun anew: execute at another member, or mend what is
    /// wrong and join again.
    #[error("this member's store failed, and it takes no part until it is joined again")]
    StoreFailed,
    /// This member may not write.
    #[error("this member may only read")]
    ReadOnly,
    /// The log holds as much as it may, and the machine cannot be frozen.
    #[error("the log is full")]
    LogFull,
    /// The founders are not all there.
    #[error("not all founders are there")]
    Founders,
    /// The lineage in which it was executed was left for another.
    #[error("the history was superseded")]
    Superseded,
}

/// Why an operator's request was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// Only the leader can do it.
    #[error("this member does not lead")]
    NotLeader,
    /// That peer is no voter that could take over.
    #[error("{0} is no voter that could take over")]
    NotAVoter(PeerId),
    /// A voter that is said to be gone is linked.
    #[error("{0} is said to be gone, but is linked")]
    NotGone(PeerId),
    /// A voter that is not said to be gone is not linked.
    #[error("{0} is not linked, and was not said to be gone")]
    NotLinked(PeerId),
    /// Another survivor knows more: the call is to be made there.
    #[error("{0} has more of the log: recover there")]
    BehindAnother(PeerId),
    /// There is nothing to recover from: this member copies no lineage, or its group works.
    #[error("there is nothing to recover: this member has no history of its group, or that works")]
    NothingToRecover,
    /// No conflict with that lineage is known here.
    #[error("no conflict with that lineage is known here")]
    NoConflict,
    /// It took too long; it may still happen.
    #[error("it took too long, and may still happen")]
    TimedOut,
    /// The group was left.
    #[error("the group was left")]
    Closed,
}

/// Something that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The history that this member had was left for another.
    Superseded {
        /// Which.
        lineage: Lineage,
        /// Commands that this member had of it. They are not in force, unless the other history was made
        /// from this one: then those up to that place ([`Status::forked_from`]) are.
        lost: u64,
    },
    /// Another lineage that will never yield was met.
    Conflict(Lineage),
    /// The state of this member's machine is not that of the others.
    Diverged {
        /// At which entry.
        at: LogIndex,
    },
    /// A member broke the protocol, or lost what it had acknowledged.
    Faulty(PeerId),
    /// The store was lost: this member begins as an empty one.
    StoreLost(StoreFault),
    /// A member was started from an older copy of its store.
    RolledBack(PeerId),
}

/// What groups count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// A bond was made or ended; so many are up in this group.
    Bonds(GroupId, usize),
    /// A bond was refused by this end, with this code.
    BondRefused(GroupId, CloseCode),
    /// A peer broke the protocol of groups.
    Violation(GroupId),
    /// An election was begun here.
    Election(GroupId),
    /// The known leader changed.
    LeaderChanged(GroupId),
    /// A frame was sent.
    Sent(GroupId, u32),
    /// A frame arrived.
    Received(GroupId, u32),
    /// A snapshot was fetched.
    SnapshotFetched(GroupId),
}
