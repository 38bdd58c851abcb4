//! The event loop: one task owns the node.
//!
//! # Theory of operation
//!
//! Everything that can happen waits in bounded places (a channel's slot, a producer's lane, …), and
//! each place that has news stands once in the [`inbox`]. Every few turns the loop reads the clock.
//! Per turn it tells the node that a deadline passed if one did, takes the next place from the queue,
//! feeds what it finds to the node event by event, and carries out the actions of each step before
//! the next. Places come round in order, so a loud peer fills its own slots only. After a bounded number of
//! turns the loop yields.
//!
//! Whether a deadline passed is decided by the clock; the timer only wakes the loop.

mod assembler;
pub(crate) mod channel;
mod execute;
mod groups;
pub(crate) mod inbox;
pub(crate) mod link;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use mosaik_proto::{
    Core, Outbox, PeerId,
    discovery::{LocalEntry, SignedPeerEntry},
    ids::{ChannelId, ConsumerId, GroupId, LinkId, ProducerId, StreamId},
    limits::BATCH_BYTES,
    links::DownReason,
    node::{self, Node},
    streams::{Change, Owner},
    time::{Instant, Now},
    wire::CloseCode,
};

use self::{
    channel::Channel,
    inbox::Source,
    link::{Ids, LinkSlot},
};
use crate::{
    book::{AddressBook, Books, Look, Publication, Record},
    groups::{cell::GroupCell, store::Store},
    handle::{
        catalog::CatalogMirror,
        consumer::ConsumerCell,
        network::{Config, Error, Network},
        producer::{self, ProducerCell, Taken},
        shared::{Clock, Life, Shared},
    },
    runtime::{Runtime, Timer},
    transport::Transport,
};

/// Turns before the loop lets others run.
const TURNS: usize = 64;
/// Turns between two looks at the clocks, which cost as much as a short turn does.
const LOOK_EVERY: usize = 8;
/// Batches taken from one producer per turn.
const BATCHES: usize = 4;
/// Time for the transport to say its goodbyes, after the node said its own.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(500);
/// What an application took is reported at least this often while there is more for it to take:
/// well within a producer's lag timeout, however slow the application.
const REPORT_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
/// How often a link in use is asked for its round-trip time.
const RTT_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts a node and its loop.
///
/// # Errors
/// [`Error`] if the configuration makes no sense; nothing is running then.
pub fn start<R: Runtime, T: Transport>(
    runtime: R,
    transport: T,
    mut config: Config,
) -> Result<Network, Error> {
    config.discovery.check()?;
    config.limits.check()?;
    #[cfg(feature = "prometheus")]
    if let Some(addr) = config.prometheus {
        crate::prometheus::serve(addr, &config.network).map_err(Error::Prometheus)?;
    }
    let runtime = Arc::new(runtime);
    let transport = Arc::new(transport);
    let now = runtime.now();
    let addrs = transport.local_addrs();
    let mut entry = LocalEntry::new(config.network, config.key.clone(), now.wall);
    entry.edit(now.wall, |entry| {
        entry.tags().extend(config.discovery.tags.iter().copied());
        entry.addrs().extend(addrs.iter().copied());
    })?;
    let clock = Clock::new({
        let runtime = Arc::clone(&runtime);
        move || runtime.now()
    });
    let discovery = config.discovery.core;
    let catalog = CatalogMirror::new(entry.signed().clone(), &discovery, clock.clone());
    let seed = runtime.entropy();
    let me = entry.id();
    let backlog = config.discovery.events_backlog;
    let shared =
        Arc::new(Shared::new(entry, config.policy, config.network, clock, catalog, backlog));
    shared.change_limits(config.limits);
    transport.set_limits(config.limits);
    transport.on_refused({
        let shared = Arc::downgrade(&shared);
        Arc::new(move |code| {
            if let Some(shared) = shared.upgrade() {
                shared.metrics.links_refused.of(&code).increment(1);
            }
        })
    });
    let node = Node::new(node::Config { discovery }, config.network, me, seed, now);
    let record = Record { peer: me, addrs, network: None };
    let books = config.books.unwrap_or_else(Books::standard);
    let task = Task::new(&runtime, &transport, node, &shared, books, record);
    #[cfg(feature = "conformance")]
    let task = task.with_tap(config.tap);
    let (inbox, ids) = (Arc::clone(&shared.inbox), task.ids.clone());
    let accept = link::accept(Arc::clone(&runtime), transport, inbox, ids);
    shared.kick();
    runtime.spawn(accept);
    runtime.spawn(task);
    Ok(Network::new(shared))
}

struct Link {
    slot: Arc<LinkSlot>,
    rtt_at: Instant,
}

