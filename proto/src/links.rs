//! Links: one authenticated connection per pair of peers, admitted before anything is said on it.
//!
//! # Theory of operation
//!
//! The transport connects and proves keys; this core decides. For each peer it knows at most one
//! *chosen* link and it dials the peers that siblings want. A link passes through:
//!
//! | phase | meaning | leaves by |
//! |---|---|---|
//! | (dialling) | the transport is asked to connect; no link yet | `LinkUp`, `DialFailed` |
//! | `AwaitHello` | connected; the other end's hello is missing | hello, timeout |
//! | `AwaitReady` | listener only: hello accepted, ours is sent | `Ready` or any channel, timeout |
//! | `Admitted` | siblings know the link; channels may be opened by both ends | down, replaced, idle |
//!
//! **Handshake.** The dialler opens the control channel (its first byte is `Protocol::Control`) and
//! sends `Hello`: protocol version, network, a serial number and its signed entry. The listener
//! checks them in that order, on the authenticated key, answers with its own `Hello`, and the
//! dialler says `Ready`. Whoever refuses closes the link with the code that says why; nothing else
//! is parsed before (rule LINK-01). `Ready` exists because channels are not ordered against each
//! other: without it the listener's first stream could overtake its hello (LINK-02).
//!
//! **Duplicates** (LINK-04). Two nodes that dial each other end with one link, and both pick the
//! same: if both dials are connected, the one of the smaller peer id stays. A dial that is not
//! connected yet yields to an arriving hello. So no link is closed on which a sibling has work.
//!
//! **Replacement** (LINK-05). A peer dials only when it has no link to us. A new hello from a peer
//! with a chosen link therefore means that the peer lost that link or was restarted, *unless* the
//! hello is older than the link. Hellos carry (incarnation, serial), which orders them: a later one
//! replaces the link, an earlier one is refused as a duplicate.
//!
//! **Channels.** Either end of an admitted link opens channels; the first byte names the protocol
//! and so the sibling that owns the channel. Events of a channel go to its owner, in order; when a
//! link ends, its channels end first (INV-LINK-2).
//!
//! **Dialling.** Siblings state *wants*, per peer; while one exists and there is no link, the peer
//! is dialled, with a doubling, jittered wait between attempts ([`limits::REDIAL_MIN`] to
//! [`limits::REDIAL_MAX`]). The dialler closes a link that nobody here wants and that carries no
//! channel; the listener never does, because it cannot know what the dialler wants (LINK-07).
//!
//! # Invariants
//!
//! - INV-LINK-1: per peer at most one link is chosen, and only a chosen link is admitted.
//! - INV-LINK-2: siblings see `Connected`, then channels, then their ends, then `Disconnected`.
//! - INV-LINK-3: no byte of an unadmitted link reaches a sibling.
//!
//! References: `docs/spec/wire.md` (LINK rules); decisions §1; RFC 9000 §2 (streams are unordered
//! among each other), RFC 7250 (raw public keys).

mod admission;
mod channels;
mod dialing;
mod hello;
mod link_limits;
mod need;
mod policy;
mod vocabulary;

use alloc::collections::BTreeMap;

use bytes::Bytes;

pub use self::link_limits::{LimitsError, LinkLimits, Seat};
pub use self::policy::Policy;
pub use self::vocabulary::{
    Action, Counter, DialError, DownReason, Env, Event, Interest, Path, Paths,
};
use self::{
    channels::{Channels, Named},
    dialing::Dialing,
};
use crate::{
    core::{Core, Outbox},
    discovery::{self, SignedPeerEntry},
    ids::{ChannelId, LinkId, NetworkId, PeerId, Side},
    limits,
    rng::Rng,
    time::{Instant, TimerQueue},
    wire::{CloseCode, Frame, FrameError, FrameReader, Head, Protocol, header},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The hello or ready of this link is overdue.
    Handshake(LinkId),
    /// Dial this peer again.
    Dial(PeerId),
    /// Close this link if it is still not needed.
    Idle(LinkId),
    /// Close this link, whose peer said farewell.
    Retire(LinkId),
}

#[derive(Debug)]
enum Phase {
    AwaitHello,
    AwaitReady(SignedPeerEntry),
    Admitted,
}

