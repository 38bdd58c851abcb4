//! Whole nodes, wired to each other without a network: who feeds whom, and the order of the end.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use common::{WALL, clock, edited, id, local, network, streams::batch};
use mosaik_proto::{
    Core as _, Outbox,
    discovery::{self, Command, EndpointAddr, LocalEntry},
    ids::{ChannelId, ConsumerId, LinkId, ProducerId, RequestId, Side, StreamId, SubscriptionId},
    links::{DialError, DownReason},
    node::{Action, Config, Event, Node},
    rng::Rng,
    streams::{ConsumerConfig, ProducerConfig},
    time::{Instant, Now},
    wire::CloseCode,
};

const NAMES: [&str; 2] = ["b", "x"];

/// Two nodes and what is on its way between them, in order.
struct World {
    nodes: [Node; 2],
    locals: [LocalEntry; 2],
    now: Instant,
    queue: VecDeque<(usize, Event)>,
    /// The name of a channel at the other end.
    channels: BTreeMap<(usize, ChannelId), ChannelId>,
    next: u64,
    /// All actions, with who asked for them.
    trace: Vec<(usize, String)>,
    actions: Vec<(usize, Action)>,
}

impl World {
    fn new(seed: u8) -> Self {
        let locals = NAMES.map(|name| local(name, network(), WALL));
        let nodes = NAMES.map(|name| {
            let config = Config { discovery: discovery::Config::default() };
            Node::new(config, network(), id(name), [seed; 32], clock(Instant::ZERO))
        });
        let mut world = Self {
            nodes,
            locals,
            now: Instant::ZERO,
            queue: VecDeque::new(),
            channels: BTreeMap::new(),
            next: 1,
            trace: Vec::new(),
            actions: Vec::new(),
        };
        for end in [0, 1] {
            let entry = world.locals[end].signed().clone();
            world.step(end, Event::LocalEntry(entry));
        }
        world
    }

    fn step(&mut self, end: usize, event: Event) {
        let mut out = Outbox::new();
        self.nodes[end].handle(clock(self.now), event, &mut out);
        for action in out.drain() {
            self.trace.push((end, format!("{action:?}")));
            self.actions.push((end, action.clone()));
            self.act(end, action);
        }
    }

    fn act(&mut self, end: usize, action: Action) {
        let other = 1 - end;
        match action {
            Action::Dial { .. } => {
                let (link, rtt) = (LinkId(self.next), Duration::from_millis(1));
                self.next += 1;
                for (end, side) in [(end, Side::Dialer), (other, Side::Listener)] {
                    let peer = id(NAMES[1 - end]);
                    let binding = [link.0 as u8; 32];
                    self.queue.push_back((end, Event::LinkUp { link, peer, side, rtt, binding }));
                }
            }
            Action::OpenChannel { link, channel, .. } => {
                let theirs = ChannelId::driver(self.next);
                self.next += 1;
                self.channels.insert((end, channel), theirs);
                self.channels.insert((other, theirs), channel);
                self.queue.push_back((other, Event::ChannelUp { link, channel: theirs }));
            }
            Action::Write { channel, head, body } => {
                let bytes = (head.len() + body.len()) as u32;
                let chunk = [head.as_slice(), &body].concat().into();
                let theirs = self.channels[&(end, channel)];
                self.queue.push_back((other, Event::Data { channel: theirs, chunk }));
                self.queue.push_back((end, Event::Drained { channel, bytes }));
            }
            Action::CloseChannel { channel, code } => {
                let channel = self.channels[&(end, channel)];
                let reason = DownReason::Closed(code);
                self.queue.push_back((other, Event::ChannelDown { channel, reason }));
            }
            Action::CloseLink { link, code } => {
                let reason = DownReason::Closed(code);
                self.queue.push_back((other, Event::LinkDown { link, reason }));
            }
            _ => {}
        }
    }

    /// Lets everything arrive that is under way.
    fn settle(&mut self) {
        while let Some((end, event)) = self.queue.pop_front() {
            self.step(end, event);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(at) = self.nodes.iter().filter_map(Node::deadline).min() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.step(0, Event::Timeout);
            self.step(1, Event::Timeout);
            self.settle();
        }
        self.now = end;
    }

    fn index(&self, of: usize, found: impl Fn(&Action) -> bool) -> Option<usize> {
        self.actions.iter().position(|(end, action)| *end == of && found(action))
    }
}

/// `x` produces `s`, `b` consumes it; both know each other.
fn streaming(seed: u8) -> World {
    let mut world = World::new(seed);
    let stream = StreamId::from("s");
    let entry = edited(&mut world.locals[1], |draft| {
        draft.streams().insert(stream);
    });
    world.step(1, Event::LocalEntry(entry));
    world.step(
        1,
        Event::OpenProducer { producer: ProducerId(1), config: ProducerConfig::new(stream) },
    );
    world.step(
        0,
        Event::OpenConsumer { consumer: ConsumerId(1), config: ConsumerConfig::new(stream) },
    );
    let command = Command::Dial(vec![EndpointAddr::from(id("x"))]);
    world.step(0, Event::Discovery { request: RequestId(1), command });
    world.run_for(Duration::from_secs(2));
    world
}

