//! Paths: latency, loss, cuts, and what bytes cost.

use std::time::Duration;

use mosaik_proto::time::Instant;

use super::{HostId, Net};

/// Payload of a full packet: 1,200 B of UDP with [`PACKET_COST`] for all headers.
const PACKET_PAYLOAD: usize = 1_163;
/// Headers of a packet: IP, UDP, QUIC, frame and tag.
const PACKET_COST: u64 = 65;
/// The acknowledgement of a packet that travels alone.
const ACK_COST: u64 = 63;
/// The share of one packet in the acknowledgements of bulk data.
const BULK_ACK_COST: u64 = 30;
/// What the dialler sends in a handshake without MTU discovery.
pub(super) const DIALER_COST: u64 = 2_766;
/// What the listener sends in a handshake.
pub(super) const LISTENER_COST: u64 = 1_522;
/// One padded packet of a handshake.
pub(super) const INITIAL_COST: u64 = 1_228;
/// A packet that closes a link or a channel.
pub(super) const CLOSE_COST: u64 = 90;
/// How long a receiver may sit on an acknowledgement; part of every probe timeout.
const ACK_DELAY: Duration = Duration::from_millis(25);
/// The first retry of a handshake, with an initial guess of 70 ms for the round trip.
const FIRST_RETRY: Duration = Duration::from_millis(210);
/// Doublings of a probe timeout.
const BACKOFF: u32 = 6;

impl Net {
    /// The one-way latency between two hosts, without jitter.
    pub(super) fn latency(&mut self, a: HostId, b: HostId) -> Duration {
        let pair = (a.min(b), a.max(b));
        if let Some(latency) = self.latencies.get(&pair) {
            return *latency;
        }
        let (min, max) = (*self.options.latency.start(), *self.options.latency.end());
        let spread = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX);
        let mut rng = self.seeds.fork(&format!("{} {}", pair.0, pair.1));
        let latency = min + Duration::from_nanos(rng.below(spread.saturating_add(1)));
        self.latencies.insert(pair, latency);
        latency
    }

    /// The latency of one packet.
    pub(super) fn flight(&mut self, a: HostId, b: HostId) -> Duration {
        let latency = self.latency(a, b);
        let most = latency.as_nanos() as u64 * u64::from(self.options.jitter_percent) / 100;
        latency + Duration::from_nanos(self.rng.below(most + 1))
    }

    /// How much later the last of `packets` arrives because some are lost, and how many were
    /// sent again.
    pub(super) fn loss(&mut self, a: HostId, b: HostId, packets: u64) -> (Duration, u64) {
        if self.options.loss_ppm == 0 {
            return (Duration::ZERO, 0);
        }
        let timeout = self.latency(a, b) * 3 + ACK_DELAY;
        let (mut missing, mut again, mut delay) = (packets, 0, Duration::ZERO);
        for round in 0..=BACKOFF {
            missing =
                (0..missing).filter(|_| self.rng.chance(self.options.loss_ppm)).count() as u64;
            if missing == 0 {
                break;
            }
            again += missing;
            delay += timeout * (1 << round);
        }
        (delay, again)
    }

    /// When the n-th attempt at a flight of a handshake is repeated.
    pub(super) fn retry(tries: u32) -> Duration {
        FIRST_RETRY * (1 << tries.min(BACKOFF))
    }

    /// True if this flight of a handshake is lost.
    pub(super) fn loses_flight(&mut self) -> bool {
        self.options.loss_ppm > 0 && self.rng.chance(self.options.loss_ppm)
    }

    /// Puts `payload` bytes on the uplink of `from`; returns when the last has left and how many
    /// packets it took.
    pub(super) fn send(&mut self, now: Instant, from: HostId, payload: usize) -> (Instant, u64) {
        let packets = (payload.div_ceil(PACKET_PAYLOAD) as u64).max(1);
        let wire = payload as u64 + packets * PACKET_COST;
        let uplink = self.options.uplink.max(1);
        let host = &mut self.hosts[from.0];
        host.traffic.wire += wire;
        host.traffic.payload += payload as u64;
        host.traffic.packets += packets;
        let nanos = u128::from(wire) * 1_000_000_000 / u128::from(uplink);
        host.busy =
            host.busy.max(now) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        (host.busy, packets)
    }

    /// Charges the receiver for its acknowledgements.
    pub(super) fn charge_acks(&mut self, from: HostId, packets: u64) {
        let cost = if packets == 1 { ACK_COST } else { packets * BULK_ACK_COST };
        self.charge(from, cost);
    }

    /// Charges the sender for packets that it sent again.
    pub(super) fn charge_again(&mut self, from: HostId, packets: u64, payload: usize) {
        let each = (payload as u64).min(PACKET_PAYLOAD as u64) + PACKET_COST;
        self.charge(from, packets * each);
        self.hosts[from.0].traffic.packets += packets;
    }

    /// Charges a host for bytes that carry no payload.
    pub(super) fn charge(&mut self, from: HostId, bytes: u64) {
        self.hosts[from.0].traffic.wire += bytes;
    }

    /// True if nothing gets from `from` to `to` at the moment.
    pub(crate) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Cuts the path from `from` to `to`. Cuts add up.
    pub(crate) fn cut(&mut self, now: Instant, from: HostId, to: HostId) {
        let cuts = self.cuts.entry((from, to)).or_insert(0);
        *cuts += 1;
        if *cuts == 1 {
            for (key, end) in self.ends_at(to, from) {
                self.deafen(now, key, end);
            }
        }
    }

    /// Takes one cut back.
    pub(crate) fn mend(&mut self, now: Instant, from: HostId, to: HostId) {
        let Some(cuts) = self.cuts.get_mut(&(from, to)) else { return };
        *cuts -= 1;
        if *cuts == 0 {
            self.cuts.remove(&(from, to));
            for (key, end) in self.ends_at(to, from) {
                self.undeafen(now, key, end);
            }
        }
    }

    /// Takes all cuts back.
    pub(crate) fn mend_all(&mut self, now: Instant) {
        for ((from, to), cuts) in self.cuts.clone() {
            for _ in 0..cuts {
                self.mend(now, from, to);
            }
        }
    }

    /// The link ends at `at` whose other end is at `other`.
    fn ends_at(&self, at: HostId, other: HostId) -> Vec<(u64, usize)> {
        let ends = self.by_link_of(at);
        ends.filter(|(key, end)| self.links[key].ends[1 - end].process.host == other).collect()
    }
}
