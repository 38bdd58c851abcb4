//! The transport of a node, on the network of the world.

use std::{
    collections::BTreeSet,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use mosaik_driver::{
    runtime::{Runtime, Timer},
    transport::{Link, Refused, Transport},
};
use mosaik_proto::{
    PeerId,
    ids::{ChannelId, LinkId},
    links::{DialError, DownReason, LinkLimits},
    wire::CloseCode,
};

use super::{
    channel::{Handle, SimRead, SimWrite},
    kernel::{Kernel, State},
    port::{ChannelPort, DialPort, LinkPort},
    runtime::SimRuntime,
};
use crate::net::Process;

/// How long a closed transport listens for the acknowledgements of its goodbyes.
const DRAIN: Duration = Duration::from_millis(50);

/// A simulated [`Transport`] for one node.
pub struct SimTransport {
    pub(super) kernel: Kernel,
    pub(super) process: Process,
}

/// Gives a dial up when it is dropped.
struct Dialling<'a> {
    transport: &'a SimTransport,
    number: u64,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let SimTransport { kernel, process } = self.transport;
        kernel.with(|state| {
            let dial = state.port(*process).and_then(|port| port.dials.remove(&self.number));
            if let Some(Ok(link)) = dial.and_then(|dial| dial.result) {
                state.net.close_link(state.now, process.host, link, CloseCode::CANCELLED);
            }
        });
    }
}

impl Transport for SimTransport {
    type Link = SimLink;

