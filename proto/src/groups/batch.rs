//! Commands of this node that were executed by one call.

use bytes::Bytes;

use crate::{limits, streams::item, time::Instant};

/// Commands that were executed by one call.
#[derive(Debug)]
pub(super) struct Batch {
    /// The host's number of the first.
    pub(super) first: u64,
    pub(super) count: u32,
    /// The number in the session, once sent.
    pub(super) number: Option<u64>,
    /// Empty once the outcome was told.
    pub(super) data: Bytes,
    pub(super) deadline: Instant,
    /// A copy of an earlier attempt may be in some log, or get there.
    pub(super) doubt: bool,
    /// The leader's word was passed on.
    pub(super) taken: bool,
    /// The outcome was told: the numbers are to be used up by nothing.
    pub(super) told: bool,
}

impl Batch {
    /// Stands where a batch is being worked on.
    pub(super) const NOTHING: Self = Self {
        first: 0,
        count: 0,
        number: None,
        data: Bytes::new(),
        deadline: Instant::ZERO,
        doubt: false,
        taken: false,
        told: true,
    };

    /// Goes on with the numbers of the next, which are to be used up by nothing as well.
    pub(super) fn join(&mut self, next: &Self) {
        self.count += next.count;
        self.doubt |= next.doubt;
    }

    /// Keeps as many commands as one frame may carry, at least one; returns the others.
    pub(super) fn split_large(&mut self) -> Option<Self> {
        const MOST: usize = limits::APPEND_BYTES;
        if self.data.len() <= MOST || self.count == 1 {
            return None;
        }
        let fits = item::prefix(&self.data, 0, u64::from(self.count), u64::MAX, MOST).ok()?.items;
        if fits < self.count { self.split(fits.max(1)) } else { None }
    }

    /// Keeps the first `count` commands, which are not all; returns the others.
    pub(super) fn split(&mut self, count: u32) -> Option<Self> {
        let end = item::prefix(&self.data, 0, u64::from(count), u64::MAX, usize::MAX).ok()?.end;
        let data = self.data.split_off(end);
        let rest = Self {
            first: self.first + u64::from(count),
            count: self.count - count,
            number: self.number.map(|number| number + u64::from(count)),
            data,
            ..*self
        };
        self.count = count;
        Some(rest)
    }
}
