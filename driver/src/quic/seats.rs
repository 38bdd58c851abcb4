//! Seats: who may have a handshake at the same time, in all and per source.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock},
};

use mosaik_proto::{
    links::{LinkLimits, Seat as Verdict},
    wire::CloseCode,
};

use crate::{sync::cell::lock, transport::Refused};

/// Where a handshake comes from: an IPv4 address, or the /64 of IPv6 that one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Origin {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// All handshakes of a transport. The rule is [`LinkLimits::seat`] (LINK-16).
#[derive(Default)]
pub(super) struct Seats {
    table: Mutex<Table>,
    told: OnceLock<Refused>,
}

#[derive(Debug, Default)]
struct Table {
    limits: LinkLimits,
    taken: usize,
    /// The seats of each source; no zeros.
    by_origin: BTreeMap<Origin, usize>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Busy,
    /// There may be one for a sender that proves its address.
    Unproved,
}

impl Seats {
    /// A seat for a sender at this address.
    pub(super) fn take(self: &Arc<Self>, ip: IpAddr, proved: bool) -> Result<Seat, Refusal> {
        let origin = Origin::from(ip);
        let mut table = lock(&self.table);
        let of_origin = table.by_origin.get(&origin).copied().unwrap_or(0);
        match table.limits.seat(table.taken, of_origin) {
            Verdict::Taken => return Err(Refusal::Busy),
            Verdict::Prove if !proved => return Err(Refusal::Unproved),
            Verdict::Prove | Verdict::Free => {}
        }
        table.taken += 1;
        table.by_origin.insert(origin, of_origin + 1);
        drop(table);
        Ok(Seat { origin, seats: self.clone() })
    }

    pub(super) fn limits(&self) -> LinkLimits {
        lock(&self.table).limits
    }

    /// Newcomers are held against these limits; who has a seat keeps it.
    pub(super) fn set_limits(&self, limits: LinkLimits) {
        lock(&self.table).limits = limits;
    }

    /// Whom to tell of refusals; the first one stays.
    pub(super) fn on_refused(&self, told: Refused) {
        let _ = self.told.set(told);
    }

    /// Somebody was refused, or did not make it.
    pub(super) fn tell(&self, code: CloseCode) {
        if let Some(told) = self.told.get() {
            told(code);
        }
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lock(&self.table).fmt(f)
    }
}

/// One of the bounded number of handshakes; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    origin: Origin,
    seats: Arc<Seats>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = lock(&self.seats.table);
        table.taken -= 1;
        let left = table.by_origin.get(&self.origin).map_or(0, |of_origin| of_origin - 1);
        if left == 0 {
            table.by_origin.remove(&self.origin);
        } else {
            table.by_origin.insert(self.origin, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LINK-16: a source that holds all it can get leaves seats for others, with their proof; and
    /// what it gives back is free again.
    #[test]
    fn link_16_seats_are_shared_by_source() {
        let seats = Arc::new(Seats::default());
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let all = |from: &str| {
            let mut taken = Vec::new();
            while let Ok(seat) = seats.take(ip(from), true) {
                taken.push(seat);
            }
            taken
        };
        let loud = all("2001:db8::1");
        assert_eq!(loud.len(), 256);
        assert_eq!(seats.take(ip("2001:db8::2"), true).err(), Some(Refusal::Busy), "the same /64");
        assert_eq!(seats.take(ip("127.0.0.1"), false).err(), Some(Refusal::Unproved));
        let other = seats.take(ip("::ffff:127.0.0.1"), true).expect("a seat");
        assert_eq!(all("127.0.0.1").len(), 127, "that one counts for the same source");
        seats.set_limits(LinkLimits { handshakes_per_ip: 2, ..LinkLimits::default() });
        drop(loud);
        drop(other);
        assert_eq!(all("9.9.9.9").len(), 2);
        let table = lock(&seats.table);
        assert_eq!((table.taken, table.by_origin.len()), (0, 0));
    }
}