/// What the transport says of a new link.
struct Proved {
    peer: PeerId,
    side: Side,
    rtt: core::time::Duration,
    binding: [u8; 32],
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    side: Side,
    rtt: core::time::Duration,
    /// What both ends of this connection know, and nobody else.
    binding: [u8; 32],
    phase: Phase,
    /// The control channel, once it is open.
    control: Option<ChannelId>,
    reader: FrameReader,
    /// Orders this link's hello among all of the peer's hellos.
    order: (u64, u64),
    /// The peer said farewell: the link ends when its channels have (LINK-08).
    retiring: bool,
    admitted_at: Option<Instant>,
}

/// The core of links. See the module's documentation.
#[derive(Debug)]
pub struct Links {
    network: NetworkId,
    me: PeerId,
    local: Option<SignedPeerEntry>,
    /// Serial number of our next hello.
    serial: u64,
    links: BTreeMap<LinkId, Link>,
    /// Links that others dialled and that are not admitted. Ours do not count: strangers must not
    /// be able to keep us from dialling.
    strangers: usize,
    /// The chosen link of each peer (INV-LINK-1).
    chosen: BTreeMap<PeerId, LinkId>,
    paths: Paths,
    channels: Channels,
    dialing: Dialing,
    timers: TimerQueue<Timer>,
    next_channel: u64,
    policy: Policy,
    limits: LinkLimits,
    closed: bool,
}

impl Links {
    /// A core without links.
    #[must_use]
    pub fn new(network: NetworkId, me: PeerId, rng: Rng) -> Self {
        Self {
            network,
            me,
            local: None,
            serial: 0,
            links: BTreeMap::new(),
            strangers: 0,
            chosen: BTreeMap::new(),
            paths: Paths::default(),
            channels: Channels::default(),
            dialing: Dialing::new(rng),
            timers: TimerQueue::new(),
            next_channel: 0,
            policy: Policy::default(),
            limits: LinkLimits::default(),
            closed: false,
        }
    }

    /// The admitted links.
    #[must_use]
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    // --- the transport ---------------------------------------------------------------------

    fn on_link_up(
        &mut self,
        env: Env<'_>,
        link: LinkId,
        Proved { peer, side, rtt, binding }: Proved,
        out: &mut Outbox<Action>,
    ) {
        let superfluous = side == Side::Dialer && {
            let asked = self.dialing.on_connected(&peer, link);
            self.start_waiting(env, out);
            !asked || self.chosen.contains_key(&peer)
        };
        let code = if self.closed {
            Some(CloseCode::GRACEFUL_SHUTDOWN)
        } else if superfluous || peer == self.me {
            Some(CloseCode::DUPLICATE)
        } else if !self.policy.may_try(&peer) {
            Some(CloseCode::NOT_ADMITTED)
        } else if side == Side::Listener && self.strangers >= self.limits.handshakes {
            Some(CloseCode::BUSY)
        } else {
            None
        };
        if let Some(code) = code {
            if !self.closed && !superfluous {
                out.push(Action::Count(Counter::Refused(code)));
            }
            out.push(Action::CloseLink { link, code });
            if side == Side::Dialer {
                self.dialing.on_ended(&peer, link, env.now.mono, false);
                self.arm_dial(peer);
            }
            return;
        }
        self.timers.set(Timer::Handshake(link), Some(env.now.mono + self.limits.handshake_timeout));
        let mut state = Link {
            peer,
            side,
            rtt,
            binding,
            phase: Phase::AwaitHello,
            control: None,
            reader: FrameReader::new(),
            order: (0, 0),
            retiring: false,
            admitted_at: None,
        };
        if side == Side::Dialer {
            let channel = Protocol::Control.channel(self.next_channel);
            self.next_channel += 1;
            state.control = Some(channel);
            self.channels.open(link, channel, Protocol::Control);
            out.push(Action::OpenChannel { link, channel, protocol: Protocol::Control });
            self.send_hello(channel, Head::new().with(&[Protocol::Control as u8]), out);
            self.arm_dial(peer);
        } else {
            self.strangers += 1;
        }
        self.links.insert(link, state);
    }

