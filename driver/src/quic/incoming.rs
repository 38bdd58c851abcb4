//! Links that others make: bounded handshakes, and the queue of links not yet taken.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use event_listener::Event;
use mosaik_proto::wire::CloseCode;
use quinn::{Endpoint, Incoming, Runtime, ServerConfig};

use super::{
    config::ByDistance,
    link::QuicLink,
    seats::{Refusal, Seat, Seats},
    timer::timeout,
};
use crate::transport::Link as _;

/// Links whose keys are proved and that nobody has taken yet. A link has a seat from its first
/// packet until it is admitted or ends, so all of them together are bounded ([`Seats`]).
#[derive(Debug)]
pub(super) struct Lobby {
    runtime: Arc<dyn Runtime>,
    configs: ByDistance<Arc<ServerConfig>>,
    closing: Arc<OnceLock<CloseCode>>,
    links: Mutex<VecDeque<QuicLink>>,
    seats: Arc<Seats>,
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

    /// Who may have a handshake.
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// The next link, `None` when there will be none any more.
    pub(super) async fn next(&self) -> Option<QuicLink> {
        loop {
            let changed = self.changed.listen();
            if let Some(link) = self.links().pop_front() {
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

    /// Refuses a handshake when there are too many, in all or of this source, and demands a proof
    /// of the sender's address when there are many: forged addresses then cannot take the seats of
    /// real peers.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, Seat)> {
        let proved = incoming.remote_address_validated();
        match self.seats.take(incoming.remote_address().ip(), proved) {
            Ok(seat) => Some((incoming, seat)),
            Err(Refusal::Busy) => {
                self.seats.tell(CloseCode::BUSY);
                incoming.refuse();
                None
            }
            Err(Refusal::Unproved) => {
                // Not validated means that it may be retried; otherwise dropping it refuses.
                drop(incoming.retry());
                None
            }
        }
    }

    async fn handshake(self: Arc<Self>, incoming: Incoming, seat: Seat) {
        let config = self.configs.of(incoming.remote_address().ip()).clone();
        let Ok(connecting) = incoming.accept_with(config) else { return };
        let wait = self.seats.limits().handshake_timeout;
        let connection = match timeout(&self.runtime, wait, connecting).await {
            Some(Ok(connection)) => connection,
            Some(Err(_)) => return self.seats.tell(CloseCode::UNKNOWN_PEER),
            None => return self.seats.tell(CloseCode::TIMEOUT),
        };
        let Some(link) = QuicLink::new(connection, self.closing.clone(), Some(seat)) else {
            return self.seats.tell(CloseCode::UNKNOWN_PEER);
        };
        tracing::trace!(peer = ?link.peer(), "accepted");
        self.links().push_back(link);
        if self.closing.get().is_some() {
            self.close();
        }
        self.changed.notify_additional(1);
    }

    fn links(&self) -> MutexGuard<'_, VecDeque<QuicLink>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
