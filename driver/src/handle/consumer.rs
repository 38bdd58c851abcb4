//! The application's end of a consumer: a lane of batches, and the typed handle.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream::FusedStream};
use mosaik_proto::{
    ids::{ConsumerId, StreamId, SubscriptionId},
    node,
    streams::{ConsumerConfig, Delivery, item},
};

use super::{
    channels::{ChannelInfo, Channels, Lag, Lagging, Stats, StreamEvent},
    shared::Shared,
    when::When,
};
use crate::{
    datum::Datum,
    sync::{arrivals::Arrivals, broadcast::Events, inbox::Queued},
    task::inbox::Source,
};

/// Subscriptions whose tallies are kept in any case.
const TALLIES: usize = 4_096;

/// Items and payload bytes taken through one subscription, and how much of that the core knows.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    items: u64,
    bytes: u64,
    reported_items: u64,
    reported_bytes: u64,
}

/// What is kept beside the batches that have arrived, under their lock.
#[derive(Debug, Default)]
struct Taking {
    tallies: BTreeMap<SubscriptionId, Tally>,
    /// The sum of all tallies, forgotten ones included.
    counted: (u64, u64),
    /// Whose batch was given out last.
    open: Option<SubscriptionId>,
    /// Items that were delivered in all.
    delivered: u64,
    announced: bool,
    dropped: bool,
    closed_told: bool,
}

/// One consumer, as its handle and the loop share it.
#[derive(Debug)]
pub(crate) struct ConsumerCell {
    pub(crate) id: ConsumerId,
    pub(crate) config: ConsumerConfig,
    pub(crate) channels: Channels,
    /// What the application took, item by item.
    taken: Stats,
    /// Bounded by the credit that the core gives.
    lane: Arrivals<Delivery, Taking>,
    queued: Queued,
}

/// Read under the lane's lock; what a batch in the application's hands has left is the difference
/// between what it took and what was counted.
impl Lagging for ConsumerCell {
    fn lag(&self, subscription: SubscriptionId, stats: &Stats) -> Lag {
        let lane = &self.lane.lock().side;
        let tally = lane.tallies.get(&subscription).copied().unwrap_or_default();
        let mut done = (tally.items, tally.bytes);
        if lane.open == Some(subscription) {
            done.0 += self.taken.datums().saturating_sub(lane.counted.0);
            done.1 += self.taken.bytes().saturating_sub(lane.counted.1);
        }
        Lag::between(done, (stats.datums(), stats.bytes()))
    }
}

impl ConsumerCell {
    pub(crate) fn new(id: ConsumerId, config: ConsumerConfig, channels: Channels) -> Self {
        let taken = channels.stats();
        let (lane, queued) = (Arrivals::default(), Queued::default());
        Self { id, config, channels, taken, lane, queued }
    }

    // --- the loop's side -------------------------------------------------------------------

    /// What the core has to be told.
    pub(crate) fn take(&self, events: &mut VecDeque<node::Event>) {
        self.queued.lower();
        let lane = &mut self.lane.lock().side;
        let consumer = self.id;
        if !lane.announced {
            lane.announced = true;
            let config = self.config.clone();
            events.push_back(node::Event::OpenConsumer { consumer, config });
        }
        self.progress(lane, events);
        if lane.dropped && !lane.closed_told {
            lane.closed_told = true;
            events.push_back(node::Event::CloseConsumer(consumer));
        }
    }

    /// What the application took since the core was told last.
    pub(crate) fn report(&self, events: &mut VecDeque<node::Event>) {
        self.progress(&mut self.lane.lock().side, events);
    }

    fn progress(&self, lane: &mut Taking, events: &mut VecDeque<node::Event>) {
        // Of a batch that is being taken apart the items so far count as well.
        let (open, counted) = (lane.open, lane.counted);
        for (subscription, tally) in &mut lane.tallies {
            let (mut items, mut bytes) = (tally.items, tally.bytes);
            if open == Some(*subscription) {
                items += self.taken.datums().saturating_sub(counted.0);
                bytes += self.taken.bytes().saturating_sub(counted.1);
            }
            if items > tally.reported_items {
                tally.reported_items = items;
                tally.reported_bytes = bytes;
                let (consumer, subscription) = (self.id, *subscription);
                events.push_back(node::Event::Consumed { consumer, subscription, items, bytes });
            }
        }
    }

    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.lane.deliver(delivery, |lane, delivery| lane.delivered += u64::from(delivery.items));
    }

    /// True while the application has not taken everything that was delivered.
    pub(crate) fn has_backlog(&self) -> bool {
        let lane = &self.lane.lock().side;
        !lane.dropped && lane.delivered > self.taken.datums()
    }

    /// A subscription is not listed any more. Its tally stays: the core may resume it, and counts in
    /// running totals. Only in a long life with many producers are the oldest forgotten.
    pub(crate) fn unlisted(&self, subscription: SubscriptionId) {
        let mut lane = self.lane.lock();
        if lane.side.tallies.len() > TALLIES {
            let waits = lane.items.iter().any(|batch| batch.subscription == subscription);
            if !waits {
                lane.side.tallies.remove(&subscription);
            }
        }
    }

    /// The node has ended.
    pub(crate) fn end(&self) {
        self.channels.close();
        self.lane.end();
    }

    pub(crate) fn announce(self: &Arc<Self>, shared: &Shared) {
        if self.queued.raise() {
            shared.inbox.push(Source::Consumer(Arc::clone(self)));
        }
    }

    // --- the handle's side -----------------------------------------------------------------

    /// Adds to the tally of a subscription; true if the core should hear of it now and not when the
    /// loop looks next.
    fn count(&self, subscription: SubscriptionId, items: u64, bytes: u64) -> bool {
        let lane = &mut self.lane.lock().side;
        lane.counted = (lane.counted.0 + items, lane.counted.1 + bytes);
        let tally = lane.tallies.entry(subscription).or_default();
        tally.items += items;
        tally.bytes += bytes;
        // What the loop reported of an open batch may be ahead of what is counted here.
        tally.items.saturating_sub(tally.reported_items) >= self.config.window_items.div_ceil(4)
            || tally.bytes.saturating_sub(tally.reported_bytes)
                >= self.config.window_bytes.div_ceil(4)
    }

    fn next_batch(&self, cx: Option<&mut Context<'_>>) -> Poll<Option<Delivery>> {
        self.lane.poll_next(cx, |lane, batch| {
            lane.open = Some(batch.subscription);
            lane.tallies.entry(batch.subscription).or_default();
        })
    }
}

