//! Processes: starting, opening producers and consumers, timers, and what applications do.

use std::mem;

use mosaik_proto::{
    core::Core as _,
    ids::{ConsumerId, ProducerId},
    node::{self, Event, Node},
};

use super::{Task, World};
use crate::{
    checkers::short,
    host::{ConsumerApp, ConsumerSpec, ProducerApp, ProducerSpec, Running},
    net::{HostId, Process},
    verdict::Failure,
};

/// Timeouts in a row at one moment before a deadline counts as stuck.
const SPINS: u32 = 100;

impl World {
    /// A process starts on a host.
    pub(crate) fn start(&mut self, id: HostId) {
        if self.hosts[id.0].running.is_some() || self.hosts[id.0].hostile.is_some() {
            return;
        }
        let bootstrap: Vec<_> = self.hosts[id.0].spec.bootstrap.clone();
        let bootstrap =
            bootstrap.iter().map(|host| self.hosts[host.0].address()).collect::<Vec<_>>();
        let host = &mut self.hosts[id.0];
        host.boots += 1;
        host.clock.start(self.now);
        let process = host.process();
        let entry = host.first_entry(self.now);
        let mut discovery = host.spec.discovery.clone();
        discovery.bootstrap.extend(bootstrap);
        let config = node::Config { discovery };
        let seed = self.rng.fork(&format!("node {id} {}", process.boot)).bytes();
        let now = host.clock.read(self.now);
        let node = Node::new(config, host.spec.network, host.peer, seed, now);
        let first = Event::LocalEntry(entry.signed().clone());
        host.running = Some(Running::new(node, entry));
        let (producers, consumers) = (host.producers.clone(), host.consumers.clone());
        self.net.start(process);
        self.trace.note(self.now, format_args!("{id} starts, boot {}", process.boot));
        self.feed(process, first);
        producers.into_iter().for_each(|spec| self.open_producer(id, spec));
        consumers.into_iter().for_each(|spec| self.open_consumer(id, spec));
        self.join_groups(id);
    }

    pub(super) fn open_producer(&mut self, id: HostId, spec: ProducerSpec) {
        let host = &mut self.hosts[id.0];
        let (process, peer) = (host.process(), short(&host.peer));
        let handle = host.next_handle();
        let producer = ProducerId(handle);
        let Some(running) = &mut host.running else { return };
        let rng = self.rng.fork(&format!("producer {id} {handle}"));
        let config = spec.config.clone();
        running.producers.insert(producer, ProducerApp::new(spec, peer, handle, rng));
        self.feed(process, Event::OpenProducer { producer, config });
        self.announce_streams(id);
        self.queue.push(self.now, Task::Produce(process, producer));
    }

    pub(super) fn open_consumer(&mut self, id: HostId, spec: ConsumerSpec) {
        let host = &mut self.hosts[id.0];
        let process = host.process();
        let consumer = ConsumerId(host.next_handle());
        let Some(running) = &mut host.running else { return };
        let config = spec.config.clone();
        running.consumers.insert(consumer, ConsumerApp::new(spec));
        self.feed(process, Event::OpenConsumer { consumer, config });
    }

    /// The last handles of a host's producers are dropped. What was offered is still owed.
    pub fn close_producers(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        host.producers.clear();
        let process = host.process();
        let Some(running) = &mut host.running else { return };
        let closed = mem::take(&mut running.producers);
        self.announce_streams(id);
        closed.into_keys().for_each(|producer| self.feed(process, Event::CloseProducer(producer)));
    }

    /// The handles of a host's consumers are dropped.
    pub fn close_consumers(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        host.consumers.clear();
        let process = host.process();
        let Some(running) = &mut host.running else { return };
        let closed = mem::take(&mut running.consumers);
        closed.into_keys().for_each(|consumer| self.feed(process, Event::CloseConsumer(consumer)));
    }

    fn announce_streams(&mut self, id: HostId) {
        let Some(running) = &self.hosts[id.0].running else { return };
        let streams = running.produced();
        self.edit(id, |draft| {
            draft.streams().clear();
            draft.streams().extend(streams);
        });
    }

    pub(super) fn on_timer(&mut self, process: Process, timer: u64) {
        let host = &mut self.hosts[process.host.0];
        if host.boots != process.boot {
            return;
        }
        let Some(running) = host.running.as_mut().filter(|running| running.timer == timer) else {
            return;
        };
        running.armed = None;
        if running.frozen_until > self.now {
            return;
        }
        running.spins = if running.spins.0 == self.now {
            (self.now, running.spins.1 + 1)
        } else {
            (self.now, 0)
        };
        if running.spins.1 > SPINS {
            let deadline = running.node.deadline();
            let what = format_args!("{process:?}: the deadline {deadline:?} does not move");
            let failure = Failure::safety(what);
            return self.fail(failure);
        }
        self.feed(process, Event::Timeout);
    }

    pub(super) fn on_thaw(&mut self, process: Process) {
        let host = &mut self.hosts[process.host.0];
        if host.boots != process.boot {
            return;
        }
        let Some(running) = &mut host.running else { return };
        if running.frozen_until > self.now {
            return;
        }
        let inbox = mem::take(&mut running.inbox);
        self.feed(process, Event::Timeout);
        inbox.into_iter().for_each(|event| self.feed(process, event));
    }

    pub(super) fn on_produce(&mut self, process: Process, producer: ProducerId) {
        let Some(app) = self.running(process).and_then(|r| r.producers.get_mut(&producer)) else {
            return;
        };
        let event = app.tick(producer);
        let (done, every) = (app.is_done(), app.spec.every);
        if let Some(event) = event {
            self.feed(process, event);
        }
        if !done {
            self.queue.push(self.now + every, Task::Produce(process, producer));
        }
    }

    pub(super) fn on_consume(&mut self, process: Process, consumer: ConsumerId) {
        let now = self.now;
        let Some(app) = self.running(process).and_then(|r| r.consumers.get_mut(&consumer)) else {
            return;
        };
        let next = (now + app.spec.every).max(app.paused_until);
        let events = if app.paused_until > now { Vec::new() } else { app.tick(consumer) };
        app.ticking = !app.is_idle();
        if app.ticking {
            self.queue.push(next, Task::Consume(process, consumer));
        }
        events.into_iter().for_each(|event| self.feed(process, event));
    }
}
