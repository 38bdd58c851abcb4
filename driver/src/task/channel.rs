//! One channel between the loop and the transport: a slot of arrived bytes, a queue of bytes to
//! write, and the two pumps that move them.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use mosaik_proto::{
    ids::{ChannelId, LinkId},
    limits,
    links::DownReason,
    wire::{CloseCode, Head},
};

use super::{
    assembler::Assembler,
    inbox::{Inbox, Source},
};
use crate::{
    sync::{cell::lock, inbox::Queued},
    transport::{ChunkRead, ChunkWrite},
};

/// Bytes that may wait for the loop before the read pump stops reading.
const SLOT_BYTES: usize = 256 * 1024;
/// Drained bytes that are worth waking the loop; fewer are reported with the next wake-up.
const DRAINED_WORTH: u32 = limits::DRAIN_REPORT as u32;
/// Bytes of one write to the transport.
const PIECE_BYTES: usize = 128 * 1024;
/// Small writes are joined up to this size, because many small ones are slow in quinn.
const JOIN_BYTES: usize = 16 * 1024;

/// What the loop finds when it looks at a channel.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Arrived bytes in order.
    pub(crate) chunks: VecDeque<Bytes>,
    /// Bytes of ours that the transport took.
    pub(crate) drained: u32,
    /// It ended, behind the chunks.
    pub(crate) ended: Option<DownReason>,
}

#[derive(Debug, Default)]
struct State {
    news: News,
    waiting: usize,
    writes: VecDeque<(Head, Bytes)>,
    /// The loop closed the channel.
    closed: Option<CloseCode>,
}

/// A channel as both the loop and its pumps see it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) link: LinkId,
    /// We opened it: the other end's bytes are frames from the first on, and our own consumers bound
    /// how much of them is kept.
    opened: bool,
    queued: Queued,
    state: Mutex<State>,
    /// Wakes the read pump: the slot has room, or the channel is closed.
    reader: AtomicWaker,
    /// Wakes the write pump: there is something to write, or the channel is closed.
    writer: AtomicWaker,
    /// Where the write pump puts its half of the transport while it has nothing to write.
    shelf: OnceLock<Arc<dyn TryWrite>>,
}

/// See [`ChunkWrite::try_write`].
trait TryWrite: Send + Sync + std::fmt::Debug {
    fn try_write(&self, head: Head, body: Bytes) -> (Head, Bytes);
}

/// The half of the transport that is written to; empty while its pump has it in hand.
struct Shelf<W>(Mutex<Option<W>>);

impl<W: ChunkWrite> TryWrite for Shelf<W> {
    fn try_write(&self, head: Head, body: Bytes) -> (Head, Bytes) {
        match &mut *lock(&self.0) {
            Some(write) => write.try_write(head, body),
            None => (head, body),
        }
    }
}

impl<W> std::fmt::Debug for Shelf<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl State {
    /// True if a write need not wait for others.
    fn may_pass(&self) -> bool {
        self.writes.is_empty() && self.closed.is_none()
    }
}

impl Channel {
    /// A channel without pumps yet.
    pub(crate) fn new(id: ChannelId, link: LinkId, opened: bool) -> Self {
        Self {
            id,
            link,
            opened,
            queued: Queued::default(),
            state: Mutex::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            shelf: OnceLock::new(),
        }
    }

    // --- the loop's side -------------------------------------------------------------------

    /// Takes what is new. The chunks' memory is the loop's from now on.
    pub(crate) fn take(&self) -> News {
        self.queued.lower();
        let (news, waited) = {
            let mut state = lock(&self.state);
            let waited = std::mem::take(&mut state.waiting);
            (std::mem::take(&mut state.news), waited)
        };
        // Below that the pump waits for bytes, not for room.
        if waited >= SLOT_BYTES {
            self.reader.wake();
        }
        news
    }

    /// Appends bytes. The core bounds what it writes ahead.
    pub(crate) fn write(self: &Arc<Self>, mut head: Head, mut body: Bytes, inbox: &Inbox) {
        // Only the loop adds writes, so that none stays true until the end.
        let idle = lock(&self.state).may_pass();
        if let Some(shelf) = self.shelf.get().filter(|_| idle) {
            let all = head.len() + body.len();
            (head, body) = shelf.try_write(head, body);
            let taken = all - head.len() - body.len();
            if taken > 0 {
                self.drained(taken as u32, inbox);
            }
            if taken == all {
                return;
            }
        }
        lock(&self.state).writes.push_back((head, body));
        self.writer.wake();
    }

    /// Ends the channel in both directions.
    pub(crate) fn close(&self, code: CloseCode) {
        lock(&self.state).closed.get_or_insert(code);
        self.reader.wake();
        self.writer.wake();
    }

    pub(crate) fn announce(self: &Arc<Self>, inbox: &Inbox) {
        if self.queued.raise() {
            inbox.push(Source::Channel(Arc::clone(self)));
        }
    }

    // --- the pumps' side -------------------------------------------------------------------

    fn end(self: &Arc<Self>, reason: DownReason, inbox: &Inbox) {
        lock(&self.state).news.ended.get_or_insert(reason);
        self.announce(inbox);
    }

