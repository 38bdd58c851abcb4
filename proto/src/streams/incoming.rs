//! One producer that a local consumer follows: its numbering, and the credit we give it.

use super::{
    ConsumerConfig, Terms,
    frames::{Accept, Credit, Position, Subscribe},
};
use crate::{
    discovery::PeerEntry,
    ids::{ChannelId, SubscriptionId},
    limits,
    mutant::{self, Mutant},
    wire::FrameReader,
};

/// How far the subscription is.
#[derive(Debug)]
pub(super) enum Phase {
    /// There is no link to the peer; links are asked for one.
    Unlinked,
    /// Refused or cut off; tried again when the timer fires, or at once when an entry changes.
    Waiting,
    /// Asked; the answer must come by the deadline.
    Subscribing(ChannelId, FrameReader),
    /// Items flow.
    Active(ChannelId, FrameReader),
}

/// The producer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

/// STR-06: with this much of the byte window free, one item of any size may be sent. Not more than
/// half, because what the application took is reported a quarter of a window late.
pub(super) const fn half(window: u64) -> u64 {
    window.div_ceil(2)
}

/// What arrived with an accept or a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The first and last sequence number that are missing.
    pub(super) gap: Option<(u64, u64)>,
    /// The producer began anew.
    pub(super) restarted: bool,
}

/// One followed producer. Lives across reconnects; its credit is counted per channel.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) subscription: SubscriptionId,
    pub(super) entry: PeerEntry,
    pub(super) phase: Phase,
    /// Shown to the application; a refused subscription is not.
    pub(super) listed: bool,
    /// Failed attempts since items flowed last.
    pub(super) failures: u32,
    /// What the last ACCEPT said.
    pub(super) terms: Option<Terms>,
    position: Option<Position>,
    window: Credit,
    /// Delivered to, and taken by, the application since the subscription began.
    pub(super) delivered: Credit,
    consumed: Credit,
    /// Received and granted on the present channel.
    received: Credit,
    granted: Credit,
    /// Bytes of grants that the transport has not taken.
    debt: u64,
}

impl Incoming {
    pub(super) fn new(
        subscription: SubscriptionId,
        entry: PeerEntry,
        window: Credit,
        position: Option<Position>,
    ) -> Self {
        Self {
            subscription,
            entry,
            phase: Phase::Unlinked,
            listed: false,
            failures: 0,
            terms: None,
            position,
            window,
            delivered: Credit::default(),
            consumed: Credit::default(),
            received: Credit::default(),
            granted: Credit::default(),
            debt: 0,
        }
    }

    /// Counts a frame into what the transport has not taken.
    pub(super) const fn owe(&mut self, bytes: usize) {
        self.debt += bytes as u64;
    }

    /// The transport took bytes.
    pub(super) fn drained(&mut self, bytes: u32) {
        self.debt = self.debt.saturating_sub(u64::from(bytes));
    }

    /// The channel in use.
    pub(super) const fn channel(&self) -> Option<ChannelId> {
        match self.phase {
            Phase::Subscribing(channel, _) | Phase::Active(channel, _) => Some(channel),
            Phase::Unlinked | Phase::Waiting => None,
        }
    }

    /// Where the producer's items have been received up to, if any were.
    pub(super) const fn position(&self) -> Option<Position> {
        self.position
    }

    /// True if there is enough free window to be worth a subscription: one that can take nothing
    /// would only be cut off again (STR-10).
    pub(super) fn can_take(&self) -> bool {
        let free = |window: u64, delivered: u64, consumed: u64| {
            window.saturating_sub(delivered - consumed) >= window.div_ceil(4)
        };
        free(self.window.items, self.delivered.items, self.consumed.items)
            && free(self.window.bytes, self.delivered.bytes, self.consumed.bytes)
    }

