//! The program of the fault world's hosts, and what it writes down about itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use mosaik_driver::{
    discovery::{ConfigBuilder, Discovery},
    streams::{
        ChannelConditions, StreamDef,
        consumer::Consumer,
        producer::{Error, Producer},
    },
};
use mosaik_proto::{
    PeerId,
    ids::{StreamId, Tag},
    rng::Rng,
};

use super::{
    host::{Host, Network},
    item::Item,
};
use crate::{
    checkers::{
        order::{STAMP, Stamp},
        short,
    },
    net::HostId,
};

/// The streams: one for all, one with predicates at both ends.
const STREAMS: usize = 2;
/// Items that every producer makes after the faults.
const FRESH: u64 = 50;

/// What the programs of a world share: what they are to do, and what they say of themselves.
pub(super) struct Plan {
    nodes: usize,
    calm: AtomicBool,
    fresh: AtomicBool,
    taken: AtomicU64,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    starts: BTreeMap<(HostId, usize), u64>,
    discoveries: BTreeMap<HostId, (PeerId, Discovery)>,
    /// The start of a producer, and how many items it sent.
    sent: BTreeMap<(HostId, usize), (u64, u64)>,
    /// Met when a consumer is connected to all it should be.
    connected: BTreeMap<(HostId, usize), ChannelConditions>,
    /// The start that a consumer follows and the number that it expects, per producer.
    cursors: BTreeMap<(HostId, usize, u64), (u64, u64)>,
}

/// Who makes what, who takes it, and who accepts whom.
const fn makes(host: HostId, stream: usize) -> bool {
    if stream == 0 { host.0.is_multiple_of(2) } else { host.0.is_multiple_of(3) }
}

const fn takes(host: HostId, stream: usize) -> bool {
    stream == 0 || host.0 % 2 == 1
}

/// Stream 1: consumers want producers that are tagged so, and the other way round.
const fn is_dear(host: HostId) -> bool {
    host.0 != 1
}

fn dear() -> Tag {
    Tag::hash(b"dear")
}

