//! The world: a queue of what will happen, and the hosts to which it happens.

mod execute;
mod faults;
mod groups;
mod hostile;
mod process;
mod views;

use std::{collections::BTreeMap, fmt, mem, net::SocketAddr, time::Duration};

use mosaik_proto::{
    Outbox, PeerId,
    core::Core as _,
    crypto::SecretKey,
    discovery::Draft,
    ids::{ConsumerId, GroupId, ProducerId, StreamId},
    node::{Action, Event},
    rng::Rng,
    time::Instant,
};

use self::execute::Book;
pub use self::faults::{DiskFault, Fault};
pub use self::groups::Answer;
use crate::{
    checkers::Checkers,
    host::{ConsumerSpec, Host, NodeSpec, ProducerSpec, Running},
    net::{self, Effect, HostId, Net, Packet, Process},
    queue::Queue,
    trace::Trace,
    verdict::Failure,
};

/// Steps at one moment before the world counts as stuck.
const STEPS_AT_ONCE: u64 = 2_000_000;

/// Steps within one second of the world before it counts as flooded.
const STEPS_PER_SECOND: u64 = 3_000_000;

/// How a world behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its network.
    pub net: net::Options,
    /// Print every line of the trace to stderr.
    pub trace: bool,
}

/// What will happen.
#[derive(Debug)]
enum Task {
    Packet(Packet),
    Feed(Process, Event),
    Start(HostId),
    Timer(Process, u64),
    Thaw(Process),
    Produce(Process, ProducerId),
    Consume(Process, ConsumerId),
    Disk(Process, GroupId),
    Machine(Process, GroupId),
    Clients(Process, GroupId),
    Hostile(Process),
    Fault(Fault),
}

/// What is done once enough messages have gone along a path.
#[derive(Debug)]
struct Trap {
    path: (HostId, HostId),
    left: u64,
    faults: Vec<(Duration, Fault)>,
}