/// The loop. A future that ends when the node has stopped.
struct Task<R: Runtime, T> {
    runtime: Arc<R>,
    transport: Arc<T>,
    timer: R::Timer,
    armed: Option<Instant>,
    /// The clocks, as of the last look.
    now: Now,
    node: Node,
    shared: Arc<Shared>,
    out: Outbox<node::Action>,
    /// Events of the source at hand; empty between turns.
    events: VecDeque<node::Event>,
    ids: Ids,
    links: BTreeMap<LinkId, Link>,
    channels: BTreeMap<ChannelId, Arc<Channel>>,
    of_link: BTreeSet<(LinkId, ChannelId)>,
    producers: BTreeMap<ProducerId, Arc<ProducerCell>>,
    /// Of each stream one of them, to count what is sent.
    sending: BTreeMap<StreamId, Arc<ProducerCell>>,
    consumers: BTreeMap<ConsumerId, Arc<ConsumerCell>>,
    groups: BTreeMap<GroupId, Arc<GroupCell>>,
    /// Groups to look at again when other tasks had their turn.
    deferred: Vec<Arc<GroupCell>>,
    /// Groups to look at again at a moment.
    held: BTreeSet<GroupId>,
    held_until: Option<Instant>,
    /// The stores of groups that were left, until they are closed.
    leaving_groups: BTreeMap<GroupId, Arc<Store>>,
    /// When consumers are asked what was taken; `None` while nothing waits for them.
    report_at: Option<Instant>,
    /// What the present step changes for handles: applied together at its end.
    changes: BTreeMap<Owner, Vec<Change>>,
    books: Books,
    record: Record,
    /// `None` once the node has stopped.
    publication: Option<Publication>,
    look: Option<Look>,
    stopped: bool,
    #[cfg(feature = "conformance")]
    tap: Option<Arc<dyn crate::conformance::Tap>>,
}

impl<R: Runtime, T: Transport> Task<R, T> {
    fn new(
        runtime: &Arc<R>,
        transport: &Arc<T>,
        node: Node,
        shared: &Arc<Shared>,
        books: Books,
        record: Record,
    ) -> Self {
        Self {
            timer: runtime.timer(),
            armed: None,
            now: runtime.now(),
            node,
            shared: Arc::clone(shared),
            out: Outbox::new(),
            events: VecDeque::new(),
            ids: Ids::default(),
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            of_link: BTreeSet::new(),
            producers: BTreeMap::new(),
            sending: BTreeMap::new(),
            consumers: BTreeMap::new(),
            groups: BTreeMap::new(),
            deferred: Vec::new(),
            held: BTreeSet::new(),
            held_until: None,
            leaving_groups: BTreeMap::new(),
            report_at: None,
            changes: BTreeMap::new(),
            publication: Some(books.publish(record.clone())),
            record,
            look: None,
            books,
            stopped: false,
            runtime: Arc::clone(runtime),
            transport: Arc::clone(transport),
            #[cfg(feature = "conformance")]
            tap: None,
        }
    }

    #[cfg(feature = "conformance")]
    fn with_tap(mut self, tap: Option<Arc<dyn crate::conformance::Tap>>) -> Self {
        self.tap = tap;
        self
    }

    /// One step of the node, and everything that it asks for.
    fn step(&mut self, event: node::Event) {
        #[cfg(feature = "conformance")]
        if let Some(tap) = &self.tap {
            tap.event(self.now, &event);
        }
        self.node.handle(self.now, event, &mut self.out);
        #[cfg(feature = "conformance")]
        if let Some(tap) = &self.tap {
            self.out.iter().for_each(|action| tap.action(self.now, action));
        }
        self.execute();
    }

    fn turn(&mut self, source: Source) {
        match source {
            Source::Host => {
                self.shared.take(&mut self.events);
                self.feed();
            }
            Source::Link(slot) => self.on_link(&slot),
            Source::Channel(channel) => self.on_channel(&channel),
            Source::Producer(cell) => self.on_producer(&cell),
            Source::Group(cell) => self.on_group(&cell),
            Source::Consumer(cell) => {
                cell.take(&mut self.events);
                if self.consumers.insert(cell.id, Arc::clone(&cell)).is_none() && self.stopped {
                    cell.end();
                }
                let closed = matches!(self.events.back(), Some(node::Event::CloseConsumer(_)));
                self.feed();
                if closed {
                    self.consumers.remove(&cell.id);
                    cell.channels.close();
                }
            }
        }
    }

    fn feed(&mut self) {
        while let Some(event) = self.events.pop_front() {
            match &event {
                node::Event::LocalEntry(entry) => self.on_local_entry(entry),
                node::Event::Limits(limits) => self.transport.set_limits(*limits),
                _ => {}
            }
            self.step(event);
        }
    }

