//! What each runtime does in its own way: start, count seconds, hear that it is time to stop.

use std::{error::Error, future, io, time::Duration};

use clap::ValueEnum;
use futures::{StreamExt, stream};

use crate::{Args, run};

const SECOND: Duration = Duration::from_secs(1);

/// Where everything runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
}

pub(crate) fn tokio(args: Args) -> Result<(), Box<dyn Error>> {
    use tokio::{runtime, signal, time};

    runtime::Runtime::new()?.block_on(async {
        let mut interval = time::interval(SECOND);
        let seconds = stream::poll_fn(|cx| interval.poll_tick(cx).map(|_| Some(())));
        let limit = args.seconds.map_or(Duration::MAX, Duration::from_secs);
        #[cfg(unix)]
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        #[cfg(not(unix))]
        let mut terminate = signal::windows::ctrl_close()?;
        let stop = async {
            tokio::select! {
                result = signal::ctrl_c() => result,
                _ = terminate.recv() => Ok(()),
                () = time::sleep(limit) => Ok(()),
            }
        };
        run::<mosaik::network::Tokio>(args, seconds, stop).await
    })
}

pub(crate) fn smol(args: Args) -> Result<(), Box<dyn Error>> {
    use async_signal::{Signal, Signals};
    use mosaik_driver_smol::{Smol, block_on};
    use smol::{Timer, future::or};

    block_on(async {
        let seconds = Timer::interval_at(std::time::Instant::now(), SECOND).map(|_| ());
        let mut signals = Signals::new([Signal::Int, Signal::Term])?;
        let limit = args.seconds.map(Duration::from_secs);
        let over = async {
            match limit {
                Some(limit) => drop(Timer::after(limit).await),
                None => future::pending().await,
            }
            Ok::<_, io::Error>(())
        };
        let told = async { signals.next().await.unwrap_or(Ok(Signal::Int)).map(drop) };
        run::<Smol>(args, seconds, or(told, over)).await
    })
}
