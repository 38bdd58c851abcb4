//! A list that grows at its end.

use std::fmt;

use super::Model;

/// A log, empty in the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendLog;

/// What it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogOp {
    /// Append this.
    Append(u64),
    /// What do you hold?
    Read,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogRet {
    /// The value is at this place, from 0.
    At(u64),
    /// All of it.
    Content(Content),
}

/// The content of a log, by its length and a digest of all values in their order: comparing two
/// costs nothing, whatever their length.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    length: u64,
    last: Option<u64>,
    digest: [u8; 32],
}

impl Content {
    /// The content with one more value.
    #[must_use]
    pub fn with(self, value: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.digest);
        hasher.update(&value.to_be_bytes());
        let digest = *hasher.finalize().as_bytes();
        Self { length: self.length + 1, last: Some(value), digest }
    }

    /// Values in it.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }
}

impl FromIterator<u64> for Content {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, last, digest: [a, b, ..] } = self;
        write!(f, "{length} values up to {last:?} #{a:02x}{b:02x}")
    }
}

impl Model for AppendLog {
    type State = Content;
    type Op = LogOp;
    type Ret = LogRet;

    fn start(&self) -> Self::State {
        Content::default()
    }

    fn step(&self, state: &Self::State, op: &Self::Op) -> (Self::State, Self::Ret) {
        match *op {
            LogOp::Append(value) => (state.with(value), LogRet::At(state.length)),
            LogOp::Read => (*state, LogRet::Content(*state)),
        }
    }

    fn is_read(&self, _: &Self::Op, ret: &Self::Ret) -> bool {
        matches!(ret, LogRet::Content(_))
    }
}
