//! Our nodes on smol beside our nodes on tokio: the same flows, in one process, measured in turn.
//!
//! Both sides are the same code; only the runtime differs. What is compared is the rate, and the
//! processor time of the whole process, for both ends, per MiB and per round trip.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use mosaik::{NetworkId, StreamId, discovery::Config};
use tokio::sync::watch;

use crate::{
    Options,
    home::{Home, Node},
    side::{Gate, Large, Load, Medium, PACK, Small, cpu_time, receive},
};

type Done = Box<dyn FnOnce() + Send>;
/// A kind of work: its name, how it is set up, and how many of it are a unit of cost.
type Kind = (&'static str, fn(&Home) -> Work, f64);

/// tokio with a thread per processor, or with one.
fn on_tokio(one: bool) -> Home {
    let mut builder = match one {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    Home::tokio(handle)
}

/// Two nodes of a new network that have met.
async fn pair(home: &Home) -> [Node; 2] {
    let network = NetworkId::random();
    let first = home.node(network, Config::builder().no_auto_bootstrap()).await;
    let second = home.node(network, Config::builder().no_auto_bootstrap()).await;
    let addr = (*first).as_ref().local().addr();
    (*second).as_ref().discovery().sync_with(addr).await.expect("the nodes meet");
    [first, second]
}

/// Work that goes on while its gate is open, and its total.
struct Work {
    gate: watch::Sender<bool>,
    total: Arc<AtomicU64>,
    end: Option<Done>,
    /// Processor time and total of all measurements.
    spent: (Duration, u64),
}

impl Work {
    /// Per second, with processor time beside.
    fn measure(&mut self, time: Duration) -> f64 {
        self.gate.send_replace(true);
        sleep(time / 3);
        let (start, cpu, before) = (Instant::now(), cpu_time(), self.total());
        sleep(time);
        let (elapsed, count) = (start.elapsed(), self.total() - before);
        self.spent.0 += cpu_time().saturating_sub(cpu);
        self.spent.1 += count;
        self.gate.send_replace(false);
        let mut last = u64::MAX;
        while last != self.total() {
            last = self.total();
            sleep(Duration::from_millis(20));
        }
        count as f64 / elapsed.as_secs_f64()
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Microseconds of processor time for one.
    fn cost(&self) -> f64 {
        self.spent.0.as_secs_f64() * 1e6 / self.spent.1.max(1) as f64
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end.take().expect("dropped once")();
    }
}

/// One producer and one consumer, each a node.
fn flow<D: Load>(home: &Home) -> Work {
    let (gate, total) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let (mut open, count, here) = (Gate::new(&gate), Arc::clone(&total), home.clone());
    let nodes = home.spawn(async move {
        let [origin, far] = pair(&here).await;
        let producer = (*origin).as_ref().streams().produce::<D>();
        let mut consumer = (*far).as_ref().streams().consume::<D>();
        consumer.when().subscribed().await;
        producer.when().subscribed().await;
        here.spawn(async move {
            while let Some(item) = consumer.next().await {
                receive(&count, item.number());
            }
        });
        here.spawn(async move {
            let (template, stride) = (D::first(), (PACK / D::BYTES).clamp(1, 64) as u64);
            for number in 0.. {
                if number % stride == 0 {
                    open.opened().await;
                }
                if producer.send(template.numbered(number)).await.is_err() {
                    return;
                }
            }
        });
        [origin, far]
    });
    let nodes = nodes.blocking_recv().expect("two nodes");
    Work { gate, total, end: Some(Box::new(|| drop(nodes))), spent: (Duration::ZERO, 0) }
}

/// Two nodes with a stream each way, and one item that goes round.
fn round_trips(home: &Home) -> Work {
    let (gate, total) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let (mut open, count, here) = (Gate::new(&gate), Arc::clone(&total), home.clone());
    let nodes = home.spawn(async move {
        let [far, near] = pair(&here).await;
        let ends = |node: &Node, out: &str, into: &str| {
            let streams = (**node).as_ref().streams();
            let producer = streams.producer::<Small>().with_stream_id(StreamId::from(out)).build();
            let consumer = streams.consumer::<Small>().with_stream_id(StreamId::from(into)).build();
            (producer.expect("a producer"), consumer)
        };
        let (out, mut into) = ends(&near, "there", "back");
        let (back, mut there) = ends(&far, "back", "there");
        out.when().subscribed().await;
        into.when().subscribed().await;
        here.spawn(async move {
            while let Some(item) = there.next().await {
                if back.send(item).await.is_err() {
                    return;
                }
            }
        });
        here.spawn(async move {
            for number in 0.. {
                open.opened().await;
                if out.send(Small::first().numbered(number)).await.is_err() {
                    return;
                }
                let Some(item) = into.next().await else { return };
                receive(&count, item.number());
            }
        });
        [near, far]
    });
    let nodes = nodes.blocking_recv().expect("two nodes");
    Work { gate, total, end: Some(Box::new(|| drop(nodes))), spent: (Duration::ZERO, 0) }
}

/// Compares smol with tokio, each with one thread or with several.
pub(crate) fn compare(options: &Options, one: bool) {
    let homes = [Home::smol(one), on_tokio(one)];
    let pair = if one { "smol1-vs-tokio1" } else { "smol-vs-tokio" };
    let mib = |bytes: usize| f64::from(1 << 20) / bytes as f64;
    let flows: [Kind; 3] = [
        ("streams/32B/1:1", flow::<Small>, mib(Small::BYTES)),
        ("streams/1KiB/1:1", flow::<Medium>, mib(Medium::BYTES)),
        ("streams/64KiB/1:1", flow::<Large>, mib(Large::BYTES)),
    ];
    for (name, flow, per_mib) in flows {
        row(options, &homes, &format!("{name}/{pair}"), flow, "items/s", ("cpu-per-MiB", per_mib));
    }
    let name = format!("pingpong/{pair}");
    row(options, &homes, &name, round_trips, "trips/s", ("cpu-per-round-trip", 1.0));
}

fn row(
    options: &Options,
    homes: &[Home; 2],
    name: &str,
    work: fn(&Home) -> Work,
    unit: &str,
    (cost, per): (&str, f64),
) {
    if !options.wants(&[name.to_owned()]) {
        return;
    }
    let mut works = homes.each_ref().map(work);
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut rates = [0.0; 2];
        for turn in 0..2 {
            let side = (turn + round) % 2;
            rates[side] = works[side].measure(options.time);
        }
        rounds.push((rates[0] / rates[1], rates));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, [ours, theirs]) = rounds[rounds.len() / 2];
    println!(
        "RESULT name={name} ours={ours:.0} peer=tokio theirs={theirs:.0} ratio={ratio:.3} \
         unit={unit}"
    );
    println!("# {name} ratios [{:.3} {:.3}]", rounds[0].0, rounds[rounds.len() - 1].0);
    let [ours, theirs] = works.each_ref().map(|work| work.cost() * per);
    println!(
        "RESULT name={name}/{cost} ours={ours:.2} peer=tokio theirs={theirs:.2} ratio={:.3} \
         unit=us",
        ours / theirs
    );
    drop(works);
    // Nodes that were dropped say farewell.
    sleep(Duration::from_millis(500));
}
