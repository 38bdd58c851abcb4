//! Nodes wired to each other by hand: what one writes arrives at once.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    Core, NetworkId, Outbox,
    crypto::SecretKey,
    discovery::{Command, Config, LocalEntry},
    ids::{ChannelId, ConsumerId, LinkId, ProducerId, RequestId, Side, StreamId, SubscriptionId},
    node::{self, Action, Event, Node},
    streams::{ConsumerConfig, ProducerConfig, item},
    time::{Instant, Now, UnixMillis},
};

pub(crate) const NOW: Now =
    Now { mono: Instant::from_millis(1_000), wall: UnixMillis(1_700_000_000_000) };

pub(crate) fn network() -> NetworkId {
    NetworkId::from("bench")
}

pub(crate) fn entry(n: u64, stream: Option<StreamId>) -> LocalEntry {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    let mut entry = LocalEntry::new(network(), SecretKey::from_bytes(&seed), NOW.wall);
    let edited = entry.edit(NOW.wall, |draft| {
        draft.addrs().insert(SocketAddr::from(([10, 0, 0, 1], 1 + (n % 60_000) as u16)));
        draft.tags().insert("bench".into());
        draft.streams().extend(stream);
    });
    assert_eq!(edited, Ok(true));
    entry
}

/// One node that produces, number 0, and others that consume from it.
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) out: Outbox<Action>,
    queue: VecDeque<(usize, Event)>,
    channels: BTreeMap<(usize, ChannelId), (usize, ChannelId)>,
    taken: Vec<Taken>,
    /// What consumers took is told to their cores.
    pub(crate) consuming: bool,
    lane: BytesMut,
}

/// What the application of a node took.
#[derive(Clone, Copy, Default)]
struct Taken {
    subscription: Option<SubscriptionId>,
    items: u64,
    bytes: u64,
    told: u64,
}

const PRODUCER: ProducerId = ProducerId(1);
const CONSUMER: ConsumerId = ConsumerId(1);

impl Net {
    pub(crate) fn new(consumers: usize) -> Self {
        let stream = StreamId::from("items");
        let entries: Vec<_> =
            (0..=consumers).map(|n| entry(n as u64, (n == 0).then_some(stream))).collect();
        let config = node::Config {
            discovery: Config { no_automatic_bootstrap: true, ..Config::default() },
        };
        let nodes = entries.iter().enumerate().map(|(n, entry)| {
            Node::new(config.clone(), network(), entry.id(), [n as u8 + 1; 32], NOW)
        });
        let mut net = Self {
            nodes: nodes.collect(),
            out: Outbox::new(),
            queue: VecDeque::new(),
            channels: BTreeMap::new(),
            taken: vec![Taken::default(); consumers + 1],
            consuming: true,
            lane: BytesMut::new(),
        };
        for (n, entry) in entries.iter().enumerate() {
            net.tell(n, Event::LocalEntry(entry.signed().clone()));
        }
        let config = ProducerConfig::new(stream);
        net.tell(0, Event::OpenProducer { producer: PRODUCER, config });
        for n in 1..=consumers {
            let request = RequestId(n as u64);
            let command = Command::Dial(vec![entries[0].signed().address().clone()]);
            net.tell(n, Event::Discovery { request, command });
            net.link(n, &entries);
            let config = ConsumerConfig::new(stream);
            net.tell(n, Event::OpenConsumer { consumer: CONSUMER, config });
        }
        net.settle();
        let batch = net.batch(1);
        net.tell(0, batch);
        net.settle();
        assert!(net.taken[1..].iter().all(|taken| taken.items == 1), "all are subscribed");
        net
    }

    /// The connection that node `n` asked for.
    fn link(&mut self, n: usize, entries: &[LocalEntry]) {
        let link = LinkId(n as u64);
        let rtt = Duration::from_micros(100);
        self.settle();
        for (at, other, side) in [(n, 0, Side::Dialer), (0, n, Side::Listener)] {
            let peer = entries[other].id();
            self.tell(at, Event::LinkUp { link, peer, side, rtt, binding: [n as u8; 32] });
        }
        self.settle();
    }

