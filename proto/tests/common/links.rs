//! A bench for the core of links. The core is `m`; the bench plays the transport and the peers.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mosaik_proto::{
    Core, NetworkId, Outbox, PeerId,
    discovery::{Catalog, SignedPeerEntry},
    ids::{ChannelId, LinkId, Side},
    links::{Action, Counter, DialError, Env, Event, Interest, Links},
    rng::Rng,
    time::{Instant, Now},
    wire::{self, FrameReader, PROTOCOL_VERSION, Protocol, header},
};

use super::{
    WALL,
    args::{Args, code, code_name, duration, hex, show_reason},
    clock, entry, id, key, local, name, network,
};

pub(crate) const HELLO: u8 = 1;
pub(crate) const READY: u8 = 2;

/// The payload of a hello.
pub(crate) fn hello(version: u16, network: NetworkId, serial: u64, of: &SignedPeerEntry) -> Bytes {
    wire::encode(&(version, network, serial, of))
}

/// A frame on its way to the core.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Bytes {
    [&header(kind, payload.len() as u32)[..], payload].concat().into()
}

pub(crate) struct Bench {
    pub(crate) core: Links,
    pub(crate) now: Now,
    catalog: Catalog,
    links: BTreeMap<LinkId, Held>,
    channels: BTreeMap<ChannelId, (LinkId, Option<Protocol>)>,
    /// Opened by the core; the first byte is still to be written.
    unnamed: BTreeSet<ChannelId>,
    /// Opened by the core at some time.
    named: BTreeMap<ChannelId, Protocol>,
    /// What the siblings know.
    connected: BTreeMap<PeerId, LinkId>,
}

