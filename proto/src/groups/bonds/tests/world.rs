//! Two ends of bonds, and the wire between them. Each end is what the registry is, but for the groups:
//! what a test wants to see is taken by the test.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::super::*;
use crate::{
    Digest,
    core::Outbox,
    crypto::SecretKey,
    discovery::{Catalog, LocalEntry, PeerEntry},
    groups::{Action, Env, context::Link, context::Shared},
    ids::{LinkId, Side as LinkSide},
    links::{Path, Paths},
    raft::{Lineage, LogIndex, Position, SeatId},
    rng::Rng,
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    time::{Instant, Now, UnixMillis},
};

pub(super) const WALL: u64 = 1_700_000_000_000;
pub(super) const GROUP: &str = "a group";

/// What an end with this seat says of itself.
pub(super) fn announcement(seat: u8, lineage: Option<u8>) -> Announcement {
    Announcement {
        lineage: lineage.map(|lineage| Lineage([lineage; 16])),
        seat: SeatId([seat; 16]),
        boot: 1,
        start: u64::from(seat),
        can_vote: true,
        holds: false,
        leads: false,
        follows: None,
        established: false,
        commands: 0,
        end: Position::default(),
        parent: None,
        left: false,
    }
}

/// A ticket is the moment at which it ends, in milliseconds of wall time; `bad` tickets are refused.
pub(super) struct Until;

impl TicketValidator for Until {
    fn class(&self) -> Digest {
        Digest::from("until")
    }
    fn signature(&self) -> Digest {
        Digest::from("until v1")
    }
    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let millis = ticket.try_into().map_err(|_| InvalidTicket)?;
        Ok(Expiration::at(UnixMillis(u64::from_be_bytes(millis))))
    }
}

pub(super) fn config() -> GroupConfig {
    GroupConfig::new(GroupId::from(GROUP), Digest::from("the secret"))
}

pub(super) fn with_tickets() -> GroupConfig {
    let mut config = config();
    config.validators.push(Arc::new(Until));
    config
}

/// One end.
pub(super) struct Side {
    pub(super) entry: LocalEntry,
    pub(super) me: PeerId,
    pub(super) now: Now,
    pub(super) bonds: Bonds,
    pub(super) shared: Shared,
    pub(super) catalog: Catalog,
    pub(super) paths: Paths,
    pub(super) out: Outbox<Action>,
    /// Channels that were accepted and have not said what they want.
    pending: BTreeMap<ChannelId, (PeerId, FrameReader)>,
    pub(super) events: Vec<BondEvent>,
    pub(super) actions: Vec<Action>,
}

