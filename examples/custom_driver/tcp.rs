//! Links over non-blocking TCP: sockets to events, actions to bytes. Decides nothing.
//!
//! **Not secure; do not copy that part.** A node trusts its driver that the peer of a link proved
//! its key. Here both ends merely *state* their ids, in clear: anybody can pose as anybody, listen
//! and change. TLS with raw keys, or Noise, belongs between `socket` and `mux`, and `LinkUp` takes
//! the peer from its handshake. Nor does TCP notice soon that a host is gone: a real transport
//! pings a silent link and reports `DownReason::Timeout` after some seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use mio::{
    Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use mosaik_proto::{
    Digest, PeerId,
    ids::{ChannelId, LinkId, Side},
    limits,
    links::{DialError, DownReason},
    node::Event,
    time::Instant,
    wire::CloseCode,
};

use super::mux::{Frame, Mux, PIECE};

const LISTENER: Token = Token(0);
/// Time for a dial with its greeting, and for the last words of a closed link: the node does not
/// watch over these, because it has not heard of the link yet, or has forgotten it already.
const PATIENCE: Duration = Duration::from_secs(2);

/// A TCP connection; a link as soon as the other end has said who it is.
struct Conn {
    socket: TcpStream,
    mux: Mux,
    /// What we said in our hello.
    number: Digest,
    /// Whom we dialled. `None`: the other end did.
    dialled: Option<PeerId>,
    up: bool,
    since: Instant,
    /// When it must be up, or must be gone.
    until: Option<Instant>,
    /// mio tells changes only, so this holds until the socket would block.
    readable: bool,
    /// By their number on the wire.
    channels: BTreeMap<u64, ChannelId>,
}

/// All connections of a node.
pub(crate) struct Tcp {
    me: PeerId,
    poll: Poll,
    ready: mio::Events,
    listener: TcpListener,
    conns: BTreeMap<LinkId, Conn>,
    channels: BTreeMap<ChannelId, (LinkId, u64)>,
    /// Numbers links, and the channels of other ends: neither is ever used again.
    last_id: u64,
}

