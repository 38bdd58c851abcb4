//! Both ends of a subscription tell the same story, and nobody is cut off or robbed for nothing.
//!
//! - A gap that a consumer reports was reported by its producer, to the item.
//! - What a producer reports as missing had left its tail.
//! - A consumer that says it is connected was counted by its producer before (STR-04), and gets
//!   everything that was offered since.
//! - Nobody is cut off as too slow who was sent something within the lag timeout (STR-08).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mosaik_proto::{
    PeerId,
    discovery::PeerEntry,
    ids::{ChannelId, ConsumerId, ProducerId, StreamId, SubscriptionId},
    streams::{ProducerConfig, item::Items},
    time::Instant,
};

use super::{Place, order::Arrived, short};
use crate::net::{HostId, Process};

/// The kind of a frame of items, which is the first byte of its head.
const ITEMS: u8 = 4;

/// A producer by what stands in its items: its peer ([`short`]) and its start.
type Key = (u64, u64);

#[derive(Debug)]
struct Offers {
    stream: StreamId,
    tail: (u64, u64),
    /// The number of the first item of each batch, and the bytes before it.
    batches: Vec<(u64, u64)>,
    next: u64,
    bytes: u64,
    /// How far it was when each consumer was counted last.
    edges: BTreeMap<PeerId, u64>,
    gaps: BTreeSet<(PeerId, u64, u64)>,
}

/// The checker.
#[derive(Debug, Default)]
pub struct Ends {
    peers: BTreeMap<HostId, PeerId>,
    offers: BTreeMap<Key, Offers>,
    consumers: BTreeMap<(Process, ConsumerId), StreamId>,
    /// Whom the subscriptions of producers serve.
    serves: BTreeMap<(Process, SubscriptionId), PeerId>,
    /// Whom the subscriptions of consumers follow.
    follows: BTreeMap<Place, PeerId>,
    /// Who has had an item of which start.
    begun: BTreeSet<(Process, ConsumerId, Key)>,
    /// When items were written last, per channel.
    written: BTreeMap<(Process, ChannelId), Instant>,
    lag: BTreeMap<Process, Duration>,
    cut_off: u64,
    /// Items do not say the id of their producer: then only cut-offs are judged.
    pub anonymous: bool,
}

impl Ends {
    /// How often a consumer was cut off as too slow.
    #[must_use]
    pub const fn cut_off(&self) -> u64 {
        self.cut_off
    }

    /// Items that producers reported as missing, each report counted.
    #[must_use]
    pub fn reported(&self) -> u64 {
        let gaps = self.offers.values().flat_map(|offers| &offers.gaps);
        gaps.map(|(_, first, last)| last - first + 1).sum()
    }

    /// A process signed its entry.
    pub fn signed(&mut self, process: Process, entry: &PeerEntry) {
        self.peers.insert(process.host, entry.id());
    }

    /// True if a node of this world signed as this peer.
    #[must_use]
    pub fn knows(&self, peer: PeerId) -> bool {
        self.peers.values().any(|known| *known == peer)
    }

    /// A consumer was opened.
    pub fn consumer(&mut self, process: Process, consumer: ConsumerId, stream: StreamId) {
        self.consumers.insert((process, consumer), stream);
    }

    /// A producer was opened.
    pub fn producer(&mut self, process: Process, producer: ProducerId, config: &ProducerConfig) {
        let lag = self.lag.entry(process).or_insert(config.lag_timeout);
        *lag = (*lag).min(config.lag_timeout);
        let Some(key) = self.key(process, producer) else { return };
        let offers = Offers {
            stream: config.stream,
            tail: (config.tail_items, config.tail_bytes),
            batches: Vec::new(),
            next: 0,
            bytes: 0,
            edges: BTreeMap::new(),
            gaps: BTreeSet::new(),
        };
        self.offers.insert(key, offers);
    }

    /// A producer is offered a batch.
    pub fn offered(&mut self, process: Process, producer: ProducerId, data: &bytes::Bytes) {
        let Some(offers) = self.of(process, producer) else { return };
        offers.batches.push((offers.next, offers.bytes));
        for item in Items::new(data.clone()).flatten() {
            offers.next += 1;
            offers.bytes += item.len() as u64;
        }
    }

    /// A producer lists a consumer.
    pub fn serves(
        &mut self,
        process: Process,
        producer: ProducerId,
        subscription: SubscriptionId,
        peer: PeerId,
    ) {
        if self.serves.insert((process, subscription), peer).is_none()
            && let Some(offers) = self.of(process, producer)
        {
            let next = offers.next;
            offers.edges.insert(peer, next);
        }
    }

