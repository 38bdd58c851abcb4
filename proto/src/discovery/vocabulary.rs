//! What can happen to discovery, and what it can ask for.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{EndpointAddr, PeerEntry, PeerEntryVersion, Refused, SignedPeerEntry, Tombstone};
use crate::{
    ids::{LinkId, PeerId, RequestId, Side},
    links::{DownReason, Paths},
    time::{Instant, Now},
    wire::CloseCode,
};

/// What a step of discovery may look at.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Both clocks.
    pub now: Now,
    /// Admitted links and their round-trip times.
    pub paths: &'a Paths,
}

/// What happens to discovery.
#[derive(Clone, Debug)]
pub enum Event {
    /// A deadline may have passed.
    Timeout,
    /// Our own entry was signed anew (at the start: for the first time).
    Local(SignedPeerEntry),
    /// A link was admitted. The entry is the one from the peer's hello, verified.
    Connected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// Which end dialled.
        side: Side,
        /// What the peer says of itself.
        entry: SignedPeerEntry,
    },
    /// An admitted link ended, and no other takes its place.
    Disconnected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// Why it ended.
        reason: DownReason,
    },
    /// One attempt to reach a peer that we want failed; links go on trying by themselves.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// True if the peer itself, by its key, said that it is of another network.
        foreign: bool,
    },
    /// A frame of discovery arrived on the control channel of an admitted link.
    Frame {
        /// The sender.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// The kind, within discovery's range.
        kind: u8,
        /// The payload, within the kind's limit.
        payload: Bytes,
    },
    /// The transport took bytes of ours from the control channel.
    Drained {
        /// The link.
        link: LinkId,
        /// How many bytes.
        bytes: u32,
    },
    /// An address book names peers of our network.
    Found(Vec<EndpointAddr>),
    /// The application asks for something.
    Command {
        /// To be answered by one [`Action::Reply`].
        request: RequestId,
        /// What it asks for.
        command: Command,
    },
    /// The application does not wait for this answer any more.
    Cancel(RequestId),
    /// The node shuts down; this is our farewell.
    Depart(Tombstone),
}

/// What the application can ask discovery for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Stay in touch with these peers. Answered at once.
    Dial(Vec<EndpointAddr>),
    /// Exchange catalogs with this peer; answered when both sides have merged.
    SyncWith(EndpointAddr),
    /// Merge an entry that came some other way. Answered at once.
    Feed(SignedPeerEntry),
    /// Remember an unsigned entry locally. Answered at once.
    Insert(PeerEntry),
    /// Forget an unsigned entry. Answered at once.
    Remove(PeerId),
    /// Forget all unsigned entries. Answered at once.
    ClearUnsigned,
}

/// Why discovery could not do what the application asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The peer did not answer in time. Nothing changed; trying again may help.
    #[error("the peer could not be reached in time")]
    Unreachable,
    /// The link ended during the exchange. Some entries may have been merged.
    #[error("the link to the peer ended during the exchange")]
    LinkLost,
    /// The node shuts down.
    #[error("the network is shutting down")]
    ShuttingDown,
    /// Too many requests wait already. Nothing changed.
    #[error("too many requests are waiting")]
    Busy,
}

/// What discovery asks for.
#[derive(Clone, Debug)]
pub enum Action {
    /// To links: keep a link to this peer. Repeated wants update the addresses.
    Want {
        /// The peer.
        peer: PeerId,
        /// Addresses besides those in its entry.
        addrs: Vec<core::net::SocketAddr>,
    },
    /// To links: discovery does not need a link to this peer any more.
    Unwant(PeerId),
    /// To links: send a frame on the control channel.
    Send {
        /// The link.
        link: LinkId,
        /// The frame's kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// To links: end a link.
    Close {
        /// The link.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// To links: the peer of this link said farewell; end it once its channels have ended.
    Retire(LinkId),
    /// To the siblings: the visible entry of this peer changed, appeared or went.
    Changed(PeerId),
    /// To the host: the view that applications have of the catalog changes.
    Publish(Change),
    /// To the host: answer a request.
    Reply {
        /// The request.
        request: RequestId,
        /// How it ended.
        result: Result<(), CommandError>,
    },
    /// To the host: sign our entry anew, above this version.
    Raise {
        /// What to jump above.
        above: PeerEntryVersion,
    },
    /// To the host: list us under our network in the address books, and look there for others.
    Seek,
    /// To the node: farewells are out; links may be closed.
    Departed,
    /// To the host: a number to count.
    Count(Counter),
}

/// What discovery counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// An entry or a tombstone was not taken. What is known already is not counted.
    Refused(Refused),
}

/// A change of the application's view of the catalog. Events (`news`) are for `events()`.
#[derive(Clone, Debug)]
pub enum Change {
    /// A signed entry is visible, in this version.
    Entry {
        /// The entry.
        entry: SignedPeerEntry,
        /// When its version last advanced here; with `purge_after` it is hidden that much later.
        since: Instant,
        /// What to tell the listeners, if anything.
        news: Option<News>,
    },
    /// A peer's signed entry is not visible any more.
    Gone {
        /// The peer.
        peer: PeerId,
        /// True if listeners are to be told that it departed.
        departed: bool,
    },
    /// An unsigned entry is visible.
    Unsigned(PeerEntry),
    /// A peer's unsigned entry is not there any more.
    UnsignedGone(PeerId),
}

/// How an entry is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The peer was not visible before.
    Discovered,
    /// The peer's entry changed.
    Updated,
}
