//! A bench for the core of streams. The core is `m`; the bench plays the peers, their links and
//! the applications.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use mosaik_proto::{
    Core, Outbox, PeerId,
    discovery::{Catalog, LocalEntry, PeerEntry},
    ids::{
        ChannelId, ConsumerId, LinkId, ProducerId, Side, StreamId, SubscriptionId, TicketClass,
        UniqueId,
    },
    links::{DownReason, Path, Paths},
    rng::Rng,
    streams::{
        Action, Change, Condition, ConsumerConfig, Counter, Criteria, Env, Event, Owner, Predicate,
        ProducerConfig, Replay, State, StreamKind, Streams, item,
    },
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    time::{Instant, Now, UnixMillis},
    wire::{self, FrameReader},
};

use super::{
    WALL,
    args::{Args, code_name, duration, hex, pair},
    class, clock, edited, id,
    links::frame,
    local, name, network,
};

pub(crate) const SUBSCRIBE: u8 = 1;
pub(crate) const CREDIT: u8 = 2;
pub(crate) const ACCEPT: u8 = 3;
pub(crate) const ITEMS: u8 = 4;

type Pair = (u64, u64);

/// The payload of a `SUBSCRIBE`.
pub(crate) fn subscribe(
    stream: &str,
    window: Pair,
    grant: Pair,
    resume: Option<Pair>,
    replay: Replay,
) -> Bytes {
    let replay = replay.items();
    wire::encode(&(StreamId::from(stream), Criteria::default(), window, grant, resume, replay))
}

/// The payload of an `ITEMS` frame.
pub(crate) fn items(first: u64, count: u32, batch: &[u8]) -> Vec<u8> {
    [&first.to_be_bytes()[..], &count.to_be_bytes(), batch].concat()
}

/// A batch of `count` items of `size` bytes.
pub(crate) fn offer(producer: u64, items: u32, size: usize) -> Event {
    let (payload, data) = (u64::from(items) * size as u64, batch(items, size));
    Event::Offer { producer: ProducerId(producer), items, payload, data }
}

pub(crate) fn batch(count: u32, size: usize) -> Bytes {
    let mut bytes = Vec::new();
    for _ in 0..count {
        item::append(&mut bytes, &vec![7; size]);
    }
    bytes.into()
}

/// Accepts tickets that hold their expiry; zero never expires.
struct Pass;

impl TicketValidator for Pass {
    fn class(&self) -> TicketClass {
        class()
    }
    fn signature(&self) -> UniqueId {
        class()
    }
    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let expiry = u64::from_be_bytes(ticket.try_into().map_err(|_| InvalidTicket)?);
        Ok(if expiry == 0 { Expiration::Never } else { Expiration::at(UnixMillis(expiry)) })
    }
}

