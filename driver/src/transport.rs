//! What the event loop needs of a transport: authenticated links that carry ordered channels.

use std::{collections::BTreeSet, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use mosaik_proto::{
    PeerId,
    links::{DialError, DownReason, LinkLimits},
    wire::{CloseCode, Head},
};

/// Is told with which code somebody was refused before there was a link.
pub type Refused = Arc<dyn Fn(CloseCode) + Send + Sync>;

/// Makes and takes links. One per node.
pub trait Transport: Send + Sync + 'static {
    /// A connection to a peer.
    type Link: Link;

    /// Connects to a peer at one of these addresses. Nobody but the holder of the peer's key can
    /// answer. Dropping the future abandons the attempt.
    fn dial(
        &self,
        peer: PeerId,
        addrs: Vec<SocketAddr>,
    ) -> impl Future<Output = Result<Self::Link, DialError>> + Send;

    /// The next link that somebody else made, `None` after [`close`](Self::close). The peer's key
    /// is proved.
    fn accept(&self) -> impl Future<Output = Option<Self::Link>> + Send;

    /// The addresses under which others can reach us.
    fn local_addrs(&self) -> BTreeSet<SocketAddr>;

    /// How much others may make us hold from now on: newcomers are held against it, what is there
    /// stays. A transport has [`LinkLimits::default`] before the first call.
    fn set_limits(&self, limits: LinkLimits);

    /// Whom to tell of everybody that is refused without becoming a link. Called once.
    fn on_refused(&self, told: Refused);

    /// Closes what is left and accepts nothing any more.
    fn close(&self, code: CloseCode);

    /// Resolves when everything closed has been told to the other ends.
    fn drained(&self) -> impl Future<Output = ()> + Send;
}

/// A connection to a peer whose key is proved. Clones are handles of the same connection.
pub trait Link: Clone + Send + Sync + 'static {
    /// The receiving half of a channel.
    type Read: ChunkRead;
    /// The sending half of a channel.
    type Write: ChunkWrite;

    /// Who is at the other end.
    fn peer(&self) -> PeerId;

    /// What both ends of this connection know, and nobody else: keying material exported from its
    /// handshake (RFC 9266). Two connections never have the same.
    fn binding(&self) -> [u8; 32];

    /// The present estimate of the round-trip time.
    fn rtt(&self) -> Duration;

    /// The node admitted the peer: from now on it may use all that a link has, and is no handshake
    /// any more. Called once.
    fn admitted(&self);

    /// Opens a channel. The other end sees it once something was written.
    fn open(&self) -> impl Future<Output = Result<(Self::Read, Self::Write), DownReason>> + Send;

    /// The next channel that the other end opened.
    fn accept(&self) -> impl Future<Output = Result<(Self::Read, Self::Write), DownReason>> + Send;

    /// Closes the link and all its channels.
    fn close(&self, code: CloseCode);

    /// Resolves when the link is down.
    fn closed(&self) -> impl Future<Output = DownReason> + Send;
}

/// The receiving half of a channel.
pub trait ChunkRead: Send + 'static {
    /// Appends at least one chunk, or as many as there are at the moment. `Ok(false)`: the other
    /// end finished in good order. Cancel safe.
    fn read(
        &mut self,
        into: &mut Vec<Bytes>,
    ) -> impl Future<Output = Result<bool, DownReason>> + Send;

    /// Tells the other end that nothing more is read, and why.
    fn stop(&mut self, code: CloseCode);
}

/// The sending half of a channel.
pub trait ChunkWrite: Send + 'static {
    /// Hands over head and body; resolves when the transport has taken both.
    fn write(
        &mut self,
        head: Head,
        body: Bytes,
    ) -> impl Future<Output = Result<(), DownReason>> + Send;

    /// Hands over what the transport takes at once, without waiting, and returns the rest. A transport
    /// may as well take nothing: [`write`](Self::write) is asked next. It is called from the event
    /// loop, so it must not do more than store a few bytes.
    fn try_write(&mut self, head: Head, body: Bytes) -> (Head, Bytes) {
        (head, body)
    }

    /// Ends the channel in good order: what was written is still delivered.
    fn finish(&mut self);

    /// Ends the channel at once; what was written may be lost.
    fn reset(&mut self, code: CloseCode);
}
