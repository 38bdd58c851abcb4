//! A host that breaks the protocol on purpose.
//!
//! It has a valid key, links to honest nodes and speaks the hello correctly; behind that it says
//! seeded anything: frames that it saw, flipped, cut, joined, repeated; entries of others that it
//! forged, entries from the future, of keys that it made up; grants and positions that are wrong;
//! floods of channels. What it signs with keys of its own, within the limits of time, is a legal
//! entry, which honest nodes may believe; nothing else is.

mod frames;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::{EndpointAddr, LocalEntry, PeerEntry, PeerEntryVersion},
    ids::{ChannelId, LinkId, Side, StreamId},
    node::{Action, Event},
    rng::Rng,
    time::UnixMillis,
    wire::{CloseCode, Head, Protocol},
};

use self::frames::{CREDIT, HELLO, ITEMS_OF_STREAM, READY, SUBSCRIBE};

/// Frames of others that it remembers.
const SEEN: usize = 64;
/// Keys that it makes up at most: enough to bring honest nodes beyond their full mesh.
const GHOSTS: usize = 48;
/// Links that it has at once at most.
const LINKS: usize = 12;

/// What a hostile host is given.
#[derive(Clone, Debug)]
pub struct HostileSpec {
    /// The network that it claims to be in.
    pub network: NetworkId,
    /// When it starts.
    pub start: Duration,
    /// Whom it attacks.
    pub targets: Vec<crate::net::HostId>,
    /// The streams that it claims to produce, and subscribes to.
    pub streams: Vec<StreamId>,
    /// How often it does something.
    pub every: Duration,
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    side: Side,
    control: Option<ChannelId>,
    greeted: bool,
}

/// The host's program.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub(crate) spec: HostileSpec,
    key: SecretKey,
    address: EndpointAddr,
    entry: LocalEntry,
    rng: Rng,
    targets: Vec<EndpointAddr>,
    links: BTreeMap<LinkId, Link>,
    channels: BTreeMap<ChannelId, LinkId>,
    /// What it said as a producer last: the number that would come next.
    said: BTreeMap<ChannelId, u64>,
    next_channel: u64,
    serial: u64,
    ghosts: Vec<LocalEntry>,
    seen: Vec<Bytes>,
    /// Entries that it signed, which honest nodes may believe.
    pub(crate) signed: Vec<PeerEntry>,
    out: Vec<Action>,
}

impl Hostile {
    pub(crate) fn new(
        spec: HostileSpec,
        key: SecretKey,
        address: EndpointAddr,
        targets: Vec<EndpointAddr>,
        rng: Rng,
        wall: UnixMillis,
    ) -> Self {
        let mut entry = LocalEntry::new(spec.network, key.clone(), wall);
        let edited = entry.edit(wall, |draft| {
            draft.addrs().extend(address.addrs.iter().copied());
            draft.streams().extend(spec.streams.iter().copied());
        });
        assert!(edited.is_ok(), "the entry is within the limits");
        Self {
            signed: vec![entry.signed().entry().clone()],
            spec,
            key,
            address,
            entry,
            rng,
            targets,
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            said: BTreeMap::new(),
            next_channel: 0,
            serial: 0,
            ghosts: Vec::new(),
            seen: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes what it wants done.
    pub(crate) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::LinkUp { link, peer, side, .. } => self.on_link_up(link, peer, side),
            Event::LinkDown { link, .. } => {
                self.links.remove(&link);
                self.channels.retain(|_, of| *of != link);
                self.said.retain(|channel, _| self.channels.contains_key(channel));
            }
            Event::ChannelUp { link, channel } => {
                self.channels.insert(channel, link);
            }
            Event::ChannelDown { channel, .. } => {
                self.channels.remove(&channel);
                self.said.remove(&channel);
            }
            Event::Data { channel, chunk } => self.on_data(channel, chunk),
            _ => {}
        }
    }

    fn on_link_up(&mut self, link: LinkId, peer: PeerId, side: Side) {
        let control = (side == Side::Dialer).then(|| self.open(link, Protocol::Control));
        self.links.insert(link, Link { peer, side, control, greeted: false });
        if let Some(control) = control {
            self.greet(control);
        }
    }

    /// The first bytes of a control channel are answered as they should be.
    fn on_data(&mut self, channel: ChannelId, chunk: Bytes) {
        if self.seen.len() >= SEEN {
            let at = self.rng.below(SEEN as u64) as usize;
            self.seen.swap_remove(at);
        }
        self.seen.push(chunk);
        let Some(id) = self.channels.get(&channel).copied() else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.control == Some(channel) && link.side == Side::Dialer {
            if !std::mem::replace(&mut link.greeted, true) {
                self.write(channel, frames::frame(READY, &[]));
            }
        } else if link.control.is_none() {
            (link.control, link.greeted) = (Some(channel), true);
            self.greet(channel);
        } else if link.control != Some(channel) && self.rng.chance(700_000) {
            // Somebody wants to consume from it.
            let frame = self.as_producer(channel);
            self.write(channel, frame);
        }
    }