pub(crate) struct Bench {
    pub(crate) core: Streams,
    pub(crate) now: Now,
    /// Added to the wall clock, in milliseconds.
    wall_offset: i64,
    pub(crate) catalog: Catalog,
    pub(crate) paths: Paths,
    entries: BTreeMap<String, LocalEntry>,
    names: BTreeMap<StreamId, String>,
    /// The open channels: whose they are.
    channels: BTreeMap<ChannelId, PeerId>,
    /// Channels that were open once.
    ended: BTreeSet<ChannelId>,
    wanted: BTreeSet<PeerId>,
    /// What hosts may offer, and did.
    windows: BTreeMap<ProducerId, (Pair, Pair)>,
    /// The next sequence number of each subscription of a consumer; `None` after a restart.
    expected: BTreeMap<SubscriptionId, Option<u64>>,
    listed: BTreeSet<(Owner, SubscriptionId)>,
    recent: Vec<Action>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of("m", [1; 32])
    }

    pub(crate) fn of(me: &str, seed: [u8; 32]) -> Self {
        Self {
            core: Streams::new(id(me), Rng::new(seed)),
            now: clock(Instant::ZERO),
            wall_offset: 0,
            catalog: Catalog::new(network(), id(me)),
            paths: Paths::default(),
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            channels: BTreeMap::new(),
            ended: BTreeSet::new(),
            wanted: BTreeSet::new(),
            windows: BTreeMap::new(),
            expected: BTreeMap::new(),
            listed: BTreeSet::new(),
            recent: Vec::new(),
        }
    }

    /// Runs one command of a transcript or a test.
    pub(crate) fn run(&mut self, command: &str) -> Vec<String> {
        let (verb, args) = Args::new(command);
        match verb {
            "advance" => return self.advance(duration(args.word(0))),
            "jump" => {
                self.wall_offset += args.read::<i64>(0) * 1_000;
                return self.shown(Event::Timeout);
            }
            "state" => return self.state(),
            _ => {}
        }
        let events = self.events(verb, &args);
        events.into_iter().flat_map(|event| self.shown(event)).collect()
    }

    fn events(&mut self, verb: &str, args: &Args<'_>) -> Vec<Event> {
        match verb {
            "producer" => vec![self.producer(args)],
            "consumer" => vec![self.consumer(args)],
            "peer" => self.peer(args),
            "gone" => self.gone(args.word(0)),
            "link" => {
                let (peer, link) = (id(args.word(0)), LinkId(args.read(1)));
                let rtt = Duration::from_millis(10);
                self.paths.set(peer, Some(Path { link, rtt, side: Side::Dialer }));
                vec![Event::Connected { peer, link }]
            }
            "drop" => self.lose(args),
            "accept" => {
                let (peer, channel) = (id(args.word(0)), ChannelId(args.read(1)));
                self.channels.insert(channel, peer);
                vec![Event::Accepted { peer, channel }]
            }
            "subscribe" => {
                let window = args.key("window").map_or((8, 1_000), pair);
                let grant = args.key("grant").map_or(window, pair);
                let resume = args.key("resume").map(pair);
                let payload = subscribe(args.word(1), window, grant, resume, replay(args));
                vec![data(args, frame(SUBSCRIBE, &payload))]
            }
            "credit" => vec![data(args, frame(CREDIT, &wire::encode(&args.pair(1))))],
            "welcome" => {
                vec![data(args, frame(ACCEPT, &wire::encode(&(args.pair(1), kind(args)))))]
            }
            "items" => {
                let (first, count, size) = (args.read(1), args.read(2), args.read(3));
                vec![data(args, frame(ITEMS, &items(first, count, &batch(count, size))))]
            }
            "bytes" => vec![data(args, hex(args.word(1)).into())],
            "drained" => {
                vec![Event::Drained { channel: ChannelId(args.read(0)), bytes: args.read(1) }]
            }
            "down" => {
                let channel = ChannelId(args.read(0));
                self.forget(channel);
                vec![Event::ChannelDown { channel, reason: args.reason(1) }]
            }
            "offer" => {
                let (producer, count) = (args.read(0), args.read(1));
                vec![offer(producer, count, args.read(2))]
            }
            "consumed" => {
                let (consumer, subscription) =
                    (ConsumerId(args.read(0)), SubscriptionId(args.read(1)));
                let (items, bytes) = args.pair(2);
                vec![Event::Consumed { consumer, subscription, items, bytes }]
            }
            "close" if args.word(0) == "producer" => {
                vec![Event::CloseProducer(ProducerId(args.read(1)))]
            }
            "close" => vec![Event::CloseConsumer(ConsumerId(args.read(1)))],
            "shutdown" => vec![Event::Shutdown],
            _ => panic!("no verb `{verb}`"),
        }
    }

    fn stream(&mut self, name: &str) -> StreamId {
        let stream = StreamId::from(name);
        self.names.insert(stream, name.to_owned());
        stream
    }

    /// `producer ID STREAM [max=…] [lag=…] [tail=I/B] [require=TAG] [tickets] [online=…] [patient]
    /// [lossy] [undelivered]`
    fn producer(&mut self, args: &Args<'_>) -> Event {
        let mut config = ProducerConfig::new(self.stream(args.word(1)));
        config.max_consumers = args.read_key("max").unwrap_or(usize::MAX);
        config.lag_timeout = args.key("lag").map_or(config.lag_timeout, duration);
        config.disconnect_lagging = !args.has("patient");
        config.kind = kind(args);
        config.undelivered = args.has("undelivered");
        (config.tail_items, config.tail_bytes) =
            args.key("tail").map_or((config.tail_items, config.tail_bytes), pair);
        config.require = require(args);
        config.validators = validators(args);
        config.online_when = args.key("online").map_or(config.online_when, condition);
        Event::OpenProducer { producer: ProducerId(args.read(0)), config }
    }

    /// `consumer ID STREAM [window=I/B] [require=TAG] [tickets] [online=…] [replay=N|all]`
    fn consumer(&mut self, args: &Args<'_>) -> Event {
        let mut config = ConsumerConfig::new(self.stream(args.word(1)));
        config.replay = replay(args);
        (config.window_items, config.window_bytes) = args.key("window").map_or((8, 1_000), pair);
        config.require = require(args);
        config.validators = validators(args);
        config.online_when = args.key("online").map_or(config.online_when, condition);
        Event::OpenConsumer { consumer: ConsumerId(args.read(0)), config }
    }

    /// `peer NAME [streams=…,…] [tag=…] [ticket=SECONDS]`: what the entry says from now on.
    fn peer(&mut self, args: &Args<'_>) -> Vec<Event> {
        let peer = args.word(0);
        let streams: Vec<_> =
            args.key("streams").iter().flat_map(|s| s.split(',')).map(|s| self.stream(s)).collect();
        let held =
            self.entries.entry(peer.to_owned()).or_insert_with(|| local(peer, network(), WALL));
        let entry = edited(held, |draft| {
            *draft.streams() = streams.into_iter().collect();
            *draft.tags() = args.key("tag").map(Into::into).into_iter().collect();
            draft.remove_tickets_of(class());
            if let Some(expiry) = args.read_key::<u64>("ticket") {
                let expiry = if expiry == 0 { 0 } else { WALL + expiry * 1_000 };
                draft.add_ticket(Ticket::new(class(), expiry.to_be_bytes().to_vec().into()));
            }
        });
        self.catalog.set(entry);
        vec![Event::PeerChanged(id(peer))]
    }

    fn gone(&mut self, peer: &str) -> Vec<Event> {
        let rest: Vec<_> =
            self.catalog.signed_peers().filter(|e| e.id() != id(peer)).cloned().collect();
        self.catalog = Catalog::new(network(), id("m"));
        rest.into_iter().for_each(|entry| self.catalog.set(entry));
        vec![Event::PeerChanged(id(peer))]
    }

    /// A link is lost: its channels end first.
    fn lose(&mut self, args: &Args<'_>) -> Vec<Event> {
        let peer = id(args.word(0));
        let link = self.paths.get(&peer).expect("a link").link;
        self.paths.set(peer, None);
        let lost: Vec<_> =
            self.channels.iter().filter(|(_, of)| **of == peer).map(|(id, _)| *id).collect();
        let mut events = Vec::new();
        for channel in lost {
            self.forget(channel);
            events.push(Event::ChannelDown { channel, reason: args.reason(1) });
        }
        events.push(Event::Disconnected { peer, link });
        events
    }

    fn forget(&mut self, channel: ChannelId) {
        self.channels.remove(&channel);
        self.ended.insert(channel);
    }

    /// Moves the clocks, with a step at every deadline on the way.
    fn advance(&mut self, by: Duration) -> Vec<String> {
        let end = self.now.mono + by;
        let mut shown = Vec::new();
        while let Some(at) = self.core.deadline().filter(|at| *at <= end) {
            self.now = clock(at.max(self.now.mono));
            let done = self.shown(Event::Timeout);
            assert!(self.core.deadline().is_none_or(|next| next > at), "a timeout makes progress");
            let at = self.now.mono.as_millis();
            shown.extend(done.into_iter().map(|line| format!("{at}ms {line}")));
        }
        self.now = clock(end);
        shown
    }

    fn state(&self) -> Vec<String> {
        let channels = self.channels.iter().map(|(id, peer)| format!("{id:?} {}", name(peer)));
        let deadline = self.core.deadline().map(|at| format!("deadline {}ms", at.as_millis()));
        channels.chain(deadline).collect()
    }

    /// One step, as text.
    pub(crate) fn shown(&mut self, event: Event) -> Vec<String> {
        let actions = self.step(event);
        actions.iter().map(|action| self.show(action)).collect()
    }

    /// One step; the invariants of streams hold after it.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Action> {
        if let Event::Offer { producer, items, data, .. } = &event {
            let payload = item::Items::new(data.clone()).map(|item| item.unwrap().len() as u64);
            let (window, offered) = self.windows.get_mut(producer).unwrap();
            assert!(offered.0 < window.0 && offered.1 < window.1, "within the window");
            offered.0 += u64::from(*items);
            offered.1 += payload.sum::<u64>();
        }
        let mut now = self.now;
        now.wall.0 = now.wall.0.saturating_add_signed(self.wall_offset);
        let mut out = Outbox::new();
        let env = Env { now, catalog: &self.catalog, paths: &self.paths };
        self.core.handle(env, event, &mut out);
        let actions: Vec<_> = out.drain().collect();
        for action in &actions {
            self.watch(action);
        }
        self.recent.extend(actions.iter().cloned());
        actions
    }

    /// All actions since the last call.
    pub(crate) fn take(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.recent)
    }

    /// Offers `count` items of `size` bytes.
    pub(crate) fn step_offer(&mut self, producer: u64, count: u32, size: usize) -> Vec<Action> {
        self.step(offer(producer, count, size))
    }

    /// A channel ended by its other end.
    pub(crate) fn end(&mut self, channel: ChannelId, reason: DownReason) {
        self.forget(channel);
        self.step(Event::ChannelDown { channel, reason });
    }

    /// What the host may still offer to a producer.
    pub(crate) fn room(&self, producer: u64) -> Pair {
        let (window, offered) = self.windows[&ProducerId(producer)];
        (window.0.saturating_sub(offered.0), window.1.saturating_sub(offered.1))
    }

    /// What a host and links rely on.
    fn watch(&mut self, action: &Action) {
        match action {
            Action::Want(peer) => assert!(self.wanted.insert(*peer), "wanted once"),
            Action::Unwant(peer) => assert!(self.wanted.remove(peer), "not wanted"),
            Action::Open { link, channel } => {
                let peer =
                    self.paths.iter().find(|(_, path)| path.link == *link).expect("a link").0;
                self.channels.insert(*channel, *peer);
            }
            Action::Write { channel, .. } => {
                assert!(self.channels.contains_key(channel), "INV-STR-3: {channel:?} is open");
            }
            Action::Close { channel, .. } => {
                assert!(self.channels.contains_key(channel), "INV-STR-3: {channel:?} is open");
                self.forget(*channel);
            }
            Action::Window { producer, items, bytes } => {
                let (window, _) = self.windows.entry(*producer).or_default();
                assert!(*items >= window.0 && *bytes >= window.1, "a window is never taken back");
                *window = (*items, *bytes);
            }
            Action::Deliver(delivery) => {
                let next = delivery.first + u64::from(delivery.items);
                let expected = self.expected.insert(delivery.subscription, Some(next)).flatten();
                let first = expected.unwrap_or(delivery.first);
                assert_eq!(delivery.first, first, "INV-STR-2");
                assert_eq!(item::Items::new(delivery.data.clone()).count() as u32, delivery.items);
            }
            Action::Publish(change) => self.watch_change(change),
            Action::Undelivered { items, data, .. } => {
                assert_eq!(item::Items::new(data.clone()).count() as u32, *items);
            }
            Action::Finished(_) | Action::Count(_) => {}
        }
    }

    fn watch_change(&mut self, change: &Change) {
        match change {
            Change::Channel { owner, subscription, .. } => {
                self.listed.insert((*owner, *subscription));
            }
            Change::ChannelGone { owner, subscription, .. } => {
                assert!(self.listed.remove(&(*owner, *subscription)), "gone once");
            }
            Change::Gap { owner: Owner::Consumer(_), subscription, first, last } => {
                let expected = self.expected.insert(*subscription, Some(last + 1)).flatten();
                assert_eq!(expected.unwrap_or(*first), *first, "INV-STR-2");
                assert!(first <= last);
            }
            Change::Restarted { subscription, .. } => {
                self.expected.insert(*subscription, None);
            }
            Change::Gap { .. } | Change::Online { .. } | Change::Progress { .. } => {}
        }
    }

    fn show(&self, action: &Action) -> String {
        match action {
            Action::Want(peer) => format!("want {}", name(peer)),
            Action::Unwant(peer) => format!("unwant {}", name(peer)),
            Action::Open { link, channel } => format!("open {channel:?} on {link:?}"),
            Action::Write { channel, head, body } => {
                let bytes = [head.as_slice(), body].concat();
                format!("write {channel:?}: {}", self.show_frame(bytes.into()))
            }
            Action::Close { channel, code } => format!("close {channel:?} {}", code_name(*code)),
            Action::Deliver(delivery) => {
                let last = delivery.first + u64::from(delivery.items) - 1;
                let (consumer, subscription) = (delivery.consumer, delivery.subscription);
                let bytes = delivery.data.len();
                format!(
                    "deliver {consumer:?} {subscription:?}: {}..={last}, {bytes} B",
                    delivery.first
                )
            }
            Action::Window { producer, items, bytes } => {
                format!("window {producer:?} {items}/{bytes}")
            }
            Action::Finished(producer) => format!("finished {producer:?}"),
            Action::Publish(change) => show_change(change),
            Action::Undelivered { producer, items, data } => {
                format!("undelivered {producer:?} {items}, {} B", data.len())
            }
            Action::Count(counter) => format!("count {}", self.show_counter(counter)),
        }
    }

    fn show_counter(&self, counter: &Counter) -> String {
        let name = |stream: &StreamId| self.names[stream].clone();
        match counter {
            Counter::Accepted(stream) => format!("accepted {}", name(stream)),
            Counter::Rejected(stream, code) => {
                format!("rejected {} {}", name(stream), code_name(*code))
            }
            Counter::Refused(code) => format!("refused {}", code_name(*code)),
            Counter::Sent { stream, items, bytes } => {
                format!("sent {} {items}/{bytes}", name(stream))
            }
            Counter::Dropped { stream, items } => format!("dropped {} {items}", name(stream)),
            Counter::Violation(stream) => format!("violation {}", name(stream)),
        }
    }

    fn show_frame(&self, mut bytes: Bytes) -> String {
        let frame = FrameReader::new().read(&mut bytes, |_| Some(1 << 24)).unwrap().unwrap();
        assert!(bytes.is_empty(), "one whole frame");
        let payload = &frame.payload;
        match frame.kind {
            SUBSCRIBE => {
                type Subscribe = (StreamId, Criteria, Pair, Pair, Option<Pair>, u64);
                let (stream, _, window, grant, resume, replay): Subscribe =
                    wire::decode(payload).unwrap();
                let replay = match replay {
                    0 => String::new(),
                    u64::MAX => " replay all".to_owned(),
                    items => format!(" replay {items}"),
                };
                let resume =
                    resume.map(|(incarnation, next)| format!(" resume {incarnation}/{next}"));
                let (window, grant) = (show_pair(window), show_pair(grant));
                let (name, resume) = (&self.names[&stream], resume.unwrap_or_default());
                format!("SUBSCRIBE {name} window {window} grant {grant}{resume}{replay}")
            }
            CREDIT => format!("CREDIT {}", show_pair(wire::decode(payload).unwrap())),
            ACCEPT => {
                let (start, kind): (Pair, StreamKind) = wire::decode(payload).unwrap();
                let lossy = if kind == StreamKind::Lossy { " lossy" } else { "" };
                format!("ACCEPT {}{lossy}", show_pair(start))
            }
            ITEMS => {
                let (first, count, batch) = read_items(payload);
                format!("ITEMS {first}..={}, {} B", first + u64::from(count) - 1, batch.len())
            }
            kind => panic!("no kind {kind}"),
        }
    }
}

