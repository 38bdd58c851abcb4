//! The address books: of a process, and of a host with real files and real processes.
#![expect(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use mosaik_driver::book::{Found, Record};
use mosaik_proto::{NetworkId, PeerId, discovery::EndpointAddr};

#[cfg(unix)]
mod host;
mod process;

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

fn addrs<const N: usize>(ports: [u16; N]) -> BTreeSet<SocketAddr> {
    ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).into()
}

fn record<const N: usize>(n: u8, ports: [u16; N], network: Option<NetworkId>) -> Record {
    Record { peer: peer(n), addrs: addrs(ports), network }
}

fn net() -> NetworkId {
    NetworkId::from("net")
}

fn listener() -> (Found, Receiver<Vec<EndpointAddr>>) {
    let (tx, rx) = channel();
    let tx = Mutex::new(tx);
    (Arc::new(move |peers| drop(tx.lock().unwrap().send(peers))), rx)
}
