//! The lane of a producer: encoded items on their way from its handles to the loop.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use event_listener::{Event, EventListener};
use mosaik_proto::{limits, streams::item};

use super::{cell::lock, inbox::Queued, prim::Mutex};
use crate::buffers::Ring;

/// Room for a small item; with less a batch gets another buffer.
const ROOM: usize = 512;
/// Bytes of a batch's buffer.
const BUFFER: usize = limits::BATCH_BYTES as usize + ROOM;

#[derive(Debug, Default)]
struct State {
    /// Full batches, oldest first; few, because the lane is bounded in bytes.
    full: VecDeque<(u32, u64, BytesMut)>,
    /// Memory of batches, to be used again when the core has dropped them.
    spare: Ring,
    /// The batch that is being filled, its items and their payload bytes.
    open: BytesMut,
    open_items: u32,
    open_payload: u64,
    /// The last item was large: the next will be too, so begin with the long form of its length.
    long: bool,
    /// All items and bytes that wait.
    items: usize,
    bytes: usize,
    /// Places that sinks hold between `poll_ready` and `start_send`.
    reserved: usize,
    /// What the core allows in all, and what was taken so far.
    window: (u64, u64),
    taken: (u64, u64),
    announced: bool,
    handles: usize,
    ended: bool,
}

/// What the loop finds when it looks at a producer.
#[derive(Debug)]
pub(crate) enum Taken {
    Open,
    Batch { items: u32, payload: u64, data: Bytes },
    Close,
    Nothing,
}

/// Why an item was not taken.
#[derive(Debug)]
pub(crate) enum Refused<E> {
    Ended,
    Offline,
    Full,
    /// It could not be written.
    Unwritten(E),
}

/// Items on their way from handles to the loop.
#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    /// Fires when the lane gets room, or the producer ends.
    room: Event,
    queued: Queued,
    /// Items that may wait.
    most: usize,
    /// Buffers that are waited for: as many as the core's log and the lane hold.
    spares: usize,
}

impl Lane {
    /// A lane for `most` items, in front of a log of `tail_bytes`.
    pub(crate) fn new(most: usize, tail_bytes: u64) -> Self {
        let held = tail_bytes.saturating_add(limits::LANE_BYTES as u64);
        let spares = (held / u64::from(limits::BATCH_BYTES)) as usize + 2;
        let state = Mutex::new(State::default());
        Self { state, room: Event::new(), queued: Queued::default(), most, spares }
    }

    /// Items and payload bytes that were accepted: those that were taken, and those that are here.
    pub(crate) fn accepted(&self) -> (u64, u64) {
        let lane = lock(&self.state);
        let full: u64 = lane.full.iter().map(|(_, payload, _)| payload).sum();
        (lane.taken.0 + lane.items as u64, lane.taken.1 + full + lane.open_payload)
    }

    // --- the loop's side -------------------------------------------------------------------

    /// The next thing to tell the core; call until [`Taken::Nothing`].
    pub(crate) fn take(&self, is_online: impl FnOnce() -> bool) -> Taken {
        self.queued.lower();
        let mut lane = lock(&self.state);
        if !lane.announced {
            lane.announced = true;
            return Taken::Open;
        }
        if lane.items == 0 {
            if lane.handles == 0 && !lane.ended {
                lane.ended = true;
                return Taken::Close;
            }
            return Taken::Nothing;
        }
        // What was accepted while online waits for the next time, rather than go to nobody.
        let waits = !is_online() && lane.handles > 0;
        if waits || lane.taken.0 >= lane.window.0 || lane.taken.1 >= lane.window.1 {
            return Taken::Nothing;
        }
        let (items, payload, data) = lane.full.pop_front().unwrap_or_else(|| {
            // The taker closes the batch: a lone item leaves at once, load makes batches.
            let batch = (lane.open_items, lane.open_payload, lane.open.split());
            lane.open_items = 0;
            lane.open_payload = 0;
            batch
        });
        lane.items -= items as usize;
        lane.bytes -= data.len();
        lane.taken.0 += u64::from(items);
        lane.taken.1 += payload;
        drop(lane);
        self.room.notify(usize::MAX);
        Taken::Batch { items, payload, data: data.freeze() }
    }

    /// The core allows this much in all.
    pub(crate) fn open_window(&self, items: u64, bytes: u64) {
        lock(&self.state).window = (items, bytes);
    }

    /// True if items wait.
    pub(crate) fn has_waiting(&self) -> bool {
        lock(&self.state).items > 0
    }

