//! Streams as applications see them.

pub use mosaik_proto::{
    ids::StreamId,
    streams::{
        Backoff, ConsumerConfig, Criteria, EndReason, Predicate, ProducerConfig, Replay, State,
        StreamKind,
    },
};

pub use crate::handle::{
    channels::{ChannelInfo, Lag, Stats, StreamEvent},
    streams::{StreamDef, Streams},
    when::{ChannelConditions, When},
};

/// Producers and what can go wrong with them.
pub mod producer {
    pub use mosaik_proto::streams::ProducerConfig;

    pub use crate::handle::{
        producer::Producer,
        send_error::Error,
        streams::{BuilderError, ProducerBuilder as Builder},
    };
}

/// Consumers.
pub mod consumer {
    pub use mosaik_proto::streams::ConsumerConfig;

    pub use crate::handle::{
        consumer::{Consumer, TryRecvError},
        streams::ConsumerBuilder as Builder,
    };
}

/// The state of subscriptions, and waiting for it.
pub mod status {
    pub use mosaik_proto::streams::{EndReason, State};

    pub use crate::handle::{
        channels::{ChannelInfo, Lag, Stats},
        when::{ChannelConditions, When},
    };
}