/// The parts of an `ITEMS` frame.
pub(crate) fn read_items(payload: &Bytes) -> (u64, u32, Bytes) {
    let first = u64::from_be_bytes(payload[..8].try_into().unwrap());
    let count = u32::from_be_bytes(payload[8..12].try_into().unwrap());
    (first, count, payload.slice(12..))
}

fn data(args: &Args<'_>, chunk: Bytes) -> Event {
    Event::Data { channel: ChannelId(args.read(0)), chunk }
}

fn kind(args: &Args<'_>) -> StreamKind {
    if args.has("lossy") { StreamKind::Lossy } else { StreamKind::Lossless }
}

fn replay(args: &Args<'_>) -> Replay {
    match args.key("replay") {
        None => Replay::Live,
        Some("all") => Replay::Tail,
        Some(items) => Replay::Last(super::args::read(items)),
    }
}

fn require(args: &Args<'_>) -> Predicate {
    match args.key("require") {
        Some(tag) => {
            let tag = tag.into();
            Predicate::new(move |peer| peer.tags().contains(&tag))
        }
        None => Predicate::everybody(),
    }
}

fn validators(args: &Args<'_>) -> Vec<Arc<dyn TicketValidator>> {
    if args.has("tickets") { vec![Arc::new(Pass)] } else { Vec::new() }
}

