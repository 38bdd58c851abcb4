//! Machines, commands and stores that fail on purpose.

#![allow(dead_code, reason = "every test program uses a part of it")]

#[path = "../support/asked_store.rs"]
mod asked_store;

use std::{
    convert::Infallible,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use asked_store::{AskedStore, Call};
use mosaik::{
    driver::storage::StoreError,
    groups::{ApplyContext, LogReplaySync, LogStore, StateMachine},
    proto::limits,
    *,
};

macro_rules! machine {
    ($($generics:tt)*) => {
        type Query = ();
        type StateSync = LogReplaySync<Self>;

        fn signature(&self) -> UniqueId {
            $($generics)*
        }

        fn state_sync(&self) -> LogReplaySync<Self> {
            LogReplaySync::default()
        }
    };
}

/// Panics over one command, or over queries, if told so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragile {
    pub(crate) value: i64,
    pub(crate) panics: bool,
    pub(crate) queries: bool,
}

impl Fragile {
    pub(crate) const DEADLY: i64 = 13;
}

impl StateMachine for Fragile {
    type Command = i64;
    type QueryResult = i64;
    machine!(id!("fragile"));

    fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
        assert!(!(self.panics && by == Self::DEADLY), "a deadly command");
        self.value += by;
    }

    fn query(&self, (): ()) -> i64 {
        assert!(!self.queries, "a deadly query");
        self.value
    }
}

/// Takes its time over every command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slow(u64);

impl StateMachine for Slow {
    type Command = ();
    type QueryResult = u64;
    machine!(id!("slow"));

    fn apply(&mut self, (): (), _: &dyn ApplyContext) {
        let begin = Instant::now();
        while begin.elapsed() < 2 * limits::APPLY_SLICE {
            std::hint::spin_loop();
        }
        self.0 += 1;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// A command of a program of which there is an older version: that does not know all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter<const OLD: bool>(pub(crate) u8);

impl<const OLD: bool> Letter<OLD> {
    pub(crate) const NEW: u8 = 200;
}

/// It is not a command of this version.
#[derive(Debug)]
pub(crate) struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreadable")
    }
}

impl std::error::Error for Unreadable {}

impl<const OLD: bool> Datum for Letter<OLD> {
    type EncodeError = Infallible;
    type DecodeError = Unreadable;

    fn encode(&self) -> Result<Bytes, Infallible> {
        Ok(Bytes::copy_from_slice(&[self.0]))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes {
            [letter] if !OLD || *letter != Self::NEW => Ok(Self(*letter)),
            _ => Err(Unreadable),
        }
    }
}

/// Counts letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox<const OLD: bool>(u64);

impl<const OLD: bool> StateMachine for Mailbox<OLD> {
    type Command = Letter<OLD>;
    type QueryResult = u64;
    machine!(id!("mailbox"));

    fn apply(&mut self, _: Letter<OLD>, _: &dyn ApplyContext) {
        self.0 += 1;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// A command whose encoding is broken in places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misspelt {
    Right,
    /// Does not decode.
    Wrong,
    /// Does not encode.
    Mute,
}

impl Datum for Misspelt {
    type EncodeError = Unreadable;
    type DecodeError = Unreadable;

    fn encode(&self) -> Result<Bytes, Unreadable> {
        match self {
            Self::Right => Ok(Bytes::from_static(b"right")),
            Self::Wrong => Ok(Bytes::from_static(b"wrogn")),
            Self::Mute => Err(Unreadable),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes == b"right" { Ok(Self::Right) } else { Err(Unreadable) }
    }
}

/// Counts what it can read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Speller(u64);

impl StateMachine for Speller {
    type Command = Misspelt;
    type QueryResult = u64;
    machine!(id!("speller"));

    fn apply(&mut self, _: Misspelt, _: &dyn ApplyContext) {
        self.0 += 1;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// Bytes that are their own encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Datum for Blob {
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn encode(&self) -> Result<Bytes, Infallible> {
        Ok(self.0.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Infallible> {
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

/// Weighs blobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scale(u64);

impl StateMachine for Scale {
    type Command = Blob;
    type QueryResult = u64;
    machine!(id!("scale"));

    fn apply(&mut self, blob: Blob, _: &dyn ApplyContext) {
        self.0 += blob.0.len() as u64;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// Stores that can be filled up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Full {
    all: Arc<AtomicBool>,
    /// Snapshots do not fit.
    snapshots: Arc<AtomicBool>,
}

impl Full {
    pub(crate) fn fill_up(&self) {
        self.all.store(true, Ordering::Relaxed);
    }

    /// From now on there is room for no snapshot, or for some again.
    pub(crate) fn refuse_snapshots(&self, refuse: bool) {
        self.snapshots.store(refuse, Ordering::Relaxed);
    }

    pub(crate) fn store(&self) -> impl LogStore + use<> {
        let full = self.clone();
        AskedStore::new(move |call| match call {
            Call::Write | Call::Wipe => Self::fail_if(&full.all),
            Call::SnapshotChunk => Self::fail_if(&full.snapshots),
            Call::Load | Call::Sync | Call::Settle => Ok(()),
        })
    }

    fn fail_if(full: &AtomicBool) -> Result<(), StoreError> {
        if !full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let error = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        Err(StoreError::Full { doing: "writing", error })
    }
}
