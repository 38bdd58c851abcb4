//! Links and their channels: writing, pumping, arriving, closing.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    Digest,
    ids::{ChannelId, LinkId},
    links::DownReason,
    node::Event,
    time::Instant,
    wire::{CloseCode, Head},
};

use super::{Burst, End, HostId, LinkKey, Net, Packet, Process};

/// The most bytes that travel as one.
const BURST: usize = 16 * 1024;
/// One chunk in so many (per million) is cut in two before it is given to a node.
const CUT_PPM: u32 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The listener before the last flight of the handshake.
    Pending,
    Up,
    Down,
}

#[derive(Debug)]
pub(super) struct LinkEnd {
    pub(super) process: Process,
    pub(super) id: LinkId,
    pub(super) state: State,
    /// Hears nothing since this number was drawn.
    pub(super) deaf: Option<u64>,
}

impl LinkEnd {
    pub(super) const fn new(process: Process, id: LinkId, state: State) -> Self {
        Self { process, id, state, deaf: None }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [LinkEnd; 2],
    pub(super) rtt: Duration,
    pub(super) channels: BTreeMap<u64, Channel>,
    next_channel: u64,
    /// What arrived while its path was cut: sent again when it is mended.
    pub(super) held: [Vec<Packet>; 2],
}

impl Link {
    pub(super) const fn new(ends: [LinkEnd; 2], rtt: Duration) -> Self {
        let held = [Vec::new(), Vec::new()];
        Self { ends, rtt, channels: BTreeMap::new(), next_channel: 0, held }
    }

    /// What both ends of this link know, and nobody else.
    pub(super) fn binding(key: LinkKey) -> [u8; 32] {
        *Digest::zero().derive(key.to_le_bytes()).as_bytes()
    }

    pub(super) fn is_up(&self) -> bool {
        self.ends.iter().all(|end| end.state == State::Up)
    }

    /// The dialler and the listener.
    pub(super) const fn hosts(&self) -> (HostId, HostId) {
        (self.ends[0].process.host, self.ends[1].process.host)
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    opener: End,
    /// What each end calls it; `None` before the other end saw it, and after an end closed it.
    pub(super) ids: [Option<ChannelId>; 2],
    pub(super) seen: bool,
    pub(super) sides: [Pipe; 2],
}

/// One direction of a channel.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) queue: VecDeque<Bytes>,
    pub(super) finished: bool,
    in_flight: usize,
    sent: u64,
    pub(super) arrived: u64,
    pub(super) early: BTreeMap<u64, Burst>,
    /// Its end has arrived.
    pub(super) over: bool,
}

impl Pipe {
    /// Takes up to [`BURST`] bytes, or the end.
    fn take(&mut self) -> Option<Burst> {
        let Some(first) = self.queue.front_mut() else {
            return std::mem::take(&mut self.finished).then_some(Burst::Fin);
        };
        if first.len() > BURST {
            return Some(Burst::Data(first.split_to(BURST)));
        }
        let mut bytes = BytesMut::new();
        while let Some(next) = self.queue.front() {
            if bytes.len() + next.len() > BURST && !bytes.is_empty() {
                break;
            }
            bytes.extend_from_slice(&self.queue.pop_front().unwrap_or_default());
        }
        Some(Burst::Data(bytes.freeze()))
    }
}

impl Net {
    /// A process opens a channel; the other end sees it when something arrives on it.
    pub(crate) fn open_channel(&mut self, host: HostId, link: LinkId, channel: ChannelId) {
        let Some(&(key, end)) = self.by_link.get(&(host, link)) else { return };
        let Some(link) = self.links.get_mut(&key) else { return };
        link.next_channel += 1;
        let number = link.next_channel;
        let mut ids = [None; 2];
        ids[end] = Some(channel);
        let sides = <[Pipe; 2]>::default();
        link.channels.insert(number, Channel { opener: end, ids, seen: false, sides });
        self.by_channel.insert((host, channel), (key, number, end));
    }

    /// A process writes to a channel. What is not open any more takes nothing.
    pub(crate) fn write(&mut self, host: HostId, channel: ChannelId, head: Head, body: Bytes) {
        let Some((key, end, channel)) = self.channel(host, channel) else { return };
        let queue = &mut channel.sides[end].queue;
        if !head.is_empty() {
            queue.push_back(Bytes::copy_from_slice(head.as_slice()));
        }
        if !body.is_empty() {
            queue.push_back(body);
        }
        self.dirty.insert((key, end));
    }