/// `2`, `1+tag`, `!1`.
fn condition(text: &str) -> Condition {
    let (inverted, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (minimum, tag) = text.split_once('+').map_or((text, None), |(n, tag)| (n, Some(tag)));
    let mut condition = Condition::at_least(0).minimum_of(super::args::read(minimum));
    if let Some(tag) = tag {
        let tag = tag.into();
        condition = condition.with_predicate(move |peer| peer.tags().contains(&tag));
    }
    if inverted { condition.unmet() } else { condition }
}

fn show_pair((items, bytes): Pair) -> String {
    format!("{items}/{bytes}")
}

fn show_change(change: &Change) -> String {
    let of = |owner: &Owner| match owner {
        Owner::Producer(id) => format!("{id:?}"),
        Owner::Consumer(id) => format!("{id:?}"),
    };
    match change {
        Change::Channel { owner, subscription, peer, state, terms } => {
            let state = match state {
                State::Connecting => "connecting",
                State::Connected => "connected",
                State::Terminated => "terminated",
            };
            let lossy = terms.is_some_and(|terms| terms.kind == StreamKind::Lossy);
            let lossy = if lossy { ", lossy" } else { "" };
            let first = terms.map(|terms| terms.first).filter(|first| *first > 0);
            let first = first.map(|first| format!(" from {first}")).unwrap_or_default();
            format!("{} {subscription:?} {} {state}{first}{lossy}", of(owner), name(&peer.id()))
        }
        Change::ChannelGone { owner, subscription, reason } => {
            format!("{} {subscription:?} gone: {reason:?}", of(owner))
        }
        Change::Online { owner, online } => {
            format!("{} {}", of(owner), if *online { "online" } else { "offline" })
        }
        Change::Progress { owner, subscription, items, bytes, .. } => {
            format!("{} {subscription:?} progress {items}/{bytes}", of(owner))
        }
        Change::Gap { owner, subscription, first, last } => {
            format!("{} {subscription:?} gap {first}..={last}", of(owner))
        }
        Change::Restarted { owner, subscription } => {
            format!("{} {subscription:?} restarted", of(owner))
        }
    }
}