    /// A batch as a producer's lane makes it: items of 32 bytes.
    pub(crate) fn batch(&mut self, items: u32) -> Event {
        self.lane.reserve(64 * 1024 + 512);
        for _ in 0..items {
            self.lane.extend_from_slice(&item::short(32).expect("a short item"));
            self.lane.extend_from_slice(&[7; 32]);
        }
        let (payload, data) = (32 * u64::from(items), self.lane.split().freeze());
        Event::Offer { producer: PRODUCER, items, payload, data }
    }

    pub(crate) fn tell(&mut self, n: usize, event: Event) {
        self.nodes[n].handle(NOW, event, &mut self.out);
        self.carry(n);
    }

    /// Carries out what a node asked for.
    pub(crate) fn carry(&mut self, n: usize) {
        let actions: Vec<_> = self.out.drain().collect();
        for action in actions {
            match action {
                Action::Write { channel, head, body } => {
                    let Some((other, theirs)) = self.channels.get(&(n, channel)).copied() else {
                        continue;
                    };
                    let bytes = (head.len() + body.len()) as u32;
                    let chunk = Bytes::from([head.as_slice(), &body[..]].concat());
                    self.queue.push_back((other, Event::Data { channel: theirs, chunk }));
                    self.queue.push_back((n, Event::Drained { channel, bytes }));
                }
                Action::OpenChannel { link, channel, .. } => {
                    let other = if n == 0 { link.0 as usize } else { 0 };
                    let theirs = ChannelId::driver(self.channels.len() as u64);
                    self.channels.insert((n, channel), (other, theirs));
                    self.channels.insert((other, theirs), (n, channel));
                    self.queue.push_back((other, Event::ChannelUp { link, channel: theirs }));
                }
                Action::Deliver(delivery) => {
                    let taken = &mut self.taken[n];
                    taken.subscription = Some(delivery.subscription);
                    taken.items += u64::from(delivery.items);
                    taken.bytes += 32 * u64::from(delivery.items);
                }
                _ => {}
            }
        }
    }

    /// Works off everything that waits.
    pub(crate) fn settle(&mut self) {
        while self.settle_one() {}
    }

    fn settle_one(&mut self) -> bool {
        let due = |node: &Node| node.deadline().is_some_and(|at| at <= NOW.mono);
        if let Some((n, event)) = self.queue.pop_front() {
            self.tell(n, event);
        } else if let Some(n) = self.nodes.iter().position(due) {
            self.tell(n, Event::Timeout);
        } else if let Some(n) = (1..self.nodes.len()).find(|n| self.unreported(*n) > 0) {
            if !self.consuming {
                return false;
            }
            let event = self.consumed(n);
            self.tell(n, event);
        } else {
            return false;
        }
        true
    }

    /// Items that a node's application took and its core does not know of.
    pub(crate) fn unreported(&self, n: usize) -> u64 {
        self.taken[n].items - self.taken[n].told
    }

    /// Tells a node's core what its application took.
    pub(crate) fn consumed(&mut self, n: usize) -> Event {
        let taken = &mut self.taken[n];
        taken.told = taken.items;
        let subscription = taken.subscription.expect("something was delivered");
        let (items, bytes) = (taken.items, taken.bytes);
        Event::Consumed { consumer: CONSUMER, subscription, items, bytes }
    }

    /// Takes the first event that waits and that `wanted` picks, with its node.
    pub(crate) fn take(&mut self, wanted: impl Fn(usize, &Event) -> bool) -> Option<Event> {
        let at = self.queue.iter().position(|(n, event)| wanted(*n, event))?;
        self.queue.remove(at).map(|(_, event)| event)
    }
}
