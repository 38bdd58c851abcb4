//! Streams declared with `stream!`, against the live facade.
#![allow(missing_docs, unreachable_pub, dead_code, missing_debug_implementations)]

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use mosaik::{
    declare::stream,
    discovery::PeerEntry,
    tickets::{Expiration, InvalidTicket, TicketValidator},
    *,
};

const ID: StreamId = unique_id!("declare.const-id");
const HEX: &str = "00112233445566778899aAbBcCdDeEfF00112233445566778899aabbccddeeff";

/// How often the builders of each side evaluated an expression.
struct Hits(AtomicUsize);

impl Hits {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Counts one evaluation, and lets `value` pass.
    fn count<T>(&self, value: T) -> T {
        self.0.fetch_add(1, Relaxed);
        value
    }

    /// Evaluations by one `producer()` and by one `consumer()`.
    fn by<X: StreamProducer + StreamConsumer>(&self, network: &Network) -> (usize, usize) {
        let start = self.0.load(Relaxed);
        let producer = X::producer(network);
        let middle = self.0.load(Relaxed);
        let consumer = X::consumer(network);
        drop((producer, consumer));
        (middle - start, self.0.load(Relaxed) - middle)
    }
}

/// Asks for a ticket that nobody has.
struct Unobtainable;

impl TicketValidator for Unobtainable {
    fn class(&self) -> UniqueId {
        id!("declare.unobtainable")
    }

    fn signature(&self) -> UniqueId {
        self.class()
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Err(InvalidTicket)
    }
}

async fn network() -> Network {
    Network::new(NetworkId::random()).await.expect("a network")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("within 20 s")
}

stream!(pub NoId = u64);
stream!(pub StringId = u64, "declare.string-id");
stream!(pub HexId = u64, "00112233445566778899aAbBcCdDeEfF00112233445566778899aabbccddeeff");
stream!(pub ConstId = u64, ID);
stream!(pub ExprId = u64, format!("declare.{}", "expr-id").as_str(),);

#[tokio::test]
async fn ids() {
    let n = network().await;
    assert_eq!(NoId::consumer(&n).stream_id(), n.streams().consume::<u64>().stream_id());
    assert_eq!(NoId::producer(&n).stream_id(), n.streams().consume::<u64>().stream_id());
    assert_eq!(StringId::producer(&n).stream_id(), unique_id!("declare.string-id"));
    assert_eq!(StringId::consumer(&n).stream_id(), StreamId::from("declare.string-id"));
    assert_eq!(HexId::producer(&n).stream_id(), StreamId::from(HEX));
    assert_eq!(HexId::consumer(&n).stream_id().to_string(), HEX.to_lowercase());
    assert_eq!(ConstId::producer(&n).stream_id(), ID);
    assert_eq!(ConstId::consumer(&n).stream_id(), ID);
    assert_eq!(ExprId::producer(&n).stream_id(), unique_id!("declare.expr-id"));
    assert_eq!(ExprId::consumer(&n).stream_id(), unique_id!("declare.expr-id"));
}

stream!(
    /// A documented stream.
    ///
    /// With two paragraphs.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub Documented = String, "declare.documented"
);
stream!(Unseen = String, "declare.unseen");
stream!(pub(crate) InCrate = String, "declare.in-crate");
stream!(lower_case = String, "declare.lower-case");

mod inner {
    mosaik::stream!(pub(super) FromInner = String, "declare.from-inner");
}

#[tokio::test]
async fn attributes_and_visibilities() {
    let n = network().await;
    assert_eq!(format!("{Documented:?}"), "Documented");
    assert_eq!(Documented::producer(&n).stream_id(), id!("declare.documented"));
    assert_eq!(Unseen::producer(&n).stream_id(), id!("declare.unseen"));
    assert_eq!(InCrate::consumer(&n).stream_id(), id!("declare.in-crate"));
    assert_eq!(lower_case::consumer(&n).stream_id(), id!("declare.lower-case"));
    assert_eq!(inner::FromInner::consumer(&n).stream_id(), id!("declare.from-inner"));
}

stream!(pub producer OnlyProducer = u64, "declare.one-side", max_consumers: 3,
    producer require: |_| ignored, consumer backoff: ignored);
stream!(consumer OnlyConsumer = u64, "declare.one-side", max_consumers: ignored,
    criteria: Criteria::default());

#[tokio::test]
async fn one_side() {
    let n = network().await;
    let producer: ProducerOf<OnlyProducer> = OnlyProducer::producer(&n);
    assert_eq!(producer.config().max_consumers, 3);
    let consumer: ConsumerOf<OnlyConsumer> = OnlyConsumer::consumer(&n);
    assert_eq!(consumer.stream_id(), producer.stream_id());
}

stream!(pub Required = u64, "declare.require", require: |peer| peer.tags().contains(&"a".into()));

#[tokio::test]
async fn a_second_producer_is_the_first() {
    let n = network().await;
    let first = Required::producer(&n);
    let second = Required::producer(&n);
    assert_eq!(first.stream_id(), second.stream_id());
    assert_eq!(Required::consumer(&n).stream_id(), first.stream_id());
}

static DEMAND: Hits = Hits::new();
stream!(EitherDemand = u8, "declare.demand", require: { DEMAND.count(()); |_| true });
static OF_PRODUCER: Hits = Hits::new();
stream!(ProducerDemand = u8, "declare.of-producer", producer require: { OF_PRODUCER.count(()); |_| true });
static OF_CONSUMER: Hits = Hits::new();
stream!(ConsumerDemand = u8, "declare.of-consumer", consumer require: { OF_CONSUMER.count(()); |_| true });

