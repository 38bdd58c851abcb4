//! Streams as applications see them.
//!
//! Everything that can be waited for is level-triggered: whoever waits sees the state as it is when
//! it looks, and a change in between two looks is not lost but for a condition that was met and is not
//! any more.
//!
//! # Compared with mosaik 0.4.2
//!
//! Programs written for it compile; what they were not seen to use differs where the old shape named
//! a runtime or could not keep its promise:
//!
//! | there | here | because |
//! |---|---|---|
//! | `send` and the `Sink` may fail with `Full` | only `try_send` does | back-pressure is waiting |
//! | a full queue drops the newest datum | the producer waits ([`StreamKind::Lossless`]), or the consumer skips, numbered ([`StreamKind::Lossy`]) | nobody could tell what was lost |
//! | `with_undelivered_sink(UnboundedSender)` | a function; `move \|datum\| drop(sender.send(datum))` is the old one | no queue without a bound, no runtime's channel |
//! | `ChannelInfo::state_watcher()` | [`ChannelInfo::state`] is live, [`ChannelInfo::disconnected`] and the handles' `events()` wait | a watch channel is a runtime's |
//! | `streams::Config`, the crate `backoff` | [`Backoff`] on each consumer's builder | a policy object that is cloned keeps its old start |
//! | `ActiveChannelsMap` | `consumers()`, `producers()` | an immutable map in the public face |
//! | `ProducerConfig::stream_id` and the like | the fields of [`ProducerConfig`], [`ConsumerConfig`] | they are the core's |
//! | `TryRecvError` of tokio | [`consumer::TryRecvError`], same variants | no runtime |
//! | conditions see the peer as it was when it subscribed | as it is now | tags come and go |
//! | the uptime goes on while reconnecting | `None` until it is connected | as documented there |
//!
//! More there is: kinds, [`Replay`], sizes of tails and windows, [`EndReason`], [`Lag`], gaps and
//! restarts as [`StreamEvent`]s.

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
