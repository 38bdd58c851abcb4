//! Two cores that want each other, over a transport that delivers in any order it may.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mosaik_proto::{
    Core as _,
    ids::{ChannelId, LinkId, Side},
    links::{Action, DownReason, Event, Interest},
    rng::Rng,
    time::Instant,
    wire::{CloseCode, Protocol},
};

use crate::common::{clock, id, links::Bench};

const NAMES: [&str; 2] = ["b", "x"];

/// What is on its way to one end.
enum Due {
    Up(LinkId, Side),
    ChannelUp(LinkId, ChannelId),
    Data(ChannelId, Bytes),
    Down(LinkId, DownReason),
}

/// A channel: its name at each end.
type Names = [ChannelId; 2];

struct Pair {
    ends: [Bench; 2],
    rng: Rng,
    /// Ordered per end, link and channel; `None` is the link itself.
    queues: BTreeMap<(usize, LinkId, Option<ChannelId>), VecDeque<Due>>,
    channels: BTreeMap<(usize, ChannelId), (LinkId, Names)>,
    /// Links that an end has heard of, and has not lost.
    up: BTreeSet<(usize, LinkId)>,
    next: u64,
    /// Both ends' streams that ended although nobody lost a link.
    cut: usize,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let rng = Rng::new([seed as u8; 32]).fork(&seed.to_string());
        let ends = [0, 1].map(|end| Bench::of(NAMES[end], rng.fork(NAMES[end]).bytes()));
        Self {
            ends,
            rng,
            queues: BTreeMap::new(),
            channels: BTreeMap::new(),
            up: BTreeSet::new(),
            next: 1,
            cut: 0,
        }
    }

    fn push(&mut self, end: usize, link: LinkId, channel: Option<ChannelId>, due: Due) {
        self.queues.entry((end, link, channel)).or_default().push_back(due);
    }

    fn want(&mut self, end: usize) {
        let peer = id(NAMES[1 - end]);
        self.step(end, Event::Want { interest: Interest::Streams, peer, addrs: Vec::new() });
    }

    fn step(&mut self, end: usize, event: Event) {
        for action in self.ends[end].step(event) {
            self.act(end, action);
        }
    }

    fn act(&mut self, end: usize, action: Action) {
        let other = 1 - end;
        match action {
            Action::Dial { .. } => {
                let link = LinkId(self.next);
                self.next += 1;
                self.push(end, link, None, Due::Up(link, Side::Dialer));
            }
            Action::OpenChannel { link, channel, .. } => {
                let theirs = ChannelId::driver(self.next);
                self.next += 1;
                let mut names = [channel; 2];
                names[other] = theirs;
                self.channels.insert((end, channel), (link, names));
                self.channels.insert((other, theirs), (link, names));
                self.push(other, link, Some(theirs), Due::ChannelUp(link, theirs));
            }
            Action::Write { channel, head, body } => {
                let (link, names) = self.channels[&(end, channel)];
                let theirs = names[other];
                let bytes = [head.as_slice(), &body].concat();
                self.push(other, link, Some(theirs), Due::Data(theirs, bytes.into()));
            }
            Action::CloseLink { link, code } => {
                self.up.remove(&(end, link));
                self.queues.retain(|key, _| (key.0, key.1) != (end, link));
                self.push(other, link, None, Due::Down(link, DownReason::Closed(code)));
            }
            // A stream, as soon as there is a link: it may overtake READY.
            Action::Connected { link, .. } => {
                let channel = Protocol::Stream.channel(self.next);
                self.next += 1;
                self.step(end, Event::Open { link, channel, protocol: Protocol::Stream });
            }
            Action::ChannelDown { .. } => self.cut += 1,
            _ => {}
        }
    }

    /// Delivers something that may be next; false if there is nothing.
    fn deliver(&mut self) -> bool {
        let ready: Vec<_> = self
            .queues
            .iter()
            .filter(|((end, link, channel), queue)| {
                !queue.is_empty() && (channel.is_none() || self.up.contains(&(*end, *link)))
            })
            .map(|(key, _)| *key)
            .collect();
        if ready.is_empty() {
            return false;
        }
        let key = ready[self.rng.below(ready.len() as u64) as usize];
        let due = self.queues.get_mut(&key).unwrap().pop_front().unwrap();
        let end = key.0;
        match due {
            Due::Up(link, side) => {
                self.up.insert((end, link));
                if side == Side::Dialer {
                    self.push(1 - end, link, None, Due::Up(link, Side::Listener));
                }
                let event = self.ends[end].link_up(link, NAMES[1 - end], side);
                self.step(end, event);
            }
            Due::ChannelUp(link, channel) => {
                self.ends[end].channel_up(link, channel);
                self.step(end, Event::ChannelUp { link, channel });
            }
            Due::Data(channel, chunk) => self.step(end, Event::Data { channel, chunk }),
            Due::Down(link, reason) => {
                self.queues.retain(|key, _| (key.0, key.1) != (end, link));
                if self.up.remove(&(end, link)) {
                    self.step(end, Event::LinkDown { link, reason });
                }
            }
        }
        true
    }

    /// Both ends notice a loss when they notice it.
    fn lose(&mut self) {
        let links: BTreeSet<LinkId> = self.up.iter().map(|(_, link)| *link).collect();
        if let Some(link) = links.into_iter().next() {
            let silent: Vec<_> = self.queues.keys().filter(|key| key.1 == link).copied().collect();
            for key in silent {
                if key.2.is_some() {
                    self.queues.remove(&key);
                }
            }
            for end in [0, 1] {
                if self.up.contains(&(end, link)) {
                    self.push(end, link, None, Due::Down(link, DownReason::Timeout));
                }
            }
        }
    }

    /// The next deadline of either.
    fn tick(&mut self) {
        let Some(at) = self.ends.iter().filter_map(|end| end.core.deadline()).min() else {
            return;
        };
        for end in [0, 1] {
            let now = at.max(self.ends[end].now.mono);
            self.ends[end].now = clock(now);
            self.step(end, Event::Timeout);
        }
    }

    fn now(&self) -> Instant {
        self.ends[0].now.mono
    }

    fn settle(&mut self) {
        let end = self.now() + core::time::Duration::from_secs(60);
        loop {
            if self.deliver() {
                continue;
            }
            if self.now() >= end || self.ends.iter().all(|end| end.core.deadline().is_none()) {
                return;
            }
            self.tick();
        }
    }

    fn link(&self, end: usize) -> Option<LinkId> {
        self.ends[end].core.paths().get(&id(NAMES[1 - end])).map(|path| path.link)
    }
}

