//! The commands of one node in one group: on their way to the loop, and until their outcome.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use event_listener::{Event, EventListener};
use mosaik_proto::{
    groups::{Index, Outcome, Rejection},
    limits,
    streams::item,
    time::Instant,
};

use crate::sync::{answer::Answer, cell::lock};

/// With less room than this the open batch gets another buffer.
const ROOM: usize = 512;
/// Bytes of such a buffer.
const BUFFER: usize = limits::BATCH_BYTES as usize + ROOM;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of its commands are in force, from the first place to the last.
    Committed(Index, Index),
    /// None of them is.
    Rejected(Rejection),
    /// None of them is: the group takes no more, because it was left or because its machine failed,
    /// as is said then.
    Closed(Option<Arc<str>>),
    /// Some of them may be.
    Unknown,
    /// All of them are in force, but this member's machine did not apply them.
    Fenced(Index, Index),
}

impl Ending {
    /// The ending of a call whose parts ended like this.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Committed(first, _), Self::Committed(_, last)) => Self::Committed(first, last),
            (
                first @ (Self::Rejected(_) | Self::Closed(_)),
                Self::Rejected(_) | Self::Closed(_),
            ) => first,
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

/// One or several commands that somebody waits for. Who gives the call up drops it; its commands stay
/// under way.
///
/// Its answer has a lock of its own, which nobody else wants: callers meet at the lock of all calls
/// only to hand over a command.
#[derive(Debug)]
pub(crate) struct Call {
    until: Until,
    answer: Answer<Ending>,
}

impl Call {
    pub(crate) fn new(commands: usize, until: Until) -> Arc<Self> {
        Arc::new(Self { until, answer: Answer::new(commands) })
    }

    /// How it ended, when all of its commands did.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.answer.poll(cx)
    }

    /// So many of its commands ended like this.
    fn note(&self, commands: usize, ending: Ending) -> Option<Waker> {
        self.answer.add(commands, ending, Ending::and)
    }

    /// So many of its commands are not handed over any more.
    pub(crate) fn close(&self, commands: usize) {
        // Whoever waits is the caller.
        drop(self.note(commands, Ending::Closed(None)));
    }
}

/// What is said of commands that ended.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) outcome: Outcome,
    /// This member's machine did not apply them.
    pub(crate) fenced: bool,
    /// Why it takes no more, if the outcome is that it does not.
    pub(crate) closed: Option<Arc<str>>,
}

impl Word {
    /// What it says of those that stand from one place to another, if they are in force.
    fn ending(&self, places: impl FnOnce(Index) -> (Index, Index)) -> Ending {
        match self.outcome {
            Outcome::Committed { index } => {
                let (first, last) = places(index);
                if self.fenced {
                    Ending::Fenced(first, last)
                } else {
                    Ending::Committed(first, last)
                }
            }
            Outcome::Rejected(Rejection::Closed) => Ending::Closed(self.closed.clone()),
            Outcome::Rejected(why) => Ending::Rejected(why),
            Outcome::Unknown => Ending::Unknown,
        }
    }
}

/// What the loop takes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) data: Bytes,
}

/// When the loop is to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// When others had their turn.
    NextTurn,
    /// At this moment, unless it is told to before.
    At(Instant),
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

