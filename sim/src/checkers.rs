//! What must hold, one file each. All of them look from outside: at events and actions only.
//!
//! | checker | when | what |
//! |---|---|---|
//! | [`versions`] | every step | entries are what their owner signed, never go back, and farewells are final |
//! | [`order`] | every step | items in order, none twice, none missing without a word |
//! | [`credit`] | every step | nobody receives more than it gave credit for |
//! | [`ends`] | every step | gaps are the same at both ends, nobody is cut off or robbed for nothing |
//! | [`presence`] | every step | nobody lets go of a peer it has a link to |
//! | [`bounds`] | every step | debt of channels, windows of producers, actions of a step |
//! | [`catalog`] | after quiet | everybody sees exactly those who are there |
//! | [`links`] | after quiet | one link per pair |
//! | [`determinism`] | two runs | one seed, one trace |

pub mod bounds;
pub mod catalog;
pub mod credit;
pub mod determinism;
pub mod ends;
pub mod groups;
pub mod links;
pub mod order;
pub mod presence;
pub mod versions;

use std::collections::{BTreeMap, BTreeSet};

use mosaik_proto::{
    PeerId,
    discovery::{Change as CatalogChange, Tombstone},
    groups::{Counter as GroupCounter, Output},
    ids::{ConsumerId, SubscriptionId},
    links::Counter as LinkCounter,
    node::{Action, Event},
    streams::{Change, Counter as StreamCounter, Delivery, Owner, State},
    time::Instant,
    wire::CloseCode,
};

use crate::net::Process;

/// One subscription of one consumer of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where the consumer runs.
    pub process: Process,
    /// The consumer.
    pub consumer: ConsumerId,
    /// Its subscription.
    pub subscription: SubscriptionId,
}

/// The checkers that look at every step.
#[derive(Debug, Default)]
pub struct Checkers {
    /// Entries and farewells.
    pub versions: versions::Versions,
    /// Items.
    pub order: order::Order,
    /// Credit.
    pub credit: credit::Credit,
    /// Both ends of subscriptions.
    pub ends: ends::Ends,
    /// Links and life.
    pub presence: presence::Presence,
    /// Groups.
    pub groups: groups::Groups,
    /// Queues.
    pub bounds: bounds::Bounds,
    /// Farewells that wait until the groups of their process have been left.
    farewells: BTreeMap<Process, Tombstone>,
    refused: u64,
    /// Subscriptions that follow a host which lies.
    strange: BTreeSet<Place>,
    /// Some hosts break the protocol on purpose, so that others may say so.
    pub hostile: bool,
}

impl Checkers {
    /// Looks at an event that a process is about to handle.
    ///
    /// # Errors
    /// What must never happen and did.
    pub fn event(&mut self, process: Process, event: &Event) -> Result<(), String> {
        self.versions.event(process, event);
        match event {
            Event::LocalEntry(entry) => {
                self.versions.signed(entry);
                self.ends.signed(process, entry);
            }
            Event::OpenConsumer { consumer, config } => {
                self.credit.opened((process, *consumer), config.window_items, config.window_bytes);
                self.ends.consumer(process, *consumer, config.stream);
            }
            Event::OpenProducer { producer, config } => {
                self.ends.producer(process, *producer, config);
            }
            Event::Offer { producer, data, .. } => self.ends.offered(process, *producer, data),
            Event::Consumed { consumer, subscription, items, bytes } => {
                let place = Place { process, consumer: *consumer, subscription: *subscription };
                self.credit.consumed(place, *items, *bytes);
            }
            Event::Shutdown(tombstone) => self.shutdown(process, tombstone),
            _ => {}
        }
        self.groups.event(process, event);
        self.bounds.event(process, event)
    }

    /// A process is asked to end. Its farewell is said once its groups have been left (NODE-02): who
    /// takes it for dead before that may see it again.
    pub(crate) fn shutdown(&mut self, process: Process, tombstone: &Tombstone) {
        self.farewells.insert(process, tombstone.clone());
        self.say_farewell(process);
    }

    fn say_farewell(&mut self, process: Process) {
        if self.groups.has_part(process) {
            return;
        }
        if let Some(tombstone) = self.farewells.remove(&process) {
            self.versions.departed(tombstone.peer(), tombstone.version());
        }
    }

