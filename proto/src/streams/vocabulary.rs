//! What can happen to streams, and what they can ask for.

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Condition, EndReason, Replay, StreamKind, Terms};
use crate::{
    discovery::{Catalog, PeerEntry, PeerInfo},
    ids::{ChannelId, ConsumerId, LinkId, PeerId, ProducerId, StreamId, SubscriptionId},
    limits,
    links::{DownReason, Paths},
    tickets::TicketValidator,
    time::Now,
    wire::{CloseCode, Head},
};

/// What a step of streams may look at.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Both clocks.
    pub now: Now,
    /// Who is there and what they produce.
    pub catalog: &'a Catalog,
    /// Admitted links and their round-trip times.
    pub paths: &'a Paths,
}

/// Decides about a peer. Called inside a step; must be quick and must not block.
#[derive(Clone)]
pub struct Predicate(Arc<dyn Fn(&PeerInfo) -> bool + Send + Sync>);

impl Predicate {
    /// A predicate from a function.
    pub fn new(accepts: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(accepts))
    }

    /// Accepts everybody.
    #[must_use]
    pub fn everybody() -> Self {
        Self::new(|_| true)
    }

    /// Accepts whom both accept; `other` is asked second.
    #[must_use]
    pub fn and(self, other: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        Self::new(move |peer| self.accepts(peer) && other(peer))
    }

    /// The verdict about one peer.
    #[must_use]
    pub fn accepts(&self, peer: &PeerInfo) -> bool {
        (self.0)(peer)
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// What a consumer wants to see of a stream. Reserved: matches everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criteria {}

impl Criteria {
    /// True if the consumer wants this datum. Always true.
    #[must_use]
    pub const fn matches<D>(&self, _datum: &D) -> bool {
        true
    }
}

/// How one local producer behaves.
#[derive(Clone)]
pub struct ProducerConfig {
    /// The stream.
    pub stream: StreamId,
    /// Whether it waits for consumers that cannot keep up.
    pub kind: StreamKind,
    /// Active subscriptions at once.
    pub max_consumers: usize,
    /// Cut off a consumer that keeps its window full for `lag_timeout`. If false it may hold the
    /// producer, and with it all others, for ever.
    pub disconnect_lagging: bool,
    /// See `disconnect_lagging`.
    pub lag_timeout: Duration,
    /// Who may consume.
    pub require: Predicate,
    /// What tickets a consumer needs.
    pub validators: Vec<Arc<dyn TicketValidator>>,
    /// When the producer counts as online.
    pub online_when: Condition,
    /// Items kept at most; see [`limits::TAIL_ITEMS`].
    pub tail_items: u64,
    /// Bytes kept at most; see [`limits::TAIL_BYTES`].
    pub tail_bytes: u64,
    /// Whether the host wants to see what went to nobody ([`Action::Undelivered`]).
    pub undelivered: bool,
}

impl ProducerConfig {
    /// The defaults for a stream: anybody may consume, online with one consumer.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self {
            stream,
            kind: StreamKind::Lossless,
            max_consumers: usize::MAX,
            disconnect_lagging: true,
            lag_timeout: limits::LAG_TIMEOUT,
            require: Predicate::everybody(),
            validators: Vec::new(),
            online_when: Condition::at_least(1),
            tail_items: limits::TAIL_ITEMS,
            tail_bytes: limits::TAIL_BYTES,
            undelivered: false,
        }
    }
}

impl fmt::Debug for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerConfig")
            .field("stream", &self.stream)
            .field("kind", &self.kind)
            .field("max_consumers", &self.max_consumers)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}

/// How long a consumer waits before it tries a producer again that refused it or cut it off. The
/// wait doubles from `min` to `max`, with jitter; a change of the producer's entry ends it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: limits::RESUBSCRIBE_MIN, max: limits::RESUBSCRIBE_MAX }
    }
}

/// How one local consumer behaves.
#[derive(Clone)]
pub struct ConsumerConfig {
    /// The stream.
    pub stream: StreamId,
    /// What it wants to see.
    pub criteria: Criteria,
    /// Where it begins with a producer that it has nothing of.
    pub replay: Replay,
    /// Whom it consumes from.
    pub require: Predicate,
    /// What tickets a producer needs.
    pub validators: Vec<Arc<dyn TicketValidator>>,
    /// When the consumer counts as online.
    pub online_when: Condition,
    /// How soon a producer that refused is tried again.
    pub backoff: Backoff,
    /// Items that each producer may send ahead.
    pub window_items: u64,
    /// Bytes that each producer may send ahead.
    pub window_bytes: u64,
}

impl ConsumerConfig {
    /// The defaults for a stream: from everybody, always online.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self {
            stream,
            criteria: Criteria::default(),
            replay: Replay::Live,
            require: Predicate::everybody(),
            validators: Vec::new(),
            online_when: Condition::at_least(0),
            backoff: Backoff::default(),
            window_items: limits::WINDOW_ITEMS,
            window_bytes: limits::WINDOW_BYTES,
        }
    }
}

impl fmt::Debug for ConsumerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerConfig")
            .field("stream", &self.stream)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}

