//! Handshakes: one and a half round trips, with retries, until a link is up at both ends.

use std::{net::SocketAddr, time::Duration};

use mosaik_proto::{
    PeerId,
    ids::{LinkId, Side},
    links::DialError,
    node::Event,
    time::Instant,
};

use super::{
    DialKey, HostId, Net, Packet, Process,
    link::{Link, LinkEnd, State},
    path::{DIALER_COST, INITIAL_COST, LISTENER_COST},
};

/// A handshake in progress.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) from: Process,
    peer: PeerId,
    to: Option<HostId>,
    started: Instant,
}

impl Net {
    /// A process dials a peer. Ends with `LinkUp` or `DialFailed`.
    pub(crate) fn dial(&mut self, now: Instant, from: Process, peer: PeerId, addrs: &[SocketAddr]) {
        if addrs.is_empty() {
            return self.tell(from, Event::DialFailed { peer, reason: DialError::NoAddress });
        }
        let myself = self.hosts[from.host.0].peer == peer;
        if myself || self.rng.chance(self.options.dial_failure_ppm) {
            return self.tell(from, Event::DialFailed { peer, reason: DialError::Transport });
        }
        // All addresses are tried at once; the peer's own wins if it answers.
        let hosts = || addrs.iter().filter_map(|addr| self.by_addr.get(addr)).copied();
        let running = |host: &HostId| self.hosts[host.0].boot.is_some();
        let to = hosts()
            .find(|host| running(host) && self.hosts[host.0].peer == peer)
            .or_else(|| hosts().find(running))
            .or_else(|| hosts().next());
        let dial = self.number();
        self.dials.insert(dial, Dial { from, peer, to, started: now });
        self.at(now + self.options.dial_timeout, Packet::GiveUp { dial });
        self.send_hello(now, dial, 0);
    }

    fn send_hello(&mut self, now: Instant, dial: DialKey, tries: u32) {
        let Some(&Dial { from, to, .. }) = self.dials.get(&dial) else { return };
        let Some(to) = to else { return };
        if tries > 0 {
            self.charge(from.host, INITIAL_COST);
        }
        if self.loses_flight() {
            let retry = now + Self::retry(tries);
            return self.at(retry, Packet::Hello { dial, tries: tries + 1 });
        }
        let at = now + self.flight(from.host, to);
        self.at(at, Packet::Hello { dial, tries });
    }

    pub(super) fn on_hello(&mut self, now: Instant, dial: DialKey, tries: u32) {
        let Some(&Dial { from, to, .. }) = self.dials.get(&dial) else { return };
        let Some(to) = to else { return };
        match self.hosts[to.0].boot {
            Some(boot) if !self.is_cut(from.host, to) => {
                self.send_answer(now, dial, Process { host: to, boot }, tries);
            }
            _ => {
                let tries = tries + 1;
                self.charge(from.host, INITIAL_COST);
                self.at(now + Self::retry(tries - 1), Packet::Hello { dial, tries });
            }
        }
    }

    fn send_answer(&mut self, now: Instant, dial: DialKey, listener: Process, tries: u32) {
        let Some(from) = self.dials.get(&dial).map(|dial| dial.from) else { return };
        let lost = self.loses_flight() || self.is_cut(listener.host, from.host);
        let (wait, tries) = if lost {
            self.charge(listener.host, INITIAL_COST);
            (Self::retry(tries), tries + 1)
        } else {
            (Duration::ZERO, tries)
        };
        let at = now + wait + self.flight(listener.host, from.host);
        self.at(at, Packet::Answer { dial, listener, tries });
    }

