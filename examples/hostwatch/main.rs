//! Watches hosts: load, memory and traffic of every host on which this program runs.
//!
//! Nobody is told where the others are. Processes on one host find each other by themselves; one
//! on another host is told about any of them, and learns of the rest:
//!
//! ```text
//! cargo run --example hostwatch -- --name alpha
//! cargo run --example hostwatch -- --name beta
//! cargo run --example hostwatch -- --name gamma --bootstrap <one of the lines that alpha printed>
//! ```

mod board;
mod host;

use std::{
    error::Error,
    future::pending,
    io,
    pin::pin,
    time::{Duration, Instant},
};

use clap::Parser;
use mosaik::{
    declare::stream,
    discovery::{Config, EndpointAddr, Event, Lagged},
    futures::StreamExt,
    *,
};
use tokio::time::{MissedTickBehavior, interval, sleep};

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
    introduce(&network, &args);

    let result = watch(&network, &args).await;
    network.shutdown().await;
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says who we are and how others can find us.
fn introduce(network: &Network, args: &Args) {
    let EndpointAddr { id, addrs } = network.local().addr();
    eprintln!("{} is {id} in the network {:?}", args.name, args.network);
    for addr in addrs {
        eprintln!("--bootstrap {id}@{addr}");
    }
}

/// Publishes our readings and shows everyone's until it is told to stop.
async fn watch(network: &Network, args: &Args) -> io::Result<()> {
    let (me, discovery) = (network.local().id(), network.discovery());
    let mut events = discovery.events();
    let mut readings = Readings::consumer(network);
    let producer = Readings::producer(network);

    let mut board = Board::new(args.json);
    let started = Instant::now();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = pin!(told_to_stop(args.seconds));
    loop {
        tokio::select! {
            biased;
            result = &mut stop => return result,
            event = events.next() => match event {
                Some(Ok(Event::PeerDeparted(peer))) => board.left(&peer)?,
                Some(Ok(_)) => {}
                // We were too slow: what we missed is to be seen in the catalog.
                Some(Err(Lagged(_))) => {
                    let catalog = discovery.catalog();
                    board.retain(|peer| catalog.get(peer).is_some())?;
                }
                None => return Ok(()),
            },
            _ = second.tick() => {
                let reading = Reading::take(me, &args.name, started);
                board.reading(reading.clone())?;
                board.draw()?;
                // Nobody may be listening, which is no reason to wait.
                let _ = producer.try_send(reading);
            }
            Some(reading) = readings.next() => {
                // The last words of a host that has left come to nothing.
                if reading.peer != me && discovery.catalog().get(&reading.peer).is_some() {
                    board.reading(reading)?;
                }
            }
        }
    }
}

/// Resolves at Ctrl-C, at SIGTERM, and when the time is over.
async fn told_to_stop(seconds: Option<u64>) -> io::Result<()> {
    let time_over = async {
        match seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        result = terminated() => result,
        () = time_over => Ok(()),
    }
}

#[cfg(unix)]
async fn terminated() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> io::Result<()> {
    pending().await
}
