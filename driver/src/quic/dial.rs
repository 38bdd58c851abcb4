//! Dialling: the addresses of a peer race, each with a head start over the next.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use mosaik_proto::{PeerId, links::DialError, wire::CloseCode};
use quinn::{ClientConfig, Endpoint, Runtime};

use super::{
    config::{ByDistance, DIAL_STAGGER, DIAL_TIMEOUT},
    link::{QuicLink, dial_error},
    timer::Timer,
    tls,
};

/// What a dial needs of the transport.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) configs: ByDistance<ClientConfig>,
    pub(super) closing: Arc<OnceLock<CloseCode>>,
}

impl Dialer {
    /// The first link that comes about over one of these ways. The others are given up.
    pub(super) async fn race(
        &self,
        peer: PeerId,
        ways: Vec<(&Endpoint, SocketAddr)>,
    ) -> Result<QuicLink, DialError> {
        let mut race = Race {
            dialer: self,
            server_name: tls::server_name(&peer),
            waiting: ways.into(),
            running: FuturesUnordered::new(),
            failure: DialError::Transport,
            stagger: Timer::after(&self.runtime, DIAL_STAGGER),
            deadline: Timer::after(&self.runtime, DIAL_TIMEOUT),
        };
        race.start_next();
        poll_fn(|cx| race.poll(cx)).await
    }

    async fn attempt(&self, connecting: quinn::Connecting) -> Result<QuicLink, DialError> {
        let connection = connecting.await.map_err(|error| dial_error(&error))?;
        QuicLink::new(connection, self.closing.clone(), None).ok_or(DialError::WrongPeer)
    }
}

struct Race<'a> {
    dialer: &'a Dialer,
    server_name: String,
    waiting: VecDeque<(&'a Endpoint, SocketAddr)>,
    running: FuturesUnordered<BoxFuture<'a, Result<QuicLink, DialError>>>,
    failure: DialError,
    stagger: Timer,
    deadline: Timer,
}

impl Race<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicLink, DialError>> {
        loop {
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(link))) => return Poll::Ready(Ok(link)),
                Poll::Ready(Some(Err(error))) => {
                    self.failed(error);
                    self.start_next();
                    continue;
                }
                Poll::Ready(None) if self.waiting.is_empty() => {
                    return Poll::Ready(Err(self.failure));
                }
                Poll::Ready(None) => {
                    self.start_next();
                    continue;
                }
                Poll::Pending => {}
            }
            if self.deadline.poll(cx).is_ready() {
                self.failed(DialError::Timeout);
                return Poll::Ready(Err(self.failure));
            }
            if self.waiting.is_empty() || self.stagger.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.start_next();
        }
    }

    fn start_next(&mut self) {
        let Some((endpoint, addr)) = self.waiting.pop_front() else { return };
        let config = self.dialer.configs.of(addr.ip()).clone();
        match endpoint.connect_with(config, addr, &self.server_name) {
            Ok(connecting) => self.running.push(Box::pin(self.dialer.attempt(connecting))),
            Err(_) => self.failed(DialError::Transport),
        }
        self.stagger.restart(DIAL_STAGGER);
    }

    /// Of several failures the one that says most about the peer is reported.
    fn failed(&mut self, error: DialError) {
        let says = |error: DialError| match error {
            DialError::Closed(_) => 3,
            DialError::WrongPeer => 2,
            DialError::Timeout => 1,
            DialError::Transport | DialError::NoAddress => 0,
        };
        if says(error) > says(self.failure) {
            self.failure = error;
        }
    }
}
