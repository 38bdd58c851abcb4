//! Watches hosts: load, memory and traffic of every host on which this program runs.
//!
//! Processes on one host find each other. One on another host is told about any of them:
//!
//! ```text
//! cargo run --example hostwatch -- --name alpha
//! cargo run --example hostwatch -- --name beta --bootstrap <as alpha has printed it>
//! ```
//!
//! `--runtime smol` runs it on smol instead of tokio; the others do not notice.

mod board;
mod host;
mod on;

use std::{error::Error, io, pin::pin, time::Instant};

use clap::Parser;
use futures::{Stream, StreamExt};
use mosaik::{
    declare::stream,
    discovery::{Config, EndpointAddr, Event, RecvError},
    driver::{Launch, Network, NetworkOn},
    *,
};

use crate::{board::Board, host::Reading, on::Runtime};

stream!(
    /// One reading a second from every host.
    Readings = Reading, "hostwatch"
);

/// Watches all hosts on which this program runs.
#[derive(Parser)]
struct Args {
    /// What to call this host
    #[arg(long, default_value_t = host::name())]
    name: String,
    /// Only hosts in the same network see each other
    #[arg(long, default_value = "hostwatch")]
    network: String,
    /// A peer to begin with; may be repeated. None is needed on the same host
    #[arg(long, value_name = "PEER[@ADDR]")]
    bootstrap: Vec<EndpointAddr>,
    /// Be the same peer as the last time that this text was given
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,
    /// Which one to run on
    #[arg(long, value_enum, default_value_t = Runtime::Tokio)]
    runtime: Runtime,
    /// Stop after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Print a JSON object for every event instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let logs = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(io::stderr).init();
    let args = Args::parse();
    match args.runtime {
        Runtime::Tokio => on::tokio(args),
        Runtime::Smol => on::smol(args),
    }
}

/// A node on any runtime, which takes part until it is told to stop.
async fn run<L: Launch>(
    args: Args,
    seconds: impl Stream<Item = ()>,
    stop: impl Future<Output = io::Result<()>>,
) -> Result<(), Box<dyn Error>> {
    let discovery =
        Config::builder().with_local_discovery(true).with_bootstrap(args.bootstrap.clone());
    let mut network = NetworkOn::<L>::builder(args.network.as_str()).with_discovery(discovery);
    if let Some(secret) = &args.secret {
        network = network.with_secret_key(Digest::from(secret.as_str()));
    }
    let network = network.build().await?;
    let EndpointAddr { id, addrs } = network.local().addr();
    eprintln!("{} is {id} in the network {:?}", args.name, args.network);
    addrs.iter().for_each(|addr| eprintln!("--bootstrap {id}@{addr}"));

    let result = watch(&network, args, seconds, stop).await;
    network.shutdown().await;
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Publishes our readings and shows everyone's until it is told to stop.
async fn watch(
    network: &Network,
    args: Args,
    seconds: impl Stream<Item = ()>,
    stop: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (me, discovery) = (network.local().id(), network.discovery());
    let mut events = discovery.events();
    let mut readings = Readings::consumer(network);
    let producer = Readings::producer(network);

    let mut board = Board::new(args.json);
    let started = Instant::now();
    let (mut seconds, mut stop) = (pin!(seconds), pin!(stop));
    loop {
        // The macro needs no runtime of tokio.
        tokio::select! {
            biased;
            result = &mut stop => return result,
            event = events.recv() => {
                let gone = match event {
                    Ok(Event::PeerDeparted(peer)) => Some(peer),
                    Err(RecvError::Closed) => return Ok(()),
                    // If we were too slow for some events, the catalog tells what they did.
                    _ => None,
                };
                let there = discovery.catalog();
                board.retain(|peer| Some(*peer) != gone && there.get(peer).is_some())?;
            }
            _ = seconds.next() => {
                let reading = Reading::take(me, args.name.clone(), started.elapsed());
                board.reading(reading.clone())?;
                board.draw()?;
                // Nobody may be listening, which is no reason to wait.
                let _ = producer.try_send(reading);
            }
            Some(reading) = readings.next() => {
                // What a host said before it left may arrive after that.
                if reading.peer != me && discovery.catalog().get(&reading.peer).is_some() {
                    board.reading(reading)?;
                }
            }
        }
    }
}