    fn greet(&mut self, channel: ChannelId) {
        let hello = frames::hello(&self.spec.network, self.serial, self.entry.signed());
        self.serial += 1;
        self.write(channel, frames::frame(HELLO, &hello));
    }

    /// Does something.
    pub(crate) fn tick(&mut self, wall: UnixMillis) {
        if self.links.len() < LINKS && self.rng.chance(200_000) {
            let at = self.rng.below(self.targets.len() as u64) as usize;
            let EndpointAddr { id, addrs } = self.targets[at].clone();
            self.out.push(Action::Dial { peer: id, addrs: addrs.into_iter().collect() });
        }
        let greeted: Vec<_> = self.links.iter().filter(|(_, link)| link.greeted).collect();
        let Some(at) = self.rng.below(greeted.len().max(1) as u64).try_into().ok() else { return };
        let Some((link, peer, control)) =
            greeted.get::<usize>(at).map(|(id, link)| (**id, link.peer, link.control))
        else {
            return;
        };
        match self.rng.below(20) {
            0..5 => {
                let item = self.item(peer, wall);
                self.control(control, frames::frame(frames::ITEMS, &item));
            }
            5 => self.suspect(control, wall),
            6..9 => {
                let frame = self.noise();
                self.control(control, frame);
            }
            9..13 => self.subscribe(link),
            13..17 => self.meddle(),
            17 => {
                for _ in 0..self.rng.below(80) {
                    let channel = self.open(link, Protocol::Stream);
                    self.write(channel, Bytes::from_static(&[Protocol::Stream as u8]));
                }
            }
            18 => {
                let code = CloseCode::PROTOCOL_VIOLATION;
                self.out.push(Action::CloseLink { link, code });
            }
            _ => {
                let code = CloseCode::GRACEFUL_SHUTDOWN;
                self.out.push(Action::CloseLink { link, code });
            }
        }
    }

    /// An entry or a farewell: legal, forged, old, or from the future.
    fn item(&mut self, victim: PeerId, wall: UnixMillis) -> Vec<u8> {
        let none = PeerEntryVersion::default();
        match self.rng.below(7) {
            0 => {
                self.entry.raise(wall, none);
                self.sign(self.entry.clone(), false)
            }
            1 if self.ghosts.len() < GHOSTS => {
                let key = SecretKey::from(self.rng.fork(&format!("{}", self.serial)).bytes());
                self.serial += 1;
                let mut ghost = LocalEntry::new(self.spec.network, key, wall);
                let _ = ghost.edit(wall, |draft| {
                    draft.addrs().extend(self.address.addrs.iter().copied());
                    draft.streams().extend(self.spec.streams.iter().copied());
                });
                self.ghosts.push(ghost.clone());
                self.sign(ghost, false)
            }
            2 => {
                // DISC-04: too far ahead, by its own word.
                let ahead = UnixMillis(wall.0 + 120_000 + self.rng.below(1 << 40));
                let key = SecretKey::from(self.rng.fork(&format!("{}", self.serial)).bytes());
                self.serial += 1;
                self.sign(LocalEntry::new(self.spec.network, key, ahead), true)
            }
            3 => frames::farewell(&self.entry.depart(wall)),
            4 if !self.ghosts.is_empty() => {
                let at = self.rng.below(self.ghosts.len() as u64) as usize;
                frames::farewell(&self.ghosts[at].depart(wall))
            }
            // Somebody else's entry, newer than any, signed by us.
            _ => {
                let mut forged = LocalEntry::new(self.spec.network, self.key.clone(), wall);
                let above = PeerEntryVersion { incarnation: wall.0 + 1_000, counter: 7 };
                forged.raise(wall, above);
                let item = frames::entry(forged.signed());
                let at = self.rng.below(self.targets.len() as u64) as usize;
                let whom = if self.rng.chance(500_000) { victim } else { self.targets[at].id };
                frames::replace(item, self.key.public().as_bytes(), whom.as_bytes())
            }
        }
    }

    fn sign(&mut self, entry: LocalEntry, future: bool) -> Vec<u8> {
        if !future {
            self.signed.push(entry.signed().entry().clone());
        }
        frames::entry(entry.signed())
    }

    /// Says that somebody is dead who may not be.
    fn suspect(&mut self, control: Option<ChannelId>, wall: UnixMillis) {
        let at = self.rng.below(self.targets.len() as u64) as usize;
        let incarnation = wall.0 - self.rng.below(60_000);
        let version = PeerEntryVersion { incarnation, counter: 1 + self.rng.below(5) };
        let payload = frames::suspect(&self.targets[at].id, version);
        self.control(control, frames::frame(frames::SUSPECT, &payload));
    }