/// LINK-04: whatever overtakes what, both ends agree on one link, and nobody loses a stream.
#[test]
fn link_04_two_that_dial_each_other_agree() {
    for seed in 0..2_000 {
        let mut pair = Pair::new(seed);
        pair.want(0);
        pair.want(1);
        pair.tick();
        pair.settle();
        assert_eq!(pair.link(0), pair.link(1), "seed {seed}");
        assert!(pair.link(0).is_some(), "seed {seed}");
        assert_eq!(pair.cut, 0, "seed {seed}: a link with work on it was closed");
    }
}

/// LINK-05: links are lost at any moment and noticed by each end whenever; they find back.
#[test]
fn link_05_two_that_lose_each_other_find_back() {
    for seed in 0..2_000 {
        let mut pair = Pair::new(seed);
        pair.want(0);
        if seed % 2 == 0 {
            pair.want(1);
        }
        for _ in 0..6 {
            pair.tick();
            for _ in 0..pair.rng.below(20) {
                pair.deliver();
            }
            if pair.rng.chance(700_000) {
                pair.lose();
            }
        }
        pair.settle();
        assert_eq!(pair.link(0), pair.link(1), "seed {seed}");
        assert!(pair.link(0).is_some(), "seed {seed}");
    }
}

/// A code that says that the other link stays is never said of the only one.
#[test]
fn link_04_a_single_dial_is_no_duplicate() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed);
        pair.want((seed % 2) as usize);
        pair.tick();
        pair.settle();
        assert_eq!(pair.link(0), Some(LinkId(1)), "seed {seed}: {}", CloseCode::DUPLICATE);
        assert_eq!(pair.link(1), Some(LinkId(1)));
    }
}