    /// A process ends a channel: behind what it wrote if the code says so, else at once.
    pub(crate) fn close_channel(
        &mut self,
        now: Instant,
        host: HostId,
        id: ChannelId,
        code: CloseCode,
    ) {
        let Some((key, end, channel)) = self.channel(host, id) else { return };
        channel.ids[end] = None;
        let graceful = matches!(code, CloseCode::SUCCESS | CloseCode::GRACEFUL_SHUTDOWN);
        let pipe = &mut channel.sides[end];
        if graceful {
            pipe.finished = true;
        } else {
            pipe.queue.clear();
        }
        let unseen = channel.opener == end && !channel.seen && pipe.sent == 0;
        let Some((_, number, _)) = self.by_channel.remove(&(host, id)) else { return };
        if graceful {
            self.dirty.insert((key, end));
        } else if unseen {
            // Never left the sender: nothing to tell.
            if let Some(link) = self.links.get_mut(&key) {
                link.channels.remove(&number);
            }
        } else {
            let burst = Burst::Reset(code);
            self.launch(now, key, end, vec![(number, u64::MAX, burst)]);
        }
    }

    pub(super) fn channel(
        &mut self,
        host: HostId,
        id: ChannelId,
    ) -> Option<(LinkKey, End, &mut Channel)> {
        let &(key, number, end) = self.by_channel.get(&(host, id))?;
        let channel = self.links.get_mut(&key)?.channels.get_mut(&number)?;
        Some((key, end, channel))
    }

    /// Sends what was written in this step: writes of one step share packets.
    pub(crate) fn flush(&mut self, now: Instant) {
        while let Some((key, end)) = self.dirty.pop_first() {
            self.pump(now, key, end);
        }
    }

    fn pump(&mut self, now: Instant, key: LinkKey, end: End) {
        let window = self.options.window;
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.ends[end].state != State::Up {
            return;
        }
        let mut bursts = Vec::new();
        for (number, channel) in &mut link.channels {
            let pipe = &mut channel.sides[end];
            while pipe.in_flight < window {
                let Some(burst) = pipe.take() else { break };
                if let Burst::Data(bytes) = &burst {
                    pipe.in_flight += bytes.len();
                }
                bursts.push((*number, pipe.sent, burst));
                pipe.sent += 1;
            }
        }
        self.launch(now, key, end, bursts);
    }

    pub(super) fn launch(
        &mut self,
        now: Instant,
        link: LinkKey,
        from: End,
        bursts: Vec<(u64, u64, Burst)>,
    ) {
        let Some(ends) = self.links.get(&link).map(|link| &link.ends) else { return };
        let (sender, receiver) = (ends[from].process.host, ends[1 - from].process.host);
        let mut rest = bursts.into_iter().peekable();
        while rest.peek().is_some() {
            // Small bursts of one step travel in the same packets.
            let (mut group, mut payload) = (Vec::new(), 0);
            while let Some((_, _, burst)) = rest.peek() {
                let size = if let Burst::Data(bytes) = burst { bytes.len() } else { 4 };
                if payload > 0 && payload + size > BURST {
                    break;
                }
                payload += size;
                group.extend(rest.next());
            }
            let (departs, packets) = self.send(now, sender, payload);
            let (delay, again) = self.loss(sender, receiver, packets);
            self.charge_again(sender, again, payload);
            self.charge_acks(receiver, packets);
            let at = departs + delay + self.flight(sender, receiver);
            for (channel, number, burst) in group {
                if let Burst::Data(bytes) = &burst {
                    let bytes = bytes.len();
                    self.at(departs, Packet::Taken { link, from, channel, bytes });
                }
                self.at(at, Packet::Burst { link, from, channel, number, burst });
            }
        }
    }

