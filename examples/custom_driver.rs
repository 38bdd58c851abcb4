//! A complete driver without async: two nodes, each in a thread with an event loop of its own, over
//! non-blocking TCP. Follow it with `docs/write-your-own-driver.md` at hand.
//!
//! ```text
//! cargo run --example custom_driver
//! ```
//!
//! Three parts, of which the first is the one to learn from:
//!
//! - this file: the loop, every action of a node, and an application on top;
//! - `custom_driver/tcp.rs`: links over TCP. **It proves no keys and encrypts nothing**;
//! - `custom_driver/mux.rs`: channels over one connection.

#[path = "custom_driver/mux.rs"]
mod mux;
#[path = "custom_driver/tcp.rs"]
mod tcp;

use std::{
    collections::VecDeque,
    error::Error,
    thread,
    time::{Instant as StdInstant, SystemTime},
};

use bytes::{Buf, BytesMut};
use mosaik_proto::{
    Core, Digest, NetworkId, Outbox,
    crypto::SecretKey,
    discovery::{self, EndpointAddr, LocalEntry},
    ids::{ConsumerId, ProducerId, StreamId},
    node::{Action, Config, Event, Node},
    streams::{Change, ConsumerConfig, Delivery, ProducerConfig, item},
    time::{Instant, Now, UnixMillis},
};

/// Numbers from 0, eight bytes each: many times what may be under way at once.
const ITEMS: u64 = 200_000;
const SIZE: u64 = 8;
/// Items offered at once.
const BATCH: u64 = 4_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let network = NetworkId::from("custom-driver");
    let sender = Driver::new(network, true, Vec::new())?;
    let receiver = Driver::new(network, false, vec![sender.entry.signed().address().clone()])?;
    // A node is `Send` and belongs to one thread at a time; nothing in it is shared.
    let sender = thread::spawn(move || sender.run());
    let receiver = thread::spawn(move || receiver.run());
    // The receiver leaves when it has everything, and the sender when the receiver has left.
    let arrived = receiver.join().map_err(|_| "the receiver panicked")??;
    let offered = sender.join().map_err(|_| "the sender panicked")??;
    println!("{arrived} of {offered} items arrived, in order");
    if arrived == ITEMS { Ok(()) } else { Err("items are missing".into()) }
}

/// Both clocks: the monotonic one drives everything, wall time only dates what is signed.
fn clocks(start: StdInstant) -> Now {
    let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Now { mono: Instant::ZERO + start.elapsed(), wall: UnixMillis(wall.as_millis() as u64) }
}

/// One node, and everything that it needs of its host.
struct Driver {
    node: Node,
    /// What we say of ourselves, and the key that signs it: nodes know no secret.
    entry: LocalEntry,
    start: StdInstant,
    tcp: tcp::Tcp,
    /// What happened and the node was not told yet. Empty whenever the loop waits.
    events: VecDeque<Event>,
    app: App,
    stopped: bool,
}

/// What runs on top of a node. In a library these would be handles; here they live in the loop.
#[derive(Default)]
struct App {
    online: bool,
    window: u64,
    /// How many items were offered, or taken.
    items: u64,
}

impl Driver {
    fn new(id: NetworkId, produces: bool, bootstrap: Vec<EndpointAddr>) -> Result<Self, Failure> {
        let (start, stream) = (StdInstant::now(), StreamId::from("numbers"));
        let (now, key) = (clocks(start), SecretKey::generate());
        let tcp = tcp::Tcp::listen(key.public())?;
        // Consumers find producers by what their entries list, and dial the addresses in there.
        let mut entry = LocalEntry::new(id, key, now.wall);
        let addr = tcp.addr()?;
        entry.edit(now.wall, |draft| {
            draft.addrs().insert(addr);
            draft.streams().extend(produces.then_some(stream));
        })?;
        // All chance in a node comes from this seed. The same seed and events, the same actions.
        let seed = *Digest::random().as_bytes();
        let config = Config { discovery: discovery::Config { bootstrap, ..Default::default() } };
        let node = Node::new(config, id, entry.id(), seed, now);
        // The first event of every node is its entry. A driver allocates the ids of what it opens.
        let mut events = VecDeque::from([Event::LocalEntry(entry.signed().clone())]);
        events.push_back(if produces {
            Event::OpenProducer { producer: ProducerId(1), config: ProducerConfig::new(stream) }
        } else {
            Event::OpenConsumer { consumer: ConsumerId(1), config: ConsumerConfig::new(stream) }
        });
        Ok(Self { node, entry, start, tcp, events, app: App::default(), stopped: false })
    }

    fn now(&self) -> Now {
        clocks(self.start)
    }

