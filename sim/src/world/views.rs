//! What can be read from a world: by scenarios, tests and checkers at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mosaik_proto::{
    Digest, PeerId,
    discovery::{CommandError, EndpointAddr, PeerEntryVersion},
    ids::{ConsumerId, RequestId, StreamId},
    streams::{Owner, State},
    time::Instant,
};

use super::World;
use crate::{
    checkers::{Checkers, catalog, catalog::View, links},
    host::{ConsumerApp, ProducerApp, Running},
    net::{HostId, Process, Traffic},
    verdict::Failure,
};

impl World {
    /// The world's time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The hash over everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> Digest {
        self.trace.hash()
    }

    /// Lines of the trace so far: events and actions.
    #[must_use]
    pub const fn trace_lines(&self) -> u64 {
        self.trace.lines()
    }

    /// The checkers that looked at every step.
    #[must_use]
    pub const fn checkers(&self) -> &Checkers {
        &self.checkers
    }

    /// The checkers, for tests that show them what is not so.
    pub const fn checkers_mut(&mut self) -> &mut Checkers {
        &mut self.checkers
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// The identity of a host.
    #[must_use]
    pub fn peer(&self, host: HostId) -> PeerId {
        self.hosts[host.0].peer
    }

    /// Where a host is.
    #[must_use]
    pub fn address(&self, host: HostId) -> EndpointAddr {
        self.hosts[host.0].address()
    }

    /// True if a process runs there.
    #[must_use]
    pub fn is_running(&self, host: HostId) -> bool {
        self.hosts[host.0].running.is_some()
    }

    /// True if a process runs there that was asked to end in good order.
    #[must_use]
    pub fn is_ending(&self, host: HostId) -> bool {
        self.hosts[host.0].running.as_ref().is_some_and(|running| running.leaving)
    }

    /// How often processes were started there.
    #[must_use]
    pub fn boots(&self, host: HostId) -> u32 {
        self.hosts[host.0].boots
    }

    /// The version of a host's own entry, if it runs.
    #[must_use]
    pub fn version(&self, host: HostId) -> Option<PeerEntryVersion> {
        Some(self.hosts[host.0].running.as_ref()?.entry.signed().update_version())
    }

    /// Whom a host sees in which version, by what its node published.
    #[must_use]
    pub fn view(&self, host: HostId) -> BTreeMap<PeerId, PeerEntryVersion> {
        self.hosts[host.0].running.as_ref().map(|running| running.view.clone()).unwrap_or_default()
    }

    /// True if `observer` sees `other`.
    #[must_use]
    pub fn sees(&self, observer: HostId, other: HostId) -> bool {
        let running = self.hosts[observer.0].running.as_ref();
        running.is_some_and(|running| running.view.contains_key(&self.peer(other)))
    }

    /// The reply to a request, once it came.
    #[must_use]
    pub fn reply(&self, host: HostId, request: RequestId) -> Option<Result<(), CommandError>> {
        self.hosts[host.0].running.as_ref()?.replies.get(&request).copied()
    }

    /// What a host has sent.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.net.traffic(host)
    }

    /// Links that are up at both ends.
    #[must_use]
    pub fn links(&self) -> Vec<(HostId, HostId)> {
        self.net.links().collect()
    }

    /// Channels that exist in the network.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.net.channels()
    }

    /// Subscriptions that the producers and consumers of a host list.
    #[must_use]
    pub fn subscriptions(&self, host: HostId) -> usize {
        self.hosts[host.0].running.as_ref().map_or(0, |running| running.subscriptions.len())
    }

    /// Items that wait in the applications of a host's consumers.
    #[must_use]
    pub fn backlog(&self, host: HostId) -> usize {
        let running = self.hosts[host.0].running.as_ref();
        running.map_or(0, |r| r.consumers.values().map(ConsumerApp::backlog).sum())
    }

    /// Items that the producers of a host offered in this life of its process.
    #[must_use]
    pub fn offered(&self, host: HostId) -> u64 {
        let running = self.hosts[host.0].running.as_ref();
        running.map_or(0, |r| r.producers.values().map(ProducerApp::offered).sum())
    }

    /// True if a process runs on every honest host and stays.
    ///
    /// # Errors
    /// Where not.
    pub fn complete(&self) -> Result<(), String> {
        let honest = self.hosts.iter().filter(|host| host.hostile.is_none());
        let stays = |running: &Running| !running.leaving;
        match honest.into_iter().find(|host| !host.running.as_ref().is_some_and(stays)) {
            Some(host) => Err(format!("{} does not run, or is about to end", host.id)),
            None => Ok(()),
        }
    }

    /// True if everybody who runs sees exactly the others of its network.
    ///
    /// # Errors
    /// Who does not.
    pub fn converged(&self) -> Result<(), String> {
        let honest: BTreeSet<_> =
            self.hosts.iter().filter(|host| host.hostile.is_none()).map(|host| host.peer).collect();
        let mut views = Vec::new();
        for host in &self.hosts {
            let Some(running) = &host.running else { continue };
            views.push(View {
                peer: host.peer,
                network: host.spec.network,
                version: running.entry.signed().update_version(),
                // Whether a hostile peer is listed, and whom it made up, is nobody's promise.
                sees: seen(&running.view, |peer| honest.contains(peer)),
            });
        }
        catalog::check(&views)
    }

    /// As [`converged`](Self::converged), and the catalogs hold what was published, and there is
    /// one link per pair.
    ///
    /// # Errors
    /// What is not so.
    pub fn settled(&self) -> Result<(), String> {
        self.converged()?;
        for host in &self.hosts {
            let Some(running) = &host.running else { continue };
            let own = |peer: &PeerId| *peer == host.peer;
            let held: BTreeMap<_, _> = running
                .node
                .catalog()
                .peers()
                .map(|entry| (entry.id(), entry.update_version()))
                .filter(|(peer, _)| !own(peer))
                .collect();
            if held != running.view {
                return Err(format!("{}: the catalog is not what was published", host.id));
            }
        }
        let honest = |(a, b): &(HostId, HostId)| self.is_honest(*a) && self.is_honest(*b);
        links::check(self.net.links().filter(honest))
    }

    /// True if every consumer is connected with every producer of its stream.
    ///
    /// # Errors
    /// Who is not.
    pub fn subscribed(&self) -> Result<(), String> {
        self.pairs(|pair| {
            let owner = Owner::Consumer(pair.id);
            let all = &pair.running.subscriptions;
            let connected = all.iter().any(|((of, _), (peer, state))| {
                *of == owner && *peer == pair.peer && *state == State::Connected
            });
            if connected {
                return Ok(());
            }
            Err(format!("{:?} of {} is not connected with {}", pair.id, pair.host, pair.from))
        })
    }

    /// True if every consumer has everything that the producers of its stream offered, and
    /// consumed it.
    ///
    /// # Errors
    /// Who lacks what.
    pub fn delivered(&self) -> Result<(), String> {
        self.pairs(|pair| {
            let expected = (pair.app.start(), pair.app.offered());
            let got = self.checkers.order.next(pair.process, pair.id, &pair.peer);
            if !pair.app.is_done() || pair.app.offered() > 0 && got != Some(expected) {
                let (host, from, of) = (pair.host, pair.from, pair.app.spec.items);
                return Err(format!("{host} has {got:?} of {from}: {expected:?} of {of}"));
            }
            if pair.running.consumers.values().all(ConsumerApp::is_idle) {
                return Ok(());
            }
            Err(format!("{} still consumes", pair.host))
        })
    }

    /// How far the consumers of a host are with the items of another host, if they have any.
    #[must_use]
    pub fn got(&self, host: HostId, from: HostId) -> Option<u64> {
        let (process, peer) = (self.hosts[host.0].process(), self.peer(from));
        let running = self.hosts[host.0].running.as_ref()?;
        let next = |id: &ConsumerId| Some(self.checkers.order.next(process, *id, &peer)?.1);
        running.consumers.keys().find_map(next)
    }

    /// As [`got`](Self::got), of one stream.
    #[must_use]
    pub fn got_of(&self, host: HostId, from: HostId, stream: StreamId) -> Option<u64> {
        let (process, peer) = (self.hosts[host.0].process(), self.peer(from));
        let running = self.hosts[host.0].running.as_ref()?;
        let (id, _) = running.consumers.iter().find(|(_, app)| app.spec.stream == stream)?;
        Some(self.checkers.order.next(process, *id, &peer)?.1)
    }

    /// Looks at every consumer with every producer of its stream on other hosts.
    fn pairs(&self, look: impl Fn(Pair<'_>) -> Result<(), String>) -> Result<(), String> {
        let all = self.hosts.iter().filter_map(|host| Some((host, host.running.as_ref()?)));
        for (host, running) in all.clone() {
            let network = &host.spec.network;
            for (other, producing) in all.clone() {
                if other.id == host.id || other.spec.network != *network {
                    continue;
                }
                for (id, consumer) in &running.consumers {
                    for app in producing.producers.values() {
                        if app.spec.stream == consumer.spec.stream {
                            look(Pair {
                                host: host.id,
                                process: host.process(),
                                running,
                                id: *id,
                                from: other.id,
                                peer: other.peer,
                                app,
                            })?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs until [`converged`](Self::converged) holds, to the millisecond.
    ///
    /// # Errors
    /// What a checker found; [`Failure::Liveness`] at the limit.
    pub fn run_until_converged(&mut self, limit: Duration) -> Result<Instant, Failure> {
        self.poll(Duration::from_millis(1), Instant::ZERO + limit, Self::converged)
    }
}

fn seen(
    view: &BTreeMap<PeerId, PeerEntryVersion>,
    which: impl Fn(&PeerId) -> bool,
) -> BTreeMap<PeerId, PeerEntryVersion> {
    view.iter().filter(|(peer, _)| which(peer)).map(|(peer, version)| (*peer, *version)).collect()
}

/// A consumer and a producer that it should follow.
struct Pair<'a> {
    host: HostId,
    process: Process,
    running: &'a Running,
    id: ConsumerId,
    from: HostId,
    peer: PeerId,
    app: &'a ProducerApp,
}
