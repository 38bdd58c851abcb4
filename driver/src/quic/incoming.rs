//! Links that others make: bounded handshakes, and the queue of links not yet taken.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use event_listener::Event;
use mosaik_proto::{limits, wire::CloseCode};
use quinn::{Endpoint, Incoming, Runtime, ServerConfig};

use super::{config::ByDistance, link::QuicLink, timer::timeout};
use crate::transport::Link as _;

/// Links whose keys are proved and that nobody has taken yet, and the count of those that may
/// become one. All of them together are at most [`limits::HANDSHAKES`].
#[derive(Debug)]
pub(super) struct Lobby {
    runtime: Arc<dyn Runtime>,
    configs: ByDistance<Arc<ServerConfig>>,
    closing: Arc<OnceLock<CloseCode>>,
    links: Mutex<VecDeque<(QuicLink, Seat)>>,
    seats: Arc<AtomicUsize>,
    open: AtomicUsize,
    changed: Event,
}

impl Lobby {
    /// A lobby that is fed by these endpoints until they close.
    pub(super) fn open(
        runtime: Arc<dyn Runtime>,
        configs: ByDistance<Arc<ServerConfig>>,
        closing: Arc<OnceLock<CloseCode>>,
        endpoints: &[Endpoint],
    ) -> Arc<Self> {
        let lobby = Arc::new(Self {
            runtime,
            configs,
            closing,
            links: Mutex::default(),
            seats: Arc::default(),
            open: AtomicUsize::new(endpoints.len()),
            changed: Event::new(),
        });
        for endpoint in endpoints {
            let task = lobby.clone().listen(endpoint.clone());
            lobby.runtime.spawn(Box::pin(task));
        }
        lobby
    }

    /// The next link, `None` when there will be none any more.
    pub(super) async fn next(&self) -> Option<QuicLink> {
        loop {
            let changed = self.changed.listen();
            if let Some((link, _seat)) = self.links().pop_front() {
                return Some(link);
            }
            if self.open.load(Ordering::Acquire) == 0 || self.closing.get().is_some() {
                return None;
            }
            changed.await;
        }
    }

    /// Ends with `closing` set: drops what was not taken and wakes who waits.
    pub(super) fn close(&self) {
        self.links().clear();
        self.changed.notify(usize::MAX);
    }

    async fn listen(self: Arc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let Some((incoming, seat)) = self.admit(incoming) else { continue };
            self.runtime.spawn(Box::pin(self.clone().handshake(incoming, seat)));
        }
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify(usize::MAX);
    }

    /// Refuses a handshake when there are too many, and demands a proof of the sender's address
    /// when there are many: forged addresses then cannot take the seats of real peers.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, Seat)> {
        let seat = Seat::take(&self.seats);
        if seat.number > limits::HANDSHAKES {
            incoming.refuse();
            return None;
        }
        if seat.number > limits::HANDSHAKES / 2 && !incoming.remote_address_validated() {
            // Not validated means that it may be retried; otherwise dropping it refuses.
            drop(incoming.retry());
            return None;
        }
        Some((incoming, seat))
    }

    async fn handshake(self: Arc<Self>, incoming: Incoming, seat: Seat) {
        let config = self.configs.of(incoming.remote_address().ip()).clone();
        let Ok(connecting) = incoming.accept_with(config) else { return };
        let done = timeout(&self.runtime, limits::HANDSHAKE_TIMEOUT, connecting).await;
        let Some(Ok(connection)) = done else { return };
        let Some(link) = QuicLink::new(connection, self.closing.clone()) else { return };
        tracing::trace!(peer = ?link.peer(), "accepted");
        self.links().push_back((link, seat));
        if self.closing.get().is_some() {
            self.close();
        }
        self.changed.notify_additional(1);
    }

    fn links(&self) -> MutexGuard<'_, VecDeque<(QuicLink, Seat)>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the bounded number of handshakes; given back when dropped.
#[derive(Debug)]
struct Seat {
    taken: Arc<AtomicUsize>,
    number: usize,
}

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Self {
        Self { number: taken.fetch_add(1, Ordering::Relaxed) + 1, taken: taken.clone() }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
