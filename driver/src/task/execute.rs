//! Actions to calls: the only place that takes a node's actions apart.

use std::sync::Arc;

use bytes::Bytes;
use mosaik_proto::{
    discovery::{self, Change as CatalogChange, News, Refused},
    ids::{ProducerId, StreamId, SubscriptionId},
    links,
    node::Action,
    streams::{self, Change, Owner},
    wire::CloseCode,
};

use super::{Channel, REPORT_EVERY, Task};
use crate::{
    discovery::Event, handle::channels::Channels, metrics::EntryRefusal, runtime::Runtime,
    transport::Transport,
};

impl<R: Runtime, T: Transport> Task<R, T> {
    /// Carries out everything that the last step asked for, in order.
    pub(super) fn execute(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        if out.iter().any(is_visible) {
            // What handles see changes before peers hear of it: a consumer that learns that it was
            // accepted is in the list already (STR-04).
            let (changes, others): (Vec<_>, Vec<_>) = out.drain().partition(is_visible);
            changes.into_iter().for_each(|action| self.execute_one(action));
            self.publish();
            others.into_iter().for_each(|action| self.execute_one(action));
        } else {
            out.drain().for_each(|action| self.execute_one(action));
        }
        self.out = out;
    }

    fn execute_one(&mut self, action: Action) {
        match action {
            Action::Write { channel, head, body } => {
                if let Some(channel) = self.channels.get(&channel) {
                    channel.write(head, body, &self.shared.inbox);
                }
            }
            Action::Deliver(delivery) => {
                if let Some(cell) = self.consumers.get(&delivery.consumer) {
                    cell.deliver(delivery);
                    self.report_at.get_or_insert(self.now.mono + REPORT_EVERY);
                }
            }
            Action::Window { producer, items, bytes } => {
                if let Some(cell) = self.producers.get(&producer) {
                    cell.open_window(items, bytes, &self.shared);
                }
            }
            // On the hot path: counts need not wait for the rest of the step.
            Action::Streams(change @ Change::Progress { .. }) => {
                if let Some(channels) = self.channels_of(owner(&change)) {
                    channels.progress(&change);
                }
            }
            Action::Undelivered { producer, items: _, data } => self.undelivered(producer, data),
            Action::Finished(producer) => self.finished(producer),
            Action::Streams(change) => {
                self.changes.entry(owner(&change)).or_default().push(change);
            }
            Action::Dial { peer, addrs } => self.dial(peer, addrs),
            Action::OpenChannel { link, channel, protocol: _ } => {
                if let Some(state) = self.links.get(&link) {
                    let slot = Arc::new(Channel::new(channel, link, true));
                    self.of_link.insert((link, channel));
                    self.channels.insert(channel, Arc::clone(&slot));
                    state.slot.open(slot);
                }
            }
            Action::CloseChannel { channel, code } => {
                if let Some(channel) = self.drop_channel(channel) {
                    channel.close(code);
                }
            }
            Action::CloseLink { link, code } => {
                if let Some(state) = self.links.get(&link) {
                    state.slot.close(code);
                }
                self.drop_link(link, code);
            }
            Action::Raise { above } => self.shared.raise(above),
            Action::Seek => self.seek(),
            Action::Stopped => self.stop(),
            Action::Reply { request, result } => self.shared.replies.answer(request, result),
            Action::Catalog(change) => self.on_catalog(&change),
            Action::Path { peer, rtt } => {
                self.shared.catalog.set_rtt(&peer, rtt);
                let path = self.node.paths().get(&peer);
                if let Some(link) = path.and_then(|path| self.links.get(&path.link)) {
                    link.slot.admitted();
                }
            }
            Action::CountLinks(counter) => self.count_links(counter),
            Action::CountDiscovery(discovery::Counter::Refused(refused)) => self.refused(refused),
            Action::CountStreams(counter) => self.count_streams(counter),
            Action::Group { group, output } => self.group_output(group, output),
            Action::CountGroups(counter) => self.count_groups(counter),
        }
    }

    fn refused(&self, refused: Refused) {
        tracing::debug!(%refused, "an entry was refused");
        self.shared.metrics.entries_refused.of(&kind_of(refused)).increment(1);
    }

    fn undelivered(&self, producer: ProducerId, data: Bytes) {
        if let Some(cell) = self.producers.get(&producer) {
            cell.undelivered(data, &self.shared);
        }
    }

    fn finished(&mut self, producer: ProducerId) {
        if let Some(cell) = self.producers.remove(&producer) {
            cell.channels.close();
            let stream = cell.channels.stream;
            if self.sending.get(&stream).is_some_and(|sending| sending.id == producer) {
                // One that was closed before may still send under the same name.
                let mut others = self.producers.values();
                match others.find(|other| other.channels.stream == stream) {
                    Some(other) => self.sending.insert(stream, Arc::clone(other)),
                    None => self.sending.remove(&stream),
                };
            }
        }
    }

