//! The seam between a node and its driver: everything that can happen, everything it can ask for.

use alloc::vec::Vec;
use core::{net::SocketAddr, time::Duration};

use bytes::Bytes;

use crate::{
    discovery::{self, EndpointAddr, PeerEntryVersion, SignedPeerEntry, Tombstone},
    groups,
    ids::{
        ChannelId, ConsumerId, GroupId, LinkId, PeerId, ProducerId, RequestId, Side, SubscriptionId,
    },
    links::{self, DialError, DownReason},
    streams::{self, ConsumerConfig, Delivery, ProducerConfig},
    wire::{CloseCode, Head, Protocol},
};

/// What can happen to a node.
///
/// A driver makes events and takes none apart, so new ones may appear.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The deadline may have passed. Early and repeated timeouts are no-ops.
    Timeout,

    // --- from the transport ---
    /// A connection is up and the peer's key is proved.
    LinkUp {
        /// Allocated by the driver, never reused.
        link: LinkId,
        /// Who is at the other end.
        peer: PeerId,
        /// Which end dialled.
        side: Side,
        /// The round-trip time of the handshake.
        rtt: Duration,
        /// What both ends of this connection know, and nobody else (RFC 9266): keying material
        /// exported from its handshake. Proofs of groups are bound to it.
        binding: [u8; 32],
    },
    /// A connection is down; its channels are down with it, without events of their own.
    LinkDown {
        /// The link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// The transport has a new estimate of a link's round-trip time.
    LinkRtt {
        /// The link.
        link: LinkId,
        /// The estimate.
        rtt: Duration,
    },
    /// A dial failed.
    DialFailed {
        /// The peer that was dialled.
        peer: PeerId,
        /// Why.
        reason: DialError,
    },
    /// The other end opened a channel.
    ChannelUp {
        /// The link.
        link: LinkId,
        /// Allocated by the driver ([`ChannelId::driver`]), never reused.
        channel: ChannelId,
    },
    /// Bytes arrived, in order, cut anywhere.
    Data {
        /// The channel.
        channel: ChannelId,
        /// The bytes.
        chunk: Bytes,
    },
    /// The transport took bytes that were written to a channel.
    Drained {
        /// The channel.
        channel: ChannelId,
        /// How many, heads included.
        bytes: u32,
    },
    /// The other end ended a channel.
    ChannelDown {
        /// The channel.
        channel: ChannelId,
        /// Why.
        reason: DownReason,
    },

    // --- from the host ---
    /// Our own entry was signed anew. The first event of every node.
    LocalEntry(SignedPeerEntry),
    /// The application admits others than before.
    Admission(links::Policy),
    /// The operator allows more or less than before: newcomers are held against it.
    Limits(links::LinkLimits),
    /// An address book names peers of our network.
    Found(Vec<EndpointAddr>),

    // --- from the application ---
    /// A request to discovery, answered by one [`Action::Reply`].
    Discovery {
        /// The request.
        request: RequestId,
        /// What is asked for.
        command: discovery::Command,
    },
    /// Nobody waits for this reply any more.
    Cancel(RequestId),
    /// A producer was opened.
    OpenProducer {
        /// Allocated by the driver, never reused.
        producer: ProducerId,
        /// Its configuration.
        config: ProducerConfig,
    },
    /// A producer's last handle is gone.
    CloseProducer(ProducerId),
    /// A consumer was opened.
    OpenConsumer {
        /// Allocated by the driver, never reused.
        consumer: ConsumerId,
        /// Its configuration.
        config: ConsumerConfig,
    },
    /// A consumer's handle is gone.
    CloseConsumer(ConsumerId),
    /// A batch of items of a producer, within the [`Action::Window`] that was opened.
    Offer {
        /// The producer.
        producer: ProducerId,
        /// How many items.
        items: u32,
        /// Their payload bytes.
        payload: u64,
        /// The items, each with its length in front ([`streams::item`]).
        data: Bytes,
    },
    /// The application took items; running totals per subscription.
    Consumed {
        /// The consumer.
        consumer: ConsumerId,
        /// Through which subscription they came.
        subscription: SubscriptionId,
        /// Items in all.
        items: u64,
        /// Payload bytes in all.
        bytes: u64,
    },
    /// A call of the application, or a report of the store or the machine, for one group.
    Group {
        /// Which.
        group: GroupId,
        /// What.
        input: groups::Input,
    },
    /// The node is to end in good order; this is its signed farewell. Groups are left first, which
    /// may take as long as the longest [`leave_timeout`](groups::ConsensusConfig). Ends with
    /// [`Action::Stopped`].
    Shutdown(Tombstone),
}