    /// Frames seen, damaged; or no frames at all.
    fn noise(&mut self) -> Bytes {
        let mut bytes = match self.pick() {
            Some(seen) if self.rng.chance(800_000) => seen.to_vec(),
            _ => (0..self.rng.below(64)).map(|_| self.rng.next_u64() as u8).collect(),
        };
        let at = |rng: &mut Rng, bytes: &Vec<u8>| rng.below(bytes.len().max(1) as u64) as usize;
        match self.rng.below(5) {
            0 if !bytes.is_empty() => {
                let place = at(&mut self.rng, &bytes);
                bytes[place] ^= 1 << self.rng.below(8);
            }
            1 => bytes.truncate(at(&mut self.rng, &bytes)),
            2 => bytes.extend(self.pick().unwrap_or_default()),
            3 => {
                let place = at(&mut self.rng, &bytes);
                bytes.rotate_left(place);
            }
            // As it was: repeated.
            _ => {}
        }
        bytes.into()
    }

    fn pick(&mut self) -> Option<Bytes> {
        let at = self.rng.below(self.seen.len().max(1) as u64) as usize;
        self.seen.get(at).cloned()
    }

    fn subscribe(&mut self, link: LinkId) {
        let channel = self.open(link, Protocol::Stream);
        let at = self.rng.below(self.spec.streams.len() as u64) as usize;
        let stream = if self.rng.chance(100_000) {
            StreamId::hash(b"nobody's")
        } else {
            self.spec.streams[at]
        };
        let size = |rng: &mut Rng| [0, 1, 64, 100_000, u64::MAX][rng.below(5) as usize];
        let rng = &mut self.rng;
        let (window, grant) = ((size(rng), size(rng)), (size(rng), size(rng)));
        let resume = rng.chance(300_000).then(|| (size(rng), size(rng)));
        let payload = frames::subscribe(stream, window, grant, resume, size(rng));
        let mut first = vec![Protocol::Stream as u8];
        first.extend(frames::frame(SUBSCRIBE, &payload));
        self.write(channel, first.into());
    }

    /// Grants, nonsense, or the end of one of its channels.
    fn meddle(&mut self) {
        let at = self.rng.below(self.channels.len().max(1) as u64) as usize;
        let Some(channel) = self.channels.keys().nth(at).copied() else { return };
        if self.links.values().any(|link| link.control == Some(channel)) {
            return;
        }
        let frame = match self.rng.below(4) {
            0 => self.as_producer(channel),
            1 => self.noise(),
            2 => {
                let total = self.rng.next_u64() >> self.rng.below(64);
                frames::frame(CREDIT, &frames::numbers(total, u64::MAX >> self.rng.below(64)))
            }
            _ => {
                self.channels.remove(&channel);
                let code = CloseCode::CANCELLED;
                return self.out.push(Action::CloseChannel { channel, code });
            }
        };
        self.write(channel, frame);
    }

    /// What a producer says: an answer, then items whose numbers may jump or, at times, go back.
    fn as_producer(&mut self, channel: ChannelId) -> Bytes {
        let rng = &mut self.rng;
        let lies = rng.chance(150_000);
        let Some(next) = self.said.get_mut(&channel).filter(|_| !lies) else {
            let start = rng.below(1_000);
            self.said.insert(channel, start);
            let (incarnation, kind) = (rng.below(3), rng.below(2) as u8);
            return frames::frame(frames::ACCEPT, &frames::accept(incarnation, start, kind));
        };
        let count = rng.below(5) as u32;
        let first = if rng.chance(100_000) { rng.below(1_100) } else { *next };
        *next = first + u64::from(count) + if rng.chance(300_000) { rng.below(50) } else { 0 };
        let said = count + u32::from(rng.chance(50_000));
        let payload = frames::items(first, said, count, rng.below(300) as usize);
        frames::frame(ITEMS_OF_STREAM, &payload)
    }

    fn control(&mut self, control: Option<ChannelId>, frame: Bytes) {
        if let Some(channel) = control {
            self.write(channel, frame);
        }
    }

    fn open(&mut self, link: LinkId, protocol: Protocol) -> ChannelId {
        let channel = ChannelId::core(self.next_channel);
        self.next_channel += 1;
        self.channels.insert(channel, link);
        self.out.push(Action::OpenChannel { link, channel, protocol });
        if protocol == Protocol::Control {
            self.write(channel, Bytes::from_static(&[Protocol::Control as u8]));
        }
        channel
    }

    fn write(&mut self, channel: ChannelId, body: Bytes) {
        self.out.push(Action::Write { channel, head: Head::new(), body });
    }
}
