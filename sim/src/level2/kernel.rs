//! What everything in a world shares: time, the network, hosts, timers, the record.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use mosaik_driver::book::Books;
use mosaik_proto::{
    PeerId,
    crypto::SecretKey,
    rng::Rng,
    time::{Instant, Now},
};

use super::{Options, port::Port};
use crate::{
    checkers::Checkers,
    clock::Clock,
    net::{Effect, HostId, Net, Packet, Process},
    queue::Queue,
    trace::Trace,
    verdict::Failure,
    world::Fault,
};

/// Where a task belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// To the world: it survives every crash.
    World,
    /// To the application of a host.
    Host(HostId),
    /// To the driver of a node.
    Node(Process),
}

impl Owner {
    pub(super) const fn host(self) -> Option<HostId> {
        match self {
            Self::World => None,
            Self::Host(host) => Some(host),
            Self::Node(process) => Some(process.host),
        }
    }
}

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that was spawned and is not in the executor yet.
pub(super) struct Spawned {
    pub(super) owner: Owner,
    pub(super) name: &'static str,
    pub(super) task: Task,
}

/// What will happen.
#[derive(Debug)]
pub(super) enum Due {
    Packet(Packet),
    Timer(u64),
    /// Somebody may not be frozen any more.
    Thaw,
    Fault(Fault),
    /// Nothing of this node's driver may be left.
    Swept(Process),
}

/// A timer of a runtime, or a sleep.
#[derive(Debug, Default)]
pub(super) struct TimerState {
    /// The world's time at which it fires.
    pub(super) at: Option<Instant>,
    pub(super) waker: Option<Waker>,
}

/// A host as the kernel sees it.
pub(super) struct HostState {
    pub(super) name: String,
    pub(super) key: SecretKey,
    pub(super) addr: SocketAddr,
    pub(super) clock: Clock,
    /// Nodes that were started here.
    pub(super) boots: u32,
    /// The application runs.
    pub(super) alive: bool,
    /// It was asked to end in good order.
    pub(super) leaving: bool,
    /// It is to start again when it has ended.
    pub(super) again: bool,
    pub(super) frozen_until: Instant,
    pub(super) paused_until: Instant,
    /// The transport of the node that runs here.
    pub(super) port: Option<Port>,
    /// Who waits for `leaving`.
    pub(super) wakers: Vec<Waker>,
}

/// The state behind the kernel's lock.
pub(super) struct State {
    pub(super) now: Instant,
    pub(super) queue: Queue<Due>,
    pub(super) net: Net,
    pub(super) hosts: Vec<HostState>,
    pub(super) timers: BTreeMap<u64, TimerState>,
    pub(super) numbers: u64,
    pub(super) spawned: VecDeque<Spawned>,
    pub(super) trace: Trace,
    pub(super) checkers: Checkers,
    pub(super) failure: Option<Failure>,
    pub(super) rng: Rng,
    pub(super) books: Books,
    pub(super) options: Options,
    /// Rung when the lock is free again.
    pub(super) wakes: Vec<Waker>,
}

/// A handle of what a world shares.
#[derive(Clone)]
pub(super) struct Kernel(Arc<Mutex<State>>);

impl Kernel {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut bytes = [2; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let rng = Rng::new(bytes);
        let mut net = options.net.clone();
        net.halves = true;
        let mut checkers = Checkers::default();
        checkers.bounds.whole_batches = true;
        checkers.ends.anonymous = true;
        Self(Arc::new(Mutex::new(State {
            now: Instant::ZERO,
            queue: Queue::new(),
            net: Net::new(&rng.fork("net"), net),
            hosts: Vec::new(),
            timers: BTreeMap::new(),
            numbers: 0,
            spawned: VecDeque::new(),
            trace: Trace::new(options.trace),
            checkers,
            failure: None,
            rng,
            books: Books::isolated(),
            options,
            wakes: Vec::new(),
        })))
    }

