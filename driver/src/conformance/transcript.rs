//! What a node asks for, as a text that is the same on every runtime: without times, addresses and
//! measurements, with ids in the order in which they appear.

use std::{collections::BTreeMap, fmt::Write as _, sync::Mutex};

use mosaik_proto::{
    PeerId,
    discovery::Change as CatalogChange,
    ids::{ChannelId, LinkId},
    node::{Action, Event},
    streams::{Change, Owner},
    time::Now,
    wire::CloseCode,
};

use super::Tap;
use crate::sync::cell::lock;

/// Bytes in front of a frame's payload: its kind, and the length.
const HEADER: usize = 5;

/// Writes down what a node asks for.
#[derive(Debug, Default)]
pub(super) struct Transcript(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    text: String,
    lines: usize,
    peers: BTreeMap<PeerId, usize>,
    links: BTreeMap<LinkId, usize>,
    channels: BTreeMap<ChannelId, Channel>,
}

/// The bytes that were written to a channel, as far as they are no whole frame.
#[derive(Debug)]
struct Channel {
    name: usize,
    /// We opened it, so its first byte is its protocol.
    named: bool,
    rest: Vec<u8>,
}

impl Transcript {
    /// Lines so far: more of them when something happened.
    pub(super) fn lines(&self) -> usize {
        lock(&self.0).lines
    }

    /// Begins a part of the text.
    pub(super) fn part(&self, name: &str) {
        lock(&self.0).put(format_args!("# {name}"));
    }

    pub(super) fn text(&self) -> String {
        lock(&self.0).text.clone()
    }
}

impl Tap for Transcript {
    fn event(&self, _: Now, event: &Event) {
        if let Event::LinkUp { peer, .. } = event {
            lock(&self.0).peer(*peer);
        }
    }

    fn action(&self, _: Now, action: &Action) {
        lock(&self.0).action(action);
    }
}

impl State {
    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        self.lines += 1;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Dial { peer, .. } => {
                let peer = self.peer(*peer);
                self.put(format_args!("dial peer {peer}"));
            }
            Action::OpenChannel { link, channel, protocol } => {
                let (link, named) = (self.link(*link), true);
                let name = self.channel(*channel, named);
                self.put(format_args!("open channel {name} on link {link}: {protocol:?}"));
            }
            Action::Write { channel, head, body } => {
                self.channel(*channel, false);
                self.write(*channel, &[head.as_slice(), body].concat());
            }
            Action::CloseChannel { channel, code } => {
                let channel = self.channel(*channel, false);
                self.put(format_args!("close channel {channel}: {code}"));
            }
            // Said of a link whose control channel ended before it. Which of the two ends shows first
            // is the transport's affair.
            Action::CloseLink { code: CloseCode::UNEXPECTED, .. } => {}
            Action::CloseLink { link, code } => {
                let link = self.link(*link);
                self.put(format_args!("close link {link}: {code}"));
            }
            Action::Raise { .. } => self.put(format_args!("raise the entry")),
            Action::Seek => self.put(format_args!("seek")),
            Action::Stopped => self.put(format_args!("stopped")),
            Action::Reply { result, .. } => self.put(format_args!("reply {result:?}")),
            Action::Deliver(delivery) => {
                let (first, items) = (delivery.first, delivery.items);
                self.put(format_args!("deliver {items} from {first} on"));
            }
            Action::Undelivered { items, .. } => self.put(format_args!("undelivered {items}")),
            Action::Finished(_) => self.put(format_args!("producer finished")),
            Action::Catalog(change) => self.catalog(change),
            Action::Streams(change) => self.streams(change),
            Action::CountLinks(counter) => self.put(format_args!("count {counter:?}")),
            // Measurements: when and how much, not what.
            _ => {}
        }
    }

    fn catalog(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Entry { entry, news, .. } => {
                let peer = self.peer(entry.id());
                let (tags, streams) = (entry.tags().len(), entry.streams().len());
                self.put(format_args!(
                    "entry of peer {peer}: {tags} tags, {streams} streams, {news:?}"
                ));
            }
            CatalogChange::Gone { peer, departed } => {
                let peer = self.peer(*peer);
                self.put(format_args!("peer {peer} is gone, departed: {departed}"));
            }
            CatalogChange::Unsigned(_) | CatalogChange::UnsignedGone(_) => {}
        }
    }

    fn streams(&mut self, change: &Change) {
        let of = |owner: &Owner| match owner {
            Owner::Producer(_) => "producer",
            Owner::Consumer(_) => "consumer",
        };
        match change {
            Change::Channel { owner, peer, state, .. } => {
                let (owner, peer) = (of(owner), self.peer(peer.id()));
                self.put(format_args!("{owner}: peer {peer} is {state:?}"));
            }
            Change::ChannelGone { owner, reason, .. } => {
                self.put(format_args!("{}: gone, {reason:?}", of(owner)));
            }
            Change::Online { owner, online } => {
                self.put(format_args!("{}: online {online}", of(owner)));
            }
            Change::Gap { owner, first, last, .. } => {
                self.put(format_args!("{}: gap {first}..={last}", of(owner)));
            }
            Change::Restarted { owner, .. } => {
                self.put(format_args!("{}: restarted", of(owner)));
            }
            Change::Progress { .. } => {}
        }
    }

    /// Notes the frames that begin in these bytes, however they are cut.
    fn write(&mut self, id: ChannelId, bytes: &[u8]) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let name = channel.name;
        channel.rest.extend(bytes);
        if channel.named && !channel.rest.is_empty() {
            channel.rest.remove(0);
            channel.named = false;
        }
        let mut kinds = Vec::new();
        while let Some((header, rest)) = channel.rest.split_at_checked(HEADER) {
            let length =
                header[1..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if rest.len() < length {
                break;
            }
            kinds.push(header[0]);
            channel.rest.drain(..HEADER + length);
        }
        kinds.into_iter().for_each(|kind| self.put(format_args!("channel {name}: frame {kind}")));
    }

    fn peer(&mut self, peer: PeerId) -> usize {
        let next = self.peers.len() + 1;
        *self.peers.entry(peer).or_insert(next)
    }

    fn link(&mut self, link: LinkId) -> usize {
        let next = self.links.len() + 1;
        *self.links.entry(link).or_insert(next)
    }

    fn channel(&mut self, channel: ChannelId, named: bool) -> usize {
        let name = self.channels.len() + 1;
        let fresh = || Channel { name, named, rest: Vec::new() };
        self.channels.entry(channel).or_insert_with(fresh).name
    }
}