/// The prefix names who must satisfy a demand: the other side checks it.
#[tokio::test]
async fn require_lands_on_the_other_side() {
    let n = network().await;
    assert_eq!(DEMAND.by::<EitherDemand>(&n), (1, 1));
    assert_eq!(DEMAND.by::<EitherDemand>(&n), (1, 1), "evaluated at each call");
    assert_eq!(OF_PRODUCER.by::<ProducerDemand>(&n), (0, 1));
    assert_eq!(OF_CONSUMER.by::<ConsumerDemand>(&n), (1, 0));
}

static ONCE: Hits = Hits::new();
stream!(TicketOnce = u8, "declare.once", require_ticket: ONCE.count(Unobtainable));
static TWICE: Hits = Hits::new();
stream!(TicketTwice = u8, "declare.twice",
    require_ticket: TWICE.count(Unobtainable), require_ticket: TWICE.count(Unobtainable));
static TICKET: Hits = Hits::new();
stream!(ProducerTicket = u8, "declare.ticket", producer require_ticket: TICKET.count(Unobtainable));

#[tokio::test]
async fn require_ticket_lands_on_the_other_side() {
    let n = network().await;
    assert_eq!(ONCE.by::<TicketOnce>(&n), (1, 1));
    assert_eq!(TWICE.by::<TicketTwice>(&n), (2, 2));
    assert_eq!(TICKET.by::<ProducerTicket>(&n), (0, 1));
}

static SETTING: Hits = Hits::new();
stream!(Configured = u8, "declare.configured",
    max_consumers: SETTING.count(7), producer buffer_size: SETTING.count(64),
    disconnect_lagging: SETTING.count(false),
    consumer criteria: SETTING.count(Criteria::default()));
static WHEN: Hits = Hits::new();
stream!(Eager = u8, "declare.eager", producer online_when: |c| WHEN.count(c.minimum_of(0)));

#[tokio::test]
async fn settings_land_on_the_named_side() {
    let n = network().await;
    assert_eq!(SETTING.by::<Configured>(&n), (3, 1));
    assert_eq!(Configured::producer(&n).config().max_consumers, 7);

    let producer = soon(Eager::online_producer(&n)).await;
    assert!(producer.is_online(), "nobody needs to subscribe");
    assert!(WHEN.0.load(Relaxed) > 0);
}

#[tokio::test]
async fn in_a_function_body() {
    const LOCAL: StreamId = id!("declare.local-const");
    stream!(Local = u64, LOCAL, require: |_| true);
    stream! { producer LocalProducer = u64, "declare.local" }
    let n = network().await;
    assert_eq!(Local::producer(&n).stream_id(), LOCAL);
    assert_eq!(Local::consumer(&n).stream_id(), LOCAL);
    assert_eq!(LocalProducer::producer(&n).stream_id(), id!("declare.local"));
}

stream!(pub Generic<T: Datum> = T, "declare.generic");
stream!(pub Sized<T, const N: usize> where T: Clone, Vec<T>: Datum = Vec<T>,
    format!("declare.sized.{N}").as_str(), max_consumers: N);

#[tokio::test]
async fn generics() {
    let n = network().await;
    let consumer: ConsumerOf<Generic<String>> = Generic::<String>::consumer(&n);
    assert_eq!(consumer.stream_id(), id!("declare.generic"));
    assert_eq!(Generic::<u64>::producer(&n).stream_id(), id!("declare.generic"));
    let producer = Sized::<u8, 4>::producer(&n);
    assert_eq!(producer.stream_id(), id!("declare.sized.4"));
    assert_eq!(producer.config().max_consumers, 4);
    assert_eq!(Sized::<u8, 5>::consumer(&n).stream_id(), id!("declare.sized.5"));
}

/// A macro of the caller that declares streams: fragments arrive in invisible groups.
macro_rules! declare {
    ($(#[$meta:meta])* $vis:vis $name:ident: $datum:ty, $id:expr, $($key:ident = $value:expr),*) => {
        stream!($(#[$meta])* $vis $name = $datum, $id $(, $key: $value)*);
    };
}

declare!(#[derive(Debug)] pub Wrapped: Vec<u8>, "declare.wrapped", max_consumers = 1 + 1);
declare!(WrappedConst: u64, ID, require = |_| true);

#[tokio::test]
async fn in_a_macro() {
    let n = network().await;
    assert_eq!(Wrapped::producer(&n).stream_id(), id!("declare.wrapped"));
    assert_eq!(Wrapped::producer(&n).config().max_consumers, 2);
    assert_eq!(WrappedConst::consumer(&n).stream_id(), ID);
}

#[tokio::test]
async fn end_to_end() {
    let id = NetworkId::random();
    let (a, b) = tokio::try_join!(Network::new(id), Network::new(id)).expect("two networks");
    // Neither future borrows its network.
    let producer = tokio::spawn(StringId::online_producer(&a));
    let consumer = tokio::spawn(StringId::online_consumer(&b));
    soon(a.discovery().sync_with(b.local().addr())).await.expect("a knows b");
    soon(b.discovery().sync_with(a.local().addr())).await.expect("b knows a");

    let producer = soon(producer).await.expect("a producer");
    let mut consumer = soon(consumer).await.expect("a consumer");
    soon(producer.send(7)).await.expect("sent");
    assert_eq!(soon(consumer.next()).await, Some(7));
}
