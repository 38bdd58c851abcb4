//! How a member gets a state that the log does not hold any more.

use std::{error::Error, fmt, marker::PhantomData, num::NonZeroU64, time::Duration};

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

    /// An image of the machine's state. Nothing is applied while it is taken, so it should be quick.
    ///
    /// # Errors
    /// Says what was wrong; the log stays as long as it is.
    fn freeze(&self, machine: &Self::Machine) -> Result<Image, String> {
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

/// A machine whose state can be written down and read back, so that the log need not be kept: with
/// [`SnapshotSync`] its members keep a snapshot and the log behind it.
///
/// The bytes are *canonical*: members that applied the same commands write the same bytes, whatever
/// they were restored from. Then a newcomer fetches them from all of them at once. No hash maps, no
/// addresses, no times.
///
/// ```
/// use std::{collections::BTreeMap, error::Error};
///
/// use mosaik_driver::groups::{ApplyContext, Image, SnapshotMachine, SnapshotSync, StateMachine};
/// use mosaik_proto::UniqueId;
///
/// #[derive(Default)]
/// struct Names(BTreeMap<u64, String>);
///
/// impl StateMachine for Names {
///     type Command = (u64, String);
///     type Query = u64;
///     type QueryResult = Option<String>;
///     type StateSync = SnapshotSync<Self>;
///
///     fn signature(&self) -> UniqueId {
///         UniqueId::from("names")
///     }
///     fn apply(&mut self, (id, name): (u64, String), _: &dyn ApplyContext) {
///         self.0.insert(id, name);
///     }
///     fn query(&self, id: u64) -> Option<String> {
///         self.0.get(&id).cloned()
///     }
///     fn state_sync(&self) -> Self::StateSync {
///         SnapshotSync::default()
///     }
/// }
///
/// impl SnapshotMachine for Names {
///     fn freeze(&self) -> Image {
///         // With maps that share their content this would be at once.
///         let names = self.0.clone();
///         Image::later(move |bytes| *bytes = postcard::to_extend(&names, std::mem::take(bytes)).unwrap())
///     }
///     fn restore(&self, bytes: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
///         Ok(Self(postcard::from_bytes(bytes)?))
///     }
/// }
/// ```
pub trait SnapshotMachine: StateMachine {
    /// The state as it is now. Nothing is applied while this runs, so it should be quick: what takes
    /// longer can be done [later](Image::later), on another thread.
    fn freeze(&self) -> Image;

    /// A machine with the state that these bytes hold and the configuration of this one.
    ///
    /// # Errors
    /// What was wrong with the bytes. Nothing changes then.
    fn restore(&self, bytes: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// A machine's state at one moment.
pub struct Image(Writer);

type Writer = Box<dyn FnOnce(&mut Vec<u8>) + Send>;

impl Image {
    /// The state as bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::later(move |into| into.extend_from_slice(&bytes))
    }

    /// What appends the state's bytes to those that are there; runs on another thread.
    #[must_use]
    pub fn later(write: impl FnOnce(&mut Vec<u8>) + Send + 'static) -> Self {
        Self(Box::new(write))
    }

    /// Appends the bytes.
    pub(crate) fn write(self, into: &mut Vec<u8>) {
        (self.0)(into);
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Image")
    }
}

/// Members keep a snapshot of the machine and the log behind it. Who lacks more than the log holds
/// fetches the snapshot, from several members at once.
pub struct SnapshotSync<M>(PhantomData<fn() -> M>);

impl<M> Default for SnapshotSync<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M> Clone for SnapshotSync<M> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<M> fmt::Debug for SnapshotSync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotSync")
    }
}

impl<M: SnapshotMachine> StateSync for SnapshotSync<M> {
    type Machine = M;

    fn signature(&self) -> UniqueId {
        Digest::from_parts(&[&b"mosaik.groups.snapshot"[..]])
    }

    fn has_snapshots(&self) -> bool {
        true
    }

    fn freeze(&self, machine: &M) -> Result<Image, String> {
        Ok(machine.freeze())
    }

    fn restore(&self, like: &M, bytes: &[u8]) -> Result<M, String> {
        like.restore(bytes).map_err(|error| error.to_string())
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
