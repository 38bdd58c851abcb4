//! The two halves of a channel: a QUIC stream each way.

use std::{
    future::Future as _,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};
use mosaik_proto::{
    links::DownReason,
    wire::{CloseCode, Head},
};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::{allowance::Berth, link::Closing};
use crate::transport::{ChunkRead, ChunkWrite};

/// Chunks taken from the stream at once. They are packet-sized: this is about 40 KiB.
const CHUNKS: usize = 32;

/// Below this length head and body go into one buffer: the copy costs less than an allocation for
/// the head and a second segment in the send queue, and the small item does not keep alive the
/// large buffer that it may be a part of.
const JOIN_BELOW: usize = 1024;

/// The receiving half of a channel. Dropped before the end, it stops with
/// [`CANCELLED`](CloseCode::CANCELLED).
#[derive(Debug)]
pub struct QuicRead {
    stream: RecvStream,
    closing: Closing,
    stopped: Option<CloseCode>,
    /// Where chunks are put; empty between reads.
    chunks: Box<[Bytes; CHUNKS]>,
    _berth: Option<Arc<Berth>>,
}

impl QuicRead {
    pub(super) fn new(stream: RecvStream, closing: Closing, berth: Option<Arc<Berth>>) -> Self {
        Self { stream, closing, stopped: None, chunks: Box::default(), _berth: berth }
    }
}

impl ChunkRead for QuicRead {
    async fn read(&mut self, into: &mut Vec<Bytes>) -> Result<bool, DownReason> {
        // Once the peer has answered a stop, quinn reports a finished stream.
        if let Some(code) = self.stopped {
            return Err(DownReason::Local(code));
        }
        match self.stream.read_chunks(&mut self.chunks[..]).await {
            Ok(Some(count)) => {
                into.extend(self.chunks[..count].iter_mut().map(std::mem::take));
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(ReadError::Reset(code)) => Err(DownReason::Closed(close_code(code))),
            Err(ReadError::ConnectionLost(error)) => Err(self.closing.down_reason(&error)),
            Err(
                ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected,
            ) => Err(ended(self.stopped)),
        }
    }

    fn stop(&mut self, code: CloseCode) {
        self.stopped.get_or_insert(code);
        // An error says that the stream has ended already.
        let _ = self.stream.stop(var_int(code));
    }
}

impl Drop for QuicRead {
    fn drop(&mut self) {
        if self.stopped.is_none() {
            self.stop(CloseCode::CANCELLED);
        }
    }
}

/// The sending half of a channel. Dropped before [`finish`](ChunkWrite::finish), it resets with
/// [`CANCELLED`](CloseCode::CANCELLED): what was cut off must not look complete.
#[derive(Debug)]
pub struct QuicWrite {
    stream: SendStream,
    closing: Closing,
    ended: Option<CloseCode>,
    _berth: Option<Arc<Berth>>,
}

impl QuicWrite {
    pub(super) const fn new(
        stream: SendStream,
        closing: Closing,
        berth: Option<Arc<Berth>>,
    ) -> Self {
        Self { stream, closing, ended: None, _berth: berth }
    }
}

impl ChunkWrite for QuicWrite {
    /// Not cancel safe: after a dropped write the channel can only be reset.
    async fn write(&mut self, head: Head, body: Bytes) -> Result<(), DownReason> {
        let written = if body.len() < JOIN_BELOW {
            self.stream.write_all_chunks(&mut [join(&head, body)]).await
        } else {
            let head = Bytes::copy_from_slice(head.as_slice());
            self.stream.write_all_chunks(&mut [head, body]).await
        };
        written.map_err(|error| match error {
            WriteError::Stopped(code) => DownReason::Closed(close_code(code)),
            WriteError::ConnectionLost(error) => self.closing.down_reason(&error),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => ended(self.ended),
        })
    }

    /// Takes small frames: a lone item then goes without another task being woken in between.
    fn try_write(&mut self, head: Head, body: Bytes) -> (Head, Bytes) {
        if body.len() >= JOIN_BELOW {
            return (head, body);
        }
        let mut chunks = [join(&head, body)];
        {
            // Nobody is woken later: whoever has a rest writes it, and then waits.
            let mut cx = Context::from_waker(Waker::noop());
            // An error stays, and is told to the next write.
            let _ = pin!(self.stream.write_chunks(&mut chunks)).poll(&mut cx);
        }
        let [rest] = chunks;
        (Head::new(), rest)
    }

    fn finish(&mut self) {
        self.ended.get_or_insert(CloseCode::SUCCESS);
        // An error says that the stream has ended already.
        let _ = self.stream.finish();
    }

    fn reset(&mut self, code: CloseCode) {
        self.ended.get_or_insert(code);
        let _ = self.stream.reset(var_int(code));
    }
}

impl Drop for QuicWrite {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.reset(CloseCode::CANCELLED);
        }
    }
}

fn join(head: &Head, body: Bytes) -> Bytes {
    if head.is_empty() {
        return body;
    }
    let mut joined = BytesMut::with_capacity(head.len() + body.len());
    joined.extend_from_slice(head.as_slice());
    joined.extend_from_slice(&body);
    joined.freeze()
}

fn ended(by: Option<CloseCode>) -> DownReason {
    DownReason::Local(by.unwrap_or(CloseCode::UNEXPECTED))
}

pub(super) fn var_int(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.code())
}

/// Our codes fit into 32 bits; whoever sends more is not one of us.
pub(super) fn close_code(code: VarInt) -> CloseCode {
    u32::try_from(code.into_inner()).map_or(CloseCode::UNEXPECTED, CloseCode::from)
}