    /// Changes the state and rings, behind the lock, whoever that concerns.
    pub(super) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, wakes) = {
            let mut state = self.lock();
            let result = change(&mut state);
            state.absorb();
            (result, std::mem::take(&mut state.wakes))
        };
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a task leaves the state whole: tasks run without the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a host without an application.
    pub(super) fn add_host(&self, name: &str) -> HostId {
        self.with(|state| {
            let number = state.hosts.len();
            let key = SecretKey::from(state.rng.fork(&format!("key {number}")).bytes());
            let [_, b, c, d] = (number as u32 + 1).to_be_bytes();
            let addr = SocketAddr::from(([10, b, c, d], 4433));
            state.hosts.push(HostState {
                name: name.to_owned(),
                key: key.clone(),
                addr,
                clock: state.options.clocks.get(number).copied().unwrap_or_default(),
                boots: 0,
                alive: false,
                leaving: false,
                again: false,
                frozen_until: Instant::ZERO,
                paused_until: Instant::ZERO,
                port: None,
                wakers: Vec::new(),
            });
            state.net.add_host(key.public(), addr)
        })
    }

    /// A node starts on a host: `None` if one is running there.
    pub(super) fn boot(&self, host: HostId, peer: PeerId) -> Option<Process> {
        self.with(|state| {
            let this = &mut state.hosts[host.0];
            if this.port.as_ref().is_some_and(|port| port.closed.is_none()) {
                return None;
            }
            this.boots += 1;
            this.clock.start(state.now);
            this.port = Some(Port::default());
            let process = Process { host, boot: this.boots };
            state.net.set_peer(host, peer);
            state.net.start(process);
            state.trace.note(state.now, format_args!("{host} starts, boot {}", process.boot));
            Some(process)
        })
    }

    /// A node starts on a host that was just added.
    pub(super) fn boot_any(&self, host: HostId) -> Process {
        let peer = self.with(|state| {
            state.hosts[host.0].alive = true;
            state.hosts[host.0].key.public()
        });
        self.boot(host, peer).expect("nothing runs on a new host")
    }

    /// Hands a task to the executor. A task of what has died is dropped.
    pub(super) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        let name = std::any::type_name_of_val(&task);
        let spawned = Spawned { owner, name, task: Box::pin(task) };
        let refused = self.with(|state| {
            if state.owns(owner) {
                state.spawned.push_back(spawned);
                None
            } else {
                Some(spawned)
            }
        });
        drop(refused);
    }

    pub(super) fn now(&self) -> Instant {
        self.lock().now
    }

    /// Both clocks of a host.
    pub(super) fn read_clock(&self, host: HostId) -> Now {
        let state = self.lock();
        state.hosts[host.0].clock.read(state.now)
    }
}

impl State {
    /// True if tasks of this owner may start.
    fn owns(&self, owner: Owner) -> bool {
        match owner {
            Owner::World => true,
            Owner::Host(host) => self.hosts[host.0].alive,
            // Also when its transport is closed: the last words are a task.
            Owner::Node(process) => self.hosts[process.host.0].boots == process.boot,
        }
    }

    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.trace.note(self.now, format_args!("{failure}"));
        let now = self.now;
        self.failure.get_or_insert_with(|| match failure {
            Failure::Safety(what) => Failure::Safety(format!("at {now:?}: {what}")),
            other => other,
        });
    }

    /// The port of a process, if it still runs.
    pub(super) fn port(&mut self, process: Process) -> Option<&mut Port> {
        let host = self.hosts.get_mut(process.host.0)?;
        host.port.as_mut().filter(|_| host.boots == process.boot)
    }

    /// Takes what the network has to say.
    fn absorb(&mut self) {
        loop {
            self.net.flush(self.now);
            let effects = self.net.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::At(at, packet) => self.queue.push(at, Due::Packet(packet)),
                    Effect::Tell(process, event) => {
                        if let Some(port) = self.port(process) {
                            let (wakes, close) = port.tell(event);
                            let unread = std::mem::take(&mut port.unread);
                            self.wakes.extend(wakes);
                            for (channel, bytes) in unread {
                                self.net.credit(self.now, process.host, channel, bytes);
                            }
                            if let Some((link, code)) = close {
                                self.net.close_link(self.now, process.host, link, code);
                            }
                        }
                    }
                    Effect::Stopped(process, channel, code) => {
                        let wake = self.port(process).and_then(|port| port.stopped(channel, code));
                        self.wakes.extend(wake);
                    }
                }
            }
        }
    }

    /// Everything of a host's node that is outside of tasks ends without a word.
    pub(super) fn unplug(&mut self, host: HostId) {
        self.net.die(self.now, host);
        if let Some(port) = self.hosts[host.0].port.take() {
            self.wakes.extend(port.into_wakers());
        }
    }

    /// Fires what is due at the head of the queue, if that is a timer.
    pub(super) fn fire(&mut self, timer: u64) {
        let now = self.now;
        if let Some(state) = self.timers.get_mut(&timer)
            && state.at.is_some_and(|at| at <= now)
        {
            self.wakes.extend(state.waker.take());
        }
    }
}

/// How long after its network's end a driver may have tasks.
pub(super) const SWEEP: Duration = Duration::from_secs(2);