    fn on_link_down(
        &mut self,
        env: Env<'_>,
        link: LinkId,
        reason: DownReason,
        out: &mut Outbox<Action>,
    ) {
        let Some(state) = self.links.remove(&link) else { return };
        self.timers.cancel(&Timer::Handshake(link));
        self.timers.cancel(&Timer::Idle(link));
        self.timers.cancel(&Timer::Retire(link));
        for (channel, protocol) in self.channels.close_link(link) {
            if protocol != Protocol::Control {
                out.push(Action::ChannelDown { channel, protocol, reason });
            }
        }
        let was_chosen = self.chosen.get(&state.peer) == Some(&link);
        if was_chosen {
            self.chosen.remove(&state.peer);
        }
        let peer = state.peer;
        if state.side == Side::Listener && state.admitted_at.is_none() {
            self.strangers -= 1;
        }
        if let Some(admitted_at) = state.admitted_at {
            self.paths.by_peer.remove(&peer);
            out.push(Action::Path { peer, rtt: None });
            out.push(Action::Disconnected { peer, link, reason });
            let lived = env.now.mono.since(admitted_at) >= limits::REDIAL_MAX;
            self.dialing.on_lost(&peer, env.now.mono, lived);
        } else if state.side == Side::Dialer {
            let duplicate = matches!(
                reason,
                DownReason::Closed(CloseCode::DUPLICATE) | DownReason::Local(CloseCode::DUPLICATE)
            );
            self.dialing.on_ended(&peer, link, env.now.mono, !duplicate);
            if !duplicate && !self.chosen.contains_key(&peer) {
                let foreign = matches!(
                    reason,
                    DownReason::Closed(CloseCode::DIFFERENT_NETWORK)
                        | DownReason::Local(CloseCode::DIFFERENT_NETWORK)
                );
                // A peer that answers, if only to refuse, is there.
                if foreign || !matches!(reason, DownReason::Closed(_)) {
                    out.push(Action::Unreachable { peer, foreign });
                }
            }
        }
        self.arm_dial(peer);
    }

    /// Closes a link ourselves: tells the transport, and everybody else as if it had gone down.
    fn close(&mut self, env: Env<'_>, link: LinkId, code: CloseCode, out: &mut Outbox<Action>) {
        if self.links.contains_key(&link) {
            out.push(Action::CloseLink { link, code });
            self.on_link_down(env, link, DownReason::Local(code), out);
        }
    }

    fn violation(&mut self, env: Env<'_>, link: LinkId, out: &mut Outbox<Action>) {
        let Some(state) = self.links.get(&link) else { return };
        out.push(Action::Count(Counter::Violation));
        if state.admitted_at.is_some() {
            self.close(env, link, CloseCode::PROTOCOL_VIOLATION, out);
        } else {
            self.refuse(env, link, CloseCode::PROTOCOL_VIOLATION, out);
        }
    }

    /// Closes a link that is not, or not any more, to be admitted.
    fn refuse(&mut self, env: Env<'_>, link: LinkId, code: CloseCode, out: &mut Outbox<Action>) {
        out.push(Action::Count(Counter::Refused(code)));
        self.close(env, link, code, out);
    }

    fn on_rtt(&mut self, link: LinkId, rtt: core::time::Duration, out: &mut Outbox<Action>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.rtt = rtt;
        if let Some(path) = self.paths.by_peer.get_mut(&state.peer).filter(|p| p.link == link) {
            path.rtt = rtt;
            out.push(Action::Path { peer: state.peer, rtt: Some(rtt) });
        }
    }

    fn on_dial_failed(
        &mut self,
        env: Env<'_>,
        peer: PeerId,
        reason: DialError,
        out: &mut Outbox<Action>,
    ) {
        let wanted = self.dialing.on_failed(&peer, env.now.mono);
        let answered = matches!(reason, DialError::Closed(_));
        if wanted && !answered && !self.chosen.contains_key(&peer) {
            out.push(Action::Unreachable { peer, foreign: false });
        }
        self.arm_dial(peer);
        self.start_waiting(env, out);
    }

    // --- channels --------------------------------------------------------------------------