/// What a node can ask for.
///
/// Exhaustive on purpose: a driver that does not know an action cannot carry it out, and its author
/// wants to hear that from the compiler, not from a peer that waits.
#[derive(Clone, Debug)]
pub enum Action {
    // --- to the transport ---
    /// Connect to a peer; answered by [`Event::LinkUp`] or [`Event::DialFailed`].
    Dial {
        /// The peer; the transport proves that nobody else answers.
        peer: PeerId,
        /// Where. The driver adds what its address books know.
        addrs: Vec<SocketAddr>,
    },
    /// Open a channel.
    OpenChannel {
        /// The link.
        link: LinkId,
        /// Allocated by the core.
        channel: ChannelId,
        /// What for: a hint for priorities. Its byte on the wire is the first [`Action::Write`].
        protocol: Protocol,
    },
    /// Append to a channel; answered by [`Event::Drained`]. The core bounds what is in flight.
    Write {
        /// The channel.
        channel: ChannelId,
        /// Goes first.
        head: Head,
        /// Goes behind it; shared among subscribers.
        body: Bytes,
    },
    /// End a channel in both directions. Bytes written before and not drained may be lost, unless
    /// the code is `SUCCESS` or `GRACEFUL_SHUTDOWN`: then they are sent first.
    CloseChannel {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
    /// Close a link and all its channels.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },

    // --- to the host ---
    /// Sign our entry anew, above this version, and answer with [`Event::LocalEntry`].
    Raise {
        /// What to jump above.
        above: PeerEntryVersion,
    },
    /// List us under our network in the address books and look there; answered by
    /// [`Event::Found`], now and later.
    Seek,
    /// The node has ended; drop it.
    Stopped,

    // --- to the application ---
    /// The answer to a request.
    Reply {
        /// The request.
        request: RequestId,
        /// How it ended.
        result: Result<(), discovery::CommandError>,
    },
    /// Items for a consumer.
    Deliver(Delivery),
    /// A producer may be offered this much in all.
    Window {
        /// The producer.
        producer: ProducerId,
        /// Items since its start.
        items: u64,
        /// Payload bytes since its start.
        bytes: u64,
    },
    /// Items of a producer that went to nobody, and never will.
    Undelivered {
        /// The producer.
        producer: ProducerId,
        /// How many items.
        items: u32,
        /// The items, each with its length in front ([`streams::item`]).
        data: Bytes,
    },
    /// A closed producer has ended; nothing more is said about it.
    Finished(ProducerId),
    /// The visible catalog changed.
    Catalog(discovery::Change),
    /// What handles of producers and consumers see changed.
    Streams(streams::Change),
    /// Something for the store, the machine or the handles of one group. Those of one group are
    /// carried out in order.
    Group {
        /// Which.
        group: GroupId,
        /// What.
        output: groups::Output,
    },
    /// A number of links to count.
    CountLinks(links::Counter),
    /// A number of discovery to count.
    CountDiscovery(discovery::Counter),
    /// A number of streams to count.
    CountStreams(streams::Counter),
    /// A number of groups to count.
    CountGroups(groups::Counter),
    /// The set of admitted links changed: for `rtt()` and gauges.
    Path {
        /// The peer.
        peer: PeerId,
        /// The round-trip time, or `None` if there is no link any more.
        rtt: Option<Duration>,
    },
}
