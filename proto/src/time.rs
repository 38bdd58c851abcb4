//! Time as an argument: instants, both clocks, and keyed timers.
//!
//! Cores never read a clock. A driver reads both clocks once per step and passes them as [`Now`].
//! Monotonic time drives every timeout and ordering decision; wall time is used for signed
//! timestamps and ticket expiry only.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Monotonic nanoseconds since the node started. Printable, storable, replayable.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment at which the node started.
    pub const ZERO: Self = Self(0);

    /// An instant `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// An instant `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the start, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` until `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates at the end of time (584 years).
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    /// Saturates at [`Instant::ZERO`].
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Milliseconds since the Unix epoch on this host's wall clock, which may jump.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The signed distance `self - other` in milliseconds, saturating.
    #[must_use]
    pub const fn ahead_of(self, other: Self) -> i64 {
        let distance = self.0.abs_diff(other.0);
        let distance = if distance > i64::MAX as u64 { i64::MAX } else { distance as i64 };
        if self.0 >= other.0 { distance } else { -distance }
    }
}

/// Both clocks, read once per step by the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since the node started.
    pub mono: Instant,
    /// Wall time.
    pub wall: UnixMillis,
}

/// Deadlines by key: set, cancel and pop in O(log n).
///
/// A parent core keeps one of these over its children and re-arms only the child it just touched.
#[derive(Clone, Debug)]
pub struct TimerQueue<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> TimerQueue<K> {
    /// A queue without timers.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets, moves (`Some`) or cancels (`None`) the timer of `key`.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        match at {
            Some(at) => {
                if let Some(old) = self.by_key.insert(key.clone(), at) {
                    if old == at {
                        return;
                    }
                    self.by_time.remove(&(old, key.clone()));
                }
                self.by_time.insert((at, key));
            }
            None => self.cancel(&key),
        }
    }

    /// Cancels the timer of `key`, if there is one.
    pub fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The deadline of one key.
    #[must_use]
    pub fn at(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// Removes and returns the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The number of timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True without timers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K: Ord + Clone> Default for TimerQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is set, moved and cancelled, timers pop in order and exactly once.
        #[test]
        fn timer_queue_agrees_with_a_sorted_list(
            ops in proptest::collection::vec((0u8..16, proptest::option::of(0u64..50)), 0..80)
        ) {
            let mut queue = TimerQueue::new();
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            for (key, at) in ops {
                queue.set(key, at.map(Instant::from_nanos));
                match at {
                    Some(at) => { model.insert(key, at); }
                    None => { model.remove(&key); }
                }
                prop_assert_eq!(queue.next(), model.values().min().map(|at| Instant::from_nanos(*at)));
            }
            let mut popped = Vec::new();
            while let Some(key) = queue.pop_due(Instant::from_nanos(25)) {
                popped.push((model[&key], key));
            }
            let mut expected: Vec<_> =
                model.iter().filter(|(_, at)| **at <= 25).map(|(k, at)| (*at, *k)).collect();
            expected.sort_unstable();
            prop_assert_eq!(popped, expected);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::from_nanos(u64::MAX) + Duration::MAX, Instant::from_nanos(u64::MAX));
        assert_eq!(UnixMillis(5).ahead_of(UnixMillis(9)), -4);
        assert_eq!(UnixMillis(u64::MAX).ahead_of(UnixMillis(0)), i64::MAX);
    }
}