    /// Makes the changes of the step visible: per producer or consumer all at once.
    fn publish(&mut self) {
        while let Some((owner, changes)) = self.changes.pop_first() {
            match owner {
                Owner::Producer(id) => {
                    if let Some(cell) = self.producers.get(&id) {
                        let came_online = changes.iter().any(comes_online);
                        cell.channels.apply(changes);
                        if came_online {
                            cell.announce_waiting(&self.shared);
                        }
                    }
                }
                Owner::Consumer(id) => {
                    if let Some(cell) = self.consumers.get(&id) {
                        let gone: Vec<_> = changes.iter().filter_map(over).collect();
                        cell.channels.apply(changes);
                        gone.into_iter().for_each(|subscription| cell.unlisted(subscription));
                    }
                }
            }
        }
    }

    fn channels_of(&self, owner: Owner) -> Option<&Channels> {
        match owner {
            Owner::Producer(id) => self.producers.get(&id).map(|cell| &cell.channels),
            Owner::Consumer(id) => self.consumers.get(&id).map(|cell| &cell.channels),
        }
    }

    fn on_catalog(&self, change: &CatalogChange) {
        let metrics = &self.shared.metrics;
        metrics.catalog_size.set(self.shared.catalog.apply(change) as f64);
        let event = match change {
            CatalogChange::Entry { entry, news: Some(news), .. } => {
                metrics.news(*news);
                let entry = entry.entry().clone();
                match news {
                    News::Discovered => Event::PeerDiscovered(entry),
                    News::Updated => Event::PeerUpdated(entry),
                }
            }
            CatalogChange::Gone { peer, departed: true } => {
                metrics.departed.increment(1);
                Event::PeerDeparted(*peer)
            }
            CatalogChange::Entry { news: None, .. }
            | CatalogChange::Gone { departed: false, .. }
            | CatalogChange::Unsigned(_)
            | CatalogChange::UnsignedGone(_) => return,
        };
        self.shared.events.send(event);
    }

    fn count_links(&self, counter: links::Counter) {
        let metrics = &self.shared.metrics;
        metrics.neighbors.set(self.node.paths().len() as f64);
        match counter {
            links::Counter::Admitted => {}
            links::Counter::Refused(code) => {
                tracing::debug!(%code, "a link was refused");
                metrics.links_refused.of(&code).increment(1);
            }
            links::Counter::ChannelRefused => metrics.channels_refused.increment(1),
            links::Counter::Violation => metrics.violations.increment(1),
        }
    }

    fn count_streams(&self, counter: streams::Counter) {
        let node = &self.shared.metrics;
        let of = |stream: &StreamId| self.sending.get(stream);
        match counter {
            streams::Counter::Sent { stream, items, bytes } => {
                if let Some(cell) = of(&stream) {
                    cell.channels.metrics.sent(u64::from(items), u64::from(bytes));
                }
            }
            streams::Counter::Accepted(stream) => {
                node.streams_accepted.increment(1);
                if let Some(cell) = of(&stream) {
                    cell.channels.metrics.accepted.increment(1);
                }
            }
            streams::Counter::Rejected(stream, code) => {
                tracing::debug!(stream = %stream, %code, "a consumer was refused");
                if let Some(cell) = of(&stream) {
                    cell.channels.metrics.rejected.increment(1);
                }
            }
            streams::Counter::Refused(code) => {
                node.streams_rejected.increment(1);
                if code == CloseCode::PROTOCOL_VIOLATION {
                    tracing::warn!("a peer broke the stream protocol");
                    node.stream_violations.increment(1);
                }
            }
            streams::Counter::Dropped { stream, items } => {
                if let Some(cell) = of(&stream) {
                    cell.channels.metrics.items_dropped.increment(items);
                }
            }
            streams::Counter::Violation(stream) => {
                tracing::warn!(stream = %stream, "a peer broke the stream protocol");
                node.stream_violations.increment(1);
            }
        }
    }
}

const fn kind_of(refused: Refused) -> EntryRefusal {
    match refused {
        Refused::Network => "network",
        Refused::Protocol => "protocol",
        Refused::Own { .. } => "own",
        Refused::Known => "known",
        Refused::Limits(_) => "limits",
        Refused::Drift => "drift",
        Refused::Expired => "expired",
        Refused::Signature => "signature",
        Refused::Full => "full",
        Refused::Flood => "flood",
    }
}

const fn owner(change: &Change) -> Owner {
    match change {
        Change::Channel { owner, .. }
        | Change::ChannelGone { owner, .. }
        | Change::Online { owner, .. }
        | Change::Progress { owner, .. }
        | Change::Gap { owner, .. }
        | Change::Restarted { owner, .. } => *owner,
    }
}

/// True for what handles see, apart from mere counts.
const fn is_visible(action: &Action) -> bool {
    match action {
        Action::Streams(change) => !matches!(change, Change::Progress { .. }),
        _ => false,
    }
}

/// Items may have waited for this.
const fn comes_online(change: &Change) -> bool {
    matches!(change, Change::Online { online: true, .. })
}

/// The subscription that a change ends.
const fn over(change: &Change) -> Option<SubscriptionId> {
    match change {
        Change::ChannelGone { subscription, .. } => Some(*subscription),
        Change::Channel { .. }
        | Change::Online { .. }
        | Change::Progress { .. }
        | Change::Gap { .. }
        | Change::Restarted { .. } => None,
    }
}
