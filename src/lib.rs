//! mosaik: a runtime for self-organizing, leaderless distributed systems.
//!
//! A node starts with a network name and perhaps one known peer. From then on nodes discover each
//! other and stream typed data, over QUIC, admitted by their keys and tickets.
//!
//! ```
//! use mosaik::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct SensorReading {
//!     temp: f64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network_id = NetworkId::from("my-app");
//! let n0 = Network::new(network_id).await?;
//! let n1 = Network::new(network_id).await?;
//! n1.discovery().dial(n0.local().addr()).await; // or wait until they find each other
//!
//! let producer = n0.streams().produce::<SensorReading>();
//! let mut consumer = n1.streams().consume::<SensorReading>();
//! producer.when().subscribed().minimum_of(1).await;
//! producer.send(SensorReading { temp: 21.5 }).await?;
//! assert_eq!(consumer.next().await.unwrap().temp, 21.5);
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! - [`Network`]: a running node, on tokio (feature `tokio`, on by default). Its methods are those
//!   of [`driver::Network`], which is also what functions for nodes of any runtime take.
//! - `smol::Network`: the same on smol, with the feature `smol`. Both may be on; nodes of either
//!   kind speak the same protocol. Without `tokio` the root has no `Network`: a feature adds names
//!   and never changes what one means.
//! - [`discovery`]: who is there. [`streams`]: typed data. [`tickets`]: who may.
//! - [`declare`]: macros that declare streams once for producers and consumers.
//! - [`proto`]: the protocol cores without I/O, for your own event loop or a simulator.

mod stream_traits;

#[doc(hidden)]
pub use mosaik_macros::{__stream_impl, __unique_id_impl};

/// The runtime-neutral driver: the event loop, the transport, the handles.
pub use mosaik_driver as driver;
/// The protocol cores without I/O.
pub use mosaik_proto as proto;

pub use bytes::{Bytes, BytesMut};
pub use futures;
pub use mosaik_driver::Datum;
pub use mosaik_driver::groups::{
    Consistency::{self, Strong, Weak},
    Group, GroupKey,
};
#[cfg(feature = "tokio")]
pub use mosaik_driver_tokio::{Network, NetworkBuilder};
pub use mosaik_proto::{
    crypto::{SecretKey, Signature},
    ids::{Digest, GroupId, NetworkId, PeerId, StoreId, StreamId, Tag, UniqueId},
    streams::Criteria,
    wire::CloseCode,
};
pub use stream_traits::{ConsumerOf, ProducerOf, StreamConsumer, StreamProducer};

/// Nodes: their configuration and what can go wrong with it.
pub mod network {
    pub use mosaik_driver::{Admission, Config as NetworkConfig, Error, LocalNode};
    pub use mosaik_proto::{
        links::{LimitsError, LinkLimits},
        wire::CloseCode,
    };

    #[cfg(feature = "tokio")]
    pub use crate::{Network, NetworkBuilder};
    #[cfg(feature = "tokio")]
    pub use mosaik_driver_tokio::Tokio;
}

/// Nodes on smol.
///
/// A program that has `use mosaik::*` and uses the crate `smol` too names that crate `::smol`.
///
/// ```
/// use mosaik::smol::{Network, block_on};
///
/// block_on(async {
///     let network = Network::new("my-app").await?;
///     network.shutdown().await;
///     Ok::<_, mosaik::network::Error>(())
/// })
/// # .unwrap();
/// ```
#[cfg(feature = "smol")]
pub mod smol {
    pub use mosaik_driver_smol::{Executor, Network, NetworkBuilder, Smol, block_on};
}

/// Who is there: the catalog, its events, and our own entry.
pub mod discovery {
    pub use mosaik_driver::discovery::{
        Catalog, ConfigBuilder, ConfigError, Discovery, Error, Event, Events, Lagged, RecvError,
        SyncWith,
    };
    pub use mosaik_proto::discovery::{
        EndpointAddr, EntryError, PeerEntry, PeerEntryVersion, PeerInfo, SignedPeerEntry,
    };

    /// The configuration of discovery.
    #[derive(Clone, Copy, Debug)]
    pub enum Config {}

    impl Config {
        /// The defaults, to be changed.
        #[must_use]
        pub fn builder() -> ConfigBuilder {
            ConfigBuilder::default()
        }
    }
}

/// Typed data from producers to consumers.
pub mod streams {
    pub use mosaik_driver::streams::*;

    pub use crate::stream_traits::{
        ConsumerDef, ConsumerOf, ProducerDef, ProducerOf, StreamConsumer, StreamProducer,
    };
    pub use consumer::Consumer;
    pub use producer::Producer;
}

/// Groups: members that agree on one order of commands, and never lose one that was acknowledged.
///
/// ```
/// use mosaik::{groups::{ApplyContext, LogReplaySync, StateMachine}, *};
///
/// #[derive(Default)]
/// struct Counter(i64);
///
/// impl StateMachine for Counter {
///     type Command = i64;
///     type Query = ();
///     type QueryResult = i64;
///     type StateSync = LogReplaySync<Self>;
///
///     fn signature(&self) -> UniqueId {
///         id!("counter")
///     }
///     fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
///         self.0 = self.0.wrapping_add(by);
///     }
///     fn query(&self, (): ()) -> i64 {
///         self.0
///     }
///     fn state_sync(&self) -> Self::StateSync {
///         LogReplaySync::default()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = Network::new("my-app").await?;
/// let key = GroupKey::from_secret("the counter of my app");
/// let group = network.groups().with_key(key).with_state_machine(Counter::default()).join();
/// # if false { // a lone member waits five seconds for others
/// group.when().online().await;
/// group.execute(42).await?;
/// assert_eq!(group.query((), Strong).await?, 42);
/// # }
/// # Ok(())
/// # }
/// ```
pub mod groups {
    pub use mosaik_driver::groups::*;
}

