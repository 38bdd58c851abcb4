//! Until when a ticket is good.

use core::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// The moment from which on a ticket is refused. Ordered by time; [`Never`](Self::Never) is last.
///
/// The constructors that count from now (`after`, `in_1h`, …) read this host's clock and exist
/// with the feature `host` only, which every driver switches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Expiration {
    /// The ticket does not expire.
    Never,
    /// The ticket expires at this moment.
    At(DateTime<Utc>),
}

impl Expiration {
    /// Does not expire.
    #[must_use]
    pub const fn never() -> Self {
        Self::Never
    }

    /// Expires at this wall time; [`Never`](Self::Never) if that is beyond the calendar.
    #[must_use]
    pub fn at(moment: UnixMillis) -> Self {
        i64::try_from(moment.0)
            .ok()
            .and_then(DateTime::from_timestamp_millis)
            .map_or(Self::Never, Self::At)
    }

    /// The moment of expiry in milliseconds; `None` for [`Never`](Self::Never), zero for a moment
    /// before 1970.
    #[must_use]
    pub fn unix_millis(&self) -> Option<UnixMillis> {
        match self {
            Self::Never => None,
            Self::At(at) => Some(UnixMillis(u64::try_from(at.timestamp_millis()).unwrap_or(0))),
        }
    }

    /// True if the ticket is no longer good at wall time `now`.
    #[must_use]
    pub fn is_expired_at(&self, now: UnixMillis) -> bool {
        self.unix_millis().is_some_and(|at| at <= now)
    }
}

impl Ord for Expiration {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Never, Self::Never) => Ordering::Equal,
            (Self::Never, Self::At(_)) => Ordering::Greater,
            (Self::At(_), Self::Never) => Ordering::Less,
            (Self::At(a), Self::At(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for Expiration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_the_latest() {
        let soon = Expiration::at(UnixMillis(5));
        assert!(soon < Expiration::Never);
        assert!(soon.is_expired_at(UnixMillis(5)));
        assert!(!soon.is_expired_at(UnixMillis(4)));
        assert!(!Expiration::Never.is_expired_at(UnixMillis(u64::MAX)));
        assert_eq!(Expiration::at(UnixMillis(u64::MAX)), Expiration::Never);
    }
}
