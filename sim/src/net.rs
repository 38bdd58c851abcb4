//! The network: links as QUIC gives them, over paths that lose, delay and cut.
//!
//! A *path* is an ordered pair of hosts. It has a latency drawn once per pair, jitter per burst,
//! and may be cut. A *link* joins two processes; its *channels* are reliable and ordered each, but
//! not among themselves, and share the uplink of their sender. Loss is a delay here: what QUIC
//! would send again arrives one probe timeout later, and costs its bytes twice.
//!
//! The network holds no time: every call gets `now` and leaves effects, which are packets to
//! hand back later and events for the nodes.

mod dial;
mod ends;
mod halves;
mod link;
mod path;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    PeerId,
    ids::{ChannelId, LinkId},
    node::Event,
    rng::Rng,
    time::Instant,
    wire::CloseCode,
};

use self::{dial::Dial, link::Link};

/// A host: an address with a key, on which processes start and die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// A process: the n-th start of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Where it runs.
    pub host: HostId,
    /// How often the host was started before.
    pub boot: u32,
}

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// One-way latency, drawn once per pair of hosts.
    pub latency: RangeInclusive<Duration>,
    /// Each burst takes up to this many percent of the latency longer.
    pub jitter_percent: u32,
    /// Packets lost per million.
    pub loss_ppm: u32,
    /// Dials that the dialling transport refuses, per million.
    pub dial_failure_ppm: u32,
    /// Bytes per second that a host can send.
    pub uplink: u64,
    /// Bytes of one channel that may be under way and not yet acknowledged.
    pub window: usize,
    /// A link end that hears nothing for this long is down.
    pub idle: Duration,
    /// Each end of a link sends something at least this often, and so hears as often.
    pub keep_alive: Duration,
    /// A dial that is not answered for this long has failed.
    pub dial_timeout: Duration,
    /// The two directions of a channel end one by one, and what arrives is credited when it is read,
    /// as transports see it. Otherwise a channel ends as a whole, as nodes see it.
    pub halves: bool,
}

impl Default for Options {
    /// A local network without faults.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(250)..=Duration::from_micros(750),
            jitter_percent: 10,
            loss_ppm: 0,
            dial_failure_ppm: 0,
            uplink: 125_000_000,
            window: 1024 * 1024,
            idle: Duration::from_secs(5),
            keep_alive: Duration::from_millis(1_500),
            dial_timeout: Duration::from_secs(5),
            halves: false,
        }
    }
}

impl Options {
    /// A wide area network: 10 to 50 ms one way.
    #[must_use]
    pub fn wan() -> Self {
        Self { latency: Duration::from_millis(10)..=Duration::from_millis(50), ..Self::default() }
    }
}

/// What a host has sent, as it would look on the wire (IP and UDP included).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All bytes, keep-alives excepted.
    pub wire: u64,
    /// The part that was written to channels, sent once.
    pub payload: u64,
    /// Packets with payload, repeated ones included.
    pub packets: u64,
    /// Links that it dialled or accepted.
    pub handshakes: u64,
}

/// A consequence of a call: schedule a packet, or tell a process something now.
#[derive(Debug)]
pub(crate) enum Effect {
    At(Instant, Packet),
    Tell(Process, Event),
    /// The other end reads no more of a channel (with [`Options::halves`]).
    Stopped(Process, ChannelId, CloseCode),
}

type LinkKey = u64;
type DialKey = u64;

/// Which end of a link: 0 dialled, 1 was dialled.
type End = usize;

/// Something on its way. Given back to [`Net::arrive`] at its time.
#[derive(Debug)]
pub(crate) enum Packet {
    /// The first flight of a handshake reaches the listener.
    Hello { dial: DialKey, tries: u32 },
    /// The answer reaches the dialler.
    Answer { dial: DialKey, listener: Process, tries: u32 },
    /// The last flight reaches the listener.
    Confirm { link: LinkKey, tries: u32 },
    /// The dialler gives up.
    GiveUp { dial: DialKey },
    /// Bytes of a channel, or its end.
    Burst { link: LinkKey, from: End, channel: u64, number: u64, burst: Burst },
    /// The sender's transport took bytes from its queue.
    Taken { link: LinkKey, from: End, channel: u64, bytes: usize },
    /// The sender learns that bytes arrived.
    Ack { link: LinkKey, from: End, channel: u64, bytes: usize },
    /// A link is closed.
    Close { link: LinkKey, to: End, code: CloseCode },
    /// An end may have heard nothing for the idle time.
    Idle { link: LinkKey, end: End, token: u64 },
    /// An end learns that the other has forgotten the link.
    Reset { link: LinkKey, to: End },
    /// Both ends measure the round-trip time.
    Measure { link: LinkKey },
}

/// What one burst carries.
#[derive(Clone, Debug)]
pub(crate) enum Burst {
    Data(Bytes),
    Fin,
    Reset(CloseCode),
    /// The sender of this reads no more of what comes the other way.
    Stop(CloseCode),
}

#[derive(Debug)]
struct NetHost {
    peer: PeerId,
    /// The running process.
    boot: Option<u32>,
    next_link: u64,
    next_channel: u64,
    /// Until when the uplink is taken.
    busy: Instant,
    traffic: Traffic,
}