/// Credentials in a peer's entry, and who judges them.
pub mod tickets {
    pub use mosaik_proto::{
        ids::TicketClass,
        tickets::{Expiration, InvalidTicket, Ticket, TicketValidator, validate_all},
    };

    /// Signed durations, as [`Expiration::after`] takes them.
    pub use chrono::{Duration, Duration as ChronoDuration};
}

/// Ids, encodings, and ways to show them.
pub mod primitives {
    pub use bytes::{self, Bytes, BytesMut};
    pub use mosaik_driver::{Datum, OneOrMany as IntoIterOrSingle, Variant};
    pub use mosaik_proto::{
        Abbreviated, FmtItem, FmtIter, PlainFmt, Pretty, PrettyFmtExt, Redacted, RedactedFmtExt,
        Short, ShortFmt, ShortFmtExt,
        ids::{Digest, Tag, UniqueId},
    };
}

/// The declaration macros.
pub mod declare {
    pub use crate::stream;
}

#[doc(hidden)]
pub mod __private {
    pub use mosaik_driver::Network as NetworkHandle;
}

/// The [`UniqueId`] of a text, computed at compile time; the argument is one string literal.
///
/// The same as `UniqueId::from(text)`: exactly 64 hexadecimal digits are the id itself, any other
/// text is hashed. [`id!`] is a shorter name for it.
///
/// ```
/// use mosaik::{StreamId, unique_id};
///
/// const TICKS: StreamId = unique_id!("ticks");
/// assert_eq!(TICKS, StreamId::from("ticks"));
/// ```
#[macro_export]
macro_rules! unique_id {
    ($($t:tt)*) => {
        $crate::__unique_id_impl!(@$crate; $($t)*)
    };
}

/// Short for [`unique_id!`].
///
/// ```
/// assert_eq!(mosaik::id!("ticks"), mosaik::unique_id!("ticks"));
/// ```
#[macro_export]
macro_rules! id {
    ($($t:tt)*) => {
        $crate::__unique_id_impl!(@$crate; $($t)*)
    };
}

/// Declares a stream once, for the nodes that produce it and for those that consume it.
///
/// ```text
/// stream!( attributes visibility [producer | consumer] Name = Datum [, id] [, key: value]* );
/// ```
///
/// The result is a type `Name` that implements [`StreamProducer`] and [`StreamConsumer`], or only
/// the one named before it. The name may have generics and a where-clause.
///
/// ```
/// use mosaik::{declare::stream, *};
///
/// stream!(
///     /// One number a second.
///     pub Ticks = u64, "ticks",
///     producer require: |peer| peer.tags().contains(&"clock".into()),
///     max_consumers: 100,
/// );
///
/// async fn copy(from: &Network, to: &Network) {
///     let ticks: ConsumerOf<Ticks> = Ticks::consumer(from);
///     let mut out: ProducerOf<Ticks> = Ticks::online_producer(to).await;
///     # let _ = (ticks, &mut out);
///     // …
/// }
/// ```
///
/// - **Id.** A string literal is made an id at compile time, as by [`unique_id!`]; any other
///   expression is something that is `Into<StreamId>`. Without one, the datum type names the
///   stream.
/// - **Keys.** Each is a call on the builder, in order. Keys may repeat, values are evaluated at
///   each call of `producer` or `consumer`.
///
/// | key | without prefix | `producer key` | `consumer key` |
/// |---|---|---|---|
/// | `require`, `require_ticket` | each side demands it of the other | producers must satisfy it | consumers must satisfy it |
/// | `online_when` | both | the producer | the consumer |
/// | `max_consumers`, `buffer_size`, `disconnect_lagging`, `kind` | the producer | the producer | – |
/// | `criteria`, `backoff`, `replay` | the consumer | – | the consumer |
///
/// A declaration for one side ignores what is for the other.
///
/// ```
/// use mosaik::declare::stream;
///
/// // Only consumers, which are online while at least two producers are.
/// stream!(pub consumer Quotes = String, "quotes", online_when: |c| c.minimum_of(2));
///
/// // The latest pictures: nobody is waited for, and who joins late begins with the last one.
/// use mosaik::streams::{Replay, StreamKind};
/// stream!(pub Pictures = Vec<u8>, "pictures", kind: StreamKind::Lossy, replay: Replay::Last(1));
///
/// // A family of streams, one for each datum type.
/// stream!(pub Latest<T: mosaik::Datum> = T);
/// ```
#[macro_export]
macro_rules! stream {
    ($($t:tt)*) => {
        $crate::__stream_impl! { @$crate; $($t)* }
    };
}

/// Compiles and runs what `docs/write-your-own-driver.md` shows.
#[cfg(doctest)]
#[doc = include_str!("../docs/write-your-own-driver.md")]
#[derive(Debug)]
pub struct WriteYourOwnDriver;

/// The programs in `README.md` compile; one of them is for smol.
#[cfg(all(doctest, feature = "tokio", feature = "smol"))]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
