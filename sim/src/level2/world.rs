//! The world: an executor whose scheduler is the seed, and time that moves when nobody can run.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    task::Context,
    time::Duration,
};

use mosaik_proto::{Digest, rng::Rng, time::Instant};

use super::{
    Options,
    host::Host,
    kernel::{Due, Kernel, Owner, SWEEP, Task},
    ready::{Ready, TaskId, Wakeup},
};
use crate::{
    checkers::order::Counts,
    net::{HostId, Process},
    verdict::Failure,
    world::Fault,
};

/// Polls at one moment before the world counts as stuck.
const POLLS_AT_ONCE: u64 = 2_000_000;

struct Running {
    owner: Owner,
    name: &'static str,
    task: Task,
    wakeup: Wakeup,
    /// The program itself: when it returns, the process of the host exits.
    main: bool,
}

type Program = Box<dyn Fn(Host) -> Task>;

/// A seeded world in which real nodes run: their event loops, pumps and handles, in virtual time.
pub struct World {
    seed: u64,
    kernel: Kernel,
    ready: Ready,
    tasks: BTreeMap<TaskId, Running>,
    /// Ready tasks of hosts that are frozen.
    frozen: Vec<(HostId, TaskId)>,
    programs: BTreeMap<HostId, Program>,
    scheduler: Rng,
    next: u64,
    polls: u64,
    polls_at_once: u64,
}

