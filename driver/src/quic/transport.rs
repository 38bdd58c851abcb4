//! The transport: endpoints, and what they have in common.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use mosaik_proto::{
    PeerId,
    crypto::SecretKey,
    links::{DialError, LinkLimits},
    wire::CloseCode,
};
use quinn::{Endpoint, Runtime};

use super::{
    addrs,
    channel::var_int,
    config,
    dial::Dialer,
    incoming::Lobby,
    link::QuicLink,
    loopback,
    socket::{self, Tolerant},
};
use crate::transport::{Refused, Transport};

/// Links over QUIC. Dropping it closes everything with [`CloseCode::CANCELLED`].
#[derive(Debug)]
pub struct QuicTransport {
    endpoints: Vec<(Endpoint, SocketAddr)>,
    dialer: Dialer,
    lobby: Arc<Lobby>,
    closing: Arc<OnceLock<CloseCode>>,
}

impl QuicTransport {
    /// Listens at `addrs`; port 0 stands for a free one. Without any address: on all interfaces,
    /// at one random port for IPv4 and one for IPv6, if the host has IPv6.
    ///
    /// # Errors
    /// If a socket cannot be bound; without `addrs`, if none can.
    pub fn bind(
        runtime: Arc<dyn Runtime>,
        key: &SecretKey,
        addrs: &BTreeSet<SocketAddr>,
    ) -> io::Result<Self> {
        let sockets = match addrs.is_empty() {
            true => socket::bind_default()?,
            false => addrs.iter().map(|addr| socket::bind(*addr)).collect::<io::Result<_>>()?,
        };
        let server = config::server(key)?;
        let mut endpoints = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let addr = socket.local_addr()?;
            let socket = Arc::new(Tolerant::new(runtime.wrap_udp_socket(socket)?));
            let endpoint = Endpoint::new_with_abstract_socket(
                config::endpoint(),
                Some((*server.other).clone()),
                socket,
                runtime.clone(),
            )?;
            endpoints.push((endpoint, addr));
        }
        let closing = Arc::new(OnceLock::new());
        let listeners: Vec<Endpoint> = endpoints.iter().map(|(each, _)| each.clone()).collect();
        let lobby = Lobby::open(runtime.clone(), server, closing.clone(), &listeners);
        let dialer = Dialer { runtime, configs: config::client(key)?, closing: closing.clone() };
        Ok(Self { endpoints, dialer, lobby, closing })
    }

    /// The endpoint from which packets find a way to an address.
    fn way_to(&self, remote: SocketAddr) -> Option<(&Endpoint, SocketAddr)> {
        self.endpoints
            .iter()
            .find(|(_, local)| {
                local.is_ipv4() == remote.is_ipv4()
                    && (loopback::reaches(remote) || socket::has_route(local.ip(), remote))
            })
            .map(|(endpoint, _)| (endpoint, remote))
    }
}

impl Transport for QuicTransport {
    type Link = QuicLink;

    async fn dial(&self, peer: PeerId, addrs: Vec<SocketAddr>) -> Result<QuicLink, DialError> {
        let addrs = addrs::in_dial_order(addrs);
        if addrs.is_empty() {
            return Err(DialError::NoAddress);
        }
        let ways = addrs.into_iter().filter_map(|addr| self.way_to(addr)).collect();
        self.dialer.race(peer, ways).await
    }

    async fn accept(&self) -> Option<QuicLink> {
        self.lobby.next().await
    }

    /// Interfaces come and go: the answer is up to date at every call, and takes system calls.
    fn local_addrs(&self) -> BTreeSet<SocketAddr> {
        let bound: Vec<SocketAddr> = self.endpoints.iter().map(|(_, addr)| *addr).collect();
        addrs::reachable(&bound)
    }

    fn set_limits(&self, limits: LinkLimits) {
        self.lobby.seats().set_limits(limits);
    }

    fn on_refused(&self, told: Refused) {
        self.lobby.seats().on_refused(told);
    }

    fn close(&self, code: CloseCode) {
        let code = *self.closing.get_or_init(|| code);
        for (endpoint, _) in &self.endpoints {
            endpoint.close(var_int(code), code.name().unwrap_or_default().as_bytes());
        }
        self.lobby.close();
    }

    async fn drained(&self) {
        for (endpoint, _) in &self.endpoints {
            endpoint.wait_idle().await;
        }
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.close(CloseCode::CANCELLED);
    }
}
