//! The core of links, fed with hellos: who is let in, and that siblings hear of nobody else.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use mosaik_proto::{
    Core as _, Outbox, PeerId,
    discovery::Catalog,
    ids::{ChannelId, LinkId, Side},
    limits,
    links::{Action, DialError, DownReason, Env, Event, Interest, Links},
    rng::Rng,
    time::{Instant, Now, UnixMillis},
    wire::{CloseCode, Protocol},
};

use super::{
    input::Input,
    peers::{self, ME, PEERS, WALL, network, peer},
    recipe,
};

struct Bench {
    core: Links,
    catalog: Catalog,
    now: Now,
    out: Outbox<Action>,
    /// All links that ever were: whose, and the control channel.
    links: Vec<(LinkId, usize, Option<ChannelId>)>,
    /// What siblings know.
    connected: BTreeMap<PeerId, LinkId>,
    dialled: BTreeSet<PeerId>,
    channels: u64,
}

/// Links come up, say hellos that are right or nearly so, and go.
pub fn hello(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bench = Bench::new();
    while let Some(verb) = input.verb() {
        bench.act(verb, &mut input);
    }
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            core: Links::new(network(), peer(ME).id, Rng::new([1; 32])),
            catalog: Catalog::new(network(), peer(ME).id),
            now: Now { mono: Instant::ZERO, wall: UnixMillis(WALL) },
            out: Outbox::new(),
            links: Vec::new(),
            connected: BTreeMap::new(),
            dialled: BTreeSet::new(),
            channels: 0,
        };
        bench.step(Event::Local(peers::me().signed().clone()));
        bench
    }

    fn act(&mut self, verb: u8, input: &mut Input<'_>) {
        let who = usize::from(verb >> 4) % PEERS;
        match verb & 0x0f {
            0 | 1 => self.link_up(who, Side::Listener),
            2 if self.dialled.remove(&peer(who).id) => self.link_up(who, Side::Dialer),
            2 | 3 => {
                let interest = if input.flag() { Interest::Discovery } else { Interest::Streams };
                let (peer, addrs) = (peer(who).id, vec![([127, 0, 0, 1], 7).into()]);
                self.step(Event::Want { interest, peer, addrs });
            }
            4 => {
                let interest = if input.flag() { Interest::Discovery } else { Interest::Streams };
                self.step(Event::Unwant { interest, peer: peer(who).id });
            }
            5 => {
                let Some((link, ..)) = self.any_link(input) else { return };
                let reason = match input.below(3) {
                    0 => DownReason::Lost,
                    1 => DownReason::Closed(CloseCode::DUPLICATE),
                    _ => DownReason::Closed(CloseCode::DIFFERENT_NETWORK),
                };
                self.step(Event::LinkDown { link, reason });
            }
            6 => {
                let reason = DialError::Timeout;
                self.dialled.remove(&peer(who).id);
                self.step(Event::DialFailed { peer: peer(who).id, reason });
            }
            7 => {
                let Some((link, ..)) = self.any_link(input) else { return };
                let channel = self.channel(link);
                self.step(Event::Data { channel, chunk: input.bytes().to_vec().into() });
            }
            8 => {
                let Some((link, ..)) = self.any_link(input) else { return };
                self.step(Event::RetireLink { link });
            }
            9 => {
                self.now.mono = self.now.mono + Duration::from_millis(input.short().into());
                self.step(Event::Timeout);
            }
            _ => self.tell(input),
        }
    }

    fn any_link(&self, input: &mut Input<'_>) -> Option<(LinkId, usize, Option<ChannelId>)> {
        let back = input.index(8);
        self.links.iter().rev().nth(back).or_else(|| self.links.last()).copied()
    }

    fn link_up(&mut self, who: usize, side: Side) {
        let link = LinkId(self.links.len() as u64);
        self.links.push((link, who, None));
        let (peer, rtt) = (peer(who).id, Duration::from_millis(1));
        self.step(Event::LinkUp { link, peer, side, rtt, binding: [link.0 as u8; 32] });
        if side == Side::Listener {
            let control = self.channel(link);
            if let Some(held) = self.links.last_mut() {
                held.2 = Some(control);
            }
            let chunk = vec![Protocol::Control as u8].into();
            self.step(Event::Data { channel: control, chunk });
        }
    }

    fn channel(&mut self, link: LinkId) -> ChannelId {
        self.channels += 1;
        let channel = ChannelId::driver(self.channels);
        self.step(Event::ChannelUp { link, channel });
        channel
    }

    /// Words of the handshake on a control channel, in two chunks.
    fn tell(&mut self, input: &mut Input<'_>) {
        let Some((_, who, Some(channel))) = self.any_link(input) else { return };
        let bytes = recipe::handshake(input, who);
        let (first, second) = bytes.split_at(input.index(bytes.len() + 1));
        for chunk in [first, second] {
            let chunk = chunk.to_vec().into();
            self.step(Event::Data { channel, chunk });
        }
    }

    fn step(&mut self, event: Event) {
        let env = Env { now: self.now, catalog: &self.catalog };
        self.core.handle(env, event, &mut self.out);
        for action in self.out.drain() {
            match action {
                Action::Dial { peer, .. } => {
                    self.dialled.insert(peer);
                }
                Action::OpenChannel { link, channel, protocol: Protocol::Control } => {
                    if let Some(held) = self.links.iter_mut().find(|held| held.0 == link) {
                        held.2 = Some(channel);
                    }
                }
                Action::Connected { peer, link, entry, .. } => {
                    assert_eq!(entry.id(), peer, "LINK-01: the entry is the peer's own");
                    assert_eq!(entry.network_id(), &network(), "LINK-01");
                    assert_eq!(self.connected.insert(peer, link), None, "INV-LINK-1");
                }
                Action::Disconnected { peer, link, .. } => {
                    assert_eq!(self.connected.remove(&peer), Some(link), "INV-LINK-2");
                }
                Action::Control { peer, link, .. } => {
                    assert_eq!(self.connected.get(&peer), Some(&link), "INV-LINK-3");
                }
                Action::Accepted { peer, .. } => {
                    assert!(self.connected.contains_key(&peer), "INV-LINK-3");
                }
                _ => {}
            }
        }
        let admitted: BTreeMap<_, _> =
            self.core.paths().iter().map(|(peer, path)| (*peer, path.link)).collect();
        assert_eq!(admitted, self.connected, "siblings know what is admitted");
        assert!(admitted.len() <= limits::LINKS);
    }
}