    pub(super) fn on_answer(&mut self, now: Instant, dial: DialKey, listener: Process, tries: u32) {
        let Some(&Dial { from, peer, started, .. }) = self.dials.get(&dial) else { return };
        if !self.is_running(listener) {
            return;
        }
        if self.is_cut(listener.host, from.host) {
            return self.send_answer(now, dial, listener, tries);
        }
        self.dials.remove(&dial);
        if self.hosts[listener.host.0].peer != peer {
            return self.tell(from, Event::DialFailed { peer, reason: DialError::WrongPeer });
        }
        self.charge(from.host, DIALER_COST);
        self.charge(listener.host, LISTENER_COST);
        let key = self.number();
        let ends = [
            LinkEnd::new(from, self.next_link(from.host), State::Up),
            LinkEnd::new(listener, self.next_link(listener.host), State::Pending),
        ];
        let rtt = now.since(started).min(self.round_trip(from.host, listener.host));
        for (end, LinkEnd { process, id, .. }) in ends.iter().enumerate() {
            self.by_link.insert((process.host, *id), (key, end));
            self.hosts[process.host.0].traffic.handshakes += 1;
        }
        let (link, side, binding) = (ends[0].id, Side::Dialer, Link::binding(key));
        self.tell(from, Event::LinkUp { link, peer, side, rtt, binding });
        self.links.insert(key, Link::new(ends, rtt));
        if self.is_cut(listener.host, from.host) {
            self.deafen(now, key, 0);
        }
        self.send_confirm(now, key, 0);
    }

    fn send_confirm(&mut self, now: Instant, link: u64, tries: u32) {
        let Some((from, to)) = self.links.get(&link).map(Link::hosts) else { return };
        let lost = self.loses_flight();
        let wait = if lost { Self::retry(tries) } else { Duration::ZERO };
        let at = now + wait + self.flight(from, to);
        self.at(at, Packet::Confirm { link, tries: tries + u32::from(lost) });
    }

    pub(super) fn on_confirm(&mut self, now: Instant, link: u64, tries: u32) {
        let Some((from, to)) = self.links.get(&link).map(Link::hosts) else { return };
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.ends[1].state != State::Pending || state.ends[0].state != State::Up {
            return;
        }
        if self.is_cut(from, to) {
            return self.at(now + Self::retry(tries), Packet::Confirm { link, tries: tries + 1 });
        }
        self.open_listener(now, link);
        self.at(now + Duration::from_secs(1), Packet::Measure { link });
    }

    /// The listener's end comes up, by the last flight or by data that overtook it.
    pub(super) fn open_listener(&mut self, now: Instant, key: u64) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.ends[1].state != State::Pending {
            return;
        }
        link.ends[1].state = State::Up;
        let (process, id, rtt) = (link.ends[1].process, link.ends[1].id, link.rtt);
        let (from, to) = link.hosts();
        let peer = self.hosts[from.0].peer;
        let (side, binding) = (Side::Listener, Link::binding(key));
        self.tell(process, Event::LinkUp { link: id, peer, side, rtt, binding });
        if self.is_cut(from, to) {
            self.deafen(now, key, 1);
        }
    }

    pub(super) fn on_give_up(&mut self, dial: DialKey) {
        if let Some(Dial { from, peer, .. }) = self.dials.remove(&dial) {
            self.tell(from, Event::DialFailed { peer, reason: DialError::Timeout });
        }
    }

    pub(super) fn on_measure(&mut self, now: Instant, link: u64) {
        let Some(state) = self.links.get(&link).filter(|link| link.is_up()) else { return };
        let ends = [0, 1].map(|end| (state.ends[end].process, state.ends[end].id));
        for (process, id) in ends {
            let rtt = self.round_trip(ends[0].0.host, ends[1].0.host);
            self.tell(process, Event::LinkRtt { link: id, rtt });
        }
        self.at(now + Duration::from_secs(30), Packet::Measure { link });
    }

    fn round_trip(&mut self, a: HostId, b: HostId) -> Duration {
        self.flight(a, b) + self.flight(b, a)
    }

    fn next_link(&mut self, host: HostId) -> LinkId {
        let next = &mut self.hosts[host.0].next_link;
        *next += 1;
        LinkId(*next)
    }
}
