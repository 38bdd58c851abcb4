//! One link between the loop and the transport.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use mosaik_proto::{
    ids::{ChannelId, LinkId, Side},
    links::DownReason,
    node::Event,
    wire::CloseCode,
};

use super::{
    channel::Channel,
    inbox::{Inbox, Source},
};
use crate::{
    runtime::Runtime,
    sync::{cell::lock, inbox::Queued},
    transport::{Link, Transport},
};

#[derive(Debug, Default)]
struct State {
    up: Option<Event>,
    /// Channels that the other end opened and the loop has not taken; bounded by the transport's
    /// limit on open channels.
    accepted: VecDeque<Arc<Channel>>,
    down: Option<DownReason>,
    /// What the loop asks the link's task to do.
    opens: VecDeque<Arc<Channel>>,
    close: Option<CloseCode>,
}

/// A link as both the loop and its task see it.
#[derive(Debug)]
pub(crate) struct LinkSlot {
    pub(crate) id: LinkId,
    queued: Queued,
    state: Mutex<State>,
    task: AtomicWaker,
    probe: Probe,
    /// The transport knows that the link is admitted.
    admitted: AtomicBool,
}

/// A link without its type.
struct Probe {
    rtt: Box<dyn Fn() -> Duration + Send + Sync>,
    admitted: Box<dyn Fn() + Send + Sync>,
}

impl Probe {
    fn of(link: &impl Link) -> Self {
        let (one, other) = (link.clone(), link.clone());
        Self { rtt: Box::new(move || one.rtt()), admitted: Box::new(move || other.admitted()) }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

/// What the loop finds when it looks at a link.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) up: Option<Event>,
    pub(crate) accepted: VecDeque<Arc<Channel>>,
    pub(crate) down: Option<DownReason>,
}

impl LinkSlot {
    pub(crate) fn take(&self) -> News {
        self.queued.lower();
        let mut state = lock(&self.state);
        News {
            up: state.up.take(),
            accepted: std::mem::take(&mut state.accepted),
            down: state.down.take(),
        }
    }

    /// Opens a channel; bytes may be written to it at once.
    pub(crate) fn open(&self, channel: Arc<Channel>) {
        lock(&self.state).opens.push_back(channel);
        self.task.wake();
    }

    pub(crate) fn close(&self, code: CloseCode) {
        lock(&self.state).close.get_or_insert(code);
        self.task.wake();
    }

    /// The transport's present estimate of the round-trip time.
    pub(crate) fn rtt(&self) -> Duration {
        (self.probe.rtt)()
    }

    /// The core admitted the link.
    pub(crate) fn admitted(&self) {
        if !self.admitted.swap(true, Ordering::Relaxed) {
            (self.probe.admitted)();
        }
    }

    fn announce(self: &Arc<Self>, inbox: &Inbox) {
        if self.queued.raise() {
            inbox.push(Source::Link(Arc::clone(self)));
        }
    }
}

/// Brings a new link before the loop and starts its task.
pub(crate) fn start<R: Runtime, L: Link>(
    runtime: &Arc<R>,
    inbox: &Arc<Inbox>,
    ids: &Ids,
    link: L,
    side: Side,
) {
    let (id, peer, rtt, binding) = (ids.link(), link.peer(), link.rtt(), link.binding());
    let up = Event::LinkUp { link: id, peer, side, rtt, binding };
    let slot = Arc::new(LinkSlot {
        id,
        queued: Queued::default(),
        state: Mutex::new(State { up: Some(up), ..State::default() }),
        task: AtomicWaker::new(),
        probe: Probe::of(&link),
        admitted: AtomicBool::new(false),
    });
    slot.announce(inbox);
    let task = Task {
        runtime: Arc::clone(runtime),
        inbox: Arc::clone(inbox),
        ids: ids.clone(),
        link,
        slot,
    };
    runtime.spawn(task.run());
}

/// Allocates ids on the driver's side of the seam.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(Arc<(AtomicU64, AtomicU64)>);

impl Ids {
    fn link(&self) -> LinkId {
        LinkId(self.0.0.fetch_add(1, Ordering::Relaxed))
    }

    fn channel(&self) -> ChannelId {
        ChannelId::driver(self.0.1.fetch_add(1, Ordering::Relaxed))
    }
}

struct Task<R, L> {
    runtime: Arc<R>,
    inbox: Arc<Inbox>,
    ids: Ids,
    link: L,
    slot: Arc<LinkSlot>,
}

impl<R: Runtime, L: Link> Task<R, L> {
    /// Accepts and opens channels until the link is down.
    async fn run(self) {
        let reason = {
            let mut closed = pin!(self.link.closed());
            let mut accepting = pin!(self.accept());
            let mut opening = pin!(self.open());
            poll_fn(|cx| {
                self.slot.task.register(cx.waker());
                if let Some(code) = lock(&self.slot.state).close {
                    self.link.close(code);
                    return Poll::Ready(DownReason::Local(code));
                }
                let _ = accepting.as_mut().poll(cx);
                let _ = opening.as_mut().poll(cx);
                closed.as_mut().poll(cx)
            })
            .await
        };
        lock(&self.slot.state).down = Some(reason);
        self.slot.announce(&self.inbox);
    }

    async fn accept(&self) {
        while let Ok((read, write)) = self.link.accept().await {
            let channel = Arc::new(Channel::new(self.ids.channel(), self.slot.id, false));
            lock(&self.slot.state).accepted.push_back(Arc::clone(&channel));
            self.slot.announce(&self.inbox);
            self.spawn_pumps(channel, read, write);
        }
        std::future::pending().await
    }

    async fn open(&self) {
        loop {
            let next = poll_fn(|_| match lock(&self.slot.state).opens.pop_front() {
                Some(channel) => Poll::Ready(channel),
                None => Poll::Pending,
            });
            let channel = next.await;
            match self.link.open().await {
                Ok((read, write)) => self.spawn_pumps(channel, read, write),
                // The link is going down, which tells the core more than the channel could.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn spawn_pumps(&self, channel: Arc<Channel>, read: L::Read, write: L::Write) {
        self.runtime.spawn(Arc::clone(&channel).pump_in(read, Arc::clone(&self.inbox)));
        self.runtime.spawn(channel.pump_out(write, Arc::clone(&self.inbox)));
    }
}

/// Takes links that others made, until the transport is closed.
pub(crate) async fn accept<R: Runtime, T: Transport>(
    runtime: Arc<R>,
    transport: Arc<T>,
    inbox: Arc<Inbox>,
    ids: Ids,
) {
    while let Some(link) = transport.accept().await {
        start(&runtime, &inbox, &ids, link, Side::Listener);
    }
}
