//! Whom this member is bonded with: finding them, proof, announcements, channels.

mod further;

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use bytes::Bytes;

use super::{
    Counter, GroupConfig,
    bond::{Bond, Lane, Phase, Which},
    context::{Cx, Route, Timer},
    frames::{self, Announcement, Class, Frame, Heard, Open},
    gate::Gate,
    key::{End, Prover},
};
use crate::{
    discovery::PeerEntry,
    ids::{ChannelId, GroupId, PeerId},
    limits,
    mutant::{self, Mutant},
    wire::{self, CloseCode, FrameReader},
};

/// What a group learns from its bonds. One call makes few of them, and the group takes them before the
/// next: what [`Bonds::get`] says is what was so when the frame was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BondEvent {
    /// A member is bonded with; its announcement can be had.
    Up(PeerId),
    /// Its announcement changed.
    Changed(PeerId),
    /// It is not bonded with any more. What was under way to it may be lost.
    Down(PeerId),
    /// It says something.
    Frame { peer: PeerId, frame: Frame },
    /// Bytes of an unfinished frame came: it is alive, however long the frame takes.
    Progress { peer: PeerId, class: Class },
    /// The transport took bytes: there may be room again.
    Drained { peer: PeerId, class: Class },
    /// A further channel ended, and what was under way on it is lost. Who opened it opens another when
    /// it has something to say.
    Closed { peer: PeerId, class: Class, accepted: bool },
}

/// A peer that is or may be a member.
#[derive(Debug, Default)]
struct Peer {
    bond: Option<Bond>,
    /// Attempts that failed in a row.
    failures: u32,
}

/// The bonds of one group.
#[derive(Debug)]
pub(super) struct Bonds {
    group: GroupId,
    prover: Prover,
    gate: Gate,
    /// What we say of ourselves; nobody is bonded with before.
    mine: Option<Announcement>,
    peers: BTreeMap<PeerId, Peer>,
    /// How many bonds are up.
    up: usize,
    events: VecDeque<BondEvent>,
}

/// Why a bond cannot be or go on.
type Refusal = CloseCode;

