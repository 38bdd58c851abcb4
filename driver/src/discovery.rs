//! Discovery as applications see it: configuration, events, errors.

use std::{fmt, time::Duration};

pub use crate::{
    handle::{
        catalog::Catalog,
        discovery::{Discovery, SyncWith},
    },
    sync::broadcast::{Events, Lagged, RecvError},
};

use mosaik_proto::{
    PeerId, Short,
    discovery::{CommandError, Config, EndpointAddr, EntryError, PeerEntry},
    ids::Tag,
};

use crate::one_or_many::OneOrMany;

/// What happened to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is there that was not.
    PeerDiscovered(PeerEntry),
    /// A peer's entry really changed.
    PeerUpdated(PeerEntry),
    /// A peer left, died, or was purged.
    PeerDeparted(PeerId),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerDiscovered(entry) => write!(f, "discovered {}", Short(entry)),
            Self::PeerUpdated(entry) => write!(f, "updated {}", Short(entry)),
            Self::PeerDeparted(peer) => write!(f, "departed {}", Short(peer)),
        }
    }
}

/// Why discovery could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer did not answer in time. Nothing changed; trying again may help.
    #[error("the peer could not be reached in time")]
    Unreachable,
    /// The link ended during the exchange. Some entries may have been merged; try again.
    #[error("the link to the peer ended during the exchange")]
    LinkLost,
    /// The network is shutting down or has ended.
    #[error("the network has shut down")]
    ShuttingDown,
    /// Too many requests wait already. Nothing changed; try again later.
    #[error("too many requests are waiting")]
    Busy,
    /// The change would break a limit of the entry. Nothing changed.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unreachable => Self::Unreachable,
            CommandError::LinkLost => Self::LinkLost,
            CommandError::ShuttingDown => Self::ShuttingDown,
            CommandError::Busy => Self::Busy,
        }
    }
}

/// A value of the configuration makes no sense. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// This period must be longer than zero.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
    /// The jitter must be a number from 0 to 1.
    #[error("the announce jitter must be a number from 0 to 1, not {0}")]
    Jitter(f32),
}

/// Configures discovery: `discovery::Config::builder()`.
#[derive(Clone, Debug)]
pub struct ConfigBuilder {
    pub(crate) core: Config,
    pub(crate) tags: Vec<Tag>,
    pub(crate) events_backlog: usize,
    jitter: f32,
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self { core: Config::default(), tags: Vec::new(), events_backlog: 100, jitter: 0.5 }
    }
}

impl ConfigBuilder {
    /// Labels that the node gives itself. Adds to those before.
    #[must_use]
    pub fn with_tags<V>(mut self, tags: impl OneOrMany<Tag, V>) -> Self {
        self.tags.extend(tags.into_items());
        self
    }

    /// Peers to begin with, by id or by address; they are tried from the first moment and never
    /// forgotten. Adds to those before.
    #[must_use]
    pub fn with_bootstrap<V>(mut self, peers: impl OneOrMany<EndpointAddr, V>) -> Self {
        self.core.bootstrap.extend(peers.into_items());
        self
    }

    /// A peer whose entry did not advance for this long leaves. Default: liveness decides.
    #[must_use]
    pub const fn with_purge_after(mut self, after: Duration) -> Self {
        self.core.purge_after = Some(after);
        self
    }

    /// Sign and announce the own entry anew at this period. Default: only when it changes.
    #[must_use]
    pub const fn with_announce_interval(mut self, interval: Duration) -> Self {
        self.core.announce_interval = Some(interval);
        self
    }

    /// How much the announce interval varies, as a part of itself from 0 to 1. Default: 0.5.
    #[must_use]
    pub const fn with_announce_jitter(mut self, jitter: f32) -> Self {
        self.jitter = jitter;
        self
    }

    /// Entries dated further ahead than this are refused. Default: 50 s.
    #[must_use]
    pub const fn with_max_time_drift(mut self, drift: Duration) -> Self {
        self.core.max_time_drift = Some(drift);
        self
    }

    /// Hide peers whose round-trip time is known to be above this.
    #[must_use]
    pub const fn with_max_rtt(mut self, rtt: Duration) -> Self {
        self.core.max_rtt = Some(rtt);
        self
    }

    /// Events kept for slow receivers, from 1 up. Default: 100.
    #[must_use]
    pub const fn with_events_backlog(mut self, events: usize) -> Self {
        self.events_backlog = if events == 0 { 1 } else { events };
        self
    }

    /// Look for peers on this host at once; otherwise a node does so when it has been alone for
    /// 8 s.
    #[must_use]
    pub const fn with_local_discovery(mut self, yes: bool) -> Self {
        self.core.local_discovery = yes;
        self
    }

    /// Never look for peers by itself: only those that are named are dialled.
    #[must_use]
    pub const fn no_auto_bootstrap(mut self) -> Self {
        self.core.no_automatic_bootstrap = true;
        self
    }

    /// Accepted for programs that switch the Mainline DHT off, which is off unless asked for.
    #[must_use]
    pub const fn no_dht_bootstrap(self) -> Self {
        self
    }

    pub(crate) fn check(&mut self) -> Result<(), ConfigError> {
        let periods = [
            ("announce_interval", self.core.announce_interval),
            ("purge_after", self.core.purge_after),
        ];
        if let Some((name, _)) = periods.iter().find(|(_, p)| *p == Some(Duration::ZERO)) {
            return Err(ConfigError::Zero(name));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ConfigError::Jitter(self.jitter));
        }
        self.core.announce_jitter_millionths = (self.jitter * 1_000_000.0) as u32;
        Ok(())
    }
}
