//! The application's end of a producer: what loop and handles share, and the typed handle.

use std::{
    any::TypeId,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use event_listener::EventListener;
use futures_util::Sink;
use mosaik_proto::{
    ids::{ProducerId, StreamId, SubscriptionId},
    limits, node,
    streams::ProducerConfig,
};

use super::{
    channels::{ChannelInfo, Channels, Lag, Lagging, Stats, StreamEvent},
    framing::frame,
    send_error::Error,
    shared::Shared,
    undelivered::UndeliveredSink,
    when::When,
};
use crate::{
    datum::Datum,
    sync::{
        broadcast::Events,
        lane::{Lane, Refused},
    },
    task::inbox::Source,
};

pub(crate) use crate::sync::lane::Taken;

/// One producer, as its handles and the loop share it.
#[derive(Debug)]
pub(crate) struct ProducerCell {
    pub(crate) id: ProducerId,
    pub(crate) datum: TypeId,
    pub(crate) config: ProducerConfig,
    pub(crate) channels: Channels,
    undelivered: Option<UndeliveredSink>,
    lane: Lane,
}

/// The accepted items are those that were taken from the lane and those that are in it.
impl Lagging for ProducerCell {
    fn lag(&self, _: SubscriptionId, stats: &Stats) -> Lag {
        Lag::between(stats.position(), self.lane.accepted())
    }
}

impl ProducerCell {
    pub(crate) fn new(
        id: ProducerId,
        datum: TypeId,
        config: ProducerConfig,
        buffer: usize,
        channels: Channels,
        undelivered: Option<UndeliveredSink>,
    ) -> Self {
        let lane = Lane::new(buffer, config.tail_bytes);
        Self { id, datum, config, channels, undelivered, lane }
    }

    // --- the loop's side -------------------------------------------------------------------

    /// The next thing to tell the core; call until [`Taken::Nothing`].
    pub(crate) fn take(&self) -> Taken {
        self.lane.take(|| self.channels.is_online())
    }

    /// The core allows this much in all.
    pub(crate) fn open_window(self: &Arc<Self>, items: u64, bytes: u64, shared: &Shared) {
        self.lane.open_window(items, bytes);
        self.announce_waiting(shared);
    }

    /// Has the loop look again if items wait.
    pub(crate) fn announce_waiting(self: &Arc<Self>, shared: &Shared) {
        if self.lane.has_waiting() {
            self.announce(shared);
        }
    }

    /// The node has ended. What it had accepted goes nowhere any more.
    pub(crate) fn end(&self, shared: &Shared) {
        let left = self.lane.end();
        self.channels.close();
        left.into_iter().for_each(|data| self.undelivered(data.freeze(), shared));
    }

    /// A batch that went to nobody.
    pub(crate) fn undelivered(&self, data: Bytes, shared: &Shared) {
        if let Some(sink) = &self.undelivered {
            sink.take(&data, shared);
        }
    }

    pub(crate) fn announce(self: &Arc<Self>, shared: &Shared) {
        if self.lane.raise() {
            shared.inbox.push(Source::Producer(Arc::clone(self)));
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lane.has_ended()
    }

    // --- the handles' side -----------------------------------------------------------------

    /// One handle more, unless the last one is already gone.
    pub(crate) fn adopt(&self) -> bool {
        self.lane.adopt()
    }

    /// Takes an item; `reserved` if a place is held for it, which is used up in any case.
    fn push<D: Datum>(&self, item: D, reserved: bool) -> Result<bool, Error<D>> {
        let is_online = || self.channels.is_online();
        let pushed = self.lane.push(reserved, is_online, |batch, long| write(&item, batch, long));
        pushed.map_err(|refused| match refused {
            Refused::Ended => Error::Closed(Some(item)),
            Refused::Offline => Error::Offline(item),
            Refused::Full => Error::Full(item),
            Refused::Unwritten(Unsendable::Encoding(error)) => Error::Encoding(item, error),
            Refused::Unwritten(Unsendable::TooLarge(bytes)) => Error::TooLarge(item, bytes),
        })
    }
}

enum Unsendable<E> {
    Encoding(E),
    TooLarge(usize),
}

/// Appends an item to a batch.
fn write<D: Datum>(
    item: &D,
    batch: &mut BytesMut,
    long: bool,
) -> Result<usize, Unsendable<D::EncodeError>> {
    let encode = |batch: &mut BytesMut| item.encode_into(batch).map_err(Unsendable::Encoding);
    frame(batch, long, encode, |bytes| match bytes.len() {
        fits if fits <= limits::ITEM_BYTES => Ok(()),
        bytes => Err(Unsendable::TooLarge(bytes)),
    })
}

/// Sends the items of one stream to everybody who consumes it.
///
/// Clones send into the same stream. When the last is dropped, what was accepted is still sent,
/// the stream is no longer advertised and its consumers are told.
pub struct Producer<D: Datum> {
    cell: Arc<ProducerCell>,
    shared: Arc<Shared>,
    when: When,
    /// Parked in `poll_ready`: waits for room, or for online.
    parked: Option<EventListener>,
    parked_online: Option<EventListener>,
    /// A place in the lane is held for the next `start_send`.
    reserved: bool,
    closed: bool,
    datum: PhantomData<fn(D) -> D>,
}

impl<D: Datum> Producer<D> {
    /// A handle of a cell that was [adopted](ProducerCell::adopt).
    pub(crate) fn of(cell: Arc<ProducerCell>, shared: Arc<Shared>) -> Self {
        let when = When::new(Arc::clone(&cell.channels.status));
        Self {
            cell,
            shared,
            when,
            parked: None,
            parked_online: None,
            reserved: false,
            closed: false,
            datum: PhantomData,
        }
    }

    /// The stream.
    #[must_use]
    pub fn stream_id(&self) -> &StreamId {
        &self.cell.channels.stream
    }

    /// How the producer was configured.
    #[must_use]
    pub fn config(&self) -> &ProducerConfig {
        &self.cell.config
    }

    /// Futures for what the producer becomes.
    #[must_use]
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// What happens to the subscriptions from now on, or from the start
    /// ([`with_history`](Events::with_history)): connections, gaps, restarts. Beside the items, not
    /// among them.
    #[must_use]
    pub fn events(&self) -> Events<StreamEvent> {
        self.cell.channels.events.subscribe()
    }

    /// Items that were missed, over all consumers so far.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.cell.channels.missed()
    }

    /// True if items are accepted: the `online_when` condition is met.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.cell.channels.is_online()
    }

    /// The subscriptions of this moment.
    pub fn consumers(&self) -> impl Iterator<Item = ChannelInfo> + use<D> {
        self.cell.channels.list().into_iter()
    }

    /// Sends an item: waits until the producer is online and has room. `Ok` means that it is
    /// accepted, and will be delivered to every consumer that is connected and keeps up.
    /// Cancel safe: an item is accepted or still in the future.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Encoding`], [`Error::TooLarge`]; each gives the item back.
    pub async fn send(&self, item: D) -> Result<(), Error<D>> {
        // The usual case costs one lock and no look at the state.
        let mut item = match self.try_send(item) {
            Err(Error::Full(back) | Error::Offline(back)) => back,
            result => return result,
        };
        let (mut room, mut online) = (None, None);
        loop {
            let ready =
                std::future::poll_fn(|cx| self.poll_room(&mut room, &mut online, false, cx)).await;
            if !ready {
                return Err(Error::Closed(Some(item)));
            }
            match self.try_send(item) {
                // Another handle was faster.
                Err(Error::Full(back) | Error::Offline(back)) => item = back,
                result => return result,
            }
        }
    }

    /// Sends an item if that is possible at once.
    ///
    /// # Errors
    /// [`Error`] says why not, and gives the item back.
    pub fn try_send(&self, item: D) -> Result<(), Error<D>> {
        self.push(item, false)
    }

    fn push(&self, item: D, reserved: bool) -> Result<(), Error<D>> {
        if self.closed {
            if reserved {
                self.cell.lane.release();
            }
            return Err(Error::Closed(Some(item)));
        }
        if self.cell.push(item, reserved)? {
            self.cell.announce(&self.shared);
        }
        Ok(())
    }

    /// Ready with `true` when an item would be taken, with `false` at the end.
    fn poll_room(
        &self,
        room: &mut Option<EventListener>,
        online: &mut Option<EventListener>,
        reserve: bool,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let status = &self.cell.channels.status;
        let closed = self.closed;
        let alive = status.poll_until(online, cx, |status| {
            (status.online || status.closed || closed).then_some(status.online && !closed)
        });
        match alive {
            Poll::Ready(true) => self.cell.lane.poll_room(room, reserve, cx),
            other => other,
        }
    }
}

