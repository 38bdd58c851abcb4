//! What can happen to links, and what they can ask for.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{LinkLimits, Policy};
use crate::{
    discovery::{Catalog, SignedPeerEntry},
    ids::{ChannelId, LinkId, PeerId, Side},
    time::Now,
    wire::{CloseCode, Head, Protocol},
};

/// What a step of links may look at.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Both clocks.
    pub now: Now,
    /// Who is known, and where they say they are.
    pub catalog: &'a Catalog,
}

/// Why a link or a channel went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The other end closed it with this code.
    Closed(CloseCode),
    /// We closed it with this code.
    Local(CloseCode),
    /// Nothing was heard for too long.
    Timeout,
    /// The other end lost its state, or the transport failed.
    Lost,
    /// The other end finished its direction (channels only).
    Finished,
}

/// Why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No address is known for the peer.
    #[error("no address is known for the peer")]
    NoAddress,
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Timeout,
    /// Somebody answered who is not the peer.
    #[error("another peer answered at that address")]
    WrongPeer,
    /// The other end closed the connection with this code.
    #[error("the peer closed the connection: {0}")]
    Closed(CloseCode),
    /// The local transport could not dial.
    #[error("the transport could not dial")]
    Transport,
}

/// Who in this node needs a link. Each is a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Interest {
    /// Discovery: standing links, bootstrap, syncs.
    Discovery = 1,
    /// Streams: a consumer of ours follows a producer there.
    Streams = 2,
    /// Groups: a bond with a member there, or the wish for one.
    Groups = 4,
}

