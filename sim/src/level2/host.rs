//! A host, as the program that runs on it sees it.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use mosaik_driver::{Config, Error, Launch, Network as Running, runtime::Timer, start};
use mosaik_proto::{
    NetworkId, PeerId,
    crypto::SecretKey,
    discovery::EndpointAddr,
    rng::Rng,
    time::{Instant, Now},
};

use super::{
    kernel::{Due, Kernel, Owner, SWEEP},
    runtime::{SimRuntime, SimTimer},
    tap::Recorder,
    transport::SimTransport,
};
use crate::net::{HostId, Process};

/// Configures a node on the host of the caller, as `mosaik::NetworkBuilder` does on a real one.
pub type NetworkBuilder = mosaik_driver::NetworkBuilder<Sim>;

/// A running node on a simulated host.
pub type Network = mosaik_driver::NetworkOn<Sim>;

/// Starts nodes on the simulated host whose program calls it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sim;

impl Launch for Sim {
    fn launch(self, config: Config) -> Result<Running, Error> {
        Host::current().launch(config)
    }
}

thread_local! {
    /// The host whose task is being polled.
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// A host of a [`World`](super::World): what its program may ask of the machine that it runs on.
#[derive(Clone)]
pub struct Host {
    pub(super) kernel: Kernel,
    pub(super) id: HostId,
}

impl Host {
    /// The host of the program that calls this.
    ///
    /// # Panics
    /// Outside of a world.
    #[must_use]
    pub fn current() -> Self {
        let current = CURRENT.with_borrow(Clone::clone);
        current.expect("called by a program that runs in a simulated world")
    }

    /// Runs `task` as a part of the program of a host.
    pub(super) fn enter<R>(host: Option<Self>, task: impl FnOnce() -> R) -> R {
        struct Leave(Option<Host>);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _leave = Leave(CURRENT.replace(host));
        task()
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> HostId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.kernel.with(|state| state.hosts[self.id.0].name.clone())
    }

    /// The id of its node, unless the program gives it another key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.kernel.with(|state| state.hosts[self.id.0].key.public())
    }

    /// The key of its node, unless the program gives it another one.
    #[must_use]
    pub fn key(&self) -> SecretKey {
        self.kernel.with(|state| state.hosts[self.id.0].key.clone())
    }

    /// Where its node can be reached.
    #[must_use]
    pub fn endpoint(&self) -> EndpointAddr {
        self.endpoint_of(self.id)
    }

    /// Where the node of another host can be reached.
    #[must_use]
    pub fn endpoint_of(&self, host: HostId) -> EndpointAddr {
        self.kernel.with(|state| {
            let host = &state.hosts[host.0];
            EndpointAddr::new(host.key.public(), [host.addr])
        })
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.kernel.with(|state| state.hosts[self.id.0].addr)
    }

    /// Configures a node with the host's own key. A host has one node at a time.
    pub fn network(&self, network: impl Into<NetworkId>) -> NetworkBuilder {
        NetworkBuilder::new(network).with_secret_key(self.key())
    }

    /// Starts a node.
    pub(super) fn launch(&self, config: Config) -> Result<Running, Error> {
        let (runtime, transport) = self.boot(config.key().public()).map_err(Error::Bind)?;
        let process = runtime.process;
        let network = start(runtime, transport, self.wired(process, config))?;
        self.sweep(process, &network);
        Ok(network)
    }

    /// The runtime and the transport for a node on this host, for programs that start the event loop
    /// by themselves. They go to [`start`](Self::start) then.
    ///
    /// # Errors
    /// If a node is running here.
    pub fn boot(&self, peer: PeerId) -> io::Result<(SimRuntime, SimTransport)> {
        let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
        let process = self.kernel.boot(self.id, peer).ok_or_else(in_use)?;
        let kernel = self.kernel.clone();
        Ok((SimRuntime { kernel: kernel.clone(), process }, SimTransport { kernel, process }))
    }

    /// Starts the event loop on a runtime and a transport made of those of [`boot`](Self::boot):
    /// with the address books of the world, in its record, and checked.
    ///
    /// # Errors
    /// As [`mosaik_driver::start`].
    pub fn start<R, T>(&self, runtime: R, transport: T, config: Config) -> Result<Running, Error>
    where
        R: mosaik_driver::runtime::Runtime,
        T: mosaik_driver::transport::Transport,
    {
        let boot = self.kernel.with(|state| state.hosts[self.id.0].boots);
        let process = Process { host: self.id, boot };
        let network = start(runtime, transport, self.wired(process, config))?;
        self.sweep(process, &network);
        Ok(network)
    }

    fn wired(&self, process: Process, config: Config) -> Config {
        let books = self.kernel.with(|state| state.books.clone());
        let kernel = self.kernel.clone();
        config.or_books(books).or_tap(Arc::new(Recorder { kernel, process }))
    }

    /// After the end of a network nothing of its driver may be left.
    fn sweep(&self, process: Process, network: &Running) {
        let (closed, kernel) = (network.closed(), self.kernel.clone());
        self.kernel.spawn(Owner::World, async move {
            closed.await;
            kernel.with(|state| {
                state.checkers.ended(process);
                state.queue.push(state.now + SWEEP, Due::Swept(process));
            });
        });
    }

    /// Both clocks of the host.
    #[must_use]
    pub fn now(&self) -> Now {
        self.kernel.read_clock(self.id)
    }

    /// The time of the world, which no program can know.
    #[must_use]
    pub fn world_now(&self) -> Instant {
        self.kernel.now()
    }

    /// Resolves after this time by the host's clock.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send + use<> {
        let mut timer = SimTimer::new(&self.kernel, self.id);
        timer.arm(Some(self.now().mono + time));
        poll_fn(move |cx| timer.poll_fired(cx))
    }

    /// Runs something beside the program; it ends with the program.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.kernel.spawn(Owner::Host(self.id), task);
    }

    /// Random numbers of this host. The same label gives the same numbers.
    #[must_use]
    pub fn rng(&self, label: &str) -> Rng {
        self.kernel.with(|state| state.rng.fork(&format!("{} {label}", self.id)))
    }

    /// Resolves when the program is asked to end in good order.
    pub async fn stopping(&self) {
        poll_fn(|cx| {
            self.kernel.with(|state| {
                let host = &mut state.hosts[self.id.0];
                if host.leaving {
                    return Poll::Ready(());
                }
                host.wakers.push(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// How long the program is to be slow ([`Fault::Pause`](crate::Fault::Pause)).
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.kernel.with(|state| {
            let until = state.hosts[self.id.0].paused_until;
            until.max(state.now).since(state.now)
        })
    }

    /// Writes a line into the record of the world.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.kernel.with(|state| state.trace.note(state.now, format_args!("{} {what}", self.id)));
    }

    /// Something happened that must never happen: the world ends with this.
    pub fn fail(&self, what: impl fmt::Display) {
        self.kernel.with(|state| {
            let failure = crate::Failure::Safety(format!("{}: {what}", self.id));
            state.fail(failure);
        });
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.id)
    }
}