/// A batch that is being taken apart.
#[derive(Debug)]
struct Open {
    subscription: SubscriptionId,
    data: Bytes,
    at: usize,
    /// Taken from this batch and not yet counted.
    items: u64,
    bytes: u64,
}

/// There is no item now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// None has arrived; more may come.
    #[error("no item has arrived")]
    Empty,
    /// The network has shut down and everything that had arrived was taken.
    #[error("the network has shut down")]
    Disconnected,
}

/// Receives the items of one stream from everybody who produces it.
///
/// Items of one producer come in order; those of different producers interleave. Each producer may
/// send ahead only what the consumer's window allows, so a consumer that is not read costs bounded
/// memory here and holds its producers back, until they cut it off. Dropping it ends all its
/// subscriptions.
pub struct Consumer<D: Datum> {
    cell: Arc<ConsumerCell>,
    shared: Arc<Shared>,
    when: When,
    stats: Stats,
    open: Option<Open>,
    finished: bool,
    datum: PhantomData<fn() -> D>,
}

impl<D: Datum> Consumer<D> {
    pub(crate) fn of(cell: Arc<ConsumerCell>, shared: Arc<Shared>) -> Self {
        let when = When::new(Arc::clone(&cell.channels.status));
        let stats = cell.taken.clone();
        Self { cell, shared, when, stats, open: None, finished: false, datum: PhantomData }
    }

    /// The stream.
    #[must_use]
    pub fn stream_id(&self) -> &StreamId {
        &self.cell.channels.stream
    }

    /// How the consumer was configured.
    #[must_use]
    pub fn config(&self) -> &ConsumerConfig {
        &self.cell.config
    }

    /// Futures for what the consumer becomes.
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

