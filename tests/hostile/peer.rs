//! A peer with a valid key that says what it likes.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use mosaik::{
    Bytes, CloseCode, Criteria, Network, NetworkId, PeerId, SecretKey, StreamId,
    driver::{
        quic::{QuicLink, QuicRead, QuicTransport, QuicWrite},
        transport::{ChunkRead as _, ChunkWrite as _, Link as _, Transport as _},
    },
    proto::{
        links::{DialError, DownReason},
        wire::{self, Frame, FrameReader, Head, PROTOCOL_VERSION, header},
    },
};

use super::{
    CONTROL, HELLO, READY, STREAM,
    entries::{Fields, hello},
};
use crate::common::soon;

/// A key, a network to attack, and a transport of its own.
pub(crate) struct Hostile {
    pub(crate) network: NetworkId,
    pub(crate) key: SecretKey,
    /// What it says of itself, if it says it.
    pub(crate) fields: Fields,
    pub(crate) transport: Arc<QuicTransport>,
}

impl Hostile {
    pub(crate) fn new(network: NetworkId) -> Self {
        Self::bound(network, Ipv4Addr::LOCALHOST.octets())
    }

    /// At an address of its own, within loopback.
    pub(crate) fn bound(network: NetworkId, ip: [u8; 4]) -> Self {
        let key = SecretKey::generate();
        let addrs = BTreeSet::from([(ip, 0).into()]);
        let runtime = Arc::new(quinn::TokioRuntime);
        let transport = Arc::new(QuicTransport::bind(runtime, &key, &addrs).expect("bound"));
        let mut fields = Fields::honest(network, &key);
        fields.addrs = transport.local_addrs();
        Self { network, key, fields, transport }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.key.public()
    }

    /// Its entry as it is now, honest in form.
    pub(crate) fn entry(&self) -> Vec<u8> {
        self.fields.signed(&self.key)
    }

    /// A hello that is as it should be.
    pub(crate) fn hello(&self) -> Vec<u8> {
        hello(PROTOCOL_VERSION, self.network, 0, &self.entry())
    }

    pub(crate) async fn try_connect(&self, to: &Network) -> Result<Raw, DialError> {
        let addrs = to.local().addr().addrs.into_iter().collect();
        let link = soon(self.transport.dial(to.local().id(), addrs)).await?;
        link.admitted();
        Ok(Raw { link, home: self.transport.clone() })
    }

    /// A link on which nothing was said.
    pub(crate) async fn connect(&self, to: &Network) -> Raw {
        self.try_connect(to).await.expect("a link")
    }

    /// A link that the node admitted, and its control channel.
    pub(crate) async fn join(&self, to: &Network) -> (Raw, Pipe) {
        let raw = self.connect(to).await;
        let mut control = raw.open(CONTROL).await;
        control.frame(HELLO, &self.hello()).await;
        let answer = control.next().await.expect("a hello");
        assert_eq!(answer.kind, HELLO);
        control.frame(READY, &[]).await;
        (raw, control)
    }
}

/// A link without a protocol.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) link: QuicLink,
    /// Kept: a transport that is dropped closes its links.
    pub(crate) home: Arc<QuicTransport>,
}

impl Raw {
    /// Opens a channel with this first byte.
    pub(crate) async fn open(&self, first: u8) -> Pipe {
        let mut pipe = self.open_silent().await;
        pipe.send(&[first]).await;
        pipe
    }

    /// Opens a channel and says nothing, so that the other end does not even see it.
    pub(crate) async fn open_silent(&self) -> Pipe {
        soon(self.link.open()).await.map(Pipe::new).expect("a channel")
    }

    /// A channel that says it is a consumer, and this.
    pub(crate) async fn stream(&self, bytes: &[u8]) -> Pipe {
        let mut pipe = self.open(STREAM).await;
        pipe.send(bytes).await;
        pipe
    }

    /// The next channel that the other end opens.
    pub(crate) async fn accept(&self) -> Pipe {
        soon(self.link.accept()).await.map(Pipe::new).expect("a channel")
    }

    /// With which code the other end closes the link.
    pub(crate) async fn closed(&self) -> CloseCode {
        match soon(self.link.closed()).await {
            DownReason::Closed(code) => code,
            other => panic!("the link ended by {other:?}"),
        }
    }

    pub(crate) fn close(&self) {
        self.link.close(CloseCode::CANCELLED);
    }
}

/// Both directions of a channel.
pub(crate) struct Pipe {
    read: QuicRead,
    write: QuicWrite,
    reader: FrameReader,
    chunks: Vec<Bytes>,
    rest: Bytes,
}

impl Pipe {
    fn new((read, write): (QuicRead, QuicWrite)) -> Self {
        let (reader, rest) = (FrameReader::new(), Bytes::new());
        Self { read, write, reader, chunks: Vec::new(), rest }
    }

    /// Writes; that the other end has closed the channel already is no mistake.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = soon(self.write.write(Head::new(), Bytes::copy_from_slice(bytes))).await;
    }

    pub(crate) async fn frame(&mut self, kind: u8, payload: &[u8]) {
        self.send(&frame(kind, payload)).await;
    }

    /// The first byte of a channel that the other end opened.
    pub(crate) async fn first(&mut self) -> u8 {
        self.more().await.expect("a byte");
        self.rest.split_to(1)[0]
    }

    /// The next frame of the other end.
    pub(crate) async fn next(&mut self) -> Result<Frame, DownReason> {
        loop {
            if let Some(frame) = self.reader.read(&mut self.rest, |_| Some(u32::MAX)).expect("any")
            {
                return Ok(frame);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), DownReason> {
        while self.chunks.is_empty() {
            if !soon(self.read.read(&mut self.chunks)).await? {
                return Err(DownReason::Finished);
            }
        }
        self.rest = self.chunks.remove(0);
        Ok(())
    }

    /// With which code the other end ends the channel, or the link with it.
    pub(crate) async fn ended(&mut self) -> CloseCode {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(DownReason::Closed(code)) => return code,
                Err(other) => panic!("the channel ended by {other:?}"),
            }
        }
    }
}

/// A frame whose length is as announced.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len() as u32), payload].concat()
}

/// Only a header.
pub(crate) fn announced(kind: u8, length: u32) -> Vec<u8> {
    header(kind, length).to_vec()
}

/// A subscription as an honest consumer begins it, with its frame.
pub(crate) fn subscribe(stream: &StreamId) -> Vec<u8> {
    subscribe_with(stream, (1_000, 1_000_000), None)
}

/// A subscription with this first grant and this position to resume at.
pub(crate) fn subscribe_with(
    stream: &StreamId,
    grant: (u64, u64),
    resume: Option<(u64, u64)>,
) -> Vec<u8> {
    let window = (1_000u64, 1_000_000u64);
    frame(1, &wire::encode(&(stream, Criteria::default(), window, grant, resume, 0u64)))
}

/// A producer's answer: its incarnation, the number of the next item, and that it loses nothing.
pub(crate) fn accept(incarnation: u64, next: u64) -> Vec<u8> {
    frame(3, &wire::encode(&(incarnation, next, 0u8)))
}
