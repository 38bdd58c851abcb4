//! What the facade's tests share: nodes that know each other, and deadlines with a place.

#![allow(dead_code, reason = "every test program uses a part of it")]

use std::{
    future::Future,
    panic::Location,
    pin::pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use mosaik::{
    discovery::{Event, Events, RecvError},
    streams::StreamEvent,
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    *,
};
use serde::{Deserialize, Serialize};

/// Far beyond what anything here takes, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Waits, but not for ever; a failure names the line that waited.
#[track_caller]
pub(crate) fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    within(LIMIT, what)
}

/// Waits for so long.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = Location::caller();
    async move {
        match tokio::time::timeout(limit, what).await {
            Ok(value) => value,
            Err(_) => panic!("nothing happened within {limit:?} at {at}"),
        }
    }
}

/// Asserts that nothing happens for a while.
#[track_caller]
pub(crate) fn quiet<T>(
    duration: Duration,
    what: impl Future<Output = T>,
) -> impl Future<Output = ()> {
    let at = Location::caller();
    async move {
        if tokio::time::timeout(duration, what).await.is_ok() {
            panic!("something happened within {duration:?} at {at}");
        }
    }
}

/// Waits until a look finds what it looks for. For what has no event of its own.
#[track_caller]
pub(crate) fn eventually(look: impl FnMut() -> bool) -> impl Future<Output = Duration> {
    eventually_within(LIMIT, look)
}

/// As [`eventually`], with a limit of its own. Returns how long it took.
#[track_caller]
pub(crate) fn eventually_within(
    limit: Duration,
    mut look: impl FnMut() -> bool,
) -> impl Future<Output = Duration> {
    let at = Location::caller();
    async move {
        let start = Instant::now();
        while !look() {
            assert!(start.elapsed() < limit, "still not so after {limit:?} at {at}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }
}

/// Polls once, without a waker.
pub(crate) fn is_ready<T>(future: impl Future<Output = T>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Every node learns of every other: all ordered pairs.
#[track_caller]
pub(crate) fn discover_all<'a>(
    networks: impl IntoIterator<Item = &'a Network>,
) -> impl Future<Output = ()> {
    let networks: Vec<_> = networks.into_iter().collect();
    let mut syncs = Vec::new();
    for (i, a) in networks.iter().enumerate() {
        for (j, b) in networks.iter().enumerate() {
            if i != j {
                syncs.push(a.discovery().sync_with(b.local().addr()));
            }
        }
    }
    let all = soon(try_join_all(syncs));
    async move {
        all.await.expect("all nodes meet");
    }
}

/// Nodes of a network of their own that know each other.
pub(crate) async fn nodes<const N: usize>() -> [Network; N] {
    let id = NetworkId::random();
    let all = soon(try_join_all((0..N).map(|_| Network::new(id)))).await.expect("nodes");
    discover_all(&all).await;
    all.try_into().expect("as many as were asked for")
}

/// The configuration of discovery for nodes that nobody should find.
pub(crate) fn shy() -> discovery::ConfigBuilder {
    discovery::Config::builder().no_auto_bootstrap()
}

/// A node with a configuration.
pub(crate) async fn node(id: NetworkId, config: discovery::ConfigBuilder) -> Network {
    soon(Network::builder(id).with_discovery(config).build()).await.expect("a node")
}

/// The next event that `wanted` picks; other events are passed over.
#[track_caller]
pub(crate) fn event<T>(
    events: &mut Events<Event>,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> impl Future<Output = T> {
    soon(async move {
        loop {
            match events.recv().await {
                Ok(event) => {
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the events ended"),
            }
        }
    })
}

/// The gaps among the events that are there.
pub(crate) fn gaps(events: &mut Events<StreamEvent>) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    while let Some(event) = events.try_recv().expect("few events") {
        if let StreamEvent::Gap { first, last, .. } = event {
            gaps.push((first, last));
        }
    }
    gaps
}

/// A datum like any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data1(pub(crate) String);

/// Another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data2(pub(crate) u64);

/// A validator for tests: a ticket is `secret` and when it expires, in milliseconds since 1970 (0
/// for never).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) class: UniqueId,
    pub(crate) secret: u64,
}

impl Pass {
    pub(crate) fn new(class: &str) -> Self {
        Self { class: class.into(), secret: 42 }
    }

    /// A ticket that never expires.
    pub(crate) fn ticket(&self) -> Ticket {
        self.until(Expiration::Never)
    }

    /// A ticket that is good for so long.
    pub(crate) fn lasting(&self, life: Duration) -> Ticket {
        self.until(Expiration::after(chrono::Duration::from_std(life).expect("a short life")))
    }

    pub(crate) fn until(&self, expiration: Expiration) -> Ticket {
        let at = expiration.unix_millis().map_or(0, |at| at.0);
        Ticket::new(self.class, format!("{}:{at}", self.secret).into())
    }
}

impl TicketValidator for Pass {
    fn class(&self) -> UniqueId {
        self.class
    }

    fn signature(&self) -> UniqueId {
        self.class.derive(self.secret.to_le_bytes())
    }

    fn validate(
        &self,
        ticket: &[u8],
        _: &discovery::PeerEntry,
    ) -> Result<Expiration, InvalidTicket> {
        let text = std::str::from_utf8(ticket).map_err(|_| InvalidTicket)?;
        let (secret, at) = text.split_once(':').ok_or(InvalidTicket)?;
        if secret != self.secret.to_string() {
            return Err(InvalidTicket);
        }
        match at.parse() {
            Ok(0) => Ok(Expiration::Never),
            Ok(at) => Ok(Expiration::at(proto::time::UnixMillis(at))),
            Err(_) => Err(InvalidTicket),
        }
    }
}