impl Plan {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            calm: AtomicBool::new(false),
            fresh: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            ledger: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles are kept from now on.
    pub(super) fn be_calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Every producer makes some items more, and then no more.
    pub(super) fn make_fresh_items(&self) {
        self.fresh.store(true, Ordering::SeqCst);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::SeqCst)
    }

    /// Items that programs took from their consumers.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.nodes).map(HostId)
    }

    /// The producers that a consumer follows.
    fn followed(&self, consumer: HostId, stream: usize) -> impl Iterator<Item = HostId> + use<> {
        let fits = move |host: &HostId| stream == 0 || (is_dear(*host) && is_dear(consumer));
        self.hosts().filter(move |host| *host != consumer && makes(*host, stream)).filter(fits)
    }

    fn consumers(&self) -> impl Iterator<Item = (HostId, usize)> + use<> {
        let nodes = self.nodes;
        let all =
            (0..nodes).flat_map(|host| (0..STREAMS).map(move |stream| (HostId(host), stream)));
        all.filter(|(host, stream)| takes(*host, *stream))
    }

    /// Everybody sees exactly everybody else, and consumers are connected to whom they follow.
    pub(super) fn settled(&self) -> Result<(), String> {
        let ledger = self.ledger();
        let all: BTreeSet<PeerId> = ledger.discoveries.values().map(|(peer, _)| *peer).collect();
        if all.len() < self.nodes {
            return Err(format!("{} of {} hosts have a node", all.len(), self.nodes));
        }
        for (host, (me, discovery)) in &ledger.discoveries {
            let seen: BTreeSet<_> = discovery.catalog().signed_peers().map(|e| e.id()).collect();
            let count = seen.len();
            if !all.iter().filter(|peer| *peer != me).eq(&seen) {
                return Err(format!("{host} sees {count} peers instead of the other hosts"));
            }
        }
        for key in self.consumers() {
            if self.followed(key.0, key.1).next().is_none() {
                continue;
            }
            if !ledger.connected.get(&key).is_some_and(ChannelConditions::is_condition_met) {
                return Err(format!("the consumer {key:?} is not connected to all it follows"));
            }
        }
        Ok(())
    }

    /// Every consumer takes items of the present start of every producer that it follows.
    pub(super) fn following(&self) -> Result<(), String> {
        self.held_against(|(sent, _), at| at.is_some_and(|(start, _)| start == sent))
    }

    /// Every consumer has the last item of every producer that it follows.
    pub(super) fn delivered(&self) -> Result<(), String> {
        self.held_against(|sent, at| at == Some(sent))
    }

    fn held_against(
        &self,
        well: impl Fn((u64, u64), Option<(u64, u64)>) -> bool,
    ) -> Result<(), String> {
        let ledger = self.ledger();
        for (consumer, stream) in self.consumers() {
            for producer in self.followed(consumer, stream) {
                let sent = ledger.sent.get(&(producer, stream)).copied();
                let peer = ledger.discoveries.get(&producer).map(|(peer, _)| short(peer));
                let at =
                    peer.and_then(|peer| ledger.cursors.get(&(consumer, stream, peer))).copied();
                if !sent.is_some_and(|sent| well(sent, at)) {
                    return Err(format!(
                        "{consumer} is at {at:?} of stream {stream} of {producer}, which sent {sent:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn stream(number: usize) -> StreamDef<Item> {
    StreamDef::with_stream_id(StreamId::hash(format!("stream {number}").as_bytes()))
}

/// The program of a host.
pub(super) async fn run(host: Host, plan: Arc<Plan>) {
    let id = host.id();
    let tags: Vec<_> = is_dear(id).then(dear).into_iter().collect();
    let known: Vec<_> = (0..2).map(HostId).filter(|other| *other != id).collect();
    let known: Vec<_> = known.into_iter().map(|other| host.endpoint_of(other)).collect();
    let discovery = ConfigBuilder::default().with_tags(tags).with_bootstrap(known);
    let network = host.network("level 2").with_discovery(discovery).build().await;
    let network = Arc::new(network.expect("nothing runs on this host"));
    let view = (network.local().id(), network.discovery().clone());
    plan.ledger().discoveries.insert(id, view);
    for stream in 0..STREAMS {
        if makes(id, stream) {
            host.spawn(produce(host.clone(), Arc::clone(&plan), Arc::clone(&network), stream));
        }
        if takes(id, stream) {
            host.spawn(consume(host.clone(), Arc::clone(&plan), Arc::clone(&network), stream));
        }
    }
    host.spawn(sync(host.clone(), Arc::clone(&plan), Arc::clone(&network)));
    host.stopping().await;
    network.shutdown().await;
}

/// Asks somebody for its catalog now and then; some requests are given up.
async fn sync(host: Host, plan: Arc<Plan>, network: Arc<Network>) {
    let mut rng = host.rng("sync");
    while !plan.is_calm() {
        let other = HostId(rng.below(plan.nodes as u64) as usize);
        let patience = host.sleep(millis(&mut rng, 1, 4_000));
        let sync = network.discovery().sync_with(host.endpoint_of(other));
        select(pin!(sync), pin!(patience)).await;
        host.sleep(millis(&mut rng, 100, 3_000)).await;
    }
}

/// Sends items until the program ends, through one handle after the other.
async fn produce(host: Host, plan: Arc<Plan>, network: Arc<Network>, number: usize) {
    let mut rng = host.rng(&format!("producer {number}"));
    loop {
        let builder = network.streams().producer_of(stream(number)).with_buffer_size(64);
        let builder = match number {
            0 => builder,
            _ => builder.require(|peer| peer.tags().contains(&dear())),
        };
        let Ok(producer) = builder.build() else {
            // The one before still sends what it had accepted.
            host.sleep(Duration::from_millis(5)).await;
            continue;
        };
        let start = {
            let mut ledger = plan.ledger();
            let start = ledger.starts.entry((host.id(), number)).or_default();
            *start += 1;
            let start = *start;
            ledger.sent.insert((host.id(), number), (start, 0));
            start
        };
        if !send(&host, &plan, &producer, (number, start), &mut rng).await {
            return;
        }
    }
}

/// Sends items through one handle; false if the node has ended.
async fn send(
    host: &Host,
    plan: &Plan,
    producer: &Producer<Item>,
    (stream, start): (usize, u64),
    rng: &mut Rng,
) -> bool {
    let peer = short(&host.peer_id());
    let (mut sent, mut goal) = (0, None);
    loop {
        if plan.is_fresh() {
            let goal = *goal.get_or_insert(sent + FRESH);
            if sent >= goal {
                host.sleep(Duration::from_secs(1)).await;
                continue;
            }
        } else {
            host.sleep(millis(rng, 0, 40)).await;
            if !plan.is_calm() && rng.chance(2_000) {
                return true;
            }
        }
        let size = if rng.chance(20_000) { rng.below(40_000) } else { rng.below(100) } as usize;
        let item = Item { stamp: Stamp { peer, start, number: sent }, size: STAMP + size };
        // An item is accepted or still in the future, so whoever gives up sends it again.
        let patience = pin!(host.sleep(millis(rng, 1, 500)));
        match select(pin!(producer.send(item)), patience).await {
            Either::Left((Ok(()), _)) => {
                sent += 1;
                plan.ledger().sent.insert((host.id(), stream), (start, sent));
            }
            Either::Left((Err(Error::Closed(_)), _)) => return false,
            Either::Left((Err(error), _)) => {
                host.fail(error);
                return false;
            }
            Either::Right(_) => {}
        }
    }
}

/// Takes items until the program ends, through one handle after the other.
async fn consume(host: Host, plan: Arc<Plan>, network: Arc<Network>, number: usize) {
    let mut rng = host.rng(&format!("consumer {number}"));
    let followed = plan.followed(host.id(), number).count();
    loop {
        let window = 1 << (4 + rng.below(8));
        let builder = network.streams().consumer_of(stream(number)).with_window(window, 1 << 17);
        let consumer = match number {
            0 => builder.build(),
            _ => builder.require(|peer| peer.tags().contains(&dear())).build(),
        };
        let met = consumer.when().subscribed().minimum_of(followed);
        plan.ledger().connected.insert((host.id(), number), met);
        if !take(&host, &plan, consumer, number, &mut rng).await {
            return;
        }
    }
}

/// Takes items from one handle; false if the node has ended.
async fn take(
    host: &Host,
    plan: &Plan,
    mut consumer: Consumer<Item>,
    stream: usize,
    rng: &mut Rng,
) -> bool {
    let lazy = rng.chance(300_000);
    let mut cursors = BTreeMap::new();
    loop {
        if !plan.is_calm() {
            if rng.chance(1_000) {
                return true;
            }
            host.sleep(host.pause()).await;
            if lazy && rng.chance(50_000) {
                host.sleep(millis(rng, 1, 500)).await;
            }
        }
        let patience = pin!(host.sleep(millis(rng, 1, 2_000)));
        let item = match select(pin!(consumer.recv()), patience).await {
            Either::Left((Some(item), _)) => item,
            Either::Left((None, _)) => return false,
            Either::Right(_) => continue,
        };
        plan.taken.fetch_add(1, Ordering::SeqCst);
        let Stamp { peer, start, number } = item.stamp;
        let (of, next, fresh) = cursors
            .insert(peer, (start, number + 1, plan.is_fresh()))
            .unwrap_or((start, number, false));
        let ok = match start == of {
            // While everybody is connected and nobody is slow, nothing is missed.
            true if fresh => number == next,
            true => number >= next,
            false => start > of,
        };
        if !ok {
            host.fail(format_args!("took {item} after {of}, {next} was next"));
        }
        plan.ledger().cursors.insert((host.id(), stream, peer), (start, number + 1));
    }
}

fn millis(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + rng.below(most - least + 1))
}