/// A link as the transport sees it.
#[derive(Debug)]
struct Held {
    peer: PeerId,
    side: Side,
    control: Option<ChannelId>,
    up: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of("m", [1; 32])
    }

    pub(crate) fn of(me: &str, seed: [u8; 32]) -> Self {
        let mut bench = Self {
            core: Links::new(network(), id(me), Rng::new(seed)),
            now: clock(Instant::ZERO),
            catalog: Catalog::new(network(), id(me)),
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            named: BTreeMap::new(),
            connected: BTreeMap::new(),
        };
        bench.step(Event::Local(entry(me)));
        bench
    }

    /// Runs one command of a transcript or a test.
    pub(crate) fn run(&mut self, command: &str) -> Vec<String> {
        let (verb, args) = Args::new(command);
        match verb {
            "advance" => return self.advance(duration(args.word(0))),
            "state" => return self.state(),
            "know" => {
                let addrs = [args.read::<core::net::SocketAddr>(1)];
                let mut known = local(args.word(0), network(), WALL);
                let known = super::edited(&mut known, |draft| draft.addrs().extend(addrs));
                self.catalog.set(known);
                return Vec::new();
            }
            _ => {}
        }
        let events = self.events(verb, &args);
        events.into_iter().flat_map(|event| self.shown(event)).collect()
    }

    /// The events of a command.
    fn events(&mut self, verb: &str, args: &Args<'_>) -> Vec<Event> {
        match verb {
            "up" => vec![self.up(args)],
            "drop" => {
                let link = LinkId(args.read(0));
                self.links.get_mut(&link).unwrap().up = false;
                vec![Event::LinkDown { link, reason: args.reason(1) }]
            }
            "rtt" => {
                vec![Event::LinkRtt { link: LinkId(args.read(0)), rtt: duration(args.word(1)) }]
            }
            "fail" => {
                let reason =
                    args.key("closed").map_or(DialError::Timeout, |c| DialError::Closed(code(c)));
                vec![Event::DialFailed { peer: id(args.word(0)), reason }]
            }
            "hello" => self.hello(args),
            "ready" => self.control(
                LinkId(args.read(0)),
                frame(READY, &hex(args.key("payload").unwrap_or(""))),
            ),
            "frame" => {
                let payload = hex(args.key("payload").unwrap_or(""));
                self.control(LinkId(args.read(0)), frame(args.read(1), &payload))
            }
            "bytes" => self.control(LinkId(args.read(0)), hex(args.word(1)).into()),
            "channel" => {
                let (link, channel) = (LinkId(args.read(0)), ChannelId(args.read(1)));
                self.channels.insert(channel, (link, None));
                let mut events = vec![Event::ChannelUp { link, channel }];
                events.extend(
                    args.key("data").map(|data| Event::Data { channel, chunk: hex(data).into() }),
                );
                events
            }
            "deliver" => {
                vec![Event::Data {
                    channel: ChannelId(args.read(0)),
                    chunk: hex(args.word(1)).into(),
                }]
            }
            "drained" => {
                vec![Event::Drained { channel: ChannelId(args.read(0)), bytes: args.read(1) }]
            }
            "down" => {
                let channel = ChannelId(args.read(0));
                self.channels.remove(&channel);
                vec![Event::ChannelDown { channel, reason: args.reason(1) }]
            }
            _ => vec![sibling(verb, args)],
        }
    }

    fn up(&mut self, args: &Args<'_>) -> Event {
        let side = if args.has("dialer") { Side::Dialer } else { Side::Listener };
        let mut event = self.link_up(LinkId(args.read(0)), args.word(1), side);
        if let (Event::LinkUp { rtt, .. }, Some(other)) = (&mut event, args.key("rtt")) {
            *rtt = duration(other);
        }
        event
    }

    /// The transport has a new link; the event that says so.
    pub(crate) fn link_up(&mut self, link: LinkId, peer: &str, side: Side) -> Event {
        let peer = id(peer);
        let held = Held { peer, side, control: None, up: true };
        assert!(self.links.insert(link, held).is_none(), "a link is named once");
        let binding = [link.0 as u8; 32];
        Event::LinkUp { link, peer, side, rtt: Duration::from_millis(10), binding }
    }

    /// The transport has a new channel that the peer opened.
    pub(crate) fn channel_up(&mut self, link: LinkId, channel: ChannelId) {
        self.channels.insert(channel, (link, None));
    }

    /// True if the transport has this link.
    pub(crate) fn is_up(&self, link: u64) -> bool {
        self.links.get(&LinkId(link)).is_some_and(|held| held.up)
    }

    /// `hello LINK SERIAL [version=…] [network=…] [inside=NETWORK] [of=PEER] [by=PEER] [since=…]`
    fn hello(&mut self, args: &Args<'_>) -> Vec<Event> {
        let link = LinkId(args.read(0));
        let peer = name(&self.links[&link].peer);
        let network = args.key("network").map_or_else(network, NetworkId::from);
        let inside = args.key("inside").map_or(network, NetworkId::from);
        let of =
            local(args.key("of").unwrap_or(&peer), inside, args.read_key("since").unwrap_or(WALL));
        let of = of.signed();
        let version = args.read_key("version").unwrap_or(PROTOCOL_VERSION);
        let mut payload = hello(version, network, args.read(1), of).to_vec();
        if let Some(forger) = args.key("by") {
            // The entry of the peer under somebody else's signature.
            let signature = key(forger).sign("mosaik v1 peer entry", &signed_bytes(of));
            payload.truncate(payload.len() - 64);
            payload.extend(signature.to_bytes());
        }
        payload.extend(hex(args.key("more").unwrap_or("")));
        if args.has("cut") {
            payload.pop();
        }
        self.control(link, frame(HELLO, &payload))
    }

    /// Bytes on the control channel of a link, which a dialling peer opens first.
    fn control(&mut self, link: LinkId, bytes: Bytes) -> Vec<Event> {
        let held = self.links.get_mut(&link).unwrap();
        if let Some(channel) = held.control {
            return vec![Event::Data { channel, chunk: bytes }];
        }
        let channel = ChannelId::driver(1_000 + link.0);
        held.control = Some(channel);
        let chunk = [&[Protocol::Control as u8], &bytes[..]].concat().into();
        vec![Event::ChannelUp { link, channel }, Event::Data { channel, chunk }]
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
        let links = self.core.paths().iter().map(|(peer, path)| {
            let side = show_side(path.side);
            format!("{} {:?} {side} {}ms", name(peer), path.link, path.rtt.as_millis())
        });
        let deadline = self.core.deadline().map(|at| format!("deadline {}ms", at.as_millis()));
        links.chain(deadline).collect()
    }

    /// One step, as text.
    pub(crate) fn shown(&mut self, event: Event) -> Vec<String> {
        let actions = self.step(event);
        actions.iter().map(|action| self.show(action)).collect()
    }

    /// One step; the invariants of links hold after it.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Outbox::new();
        let env = Env { now: self.now, catalog: &self.catalog };
        self.core.handle(env, event, &mut out);
        let actions: Vec<_> = out.drain().collect();
        for action in &actions {
            self.watch(action);
        }
        let admitted: BTreeMap<_, _> =
            self.core.paths().iter().map(|(peer, path)| (*peer, path.link)).collect();
        assert_eq!(admitted, self.connected, "INV-LINK-1: siblings know what is admitted");
        actions
    }

    /// INV-LINK-2 and INV-LINK-3, seen by a sibling.
    fn watch(&mut self, action: &Action) {
        let known = |channel: &ChannelId| {
            let (link, protocol) = self.channels[channel];
            let owned = matches!(protocol, Some(Protocol::Stream | Protocol::Group));
            assert!(owned, "{channel:?} has an owner");
            assert!(self.connected.values().any(|known| *known == link), "INV-LINK-3: {link:?}");
        };
        match action {
            Action::Connected { peer, link, entry, .. } => {
                assert_eq!(entry.id(), *peer);
                assert_eq!(self.connected.insert(*peer, *link), None, "INV-LINK-1");
            }
            Action::Disconnected { peer, link, .. } => {
                assert_eq!(self.connected.remove(peer), Some(*link), "INV-LINK-2");
                let left = self.channels.values().find(|(of, name)| {
                    of == link && name.is_some_and(|is| is != Protocol::Control)
                });
                assert_eq!(left, None, "INV-LINK-2: channels end first");
            }
            Action::OpenChannel { link, channel, protocol } => {
                self.unnamed.insert(*channel);
                self.named.insert(*channel, *protocol);
                self.channels.insert(*channel, (*link, Some(*protocol)));
                if *protocol == Protocol::Control {
                    self.links.get_mut(link).unwrap().control = Some(*channel);
                }
            }
            Action::Accepted { channel, protocol, .. } => {
                self.channels.get_mut(channel).unwrap().1 = Some(*protocol);
                self.named.insert(*channel, *protocol);
            }
            Action::Data { channel, .. } | Action::Drained { channel, .. } => known(channel),
            Action::Control { link, .. } => {
                assert!(self.connected.values().any(|known| known == link), "INV-LINK-3");
            }
            Action::ChannelDown { channel, .. } | Action::CloseChannel { channel, .. } => {
                self.channels.remove(channel);
            }
            Action::CloseLink { link, .. } => {
                let held = self.links.get_mut(link).unwrap();
                assert!(held.up, "a link is closed once");
                held.up = false;
            }
            Action::Dial { .. }
            | Action::Write { .. }
            | Action::Unreachable { .. }
            | Action::ControlDrained { .. }
            | Action::Path { .. }
            | Action::Count(_) => {}
        }
    }

    fn show(&mut self, action: &Action) -> String {
        match action {
            Action::Dial { peer, addrs } => {
                let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
                format!("dial {} {}", name(peer), addrs.join(" ")).trim_end().to_owned()
            }
            Action::OpenChannel { link, channel, protocol } => {
                format!("open {channel:?} on {link:?} for {protocol:?}")
            }
            Action::Write { channel, head, body } => {
                let bytes = [head.as_slice(), body].concat();
                format!("write {channel:?}: {}", self.show_bytes(*channel, bytes))
            }
            Action::CloseChannel { channel, code } => {
                format!("end {channel:?} {}", code_name(*code))
            }
            Action::CloseLink { link, code } => format!("close {link:?} {}", code_name(*code)),
            Action::Connected { peer, link, side, .. } => {
                format!("connected {} {link:?} {}", name(peer), show_side(*side))
            }
            Action::Disconnected { peer, link, reason } => {
                format!("disconnected {} {link:?} {}", name(peer), show_reason(*reason))
            }
            Action::Unreachable { peer, foreign } => {
                format!("unreachable {}{}", name(peer), if *foreign { ", foreign" } else { "" })
            }
            Action::Control { peer, kind, payload, .. } => {
                format!("control from {}: kind {kind}, {} B", name(peer), payload.len())
            }
            Action::ControlDrained { link, bytes } => {
                format!("control of {link:?} drained {bytes}")
            }
            Action::Accepted { peer, channel, protocol } => {
                format!("accepted {channel:?} from {} for {protocol:?}", name(peer))
            }
            Action::Data { channel, chunk, .. } => format!("data {channel:?}: {} B", chunk.len()),
            Action::Drained { channel, bytes, .. } => format!("drained {channel:?} {bytes}"),
            Action::ChannelDown { channel, reason, .. } => {
                format!("down {channel:?} {}", show_reason(*reason))
            }
            Action::Path { peer, rtt } => match rtt {
                Some(rtt) => format!("path {} {}ms", name(peer), rtt.as_millis()),
                None => format!("path {} none", name(peer)),
            },
            Action::Count(Counter::Refused(code)) => format!("count refused {}", code_name(*code)),
            Action::Count(counter) => format!("count {counter:?}").to_lowercase(),
        }
    }

    fn show_bytes(&mut self, channel: ChannelId, bytes: Vec<u8>) -> String {
        let mut bytes = Bytes::from(bytes);
        let mut parts = Vec::new();
        if self.unnamed.remove(&channel) {
            let protocol = Protocol::from_byte(bytes.split_to(1)[0]).unwrap();
            parts.push(format!("{protocol:?}"));
        }
        if self.named.get(&channel).is_some_and(|protocol| *protocol != Protocol::Control) {
            parts.extend((!bytes.is_empty()).then(|| format!("{} B", bytes.len())));
            return parts.join(", ");
        }
        let mut reader = FrameReader::new();
        while let Some(frame) = reader.read(&mut bytes, |_| Some(1 << 20)).unwrap() {
            parts.push(match frame.kind {
                HELLO => {
                    let (version, network, serial, of): (u16, NetworkId, u64, SignedPeerEntry) =
                        wire::decode(&frame.payload).unwrap();
                    assert_eq!((version, network), (PROTOCOL_VERSION, super::network()));
                    format!("HELLO #{serial} of {}", name(&of.id()))
                }
                READY => "READY".to_owned(),
                kind => format!("kind {kind}, {} B", frame.payload.len()),
            });
        }
        assert_eq!(reader.held(), 0, "whole frames");
        parts.join(", ")
    }
}

