//! How links end: closed, reset, or silent for too long.

use std::time::Duration;

use mosaik_proto::{ids::LinkId, links::DownReason, node::Event, time::Instant, wire::CloseCode};

use super::{
    End, HostId, LinkKey, Net, Packet,
    link::{Link, State},
    path::CLOSE_COST,
};

impl Net {
    /// A process closes a link; it hears of that itself, as from the drivers.
    pub(crate) fn close_link(&mut self, now: Instant, host: HostId, id: LinkId, code: CloseCode) {
        let Some(&(key, end)) = self.by_link.get(&(host, id)) else { return };
        let Some(link) = self.links.get(&key) else { return };
        let (process, other) = (link.ends[end].process, link.ends[1 - end].process.host);
        self.tell(process, Event::LinkDown { link: id, reason: DownReason::Local(code) });
        self.charge(host, CLOSE_COST);
        let (delay, _) = self.loss(host, other, 1);
        let at = now + delay + self.flight(host, other);
        self.at(at, Packet::Close { link: key, to: 1 - end, code });
        self.drop_end(now, key, end);
    }

    pub(super) fn on_close(&mut self, now: Instant, key: LinkKey, to: End, code: CloseCode) {
        let Some((from, at)) = self.links.get(&key).map(Link::hosts) else { return };
        let (from, at) = if to == 1 { (from, at) } else { (at, from) };
        if !self.is_cut(from, at) {
            self.lose_end(now, key, to, DownReason::Closed(code));
        }
    }

    /// Breaks all links between two hosts at once, as a transport that lost its state.
    pub(crate) fn reset_links(&mut self, now: Instant, a: HostId, b: HostId) {
        let of_a: Vec<_> = self.by_link_of(a).collect();
        for (key, end) in of_a {
            if self.links[&key].ends[1 - end].process.host == b {
                self.lose_end(now, key, end, DownReason::Lost);
                let at = now + self.flight(a, b);
                self.at(at, Packet::Reset { link: key, to: 1 - end });
            }
        }
    }

    pub(super) fn on_reset(&mut self, now: Instant, key: LinkKey, to: End) {
        let Some((a, b)) = self.links.get(&key).map(Link::hosts) else { return };
        if !self.is_cut(a, b) && !self.is_cut(b, a) {
            self.lose_end(now, key, to, DownReason::Lost);
        }
    }

    /// An end hears nothing from now on; after the idle time it is down.
    pub(super) fn deafen(&mut self, now: Instant, link: LinkKey, end: End) {
        let token = self.number();
        let Some(state) = self.links.get_mut(&link) else { return };
        let this = &mut state.ends[end];
        if this.state == State::Down || this.deaf.is_some() {
            return;
        }
        this.deaf = Some(token);
        let keep_alive = self.options.keep_alive.as_nanos() as u64;
        let heard = Duration::from_nanos(self.rng.below(keep_alive + 1));
        let at = now + self.options.idle.saturating_sub(heard);
        self.at(at, Packet::Idle { link, end, token });
    }

    pub(super) fn on_idle(&mut self, now: Instant, key: LinkKey, end: End, token: u64) {
        if self.links.get(&key).is_some_and(|link| link.ends[end].deaf == Some(token)) {
            self.lose_end(now, key, end, DownReason::Timeout);
        }
    }

    /// The path to an end is mended: it hears again what was sent meanwhile, or that it is too
    /// late.
    pub(super) fn undeafen(&mut self, now: Instant, key: LinkKey, end: End) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let from = 1 - end;
        let held = std::mem::take(&mut link.held[from]);
        let (here, there) = (link.ends[end].process, link.ends[from].process);
        if link.ends[from].state == State::Down {
            // The other process has forgotten the link; if it still runs, its endpoint says so.
            if self.is_running(there) {
                let keep_alive = self.options.keep_alive.as_nanos() as u64;
                let wait = Duration::from_nanos(self.rng.below(keep_alive + 1));
                self.at(now + wait, Packet::Reset { link: key, to: end });
            }
            return;
        }
        link.ends[end].deaf = None;
        for packet in held {
            let at = now + self.flight(there.host, here.host) * 2;
            self.at(at, packet);
        }
    }

    /// An end goes down and its process is told.
    fn lose_end(&mut self, now: Instant, key: LinkKey, end: End, reason: DownReason) {
        let Some(this) = self.links.get(&key).map(|link| &link.ends[end]) else { return };
        let (process, link) = (this.process, this.id);
        let told = this.state == State::Up && self.is_running(process);
        self.drop_end(now, key, end);
        if told {
            self.tell(process, Event::LinkDown { link, reason });
        }
    }

    /// An end is gone; the other hears nothing any more.
    pub(super) fn drop_end(&mut self, now: Instant, key: LinkKey, end: End) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let this = &mut link.ends[end];
        this.state = State::Down;
        let host = this.process.host;
        self.by_link.remove(&(host, this.id));
        for channel in link.channels.values_mut() {
            if let Some(id) = channel.ids[end].take() {
                self.by_channel.remove(&(host, id));
            }
        }
        if link.ends[1 - end].state == State::Down {
            self.links.remove(&key);
        } else {
            self.deafen(now, key, 1 - end);
        }
    }
}