impl Tcp {
    pub(crate) fn listen(me: PeerId) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (ready, conns, channels) =
            (mio::Events::with_capacity(64), BTreeMap::new(), BTreeMap::new());
        Ok(Self { me, poll, ready, listener, conns, channels, last_id: 0 })
    }

    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// True when the last words of all links are out.
    pub(crate) fn is_idle(&self) -> bool {
        self.conns.is_empty()
    }

    // --- what the node asks for -----------------------------------------------------------------

    /// Connects to the first address; a real transport tries all of them.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        peer: PeerId,
        addrs: &[SocketAddr],
    ) -> Result<(), DialError> {
        let addr = addrs.first().ok_or(DialError::NoAddress)?;
        let socket = TcpStream::connect(*addr).map_err(|_| DialError::Transport)?;
        self.add(now, socket, Some(peer)).map_err(|_| DialError::Transport)
    }

    pub(crate) fn open_channel(&mut self, link: LinkId, channel: ChannelId) {
        if let Some(conn) = self.conns.get_mut(&link) {
            let wire = channel.0;
            conn.channels.insert(wire, channel);
            self.channels.insert(channel, (link, wire));
            conn.mux.say(&Frame::Open(wire), None);
        }
    }

    pub(crate) fn write(&mut self, channel: ChannelId, mut data: Bytes) {
        let Some((link, wire)) = self.channels.get(&channel) else { return };
        let Some(conn) = self.conns.get_mut(link) else { return };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            conn.mux.say(&Frame::Data(*wire, piece), Some(channel));
        }
    }

    /// The frame goes behind all that was written, as `SUCCESS` and `GRACEFUL_SHUTDOWN` demand.
    pub(crate) fn close_channel(&mut self, channel: ChannelId, code: CloseCode) {
        let Some((link, wire)) = self.channels.remove(&channel) else { return };
        let Some(conn) = self.conns.get_mut(&link) else { return };
        conn.channels.remove(&wire);
        conn.mux.say(&Frame::Close(wire, code), None);
    }

    /// The other end hangs up when it hears the goodbye; if it does not, we do.
    pub(crate) fn close_link(&mut self, now: Instant, link: LinkId, code: CloseCode) {
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.mux.say(&Frame::Goodbye(code), None);
            conn.until = Some(now + PATIENCE);
        }
    }

    // --- what happens ---------------------------------------------------------------------------

    /// Waits for a socket, at most until `deadline` or one of our own; not at all if there is still
    /// something to read. Then takes new connections.
    pub(crate) fn wait(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        let ends = self.conns.values().filter_map(|conn| conn.until).chain(deadline);
        let busy = self.conns.values().any(|conn| conn.readable);
        let wait = if busy { Some(Duration::ZERO) } else { ends.min().map(|at| at.since(now)) };
        match self.poll.poll(&mut self.ready, wait) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in self.ready.iter().filter(|event| event.is_readable()) {
            if let Some(conn) = self.conns.get_mut(&LinkId(event.token().0 as u64)) {
                conn.readable = true;
            }
        }
        while let Ok((socket, _)) = self.listener.accept() {
            // Nobody has proved anything yet, so strangers get a bounded number of places.
            if self.conns.len() < limits::LINKS + limits::HANDSHAKES {
                self.add(now, socket, None)?;
            }
        }
        Ok(())
    }

    /// Reads each connection once, so that a loud one does not hold up the others.
    pub(crate) fn receive(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        for link in self.conns.keys().copied().collect::<Vec<_>>() {
            if let Err(reason) = self.receive_from(link, now, events) {
                self.lost(link, reason, events);
            }
        }
    }

    /// Sends what was said. `Drained` is told when a socket took the bytes, not when they were
    /// queued: it is what bounds the queue.
    pub(crate) fn send(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        for link in self.conns.keys().copied().collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&link) else { continue };
            let drained = |channel, bytes| events.push_back(Event::Drained { channel, bytes });
            if conn.mux.send(&mut conn.socket, drained).is_err() {
                self.lost(link, DownReason::Lost, events);
            } else if conn.until.is_some_and(|until| until <= now) {
                self.lost(link, DownReason::Timeout, events);
            }
        }
    }

    fn receive_from(
        &mut self,
        link: LinkId,
        now: Instant,
        events: &mut VecDeque<Event>,
    ) -> Result<(), DownReason> {
        let Some(conn) = self.conns.get_mut(&link).filter(|conn| conn.readable) else {
            return Ok(());
        };
        conn.readable = conn.mux.receive(&mut conn.socket).map_err(|_| DownReason::Lost)?;
        while let Some(frame) = conn.mux.hear().map_err(|_| DownReason::Lost)? {
            events.push_back(match frame {
                Frame::Hello(peer, theirs) if !conn.up => {
                    if conn.dialled.is_some_and(|dialled| dialled != peer) {
                        return Err(DownReason::Lost); // somebody else lives there now
                    }
                    (conn.up, conn.until) = (true, None);
                    let side = if conn.dialled.is_some() { Side::Dialer } else { Side::Listener };
                    // Of TLS this would be exported keying material (RFC 9266).
                    let (first, second) = (conn.number.min(theirs), conn.number.max(theirs));
                    let binding = *first.derive(second.as_bytes()).as_bytes();
                    Event::LinkUp { link, peer, side, rtt: now.since(conn.since), binding }
                }
                Frame::Open(wire) if conn.up && !conn.channels.contains_key(&wire) => {
                    self.last_id += 1;
                    let channel = ChannelId::driver(self.last_id);
                    conn.channels.insert(wire, channel);
                    self.channels.insert(channel, (link, wire));
                    Event::ChannelUp { link, channel }
                }
                Frame::Data(wire, chunk) => match conn.channels.get(&wire) {
                    Some(&channel) => Event::Data { channel, chunk },
                    None => continue, // it crossed our own close
                },
                Frame::Close(wire, code) => match conn.channels.remove(&wire) {
                    Some(channel) => {
                        self.channels.remove(&channel);
                        Event::ChannelDown { channel, reason: DownReason::Closed(code) }
                    }
                    None => continue,
                },
                Frame::Goodbye(code) => return Err(DownReason::Closed(code)),
                Frame::Hello(..) | Frame::Open(_) => return Err(DownReason::Lost),
            });
        }
        Ok(())
    }

    /// Forgets a connection and its channels. The node hears of the link only: with it, its
    /// channels are down. If it closed the link itself it has forgotten it, and does not mind.
    fn lost(&mut self, link: LinkId, reason: DownReason, events: &mut VecDeque<Event>) {
        let Some(conn) = self.conns.remove(&link) else { return };
        self.channels.retain(|_, (of, _)| *of != link);
        match conn.dialled {
            _ if conn.up => events.push_back(Event::LinkDown { link, reason }),
            Some(peer) => {
                events.push_back(Event::DialFailed { peer, reason: DialError::Transport });
            }
            None => {}
        }
    }

    /// A socket of either side. The first thing to say is who we are.
    fn add(
        &mut self,
        now: Instant,
        mut socket: TcpStream,
        dialled: Option<PeerId>,
    ) -> io::Result<()> {
        self.last_id += 1;
        let (link, token) = (LinkId(self.last_id), Token(self.last_id as usize));
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, token, both)?;
        let mut mux = Mux::default();
        let number = Digest::random();
        mux.say(&Frame::Hello(self.me, number), None);
        let (until, channels) = (Some(now + PATIENCE), BTreeMap::new());
        let (up, since, readable) = (false, now, false);
        let conn = Conn { socket, mux, number, dialled, up, since, until, readable, channels };
        self.conns.insert(link, conn);
        Ok(())
    }
}
