//! Puts packets together so that the core finds whole frames in one piece.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use mosaik_proto::{limits, wire::HEADER_LEN};

use crate::buffers::Ring;

/// Longer frames pass as they come: the core puts them together, within its own bounds.
const FRAME_MAX: usize = 2 * limits::BATCH_BYTES as usize;
/// Buffers that are waited for. More than the slot of a channel holds.
const BUFFERS: usize = 6;
/// Buffers have sizes of this step, so that one serves frames of about its size.
const STEP: usize = 16 * 1024;
/// Room behind a frame for what else is in its last packet.
const SLACK: usize = 2 * 1024;

/// Gathers the bytes of a channel into buffers that begin with a frame.
///
/// A transport hands over packets. Copied once, here, they need not be copied by the core's reader,
/// and a step of the core sees a frame instead of a packet. This is only about where bytes are cut,
/// which by WIRE-02 makes no difference: the core judges what they are. It waits only for frames no
/// longer than one that really came: what is merely announced the core has to see at once (WIRE-03),
/// and memory is bounded by what was sent.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: BytesMut,
    cut: Cut,
    ring: Ring,
}

/// Where the bytes of a channel may be cut.
#[derive(Debug, Default)]
struct Cut {
    /// The beginning of the first frame that is not complete; behind all bytes while a long frame
    /// passes.
    at: usize,
    /// The longest frame that came, up to [`FRAME_MAX`].
    largest: usize,
    /// The frame that passes, longer than any before it; over when bytes come behind it.
    passing: usize,
}

impl Assembler {
    /// Moves packets to `out`, but for the beginning of a frame whose end is missing.
    pub(crate) fn gather(&mut self, packets: &mut Vec<Bytes>, out: &mut VecDeque<Bytes>) {
        if let [packet] = &packets[..]
            && self.open.is_empty()
            && self.cut.scan(packet).is_none()
        {
            // Usual where little is sent: whole frames in one packet need no copy.
            self.cut.at -= packet.len();
            return out.extend(packets.drain(..));
        }
        for packet in packets.drain(..) {
            self.open.extend_from_slice(&packet);
            let frame = self.cut.scan(&self.open).filter(|frame| *frame <= self.cut.largest);
            if frame.is_some_and(|frame| self.cut.at + frame > self.open.capacity()) {
                self.flush(out);
                let mut next = self.ring.take(self.cut.largest.next_multiple_of(STEP) + SLACK);
                next.extend_from_slice(&self.open);
                self.ring.put(std::mem::replace(&mut self.open, next), BUFFERS);
            }
        }
        self.flush(out);
    }

    /// What is left when the channel ends.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let rest = self.open.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }

    /// Gives away everything in front of the frame that is not complete.
    fn flush(&mut self, out: &mut VecDeque<Bytes>) {
        let ready = self.cut.at.min(self.open.len());
        self.cut.at -= ready;
        if ready > 0 {
            out.push_back(self.open.split_to(ready).freeze());
        }
    }
}

impl Cut {
    /// Looks at everything that was not given away. `None` if there is no frame that has to be waited
    /// for; else the length of that frame, as far as it is known.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            self.largest = self.largest.max(self.passing).min(FRAME_MAX);
            let Some([_, length @ ..]) = rest.first_chunk::<HEADER_LEN>() else {
                return Some(HEADER_LEN);
            };
            let frame = HEADER_LEN.saturating_add(u32::from_be_bytes(*length) as usize);
            if frame > rest.len() && frame <= self.largest {
                return Some(frame);
            }
            self.passing = frame;
            self.at = self.at.saturating_add(frame);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![1];
        frame.extend((length as u32).to_be_bytes());
        frame.extend((0..length).map(|byte| byte as u8));
        frame
    }

    /// However packets are cut, the bytes are the same, and no piece ends within a frame that is not
    /// long, if one as long came before.
    #[test]
    fn nothing_is_lost_and_frames_stay_whole() {
        let lengths = [0, 1, 50, 3_000, 70_000, 9, 70_100, 300_000, 20, 130_000, 65_557, 65_000];
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
        for size in [1, 7, 1_410, 40_000, bytes.len()] {
            let (mut assembler, mut out) = (Assembler::default(), VecDeque::new());
            let packets: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            for read in packets.chunks(if size == 1 { 500 } else { 3 }) {
                assembler.gather(&mut read.to_vec(), &mut out);
            }
            assert_eq!(assembler.rest(), None);
            assert_eq!(Vec::from(out.clone()).concat(), bytes, "packets of {size}");
            let mut starts = 0;
            let mut cuts = std::collections::BTreeSet::from([0]);
            for piece in &out {
                starts += piece.len();
                cuts.insert(starts);
            }
            let (mut start, mut longest) = (0, 0);
            for length in lengths {
                let frame = HEADER_LEN + length;
                let within = cuts.range(start + 1..start + frame).next();
                assert!(within.is_none() || frame > longest.min(FRAME_MAX), "{length} is cut");
                (start, longest) = (start + frame, longest.max(frame));
            }
        }
    }

    /// WIRE-03: what may be wrong is not held back.
    #[test]
    fn an_announced_length_allocates_nothing() {
        let (mut assembler, mut out) = (Assembler::default(), VecDeque::new());
        let header = Bytes::from_static(&[1, 0, 1, 0, 0, 42]);
        assembler.gather(&mut vec![header], &mut out);
        assert!(assembler.open.capacity() < 100);
        assert_eq!(out.pop_back().map(|chunk| chunk.len()), Some(6), "the core sees it at once");
        let huge = Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff, 42]);
        let mut assembler = Assembler::default();
        assembler.gather(&mut vec![huge], &mut out);
        assert_eq!(out.pop_back().map(|chunk| chunk.len()), Some(6), "passed on at once");
    }
}
