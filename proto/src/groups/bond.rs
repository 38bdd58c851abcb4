//! One member of the group as seen from here, and the channels to it.

use bytes::Bytes;

use super::{
    context::Cx,
    frames::{self, Announcement, Class, Frame, Open},
    key::End,
};
use crate::{
    ids::ChannelId,
    time::Instant,
    wire::{CloseCode, FrameReader, Head},
};

/// A channel, and what is under way on it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) channel: ChannelId,
    pub(super) reader: FrameReader,
    /// Bytes written and not drained.
    pub(super) debt: u64,
}

impl Lane {
    pub(super) fn new(channel: ChannelId, reader: FrameReader) -> Self {
        Self { channel, reader, debt: 0 }
    }

    /// What writes to it and counts the bytes.
    fn sink<'a>(&'a mut self, cx: &'a mut Cx<'_>) -> impl FnMut(Head, Bytes) + 'a {
        |head, body| {
            self.debt += (head.len() + body.len()) as u64;
            cx.write(self.channel, head, body);
        }
    }

    pub(super) fn put_open(&mut self, open: &Open, sealed: &[u8], cx: &mut Cx<'_>) {
        let mut scratch = core::mem::take(&mut cx.shared.scratch);
        frames::put_open(open, sealed, &mut scratch, &mut self.sink(cx));
        cx.shared.scratch = scratch;
    }

    pub(super) fn put_announce(&mut self, sealed: &[u8], cx: &mut Cx<'_>) {
        frames::put_announce(sealed, &mut self.sink(cx));
    }

    pub(super) fn put_ready(&mut self, cx: &mut Cx<'_>) {
        frames::put_ready(&mut self.sink(cx));
    }

    pub(super) fn put_frame(&mut self, frame: &Frame, heard: u32, cx: &mut Cx<'_>) {
        let mut scratch = core::mem::take(&mut cx.shared.scratch);
        frames::put_frame(frame, heard, &mut scratch, &mut self.sink(cx));
        cx.shared.scratch = scratch;
    }
}

/// How far the handshake is.
///
/// | phase | left by |
/// |---|---|
/// | `Opening` | the acceptor's announcement: `Up`, and `READY` is sent |
/// | `Answered` | the opener's `READY`, or a further channel of it: `Up` |
/// | `Up` | close, link lost, entry or tickets no longer fit |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// We opened, and wait for the acceptor's announcement.
    Opening,
    /// We accepted and answered; the opener has not said yet that it takes our announcement.
    Answered,
    /// Both ends take each other.
    Up,
}

/// Which of a bond's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) class: Class,
    /// The peer opened it.
    pub(super) accepted: bool,
}

/// A bond, or the attempt to have one.
#[derive(Debug)]
pub(super) struct Bond {
    pub(super) phase: Phase,
    /// Our end of it.
    pub(super) end: End,
    /// The number of its `OPEN`.
    pub(super) serial: u64,
    /// The binding of its link.
    pub(super) binding: [u8; 32],
    pub(super) main: Lane,
    /// Commands and snapshots, by who opened the channel: we, the peer.
    further: [[Option<Lane>; 2]; 2],
    /// What the peer announced last; `None` only while opening.
    pub(super) theirs: Option<Announcement>,
    /// How many announcements of the peer came.
    pub(super) heard: u32,
    /// How many of ours were sent.
    pub(super) said: u32,
    /// The number of ours with which our lineage or seat last changed.
    pub(super) moved: u32,
    pub(super) since: Instant,
}

impl Bond {
    pub(super) fn new(
        phase: Phase,
        serial: u64,
        binding: [u8; 32],
        main: Lane,
        since: Instant,
    ) -> Self {
        let end = if phase == Phase::Opening { End::Opener } else { End::Acceptor };
        Self {
            phase,
            end,
            serial,
            binding,
            main,
            further: [[None, None], [None, None]],
            theirs: None,
            heard: 0,
            said: 0,
            moved: 0,
            since,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Which of its channels this is.
    pub(super) fn which(&self, channel: ChannelId) -> Option<Which> {
        if self.main.channel == channel {
            return Some(Which { class: Class::Bond, accepted: self.end == End::Acceptor });
        }
        for class in [Class::Commands, Class::Snapshot] {
            for accepted in [false, true] {
                let which = Which { class, accepted };
                if self.lane(which).is_some_and(|lane| lane.channel == channel) {
                    return Some(which);
                }
            }
        }
        None
    }

    pub(super) fn slot(&mut self, which: Which) -> Option<&mut Option<Lane>> {
        let of_class = match which.class {
            Class::Bond => return None,
            Class::Commands => &mut self.further[0],
            Class::Snapshot => &mut self.further[1],
        };
        Some(&mut of_class[usize::from(which.accepted)])
    }

    pub(super) fn lane(&self, which: Which) -> Option<&Lane> {
        let of_class = match which.class {
            Class::Bond => return Some(&self.main),
            Class::Commands => &self.further[0],
            Class::Snapshot => &self.further[1],
        };
        of_class[usize::from(which.accepted)].as_ref()
    }

    pub(super) fn lane_mut(&mut self, which: Which) -> Option<&mut Lane> {
        if which.class == Class::Bond {
            return Some(&mut self.main);
        }
        self.slot(which)?.as_mut()
    }

    /// Ends all its channels.
    pub(super) fn close(self, code: CloseCode, cx: &mut Cx<'_>) {
        let further = self.further.into_iter().flatten().flatten();
        for lane in further {
            cx.close(lane.channel, code);
        }
        cx.close(self.main.channel, code);
    }
}
