//! How a run ended.

use std::fmt;

/// What went wrong in a run, in the order of the exit codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A core panicked.
    Crash(String),
    /// Something happened that must never happen.
    Safety(String),
    /// Commands that clients were told are in force are not.
    Lost {
        /// How many.
        commands: u64,
        /// Where they were.
        what: String,
    },
    /// Something that must happen in time did not.
    Liveness(String),
}

impl Failure {
    /// A broken safety property, from anything printable.
    pub(crate) fn safety(what: impl fmt::Display) -> Self {
        Self::Safety(what.to_string())
    }

    /// The exit code of the process: 1 crash, 2 safety, 3 liveness.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Crash(_) => 1,
            Self::Safety(_) | Self::Lost { .. } => 2,
            Self::Liveness(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(what) => write!(f, "crash: {what}"),
            Self::Safety(what) => write!(f, "safety: {what}"),
            Self::Lost { commands, what } => {
                write!(f, "safety: {commands} commands are lost: {what}")
            }
            Self::Liveness(what) => write!(f, "liveness: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs `world` and turns a panic of a core into [`Failure::Crash`].
///
/// # Errors
/// Those of `world`, and the panic.
pub fn catch<T>(world: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(world)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Failure::Crash(what.unwrap_or_else(|| "a panic without text".to_owned())))
    })
}
