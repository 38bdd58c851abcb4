//! The commands of one node in one group: on their way to the loop, and until their outcome.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use event_listener::{Event, EventListener};
use mosaik_proto::{
    groups::{Index, Outcome, Rejection},
    limits,
    streams::item,
};

use crate::sync::cell::lock;

/// With less room than this the open batch gets another buffer.
const ROOM: usize = 512;
/// Bytes of such a buffer.
const BUFFER: usize = limits::BATCH_BYTES as usize + ROOM;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of its commands are in force, from the first place to the last.
    Committed(Index, Index),
    /// None of them is.
    Rejected(Rejection),
    /// Some of them may be.
    Unknown,
    /// All of them are in force, but this member's machine did not apply them.
    Fenced(Index, Index),
}

impl Ending {
    /// The ending of a call whose parts ended like this.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Committed(first, _), Self::Committed(_, last)) => Self::Committed(first, last),
            (Self::Rejected(why), Self::Rejected(_)) => Self::Rejected(why),
            (
                Self::Fenced(first, _) | Self::Committed(first, _),
                Self::Fenced(_, last) | Self::Committed(_, last),
            ) => Self::Fenced(first, last),
            _ => Self::Unknown,
        }
    }
}

/// Which word of the group a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The leader has it in its log.
    Taken,
    /// Its outcome.
    Applied,
}

/// Names the slot of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(u32);

/// What the loop takes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) data: Bytes,
}

/// Why a command was not taken.
#[derive(Debug)]
pub(crate) enum Refused<E> {
    /// The group was left.
    Ended,
    /// As many as may be are under way.
    Full,
    /// It could not be written.
    Unwritten(E),
}

/// A call that somebody waits for.
#[derive(Debug)]
struct Slot {
    until: Until,
    /// Its first command, once there is one.
    first: u64,
    /// How many were pushed.
    pushed: usize,
    /// Commands without a word yet, and those that are not handed over yet.
    left: usize,
    ending: Option<Ending>,
    waker: Option<Waker>,
}

/// Commands that follow each other, of one call.
#[derive(Debug)]
struct Part {
    first: u64,
    count: u32,
    /// `None` if nobody waits any more.
    slot: Option<CallId>,
}

impl Part {
    const fn end(&self) -> u64 {
        self.first + self.count as u64
    }

    /// Where its commands stand, if command number `first` stands at `index`.
    const fn places(&self, first: u64, index: Index) -> (Index, Index) {
        let place = index.0 + (self.first - first);
        (Index(place), Index(place + self.count as u64 - 1))
    }
}

#[derive(Debug, Default)]
struct State {
    /// Full batches, oldest first.
    full: VecDeque<Batch>,
    open: BytesMut,
    open_count: u32,
    /// The last command was large: the next will be too, so begin with the long form of its length.
    long: bool,
    /// Commands and bytes that were accepted, and those that the loop took.
    accepted: (u64, u64),
    taken: (u64, u64),
    /// Commands with an outcome.
    ended_commands: u64,
    /// What the core allows in all.
    window: (u64, u64),
    /// Commands without an outcome, oldest first. Bounded by the window.
    parts: VecDeque<Part>,
    /// One for each future that is not done.
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// How many of them wait until the leader has their commands.
    feeding: usize,
    /// Callers that were woken since the last batch and have not called again.
    awaited: usize,
    /// The loop looked while some were awaited: the next look takes what there is.
    deferred: bool,
    ended: bool,
}

/// See the module's documentation. Commands are numbered from 0 in the order of their calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
    /// Fires when there is room, or at the end.
    room: Event,
}

impl Calls {
    // --- the loop's side -------------------------------------------------------------------

    /// The next batch, within the window.
    pub(crate) fn take(&self) -> Option<Batch> {
        let state = &mut *lock(&self.state);
        if state.full.is_empty() {
            // Who calls again the moment that it is woken often comes before the others were even
            // polled: one turn of the runtime later there is one batch instead of two.
            if state.open_count > 0 && state.defer() {
                return None;
            }
            // The taker closes the batch: a lone command leaves at once, load makes batches.
            state.close_batch();
        }
        state.deferred = false;
        let next = state.full.front()?;
        let (count, bytes) = (u64::from(next.count), next.data.len() as u64);
        let alone = state.taken.0 == state.ended_commands;
        let fits = state.taken.1 + bytes <= state.window.1 || alone;
        if state.taken.0 + count > state.window.0 || !fits {
            return None;
        }
        state.taken.0 += count;
        state.taken.1 += bytes;
        state.full.pop_front()
    }

    /// True if the loop is to look again when others had their turn.
    pub(crate) fn is_deferred(&self) -> bool {
        lock(&self.state).deferred
    }

    /// The core allows this much in all. True if commands wait.
    pub(crate) fn open_window(&self, commands: u64, bytes: u64) -> bool {
        let waits = {
            let mut state = lock(&self.state);
            state.window = (commands, bytes);
            state.accepted.0 > state.taken.0
        };
        self.room.notify(usize::MAX);
        waits
    }