    /// A consumer lists a producer as connected.
    ///
    /// # Errors
    /// If no producer of that peer has counted it.
    pub fn connected(&mut self, place: Place, peer: PeerId) -> Result<(), String> {
        self.follows.insert(place, peer);
        let Some(me) = self.peers.get(&place.process.host) else { return Ok(()) };
        if self.anonymous || !self.knows(peer) {
            return Ok(());
        }
        if self.of_place(place).any(|offers| offers.edges.contains_key(me)) {
            return Ok(());
        }
        Err(format!("{place:?} is connected with {peer:?}, which did not count it (STR-04)"))
    }

    /// A producer reports items as missing.
    ///
    /// # Errors
    /// If its tail still held them.
    pub fn dropped(
        &mut self,
        process: Process,
        producer: ProducerId,
        subscription: SubscriptionId,
        (first, last): (u64, u64),
    ) -> Result<(), String> {
        let Some(peer) = self.serves.get(&(process, subscription)).copied() else {
            return Err(format!("{process:?} {subscription:?}: a gap for nobody"));
        };
        let anonymous = self.anonymous;
        let Some(offers) = self.of(process, producer) else { return Ok(()) };
        offers.gaps.insert((peer, first, last));
        let at = offers.batches.partition_point(|(number, _)| *number <= last);
        let (number, before) = at.checked_sub(1).map_or((0, 0), |at| offers.batches[at]);
        let (items, bytes) = offers.tail;
        if anonymous || offers.next - number > items || offers.bytes - before > bytes {
            return Ok(());
        }
        Err(format!("{process:?} {producer:?}: {first}..={last} missing, but the tail has it"))
    }

    /// A consumer reports items as missing.
    ///
    /// # Errors
    /// If its producer did not report the same.
    pub fn missed(&self, place: Place, first: u64, last: u64) -> Result<(), String> {
        let Some(me) = self.peers.get(&place.process.host) else { return Ok(()) };
        let gap = (*me, first, last);
        if self.anonymous || self.of_place(place).any(|offers| offers.gaps.contains(&gap)) {
            return Ok(());
        }
        Err(format!("{place:?}: {first}..={last} missing, which its producer does not say"))
    }

    /// Items reach a consumer.
    ///
    /// # Errors
    /// If they are the first of their producer and something behind its edge is missing.
    pub fn delivered(&mut self, place: Place, items: &[Arrived]) -> Result<(), String> {
        let Some(first) = items.first().map(|item| item.stamp) else { return Ok(()) };
        let key = (first.peer, first.start);
        if self.anonymous || !self.begun.insert((place.process, place.consumer, key)) {
            return Ok(());
        }
        let Some(me) = self.peers.get(&place.process.host) else { return Ok(()) };
        let Some(offers) = self.offers.get(&key) else { return Ok(()) };
        let edge = offers.edges.get(me).copied().unwrap_or_default();
        let reported =
            offers.gaps.iter().any(|(peer, _, last)| peer == me && last + 1 == first.number);
        if first.number <= edge || reported {
            return Ok(());
        }
        Err(format!("{place:?}: counted at {edge}, but {} comes first", first.number))
    }

    /// A process writes to a channel.
    pub fn wrote(&mut self, now: Instant, process: Process, channel: ChannelId, head: &[u8]) {
        if head.first() == Some(&ITEMS) {
            self.written.insert((process, channel), now);
        }
    }

    /// A process cuts a consumer off as too slow.
    ///
    /// # Errors
    /// If it was sent something a short time ago.
    pub fn too_slow(
        &mut self,
        now: Instant,
        process: Process,
        channel: ChannelId,
    ) -> Result<(), String> {
        self.cut_off += 1;
        let lag = self.lag.get(&process).copied().unwrap_or_default();
        // Clocks may run a little too fast.
        let least = lag - lag / 100;
        match self.written.remove(&(process, channel)) {
            Some(at) if now.since(at) < least => Err(format!(
                "{process:?} {channel:?}: too slow, but sent items {:?} ago",
                now.since(at)
            )),
            _ => Ok(()),
        }
    }

    fn key(&self, process: Process, producer: ProducerId) -> Option<Key> {
        Some((short(self.peers.get(&process.host)?), producer.0))
    }

    fn of(&mut self, process: Process, producer: ProducerId) -> Option<&mut Offers> {
        let key = self.key(process, producer)?;
        self.offers.get_mut(&key)
    }

    /// The producers, of all starts, that a subscription of a consumer can be about.
    fn of_place(&self, place: Place) -> impl Iterator<Item = &Offers> {
        let peer = self.follows.get(&place).map(short).unwrap_or_default();
        let stream = self.consumers.get(&(place.process, place.consumer)).copied();
        let all = self.offers.range((peer, 0)..=(peer, u64::MAX));
        all.map(|(_, offers)| offers).filter(move |offers| Some(offers.stream) == stream)
    }
}