    async fn dial(&self, peer: PeerId, addrs: Vec<SocketAddr>) -> Result<SimLink, DialError> {
        let process = self.process;
        let number = self.kernel.with(|state| {
            let number = state.number();
            let port = state.port(process).filter(|port| port.closed.is_none());
            let dial = DialPort { peer, result: None, waker: None };
            port.ok_or(DialError::Transport)?.dials.insert(number, dial);
            state.net.dial(state.now, process, peer, &addrs);
            Ok(number)
        })?;
        let dialling = Dialling { transport: self, number };
        let link = poll_fn(|cx| {
            self.kernel.with(|state| {
                let port = state.port(process).filter(|port| port.closed.is_none());
                let Some(dial) = port.and_then(|port| port.dials.get_mut(&number)) else {
                    return Poll::Ready(Err(DialError::Transport));
                };
                match dial.result.take() {
                    Some(result) => Poll::Ready(result),
                    None => {
                        dial.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
        })
        .await?;
        drop(dialling);
        Ok(SimLink::new(&self.kernel, process, link, peer))
    }

    async fn accept(&self) -> Option<SimLink> {
        let (link, peer) = poll_fn(|cx| {
            self.kernel.with(|state| {
                let port = state.port(self.process).filter(|port| port.closed.is_none());
                let Some(port) = port else { return Poll::Ready(None) };
                match port.incoming.pop_front() {
                    Some(link) => Poll::Ready(port.links.get(&link).map(|port| (link, port.peer))),
                    None => {
                        port.acceptor = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
        })
        .await?;
        Some(SimLink::new(&self.kernel, self.process, link, peer))
    }

    fn local_addrs(&self) -> BTreeSet<SocketAddr> {
        self.kernel.with(|state| [state.hosts[self.process.host.0].addr].into())
    }

    /// The network has no limits: those of the node hold.
    fn set_limits(&self, _: LinkLimits) {}

    /// Nobody is refused here: a dial to nobody is answered by nobody.
    fn on_refused(&self, _: Refused) {}

    fn close(&self, code: CloseCode) {
        let host = self.process.host;
        self.kernel.with(|state| {
            let Some(port) = state.port(self.process) else { return };
            if port.closed.is_some() {
                return;
            }
            port.closed = Some(code);
            let mut wakes: Vec<Waker> = port.acceptor.take().into_iter().collect();
            wakes.extend(port.dials.values_mut().filter_map(|dial| dial.waker.take()));
            state.wakes.extend(wakes);
            for link in state.net.links_of(host) {
                state.net.close_link(state.now, host, link, code);
            }
            // Nobody listens here any more.
            state.net.die(state.now, host);
        });
    }

    async fn drained(&self) {
        let runtime = SimRuntime { kernel: self.kernel.clone(), process: self.process };
        let mut timer = runtime.timer();
        timer.arm(Some(runtime.now().mono + DRAIN));
        poll_fn(|cx| timer.poll_fired(cx)).await;
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        self.close(CloseCode::CANCELLED);
    }
}

impl fmt::Debug for SimTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTransport").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A simulated [`Link`]. Clones are handles of the same connection, which closes with the last.
#[derive(Clone)]
pub struct SimLink(Arc<LinkHandle>);

struct LinkHandle {
    kernel: Kernel,
    process: Process,
    id: LinkId,
    peer: PeerId,
}

impl SimLink {
    fn new(kernel: &Kernel, process: Process, id: LinkId, peer: PeerId) -> Self {
        Self(Arc::new(LinkHandle { kernel: kernel.clone(), process, id, peer }))
    }

    /// Runs until the link is down, or `ready` gives something.
    async fn until<T>(
        &self,
        mut ready: impl FnMut(&mut State, &mut Option<LinkPort>) -> Option<T>,
    ) -> Result<T, DownReason> {
        let LinkHandle { kernel, process, id, .. } = &*self.0;
        poll_fn(|cx| {
            kernel.with(|state| {
                // Taken out for a moment, so that both can be changed.
                let mut port = state.port(*process).and_then(|port| port.links.remove(id));
                let result = match &port {
                    None => Poll::Ready(Err(DownReason::Lost)),
                    Some(LinkPort { down: Some(reason), .. }) => Poll::Ready(Err(*reason)),
                    Some(_) => match ready(state, &mut port) {
                        Some(value) => Poll::Ready(Ok(value)),
                        None => Poll::Pending,
                    },
                };
                if let (Some(mut link), Some(port)) = (port, state.port(*process)) {
                    if result.is_pending() && !link.wakers.iter().any(|w| w.will_wake(cx.waker())) {
                        link.wakers.push(cx.waker().clone());
                    }
                    port.links.insert(*id, link);
                }
                result
            })
        })
        .await
    }

    fn halves(&self, channel: ChannelId) -> (SimRead, SimWrite) {
        let LinkHandle { kernel, process, .. } = &*self.0;
        let (kernel, process, link) = (kernel.clone(), *process, self.clone());
        let handle = Arc::new(Handle { kernel, process, channel, link });
        (SimRead::new(Arc::clone(&handle)), SimWrite::new(handle))
    }

    pub(super) fn id(&self) -> LinkId {
        self.0.id
    }
}

impl Link for SimLink {
    type Read = SimRead;
    type Write = SimWrite;

    fn peer(&self) -> PeerId {
        self.0.peer
    }

    fn rtt(&self) -> Duration {
        let LinkHandle { kernel, process, id, .. } = &*self.0;
        let rtt = |state: &mut State| Some(state.port(*process)?.links.get(id)?.rtt);
        kernel.with(rtt).unwrap_or_default()
    }

    fn binding(&self) -> [u8; 32] {
        let LinkHandle { kernel, process, id, .. } = &*self.0;
        let binding = |state: &mut State| Some(state.port(*process)?.links.get(id)?.binding);
        kernel.with(binding).unwrap_or_default()
    }

    fn admitted(&self) {}

    async fn open(&self) -> Result<(SimRead, SimWrite), DownReason> {
        let LinkHandle { process, id, .. } = &*self.0;
        let channel = self.until(|state, _| {
            let port = state.port(*process)?;
            port.next_channel += 1;
            let channel = ChannelId::core(port.next_channel);
            port.channels.insert(channel, ChannelPort::new(*id));
            state.net.open_channel(process.host, *id, channel);
            Some(channel)
        });
        Ok(self.halves(channel.await?))
    }

    async fn accept(&self) -> Result<(SimRead, SimWrite), DownReason> {
        let accepted = self.until(|_, link| link.as_mut()?.accepted.pop_front());
        Ok(self.halves(accepted.await?))
    }

    fn close(&self, code: CloseCode) {
        let LinkHandle { kernel, process, id, .. } = &*self.0;
        kernel.with(|state| {
            if state.port(*process).is_some() {
                state.net.close_link(state.now, process.host, *id, code);
            }
        });
    }

    async fn closed(&self) -> DownReason {
        match self.until(|_, _| None::<()>).await {
            Err(reason) => reason,
            Ok(()) => unreachable!("nothing was waited for"),
        }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.kernel.with(|state| {
            let Some(port) = state.port(self.process) else { return };
            let down = port.links.remove(&self.id).is_none_or(|link| link.down.is_some());
            port.channels.retain(|_, channel| channel.link != self.id);
            if !down {
                // As QUIC does it: nobody says why.
                let (now, host) = (state.now, self.process.host);
                state.net.close_link(now, host, self.id, CloseCode::UNEXPECTED);
            }
        });
    }
}

impl fmt::Debug for SimLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLink").field("id", &self.0.id).field("peer", &self.0.peer).finish()
    }
}