    /// The leader has these in its log.
    pub(crate) fn taken(&self, first: u64, count: u32, index: Index, wakers: &mut Vec<Waker>) {
        let state = &mut *lock(&self.state);
        if state.feeding == 0 {
            return;
        }
        let at = state.parts.partition_point(|part| part.end() <= first);
        for i in at..state.parts.len() {
            let part = &mut state.parts[i];
            if part.first >= first + u64::from(count) {
                break;
            }
            let Some(slot) = part.slot else { continue };
            // One that is there in part only is settled by its outcome.
            let whole = part.first >= first && part.end() <= first + u64::from(count);
            let waits = |slot: &&mut Slot| whole && slot.until == Until::Taken;
            if let Some(waiting) = state.slots[slot.0 as usize].as_mut().filter(waits) {
                let (from, to) = part.places(first, index);
                part.slot = None;
                waiting.note(part.count as usize, Ending::Committed(from, to), wakers);
            }
        }
    }

    // --- the executor's side ---------------------------------------------------------------

    /// These ended.
    pub(crate) fn ended(
        &self,
        first: u64,
        count: u32,
        outcome: Outcome,
        fenced: bool,
        wakers: &mut Vec<Waker>,
    ) {
        let state = &mut *lock(&self.state);
        state.ended_commands += u64::from(count);
        let before = wakers.len();
        let end = first + u64::from(count);
        let mut from = first;
        while from < end {
            let Some(part) = state.remove_part(from, end) else { break };
            let ending = match outcome {
                Outcome::Committed { index } => {
                    let (from, to) = part.places(first, index);
                    if fenced { Ending::Fenced(from, to) } else { Ending::Committed(from, to) }
                }
                Outcome::Rejected(why) => Ending::Rejected(why),
                Outcome::Unknown => Ending::Unknown,
            };
            from = part.end();
            let slot = part.slot.and_then(|slot| state.slots[slot.0 as usize].as_mut());
            if let Some(slot) = slot {
                slot.note(part.count as usize, ending, wakers);
            }
        }
        state.awaited += wakers.len() - before;
    }

    /// The group was left, or the loop is gone: what the core never had is refused, the rest unknown.
    pub(crate) fn end(&self) {
        let mut wakers = Vec::new();
        {
            let state = &mut *lock(&self.state);
            state.ended = true;
            state.full.clear();
            state.open.clear();
            let taken = state.taken.0;
            for part in std::mem::take(&mut state.parts) {
                let slot = part.slot.and_then(|slot| state.slots[slot.0 as usize].as_mut());
                if let Some(slot) = slot {
                    let ending = if part.first >= taken {
                        Ending::Rejected(Rejection::Closed)
                    } else {
                        Ending::Unknown
                    };
                    slot.left = slot.left.min(part.count as usize);
                    slot.note(part.count as usize, ending, &mut wakers);
                }
            }
            // Those that wait for room to hand over the rest.
            state.slots.iter_mut().flatten().for_each(|slot| wakers.extend(slot.waker.take()));
        }
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify(usize::MAX);
    }

    // --- the handles' side -----------------------------------------------------------------

    /// Opens a call of so many commands, which are to be [pushed](Self::push).
    pub(crate) fn open(&self, commands: usize, until: Until) -> CallId {
        let state = &mut *lock(&self.state);
        state.open_slot(commands, until)
    }

