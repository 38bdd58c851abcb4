//! Timers that are cheap to move.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// A timer of the reactor that is late by up to a millisecond and never early.
///
/// QUIC moves its timers with every packet, nearly always to a later moment. To tell the reactor
/// costs it a system call and often a turn for nothing. So a later moment is only noted: the
/// reactor fires at the earlier one, and the timer goes on from there. One wake-up in vain per
/// timeout takes the place of one per packet.
#[derive(Debug)]
pub(crate) struct CoarseTimer {
    reactor: async_io::Timer,
    /// Moments are whole milliseconds from here, so that timers fire together.
    origin: Instant,
    /// What the reactor was told.
    told: Option<Instant>,
    due: Option<Instant>,
}

impl CoarseTimer {
    /// A timer that is off.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { reactor: async_io::Timer::never(), origin, told: None, due: None }
    }

    /// Moves the timer, or switches it off.
    pub(crate) fn reset(&mut self, due: Option<Instant>) {
        self.due = due.and_then(|due| self.round_up(due));
        if let Some(due) = self.due
            && self.told.is_none_or(|told| due < told)
        {
            self.tell(due);
        }
    }

    /// Ready once when it is due; then it is off.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(due) = self.due {
            ready!(Pin::new(&mut self.reactor).poll(cx));
            if self.told.take().is_none_or(|told| due <= told) {
                self.due = None;
                return Poll::Ready(());
            }
            self.tell(due);
        }
        Poll::Pending
    }

    fn tell(&mut self, at: Instant) {
        self.told = Some(at);
        self.reactor.set_at(at);
    }

    /// `None` if that is beyond what a clock can show.
    fn round_up(&self, at: Instant) -> Option<Instant> {
        let millis = at.saturating_duration_since(self.origin).as_nanos().div_ceil(1_000_000);
        self.origin.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
    }
}