fn is_delivery(action: &Action) -> bool {
    matches!(action, Action::Deliver(delivery) if delivery.items == 3)
}

/// NODE-01: one event goes through links, discovery and streams, and nothing waits to be polled.
#[test]
fn node_01_items_pass_through_all_children() {
    let mut world = streaming(1);
    assert_eq!((world.nodes[0].paths().len(), world.nodes[1].paths().len()), (1, 1));
    assert!(world.nodes[0].catalog().get(&id("x")).is_some());
    world.step(
        1,
        Event::Offer { producer: ProducerId(1), items: 3, payload: 30, data: batch(3, 10) },
    );
    world.settle();
    assert!(world.index(0, is_delivery).is_some());
    // INV-NODE-1: a timeout that is early, or comes again, finds nothing to do.
    let before = world.trace.len();
    for _ in 0..3 {
        world.step(0, Event::Timeout);
        world.step(1, Event::Timeout);
    }
    assert_eq!(world.trace.len(), before);
}

#[test]
fn node_02_the_end_has_its_order() {
    let mut world = streaming(2);
    // Accepted before the end, on its way during it.
    world.step(
        1,
        Event::Offer { producer: ProducerId(1), items: 3, payload: 30, data: batch(3, 10) },
    );
    world.actions.clear();
    let tombstone = world.locals[1].depart(clock(world.now).wall);
    world.step(1, Event::Shutdown(tombstone));
    world.run_for(Duration::from_secs(3));
    let code = CloseCode::GRACEFUL_SHUTDOWN;
    let channel =
        world.index(1, |a| matches!(a, Action::CloseChannel { code: c, .. } if *c == code));
    let stopped = world.index(1, |action| matches!(action, Action::Stopped));
    assert!(channel.unwrap() < stopped.unwrap(), "streams first");
    let mut behind = world.actions[stopped.unwrap() + 1..].iter().filter(|(end, _)| *end == 1);
    assert!(
        behind.all(|(_, action)| matches!(action, Action::CloseLink { .. })),
        "nothing follows but that `b`, who dialled it, is refused"
    );
    assert!(world.index(0, is_delivery).is_some(), "what was accepted arrives");
    assert_eq!(world.nodes[1].paths().len(), 0);
    // A node that has ended says so to everybody, and nothing else.
    let (link, peer, side) = (LinkId(900), id("b"), Side::Listener);
    world.actions.clear();
    let (rtt, binding) = (Duration::ZERO, [9; 32]);
    world.step(1, Event::LinkUp { link, peer, side, rtt, binding });
    assert!(matches!(world.actions[..], [(1, Action::CloseLink { code: c, .. })] if c == code));
    world.run_for(Duration::from_secs(60));
    assert!(world.index(1, |action| matches!(action, Action::Dial { .. })).is_none());
}

#[test]
fn node_03_the_same_events_give_the_same_actions() {
    let run = |seed| {
        let mut world = streaming(seed);
        world.step(
            1,
            Event::Offer { producer: ProducerId(1), items: 3, payload: 30, data: batch(3, 10) },
        );
        let (link, reason) = (LinkId(1), DownReason::Timeout);
        world.step(0, Event::LinkDown { link, reason });
        world.step(1, Event::LinkDown { link, reason });
        world.run_for(Duration::from_secs(30));
        world.trace
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// LINK-13, W6: drivers that are late, early, or talk of what is long gone; clocks that go back.
#[test]
fn link_13_a_node_survives_any_order() {
    for seed in 0..100u8 {
        let mut world = streaming(seed);
        let mut rng = Rng::new([seed; 32]);
        for _ in 0..200 {
            let (link, channel) = (LinkId(rng.below(4)), ChannelId(rng.below(40)));
            let reason = DownReason::Lost;
            let event = match rng.below(12) {
                0 => Event::LinkDown { link, reason },
                1 => Event::ChannelDown { channel, reason },
                2 => Event::Drained { channel, bytes: u32::MAX },
                3 => Event::Data { channel, chunk: Bytes::copy_from_slice(&rng.bytes()) },
                4 => Event::ChannelUp { link, channel: ChannelId::driver(500 + rng.below(500)) },
                5 => Event::DialFailed { peer: id("x"), reason: DialError::Timeout },
                6 => Event::CloseProducer(ProducerId(7)),
                7 => Event::Cancel(RequestId(rng.below(9))),
                8 => Event::LinkRtt { link, rtt: Duration::MAX },
                9 => Event::Consumed {
                    consumer: ConsumerId(1),
                    subscription: SubscriptionId(rng.below(4)),
                    items: u64::MAX,
                    bytes: u64::MAX,
                },
                _ => Event::Timeout,
            };
            let at = Instant::from_millis(rng.below(100_000));
            let mut out = Outbox::new();
            world.nodes[0].handle(Now { mono: at, ..clock(at) }, event, &mut out);
        }
    }
}