    /// Opens a call of one command and pushes it.
    #[inline]
    pub(crate) fn call<E>(
        &self,
        until: Until,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<(CallId, bool), Refused<E>> {
        let state = &mut *lock(&self.state);
        state.check_room().map_err(|ended| if ended { Refused::Ended } else { Refused::Full })?;
        let first = state.accepted.0 == state.taken.0;
        state.write(write).map_err(Refused::Unwritten)?;
        let slot = state.open_slot(1, until);
        state.accept(slot);
        Ok((slot, first))
    }

    /// Takes one command of a call. `write` appends it to the batch with its length in front, in the
    /// long form if told so, and gives its payload's length. True if nothing waited before it.
    pub(crate) fn push<E>(
        &self,
        call: CallId,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<bool, Refused<E>> {
        let state = &mut *lock(&self.state);
        state.check_room().map_err(|ended| if ended { Refused::Ended } else { Refused::Full })?;
        let first = state.accepted.0 == state.taken.0;
        state.write(write).map_err(Refused::Unwritten)?;
        state.accept(call);
        Ok(first)
    }

    /// How the call ended; then it is forgotten.
    pub(crate) fn poll(&self, call: CallId, cx: &mut Context<'_>) -> Poll<Ending> {
        let state = &mut *lock(&self.state);
        let ended = state.ended;
        let Some(slot) = &mut state.slots[call.0 as usize] else {
            return Poll::Ready(Ending::Unknown);
        };
        if slot.left == 0 || ended {
            let ending = slot.ending.unwrap_or(Ending::Rejected(Rejection::Closed));
            state.close_slot(call);
            return Poll::Ready(ending);
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody waits for the call any more. Its commands stay under way.
    pub(crate) fn forget(&self, call: CallId) {
        let state = &mut *lock(&self.state);
        let Some(slot) = state.close_slot(call) else { return };
        let at = state.parts.partition_point(|part| part.end() <= slot.first);
        let mut left = slot.pushed;
        for part in state.parts.iter_mut().skip(at) {
            if left == 0 {
                break;
            }
            if part.slot == Some(call) {
                part.slot = None;
                left = left.saturating_sub(part.count as usize);
            }
        }
    }

    /// Ready when there is room, or at the end.
    pub(crate) fn poll_room(
        &self,
        listener: &mut Option<EventListener>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if lock(&self.state).check_room() != Err(false) {
                *listener = None;
                return Poll::Ready(());
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

    /// True if commands wait for the loop.
    pub(crate) fn has_waiting(&self) -> bool {
        let state = lock(&self.state);
        state.accepted.0 > state.taken.0
    }
}

impl Slot {
    fn note(&mut self, commands: usize, ending: Ending, wakers: &mut Vec<Waker>) {
        self.left -= commands.min(self.left);
        self.ending = Some(self.ending.map_or(ending, |before| before.and(ending)));
        if self.left == 0 {
            wakers.extend(self.waker.take());
        }
    }
}

impl State {
    /// `Err(true)` at the end.
    fn check_room(&self) -> Result<(), bool> {
        // Before the core has said anything the usual window is assumed.
        let commands = self.window.0.max(limits::COMMANDS_IN_FLIGHT);
        let bytes = self.window.1.max(limits::COMMANDS_BYTES);
        if self.ended {
            Err(true)
        } else if self.accepted.0 < commands && self.accepted.1 < bytes {
            Ok(())
        } else {
            Err(false)
        }
    }

    fn write<E>(
        &mut self,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<(), E> {
        let long = self.long;
        if self.open.capacity() - self.open.len() < ROOM {
            self.open.reserve(BUFFER);
        }
        let payload = write(&mut self.open, long)?;
        self.long = payload >= item::LONG_FROM;
        let form = if self.long || long { item::LONG } else { item::SHORT };
        self.accepted.1 += (payload + form) as u64;
        Ok(())
    }

    /// The command that was just written is one of this call.
    fn accept(&mut self, slot: CallId) {
        let number = self.accepted.0;
        self.accepted.0 += 1;
        self.open_count += 1;
        if let Some(call) = &mut self.slots[slot.0 as usize] {
            if call.pushed == 0 {
                call.first = number;
                self.awaited = self.awaited.saturating_sub(1);
            }
            call.pushed += 1;
        }
        match self.parts.back_mut() {
            Some(part) if part.slot == Some(slot) => part.count += 1,
            _ => self.parts.push_back(Part { first: number, count: 1, slot: Some(slot) }),
        }
        if self.open.len() >= limits::BATCH_BYTES as usize {
            self.close_batch();
        }
    }

    /// True if callers are on their way, once per batch.
    fn defer(&mut self) -> bool {
        let awaited = std::mem::take(&mut self.awaited) > 0;
        self.deferred = awaited && !self.deferred;
        self.deferred
    }

    fn close_batch(&mut self) {
        let count = std::mem::take(&mut self.open_count);
        if count > 0 {
            let data = self.open.split().freeze();
            self.full.push_back(Batch { first: self.accepted.0 - u64::from(count), count, data });
        }
    }

    fn open_slot(&mut self, left: usize, until: Until) -> CallId {
        self.feeding += usize::from(until == Until::Taken);
        let slot = Some(Slot { until, first: 0, pushed: 0, left, ending: None, waker: None });
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                CallId(at)
            }
            None => {
                self.slots.push(slot);
                CallId(self.slots.len() as u32 - 1)
            }
        }
    }

    fn close_slot(&mut self, call: CallId) -> Option<Slot> {
        let slot = self.slots[call.0 as usize].take()?;
        self.feeding -= usize::from(slot.until == Until::Taken);
        self.free.push(call.0);
        Some(slot)
    }

    /// Takes the part that begins at `from` out, or what of it lies before `end`.
    fn remove_part(&mut self, from: u64, end: u64) -> Option<Part> {
        // Outcomes come in order but for those that were given up.
        let at = match self.parts.front() {
            Some(part) if part.first == from => 0,
            _ => self.parts.partition_point(|part| part.end() <= from),
        };
        let part = self.parts.get_mut(at)?;
        if part.first > from {
            // Given up by nobody: there is no such command.
            return None;
        }
        if part.first < from {
            let before = (from - part.first) as u32;
            let rest = Part { first: from, count: part.count - before, slot: part.slot };
            part.count = before;
            self.parts.insert(at + 1, rest);
            return self.remove_part(from, end);
        }
        if part.end() > end {
            let count = (end - part.first) as u32;
            let head = Part { first: part.first, count, slot: part.slot };
            part.first = end;
            part.count -= count;
            return Some(head);
        }
        self.parts.remove(at)
    }
}

#[cfg(test)]
mod tests;