pub(crate) fn show_side(side: Side) -> &'static str {
    match side {
        Side::Dialer => "dialer",
        Side::Listener => "listener",
    }
}

/// What the signature of an entry is over.
fn signed_bytes(of: &SignedPeerEntry) -> Vec<u8> {
    let bytes = wire::encode(of);
    let (payload, _) = wire::decode_first::<Bytes>(&bytes).unwrap();
    payload.to_vec()
}

/// What the siblings of links ask for.
fn sibling(verb: &str, args: &Args<'_>) -> Event {
    match verb {
        "want" | "unwant" => {
            let interest =
                if args.has("streams") { Interest::Streams } else { Interest::Discovery };
            let peer = id(args.word(0));
            if verb == "unwant" {
                return Event::Unwant { interest, peer };
            }
            let addrs = args.read_key("addr").into_iter().collect();
            Event::Want { interest, peer, addrs }
        }
        "open" => {
            let (link, channel) = (LinkId(args.read(0)), ChannelId(args.read(1)));
            Event::Open { link, channel, protocol: Protocol::Stream }
        }
        "write" => {
            let head = wire::Head::new().with(&hex(args.word(1)));
            Event::Write { channel: ChannelId(args.read(0)), head, body: Bytes::new() }
        }
        "send" => {
            let payload = hex(args.word(2)).into();
            Event::SendControl { link: LinkId(args.read(0)), kind: args.read(1), payload }
        }
        "end" => Event::CloseChannel { channel: ChannelId(args.read(0)), code: code(args.word(1)) },
        "close" => Event::CloseLink { link: LinkId(args.read(0)), code: code(args.word(1)) },
        "retire" => Event::RetireLink { link: LinkId(args.read(0)) },
        "shutdown" => Event::Shutdown,
        _ => panic!("no verb `{verb}`"),
    }
}