    /// Looks at an action of a process.
    ///
    /// # Errors
    /// What must never happen and did.
    pub fn action(
        &mut self,
        now: Instant,
        process: Process,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::Catalog(CatalogChange::Entry { entry, .. }) => {
                self.versions.seen(process, entry)?;
            }
            Action::Catalog(CatalogChange::Gone { peer, .. }) => {
                let departed = self.versions.has_departed(process, peer) || !self.is_honest(*peer);
                self.presence.gone(process, *peer, departed)?;
                self.versions.gone(process, *peer);
            }
            Action::Path { peer, rtt } => self.presence.path(process, *peer, rtt.is_some()),
            Action::Deliver(delivery) => self.delivered(process, delivery)?,
            Action::Streams(change) => self.stream(process, change)?,
            Action::Write { channel, head, .. } => {
                self.ends.wrote(now, process, *channel, head.as_slice());
            }
            Action::CountStreams(StreamCounter::Rejected(..)) => self.refused += 1,
            Action::CloseChannel { channel, code: CloseCode::STREAM_TOO_SLOW } => {
                self.ends.too_slow(now, process, *channel)?;
            }
            Action::CountStreams(StreamCounter::Violation(_))
            | Action::CountLinks(LinkCounter::Violation)
                if !self.hostile =>
            {
                return Err(format!("{process:?} takes an honest peer for one that lies"));
            }
            Action::CountGroups(GroupCounter::Violation(_)) if !self.hostile => {
                return Err(format!("{process:?} takes an honest member for one that lies"));
            }
            Action::Group { output, .. } => {
                self.groups.action(now, process, action)?;
                if matches!(output, Output::Closed) {
                    self.say_farewell(process);
                }
            }
            _ => {}
        }
        self.bounds.action(process, action)
    }

    fn delivered(&mut self, process: Process, delivery: &Delivery) -> Result<(), String> {
        let Delivery { consumer, subscription, first, items: count, data } = delivery;
        let place = Place { process, consumer: *consumer, subscription: *subscription };
        let items =
            if self.strange.contains(&place) { order::sizes(data)? } else { order::read(data)? };
        if items.len() != *count as usize {
            return Err(format!("{place:?}: {} items said to be {count}", items.len()));
        }
        self.credit.delivered(place, &items)?;
        if self.strange.contains(&place) {
            return Ok(());
        }
        self.order.delivered(place, *first, &items)?;
        self.ends.delivered(place, &items)
    }

    fn is_honest(&self, peer: PeerId) -> bool {
        !self.hostile || self.ends.knows(peer)
    }

    /// How often a producer refused a consumer.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// A process has ended.
    pub fn ended(&mut self, process: Process) {
        self.bounds.ended(process);
        self.presence.ended(process);
        self.groups.ended(process);
        self.farewells.remove(&process);
    }

    fn stream(&mut self, process: Process, change: &Change) -> Result<(), String> {
        let place = |owner: &Owner, subscription: &SubscriptionId| match owner {
            Owner::Consumer(consumer) => {
                Some(Place { process, consumer: *consumer, subscription: *subscription })
            }
            Owner::Producer(_) => None,
        };
        match change {
            Change::Channel { owner: Owner::Producer(producer), subscription, peer, .. } => {
                self.ends.serves(process, *producer, *subscription, peer.id());
            }
            Change::Channel { owner, subscription, peer, state, .. } => {
                if let Some(place) = place(owner, subscription) {
                    if !self.is_honest(peer.id()) {
                        self.strange.insert(place);
                        return Ok(());
                    }
                    self.order.subscribed(place, peer.id());
                    if *state == State::Connected {
                        self.ends.connected(place, peer.id())?;
                    }
                }
            }
            Change::Gap { owner: Owner::Producer(producer), subscription, first, last } => {
                self.ends.dropped(process, *producer, *subscription, (*first, *last))?;
            }
            Change::Gap { owner, subscription, first, last } => {
                let place = place(owner, subscription);
                if let Some(place) = place.filter(|place| !self.strange.contains(place)) {
                    self.order.gap(place, *first, *last)?;
                    self.ends.missed(place, *first, *last)?;
                }
            }
            Change::Restarted { owner, subscription } => {
                if let Some(place) = place(owner, subscription) {
                    self.order.restarted(place);
                }
            }
            Change::ChannelGone { .. } | Change::Online { .. } | Change::Progress { .. } => {}
        }
        Ok(())
    }
}

/// The first bytes of a peer's id, as it stands in items.
#[must_use]
pub fn short(peer: &PeerId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&peer.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}