    fn on_channel_up(
        &mut self,
        env: Env<'_>,
        link: LinkId,
        channel: ChannelId,
        out: &mut Outbox<Action>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        match state.phase {
            Phase::AwaitHello if state.side == Side::Listener && state.control.is_none() => {
                state.control = Some(channel);
                self.channels.expect_control(link, channel);
            }
            Phase::AwaitHello => self.violation(env, link, out),
            // The dialler opens channels only after it admitted us.
            Phase::AwaitReady(_) => {
                self.admit(env, link, out);
                self.channels.accept(link, channel, &self.limits, out);
            }
            Phase::Admitted => self.channels.accept(link, channel, &self.limits, out),
        }
    }

    fn on_data(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        mut chunk: Bytes,
        out: &mut Outbox<Action>,
    ) {
        match self.channels.name(channel, &mut chunk) {
            Named::Unknown | Named::Waiting => {}
            Named::Nonsense(link) => self.violation(env, link, out),
            Named::Owned { link, protocol: Protocol::Control, .. } => {
                self.on_control(env, link, chunk, out);
            }
            Named::Owned { link, protocol, fresh } => {
                if fresh {
                    let peer = self.links[&link].peer;
                    out.push(Action::Accepted { peer, channel, protocol });
                }
                if !chunk.is_empty() {
                    out.push(Action::Data { channel, protocol, chunk });
                }
            }
        }
    }

    fn on_drained(&self, channel: ChannelId, bytes: u32, out: &mut Outbox<Action>) {
        match self.channels.owner(channel) {
            Some((link, Protocol::Control)) => out.push(Action::ControlDrained { link, bytes }),
            Some((_, protocol)) => out.push(Action::Drained { channel, protocol, bytes }),
            None => {}
        }
    }

    fn on_channel_down(
        &mut self,
        env: Env<'_>,
        channel: ChannelId,
        reason: DownReason,
        out: &mut Outbox<Action>,
    ) {
        match self.channels.owner(channel) {
            // Without its control channel a link is of no use. The end of a link may show first as
            // the end of its channels, so the reason is the link's.
            Some((link, Protocol::Control)) => {
                out.push(Action::CloseLink { link, code: CloseCode::UNEXPECTED });
                self.on_link_down(env, link, reason, out);
            }
            Some((link, protocol)) => {
                self.channels.close(channel);
                out.push(Action::ChannelDown { channel, protocol, reason });
                self.channel_ended(env, link, out);
            }
            None => {
                if let Some(link) = self.channels.close(channel) {
                    self.channel_ended(env, link, out);
                }
            }
        }
    }

    fn on_open(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        protocol: Protocol,
        out: &mut Outbox<Action>,
    ) {
        let admitted = self.links.get(&link).is_some_and(|l| matches!(l.phase, Phase::Admitted));
        if admitted {
            self.channels.open(link, channel, protocol);
            out.push(Action::OpenChannel { link, channel, protocol });
            let head = Head::new().with(&[protocol as u8]);
            out.push(Action::Write { channel, head, body: Bytes::new() });
            self.timers.cancel(&Timer::Idle(link));
        } else {
            // The link ended in this very step.
            out.push(Action::ChannelDown { channel, protocol, reason: DownReason::Lost });
        }
    }

    // --- the control channel ---------------------------------------------------------------

    fn on_control(
        &mut self,
        env: Env<'_>,
        link: LinkId,
        mut chunk: Bytes,
        out: &mut Outbox<Action>,
    ) {
        let ours = self.limits.hello_bytes;
        let limit = |kind| frame_limit(kind).map(|limit| hello::local_limit(kind, limit, ours));
        while let Some(state) = self.links.get_mut(&link) {
            match state.reader.read(&mut chunk, limit) {
                Ok(Some(frame)) => self.on_frame(env, link, frame, out),
                Ok(None) => return,
                // Allowed by the protocol, but not here (LINK-15).
                Err(FrameError::TooLong { kind: hello::HELLO, length, .. })
                    if length <= limits::HELLO_BYTES && state.admitted_at.is_none() =>
                {
                    return self.refuse(env, link, CloseCode::NOT_ADMITTED, out);
                }
                Err(_) => return self.violation(env, link, out),
            }
        }
    }