    pub(super) const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active(..))
    }

    /// Begins a channel: credit starts again with what the application left free.
    pub(super) fn subscribe(&mut self, config: &ConsumerConfig) -> Subscribe {
        self.received = Credit::default();
        self.debt = 0;
        self.granted = self.grantable();
        let (window, mut grant, resume) = (self.window, self.granted, self.position);
        if mutant::on(Mutant::CreditLostOnReconnect) && resume.is_some() {
            grant = Credit::default();
        }
        let ConsumerConfig { stream, criteria, replay, .. } = *config;
        Subscribe { stream, criteria, window, grant, resume, replay: replay.items() }
    }

    /// STR-09: the producer says where it starts. Forward of what we have is a gap; backward would
    /// be a duplicate.
    pub(super) fn accepted(&mut self, accept: Accept) -> Result<Arrival, Violation> {
        let Accept { start, kind } = accept;
        let arrival = match self.position {
            Some(at)
                if at.incarnation != start.incarnation
                    && !mutant::on(Mutant::IncarnationIgnored) =>
            {
                Arrival { restarted: true, gap: None }
            }
            Some(at) if start.next < at.next => return Err(Violation),
            Some(at) if start.next > at.next => {
                Arrival { gap: Some((at.next, start.next - 1)), restarted: false }
            }
            _ => Arrival::default(),
        };
        self.position = Some(start);
        self.terms = Some(Terms { kind, first: start.next, before: 0 });
        self.failures = 0;
        Ok(arrival)
    }

    /// STR-05, STR-06, STR-09: a batch must be within the credit and continue the numbering.
    pub(super) fn receive(
        &mut self,
        first: u64,
        items: u32,
        payload: u64,
    ) -> Result<Arrival, Violation> {
        let position = self.position.as_mut().ok_or(Violation)?;
        let received = Credit {
            items: self.received.items + u64::from(items),
            bytes: self.received.bytes + payload,
        };
        let free = self.granted.bytes.saturating_sub(self.received.bytes);
        let alone =
            items == 1 && free >= half(self.window.bytes) || mutant::on(Mutant::CreditIgnoresBytes);
        let within =
            received.items <= self.granted.items && (received.bytes <= self.granted.bytes || alone);
        let next = first.checked_add(u64::from(items)).ok_or(Violation)?;
        if !within || items == 0 || first < position.next {
            return Err(Violation);
        }
        let gap = (first > position.next).then(|| (position.next, first - 1));
        position.next = next;
        self.received = received;
        self.delivered.items += u64::from(items);
        self.delivered.bytes += payload;
        Ok(Arrival { gap, restarted: false })
    }

    /// The application took items: running totals.
    pub(super) fn consumed(&mut self, total: Credit) {
        self.consumed = Credit {
            items: total.items.clamp(self.consumed.items, self.delivered.items),
            bytes: total.bytes.clamp(self.consumed.bytes, self.delivered.bytes),
        };
    }

    /// The new grant when it is worth a frame.
    pub(super) fn regrant(&mut self) -> Option<Credit> {
        let grant = self.grantable();
        let gain = Credit {
            items: grant.items.saturating_sub(self.granted.items),
            bytes: grant.bytes.saturating_sub(self.granted.bytes),
        };
        let left = Credit {
            items: self.granted.items.saturating_sub(self.received.items),
            bytes: self.granted.bytes.saturating_sub(self.received.bytes),
        };
        // A quarter of the window is worth a frame; to a producer that may be waiting, anything
        // is: a slow but steady consumer must not look like one that stands still.
        let quarter = |of: u64| of.div_ceil(4);
        let waiting =
            left.items < quarter(self.window.items) || left.bytes < quarter(self.window.bytes);
        let worth = gain.items >= quarter(self.window.items)
            || gain.bytes >= quarter(self.window.bytes)
            || waiting && gain != Credit::default();
        // STR-16: grants replace each other, so a peer that does not read them gets no more.
        if !worth || !self.is_active() || self.debt >= limits::CREDIT_DEBT {
            return None;
        }
        self.granted = Credit {
            items: grant.items.max(self.granted.items),
            bytes: grant.bytes.max(self.granted.bytes),
        };
        Some(self.granted)
    }

    /// What may be received on this channel in all, if the application takes nothing more.
    fn grantable(&self) -> Credit {
        let waiting = Credit {
            items: self.delivered.items - self.consumed.items,
            bytes: self.delivered.bytes - self.consumed.bytes,
        };
        Credit {
            items: self.received.items + self.window.items.saturating_sub(waiting.items),
            bytes: self.received.bytes + self.window.bytes.saturating_sub(waiting.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::SecretKey,
        discovery::LocalEntry,
        ids::{NetworkId, StreamId},
        streams::StreamKind,
        time::UnixMillis,
    };

    fn accept(incarnation: u64, next: u64) -> Accept {
        Accept { start: Position { incarnation, next }, kind: StreamKind::Lossless }
    }

    fn incoming() -> Incoming {
        let key = SecretKey::from_bytes(&[1; 32]);
        let entry = LocalEntry::new(NetworkId::zero(), key, UnixMillis(1)).signed().entry().clone();
        let mut incoming =
            Incoming::new(SubscriptionId(1), entry, Credit { items: 8, bytes: 100 }, None);
        incoming.subscribe(&ConsumerConfig::new(StreamId::zero()));
        incoming.phase = Phase::Active(ChannelId(1), FrameReader::new());
        incoming.accepted(accept(5, 10)).unwrap();
        incoming
    }

    fn take(incoming: &mut Incoming, total: Credit) -> Option<Credit> {
        incoming.consumed(total);
        incoming.regrant()
    }

    #[test]
    fn str_16_grants_that_nobody_reads_are_bounded() {
        let mut incoming = incoming();
        incoming.receive(10, 8, 80).unwrap();
        incoming.owe(limits::CREDIT_DEBT as usize);
        assert_eq!(take(&mut incoming, Credit { items: 4, bytes: 40 }), None, "it has to wait");
        incoming.drained(limits::DRAIN_REPORT as u32);
        assert_eq!(incoming.regrant(), Some(Credit { items: 12, bytes: 140 }));
    }

    #[test]
    fn str_05_credit_is_counted_in_items_and_bytes() {
        assert!(incoming().receive(10, 8, 100).is_ok());
        assert_eq!(incoming().receive(10, 9, 10), Err(Violation));
        assert_eq!(incoming().receive(10, 2, 101), Err(Violation));
        assert_eq!(incoming().receive(10, 0, 0), Err(Violation));
        assert_eq!(incoming().receive(u64::MAX, 2, 1), Err(Violation));
    }

    #[test]
    fn str_06_one_large_item_may_use_a_free_window() {
        let mut incoming = incoming();
        assert!(incoming.receive(10, 1, 5_000).is_ok());
        assert_eq!(incoming.receive(11, 1, 1), Err(Violation), "nothing more until it is taken");
        assert_eq!(
            take(&mut incoming, Credit { items: 1, bytes: 5_000 }),
            Some(Credit { items: 9, bytes: 5_100 })
        );
        assert!(incoming.receive(11, 1, 100).is_ok());
    }

    #[test]
    fn str_09_gaps_are_exact_and_duplicates_refused() {
        let mut incoming = incoming();
        assert_eq!(incoming.receive(12, 1, 1).unwrap().gap, Some((10, 11)));
        assert_eq!(incoming.receive(12, 1, 1), Err(Violation));
        let again = incoming.accepted(accept(5, 20)).unwrap();
        assert_eq!(again.gap, Some((13, 19)));
        assert_eq!(incoming.accepted(accept(5, 19)), Err(Violation));
        assert!(incoming.accepted(accept(6, 0)).unwrap().restarted);
    }

    #[test]
    fn a_new_channel_grants_what_the_application_left_free() {
        let mut incoming = incoming();
        incoming.receive(10, 6, 60).unwrap();
        let subscribe = incoming.subscribe(&ConsumerConfig::new(StreamId::zero()));
        assert_eq!(subscribe.grant, Credit { items: 2, bytes: 40 });
        assert_eq!(subscribe.resume, Some(Position { incarnation: 5, next: 16 }));
        assert_eq!(
            take(&mut incoming, Credit { items: 99, bytes: 99 }),
            Some(Credit { items: 8, bytes: 100 }),
            "a host cannot take more than was delivered"
        );
    }
}
