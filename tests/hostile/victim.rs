//! The node under attack, with honest company.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mosaik::{
    Network, NetworkId,
    network::LinkLimits,
    streams::{Producer, StreamEvent},
};
use tokio::task::JoinHandle;

use super::counts;
use crate::common::{Data2, discover_all, node, shy, soon};

/// Limits under which handshakes that hang end soon.
pub(crate) fn hasty() -> LinkLimits {
    LinkLimits { handshake_timeout: Duration::from_millis(300), ..LinkLimits::default() }
}

/// A node, and an honest peer that gets items from it all the time.
pub(crate) struct Victim {
    pub(crate) node: Network,
    pub(crate) honest: Network,
    pub(crate) producer: Producer<Data2>,
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<()>,
}

impl Victim {
    pub(crate) async fn new() -> Self {
        Self::with(LinkLimits::default()).await
    }

    pub(crate) async fn with(limits: LinkLimits) -> Self {
        counts::install();
        let id = NetworkId::random();
        let builder = Network::builder(id).with_discovery(shy()).with_link_limits(limits);
        let node_ = builder.build().await.expect("a node");
        let honest = node(id, shy()).await;
        discover_all([&node_, &honest]).await;
        let producer = node_.streams().produce::<Data2>();
        let mut consumer = honest.streams().consume::<Data2>();
        soon(producer.when().subscribed()).await;
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = tokio::spawn({
            let (producer, stop) = (producer.clone(), stop.clone());
            async move {
                let mut next = 0;
                while !stop.load(Ordering::Relaxed) {
                    soon(producer.send(Data2(next))).await.expect("sent");
                    next += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                next
            }
        });
        let receiver = tokio::spawn({
            let arrived = arrived.clone();
            async move {
                let mut events = consumer.events();
                while let Some(Data2(n)) = consumer.next().await {
                    assert_eq!(n, arrived.fetch_add(1, Ordering::Relaxed), "each once, in order");
                    while let Ok(Some(event)) = events.try_recv() {
                        assert!(matches!(event, StreamEvent::Connected { .. }), "{event:?}");
                    }
                }
            }
        });
        Self { node: node_, honest, producer, stop, arrived, sender, receiver }
    }

    /// How many items the honest peer has by now.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends the honest traffic: all of it arrived, over the first subscription.
    pub(crate) async fn was_undisturbed(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = soon(self.sender).await.expect("the sender was never refused");
        let arrived = self.arrived;
        crate::common::eventually(|| arrived.load(Ordering::Relaxed) == sent).await;
        assert!(!self.receiver.is_finished(), "the receiver saw nothing wrong");
        self.receiver.abort();
        assert_eq!(self.producer.missed(), 0);
        let catalog = self.node.discovery().catalog();
        assert!(catalog.get(&self.honest.local().id()).is_some(), "still known");
        assert!(sent > 0);
        println!("{sent} honest items meanwhile");
        sent
    }
}