/// Commands that follow each other, of one call.
#[derive(Debug)]
struct Part {
    first: u64,
    count: u32,
    /// `None` if it has its word.
    call: Option<Arc<Call>>,
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
    /// Empty: memory for those that end together.
    spare: Vec<Part>,
    /// From this command on nobody waits until the leader has it.
    fed: u64,
    /// Callers that were woken since the last batch and have not called again.
    awaited: usize,
    /// The loop looked while some were awaited, and looks again.
    deferred: bool,
    /// What it saw in the open batch.
    looked: u32,
    /// The loop looked and left the open batch to grow, until then at most.
    held: Option<Instant>,
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
    pub(crate) fn take(&self, now: Instant) -> Option<Batch> {
        let state = &mut *lock(&self.state);
        state.deferred = false;
        if state.full.is_empty() && state.open_count > 0 {
            // Who calls again the moment that it is woken often comes before the others were even
            // polled: some turns of the runtime later there is one batch instead of hundreds. And
            // who came late goes with the next ones, rather than alone for ever.
            if state.defer() || state.hold(now) {
                return None;
            }
            // The taker closes the batch: a lone command leaves at once, load makes batches.
            state.close_batch();
        }
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

    /// When the loop is to look again at what it did not take.
    pub(crate) fn again(&self) -> Option<Again> {
        let state = lock(&self.state);
        if state.deferred { Some(Again::NextTurn) } else { state.held.map(Again::At) }
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
        if first >= state.fed {
            return;
        }
        let end = first + u64::from(count);
        // One that is there in part only is settled by its outcome.
        let from = state.parts.partition_point(|part| part.first < first);
        let to = state.parts.partition_point(|part| part.end() <= end);
        for part in state.parts.range_mut(from..to.max(from)) {
            if let Some(call) = part.call.take_if(|call| call.until == Until::Taken) {
                let (from, to) = part.places(first, index);
                wakers.extend(call.note(part.count as usize, Ending::Committed(from, to)));
            }
        }
    }

    // --- the executor's side ---------------------------------------------------------------

    /// These ended. True if the loop is to look again.
    pub(crate) fn ended(
        &self,
        first: u64,
        count: u32,
        word: &Word,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let end = first + u64::from(count);
        let mut parts = {
            let state = &mut *lock(&self.state);
            state.ended_commands += u64::from(count);
            let mut parts = std::mem::take(&mut state.spare);
            state.remove_parts(first, end, &mut parts);
            parts
        };
        // Callers come in the meantime: one at a time is told, and not all under their lock.
        let before = wakers.len();
        for part in parts.drain(..) {
            let Some(call) = &part.call else { continue };
            let ending = word.ending(|index| part.places(first, index));
            wakers.extend(call.note(part.count as usize, ending));
        }
        let state = &mut *lock(&self.state);
        state.awaited += wakers.len() - before;
        state.spare = parts;
        state.ripens()
    }

    /// The group was left, or the loop is gone: what the core never had is refused, the rest unknown.
    pub(crate) fn end(&self) {
        let (parts, taken) = {
            let state = &mut *lock(&self.state);
            state.ended = true;
            state.full.clear();
            state.open.clear();
            (std::mem::take(&mut state.parts), state.taken.0)
        };
        for part in parts {
            let Some(call) = part.call else { continue };
            let refused = part.first >= taken;
            let ending = if refused { Ending::Closed(None) } else { Ending::Unknown };
            if let Some(waker) = call.note(part.count as usize, ending) {
                waker.wake();
            }
        }
        // Those that wait to hand over the rest as well.
        self.room.notify(usize::MAX);
    }

    // --- the handles' side -----------------------------------------------------------------

    /// Takes a call of one command. `write` appends it to the batch with its length in front, in the
    /// long form if told so, and gives its payload's length. True if the loop is to look.
    #[inline]
    pub(crate) fn call<E>(
        &self,
        until: Until,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<(Arc<Call>, bool), Refused<E>> {
        let call = Call::new(1, until);
        let first = self.push(&call, write)?;
        Ok((call, first))
    }

    /// Takes one command of a call, as above.
    #[inline]
    pub(crate) fn push<E>(
        &self,
        call: &Arc<Call>,
        write: impl FnOnce(&mut BytesMut, bool) -> Result<usize, E>,
    ) -> Result<bool, Refused<E>> {
        let state = &mut *lock(&self.state);
        state.check_room().map_err(|ended| if ended { Refused::Ended } else { Refused::Full })?;
        let first = state.accepted.0 == state.taken.0;
        state.write(write).map_err(Refused::Unwritten)?;
        state.accept(call);
        let ripe = state.ripens();
        if state.open.len() >= limits::BATCH_BYTES as usize {
            state.close_batch();
        }
        Ok(first || ripe)
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
    fn accept(&mut self, call: &Arc<Call>) {
        let number = self.accepted.0;
        self.accepted.0 += 1;
        self.open_count += 1;
        if call.until == Until::Taken {
            self.fed = self.accepted.0;
        }
        let same =
            |part: &&mut Part| part.call.as_ref().is_some_and(|last| Arc::ptr_eq(last, call));
        if let Some(part) = self.parts.back_mut().filter(same) {
            part.count += 1;
        } else {
            self.awaited = self.awaited.saturating_sub(1);
            self.parts.push_back(Part { first: number, count: 1, call: Some(Arc::clone(call)) });
        }
    }

    /// True if callers are on their way: some are missing, and others came since the last look.
    const fn defer(&mut self) -> bool {
        self.deferred = self.awaited > 0 && self.open_count > self.looked;
        if self.deferred {
            self.looked = self.open_count;
        } else {
            self.awaited = 0;
        }
        self.deferred
    }

    /// True if the open batch is to wait for more, or for a word on what is under way.
    fn hold(&mut self, now: Instant) -> bool {
        self.is_small() && now < *self.held.get_or_insert(now + limits::COMMANDS_HOLD)
    }

    /// True if the open batch has less than what is under way.
    fn is_small(&self) -> bool {
        let full = self.open.len() >= limits::BATCH_BYTES as usize;
        let under_way = self.taken.0.saturating_sub(self.ended_commands);
        !full && (self.open_count as u64) < under_way
    }

    /// True, once, if the open batch was held and is not small any more.
    fn ripens(&mut self) -> bool {
        self.held.is_some() && !self.is_small() && self.held.take().is_some()
    }

    fn close_batch(&mut self) {
        let count = std::mem::take(&mut self.open_count);
        self.looked = 0;
        self.held = None;
        if count > 0 {
            let data = self.open.split().freeze();
            self.full.push_back(Batch { first: self.accepted.0 - u64::from(count), count, data });
        }
    }

    /// Takes the parts of these commands out.
    fn remove_parts(&mut self, first: u64, end: u64, into: &mut Vec<Part>) {
        self.cut_at(first);
        self.cut_at(end);
        // Outcomes come in order but for those that were given up.
        let from = self.parts.partition_point(|part| part.first < first);
        let to = self.parts.partition_point(|part| part.first < end);
        into.extend(self.parts.drain(from..to));
    }

    /// Makes two of a part that begins before this command and ends behind it.
    fn cut_at(&mut self, number: u64) {
        let at = self.parts.partition_point(|part| part.end() <= number);
        if let Some(part) = self.parts.get_mut(at).filter(|part| part.first < number) {
            let count = (part.end() - number) as u32;
            part.count -= count;
            let call = part.call.clone();
            self.parts.insert(at + 1, Part { first: number, count, call });
        }
    }
}

#[cfg(test)]
mod tests;