    /// The loop: a wait for a socket or for the one deadline, then a turn of bounded work.
    fn run(mut self) -> Result<u64, Failure> {
        while !self.stopped || !self.tcp.is_idle() {
            // Any step may move the deadline, so it is asked anew. What the last turn left over,
            // such as `Drained`, may let the node write more: it must not wait.
            let wait =
                if self.events.is_empty() { self.node.deadline() } else { Some(Instant::ZERO) };
            self.tcp.wait(self.now().mono, wait)?;
            self.tcp.receive(self.now().mono, &mut self.events);
            // Whether the deadline has passed is asked of the clock, not of what ended the wait:
            // with busy sockets the wait never times out.
            if self.node.deadline().is_some_and(|at| at <= self.now().mono) {
                self.events.push_back(Event::Timeout);
            }
            self.settle();
            self.tcp.send(self.now().mono, &mut self.events);
        }
        Ok(self.app.items)
    }

    /// Tells the node what happened, one event after the other. The actions of a step are carried
    /// out, in order, before the next event.
    fn settle(&mut self) {
        let mut out = Outbox::new();
        while let Some(event) = self.events.pop_front() {
            self.node.handle(self.now(), event, &mut out);
            out.drain().for_each(|action| self.execute(action));
        }
    }

    /// Carries out any action. There is no `_` arm: a new action shall not compile before it has
    /// its place here. Nothing is answered from inside; answers are events, and wait their turn.
    fn execute(&mut self, action: Action) {
        let Now { mono, wall } = self.now();
        match action {
            // To the transport. A `Dial` must be answered, sooner or later, or nobody dials again.
            Action::Dial { peer, addrs } => {
                if let Err(reason) = self.tcp.dial(mono, peer, &addrs) {
                    self.events.push_back(Event::DialFailed { peer, reason });
                }
            }
            Action::OpenChannel { link, channel, protocol: _ } => {
                self.tcp.open_channel(link, channel);
            }
            Action::Write { channel, head, body } => {
                // One copy, for brevity; `body` may be shared by many subscribers and be large.
                self.tcp.write(channel, [head.as_slice(), &body].concat().into());
            }
            Action::CloseChannel { channel, code } => self.tcp.close_channel(channel, code),
            Action::CloseLink { link, code } => self.tcp.close_link(mono, link, code),

            // To the host.
            Action::Raise { above } => {
                self.entry.raise(wall, above);
                self.events.push_back(Event::LocalEntry(self.entry.signed().clone()));
            }
            // An address book would answer with `Found`. We have none: bootstrap is all we know.
            Action::Seek => {}
            Action::Stopped => self.stopped = true,

            // To the application.
            Action::Window { producer, items, bytes } => {
                self.app.window = items.min(bytes / SIZE).min(ITEMS);
                self.offer(producer);
            }
            Action::Streams(Change::Online { owner: _, online }) => {
                self.app.online = online;
                self.offer(ProducerId(1));
            }
            Action::Deliver(delivery) => self.take(delivery),
            Action::Catalog(discovery::Change::Gone { departed: true, .. }) => self.leave(),
            // Only if the producer's configuration asks for what went to nobody.
            Action::Undelivered { .. } => {}
            // The last word about a producer that was closed: a library forgets it now.
            Action::Finished(_) => {}
            // What a library would show to its users. We asked nothing, so there is no reply.
            Action::Reply { .. }
            | Action::Catalog(_)
            | Action::Streams(_)
            | Action::Path { .. } => {}
            Action::CountLinks(_)
            | Action::CountDiscovery(_)
            | Action::CountStreams(_)
            | Action::CountGroups(_) => {}
            // We take part in no group. A library has a machine and a store for each.
            Action::Group { .. } => {}
        }
    }

    /// Offers what the window allows, once somebody listens. The window opens as consumers take, so
    /// nothing piles up in between. (Of a consumer it stays 0.)
    fn offer(&mut self, producer: ProducerId) {
        while self.app.online && self.app.items < self.app.window {
            let (first, mut data) = (self.app.items, BytesMut::new());
            self.app.items = self.app.window.min(first + BATCH);
            for number in first..self.app.items {
                item::append(&mut data, &number.to_be_bytes());
            }
            let (items, data) = ((self.app.items - first) as u32, data.freeze());
            let payload = 8 * u64::from(items);
            self.events.push_back(Event::Offer { producer, items, payload, data });
        }
    }

    /// Takes items. `Consumed` says what the application is done with, in totals per subscription
    /// (we have one, of one producer); without it the producer stops after a window.
    fn take(&mut self, Delivery { consumer, subscription, data, .. }: Delivery) {
        for mut payload in item::Items::new(data).flatten() {
            assert_eq!(payload.get_u64(), self.app.items, "lossless and in order");
            self.app.items += 1;
        }
        let (items, bytes) = (self.app.items, self.app.items * SIZE);
        self.events.push_back(Event::Consumed { consumer, subscription, items, bytes });
        if items == ITEMS {
            self.leave();
        }
    }

    /// Ends in good order: the farewell is signed, spread, and keeps others from dialling us. The
    /// node goes on to ask for things until `Stopped`.
    fn leave(&mut self) {
        let farewell = self.entry.depart(self.now().wall);
        self.events.push_back(Event::Shutdown(farewell));
    }
}