    fn on_frame(&mut self, env: Env<'_>, link: LinkId, frame: Frame, out: &mut Outbox<Action>) {
        let Some(state) = self.links.get(&link) else { return };
        match (&state.phase, frame.kind) {
            (Phase::AwaitHello, hello::HELLO) => self.on_hello(env, link, &frame.payload, out),
            (Phase::AwaitReady(_), hello::READY) if frame.payload.is_empty() => {
                self.admit(env, link, out);
            }
            // Already admitted by a channel that overtook it.
            (Phase::Admitted, hello::READY)
                if frame.payload.is_empty() && state.side == Side::Listener => {}
            (Phase::Admitted, kind) if kind != hello::HELLO && kind != hello::READY => {
                let peer = state.peer;
                out.push(Action::Control { peer, link, kind, payload: frame.payload });
            }
            _ => self.violation(env, link, out),
        }
    }

    fn send_control(&self, link: LinkId, kind: u8, payload: Bytes, out: &mut Outbox<Action>) {
        debug_assert!(frame_limit(kind).is_some_and(|limit| payload.len() <= limit as usize));
        if let Some(channel) = self.links.get(&link).and_then(|state| state.control) {
            let head = Head::new().with(&header(kind, payload.len() as u32));
            out.push(Action::Write { channel, head, body: payload });
        }
    }

    fn on_shutdown(&mut self, env: Env<'_>, out: &mut Outbox<Action>) {
        self.closed = true;
        let links: alloc::vec::Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.close(env, link, CloseCode::GRACEFUL_SHUTDOWN, out);
        }
        self.dialing.clear();
        self.timers = TimerQueue::new();
    }
}

/// The table of the control channel (WIRE-03).
fn frame_limit(kind: u8) -> Option<u32> {
    hello::limit(kind).or_else(|| discovery::frames::limit(kind))
}

impl Core for Links {
    type Env<'a> = Env<'a>;
    type Event = Event;
    type Action = Action;

    fn handle(&mut self, env: Env<'_>, event: Event, out: &mut Outbox<Action>) {
        match event {
            Event::Timeout => self.on_timeout(env, out),
            Event::LinkUp { link, peer, side, rtt, binding } => {
                self.on_link_up(env, link, Proved { peer, side, rtt, binding }, out);
            }
            Event::LinkDown { link, reason } => self.on_link_down(env, link, reason, out),
            Event::LinkRtt { link, rtt } => self.on_rtt(link, rtt, out),
            Event::DialFailed { peer, reason } => {
                tracing::debug!(?peer, ?reason, "dial failed");
                self.on_dial_failed(env, peer, reason, out);
            }
            Event::ChannelUp { link, channel } => self.on_channel_up(env, link, channel, out),
            Event::Data { channel, chunk } => self.on_data(env, channel, chunk, out),
            Event::Drained { channel, bytes } => self.on_drained(channel, bytes, out),
            Event::ChannelDown { channel, reason } => {
                self.on_channel_down(env, channel, reason, out);
            }
            Event::Local(entry) => self.local = Some(entry),
            Event::Policy(policy) => self.on_policy(env, policy, out),
            Event::Limits(limits) => self.limits = limits,
            Event::EntryChanged(peer) => self.on_entry_changed(env, &peer, out),
            Event::Want { interest, peer, addrs } => self.on_want(env, interest, peer, &addrs),
            Event::Unwant { interest, peer } => self.on_unwant(env, interest, peer),
            Event::SendControl { link, kind, payload } => {
                self.send_control(link, kind, payload, out);
            }
            Event::Open { link, channel, protocol } => self.on_open(link, channel, protocol, out),
            Event::Write { channel, head, body } => {
                if self.channels.owner(channel).is_some() {
                    out.push(Action::Write { channel, head, body });
                }
            }
            Event::CloseChannel { channel, code } => {
                if let Some((link, _)) = self.channels.owner(channel) {
                    self.channels.close(channel);
                    out.push(Action::CloseChannel { channel, code });
                    self.channel_ended(env, link, out);
                }
            }
            Event::CloseLink { link, code: CloseCode::PROTOCOL_VIOLATION } => {
                self.violation(env, link, out);
            }
            Event::CloseLink { link, code } => self.close(env, link, code, out),
            Event::RetireLink { link } => self.on_retire(env, link, out),
            Event::Shutdown => self.on_shutdown(env, out),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}