/// A seeded world of nodes.
pub struct World {
    now: Instant,
    rng: Rng,
    queue: Queue<Task>,
    hosts: Vec<Host>,
    net: Net,
    book: Book,
    trace: Trace,
    checkers: Checkers,
    out: Outbox<Action>,
    traps: Vec<Trap>,
    failure: Option<Failure>,
    /// The last value that a client of a group wrote, or the last name of a command.
    values: u64,
    /// What was heard by those who asked groups by hand.
    answers: BTreeMap<u64, Answer>,
    steps: u64,
    steps_at_once: u64,
    /// The present second of the world, and the steps in it.
    second: (u64, u64),
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, options: Options) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let rng = Rng::new(bytes);
        Self {
            now: Instant::ZERO,
            queue: Queue::new(),
            hosts: Vec::new(),
            net: Net::new(&rng.fork("net"), options.net),
            book: Book::default(),
            trace: Trace::new(options.trace),
            checkers: Checkers::default(),
            out: Outbox::new(),
            traps: Vec::new(),
            failure: None,
            values: 0,
            answers: BTreeMap::new(),
            steps: 0,
            steps_at_once: 0,
            second: (0, 0),
            rng,
        }
    }

    /// Adds a host; its process starts when the specification says.
    pub fn add_node(&mut self, spec: NodeSpec) -> HostId {
        let number = self.hosts.len();
        let key = SecretKey::from(self.rng.fork(&format!("key {number}")).bytes());
        let [_, b, c, d] = (number as u32 + 1).to_be_bytes();
        let addr = SocketAddr::from(([10, b, c, d], 4433));
        let id = self.net.add_host(key.public(), addr);
        let start = Instant::ZERO + spec.start;
        self.hosts.push(Host::new(id, key, addr, spec));
        self.queue.push(start.max(self.now), Task::Start(id));
        id
    }

    /// Gives a host a producer, now and after every restart.
    pub fn add_producer(&mut self, host: HostId, spec: ProducerSpec) {
        self.hosts[host.0].producers.push(spec.clone());
        if self.hosts[host.0].running.is_some() {
            self.open_producer(host, spec);
        }
    }

    /// Gives a host a consumer, now and after every restart.
    pub fn add_consumer(&mut self, host: HostId, spec: ConsumerSpec) {
        self.hosts[host.0].consumers.push(spec.clone());
        if self.hosts[host.0].running.is_some() {
            self.open_consumer(host, spec);
        }
    }

    /// Every producer makes this many items more.
    pub fn top_up(&mut self, items: u64) {
        self.top_up_where(items, |_, _| true);
    }

    /// The producers of one stream on one host make this many items more.
    pub fn offer(&mut self, host: HostId, stream: StreamId, items: u64) {
        self.top_up_where(items, |at, of| at == host && of == stream);
    }

    fn top_up_where(&mut self, items: u64, which: impl Fn(HostId, StreamId) -> bool) {
        for host in &mut self.hosts {
            let process = host.process();
            let Some(running) = &mut host.running else { continue };
            let id = host.id;
            let all = running.producers.iter_mut().filter(|(_, app)| which(id, app.spec.stream));
            for (producer, app) in all {
                if app.is_done() {
                    self.queue.push(self.now, Task::Produce(process, *producer));
                }
                app.top_up(items);
            }
        }
    }

    /// Counts items missed between two subscriptions as failures too.
    pub const fn be_strict(&mut self) {
        self.checkers.order.strict = true;
    }

    /// Schedules a fault.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.queue.push(at.max(self.now), Task::Fault(fault));
    }

    /// Does `faults`, each after its delay, as soon as the `count`-th message from now on has
    /// arrived along a path. A message is what travels as one: what one step wrote to a channel.
    pub fn after_messages(
        &mut self,
        path: (HostId, HostId),
        count: u64,
        faults: Vec<(Duration, Fault)>,
    ) {
        self.traps.push(Trap { path, left: count.max(1), faults });
    }

    /// True if every trap of [`after_messages`](Self::after_messages) was sprung.
    #[must_use]
    pub const fn is_sprung(&self) -> bool {
        self.traps.is_empty()
    }

    fn spring(&mut self, path: Option<(HostId, HostId)>) {
        for trap in self.traps.iter_mut().filter(|trap| Some(trap.path) == path) {
            trap.left -= 1;
        }
        while let Some(at) = self.traps.iter().position(|trap| trap.left == 0) {
            for (delay, fault) in self.traps.remove(at).faults {
                self.queue.push(self.now + delay, Task::Fault(fault));
            }
        }
    }

    /// Does the next thing. `Ok(false)` if there is none.
    ///
    /// # Errors
    /// What a checker found, now or before.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.result()?;
        let Some((at, task)) = self.queue.pop() else { return Ok(false) };
        self.steps += 1;
        self.steps_at_once = if at > self.now { 0 } else { self.steps_at_once + 1 };
        if self.steps_at_once > STEPS_AT_ONCE {
            self.fail(Failure::safety(format_args!("the world does not get past {at:?}")));
        }
        self.now = self.now.max(at);
        let second = self.now.since(Instant::ZERO).as_secs();
        self.second =
            if second == self.second.0 { (second, self.second.1 + 1) } else { (second, 0) };
        if self.second.1 > STEPS_PER_SECOND {
            self.fail(Failure::safety(format_args!("a flood: {STEPS_PER_SECOND} steps a second")));
        }
        match task {
            Task::Packet(packet) => {
                let path = self.net.path_of(&packet);
                self.net.arrive(self.now, packet);
                self.absorb();
                self.spring(path);
            }
            Task::Feed(process, event) => self.feed(process, event),
            Task::Start(host) => self.start(host),
            Task::Timer(process, timer) => self.on_timer(process, timer),
            Task::Thaw(process) => self.on_thaw(process),
            Task::Produce(process, producer) => self.on_produce(process, producer),
            Task::Consume(process, consumer) => self.on_consume(process, consumer),
            Task::Disk(process, group) => self.on_disk(process, group),
            Task::Machine(process, group) => self.on_machine(process, group),
            Task::Clients(process, group) => self.on_clients(process, group),
            Task::Hostile(process) => self.on_hostile(process),
            Task::Fault(fault) => self.inject(fault),
        }
        self.result().map(|()| true)
    }

    /// Runs until the world's time is `until`.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Failure> {
        while self.queue.next_at().is_some_and(|at| at <= until) {
            self.step()?;
        }
        self.now = self.now.max(until);
        self.result()
    }

    /// Runs for this long.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until(self.now + time)
    }

    /// Runs until `holds`, looking every 10 ms, or fails at `limit`.
    ///
    /// # Errors
    /// What a checker found; [`Failure::Liveness`] with the last complaint at the limit.
    pub fn run_until_holds(
        &mut self,
        limit: Instant,
        holds: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<Instant, Failure> {
        self.poll(Duration::from_millis(10), limit, holds)
    }

    fn poll(
        &mut self,
        every: Duration,
        limit: Instant,
        mut holds: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<Instant, Failure> {
        loop {
            match holds(self) {
                Ok(()) => return Ok(self.now),
                Err(what) if self.now >= limit => {
                    return Err(Failure::Liveness(format!("by {limit:?}: {what}")));
                }
                Err(_) => self.run_for(every)?,
            }
        }
    }

    /// Changes what a host says of itself.
    ///
    /// # Panics
    /// If the entry becomes too large.
    pub fn edit(&mut self, host: HostId, edit: impl FnOnce(&mut Draft<'_>)) {
        let this = &mut self.hosts[host.0];
        let wall = this.clock.read(self.now).wall;
        let process = this.process();
        let Some(running) = &mut this.running else { return };
        match running.entry.edit(wall, edit) {
            Ok(true) => {
                let entry = running.entry.signed().clone();
                self.queue.push(self.now, Task::Feed(process, Event::LocalEntry(entry)));
            }
            Ok(false) => {}
            Err(error) => panic!("the edit of {host} is within the limits: {error}"),
        }
    }

    /// Gives an event to a process and does what it asks for.
    fn feed(&mut self, process: Process, event: Event) {
        let host = &mut self.hosts[process.host.0];
        if host.boots != process.boot {
            return;
        }
        if host.hostile.is_some() {
            return self.feed_hostile(process, event);
        }
        let Some(running) = &mut host.running else { return };
        if running.frozen_until > self.now {
            return running.inbox.push(event);
        }
        self.trace.event(self.now, process.host, &event);
        let checked = self.checkers.event(process, &event);
        let mut out = mem::take(&mut self.out);
        running.node.handle(host.clock.read(self.now), event, &mut out);
        self.check(checked);
        self.checkers.groups.step(process, out.iter());
        for action in out.drain() {
            self.trace.action(self.now, process.host, &action);
            let checked = self.checkers.action(self.now, process, &action);
            self.check(checked);
            self.execute(process, action);
            if self.running(process).is_none() {
                // It died in the middle of the step.
                break;
            }
        }
        self.out = out;
        self.arm(process);
        self.net.flush(self.now);
        self.absorb();
    }

    /// Arms the timer of a process anew if its deadline has moved.
    fn arm(&mut self, process: Process) {
        let host = &mut self.hosts[process.host.0];
        let Some(running) = &mut host.running else { return };
        let deadline = running.node.deadline();
        if deadline == running.armed {
            return;
        }
        running.armed = deadline;
        running.timer += 1;
        if let Some(deadline) = deadline {
            let at = host.clock.world_time(deadline).max(self.now);
            self.queue.push(at, Task::Timer(process, running.timer));
        }
    }

    /// Takes what the network has to say.
    fn absorb(&mut self) {
        for effect in self.net.take_effects() {
            match effect {
                Effect::At(at, packet) => self.queue.push(at, Task::Packet(packet)),
                Effect::Tell(process, event) => {
                    self.queue.push(self.now, Task::Feed(process, event));
                }
                // Channels end as a whole here.
                Effect::Stopped(..) => {}
            }
        }
    }

    fn running(&mut self, process: Process) -> Option<&mut Running> {
        let host = &mut self.hosts[process.host.0];
        if host.boots == process.boot { host.running.as_mut() } else { None }
    }

    fn check(&mut self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.fail(Failure::Safety(what));
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.trace.note(self.now, format_args!("{failure}"));
        let now = self.now;
        self.failure.get_or_insert_with(|| match failure {
            Failure::Safety(what) => Failure::Safety(format!("at {now:?}: {what}")),
            other => other,
        });
    }

    fn result(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn host_of(&self, peer: PeerId) -> Option<&Host> {
        self.hosts.iter().find(|host| host.peer == peer)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(at {:?}, {} hosts, {} steps)", self.now, self.hosts.len(), self.steps)
    }
}
