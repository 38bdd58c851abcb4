//! The one room where this machine's clock and entropy may be named (feature `host`).
//!
//! Programs expect `NetworkId::random()` and `Expiration::in_1h()`; both need the host. They are
//! conveniences for applications, compiled for drivers only: a core cannot call them, because
//! `mosaik-proto` alone is built without this file (and CI builds it for a target without an
//! operating system).

use chrono::{Duration, Utc};

use crate::{crypto::SecretKey, groups::GroupKey, ids::Digest, tickets::Expiration};

impl Digest {
    /// 32 random bytes from the operating system.
    ///
    /// # Panics
    /// If the operating system has no entropy to give.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system provides entropy");
        Self::from_bytes(bytes)
    }
}

impl SecretKey {
    /// A fresh random key.
    ///
    /// # Panics
    /// If the operating system has no entropy to give.
    #[must_use]
    pub fn generate() -> Self {
        Digest::random().into()
    }
}

impl GroupKey {
    /// A key that nobody else has.
    ///
    /// # Panics
    /// If the operating system has no entropy to give.
    #[must_use]
    pub fn random() -> Self {
        Self::new(Digest::random())
    }
}

impl Expiration {
    /// Expires this long from now; a negative duration lies in the past.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Utc::now().checked_add_signed(duration).map_or(Self::Never, Self::At)
    }

    /// Expired an hour ago.
    #[must_use]
    pub fn already_expired() -> Self {
        Self::after(-Duration::hours(1))
    }

    /// Expires in `hours` hours.
    #[must_use]
    pub fn in_n_hours(hours: i64) -> Self {
        Duration::try_hours(hours).map_or(Self::Never, Self::after)
    }

    /// Expires in an hour.
    #[must_use]
    pub fn in_1h() -> Self {
        Self::in_n_hours(1)
    }

    /// Expires in three hours.
    #[must_use]
    pub fn in_3h() -> Self {
        Self::in_n_hours(3)
    }

    /// Expires in six hours.
    #[must_use]
    pub fn in_6h() -> Self {
        Self::in_n_hours(6)
    }

    /// Expires in a day.
    #[must_use]
    pub fn in_24h() -> Self {
        Self::in_n_hours(24)
    }

    /// True if the moment has passed on this host's clock.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::At(at) if *at <= Utc::now())
    }

    /// The time left on this host's clock; `None` if it never expires or has expired.
    #[must_use]
    pub fn remaining(&self) -> Option<core::time::Duration> {
        match self {
            Self::Never => None,
            Self::At(at) => (*at - Utc::now()).to_std().ok(),
        }
    }
}