/// What happens to streams.
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
    },
    /// An admitted link ended; its channels are down already.
    Disconnected {
        /// The peer.
        peer: PeerId,
        /// The link.
        link: LinkId,
    },
    /// The visible entry of a peer changed, appeared or went.
    PeerChanged(PeerId),
    /// A peer opened a stream channel.
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
    /// The application opened a producer.
    OpenProducer {
        /// The producer.
        producer: ProducerId,
        /// Its configuration.
        config: ProducerConfig,
    },
    /// The last handle of a producer is gone. What it offered before is still sent.
    CloseProducer(ProducerId),
    /// The application opened a consumer.
    OpenConsumer {
        /// The consumer.
        consumer: ConsumerId,
        /// Its configuration.
        config: ConsumerConfig,
    },
    /// The consumer's handle is gone.
    CloseConsumer(ConsumerId),
    /// Items taken from a producer's lane, within the window that was opened.
    Offer {
        /// The producer.
        producer: ProducerId,
        /// How many items.
        items: u32,
        /// Their payload bytes.
        payload: u64,
        /// The items, each with its length in front (see [`item`](super::item)).
        data: Bytes,
    },
    /// The application took items from a consumer.
    Consumed {
        /// The consumer.
        consumer: ConsumerId,
        /// Through which subscription they came.
        subscription: SubscriptionId,
        /// Items taken so far, in all.
        items: u64,
        /// Payload bytes taken so far, in all.
        bytes: u64,
    },
    /// The node ends: say goodbye on every channel.
    Shutdown,
}

/// What streams ask for.
#[derive(Clone, Debug)]
pub enum Action {
    /// To links: a link to this peer is needed.
    Want(PeerId),
    /// To links: it is not needed any more.
    Unwant(PeerId),
    /// To links: open a channel.
    Open {
        /// The link.
        link: LinkId,
        /// The channel.
        channel: ChannelId,
    },
    /// To links: write to a channel.
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
    /// To the host: items for a consumer's application.
    Deliver(Delivery),
    /// To the host: a producer may be offered this much, counted from its start.
    Window {
        /// The producer.
        producer: ProducerId,
        /// Items in all.
        items: u64,
        /// Payload bytes in all.
        bytes: u64,
    },
    /// To the host: items that were offered and went to nobody, and never will (STR-20). Only if
    /// [`ProducerConfig::undelivered`] asks for them.
    Undelivered {
        /// The producer.
        producer: ProducerId,
        /// How many items.
        items: u32,
        /// The items, each with its length in front.
        data: Bytes,
    },
    /// To the host: a closed producer has ended; nothing more is said about it.
    Finished(ProducerId),
    /// To the host: the view that handles have of their channels changes.
    Publish(Change),
    /// To the host: a number to count.
    Count(Counter),
}

/// Items for a consumer's application.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The consumer.
    pub consumer: ConsumerId,
    /// Through which subscription they came.
    pub subscription: SubscriptionId,
    /// The sequence number of the first item within the producer's incarnation.
    pub first: u64,
    /// How many items.
    pub items: u32,
    /// The items, each with its length in front.
    pub data: Bytes,
}

/// A local producer or consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A producer.
    Producer(ProducerId),
    /// A consumer.
    Consumer(ConsumerId),
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waiting for the link or for the other end's answer.
    Connecting,
    /// Items can flow.
    Connected,
    /// Over.
    Terminated,
}

/// A change of what handles see. All changes of one step become visible together.
#[derive(Clone, Debug)]
pub enum Change {
    /// A subscription appeared, or its state or its peer's entry changed.
    Channel {
        /// Whose.
        owner: Owner,
        /// Which.
        subscription: SubscriptionId,
        /// The other end, as known now.
        peer: PeerEntry,
        /// How far it is.
        state: State,
        /// What was agreed on; `None` until it is connected.
        terms: Option<Terms>,
    },
    /// A subscription is over, for now or for good.
    ChannelGone {
        /// Whose.
        owner: Owner,
        /// Which.
        subscription: SubscriptionId,
        /// Why.
        reason: EndReason,
    },
    /// The owner went online or offline.
    Online {
        /// Whose.
        owner: Owner,
        /// Whether it is online now.
        online: bool,
    },
    /// Items were sent to, or arrived from, the other end.
    Progress {
        /// Whose.
        owner: Owner,
        /// Through which subscription.
        subscription: SubscriptionId,
        /// Items in all.
        items: u64,
        /// Payload bytes in all.
        bytes: u64,
        /// The number of the next item.
        next: u64,
        /// Payload bytes of all items before it. Zero at the consumer, which does not know.
        before: u64,
    },
    /// Items were missed: they are not in the producer's tail any more.
    Gap {
        /// Whose.
        owner: Owner,
        /// Through which subscription.
        subscription: SubscriptionId,
        /// The first missing sequence number.
        first: u64,
        /// The last missing sequence number.
        last: u64,
    },
    /// The producer at the other end started anew; numbering begins again.
    Restarted {
        /// Whose.
        owner: Owner,
        /// Through which subscription.
        subscription: SubscriptionId,
    },
}

/// What streams count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// A producer accepted a consumer.
    Accepted(StreamId),
    /// A producer refused a consumer; `Refused` follows.
    Rejected(StreamId, CloseCode),
    /// A channel was refused before it was anybody's subscription.
    Refused(CloseCode),
    /// Items were written to one subscription of a producer.
    Sent {
        /// The stream.
        stream: StreamId,
        /// How many items.
        items: u32,
        /// How many payload bytes.
        bytes: u32,
    },
    /// Items will never reach a subscriber that asked for them.
    Dropped {
        /// The stream.
        stream: StreamId,
        /// How many items.
        items: u64,
    },
    /// A peer broke the stream protocol.
    Violation(StreamId),
}
