//! The two clocks of a host: they drift, and the wall clock jumps.

use std::time::Duration;

use mosaik_proto::time::{Instant, Now, UnixMillis};

/// Wall time at the start of every world: 2026-01-01T00:00:00Z.
pub const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);

const MILLION: i128 = 1_000_000;

/// The clocks of one host, as functions of the world's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// When the process started, in the world's time.
    started: Instant,
    /// How much faster than the world both clocks run, in millionths.
    drift_ppm: i32,
    /// How far the wall clock is ahead of the world, drift aside, in milliseconds.
    ahead_ms: i64,
}

impl Clock {
    /// Clocks that run `drift_ppm` millionths too fast, the wall clock `ahead_ms` ahead.
    #[must_use]
    pub const fn new(drift_ppm: i32, ahead_ms: i64) -> Self {
        Self { started: Instant::ZERO, drift_ppm, ahead_ms }
    }

    /// A process starts: monotonic time begins again at zero.
    pub const fn start(&mut self, now: Instant) {
        self.started = now;
    }

    /// The wall clock jumps.
    pub const fn jump(&mut self, by_ms: i64) {
        self.ahead_ms += by_ms;
    }

    /// How far the wall clock was set ahead of the world, in milliseconds.
    #[must_use]
    pub const fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// Both clocks as the host reads them at the world's time `now`.
    #[must_use]
    pub fn read(&self, now: Instant) -> Now {
        let mono = self.scaled(now.since(self.started));
        let world_ms = self.scaled(now.since(Instant::ZERO)) / 1_000_000;
        let wall = i128::from(EPOCH.0) + i128::from(world_ms) + i128::from(self.ahead_ms);
        Now {
            mono: Instant::from_nanos(mono),
            wall: UnixMillis(u64::try_from(wall).unwrap_or_default()),
        }
    }

    /// The first moment of the world at which the host's monotonic clock shows at least `local`,
    /// rounded up to the millisecond as the drivers' timers are.
    #[must_use]
    pub fn world_time(&self, local: Instant) -> Instant {
        let local = i128::from(local.as_nanos().div_ceil(1_000_000)) * MILLION;
        let rate = MILLION + i128::from(self.drift_ppm);
        let nanos = (local * MILLION + rate - 1) / rate;
        self.started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn scaled(&self, time: Duration) -> u64 {
        let nanos = time.as_nanos() as i128 * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        u64::try_from(nanos).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_fires_early() {
        for drift in [-200, -1, 0, 1, 333] {
            let mut clock = Clock::new(drift, 0);
            clock.start(Instant::from_nanos(123_456_789));
            for local in [0, 1, 999_999, 1_000_000, 123_456_789_123] {
                let local = Instant::from_nanos(local);
                let at = clock.world_time(local);
                assert!(clock.read(at).mono >= local, "{drift} {local:?} {at:?}");
                assert!(clock.read(at).mono.since(local) <= Duration::from_micros(1_001));
            }
        }
    }

    #[test]
    fn jumps_move_the_wall_clock_only() {
        let mut clock = Clock::new(0, 500);
        let before = clock.read(Instant::from_millis(10));
        clock.jump(-3_600_000);
        let after = clock.read(Instant::from_millis(10));
        assert_eq!(before.mono, after.mono);
        assert_eq!(after.wall.ahead_of(before.wall), -3_600_000);
    }
}
