//! What went wrong in a store.

use std::{io, sync::Arc};

use mosaik_proto::raft::Position;

/// Why a store refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something that was durable has changed or is gone. The store counts as empty: wipe it.
    #[error("{file} is damaged at byte {at}: {damage}")]
    Damaged {
        /// In which file.
        file: String,
        /// Where it showed; what is broken may begin before.
        at: u64,
        /// What does not fit.
        damage: Damage,
    },
    /// A later version of this program wrote it. It is whole: use that version.
    #[error("{file} has format {version}, which is newer than this program")]
    NewerFormat {
        /// Which file.
        file: String,
        /// Its format.
        version: u32,
    },
    /// Another process, or another store of this one, uses the directory.
    #[error("the directory is in use by another store")]
    Locked,
    /// There is no space.
    #[error("no space left while {doing}: {error}")]
    Full {
        /// During which operation.
        doing: &'static str,
        /// What the operating system said.
        error: Arc<io::Error>,
    },
    /// The operating system reported an error.
    #[error("failed while {doing}: {error}")]
    Io {
        /// During which operation.
        doing: &'static str,
        /// What the operating system said.
        error: Arc<io::Error>,
    },
    /// It failed before, or nobody opened it. Nothing is tried again.
    #[error("the store failed before, or was not opened")]
    Poisoned,
    /// The write does not fit what was written before: a defect of the caller.
    #[error("the write does not fit the log: {0}")]
    Misfit(&'static str),
    /// One entry or run is larger than a record can be.
    #[error("a record of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A snapshot up to here was asked for and none is staged, or none was begun.
    #[error("no snapshot up to {0:?} is staged")]
    NoSnapshot(Position),
    /// The store panicked.
    #[error("the store panicked")]
    Panicked,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The beginning of the file is not what was written.
    #[error("its header is broken")]
    Header,
    /// What should be zero is not.
    #[error("its padding is not empty")]
    Padding,
    /// Neither mark is whole.
    #[error("its marks are broken")]
    Marks,
    /// A record in front of the mark, or in a file that was finished, is broken.
    #[error("a record is broken")]
    Record,
    /// The file ends before, or behind, where it should.
    #[error("its length is wrong")]
    Length,
    /// Everything is whole, but does not fit what came before.
    #[error("its records do not follow from those before")]
    Sequence,
    /// The entries behind the snapshot are not all there.
    #[error("entries are missing")]
    Entries,
    /// The snapshot is gone, or is another one.
    #[error("the snapshot is not the one that was written")]
    Snapshot,
}

impl StoreError {
    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            );
            let error = Arc::new(error);
            if full { Self::Full { doing, error } } else { Self::Io { doing, error } }
        }
    }

    pub(super) fn damaged(file: &str, at: u64, damage: Damage) -> Self {
        Self::Damaged { file: file.to_owned(), at, damage }
    }
}
