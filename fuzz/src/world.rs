//! A whole node, and a driver that plays its part correctly: it keeps to what the seam promises,
//! and holds the node to what that promises.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mosaik_proto::{
    Core as _, Outbox,
    discovery::{Config as Discovery, LocalEntry},
    ids::{ChannelId, ConsumerId, LinkId, ProducerId, Side, SubscriptionId},
    limits,
    node::{Action, Config, Event, Node},
    streams::{Change, ConsumerConfig, Delivery, ProducerConfig, Replay, StreamKind, item},
    time::{Instant, Now, UnixMillis},
    wire::{Head, Protocol, decode, decode_first},
};

use super::{
    input::Input,
    peers::{self, ME, WALL, network, peer, stream},
    recipe::{self, Heard},
};

/// Small windows, so that they are reached.
const WINDOW_ITEMS: u64 = 64;
const WINDOW_BYTES: u64 = 16 * 1024;
/// Bytes that may be written to a channel above its debt: one frame of discovery, or of a stream
/// the largest item of a run, with answers and hellos that nobody counts.
const FRAME: u64 = 512 * 1024;
/// Actions of one step, at most: generous, but not what a loop would make.
const ACTIONS: usize = 20_000;
/// Times that a driver may be told in a row that something is due already.
const SPINS: usize = 64;

/// What one end holds of a subscription of ours.
#[derive(Debug, Default)]
pub struct Taken {
    consumer: Option<ConsumerId>,
    next: u64,
    delivered: (u64, u64),
    consumed: (u64, u64),
}

pub struct World {
    node: Node,
    out: Outbox<Action>,
    pub now: Now,
    local: LocalEntry,
    raises: u8,
    pub heard: Heard,
    /// Links that are up, and whose.
    pub links: BTreeMap<LinkId, usize>,
    /// Open channels: their link, and the bytes that the transport still has.
    pub channels: BTreeMap<ChannelId, (LinkId, u64)>,
    /// Channels that the node opened for streams, open ones and others.
    pub subscriptions: Vec<ChannelId>,
    admitted: BTreeSet<mosaik_proto::PeerId>,
    /// What each producer may be offered, and was.
    pub producers: BTreeMap<ProducerId, [(u64, u64); 2]>,
    pub consumers: BTreeSet<ConsumerId>,
    taken: BTreeMap<SubscriptionId, Taken>,
    ids: u64,
}

impl World {
    pub fn new() -> Self {
        let now = Now { mono: Instant::ZERO, wall: UnixMillis(WALL) };
        let config = Config {
            discovery: Discovery { bootstrap: vec![peer(1).address()], ..Discovery::default() },
        };
        let mut world = Self {
            node: Node::new(config, network(), peer(ME).id, [1; 32], now),
            out: Outbox::new(),
            now,
            local: peers::me(),
            raises: 0,
            heard: Heard::default(),
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            subscriptions: Vec::new(),
            admitted: BTreeSet::new(),
            producers: BTreeMap::new(),
            consumers: BTreeSet::new(),
            taken: BTreeMap::new(),
            ids: 0,
        };
        world.step(Event::LocalEntry(world.local.signed().clone()));
        world
    }