    /// Moves bytes from the transport into the slot, until the channel ends.
    pub(crate) async fn pump_in(self: Arc<Self>, mut read: impl ChunkRead, inbox: Arc<Inbox>) {
        let mut packets = Vec::new();
        let mut ready = VecDeque::new();
        let mut frames = self.opened.then(Assembler::default);
        loop {
            let result = match self.or_closed(read.read(&mut packets)).await {
                Ok(result) => result,
                Err(code) => return read.stop(code),
            };
            match &mut frames {
                Some(frames) => frames.gather(&mut packets, &mut ready),
                None => ready.extend(packets.drain(..)),
            }
            if !matches!(result, Ok(true)) {
                ready.extend(frames.as_mut().and_then(Assembler::rest));
            }
            let mut full = false;
            if !ready.is_empty() {
                {
                    let mut state = lock(&self.state);
                    if let Some(code) = state.closed {
                        return read.stop(code);
                    }
                    state.waiting += ready.iter().map(Bytes::len).sum::<usize>();
                    state.news.chunks.append(&mut ready);
                    full = state.waiting >= SLOT_BYTES;
                }
                self.announce(&inbox);
            }
            match result {
                Ok(true) => {}
                Ok(false) => return self.end(DownReason::Finished, &inbox),
                Err(reason) => return self.end(reason, &inbox),
            }
            if full {
                self.room().await;
            }
        }
    }

