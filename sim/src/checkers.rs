//! What must hold, one file each. All of them look from outside: at events and actions only.
//!
//! | checker | when | what |
//! |---|---|---|
//! | [`versions`] | every step | entries are what their owner signed, never go back, and farewells are final |
//! | [`order`] | every step | items in order, none twice, none missing without a word |
//! | [`credit`] | every step | nobody receives more than it gave credit for |
//! | [`bounds`] | every step | debt of channels, windows of producers, actions of a step |
//! | [`catalog`] | after quiet | everybody sees exactly those who are there |
//! | [`links`] | after quiet | one link per pair |
//! | [`determinism`] | two runs | one seed, one trace |

pub mod bounds;
pub mod catalog;
pub mod credit;
pub mod determinism;
pub mod links;
pub mod order;
pub mod versions;

use mosaik_proto::{
    PeerId,
    discovery::Change as CatalogChange,
    ids::{ConsumerId, SubscriptionId},
    node::{Action, Event},
    streams::{Change, Owner},
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
    /// Queues.
    pub bounds: bounds::Bounds,
}

impl Checkers {
    /// Looks at an event that a process is about to handle.
    ///
    /// # Errors
    /// What must never happen and did.
    pub fn event(&mut self, process: Process, event: &Event) -> Result<(), String> {
        if let Event::LocalEntry(entry) = event {
            self.versions.signed(entry);
        }
        if let Event::OpenConsumer { consumer, config } = event {
            self.credit.opened((process, *consumer), config.window_items, config.window_bytes);
        }
        if let Event::Consumed { consumer, subscription, items, bytes } = event {
            let place = Place { process, consumer: *consumer, subscription: *subscription };
            self.credit.consumed(place, *items, *bytes);
        }
        self.bounds.event(process, event)
    }

    /// Looks at an action of a process.
    ///
    /// # Errors
    /// What must never happen and did.
    pub fn action(&mut self, process: Process, action: &Action) -> Result<(), String> {
        match action {
            Action::Catalog(CatalogChange::Entry { entry, .. }) => {
                self.versions.seen(process, entry)?;
            }
            Action::Catalog(CatalogChange::Gone { peer, .. }) => self.versions.gone(process, *peer),
            Action::Deliver(delivery) => {
                let place = Place {
                    process,
                    consumer: delivery.consumer,
                    subscription: delivery.subscription,
                };
                let items = order::read(&delivery.data)?;
                if items.len() != delivery.items as usize {
                    return Err(format!(
                        "{place:?}: {} items said to be {}",
                        items.len(),
                        delivery.items
                    ));
                }
                self.credit.delivered(place, &items)?;
                self.order.delivered(place, delivery.first, &items)?;
            }
            Action::Streams(change) => self.stream(process, change)?,
            _ => {}
        }
        self.bounds.action(process, action)
    }

    /// A process has ended.
    pub fn ended(&mut self, process: Process) {
        self.bounds.ended(process);
    }

    fn stream(&mut self, process: Process, change: &Change) -> Result<(), String> {
        let place = |owner: &Owner, subscription: &SubscriptionId| match owner {
            Owner::Consumer(consumer) => {
                Some(Place { process, consumer: *consumer, subscription: *subscription })
            }
            Owner::Producer(_) => None,
        };
        match change {
            Change::Channel { owner, subscription, peer, .. } => {
                if let Some(place) = place(owner, subscription) {
                    self.order.subscribed(place, peer.id());
                }
            }
            Change::Gap { owner, subscription, first, last } => {
                if let Some(place) = place(owner, subscription) {
                    self.order.gap(place, *first, *last)?;
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
