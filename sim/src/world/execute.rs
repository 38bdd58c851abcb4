//! Actions: what a driver and its services would do.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use mosaik_proto::{
    NetworkId,
    discovery::Change,
    ids::RequestId,
    node::{Action, Event},
    streams,
    wire::CloseCode,
};

use super::{Task, World};
use crate::{
    disk::Disk,
    net::{HostId, Process},
};

/// How long an address book takes to answer.
const BOOK_DELAY: Duration = Duration::from_millis(50);

/// The address book that all hosts share: who is listed under which network. Who dies without a
/// word stays listed.
#[derive(Debug, Default)]
pub(super) struct Book {
    listed: BTreeMap<NetworkId, BTreeSet<HostId>>,
}

impl World {
    /// Does what a node asks for.
    pub(super) fn execute(&mut self, process: Process, action: Action) {
        let host = process.host;
        match action {
            Action::Dial { peer, mut addrs } => {
                // Every node publishes its address under its id from its start on.
                let known = self.host_of(peer).filter(|host| host.boots > 0);
                addrs.extend(known.map(|host| host.addr));
                self.net.dial(self.now, process, peer, &addrs);
            }
            Action::OpenChannel { link, channel, .. } => self.net.open_channel(host, link, channel),
            Action::Write { channel, head, body } => self.net.write(host, channel, head, body),
            Action::CloseChannel { channel, code } => {
                self.net.close_channel(self.now, host, channel, code);
            }
            Action::CloseLink { link, code } => self.net.close_link(self.now, host, link, code),
            Action::Raise { above } => {
                let wall = self.hosts[host.0].clock.read(self.now).wall;
                // Behind the farewell nothing is signed any more.
                let running = self.running(process).filter(|running| !running.leaving);
                let Some(running) = running else { return };
                running.entry.raise(wall, above);
                let entry = running.entry.signed().clone();
                self.queue.push(self.now, Task::Feed(process, Event::LocalEntry(entry)));
            }
            Action::Seek => self.seek(process),
            Action::Stopped => self.stopped(process),
            Action::Group { group, output } => self.execute_group(process, group, output),
            other => self.tell_application(process, other),
        }
    }

    fn tell_application(&mut self, process: Process, action: Action) {
        let now = self.now;
        let Some(running) = self.running(process) else { return };
        match action {
            Action::Reply { request, result } => {
                let before = running.replies.insert(request, result);
                let twice = |_| format!("{process:?}: {request:?} is answered twice");
                self.check(before.map_or(Ok(()), |before| Err(twice(before))));
            }
            Action::Deliver(delivery) => {
                let consumer = delivery.consumer;
                let Some(app) = running.consumers.get_mut(&consumer) else { return };
                app.deliver(&delivery);
                if !mem::replace(&mut app.ticking, true) {
                    let at = (now + app.spec.every).max(app.paused_until);
                    self.queue.push(at, Task::Consume(process, consumer));
                }
            }
            Action::Window { producer, items, bytes } => {
                if let Some(app) = running.producers.get_mut(&producer) {
                    app.open(items, bytes);
                }
            }
            Action::Catalog(Change::Entry { entry, .. }) => {
                running.view.insert(entry.id(), entry.update_version());
            }
            Action::Catalog(Change::Gone { peer, .. }) => {
                running.view.remove(&peer);
            }
            Action::Streams(streams::Change::Channel {
                owner, subscription, peer, state, ..
            }) => {
                running.subscriptions.insert((owner, subscription), (peer.id(), state));
            }
            Action::Streams(streams::Change::ChannelGone { owner, subscription, .. }) => {
                running.subscriptions.remove(&(owner, subscription));
            }
            _ => {}
        }
    }

    /// Lists a host and tells it, and those who asked before, of each other.
    fn seek(&mut self, process: Process) {
        let network = self.hosts[process.host.0].spec.network;
        let listed = self.book.listed.entry(network).or_default();
        listed.insert(process.host);
        let others: Vec<_> = listed.iter().filter(|host| **host != process.host).copied().collect();
        let found = others.iter().map(|host| self.hosts[host.0].address()).collect();
        let at = self.now + BOOK_DELAY;
        self.queue.push(at, Task::Feed(process, Event::Found(found)));
        let address = self.hosts[process.host.0].address();
        for other in others {
            let process = self.hosts[other.0].process();
            self.queue.push(at, Task::Feed(process, Event::Found(vec![address.clone()])));
        }
    }

    /// A node has ended in good order: its driver closes what is left and drops it.
    fn stopped(&mut self, process: Process) {
        let host = &mut self.hosts[process.host.0];
        let network = host.spec.network;
        host.running = None;
        host.disks.values_mut().filter(|disk| disk.is_open()).for_each(Disk::close);
        if let Some(listed) = self.book.listed.get_mut(&network) {
            listed.remove(&process.host);
        }
        for link in self.net.links_of(process.host) {
            let code = CloseCode::GRACEFUL_SHUTDOWN;
            self.net.close_link(self.now, process.host, link, code);
        }
        self.net.die(self.now, process.host);
        self.checkers.ended(process);
        self.trace.note(self.now, format_args!("{} has stopped", process.host));
    }

    /// Asks the discovery of a host for something. The reply can be read with
    /// [`reply`](Self::reply).
    pub fn command(
        &mut self,
        host: HostId,
        command: mosaik_proto::discovery::Command,
    ) -> RequestId {
        let this = &mut self.hosts[host.0];
        let request = RequestId(this.next_handle());
        let process = this.process();
        self.feed(process, Event::Discovery { request, command });
        request
    }
}
