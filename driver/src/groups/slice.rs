//! How long a machine may apply before others have their turn.

use mosaik_proto::{limits, time::Instant};

/// Commands after which the clock is looked at, where they are quick.
const MOST: u32 = 16;

/// One turn of a machine. The clock is looked at rarely while commands are quick.
#[derive(Debug)]
pub(super) struct Slice {
    until: Instant,
    every: u32,
    left: u32,
}

impl Slice {
    pub(super) const fn new() -> Self {
        Self { until: Instant::ZERO, every: 1, left: 1 }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.until = now + limits::APPLY_SLICE;
        self.left = self.every;
    }

    /// True if the turn is over. To be asked before each command.
    pub(super) fn is_over(&mut self, now: impl FnOnce() -> Instant) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let over = now() >= self.until;
        self.every = if over { 1 } else { (2 * self.every).min(MOST) };
        self.left = self.every;
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The commands of turns in which each takes so long.
    fn turns(slice: &mut Slice, each: Duration, count: usize) -> Vec<u32> {
        let mut now = Instant::ZERO;
        let mut turn = || {
            slice.begin(now);
            (1..).find(|_| {
                now = now + each;
                slice.is_over(|| now)
            })
        };
        (0..count).map(|_| turn().expect("no turn is endless")).collect()
    }

    #[test]
    fn a_turn_is_one_slow_command_or_many_quick_ones() {
        let mut slice = Slice::new();
        let quick = limits::APPLY_SLICE / 1_000;
        assert!(turns(&mut slice, quick, 3).iter().all(|many| (1_000..1_032).contains(many)));
        // It takes a moment until it is known that they are slow now.
        let slow = turns(&mut slice, limits::APPLY_SLICE * 2, 4);
        assert!(slow[0] <= MOST, "{slow:?}");
        assert_eq!(slow[1..], [1, 1, 1]);
    }
}
