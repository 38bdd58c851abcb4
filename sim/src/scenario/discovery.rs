//! How fast everybody knows everybody, and what that and the peace afterwards cost.

use std::{fmt, time::Duration};

use mosaik_proto::{Digest, time::Instant};

use super::{cluster, generator};
use crate::{
    net,
    verdict::Failure,
    world::{Options, World},
};

/// Tags per entry, so that an entry has about the 400 bytes of the design's tables.
const TAGS: usize = 8;
/// Peace and quiet before the steady state is measured.
const SETTLE: Duration = Duration::from_secs(10);

/// The parameters.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Nodes, the seed node included.
    pub nodes: usize,
    /// The seed of the world.
    pub seed: u64,
    /// Packets lost per million.
    pub loss_ppm: u32,
    /// How long the steady state is measured.
    pub measure: Duration,
    /// Latencies of a wide area network.
    pub wan: bool,
    /// Print the trace to stderr.
    pub trace: bool,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryReport {
    /// When all knew all.
    pub complete: Instant,
    /// Bytes on the wire sent until then: mean per node, most by a node, by the seed node.
    pub joining: (u64, u64, u64),
    /// Bytes on the wire per node and second in the steady state: mean and most, in tenths.
    pub steady: (u64, u64),
    /// Keep-alives of idle links that the transport adds, per node and second, at most, in tenths.
    pub keep_alive: u64,
    /// Links in the end.
    pub links: usize,
    /// The hash of the trace.
    pub trace: Digest,
    /// Its lines.
    pub lines: u64,
}

impl Discovery {
    /// Runs it.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run(&self) -> Result<DiscoveryReport, Failure> {
        let base = if self.wan { net::Options::wan() } else { net::Options::default() };
        let net = net::Options { loss_ppm: self.loss_ppm, ..base };
        let keep_alive = net.keep_alive;
        let mut world = World::new(self.seed, Options { net, trace: self.trace });
        let mut rng = generator(self.seed);
        cluster(&mut world, &mut rng, self.nodes, Duration::from_millis(100), TAGS);
        world.run_for(Duration::from_millis(100))?;
        let complete = world.run_until_converged(Duration::from_secs(120))?;
        let sent = |world: &World| -> Vec<u64> {
            world.hosts().map(|host| world.traffic(host).wire).collect()
        };
        let joined = sent(&world);
        world.run_for(SETTLE)?;
        let before = sent(&world);
        world.run_for(self.measure)?;
        let tenths = |bytes: u64| bytes * 10_000 / (self.measure.as_millis() as u64).max(1);
        let spent = sent(&world).into_iter().zip(before).map(|(after, before)| after - before);
        let spent: Vec<_> = spent.map(tenths).collect();
        world.converged().map_err(|what| Failure::Liveness(format!("in peace: {what}")))?;
        let nodes = self.nodes.max(1) as u64;
        let links = world.links().len();
        // A ping of 65 B from one end and its acknowledgement of 63 B from the other.
        let pings = links as u64 * 128 * 10_000 / (keep_alive.as_millis() as u64) / nodes;
        Ok(DiscoveryReport {
            complete,
            joining: (
                joined.iter().sum::<u64>() / nodes,
                joined.iter().skip(1).copied().max().unwrap_or_default(),
                joined.first().copied().unwrap_or_default(),
            ),
            steady: (
                spent.iter().sum::<u64>() / nodes,
                spent.iter().copied().max().unwrap_or_default(),
            ),
            keep_alive: pings,
            links,
            trace: world.trace_hash(),
            lines: world.trace_lines(),
        })
    }
}

impl fmt::Display for DiscoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |value: u64| format!("{}.{}", value / 10, value % 10);
        writeln!(f, "all know all after  {:?}", self.complete)?;
        let (mean, most, seed) = self.joining;
        writeln!(f, "sent until then     {mean} B per node, at most {most} B, the seed {seed} B")?;
        let (mean, most) = self.steady;
        writeln!(f, "sent in peace       {} B/s per node, at most {}", tenths(mean), tenths(most))?;
        writeln!(f, "idle keep-alives    at most {} B/s per node more", tenths(self.keep_alive))?;
        writeln!(f, "links               {}", self.links)?;
        write!(f, "trace               {} ({} lines)", self.trace, self.lines)
    }
}