impl Side {
    pub(super) fn new(key: u8, config: &GroupConfig) -> Self {
        let network = Digest::from("net");
        let mut entry =
            LocalEntry::new(network, SecretKey::from_bytes(&[key; 32]), UnixMillis(WALL));
        let group = config.id;
        entry
            .edit(UnixMillis(WALL), |draft| {
                draft.groups().insert(group);
            })
            .expect("small");
        let me = entry.id();
        let catalog = Catalog::new(network, me);
        let shared = Shared::new(Rng::new([key; 32]));
        Self {
            entry,
            me,
            now: Now { mono: Instant::from_millis(1), wall: UnixMillis(WALL) },
            bonds: Bonds::new(config),
            shared,
            catalog,
            paths: Paths::default(),
            out: Outbox::new(),
            pending: BTreeMap::new(),
            events: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Lets the bonds act; takes what they learnt.
    pub(super) fn act<R>(&mut self, act: impl FnOnce(&mut Bonds, &mut Cx<'_>) -> R) -> R {
        let env = Env { now: self.now, catalog: &self.catalog, paths: &self.paths };
        let (me, shared, out) = (self.me, &mut self.shared, &mut self.out);
        let result = act(&mut self.bonds, &mut Cx { env, me, shared, out });
        while let Some(event) = self.bonds.next_event() {
            self.events.push(event);
        }
        result
    }

    pub(super) fn learn(&mut self, entry: &LocalEntry) {
        self.catalog.set(entry.signed().clone());
        let peer = entry.id();
        self.act(|bonds, cx| bonds.consider(&peer, cx));
    }

    pub(super) fn connect(&mut self, peer: PeerId, link: u64, binding: u8) {
        let path =
            Path { link: LinkId(link), rtt: core::time::Duration::ZERO, side: LinkSide::Dialer };
        self.paths.set(peer, Some(path));
        self.shared.links.insert(peer, Link { link: LinkId(link), binding: [binding; 32] });
        self.act(|bonds, cx| bonds.consider(&peer, cx));
    }

    pub(super) fn disconnect(&mut self, peer: PeerId) {
        self.paths.set(peer, None);
        self.shared.links.remove(&peer);
        self.pending.clear();
        self.act(|bonds, cx| bonds.on_disconnected(&peer, cx));
    }

    pub(super) fn accept(&mut self, peer: PeerId, channel: ChannelId) {
        self.pending.insert(channel, (peer, FrameReader::new()));
        self.shared.routes.insert(channel, Route::Pending);
    }

    pub(super) fn data(&mut self, channel: ChannelId, mut chunk: Bytes) {
        while let Some(route) = self.shared.routes.get(&channel).copied() {
            let more = match route {
                Route::Pending => self.open(channel, &mut chunk),
                Route::Bond(_, peer) => {
                    self.act(|bonds, cx| bonds.on_data(&peer, channel, &mut chunk, cx))
                }
            };
            if !more {
                return;
            }
        }
    }

    fn open(&mut self, channel: ChannelId, chunk: &mut Bytes) -> bool {
        let Some((_, reader)) = self.pending.get_mut(&channel) else { return false };
        let Ok(Some(frame)) = reader.read(chunk, frames::opening_limit) else { return false };
        let (open, sealed) = frames::read_open(&frame.payload).expect("tests open well");
        let (peer, reader) = self.pending.remove(&channel).expect("it is there");
        self.shared.routes.remove(&channel);
        let kept =
            self.act(|bonds, cx| bonds.on_opened(peer, (channel, reader), &open, &sealed, cx));
        if let Err(code) = kept {
            self.out.push(Action::Close { channel, code });
        }
        kept.is_ok()
    }

    pub(super) fn down(&mut self, channel: ChannelId) {
        self.pending.remove(&channel);
        if let Some(Route::Bond(_, peer)) = self.shared.routes.remove(&channel) {
            self.act(|bonds, cx| bonds.on_channel_down(&peer, channel, cx));
        }
    }

    /// Time passes; what is due is done.
    pub(super) fn advance(&mut self, millis: u64) {
        let by = core::time::Duration::from_millis(millis);
        self.now.mono = self.now.mono + by;
        self.now.wall = UnixMillis(self.now.wall.0 + millis);
        while let Some(timer) = self.shared.timers.pop_due(self.now.mono) {
            self.act(|bonds, cx| match timer {
                Timer::Bond(_, peer) => bonds.on_timer(&peer, cx),
                Timer::Tickets(_, peer) => bonds.check_tickets(&peer, cx),
                Timer::Pending(_) | Timer::Group(_) => {}
            });
        }
    }

    /// A ticket that is good for so long from now on.
    pub(super) fn buy_ticket(&mut self, millis: u64) {
        let until = self.now.wall.0 + millis;
        let ticket = Ticket::new(Until.class(), Bytes::copy_from_slice(&until.to_be_bytes()));
        self.entry
            .edit(self.now.wall, |draft| {
                draft.tickets().clear();
                draft.tickets().insert(ticket.id(), ticket);
            })
            .expect("small");
    }

    pub(super) fn is_up(&self, peer: &PeerId) -> bool {
        self.bonds.get(peer).is_some()
    }

    /// What was learnt since the last call.
    pub(super) fn learnt(&mut self) -> Vec<BondEvent> {
        core::mem::take(&mut self.events)
    }
}

/// What is under way on a channel.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Up,
    Data(Bytes),
    Down,
}

/// Two ends; `sides[0]` has the smaller id.
pub(super) struct World {
    pub(super) sides: [Side; 2],
    /// The channel of either end that is the other's.
    channels: [BTreeMap<ChannelId, ChannelId>; 2],
    /// To each end: in order on each channel, channels in the order of their first byte.
    pub(super) queues: [VecDeque<(ChannelId, Due)>; 2],
    /// The codes with which each end closed channels.
    pub(super) closed: [Vec<CloseCode>; 2],
    next: u64,
}

impl World {
    /// Two members that know each other and are not linked.
    pub(super) fn new(configs: [&GroupConfig; 2]) -> Self {
        let mut sides = [Side::new(3, configs[0]), Side::new(4, configs[1])];
        if sides[0].me > sides[1].me {
            sides = [Side::new(4, configs[0]), Side::new(3, configs[1])];
        }
        let (channels, queues, closed) = Default::default();
        Self { sides, channels, queues, closed, next: 1 }
    }

    /// Two members with a bond.
    pub(super) fn bonded() -> Self {
        let mut world = Self::new([&config(), &config()]);
        world.meet(Some(7));
        world.run();
        assert!(world.is_up(), "a bond");
        world.sides.iter_mut().for_each(|side| drop(side.learnt()));
        world
    }

    pub(super) fn announce(&mut self, first: Announcement, second: Announcement) {
        self.sides[0].act(|bonds, cx| bonds.announce(first, cx));
        self.sides[1].act(|bonds, cx| bonds.announce(second, cx));
    }

    /// Each learns the other's entry as it is now.
    pub(super) fn introduce(&mut self) {
        let [first, second] = &mut self.sides;
        first.learn(&second.entry);
        second.learn(&first.entry);
    }

    pub(super) fn link(&mut self) {
        self.next += 1;
        let [first, second] = &mut self.sides;
        first.connect(second.me, self.next, self.next as u8);
        second.connect(first.me, self.next, self.next as u8);
    }

    /// Both say what they are, know each other and are linked; nothing is delivered yet.
    pub(super) fn meet(&mut self, lineage: Option<u8>) {
        self.announce(announcement(1, lineage), announcement(2, lineage));
        self.introduce();
        self.link();
    }

    pub(super) fn unlink(&mut self) {
        self.collect();
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.channels.iter_mut().for_each(BTreeMap::clear);
        let [first, second] = &mut self.sides;
        first.disconnect(second.me);
        second.disconnect(first.me);
    }

    pub(super) fn is_up(&self) -> bool {
        let [first, second] = &self.sides;
        first.is_up(&second.me) && second.is_up(&first.me)
    }

    /// Takes what both ends asked for.
    pub(super) fn collect(&mut self) {
        for at in 0..2 {
            let actions: Vec<_> = self.sides[at].out.drain().collect();
            for action in actions {
                match &action {
                    Action::Open { channel, .. } => {
                        self.next += 1;
                        let theirs = ChannelId::driver(self.next);
                        self.channels[at].insert(*channel, theirs);
                        self.channels[1 - at].insert(theirs, *channel);
                        self.queues[1 - at].push_back((theirs, Due::Up));
                    }
                    Action::Write { channel, head, body } => {
                        let bytes = [head.as_slice(), body].concat().into();
                        self.send(at, *channel, Due::Data(bytes));
                    }
                    Action::Close { channel, code } => {
                        self.closed[at].push(*code);
                        self.send(at, *channel, Due::Down);
                    }
                    _ => {}
                }
                self.sides[at].actions.push(action);
            }
        }
    }

    fn send(&mut self, from: usize, channel: ChannelId, due: Due) {
        if let Some(theirs) = self.channels[from].get(&channel) {
            self.queues[1 - from].push_back((*theirs, due));
        }
    }

    /// Delivers the next thing to one end.
    pub(super) fn deliver(&mut self, to: usize) -> bool {
        self.collect();
        let Some((channel, due)) = self.queues[to].pop_front() else { return false };
        let from = self.sides[1 - to].me;
        let side = &mut self.sides[to];
        match due {
            Due::Up => side.accept(from, channel),
            Due::Data(bytes) => side.data(channel, bytes),
            Due::Down => side.down(channel),
        }
        true
    }

    /// Delivers everything.
    pub(super) fn run(&mut self) {
        while self.deliver(0) || self.deliver(1) {}
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.sides.iter_mut().for_each(|side| side.advance(millis));
        self.run();
    }
}

/// A vote asked for in a lineage, of a seat.
pub(super) fn vote(lineage: u8, seat: u8) -> Frame {
    let message = crate::raft::Message::Vote {
        term: crate::raft::Term(1),
        last: Position { term: crate::raft::Term(1), index: LogIndex(1) },
        transfer: false,
    };
    Frame::Raft { lineage: Lineage([lineage; 16]), seat: SeatId([seat; 16]), message }
}
