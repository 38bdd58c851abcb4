//! How a node's discovery behaves.

use alloc::vec::Vec;
use core::time::Duration;

use super::EndpointAddr;

/// The configuration of the discovery core.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Peers that are tried from the first moment and never forgotten.
    pub bootstrap: Vec<EndpointAddr>,
    /// Re-sign and announce our entry at this period. Default: only when it changes.
    pub announce_interval: Option<Duration>,
    /// The announce period varies evenly by this many millionths of itself, up and down.
    pub announce_jitter_millionths: u32,
    /// Entries whose version did not advance for this long leave. Default: liveness decides.
    pub purge_after: Option<Duration>,
    /// Look for peers on this host (later: on this network) at once, not when alone for
    /// [`LONELY_AFTER`](crate::limits::LONELY_AFTER).
    pub local_discovery: bool,
    /// Never look for peers by ourselves.
    pub no_automatic_bootstrap: bool,
    /// Entries dated further ahead than this are refused. Default:
    /// [`DRIFT_MAX`](crate::limits::DRIFT_MAX).
    pub max_time_drift: Option<Duration>,
    /// Hide peers whose round-trip time is known to be above this.
    pub max_rtt: Option<Duration>,
}