    /// Keeps the address books in step with our entry.
    fn on_local_entry(&mut self, entry: &SignedPeerEntry) {
        if self.record.addrs != entry.address().addrs {
            self.record.addrs = entry.address().addrs.clone();
            self.publish_record();
        }
    }

    fn publish_record(&self) {
        if let Some(publication) = &self.publication {
            publication.update(self.record.clone());
        }
    }

    fn on_link(&mut self, slot: &Arc<LinkSlot>) {
        let news = slot.take();
        if let Some(up) = news.up {
            self.shared.metrics.connections_opened.increment(1);
            let link = Link { slot: Arc::clone(slot), rtt_at: self.now.mono };
            self.links.insert(slot.id, link);
            self.step(up);
        }
        for channel in news.accepted {
            if self.links.contains_key(&slot.id) {
                let (link, id) = (channel.link, channel.id);
                self.of_link.insert((link, id));
                self.channels.insert(id, channel);
                self.step(node::Event::ChannelUp { link, channel: id });
            } else {
                channel.close(CloseCode::CANCELLED);
            }
        }
        if let Some(reason) = news.down {
            self.drop_link(slot.id, CloseCode::CANCELLED);
            self.step(node::Event::LinkDown { link: slot.id, reason });
        }
    }

    /// Forgets a link and its channels; their pumps end. A code that says why must be theirs too: the
    /// other end may see the end of a channel first.
    fn drop_link(&mut self, link: LinkId, code: CloseCode) {
        let code = if channel::graceful(code) { CloseCode::CANCELLED } else { code };
        self.links.remove(&link);
        let all = (link, ChannelId(0))..=(link, ChannelId(u64::MAX));
        let channels: Vec<_> = self.of_link.range(all).map(|(_, channel)| *channel).collect();
        for id in channels {
            let Some(channel) = self.drop_channel(id) else { continue };
            // An idle pump does not notice the end of its link.
            channel.close(code);
        }
    }

    fn drop_channel(&mut self, id: ChannelId) -> Option<Arc<Channel>> {
        let channel = self.channels.remove(&id)?;
        self.of_link.remove(&(channel.link, id));
        Some(channel)
    }

    fn on_channel(&mut self, slot: &Arc<Channel>) {
        let news = slot.take();
        let channel = slot.id;
        self.sample_rtt(slot.link);
        for chunk in news.chunks {
            self.shared.metrics.ingress.increment(chunk.len() as u64);
            self.step(node::Event::Data { channel, chunk });
        }
        if news.drained > 0 {
            self.shared.metrics.egress.increment(u64::from(news.drained));
            self.step(node::Event::Drained { channel, bytes: news.drained });
        }
        if let Some(reason) = news.ended
            && let Some(slot) = self.drop_channel(channel)
        {
            // The other direction has no use any more either.
            slot.close(match reason {
                DownReason::Finished => CloseCode::SUCCESS,
                _ => CloseCode::CANCELLED,
            });
            self.step(node::Event::ChannelDown { channel, reason });
        }
    }

    fn sample_rtt(&mut self, id: LinkId) {
        let now = self.now.mono;
        let Some(link) = self.links.get_mut(&id) else { return };
        if now.since(link.rtt_at) >= RTT_EVERY {
            link.rtt_at = now;
            let rtt = link.slot.rtt();
            self.step(node::Event::LinkRtt { link: id, rtt });
        }
    }

    fn on_producer(&mut self, cell: &Arc<ProducerCell>) {
        for _ in 0..=BATCHES {
            let taken = cell.take();
            // A batch that is not full has emptied the lane. Whoever fills it again announces it;
            // to look at once would fight the sender for the lane and make batches of a few items.
            let more = match &taken {
                Taken::Nothing => return,
                Taken::Open => {
                    self.producers.insert(cell.id, Arc::clone(cell));
                    self.sending.insert(cell.channels.stream, Arc::clone(cell));
                    true
                }
                // The core says when it is done with it.
                Taken::Close => false,
                // The end of a producer comes behind its last batch.
                Taken::Batch { data, .. } => data.len() >= BATCH_BYTES as usize || cell.has_ended(),
            };
            if let Some(event) = producer::event(cell, taken) {
                self.step(event);
            }
            if !more {
                return;
            }
        }
        cell.announce(&self.shared);
    }

