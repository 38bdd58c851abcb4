//! The timer queue.

use std::time::Duration;

use mosaik_proto::time::{Instant, TimerQueue};

use crate::{Case, Make};

pub(crate) const CASES: &[(&str, Make)] =
    &[("time/timer-move", || Timers::case(false)), ("time/timer-pop", || Timers::case(true))];

const KEYS: u64 = 1_000;
const PER_STEP: u32 = 64;

/// A queue of a thousand timers; keys come round in a scattered order.
struct Timers {
    queue: TimerQueue<u64>,
    now: Instant,
    next: u64,
    pop: bool,
}

impl Timers {
    fn case(pop: bool) -> Box<dyn Case> {
        let mut queue = TimerQueue::new();
        (0..KEYS).for_each(|key| queue.set(key, Some(Instant::from_nanos(key))));
        Box::new(Self { queue, now: Instant::from_nanos(KEYS), next: 0, pop })
    }
}

impl Case for Timers {
    fn per_step(&self) -> u32 {
        PER_STEP
    }

    fn prepare(&mut self) {}

    fn step(&mut self) {
        for _ in 0..PER_STEP {
            self.now = self.now + Duration::from_nanos(1);
            let key = match self.pop {
                true => self.queue.pop_due(self.now).expect("the oldest is due"),
                false => self.next,
            };
            self.next = (self.next + 389) % KEYS;
            self.queue.set(key, Some(self.now));
        }
    }
}