impl<D: Datum> Clone for Producer<D> {
    fn clone(&self) -> Self {
        self.cell.lane.join();
        Self::of(Arc::clone(&self.cell), Arc::clone(&self.shared))
    }
}

impl<D: Datum> Drop for Producer<D> {
    fn drop(&mut self) {
        if self.reserved {
            self.cell.lane.release();
        }
        if self.cell.lane.leave() {
            self.shared.streams.forget_producer(&self.cell, &self.shared);
            self.cell.announce(&self.shared);
        }
    }
}

impl<D: Datum> fmt::Debug for Producer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stream", self.stream_id())
            .field("online", &self.is_online())
            .finish_non_exhaustive()
    }
}

impl<D: Datum> Unpin for Producer<D> {}

/// `poll_flush` is ready at once: accepted items are sent without being asked for. `poll_close`
/// closes this handle only.
impl<D: Datum> Sink<D> for Producer<D> {
    type Error = Error<D>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        if self.reserved {
            return Poll::Ready(Ok(()));
        }
        let (mut room, mut online) = (self.parked.take(), self.parked_online.take());
        let poll = self.poll_room(&mut room, &mut online, true, cx);
        self.parked = room;
        self.parked_online = online;
        self.reserved = poll == Poll::Ready(true);
        poll.map(|alive| if alive { Ok(()) } else { Err(Error::Closed(None)) })
    }

    fn start_send(mut self: Pin<&mut Self>, item: D) -> Result<(), Error<D>> {
        let reserved = std::mem::take(&mut self.reserved);
        self.push(item, reserved)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        self.closed = true;
        if std::mem::take(&mut self.reserved) {
            self.cell.lane.release();
        }
        Poll::Ready(Ok(()))
    }
}

/// The core's event for something taken from a producer.
pub(crate) fn event(cell: &ProducerCell, taken: Taken) -> Option<node::Event> {
    let producer = cell.id;
    match taken {
        Taken::Open => Some(node::Event::OpenProducer { producer, config: cell.config.clone() }),
        Taken::Batch { items, payload, data } => {
            Some(node::Event::Offer { producer, items, payload, data })
        }
        Taken::Close => Some(node::Event::CloseProducer(producer)),
        Taken::Nothing => None,
    }
}
