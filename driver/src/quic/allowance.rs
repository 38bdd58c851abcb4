//! How many channels the other end of a link may have open: as many as it uses, doubled.
//!
//! quinn prepares memory for every stream that a peer may open: 84 bytes each, which is 86 KB for
//! [`CHANNELS_PER_LINK`](limits::CHANNELS_PER_LINK), and most links carry a few. So the allowance
//! begins small and grows with what is really open, long before a peer has to wait.

use std::sync::{Arc, Mutex};

use mosaik_proto::limits;
use quinn::{Connection, VarInt};

use super::config::{LINK_CHANNELS, STRANGER_CHANNELS};
use crate::sync::cell::lock;

/// The allowance of one link.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Channels of the other end that are open.
    open: u32,
    allowed: u32,
    /// Strangers get no more than [`STRANGER_CHANNELS`].
    admitted: bool,
}

/// A channel of the other end, for as long as one of its halves is in use.
#[derive(Debug)]
pub(super) struct Berth(Allowance);

impl Allowance {
    /// That of a stranger.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, allowed: STRANGER_CHANNELS, admitted: false })))
    }

    /// The link is admitted.
    pub(super) fn admit(&self, connection: &Connection) {
        lock(&self.0).admitted = true;
        self.grow(connection);
    }

    /// The other end opened a channel.
    pub(super) fn opened(&self, connection: &Connection) -> Berth {
        lock(&self.0).open += 1;
        self.grow(connection);
        Berth(self.clone())
    }

    fn grow(&self, connection: &Connection) {
        if let Some(channels) = lock(&self.0).grown() {
            connection.set_max_concurrent_bi_streams(VarInt::from_u32(channels));
        }
    }
}

impl State {
    /// The new allowance, if there is to be another.
    fn grown(&mut self) -> Option<u32> {
        let most = limits::CHANNELS_PER_LINK as u32;
        let wanted = (2 * self.open).next_power_of_two().clamp(LINK_CHANNELS, most);
        let grows = self.admitted && wanted > self.allowed;
        if grows {
            self.allowed = wanted;
        }
        grows.then_some(wanted)
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        lock(&self.0.0).open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_10_the_allowance_is_ahead_of_use_and_ends_at_its_limit() {
        let mut state = State { open: 16, allowed: STRANGER_CHANNELS, admitted: false };
        assert_eq!(state.grown(), None, "a stranger");
        state.admitted = true;
        let mut steps = Vec::new();
        for open in 0..=limits::CHANNELS_PER_LINK as u32 {
            state.open = open;
            steps.extend(state.grown());
            assert!(state.allowed > open || state.allowed == 1_024, "room for one more");
        }
        assert_eq!(steps, [32, 64, 128, 256, 512, 1_024]);
    }
}