    /// A number that was not given out before.
    pub const fn fresh(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// A link to a peer that went through its hello, dialled by the peer: link and control channel.
    pub fn admitted(&mut self, who: usize, version: usize) -> (LinkId, ChannelId) {
        let (link, control) = (self.link_up(who, Side::Listener), ChannelId::driver(self.fresh()));
        self.step(Event::ChannelUp { link, channel: control });
        let mut bytes = vec![Protocol::Control as u8];
        bytes.extend(recipe::hello(&mut Input::new(&[0, 0, version as u8]), who));
        bytes.extend([2, 0, 0, 0, 0]);
        self.step(Event::Data { channel: control, chunk: bytes.into() });
        assert!(self.node.paths().get(&peer(who).id).is_some(), "an honest hello is accepted");
        (link, control)
    }

    pub fn link_up(&mut self, who: usize, side: Side) -> LinkId {
        let link = LinkId(self.fresh());
        let (peer, rtt) = (peer(who).id, Duration::from_millis(3));
        self.step(Event::LinkUp { link, peer, side, rtt, binding: [link.0 as u8; 32] });
        link
    }

    /// A stream channel that the other end of the link opens.
    pub fn stream_channel(&mut self, link: LinkId) -> ChannelId {
        let channel = ChannelId::driver(self.fresh());
        self.step(Event::ChannelUp { link, channel });
        self.step(Event::Data { channel, chunk: Bytes::from_static(&[Protocol::Stream as u8]) });
        channel
    }

    pub fn open_producer(&mut self, max_consumers: usize) {
        let number = self.fresh();
        let producer = ProducerId(number);
        let mut config = ProducerConfig::new(stream());
        // All kinds of them, without a byte of input.
        config.kind = if number % 3 == 1 { StreamKind::Lossy } else { StreamKind::Lossless };
        config.undelivered = number.is_multiple_of(2);
        (config.tail_items, config.tail_bytes) = (2 * WINDOW_ITEMS, 2 * WINDOW_BYTES);
        config.max_consumers = max_consumers;
        self.producers.insert(producer, [(0, 0); 2]);
        self.step(Event::OpenProducer { producer, config });
    }

    pub fn open_consumer(&mut self) {
        let number = self.fresh();
        let consumer = ConsumerId(number);
        let mut config = ConsumerConfig::new(stream());
        config.replay = [Replay::Live, Replay::Last(10), Replay::Tail][number as usize % 3];
        (config.window_items, config.window_bytes) = (WINDOW_ITEMS, WINDOW_BYTES);
        self.consumers.insert(consumer);
        self.step(Event::OpenConsumer { consumer, config });
    }

    /// Offers items to one of the producers if its window is open.
    pub fn offer(&mut self, at: usize, items: u32, size: usize) {
        let at = at % self.producers.len().max(1);
        let found = self.producers.iter_mut().nth(at);
        let Some((producer, [window, offered])) = found else { return };
        // What the window has room for; a larger item goes alone.
        let room = window.1.saturating_sub(offered.1) / (size as u64).max(1);
        let items = u64::from(items).min(window.0.saturating_sub(offered.0));
        let items = items.min(room.max(1)) as u32;
        if items == 0 || offered.1 >= window.1 {
            return;
        }
        let payload = u64::from(items) * size as u64;
        *offered = (offered.0 + u64::from(items), offered.1 + payload);
        let (producer, data) = (*producer, recipe::batch(items, size).into());
        self.step(Event::Offer { producer, items, payload, data });
    }

    /// The application takes some of what waits for it.
    pub fn consume(&mut self, at: usize, all: bool) {
        let at = at % self.taken.len().max(1);
        let found = self.taken.iter_mut().nth(at);
        let Some((subscription, Taken { consumer: Some(consumer), delivered, consumed, .. })) =
            found
        else {
            return;
        };
        *consumed = if all {
            *delivered
        } else {
            (consumed.0.midpoint(delivered.0), consumed.1.midpoint(delivered.1))
        };
        let (subscription, consumer, (items, bytes)) = (*subscription, *consumer, *consumed);
        self.step(Event::Consumed { consumer, subscription, items, bytes });
    }

    /// The transport takes what it was given.
    pub fn drain(&mut self, channel: ChannelId) {
        if let Some((_, debt)) = self.channels.get_mut(&channel) {
            let bytes = core::mem::take(debt) as u32;
            self.step(Event::Drained { channel, bytes });
        }
    }

    pub fn advance(&mut self, by: Duration) {
        self.now.mono = self.now.mono + by;
        self.now.wall.0 += by.as_millis() as u64;
        self.step(Event::Timeout);
    }

    /// The entry of the node itself, signed anew.
    pub fn raise(&mut self, above: mosaik_proto::discovery::PeerEntryVersion) {
        self.local.raise(self.now.wall, above);
        self.step(Event::LocalEntry(self.local.signed().clone()));
    }

    pub fn depart(&self) -> mosaik_proto::discovery::Tombstone {
        self.local.depart(self.now.wall)
    }

    /// One step; afterwards everything that is promised of it holds.
    pub fn step(&mut self, event: Event) {
        self.before(&event);
        let due = matches!(event, Event::Timeout);
        self.node.handle(self.now, event, &mut self.out);
        let mut raise = self.act();
        let mut spins = 0;
        while due && self.node.deadline().is_some_and(|at| at <= self.now.mono) {
            spins += 1;
            assert!(spins < SPINS, "a timeout makes progress");
            self.node.handle(self.now, Event::Timeout, &mut self.out);
            raise = raise.max(self.act());
        }
        self.check();
        if let Some(above) = raise.filter(|_| self.raises < 16) {
            self.raises += 1;
            self.raise(above);
        }
    }

    /// What the driver knows of an event before the node does.
    fn before(&mut self, event: &Event) {
        match event {
            Event::LinkUp { link, peer: who, .. } => {
                let who = (0..=ME).find(|at| peer(*at).id == *who).unwrap_or(ME);
                assert_eq!(self.links.insert(*link, who), None, "a link is named once");
            }
            Event::LinkDown { link, .. } => self.lose(*link),
            Event::ChannelUp { link, channel } if self.links.contains_key(link) => {
                assert_eq!(self.channels.insert(*channel, (*link, 0)), None, "named once");
            }
            Event::ChannelDown { channel, .. } => {
                self.channels.remove(channel);
            }
            Event::CloseProducer(producer) => {
                self.producers.remove(producer);
            }
            Event::CloseConsumer(consumer) => {
                self.consumers.remove(consumer);
                self.taken.retain(|_, taken| taken.consumer != Some(*consumer));
            }
            _ => {}
        }
    }

    fn lose(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.channels.retain(|_, (of, _)| *of != link);
    }

    /// Carries out the actions of a step; the version above which the node wants a new entry.
    fn act(&mut self) -> Option<mosaik_proto::discovery::PeerEntryVersion> {
        assert!(self.out.len() < ACTIONS, "a step does bounded work: {}", self.out.len());
        let actions: Vec<_> = self.out.drain().collect();
        let mut raise = None;
        for action in actions {
            match action {
                Action::OpenChannel { link, channel, protocol } => {
                    assert!(self.links.contains_key(&link), "{channel:?} on a link that is down");
                    let known = self.channels.insert(channel, (link, 0));
                    assert_eq!(known, None, "a channel is named once");
                    if protocol == Protocol::Stream {
                        self.subscriptions.push(channel);
                    }
                }
                Action::Write { channel, head, body } => self.written(channel, head, &body),
                Action::CloseChannel { channel, .. } => {
                    self.channels.remove(&channel);
                }
                Action::CloseLink { link, .. } => self.lose(link),
                Action::Raise { above } => raise = Some(above),
                Action::Path { peer, rtt: Some(_) } => {
                    self.admitted.insert(peer);
                }
                Action::Path { peer, rtt: None } => {
                    self.admitted.remove(&peer);
                }
                Action::Deliver(delivery) => self.delivered(&delivery),
                Action::Undelivered { items, data, .. } => {
                    assert_eq!(item::Items::new(data).flatten().count(), items as usize);
                }
                Action::Window { producer, items, bytes } => {
                    if let Some([window, _]) = self.producers.get_mut(&producer) {
                        assert!(items >= window.0 && bytes >= window.1, "a window only grows");
                        *window = (items, bytes);
                    }
                }
                Action::Streams(Change::Restarted { subscription, .. }) => {
                    self.taken.entry(subscription).or_default().next = 0;
                }
                _ => {}
            }
        }
        raise
    }

    fn written(&mut self, channel: ChannelId, head: Head, body: &[u8]) {
        let length = (head.len() + body.len()) as u64;
        let Some((_, debt)) = self.channels.get_mut(&channel) else {
            panic!("{channel:?} is written to, but it is not open");
        };
        *debt += length;
        assert!(*debt <= limits::CHANNEL_DEBT + FRAME, "{channel:?} owes {debt} bytes");
        match head.as_slice() {
            [16, ..] => self.heard.nonce = decode_first(body).map_or(0, |(nonce, _)| nonce),
            [22, ..] => self.heard.nonce = decode::<(u64, u128)>(body).map_or(0, |probe| probe.0),
            [3, ..] => {
                (self.heard.incarnation, self.heard.next) =
                    decode_first(body).map_or((0, 0), |(start, _)| start);
            }
            _ => {}
        }
    }

    /// STR-05, STR-09: within the window, in order, and whole.
    fn delivered(&mut self, delivery: &Delivery) {
        assert!(self.consumers.contains(&delivery.consumer), "a consumer that is open");
        let items: Result<Vec<_>, _> = item::Items::new(delivery.data.clone()).collect();
        let items = items.expect("what is delivered is a batch");
        assert_eq!(items.len(), delivery.items as usize);
        let bytes: usize = items.iter().map(Bytes::len).sum();
        let taken = self.taken.entry(delivery.subscription).or_default();
        taken.consumer = Some(delivery.consumer);
        assert!(delivery.first >= taken.next, "numbers only rise");
        taken.next = delivery.first.saturating_add(delivery.items.into());
        self.heard.next = taken.next;
        taken.delivered.0 += u64::from(delivery.items);
        taken.delivered.1 += bytes as u64;
        let waiting = (taken.delivered.0 - taken.consumed.0, taken.delivered.1 - taken.consumed.1);
        let one = items.iter().map(Bytes::len).max().unwrap_or(0) as u64;
        assert!(waiting.0 <= WINDOW_ITEMS, "{} items wait", waiting.0);
        assert!(waiting.1 <= WINDOW_BYTES + one, "{} bytes wait", waiting.1);
    }

    fn check(&self) {
        let paths = self.node.paths();
        assert!(paths.len() <= limits::LINKS && self.links.len() < limits::LINKS);
        for (peer, path) in paths.iter() {
            assert!(self.admitted.contains(peer), "an admission is told");
            assert!(self.links.contains_key(&path.link), "admitted, but the link is down");
        }
        assert_eq!(paths.len(), self.admitted.len());
        let mut known = 0;
        for entry in self.node.catalog().peers() {
            known += 1;
            assert_eq!(entry.network_id(), &network(), "of another network");
            assert!(entry.id() != peer(ME).id, "INV-DISC-11: the node is not its own peer");
        }
        assert!(known <= limits::CATALOG_PEERS + limits::UNSIGNED_PEERS);
    }
}