    /// Starts a dial in the background; it ends as a link or as `DialFailed`.
    fn dial(&self, peer: PeerId, addrs: Vec<std::net::SocketAddr>) {
        self.shared.metrics.dials.increment(1);
        let (transport, shared) = (Arc::clone(&self.transport), Arc::clone(&self.shared));
        let (runtime, ids, books) =
            (Arc::clone(&self.runtime), self.ids.clone(), self.books.clone());
        self.runtime.spawn(async move {
            let mut all = addrs;
            let known: Vec<_> = books.resolve(&peer).into_iter().collect();
            all.extend(known.into_iter().filter(|addr| !all.contains(addr)).collect::<Vec<_>>());
            match transport.dial(peer, all).await {
                Ok(link) => {
                    let side = mosaik_proto::ids::Side::Dialer;
                    link::start(&runtime, &shared.inbox, &ids, link, side);
                }
                Err(reason) => shared.dial_failed(node::Event::DialFailed { peer, reason }),
            }
        });
    }

    /// Lists us in the address books and looks there for others.
    fn seek(&mut self) {
        self.record.network = Some(self.shared.network);
        self.publish_record();
        if self.look.is_none() {
            let shared = Arc::downgrade(&self.shared);
            let found = Arc::new(move |peers| {
                if let Some(shared) = shared.upgrade() {
                    shared.found(peers);
                }
            });
            self.look = Some(self.books.look(self.shared.network, self.shared.me, found));
        }
    }

    /// The node is over: every handle resolves, and the transport says the last goodbyes.
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.look = None;
        self.shared.end();
        // Those without a handle as well.
        self.producers.values().for_each(|cell| cell.end(&self.shared));
        let closing = self.stop_groups();
        let (transport, shared) = (Arc::clone(&self.transport), Arc::clone(&self.shared));
        let publication = self.publication.take();
        let mut timer = self.runtime.timer();
        timer.arm(Some(self.now.mono + LAST_WORDS));
        self.runtime.spawn(async move {
            drop(publication);
            transport.close(CloseCode::GRACEFUL_SHUTDOWN);
            let drained = pin!(futures_util::future::join(transport.drained(), closing));
            let patience = std::future::poll_fn(move |cx| timer.poll_fired(cx));
            futures_util::future::select(drained, patience).await;
            shared.life.change(|life| *life = Life::Stopped);
        });
    }

    /// Tells the core what slow applications took, and looks again later if they are not done.
    fn report(&mut self) {
        self.report_at = None;
        for cell in self.consumers.values().filter(|cell| cell.has_backlog()) {
            self.report_at = Some(self.now.mono + REPORT_EVERY);
            cell.report(&mut self.events);
        }
        self.feed();
    }

    /// Does what is due by the clock.
    fn on_clock(&mut self) {
        if self.node.deadline().is_some_and(|at| at <= self.now.mono) {
            self.step(node::Event::Timeout);
        }
        if self.report_at.is_some_and(|at| at <= self.now.mono) {
            self.report();
        }
        if self.held_until.is_some_and(|at| at <= self.now.mono) {
            self.look_at_held();
        }
    }

    /// Arms the timer for what comes next. True if it fired or the moment has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let others = self.report_at.into_iter().chain(self.held_until);
        let deadline = self.node.deadline().into_iter().chain(others).min();
        if deadline != self.armed {
            self.armed = deadline;
            self.timer.arm(deadline);
        }
        if deadline.is_none() {
            return false;
        }
        let fired = self.timer.poll_fired(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

/// If the loop dies before the node has stopped, by a bug or with its runtime, every handle still
/// resolves.
impl<R: Runtime, T> Drop for Task<R, T> {
    fn drop(&mut self) {
        if !self.stopped {
            self.shared.end();
            self.producers.values().for_each(|cell| cell.end(&self.shared));
            for cell in self.groups.values() {
                cell.shut();
                cell.end();
            }
            self.shared.life.change(|life| *life = Life::Stopped);
        }
    }
}

impl<R: Runtime, T: Transport> Unpin for Task<R, T> {}

impl<R: Runtime, T: Transport> Future for Task<R, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.inbox.register(cx.waker());
        let mut looked = None;
        for turn in 0..TURNS {
            if this.stopped {
                return Poll::Ready(());
            }
            if looked.is_none_or(|at| turn - at >= LOOK_EVERY) {
                this.now = this.runtime.now();
                looked = Some(turn);
                this.on_clock();
            }
            match this.shared.inbox.pop() {
                Some(source) => this.turn(source),
                // Wakes this task, behind all that are ready now.
                None if !this.deferred.is_empty() => {
                    this.deferred.drain(..).for_each(|cell| cell.announce());
                    return Poll::Pending;
                }
                None if this.poll_deadline(cx) => looked = None,
                // Whoever pushes from now on wakes: the waker is registered.
                None => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