    /// Items that were missed, over all producers so far.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.cell.channels.missed()
    }

    /// How often a producer was met that had started anew, over all producers so far.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.cell.channels.restarts()
    }

    /// True if the `online_when` condition is met.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.cell.channels.is_online()
    }

    /// The subscriptions of this moment, those that are still connecting included.
    pub fn producers(&self) -> impl Iterator<Item = ChannelInfo> + use<D> {
        self.cell.channels.list().into_iter()
    }

    /// What the application took so far; its uptime counts from the construction.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The next item; `None` once the network has shut down and everything was taken. Cancel safe.
    pub async fn recv(&mut self) -> Option<D> {
        std::future::poll_fn(|cx| self.poll_recv(Some(cx))).await
    }

    /// The next item, as [`recv`](Self::recv). Here so that no extension trait is needed.
    pub async fn next(&mut self) -> Option<D> {
        self.recv().await
    }

    /// The next item, if one has arrived.
    ///
    /// # Errors
    /// [`TryRecvError`] if there is none.
    pub fn try_recv(&mut self) -> Result<D, TryRecvError> {
        match self.poll_recv(None) {
            Poll::Ready(Some(item)) => Ok(item),
            Poll::Ready(None) => Err(TryRecvError::Disconnected),
            Poll::Pending => Err(TryRecvError::Empty),
        }
    }

    fn poll_recv(&mut self, mut cx: Option<&mut Context<'_>>) -> Poll<Option<D>> {
        loop {
            if let Some(open) = &mut self.open {
                match Self::take_item(open, &self.stats) {
                    Some(Ok(item)) => {
                        self.settle(false);
                        return Poll::Ready(Some(item));
                    }
                    Some(Err(error)) => {
                        tracing::warn!(stream = %self.stream_id(), %error, "undecodable datum");
                        self.settle(false);
                        continue;
                    }
                    None => self.settle(true),
                }
            }
            match self.cell.next_batch(cx.as_deref_mut()) {
                Poll::Ready(Some(batch)) => {
                    let (subscription, data) = (batch.subscription, batch.data);
                    self.open = Some(Open { subscription, data, at: 0, items: 0, bytes: 0 });
                }
                Poll::Ready(None) => {
                    self.finished = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take_item(open: &mut Open, stats: &Stats) -> Option<Result<D, D::DecodeError>> {
        if open.at == open.data.len() {
            return None;
        }
        let (start, length) =
            item::locate(&open.data, open.at).expect("the core delivers whole items");
        open.at = start + length;
        open.items += 1;
        open.bytes += length as u64;
        stats.add(1, length as u64);
        Some(D::decode(&open.data[start..open.at]))
    }

    /// Counts what was taken: at the end of a batch, and in its middle a quarter of the window. What a
    /// slow application took of a batch the loop sees for itself.
    fn settle(&mut self, finished: bool) {
        let Some(open) = &mut self.open else { return };
        let config = &self.cell.config;
        let much = open.items >= config.window_items.div_ceil(4)
            || open.bytes >= config.window_bytes.div_ceil(4);
        let done = finished || open.at == open.data.len();
        if !(much || done) {
            return;
        }
        let (subscription, items, bytes) = (open.subscription, open.items, open.bytes);
        open.items = 0;
        open.bytes = 0;
        if done {
            self.open = None;
        }
        if items > 0 {
            self.cell.channels.metrics.taken(items, bytes);
            if self.cell.count(subscription, items, bytes) {
                self.cell.announce(&self.shared);
            }
        }
    }
}

impl<D: Datum> Stream for Consumer<D> {
    type Item = D;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<D>> {
        self.poll_recv(Some(cx))
    }
}

impl<D: Datum> FusedStream for Consumer<D> {
    fn is_terminated(&self) -> bool {
        self.finished
    }
}

impl<D: Datum> Unpin for Consumer<D> {}

impl<D: Datum> Drop for Consumer<D> {
    fn drop(&mut self) {
        {
            let mut lane = self.cell.lane.lock();
            lane.side.dropped = true;
            lane.items.clear();
        }
        self.shared.streams.forget_consumer(&self.cell);
        self.cell.announce(&self.shared);
    }
}

impl<D: Datum> fmt::Debug for Consumer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("stream", self.stream_id())
            .field("online", &self.is_online())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mosaik_proto::{NetworkId, PeerId, time::Now};

    use super::*;
    use crate::{handle::shared::Clock, metrics::NodeMetrics};

    /// The core counts in running totals per subscription, across lost links: a tally that began
    /// anew would take credit away for good.
    #[test]
    fn tallies_outlive_a_lost_link() {
        let stream = StreamId::zero();
        let metrics = NodeMetrics::new(&NetworkId::zero()).stream(&stream, false);
        let me = PeerId::from_bytes([1; 32]);
        let channels = Channels::new(stream, me, false, Clock::new(Now::default), metrics);
        let cell = ConsumerCell::new(ConsumerId(1), ConsumerConfig::new(stream), channels);
        let subscription = SubscriptionId(7);
        let mut events = VecDeque::new();
        cell.count(subscription, 3, 30);
        cell.take(&mut events);
        cell.unlisted(subscription);
        cell.count(subscription, 2, 20);
        cell.take(&mut events);
        let totals: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                node::Event::Consumed { items, bytes, .. } => Some((*items, *bytes)),
                _ => None,
            })
            .collect();
        assert_eq!(totals, [(3, 30), (5, 50)]);
    }

    /// However slow the application: what it took of the batch in its hands is reported, once.
    #[test]
    fn an_open_batch_is_reported_item_by_item() {
        let stream = StreamId::zero();
        let metrics = NodeMetrics::new(&NetworkId::zero()).stream(&stream, false);
        let me = PeerId::from_bytes([1; 32]);
        let channels = Channels::new(stream, me, false, Clock::new(Now::default), metrics);
        let (consumer, subscription) = (ConsumerId(1), SubscriptionId(7));
        let cell = ConsumerCell::new(consumer, ConsumerConfig::new(stream), channels);
        let data = Bytes::from_static(b"\0\x01a\0\x01b\0\x01c");
        cell.deliver(Delivery { consumer, subscription, first: 0, items: 3, data });
        assert!(cell.next_batch(None).is_ready() && cell.has_backlog());
        let mut events = VecDeque::new();
        let mut told = |cell: &ConsumerCell| {
            cell.report(&mut events);
            events
                .drain(..)
                .map(|event| match event {
                    node::Event::Consumed { items, bytes, .. } => (items, bytes),
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        cell.taken.add(1, 1);
        assert_eq!(told(&cell), [(1, 1)]);
        assert_eq!(told(&cell), []);
        cell.taken.add(2, 2);
        assert_eq!(told(&cell), [(3, 3)]);
        assert!(!cell.count(subscription, 3, 3) && !cell.has_backlog());
        assert_eq!(told(&cell), [], "what was counted afterwards was told before");
    }
}