    /// Waits until the slot has room, or the channel is closed.
    async fn room(&self) {
        poll_fn(|cx| {
            self.reader.register(cx.waker());
            let state = lock(&self.state);
            if state.closed.is_some() || state.waiting < SLOT_BYTES {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Runs a read until it is ready or the loop closes the channel.
    async fn or_closed<R>(&self, read: impl Future<Output = R>) -> Result<R, CloseCode> {
        let mut read = pin!(read);
        poll_fn(|cx| {
            if let Poll::Ready(result) = read.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            self.reader.register(cx.waker());
            match lock(&self.state).closed {
                Some(code) => Poll::Ready(Err(code)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Moves bytes from the queue into the transport, until the channel ends.
    pub(crate) async fn pump_out<W: ChunkWrite>(self: Arc<Self>, write: W, inbox: Arc<Inbox>) {
        let shelf = Arc::new(Shelf(Mutex::new(Some(write))));
        let _ = self.shelf.set(Arc::<Shelf<W>>::clone(&shelf));
        let mut taken = VecDeque::new();
        loop {
            let (mut write, closed) = poll_fn(|cx| {
                self.writer.register(cx.waker());
                self.next_writes(&shelf, &mut taken)
            })
            .await;
            if let Some(code) = closed {
                if graceful(code) {
                    write.finish();
                } else {
                    write.reset(code);
                }
                return;
            }
            while let Some((mut head, mut body)) = join(&mut taken) {
                // A large body goes in pieces, so that the core sees it move.
                while head.len() + body.len() > 0 {
                    let piece = body.split_to(body.len().min(PIECE_BYTES));
                    let bytes = (head.len() + piece.len()) as u32;
                    match write.write(head, piece).await {
                        Ok(()) => {}
                        // A peer that ends in good order reads nothing more, but what it wrote may
                        // still be under way: the read pump tells of the end, behind it.
                        Err(DownReason::Closed(code)) if graceful(code) => return,
                        Err(reason) => return self.end(reason, &inbox),
                    }
                    head = Head::new();
                    self.drained(bytes, &inbox);
                }
            }
            *lock(&shelf.0) = Some(write);
        }
    }

    /// The transport's half with the queued writes, or with how the channel is to end: at once, or
    /// behind the last write.
    fn next_writes<W>(
        &self,
        shelf: &Shelf<W>,
        taken: &mut VecDeque<(Head, Bytes)>,
    ) -> Poll<(W, Option<CloseCode>)> {
        let mut state = lock(&self.state);
        let closed = match state.closed {
            Some(code) if !graceful(code) || state.writes.is_empty() => Some(code),
            _ if state.writes.is_empty() => return Poll::Pending,
            _ => {
                std::mem::swap(taken, &mut state.writes);
                None
            }
        };
        // While the queue is locked, or the loop could write past what was just taken from it.
        match lock(&shelf.0).take() {
            Some(write) => Poll::Ready((write, closed)),
            None => unreachable!("only the pump takes its half, and puts it back"),
        }
    }

    fn drained(self: &Arc<Self>, bytes: u32, inbox: &Inbox) {
        let worth = {
            let mut state = lock(&self.state);
            state.news.drained += bytes;
            state.news.drained >= DRAINED_WORTH
        };
        if worth {
            self.announce(inbox);
        }
    }
}

/// An end behind what was written, and not at once.
pub(super) fn graceful(code: CloseCode) -> bool {
    code == CloseCode::SUCCESS || code == CloseCode::GRACEFUL_SHUTDOWN
}

/// The next write; several small ones become one.
fn join(writes: &mut VecDeque<(Head, Bytes)>) -> Option<(Head, Bytes)> {
    let (head, body) = writes.pop_front()?;
    let size = |head: &Head, body: &Bytes| head.len() + body.len();
    let mut total = size(&head, &body);
    let more = writes.front().is_some_and(|(h, b)| total + size(h, b) <= JOIN_BYTES);
    if !more {
        return Some((head, body));
    }
    let mut joined = BytesMut::with_capacity(JOIN_BYTES);
    joined.extend_from_slice(head.as_slice());
    joined.extend_from_slice(&body);
    while let Some((head, body)) = writes.pop_front_if(|(h, b)| total + size(h, b) <= JOIN_BYTES) {
        total += size(&head, &body);
        joined.extend_from_slice(head.as_slice());
        joined.extend_from_slice(&body);
    }
    Some((Head::new(), joined.freeze()))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// A half on which the other end reads nothing more.
    struct Stopped(CloseCode);

    impl ChunkWrite for Stopped {
        async fn write(&mut self, _: Head, _: Bytes) -> Result<(), DownReason> {
            Err(DownReason::Closed(self.0))
        }

        fn finish(&mut self) {}

        fn reset(&mut self, _: CloseCode) {}
    }

    /// A half on which something is still to come.
    struct Rest(Vec<Bytes>);

    impl ChunkRead for Rest {
        async fn read(&mut self, into: &mut Vec<Bytes>) -> Result<bool, DownReason> {
            into.extend(self.0.pop());
            Ok(!into.is_empty())
        }

        fn stop(&mut self, _: CloseCode) {}
    }

    fn run(future: impl Future<Output = ()>) {
        let done = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(done, Poll::Ready(()));
    }

    /// What a channel has for the loop after a write that the other end, which closed with `code`,
    /// does not read; before and after the pump has read the rest.
    fn after_a_write(code: CloseCode) -> [News; 2] {
        let channel = Arc::new(Channel::new(ChannelId(1), LinkId(1), false));
        let inbox = Arc::default();
        channel.write(Head::new(), Bytes::from_static(b"credit"), &inbox);
        run(Arc::clone(&channel).pump_out(Stopped(code), Arc::clone(&inbox)));
        let before = channel.take();
        run(Arc::clone(&channel).pump_in(Rest(vec![Bytes::from_static(b"items")]), inbox));
        [before, channel.take()]
    }

    #[test]
    fn str_13_an_end_in_good_order_is_behind_the_last_byte() {
        let [before, after] = after_a_write(CloseCode::GRACEFUL_SHUTDOWN);
        assert_eq!(before.ended, None, "the other end may still be writing");
        assert_eq!(after.chunks, [Bytes::from_static(b"items")]);
        assert_eq!(after.ended, Some(DownReason::Finished));
    }

    #[test]
    fn an_end_for_any_other_reason_is_at_once() {
        let [before, _] = after_a_write(CloseCode::CANCELLED);
        assert_eq!(before.ended, Some(DownReason::Closed(CloseCode::CANCELLED)));
    }

    /// A half that takes so many bytes of a write at once.
    struct Narrow(Arc<Mutex<Vec<u8>>>, usize);

    impl ChunkWrite for Narrow {
        async fn write(&mut self, head: Head, body: Bytes) -> Result<(), DownReason> {
            lock(&self.0).extend([head.as_slice(), &body].concat());
            Ok(())
        }

        fn try_write(&mut self, head: Head, body: Bytes) -> (Head, Bytes) {
            let mut all = Bytes::from([head.as_slice(), &body].concat());
            lock(&self.0).extend(all.split_to(all.len().min(self.1)));
            (Head::new(), all)
        }

        fn finish(&mut self) {}

        fn reset(&mut self, _: CloseCode) {}
    }

    /// Whether the pump is idle, busy or not there yet, and whatever a half takes at once.
    #[test]
    fn writes_stay_in_order_past_the_pump() {
        let channel = Arc::new(Channel::new(ChannelId(1), LinkId(1), true));
        let (written, inbox) = (Arc::default(), Arc::default());
        let half = Narrow(Arc::clone(&written), 5);
        let mut pump = pin!(Arc::clone(&channel).pump_out(half, Arc::clone(&inbox)));
        let mut cx = Context::from_waker(Waker::noop());
        let write = |text: &'static str| {
            channel.write(Head::new().with(&text.as_bytes()[..1]), text[1..].into(), &inbox);
        };
        write("early ");
        assert!(pump.as_mut().poll(&mut cx).is_pending());
        write("all, ");
        assert_eq!(&lock(&written)[..], b"early all, ", "without the pump");
        write("a part ");
        write("behind ");
        assert!(pump.as_mut().poll(&mut cx).is_pending());
        write("last.");
        assert_eq!(&lock(&written)[..], b"early all, a part behind last.");
        assert_eq!(channel.take().drained, 30, "all of it is told");
        channel.close(CloseCode::SUCCESS);
        channel.write(Head::new(), Bytes::from_static(b"not any more"), &inbox);
        assert_eq!(lock(&written).len(), 30, "the end is the pump's");
        assert!(pump.as_mut().poll(&mut cx).is_ready());
    }
}
