//! Hosts that break the protocol on purpose, in place of a node.

use mosaik_proto::{node::Event, time::Instant};

use super::{Task, World};
use crate::{
    host::NodeSpec,
    hostile::{Hostile, HostileSpec},
    net::{HostId, Process},
};

impl World {
    /// Adds a hostile host. Checkers about what everybody must see leave it out; from now on honest
    /// nodes may complain of their peers.
    pub fn add_hostile(&mut self, spec: HostileSpec) -> HostId {
        let start = (Instant::ZERO + spec.start).max(self.now);
        let id = self.add_node(NodeSpec::new(spec.network));
        let targets = spec.targets.iter().map(|host| self.hosts[host.0].address()).collect();
        let rng = self.rng.fork(&format!("hostile {id}"));
        let host = &mut self.hosts[id.0];
        host.boots = 1;
        host.clock.start(self.now);
        let (process, address) = (host.process(), host.address());
        let wall = host.clock.read(start).wall;
        host.hostile = Some(Hostile::new(spec, host.key.clone(), address, targets, rng, wall));
        self.checkers.hostile = true;
        self.net.start(process);
        self.queue.push(start, Task::Hostile(process));
        id
    }

    /// It is time for a hostile host to do something.
    pub(super) fn on_hostile(&mut self, process: Process) {
        let host = &mut self.hosts[process.host.0];
        let Some(hostile) = &mut host.hostile else { return };
        hostile.tick(host.clock.read(self.now).wall);
        self.queue.push(self.now + hostile.spec.every, Task::Hostile(process));
        self.let_loose(process);
    }

    pub(super) fn feed_hostile(&mut self, process: Process, event: Event) {
        self.trace.event(self.now, process.host, &event);
        if let Some(hostile) = &mut self.hosts[process.host.0].hostile {
            hostile.handle(event);
        }
        self.let_loose(process);
    }

    fn let_loose(&mut self, process: Process) {
        let Some(hostile) = &mut self.hosts[process.host.0].hostile else { return };
        let signed = std::mem::take(&mut hostile.signed);
        let actions = hostile.take();
        signed.iter().for_each(|entry| self.checkers.versions.signed(entry));
        for action in actions {
            self.trace.action(self.now, process.host, &action);
            self.execute(process, action);
        }
        self.net.flush(self.now);
        self.absorb();
    }

    /// True if a host runs a node, or would.
    pub(super) fn is_honest(&self, host: HostId) -> bool {
        self.hosts[host.0].hostile.is_none()
    }
}
