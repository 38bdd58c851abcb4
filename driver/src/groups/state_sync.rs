//! How a member gets a state that the log does not hold any more.

use std::{fmt, marker::PhantomData, num::NonZeroU64, time::Duration};

use bytes::Bytes;
use mosaik_proto::{Digest, ids::UniqueId};

use super::machine::StateMachine;

/// How a member gets a state that the log does not hold any more.
pub trait StateSync: Send + Sync + 'static {
    /// The machine.
    type Machine: StateMachine;

    /// Names the way with its configuration: part of the group's id.
    fn signature(&self) -> UniqueId;

    /// True if [`freeze`](Self::freeze) and [`restore`](Self::restore) work. Else the whole log is
    /// kept, up to [`limits::LOG_BYTES`](mosaik_proto::limits::LOG_BYTES).
    fn has_snapshots(&self) -> bool {
        false
    }

    /// The machine's state as bytes: the same on all members that applied the same commands.
    ///
    /// # Errors
    /// Says what was wrong; the log stays as long as it is.
    fn freeze(&self, machine: &Self::Machine) -> Result<Bytes, String> {
        let _ = machine;
        Err("this machine has no snapshots".into())
    }

    /// A machine with the state of these bytes and the configuration of `like`.
    ///
    /// # Errors
    /// Says what was wrong with the bytes.
    fn restore(&self, like: &Self::Machine, bytes: &[u8]) -> Result<Self::Machine, String> {
        let _ = (like, bytes);
        Err("this machine has no snapshots".into())
    }
}

/// Members catch up by the log, which is kept whole.
pub struct LogReplaySync<M> {
    batch_size: u64,
    fetch_timeout: Duration,
    machine: PhantomData<fn() -> M>,
}

impl<M> LogReplaySync<M> {
    /// Kept for programs written for mosaik 0.4: batches are bounded in bytes here, by
    /// [`limits::APPEND_BYTES`](mosaik_proto::limits::APPEND_BYTES). Part of the group's id.
    #[must_use]
    pub const fn with_batch_size(mut self, entries: NonZeroU64) -> Self {
        self.batch_size = entries.get();
        self
    }

    /// Kept for programs written for mosaik 0.4: what is lost is sent again as soon as that is
    /// noticed. Part of the group's id.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }
}

impl<M> Default for LogReplaySync<M> {
    fn default() -> Self {
        let fetch_timeout = Duration::from_secs(25);
        Self { batch_size: 2_000, fetch_timeout, machine: PhantomData }
    }
}

impl<M> Clone for LogReplaySync<M> {
    fn clone(&self) -> Self {
        Self { machine: PhantomData, ..*self }
    }
}

impl<M> fmt::Debug for LogReplaySync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplaySync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .finish()
    }
}

impl<M: StateMachine> StateSync for LogReplaySync<M> {
    type Machine = M;

    /// Names of types are no part of it: they change with compilers and module paths.
    fn signature(&self) -> UniqueId {
        let parts = [
            &b"mosaik.groups.log-replay"[..],
            &self.batch_size.to_le_bytes(),
            &self.fetch_timeout.as_millis().to_le_bytes(),
        ];
        Digest::from_parts(&parts)
    }
}