    /// Takes nothing any more. What was accepted is given back.
    pub(crate) fn end(&self) -> Vec<BytesMut> {
        let left = {
            let mut lane = lock(&self.state);
            lane.ended = true;
            lane.items = 0;
            lane.bytes = 0;
            let mut left: Vec<_> = lane.full.drain(..).map(|(_, _, data)| data).collect();
            left.push(lane.open.split());
            left
        };
        self.room.notify(usize::MAX);
        left
    }

    /// True if the caller has to put the producer into the loop's inbox.
    pub(crate) fn raise(&self) -> bool {
        self.queued.raise()
    }

    pub(crate) fn has_ended(&self) -> bool {
        let lane = lock(&self.state);
        lane.ended || lane.handles == 0
    }

    // --- the handles' side -----------------------------------------------------------------

    /// One handle more, unless the last one is already gone.
    pub(crate) fn adopt(&self) -> bool {
        let mut lane = lock(&self.state);
        let alive = !lane.ended && (lane.handles > 0 || !lane.announced);
        lane.handles += usize::from(alive);
        alive
    }

    /// One handle more, made from one that is alive.
    pub(crate) fn join(&self) {
        lock(&self.state).handles += 1;
    }

    /// One handle less; true if it was the last.
    pub(crate) fn leave(&self) -> bool {
        let mut lane = lock(&self.state);
        lane.handles -= 1;
        lane.handles == 0
    }

    fn has_room(&self, lane: &State) -> bool {
        lane.items + lane.reserved < self.most && lane.bytes < limits::LANE_BYTES
    }

    /// Ready with `true` when there is room, which is held for the caller if `reserve`; with `false`
    /// at the end. `listener` keeps the place in the queue between polls.
    pub(crate) fn poll_room(
        &self,
        listener: &mut Option<EventListener>,
        reserve: bool,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        loop {
            {
                let mut lane = lock(&self.state);
                if lane.ended || self.has_room(&lane) {
                    lane.reserved += usize::from(reserve && !lane.ended);
                    return Poll::Ready(!lane.ended);
                }
            }
            // Listen first, look again, and only then sleep: no change falls in between.
            match listener {
                None => *listener = Some(self.room.listen()),
                Some(waiting) => match Pin::new(waiting).poll(cx) {
                    Poll::Ready(()) => *listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Gives a reserved place back.
    pub(crate) fn release(&self) {
        lock(&self.state).reserved -= 1;
        self.room.notify(usize::MAX);
    }

    /// Takes an item; `reserved` if a place is held for it, which is used up in any case. `write`
    /// appends the item to the batch with its length in front, in the long form if told so, and gives
    /// its payload's length. True if nothing waited before it.
    #[inline]
    pub(crate) fn push<E>(
        &self,
        reserved: bool,
        is_online: impl FnOnce() -> bool,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<bool, Refused<E>> {
        let mut lane = lock(&self.state);
        if reserved {
            lane.reserved -= 1;
        }
        if lane.ended {
            return Err(Refused::Ended);
        }
        if !reserved {
            if !is_online() {
                return Err(Refused::Offline);
            }
            if !self.has_room(&lane) {
                return Err(Refused::Full);
            }
        }
        let first = lane.items == 0;
        let long = lane.long;
        if lane.open.capacity() - lane.open.len() < ROOM {
            self.make_room(&mut lane);
        }
        let payload = write(&mut lane.open, long).map_err(Refused::Unwritten)?;
        lane.items += 1;
        lane.open_items += 1;
        lane.open_payload += payload as u64;
        lane.long = payload >= item::LONG_FROM;
        let form = if lane.long || long { item::LONG } else { item::SHORT };
        lane.bytes += payload + form;
        if lane.open.len() >= limits::BATCH_BYTES as usize {
            self.close_batch(&mut lane);
        }
        Ok(first)
    }

    fn close_batch(&self, lane: &mut State) {
        // What is left of a buffer that grew far beyond a batch is not worth keeping.
        let keep = lane.open.capacity() <= 2 * BUFFER;
        let batch = (lane.open_items, lane.open_payload, lane.open.split());
        lane.full.push_back(batch);
        lane.open_items = 0;
        lane.open_payload = 0;
        let rest = std::mem::take(&mut lane.open);
        if keep {
            lane.spare.put(rest, self.spares);
        }
    }

    /// Makes room for a small item at least. One buffer serves many small batches.
    fn make_room(&self, lane: &mut State) {
        if lane.open.is_empty() {
            let next = lane.spare.take(BUFFER);
            let rest = std::mem::replace(&mut lane.open, next);
            lane.spare.put(rest, self.spares);
        } else {
            lane.open.reserve(BUFFER);
        }
    }
}