/// What happens to links.
#[derive(Clone, Debug)]
pub enum Event {
    /// A deadline may have passed.
    Timeout,
    /// The transport connected and knows the peer's key.
    LinkUp {
        /// The link, allocated by the driver.
        link: LinkId,
        /// The peer, as proved by the transport.
        peer: PeerId,
        /// Which end dialled.
        side: Side,
        /// The round-trip time of the handshake.
        rtt: Duration,
        /// What both ends of this connection know, and nobody else (RFC 9266).
        binding: [u8; 32],
    },
    /// The transport lost the link or it was closed.
    LinkDown {
        /// The link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// The transport has a new estimate of the round-trip time.
    LinkRtt {
        /// The link.
        link: LinkId,
        /// The estimate.
        rtt: Duration,
    },
    /// A dial that we asked for failed.
    DialFailed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DialError,
    },
    /// The peer opened a channel.
    ChannelUp {
        /// The link.
        link: LinkId,
        /// The channel, allocated by the driver.
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
    /// Our own entry was signed anew; it goes into hellos.
    Local(SignedPeerEntry),
    /// The application admits others than before.
    Policy(Policy),
    /// The operator allows more or less than before, from now on.
    Limits(LinkLimits),
    /// The visible entry of a peer changed, appeared or went.
    EntryChanged(PeerId),
    /// A sibling needs a link to this peer.
    Want {
        /// Who needs it.
        interest: Interest,
        /// The peer.
        peer: PeerId,
        /// Addresses besides those in its entry.
        addrs: Vec<SocketAddr>,
    },
    /// A sibling does not need that link any more.
    Unwant {
        /// Who needed it.
        interest: Interest,
        /// The peer.
        peer: PeerId,
    },
    /// A sibling sends a frame on the control channel of a link.
    SendControl {
        /// The link.
        link: LinkId,
        /// The frame's kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// A sibling opens a channel under an id from its own range of [`ChannelId::core`].
    Open {
        /// The link.
        link: LinkId,
        /// The channel.
        channel: ChannelId,
        /// What for.
        protocol: Protocol,
    },
    /// A sibling writes to a channel of its own.
    Write {
        /// The channel.
        channel: ChannelId,
        /// Header bytes.
        head: Head,
        /// Shared body.
        body: Bytes,
    },
    /// A sibling ends a channel of its own.
    CloseChannel {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
    /// A sibling ends a link.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// The peer of a link said farewell: end the link once its channels have ended.
    RetireLink {
        /// The link.
        link: LinkId,
    },
    /// The node ends: close everything and accept nothing any more.
    Shutdown,
}

/// What links ask for.
#[derive(Clone, Debug)]
pub enum Action {
    /// To the transport: connect to a peer. Answered by `LinkUp` or `DialFailed`.
    Dial {
        /// The peer.
        peer: PeerId,
        /// Where; empty means: ask the address books.
        addrs: Vec<SocketAddr>,
    },
    /// To the transport: open a bidirectional channel.
    OpenChannel {
        /// The link.
        link: LinkId,
        /// The channel.
        channel: ChannelId,
        /// What for, as a hint for priorities.
        protocol: Protocol,
    },
    /// To the transport: append to a channel; answered by `Drained` once it is taken.
    Write {
        /// The channel.
        channel: ChannelId,
        /// Header bytes.
        head: Head,
        /// Shared body.
        body: Bytes,
    },
    /// To the transport: end a channel in both directions.
    CloseChannel {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
    /// To the transport: close a link.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// To discovery, streams and groups: a link was admitted.
    Connected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// Which end dialled.
        side: Side,
        /// The peer's entry, verified.
        entry: SignedPeerEntry,
        /// What both ends of the link know, and nobody else.
        binding: [u8; 32],
    },
    /// To discovery, streams and groups: an admitted link ended.
    Disconnected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// To discovery: an attempt to reach a wanted peer failed.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// True if the peer said that it is of another network.
        foreign: bool,
    },
    /// To discovery: a frame on a control channel.
    Control {
        /// The sender.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// The frame's kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// To discovery: the transport took bytes of a control channel.
    ControlDrained {
        /// The link.
        link: LinkId,
        /// How many.
        bytes: u32,
    },
    /// To the owner: the peer opened a channel for this protocol.
    Accepted {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// What for.
        protocol: Protocol,
    },
    /// To the owner: bytes arrived.
    Data {
        /// The channel.
        channel: ChannelId,
        /// What it is for.
        protocol: Protocol,
        /// The bytes behind the protocol byte.
        chunk: Bytes,
    },
    /// To the owner: the transport took bytes.
    Drained {
        /// The channel.
        channel: ChannelId,
        /// What it is for.
        protocol: Protocol,
        /// How many.
        bytes: u32,
    },
    /// To the owner: the channel ended, by the other end or with its link.
    ChannelDown {
        /// The channel.
        channel: ChannelId,
        /// What it was for.
        protocol: Protocol,
        /// Why.
        reason: DownReason,
    },
    /// To the host: a link was admitted, has a new round-trip time, or (`None`) ended.
    Path {
        /// The peer.
        peer: PeerId,
        /// The round-trip time.
        rtt: Option<Duration>,
    },
    /// To the host: a number to count.
    Count(Counter),
}

/// What links count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// A link was admitted.
    Admitted,
    /// A link was refused, with this code: before its hello, for it, or for a missing one.
    Refused(CloseCode),
    /// A channel was refused: its link has too many.
    ChannelRefused,
    /// A peer broke the protocol and its link was closed.
    Violation,
}

/// The admitted links, one per peer: a read-only view for siblings.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    pub(super) by_peer: BTreeMap<PeerId, Path>,
}

/// An admitted link.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The link.
    pub link: LinkId,
    /// Its smoothed round-trip time.
    pub rtt: Duration,
    /// Which end dialled.
    pub side: Side,
}

impl Paths {
    /// The link to a peer, if one is admitted.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<&Path> {
        self.by_peer.get(peer)
    }

    /// The round-trip time to a peer, if there is a link.
    #[must_use]
    pub fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.by_peer.get(peer).map(|path| path.rtt)
    }

    /// All admitted links in the order of their peers.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Path)> {
        self.by_peer.iter()
    }

    /// The number of admitted links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_peer.len()
    }

    /// True without links.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// Adds or removes a path by hand: for tests of siblings.
    pub fn set(&mut self, peer: PeerId, path: Option<Path>) {
        match path {
            Some(path) => self.by_peer.insert(peer, path),
            None => self.by_peer.remove(&peer),
        };
    }
}