    pub(super) fn on_taken(&mut self, key: LinkKey, from: End, channel: u64, bytes: usize) {
        let Some(link) = self.links.get(&key) else { return };
        let process = link.ends[from].process;
        let Some(channel) = link.channels.get(&channel).and_then(|c| c.ids[from]) else { return };
        self.tell(process, Event::Drained { channel, bytes: bytes as u32 });
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        key: LinkKey,
        from: End,
        channel: u64,
        bytes: usize,
    ) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if let Some(channel) = link.channels.get_mut(&channel) {
            channel.sides[from].in_flight -= bytes;
            self.pump(now, key, from);
        }
    }

    pub(super) fn on_burst(
        &mut self,
        now: Instant,
        key: LinkKey,
        from: End,
        channel: u64,
        number: u64,
        burst: Burst,
    ) {
        let Some(hosts) = self.links.get(&key).map(Link::hosts) else { return };
        let (sender, receiver) = if from == 0 { hosts } else { (hosts.1, hosts.0) };
        let cut = self.is_cut(sender, receiver);
        if from == 0 && !cut {
            self.open_listener(now, key);
        }
        let Some(link) = self.links.get_mut(&key) else { return };
        if cut {
            let packet = Packet::Burst { link: key, from, channel, number, burst };
            return link.held[from].push(packet);
        }
        if link.ends[1 - from].state != State::Up {
            return;
        }
        self.show_channels(key, from, channel);
        if self.options.halves {
            return self.on_half_burst(key, from, channel, number, burst);
        }
        let Some(state) = self.links.get_mut(&key).and_then(|l| l.channels.get_mut(&channel))
        else {
            return;
        };
        if let Burst::Reset(code) = burst {
            return self.end_channel(key, 1 - from, channel, DownReason::Closed(code));
        }
        let pipe = &mut state.sides[from];
        pipe.early.insert(number, burst);
        let mut ready = Vec::new();
        while let Some(burst) = pipe.early.remove(&pipe.arrived) {
            pipe.arrived += 1;
            ready.push(burst);
        }
        let ack = now + self.flight(receiver, sender);
        for burst in ready {
            match burst {
                Burst::Data(bytes) => {
                    let size = bytes.len();
                    self.at(ack, Packet::Ack { link: key, from, channel, bytes: size });
                    self.give(key, 1 - from, channel, bytes);
                }
                Burst::Fin | Burst::Reset(_) | Burst::Stop(_) => {
                    self.end_channel(key, 1 - from, channel, DownReason::Finished);
                }
            }
        }
    }

    /// The other end learns of a channel, and of all that were opened before it.
    fn show_channels(&mut self, key: LinkKey, from: End, upto: u64) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let (process, id) = (link.ends[1 - from].process, link.ends[1 - from].id);
        let mut up = Vec::new();
        for (number, channel) in link.channels.range_mut(..=upto) {
            if channel.opener == from && !channel.seen {
                let next = &mut self.hosts[process.host.0].next_channel;
                *next += 1;
                channel.seen = true;
                channel.ids[1 - from] = Some(ChannelId::driver(*next));
                up.push((ChannelId::driver(*next), *number));
            }
        }
        for (channel, number) in up {
            self.by_channel.insert((process.host, channel), (key, number, 1 - from));
            self.tell(process, Event::ChannelUp { link: id, channel });
        }
    }

    pub(super) fn give(&mut self, key: LinkKey, to: End, channel: u64, mut chunk: Bytes) {
        let Some(link) = self.links.get(&key) else { return };
        let process = link.ends[to].process;
        let Some(channel) = link.channels.get(&channel).and_then(|c| c.ids[to]) else { return };
        if chunk.len() > 1 && self.rng.chance(CUT_PPM) {
            let at = 1 + self.rng.below(chunk.len() as u64 - 1) as usize;
            let first = chunk.split_to(at);
            self.tell(process, Event::Data { channel, chunk: first });
        }
        self.tell(process, Event::Data { channel, chunk });
    }

    /// A channel is over; the end `to` is told if it had not closed it itself.
    fn end_channel(&mut self, key: LinkKey, to: End, number: u64, reason: DownReason) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let Some(channel) = link.channels.remove(&number) else { return };
        let processes = [0, 1].map(|end| link.ends[end].process);
        for (process, id) in processes.iter().zip(channel.ids) {
            if let Some(id) = id {
                self.by_channel.remove(&(process.host, id));
            }
        }
        if let Some(channel) = channel.ids[to] {
            self.tell(processes[to], Event::ChannelDown { channel, reason });
        }
    }
}