impl World {
    /// An empty world with a local network and without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_options(seed, Options::default())
    }

    /// An empty world.
    #[must_use]
    pub fn with_options(seed: u64, options: Options) -> Self {
        let kernel = Kernel::new(seed, options);
        let scheduler = kernel.with(|state| state.rng.fork("scheduler"));
        Self {
            seed,
            kernel,
            ready: Ready::default(),
            tasks: BTreeMap::new(),
            frozen: Vec::new(),
            programs: BTreeMap::new(),
            scheduler,
            next: 0,
            polls: 0,
            polls_at_once: 0,
        }
    }

    // --- hosts -----------------------------------------------------------------------------

    /// Adds a host on which this program runs, now and after every restart. When the program
    /// returns, its process exits: whatever else it started ends without a word.
    pub fn spawn_node<F>(&mut self, name: &str, program: impl Fn(Host) -> F + 'static) -> HostId
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let host = self.kernel.add_host(name);
        self.programs.insert(host, Box::new(move |host| Box::pin(program(host))));
        self.start(host);
        host
    }

    /// A host, as its program sees it.
    #[must_use]
    pub fn host(&self, host: HostId) -> Host {
        Host { kernel: self.kernel.clone(), id: host }
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.kernel.clone()
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.kernel.with(|state| state.hosts.len())).map(HostId)
    }

    /// True if the program of a host runs.
    #[must_use]
    pub fn is_running(&self, host: HostId) -> bool {
        self.kernel.with(|state| state.hosts[host.0].alive)
    }

    fn start(&mut self, id: HostId) {
        let Some(program) = self.programs.get(&id) else { return };
        let fresh = self.kernel.with(|state| {
            let host = &mut state.hosts[id.0];
            if host.alive {
                // Whoever is about to end starts again then.
                host.again = host.leaving;
                return false;
            }
            (host.alive, host.leaving, host.again) = (true, false, false);
            true
        });
        if fresh {
            let host = self.host(id);
            let task = Host::enter(Some(host.clone()), || program(host));
            self.insert(Owner::Host(id), "program", task, true);
        }
    }

    /// The process of a host ends without a word.
    fn crash(&mut self, id: HostId) {
        self.kernel.with(|state| {
            let host = &mut state.hosts[id.0];
            host.alive = false;
            let process = Process { host: id, boot: host.boots };
            // What is left of it can neither spawn nor send.
            host.boots += 1;
            state.unplug(id);
            state.checkers.ended(process);
        });
        let ended = |task: &mut Running| task.owner.host() == Some(id);
        let doomed: Vec<_> = self
            .tasks
            .iter_mut()
            .filter_map(|(number, task)| ended(task).then_some(*number))
            .collect();
        for number in doomed {
            let task = self.tasks.remove(&number);
            Host::enter(None, || drop(task));
        }
    }

    // --- faults ----------------------------------------------------------------------------

    /// Does something to the world, now.
    pub fn inject(&mut self, fault: Fault) {
        self.kernel.with(|state| state.trace.note(state.now, format_args!("{fault:?}")));
        match fault {
            Fault::Crash(host) => self.crash(host),
            Fault::Start(host) => self.start(host),
            Fault::EarlyTimeout(host) => self.wake_all(host),
            Fault::Calm => self.calm(),
            other => self.kernel.with(|state| state.inject(other)),
        }
    }

    /// Does something to the world, later.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.kernel.with(|state| state.queue.push(at.max(state.now), Due::Fault(fault)));
    }

    /// Wakes every task of a host for nothing.
    fn wake_all(&self, host: HostId) {
        let of_host = self.tasks.values().filter(|task| task.owner.host() == Some(host));
        of_host.for_each(|task| task.wakeup.ring());
    }

    fn calm(&mut self) {
        self.kernel.with(super::kernel::State::calm);
        self.thaw();
        self.hosts().for_each(|host| self.start(host));
    }

    // --- running ---------------------------------------------------------------------------

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.kernel.now()
    }

    /// Runs until the world's time is `until`.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Failure> {
        while self.step(until)? {}
        self.kernel.with(|state| state.now = state.now.max(until));
        Ok(())
    }

    /// Runs for this long.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until(self.now() + time)
    }

    /// Runs until `holds`, looking every 10 ms, or fails at `limit`.
    ///
    /// # Errors
    /// What a checker found; [`Failure::Liveness`] with the last complaint at the limit.
    pub fn run_until_holds(
        &mut self,
        limit: Instant,
        mut holds: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<Instant, Failure> {
        loop {
            match holds(self) {
                Ok(()) => return Ok(self.now()),
                Err(what) if self.now() >= limit => {
                    return Err(Failure::Liveness(format!("by {limit:?}: {what}")));
                }
                Err(_) => self.run_for(Duration::from_millis(10))?,
            }
        }
    }

    /// Runs until a future of the world itself is ready, or `limit` passes.
    ///
    /// # Errors
    /// What a checker found; [`Failure::Liveness`] at the limit.
    pub fn block_on<T: Send + 'static>(
        &mut self,
        limit: Instant,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        self.insert(
            Owner::World,
            "block_on",
            Box::pin(async move {
                let value = future.await;
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }),
            false,
        );
        loop {
            if let Some(value) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(value);
            }
            if !self.step(limit)? {
                return Err(Failure::Liveness(format!("by {limit:?}: nothing came of it")));
            }
        }
    }

    /// Polls one task that is ready, or moves to the next moment. False if there is nothing to do
    /// before `until` has passed.
    fn step(&mut self, until: Instant) -> Result<bool, Failure> {
        self.result()?;
        self.adopt();
        let scheduler = &mut self.scheduler;
        if let Some(id) = self.ready.take(|count| scheduler.below(count as u64) as usize) {
            self.poll(id);
            return Ok(true);
        }
        let due = self.kernel.with(|state| {
            let at = state.queue.next_at().filter(|at| *at <= until)?;
            state.now = state.now.max(at);
            state.queue.pop().map(|(_, due)| due)
        });
        let Some(due) = due else { return Ok(false) };
        self.polls_at_once = 0;
        match due {
            Due::Packet(packet) => self.kernel.with(|state| state.net.arrive(state.now, packet)),
            Due::Timer(timer) => self.kernel.with(|state| state.fire(timer)),
            Due::Thaw => self.thaw(),
            Due::Fault(fault) => self.inject(fault),
            Due::Swept(process) => self.swept(process),
        }
        Ok(true)
    }

    fn poll(&mut self, id: TaskId) {
        let Some(mut running) = self.tasks.remove(&id) else { return };
        if let Some(host) = running.owner.host()
            && self.kernel.with(|state| state.hosts[host.0].frozen_until > state.now)
        {
            self.frozen.push((host, id));
            self.tasks.insert(id, running);
            return;
        }
        self.polls += 1;
        self.polls_at_once += 1;
        self.kernel.with(|state| state.trace.bytes(&id.0.to_le_bytes()));
        running.wakeup.answer();
        let waker = running.wakeup.waker();
        let host = running.owner.host().map(|host| self.host(host));
        let seed = Blame(self.seed, running.name);
        let done = Host::enter(host, || {
            running.task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        });
        std::mem::forget(seed);
        if self.polls_at_once > POLLS_AT_ONCE {
            let what = format!("the world does not get past {:?}: {}", self.now(), running.name);
            self.kernel.with(|state| state.fail(Failure::Safety(what)));
        }
        match (done, running.owner) {
            (false, _) => drop(self.tasks.insert(id, running)),
            (true, Owner::Host(host)) if running.main => {
                drop(running);
                self.kernel.with(|state| state.trace.note(state.now, format_args!("{host} exits")));
                self.crash(host);
                if self.kernel.with(|state| state.hosts[host.0].again) {
                    self.start(host);
                }
            }
            (true, _) => {}
        }
    }

    /// Takes what was spawned.
    fn adopt(&mut self) {
        let spawned = self.kernel.with(|state| std::mem::take(&mut state.spawned));
        for spawned in spawned {
            self.insert(spawned.owner, spawned.name, spawned.task, false);
        }
    }

    fn insert(&mut self, owner: Owner, name: &'static str, task: Task, main: bool) {
        self.next += 1;
        let id = TaskId(self.next);
        let wakeup = self.ready.waker(id);
        wakeup.ring();
        self.tasks.insert(id, Running { owner, name, task, wakeup, main });
    }

    fn thaw(&mut self) {
        let (kernel, tasks) = (&self.kernel, &self.tasks);
        self.frozen.retain(|(host, id)| {
            let frozen = kernel.with(|state| state.hosts[host.0].frozen_until > state.now);
            if !frozen && let Some(task) = tasks.get(id) {
                // It was taken from the queue without an answer.
                task.wakeup.answer();
                task.wakeup.ring();
            }
            frozen
        });
    }

    /// A task of a network that ended [`SWEEP`] ago is a leak.
    fn swept(&mut self, process: Process) {
        let thawed = self.kernel.with(|state| state.hosts[process.host.0].frozen_until + SWEEP);
        if thawed > self.now() && thawed > Instant::ZERO + SWEEP {
            return self.kernel.with(|state| state.queue.push(thawed, Due::Swept(process)));
        }
        let of_node = |task: &&Running| task.owner == Owner::Node(process);
        let left: Vec<_> = self.tasks.values().filter(of_node).map(|task| task.name).collect();
        if !left.is_empty() {
            let what = format!("{process:?}: tasks outlive their network: {left:?}");
            self.kernel.with(|state| state.fail(Failure::Safety(what)));
        }
    }

    // --- verdicts --------------------------------------------------------------------------

    fn result(&self) -> Result<(), Failure> {
        self.kernel.with(|state| state.failure.clone().map_or(Ok(()), Err))
    }

    /// The hash over everything that happened so far: events and actions of all nodes, packets, and
    /// in which order which tasks ran.
    #[must_use]
    pub fn trace_hash(&self) -> Digest {
        self.kernel.with(|state| state.trace.hash())
    }

    /// Lines of the trace so far.
    #[must_use]
    pub fn trace_lines(&self) -> u64 {
        self.kernel.with(|state| state.trace.lines())
    }

    /// Polls of tasks so far.
    #[must_use]
    pub const fn polls(&self) -> u64 {
        self.polls
    }

    /// The tasks that the driver of a host's node has now.
    #[must_use]
    pub fn tasks(&self, host: HostId) -> usize {
        let of_node = |task: &&Running| matches!(task.owner, Owner::Node(at) if at.host == host);
        self.tasks.values().filter(of_node).count()
    }

    /// What the checker of the order of items has seen ([`Options::stamped`]).
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.kernel.with(|state| state.checkers.order.counts())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold handles of the kernel and may use them as they go.
        let tasks = std::mem::take(&mut self.tasks);
        Host::enter(None, || drop(tasks));
        let spawned = self.kernel.with(|state| std::mem::take(&mut state.spawned));
        drop(spawned);
    }
}

/// Says which world it was, if a task panics.
struct Blame(u64, &'static str);

impl Drop for Blame {
    fn drop(&mut self) {
        eprintln!("in the world of seed {}, in {}", self.0, self.1);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(seed {}, at {:?}, {} polls)", self.seed, self.now(), self.polls)
    }
}