impl Bonds {
    /// Without bonds; they begin with the first [`announce`](Self::announce).
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            group: config.id,
            prover: Prover::new(config.id, &config.secret),
            gate: Gate::new(config),
            mine: None,
            peers: BTreeMap::new(),
            up: 0,
            events: VecDeque::new(),
        }
    }

    // --- for the group ---------------------------------------------------------------------

    /// The next thing that happened.
    pub(super) fn next_event(&mut self) -> Option<BondEvent> {
        self.events.pop_front()
    }

    /// The bonded members with what they announced, in the order of their ids.
    pub(super) fn peers(&self) -> impl Iterator<Item = (PeerId, &Announcement)> {
        self.peers.iter().filter_map(|(id, peer)| {
            let bond = peer.bond.as_ref().filter(|bond| bond.is_up())?;
            Some((*id, bond.theirs.as_ref()?))
        })
    }

    /// True if somebody is linked who may be a member, and whose handshake is not over yet.
    pub(super) fn is_shaking(&self, cx: &Cx<'_>) -> bool {
        self.peers.iter().any(|(id, peer)| {
            let up = peer.bond.as_ref().is_some_and(Bond::is_up);
            !up && peer.failures == 0 && cx.shared.links.contains_key(id)
        })
    }

    /// What a bonded member announced last.
    pub(super) fn get(&self, peer: &PeerId) -> Option<&Announcement> {
        self.bond(peer)?.theirs.as_ref()
    }

    /// What we announced last.
    pub(super) const fn mine(&self) -> Option<&Announcement> {
        self.mine.as_ref()
    }

    /// Bytes written to a member and not yet drained, on its channels of a class.
    pub(super) fn debt(&self, peer: &PeerId, class: Class) -> u64 {
        let Some(bond) = self.bond(peer) else { return 0 };
        if class == Class::Bond {
            return bond.main.debt;
        }
        let debt = |accepted| bond.lane(Which { class, accepted }).map_or(0, |lane| lane.debt);
        debt(false) + debt(true)
    }

    /// Says what is so from now on: to all who are bonded with, and to all who will be. What is sent
    /// afterwards is said in this lineage and by this seat (GRP-05), so it comes first.
    pub(super) fn announce(&mut self, announcement: Announcement, cx: &mut Cx<'_>) {
        if self.mine.as_ref() == Some(&announcement) {
            return;
        }
        let before = self.mine.replace(announcement);
        let Some(before) = before else { return self.look_around(cx) };
        let Some(mine) = &self.mine else { return };
        let moved = (before.lineage, before.seat) != (mine.lineage, mine.seat);
        let bytes = wire::encode(mine);
        for bond in self.peers.values_mut().filter_map(|peer| peer.bond.as_mut()) {
            let sealed = seal(&self.prover, bond, cx.me, &bytes);
            bond.main.put_announce(&sealed, cx);
            bond.said += 1;
            if moved {
                bond.moved = bond.said;
            }
        }
        self.end_deaf(cx);
    }

    /// GRP-09: who does not read is not waited for.
    fn end_deaf(&mut self, cx: &mut Cx<'_>) {
        let deaf =
            |peer: &Peer| peer.bond.as_ref().is_some_and(|bond| bond.main.debt > limits::BOND_DEBT);
        for peer in
            self.peers.iter().filter(|(_, peer)| deaf(peer)).map(|(id, _)| *id).collect::<Vec<_>>()
        {
            self.end(&peer, CloseCode::GROUP_TIMEOUT, cx);
        }
    }

    /// Sends a frame to a bonded member. False if it cannot go: there is no bond, it is not of that
    /// lineage or seat (Raft), or [`limits::CHANNEL_DEBT`] is reached (commands, snapshots).
    pub(super) fn send(&mut self, to: &PeerId, frame: &Frame, cx: &mut Cx<'_>) -> bool {
        let mine = self.mine.as_ref().and_then(|mine| mine.lineage);
        let Some(bond) = self.bond_mut(to) else {
            return false;
        };
        let Some(theirs) = bond.theirs.as_ref().filter(|_| bond.phase == Phase::Up) else {
            return false;
        };
        if let Frame::Raft { lineage, seat, .. } = frame
            && (mine != Some(*lineage) || theirs.lineage != Some(*lineage) || theirs.seat != *seat)
        {
            return false;
        }
        let which = Which { class: frame.class(), accepted: frame.is_answer() };
        if which.class != Class::Bond && !self.has_room(to, which, cx) {
            return false;
        }
        let Some(bond) = self.bond_mut(to) else {
            return false;
        };
        let heard = bond.heard;
        let Some(lane) = bond.lane_mut(which) else { return false };
        let before = lane.debt;
        lane.put_frame(frame, heard, cx);
        let (bytes, debt) = (lane.debt - before, lane.debt);
        cx.count(Counter::Sent(self.group, bytes as u32));
        if which.class == Class::Bond && debt > limits::BOND_DEBT {
            // GRP-09: who does not read is not waited for.
            self.end(to, CloseCode::GROUP_TIMEOUT, cx);
            return false;
        }
        true
    }

    /// Ends the bond with a member, and tells it why. It is tried again after a while.
    pub(super) fn refuse(&mut self, peer: &PeerId, code: CloseCode, cx: &mut Cx<'_>) {
        if self.peers.get(peer).is_some_and(|peer| peer.bond.is_some()) {
            cx.count(Counter::BondRefused(self.group, code));
            self.end(peer, code, cx);
        }
    }

    /// Ends all bonds, for good.
    pub(super) fn close_all(&mut self, code: CloseCode, cx: &mut Cx<'_>) {
        self.mine = None;
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.end(&peer, code, cx);
            self.forget(&peer, cx);
        }
    }

    // --- peers and links -------------------------------------------------------------------

    /// GRP-03: looks at a peer anew: its entry, its link or our own state changed.
    pub(super) fn consider(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        if self.mine.is_none() || *peer == cx.me {
            return;
        }
        let bonded = self.peers.get(peer).is_some_and(|peer| peer.bond.is_some());
        let Some(entry) = cx.env.catalog.get(peer) else {
            // A member that leaves says so on its channel; one that died loses its link.
            if !bonded {
                self.forget(peer, cx);
            }
            return;
        };
        let listed = entry.groups().contains(&self.group);
        if !bonded && !listed {
            return self.forget(peer, cx);
        }
        if self.gate.judge(entry, cx).is_err() {
            self.refuse(peer, CloseCode::GROUP_NOT_ALLOWED, cx);
            return self.forget(peer, cx);
        }
        if !self.peers.contains_key(peer) && !self.admit(peer, cx) {
            return;
        }
        if !bonded {
            self.attempt(peer, cx);
        }
    }

    /// The link to a peer is gone; its channels were before.
    pub(super) fn on_disconnected(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        self.end(peer, CloseCode::UNEXPECTED, cx);
        cx.set_timer(Timer::Bond(self.group, *peer), None);
        self.consider(peer, cx);
    }

    /// The bond's timer: the handshake is overdue, or the wait is over.
    pub(super) fn on_timer(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let bonding = self.peers.get(peer).and_then(|kept| kept.bond.as_ref());
        match bonding.map(Bond::is_up) {
            Some(true) => {}
            Some(false) => self.refuse(peer, CloseCode::GROUP_TIMEOUT, cx),
            None => self.consider(peer, cx),
        }
    }

    /// GRP-04: ends the bond with a member whose tickets are over, or says when to look again.
    pub(super) fn check_tickets(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        if !self.peers.contains_key(peer) {
            return;
        }
        // Of a member that is not known any more nothing new can be judged; its link ends soon.
        let Some(entry) = cx.env.catalog.get(peer) else { return };
        if self.gate.judge(entry, cx).is_err() {
            self.refuse(peer, CloseCode::GROUP_NOT_ALLOWED, cx);
            self.forget(peer, cx);
        }
    }

    /// Everybody who is known to be a member.
    fn look_around(&mut self, cx: &mut Cx<'_>) {
        let listed = cx.env.catalog.peers().filter(|entry| entry.groups().contains(&self.group));
        for peer in listed.map(PeerEntry::id).collect::<Vec<_>>() {
            self.consider(&peer, cx);
        }
    }

    /// Begins to keep a peer, if there is room.
    fn admit(&mut self, peer: &PeerId, cx: &mut Cx<'_>) -> bool {
        if self.peers.len() >= limits::BONDS {
            return false;
        }
        self.peers.insert(*peer, Peer::default());
        cx.want(*peer, self.group);
        true
    }

    fn forget(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        if self.peers.remove(peer).is_some() {
            cx.unwant(*peer, self.group);
        }
        cx.set_timer(Timer::Bond(self.group, *peer), None);
        cx.set_timer(Timer::Tickets(self.group, *peer), None);
    }

    // --- the handshake ---------------------------------------------------------------------

    /// Opens a bond, if it is ours to open: the smaller id does.
    fn attempt(&mut self, peer: &PeerId, cx: &mut Cx<'_>) {
        let Some(mine) = self.mine.as_ref().filter(|_| cx.me < *peer) else { return };
        let Some(kept) = self.peers.get_mut(peer).filter(|kept| kept.bond.is_none()) else {
            return;
        };
        let Some(link) = cx.shared.links.get(peer).copied() else { return };
        let channel = cx.open(link.link, Route::Bond(self.group, *peer));
        let serial = cx.next_serial();
        let lane = Lane::new(channel, FrameReader::new());
        let mut bond = Bond::new(Phase::Opening, serial, link.binding, lane, cx.now());
        let sealed = seal(&self.prover, &bond, cx.me, &wire::encode(mine));
        bond.said = 1;
        bond.moved = 1;
        let open = Open { group: self.group, class: Class::Bond, serial };
        bond.main.put_open(&open, &sealed, cx);
        kept.bond = Some(bond);
        cx.set_timer(Timer::Bond(self.group, *peer), Some(cx.now() + limits::BOND_TIMEOUT));
    }

    /// A peer opened a channel: keeps it, or says why not.
    pub(super) fn on_opened(
        &mut self,
        peer: PeerId,
        (channel, reader): (ChannelId, FrameReader),
        open: &Open,
        sealed: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        if open.class != Class::Bond {
            return self.on_further(peer, (channel, reader), open.class, cx);
        }
        let (Some(mine), Some(link)) = (&self.mine, cx.shared.links.get(&peer).copied()) else {
            return Err(CloseCode::GROUP_NOT_FOUND);
        };
        let mine = wire::encode(mine);
        // The proof comes first: nobody else is to learn that this node is in the group.
        let theirs = self.verify(&link.binding, &peer, End::Opener, sealed)?;
        if cx.me < peer {
            return Err(CloseCode::PROTOCOL_VIOLATION);
        }
        let entry = cx.env.catalog.get(&peer).ok_or(CloseCode::UNKNOWN_PEER)?;
        self.gate.judge(entry, cx)?;
        let before = self.peers.get(&peer).and_then(|kept| kept.bond.as_ref());
        if before.is_some_and(|before| before.serial >= open.serial) {
            return Err(CloseCode::GROUP_ALREADY_BONDED);
        }
        // Its other end gave the earlier one up.
        self.end(&peer, CloseCode::GROUP_ALREADY_BONDED, cx);
        if !self.peers.contains_key(&peer) && !self.admit(&peer, cx) {
            return Err(CloseCode::BUSY);
        }
        let lane = Lane::new(channel, reader);
        let mut bond = Bond::new(Phase::Answered, open.serial, link.binding, lane, cx.now());
        bond.theirs = Some(theirs);
        bond.heard = 1;
        let sealed = seal(&self.prover, &bond, cx.me, &mine);
        bond.said = 1;
        bond.moved = 1;
        bond.main.put_announce(&sealed, cx);
        cx.shared.routes.insert(channel, Route::Bond(self.group, peer));
        self.peers.entry(peer).or_default().bond = Some(bond);
        cx.set_timer(Timer::Bond(self.group, peer), Some(cx.now() + limits::BOND_TIMEOUT));
        Ok(())
    }

    /// The bond is up, if it was not yet.
    fn raise(&mut self, peer: PeerId, cx: &mut Cx<'_>) {
        let Some(bond) = self.bond_mut(&peer) else {
            return;
        };
        if bond.phase != Phase::Up {
            bond.phase = Phase::Up;
            bond.since = cx.now();
            self.up += 1;
            cx.set_timer(Timer::Bond(self.group, peer), None);
            cx.count(Counter::Bonds(self.group, self.up));
            self.events.push_back(BondEvent::Up(peer));
        }
    }

    fn verify(
        &self,
        binding: &[u8; 32],
        sender: &PeerId,
        end: End,
        sealed: &[u8],
    ) -> Result<Announcement, Refusal> {
        let (proof, bytes) =
            frames::read_sealed(sealed).map_err(|_| CloseCode::PROTOCOL_VIOLATION)?;
        // Compared in constant time.
        let right = self.prover.proof(binding, sender, end, bytes);
        if right != blake3::Hash::from_bytes(proof) && !mutant::on(Mutant::ProofUnchecked) {
            return Err(CloseCode::GROUP_NOT_FOUND);
        }
        wire::decode(bytes).map_err(|_| CloseCode::PROTOCOL_VIOLATION)
    }

    // --- channels --------------------------------------------------------------------------

    /// Reads the next frame from the front of `chunk`. False if there is none: the chunk is used up,
    /// or the channel is closed.
    pub(super) fn on_data(
        &mut self,
        peer: &PeerId,
        channel: ChannelId,
        chunk: &mut Bytes,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(bond) = self.bond_mut(peer) else {
            return false;
        };
        let Some(which) = bond.which(channel) else { return false };
        let Some(lane) = bond.lane_mut(which) else { return false };
        let limit = |kind| frames::limit(which.class, which.accepted, kind);
        let result = match lane.reader.read(chunk, limit) {
            Ok(Some(frame)) => {
                let bytes = wire::HEADER_LEN + frame.payload.len();
                cx.count(Counter::Received(self.group, bytes as u32));
                self.on_frame(peer, which, frame.kind, &frame.payload, cx)
            }
            Ok(None) => {
                if lane.reader.held() > 0 && bond.is_up() {
                    self.events.push_back(BondEvent::Progress { peer: *peer, class: which.class });
                }
                return false;
            }
            Err(_) => Err(CloseCode::PROTOCOL_VIOLATION),
        };
        if let Err(code) = result {
            if code == CloseCode::PROTOCOL_VIOLATION {
                cx.count(Counter::Violation(self.group));
            }
            self.refuse(peer, code, cx);
        }
        true
    }

    fn on_frame(
        &mut self,
        peer: &PeerId,
        which: Which,
        kind: u8,
        payload: &Bytes,
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        const VIOLATION: CloseCode = CloseCode::PROTOCOL_VIOLATION;
        let Some(bond) = self.peers.get(peer).and_then(|kept| kept.bond.as_ref()) else {
            return Ok(());
        };
        match (which.class, kind, bond.phase) {
            (Class::Bond, frames::ANNOUNCE, _) => return self.on_announce(peer, payload, cx),
            (Class::Bond, frames::READY, Phase::Answered) => {
                self.raise(*peer, cx);
                return Ok(());
            }
            // A further channel overtook it.
            (Class::Bond, frames::READY, _) if bond.end == End::Acceptor => return Ok(()),
            (_, _, Phase::Up) => {}
            _ => return Err(VIOLATION),
        }
        let theirs = bond.theirs.as_ref().ok_or(VIOLATION)?;
        let frame = match frames::read(kind, payload).map_err(|_| VIOLATION)? {
            Heard::Frame(frame) => frame,
            Heard::Raft { heard, message } => {
                if heard > bond.said {
                    return Err(VIOLATION);
                }
                let mine = self.mine.as_ref().and_then(|mine| mine.lineage);
                if heard < bond.moved && !mutant::on(Mutant::FormerSeatHears) {
                    // GRP-06: it was meant for who we were.
                    return Ok(());
                }
                let lineage = theirs.lineage.filter(|_| mine == theirs.lineage).ok_or(VIOLATION)?;
                Frame::Raft { lineage, seat: theirs.seat, message }
            }
        };
        self.events.push_back(BondEvent::Frame { peer: *peer, frame });
        Ok(())
    }

    fn on_announce(
        &mut self,
        peer: &PeerId,
        sealed: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        let Some(bond) = self.peers.get(peer).and_then(|kept| kept.bond.as_ref()) else {
            return Ok(());
        };
        let announcement = self.verify(&bond.binding, peer, bond.end.other(), sealed)?;
        let Some(bond) = self.bond_mut(peer) else {
            return Ok(());
        };
        bond.heard += 1;
        bond.theirs = Some(announcement);
        match bond.phase {
            Phase::Opening => {
                bond.main.put_ready(cx);
                self.raise(*peer, cx);
            }
            Phase::Answered => {}
            Phase::Up => self.events.push_back(BondEvent::Changed(*peer)),
        }
        Ok(())
    }

    /// The transport took bytes of ours.
    pub(super) fn on_drained(&mut self, peer: &PeerId, channel: ChannelId, bytes: u32) {
        let Some(bond) = self.bond_mut(peer) else {
            return;
        };
        let Some(which) = bond.which(channel) else { return };
        if let Some(lane) = bond.lane_mut(which) {
            lane.debt = lane.debt.saturating_sub(u64::from(bytes));
            if which.class != Class::Bond {
                let (peer, class) = (*peer, which.class);
                self.events.push_back(BondEvent::Drained { peer, class });
            }
        }
    }

    /// A channel ended by the other end. Without its main channel a bond is over; a further one is
    /// opened again when it is needed.
    pub(super) fn on_channel_down(&mut self, peer: &PeerId, channel: ChannelId, cx: &mut Cx<'_>) {
        let Some(bond) = self.bond_mut(peer) else {
            return;
        };
        match bond.which(channel) {
            Some(Which { class: Class::Bond, .. }) => self.end(peer, CloseCode::CANCELLED, cx),
            Some(which) => self.forget_further(peer, which),
            None => {}
        }
    }

    /// The bond is over, if there was one: all its channels end, and it is tried again later.
    fn end(&mut self, peer: &PeerId, code: CloseCode, cx: &mut Cx<'_>) {
        let Some(kept) = self.peers.get_mut(peer) else { return };
        let Some(bond) = kept.bond.take() else { return };
        let was_up = bond.is_up();
        if was_up && cx.now().since(bond.since) >= limits::BOND_RETRY_MAX {
            kept.failures = 0;
        }
        bond.close(code, cx);
        let doubled = limits::BOND_RETRY_MIN.saturating_mul(1 << kept.failures.min(8));
        let wait = cx.shared.rng.jittered(doubled.min(limits::BOND_RETRY_MAX), 4);
        kept.failures = kept.failures.saturating_add(1);
        cx.set_timer(Timer::Bond(self.group, *peer), Some(cx.now() + wait));
        if was_up {
            self.up -= 1;
            cx.count(Counter::Bonds(self.group, self.up));
            self.events.push_back(BondEvent::Down(*peer));
        }
    }

    fn bond(&self, peer: &PeerId) -> Option<&Bond> {
        self.peers.get(peer)?.bond.as_ref().filter(|bond| bond.is_up())
    }

    fn bond_mut(&mut self, peer: &PeerId) -> Option<&mut Bond> {
        self.peers.get_mut(peer)?.bond.as_mut()
    }
}

/// An announcement of ours with its proof in front.
fn seal(prover: &Prover, bond: &Bond, me: PeerId, announcement: &[u8]) -> Vec<u8> {
    let proof = prover.proof(&bond.binding, &me, bond.end, announcement);
    [&proof.as_bytes()[..], announcement].concat()
}

#[cfg(test)]
mod tests;
