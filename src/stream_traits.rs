//! Streams as types: what `stream!` implements.

use mosaik_driver::{
    Datum, Network,
    streams::{StreamDef, StreamId, consumer, producer},
};

/// A declared stream that this program can produce.
pub trait StreamProducer {
    /// The producer of this stream.
    type Producer;

    /// The node's producer of this stream; a further handle if it is open already.
    fn producer(network: &Network) -> Self::Producer;

    /// The same, once it is online.
    fn online_producer(
        network: &Network,
    ) -> impl Future<Output = Self::Producer> + Send + Sync + 'static;
}

/// A declared stream that this program can consume.
pub trait StreamConsumer {
    /// The consumer of this stream.
    type Consumer;

    /// A new consumer of this stream.
    fn consumer(network: &Network) -> Self::Consumer;

    /// The same, once it is online.
    fn online_consumer(
        network: &Network,
    ) -> impl Future<Output = Self::Consumer> + Send + Sync + 'static;
}

/// The producer of a declared stream.
pub type ProducerOf<S> = <S as StreamProducer>::Producer;
/// The consumer of a declared stream.
pub type ConsumerOf<S> = <S as StreamConsumer>::Consumer;

/// A stream to be produced, by id or by the datum type's own.
#[derive(Debug)]
pub struct ProducerDef<D>(StreamDef<D>);

impl<D: Datum> ProducerDef<D> {
    /// The stream with this id, or the one that the datum type names itself.
    #[must_use]
    pub const fn new(stream_id: Option<StreamId>) -> Self {
        Self(definition(stream_id))
    }

    /// Configures the producer on a node.
    pub fn open<'a>(&self, network: &'a Network) -> producer::Builder<'a, D> {
        network.streams().producer_of(self.0)
    }
}

/// A stream to be consumed, by id or by the datum type's own.
#[derive(Debug)]
pub struct ConsumerDef<D>(StreamDef<D>);

impl<D: Datum> ConsumerDef<D> {
    /// The stream with this id, or the one that the datum type names itself.
    #[must_use]
    pub const fn new(stream_id: Option<StreamId>) -> Self {
        Self(definition(stream_id))
    }

    /// Configures a consumer on a node.
    pub fn open<'a>(&self, network: &'a Network) -> consumer::Builder<'a, D> {
        network.streams().consumer_of(self.0)
    }
}

const fn definition<D>(stream_id: Option<StreamId>) -> StreamDef<D> {
    match stream_id {
        Some(id) => StreamDef::with_stream_id(id),
        None => StreamDef::new(),
    }
}
