//! Channels over one TCP connection: frames, and the bytes that wait. Knows no node and no socket.
//!
//! ```text
//! kind u8 | channel u64 | length u32 | payload      integers big-endian
//! ```
//!
//! Who opens a channel names it by its own id. Core ids are even, so the lowest bit can say whose
//! id it is: 0 if the sender of the frame opened the channel, 1 if the receiver did. The `wire`
//! number of a channel at one end is `wire ^ 1` at the other; the ends need not agree on anything.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mosaik_proto::{Digest, PeerId, ids::ChannelId, limits, wire::CloseCode};

const HEADER: usize = 13;
/// A frame carries no more. Larger writes are cut, so that `Drained` comes as often as the cores
/// expect it, and a peer that announces more cannot make us wait for it or keep it.
pub(crate) const PIECE: usize = limits::DRAIN_REPORT as usize;
/// Frames that may wait to be sent. What the cores write is bounded by the debt of each channel;
/// only a peer that opens channels for ever, and never reads that we refuse them, gets here.
const WAITING: usize = 1 << 18;

/// What one end says to the other.
pub(crate) enum Frame {
    /// The first frame of both ends: who speaks, and a number. Stated, not proved!
    Hello(PeerId, Digest),
    Open(u64),
    Data(u64, Bytes),
    Close(u64, CloseCode),
    /// Ends the link.
    Goodbye(CloseCode),
}

/// The bytes of one connection in both directions.
#[derive(Default)]
pub(crate) struct Mux {
    input: BytesMut,
    /// Whole frames, and how much of which channel is drained once the socket has taken one.
    output: VecDeque<(Bytes, Option<(ChannelId, u32)>)>,
}

impl Mux {
    /// Appends a frame, on behalf of `channel` if its bytes count as a debt of that channel.
    pub(crate) fn say(&mut self, frame: &Frame, channel: Option<ChannelId>) {
        let (kind, wire, payload) = match frame {
            Frame::Hello(peer, number) => {
                (0, 0, [*peer.as_bytes(), *number.as_bytes()].concat().into())
            }
            Frame::Open(wire) => (1, *wire, Bytes::new()),
            Frame::Data(wire, data) => (2, *wire, data.clone()),
            Frame::Close(wire, code) => (3, *wire, code.code().to_be_bytes().to_vec().into()),
            Frame::Goodbye(code) => (4, 0, code.code().to_be_bytes().to_vec().into()),
        };
        let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
        bytes.put_u8(kind);
        bytes.put_u64(wire);
        bytes.put_u32(payload.len() as u32);
        bytes.put(&*payload); // a copy; `write_vectored` would spare it
        let drains = channel.map(|channel| (channel, payload.len() as u32));
        self.output.push_back((bytes.freeze(), drains));
    }

    /// Sends until nothing is left or the socket would block. `drained` hears what the socket took:
    /// not what was queued, or the queue would have no bound.
    pub(crate) fn send(
        &mut self,
        socket: &mut impl Write,
        mut drained: impl FnMut(ChannelId, u32),
    ) -> io::Result<()> {
        while let Some((frame, drains)) = self.output.front_mut() {
            match socket.write(frame) {
                Ok(count) => frame.advance(count),
                Err(error) if would_block(&error) && self.output.len() <= WAITING => return Ok(()),
                Err(error) => return Err(error),
            }
            if frame.is_empty() {
                if let Some((channel, bytes)) = *drains {
                    drained(channel, bytes);
                }
                self.output.pop_front();
            }
        }
        Ok(())
    }

    /// Reads once. False if the socket would block.
    pub(crate) fn receive(&mut self, socket: &mut impl Read) -> io::Result<bool> {
        let mut bytes = [0; 2 * PIECE];
        match socket.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error) if would_block(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame that has arrived, its channel as this end numbers it. What another end
    /// may not say is an error: it ends the link, never the process.
    pub(crate) fn hear(&mut self) -> io::Result<Option<Frame>> {
        let Some(mut header) = self.input.get(..HEADER) else { return Ok(None) };
        let (kind, wire) = (header.get_u8(), header.get_u64() ^ 1);
        let length = header.get_u32() as usize;
        if length > PIECE {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.input.len() < HEADER + length {
            return Ok(None);
        }
        self.input.advance(HEADER);
        let mut payload = self.input.split_to(length).freeze();
        Ok(Some(match (kind, length) {
            (0, 64) => {
                let (mut key, mut number) = ([0; 32], [0; 32]);
                payload.copy_to_slice(&mut key);
                payload.copy_to_slice(&mut number);
                Frame::Hello(PeerId::from_bytes(key), Digest::from_bytes(number))
            }
            (1, 0) if wire & 1 == 1 => Frame::Open(wire),
            (2, _) => Frame::Data(wire, payload),
            (3, 4) => Frame::Close(wire, payload.get_u32().into()),
            (4, 4) => Frame::Goodbye(payload.get_u32().into()),
            _ => return Err(ErrorKind::InvalidData.into()),
        }))
    }
}

/// Not now. Some systems say of a connection in progress that there is none.
fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