/// The whole network of a world.
#[derive(Debug)]
pub struct Net {
    /// May be changed at any time; what is under way stays as it is.
    pub options: Options,
    seeds: Rng,
    rng: Rng,
    hosts: Vec<NetHost>,
    by_addr: BTreeMap<SocketAddr, HostId>,
    latencies: BTreeMap<(HostId, HostId), Duration>,
    /// How many faults cut each path at the moment.
    cuts: BTreeMap<(HostId, HostId), u32>,
    links: BTreeMap<LinkKey, Link>,
    dials: BTreeMap<DialKey, Dial>,
    by_link: BTreeMap<(HostId, LinkId), (LinkKey, End)>,
    by_channel: BTreeMap<(HostId, ChannelId), (LinkKey, u64, End)>,
    /// Ends with bytes to send that were written in this step.
    dirty: BTreeSet<(LinkKey, End)>,
    numbers: u64,
    effects: Vec<Effect>,
}

impl Net {
    /// An empty network.
    pub(crate) fn new(rng: &Rng, options: Options) -> Self {
        Self {
            options,
            seeds: rng.fork("latency"),
            rng: rng.fork("packets"),
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            latencies: BTreeMap::new(),
            cuts: BTreeMap::new(),
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            by_link: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            dirty: BTreeSet::new(),
            numbers: 0,
            effects: Vec::new(),
        }
    }

    /// Adds a host without a process.
    pub(crate) fn add_host(&mut self, peer: PeerId, addr: SocketAddr) -> HostId {
        let id = HostId(self.hosts.len());
        self.by_addr.insert(addr, id);
        self.hosts.push(NetHost {
            peer,
            boot: None,
            next_link: 0,
            next_channel: 0,
            busy: Instant::ZERO,
            traffic: Traffic::default(),
        });
        id
    }

    /// Who answers at a host from now on.
    pub(crate) fn set_peer(&mut self, host: HostId, peer: PeerId) {
        self.hosts[host.0].peer = peer;
    }

    /// A process starts on a host.
    pub(crate) fn start(&mut self, process: Process) {
        self.hosts[process.host.0].boot = Some(process.boot);
    }

    /// The process of a host is gone without a word; the other ends will find out by themselves.
    pub(crate) fn die(&mut self, now: Instant, host: HostId) {
        self.hosts[host.0].boot = None;
        self.dials.retain(|_, dial| dial.from.host != host);
        let ends: Vec<_> = self.by_link_of(host).collect();
        for (key, end) in ends {
            self.drop_end(now, key, end);
        }
    }

    /// What a host has sent so far.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.hosts[host.0].traffic
    }

    /// The pairs of hosts that have a link which is up at both ends, once per link.
    pub fn links(&self) -> impl Iterator<Item = (HostId, HostId)> {
        self.links.values().filter(|link| link.is_up()).map(|link| link.hosts())
    }

    /// The links of a host that it has not lost.
    pub(crate) fn links_of(&self, host: HostId) -> Vec<LinkId> {
        let all = (host, LinkId(0))..=(host, LinkId(u64::MAX));
        self.by_link.range(all).map(|((_, link), _)| *link).collect()
    }

    /// Takes what the calls since the last time led to.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Gives a packet back at its time.
    pub(crate) fn arrive(&mut self, now: Instant, packet: Packet) {
        match packet {
            Packet::Hello { dial, tries } => self.on_hello(now, dial, tries),
            Packet::Answer { dial, listener, tries } => {
                self.on_answer(now, dial, listener, tries);
            }
            Packet::Confirm { link, tries } => self.on_confirm(now, link, tries),
            Packet::GiveUp { dial } => self.on_give_up(dial),
            Packet::Burst { link, from, channel, number, burst } => {
                self.on_burst(now, link, from, channel, number, burst);
            }
            Packet::Taken { link, from, channel, bytes } => {
                self.on_taken(link, from, channel, bytes);
            }
            Packet::Ack { link, from, channel, bytes } => {
                self.on_ack(now, link, from, channel, bytes);
            }
            Packet::Close { link, to, code } => self.on_close(now, link, to, code),
            Packet::Idle { link, end, token } => self.on_idle(now, link, end, token),
            Packet::Reset { link, to } => self.on_reset(now, link, to),
            Packet::Measure { link } => self.on_measure(now, link),
        }
        self.flush(now);
    }

    /// From whom to whom bytes of a channel are, if the packet carries any.
    pub(crate) fn path_of(&self, packet: &Packet) -> Option<(HostId, HostId)> {
        let Packet::Burst { link, from, .. } = packet else { return None };
        let (dialer, listener) = self.links.get(link)?.hosts();
        Some(if *from == 0 { (dialer, listener) } else { (listener, dialer) })
    }

    /// Channels that exist in the network, half closed ones included.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.links.values().map(|link| link.channels.len()).sum()
    }

    fn tell(&mut self, process: Process, event: Event) {
        self.effects.push(Effect::Tell(process, event));
    }

    fn at(&mut self, at: Instant, packet: Packet) {
        self.effects.push(Effect::At(at, packet));
    }

    const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn is_running(&self, process: Process) -> bool {
        self.hosts[process.host.0].boot == Some(process.boot)
    }

    fn by_link_of(&self, host: HostId) -> impl Iterator<Item = (LinkKey, End)> + '_ {
        let all = (host, LinkId(0))..=(host, LinkId(u64::MAX));
        self.by_link.range(all).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests;
