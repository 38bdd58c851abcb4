//! The transport's side of one node: links, channels, dials, and who waits for them.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use mosaik_proto::{
    PeerId,
    ids::{ChannelId, LinkId, Side},
    links::{DialError, DownReason},
    node::Event,
    wire::CloseCode,
};

/// A dial in progress or done.
#[derive(Debug)]
pub(super) struct DialPort {
    pub(super) peer: PeerId,
    pub(super) result: Option<Result<LinkId, DialError>>,
    pub(super) waker: Option<Waker>,
}

/// A link that is up, or was.
#[derive(Debug)]
pub(super) struct LinkPort {
    pub(super) peer: PeerId,
    pub(super) rtt: Duration,
    pub(super) binding: [u8; 32],
    pub(super) down: Option<DownReason>,
    pub(super) accepted: VecDeque<ChannelId>,
    pub(super) wakers: Vec<Waker>,
}

/// A channel.
#[derive(Debug)]
pub(super) struct ChannelPort {
    pub(super) link: LinkId,
    /// Arrived and not read.
    pub(super) chunks: VecDeque<Bytes>,
    /// How reading ends, behind the chunks.
    pub(super) end: Option<DownReason>,
    /// Nobody reads any more.
    pub(super) deaf: bool,
    pub(super) written: u64,
    pub(super) drained: u64,
    /// The other end reads no more.
    pub(super) stopped: Option<CloseCode>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl ChannelPort {
    pub(super) const fn new(link: LinkId) -> Self {
        Self {
            link,
            chunks: VecDeque::new(),
            end: None,
            deaf: false,
            written: 0,
            drained: 0,
            stopped: None,
            reader: None,
            writer: None,
        }
    }
}

/// What a transport's node has open.
#[derive(Debug, Default)]
pub(super) struct Port {
    pub(super) dials: BTreeMap<u64, DialPort>,
    /// Links that others dialled and nobody has taken.
    pub(super) incoming: VecDeque<LinkId>,
    pub(super) acceptor: Option<Waker>,
    pub(super) links: BTreeMap<LinkId, LinkPort>,
    pub(super) channels: BTreeMap<ChannelId, ChannelPort>,
    pub(super) next_channel: u64,
    pub(super) closed: Option<CloseCode>,
    /// Bytes of chunks that arrived for nobody, to be credited by the transport.
    pub(super) unread: Vec<(ChannelId, usize)>,
}

/// What becomes of an event: who is woken, and a link that nobody wants.
type Told = (Vec<Waker>, Option<(LinkId, CloseCode)>);

impl Port {
    /// Takes an event of the network.
    pub(super) fn tell(&mut self, event: Event) -> Told {
        match event {
            Event::LinkUp { link, peer, side, rtt, binding } => {
                let (down, accepted, wakers) = (None, VecDeque::new(), Vec::new());
                self.link_up(link, LinkPort { peer, rtt, binding, down, accepted, wakers }, side)
            }
            Event::DialFailed { peer, reason } => (self.dialled(peer, Err(reason)).0, None),
            Event::LinkRtt { link, rtt } => {
                if let Some(port) = self.links.get_mut(&link) {
                    port.rtt = rtt;
                }
                (Vec::new(), None)
            }
            Event::LinkDown { link, reason } => (self.link_down(link, reason), None),
            Event::ChannelUp { link, channel } => {
                self.channels.insert(channel, ChannelPort::new(link));
                let Some(port) = self.links.get_mut(&link) else { return (Vec::new(), None) };
                port.accepted.push_back(channel);
                (std::mem::take(&mut port.wakers), None)
            }
            Event::Data { channel, chunk } => {
                let Some(port) = self.channels.get_mut(&channel) else { return (Vec::new(), None) };
                if port.deaf {
                    self.unread.push((channel, chunk.len()));
                    return (Vec::new(), None);
                }
                port.chunks.push_back(chunk);
                (port.reader.take().into_iter().collect(), None)
            }
            Event::Drained { channel, bytes } => {
                let Some(port) = self.channels.get_mut(&channel) else { return (Vec::new(), None) };
                port.drained += u64::from(bytes);
                (port.writer.take().into_iter().collect(), None)
            }
            Event::ChannelDown { channel, reason } => {
                let Some(port) = self.channels.get_mut(&channel) else { return (Vec::new(), None) };
                if reason != DownReason::Finished {
                    // A reset overtakes what was not read.
                    let lost = port.chunks.drain(..).map(|chunk| chunk.len()).sum();
                    self.unread.push((channel, lost));
                }
                port.end.get_or_insert(reason);
                (port.reader.take().into_iter().collect(), None)
            }
            other => unreachable!("the network has no {other:?}"),
        }
    }

    /// The other end of a channel reads no more.
    pub(super) fn stopped(&mut self, channel: ChannelId, code: CloseCode) -> Option<Waker> {
        let port = self.channels.get_mut(&channel)?;
        port.stopped.get_or_insert(code);
        port.writer.take()
    }

    fn link_up(&mut self, link: LinkId, port: LinkPort, side: Side) -> Told {
        if let Some(code) = self.closed {
            return (Vec::new(), Some((link, code)));
        }
        let peer = port.peer;
        self.links.insert(link, port);
        if side == Side::Listener {
            self.incoming.push_back(link);
            return (self.acceptor.take().into_iter().collect(), None);
        }
        match self.dialled(peer, Ok(link)) {
            (wakes, true) => (wakes, None),
            (wakes, false) => (wakes, Some((link, CloseCode::CANCELLED))),
        }
    }

    /// The oldest dial to a peer is done; false if nobody waits for it.
    fn dialled(&mut self, peer: PeerId, result: Result<LinkId, DialError>) -> (Vec<Waker>, bool) {
        let waiting = |dial: &&mut DialPort| dial.peer == peer && dial.result.is_none();
        let Some(dial) = self.dials.values_mut().find(waiting) else { return (Vec::new(), false) };
        dial.result = Some(result);
        (dial.waker.take().into_iter().collect(), true)
    }

    fn link_down(&mut self, link: LinkId, reason: DownReason) -> Vec<Waker> {
        let Some(port) = self.links.get_mut(&link) else { return Vec::new() };
        port.down.get_or_insert(reason);
        let mut wakes = std::mem::take(&mut port.wakers);
        for channel in self.channels.values_mut().filter(|channel| channel.link == link) {
            wakes.extend(channel.reader.take());
            wakes.extend(channel.writer.take());
        }
        wakes
    }

    /// Everybody who waits.
    pub(super) fn into_wakers(self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        wakers.extend(self.acceptor);
        wakers.extend(self.dials.into_values().filter_map(|dial| dial.waker));
        wakers.extend(self.links.into_values().flat_map(|link| link.wakers));
        for channel in self.channels.into_values() {
            wakers.extend(channel.reader);
            wakers.extend(channel.writer);
        }
        wakers
    }
}
