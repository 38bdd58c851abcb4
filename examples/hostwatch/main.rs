//! Watches hosts: load, memory and traffic of every host on which this program runs.
//!
//! Processes on one host find each other. One on another host is told about any of them:
//!
//! ```text
//! cargo run --example hostwatch -- --name alpha
//! cargo run --example hostwatch -- --name beta --bootstrap <as alpha has printed it>
//! ```

mod board;
mod host;

use std::{error::Error, io, pin::pin, time::Duration};

use clap::Parser;
use mosaik::{
    declare::stream,
    discovery::{Config, EndpointAddr, Event, RecvError},
    *,
};
use tokio::{signal, time};

use crate::{board::Board, host::Reading};

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
    /// Stop after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Print a JSON object for every event instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let logs = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(io::stderr).init();
    let args = Args::parse();

    let discovery =
        Config::builder().with_local_discovery(true).with_bootstrap(args.bootstrap.clone());
    let mut network = Network::builder(args.network.as_str()).with_discovery(discovery);
    if let Some(secret) = &args.secret {
        network = network.with_secret_key(Digest::from(secret.as_str()));
    }
    let network = network.build().await?;
    let EndpointAddr { id, addrs } = network.local().addr();
    eprintln!("{} is {id} in the network {:?}", args.name, args.network);
    addrs.iter().for_each(|addr| eprintln!("--bootstrap {id}@{addr}"));

    let result = watch(&network, args).await;
    network.shutdown().await;
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Publishes our readings and shows everyone's until it is told to stop.
async fn watch(network: &Network, args: Args) -> io::Result<()> {
    let (me, discovery) = (network.local().id(), network.discovery());
    let mut events = discovery.events();
    let mut readings = Readings::consumer(network);
    let producer = Readings::producer(network);

    let mut board = Board::new(args.json);
    let (started, mut second) = (time::Instant::now(), time::interval(Duration::from_secs(1)));
    let mut stop = pin!(told_to_stop(args.seconds));
    loop {
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
            _ = second.tick() => {
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

/// Resolves at Ctrl-C, at SIGTERM, and when the time is over.
async fn told_to_stop(seconds: Option<u64>) -> io::Result<()> {
    #[cfg(unix)]
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    #[cfg(not(unix))]
    let mut terminate = signal::windows::ctrl_close()?;
    tokio::select! {
        result = signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
        () = time::sleep(seconds.map_or(Duration::MAX, Duration::from_secs)) => Ok(()),
    }
}
