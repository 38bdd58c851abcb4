//! Serving this process's metrics over HTTP, in Prometheus' text format (feature `prometheus`).
//!
//! A recorder is process-wide, so this is too: it outlives the network that asked for it, and only
//! one network of a process can ask. Plain HTTP without authentication: bind it to an address that
//! only your scraper reaches. `/health` answers `OK`, every other path answers with the metrics.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mosaik_proto::{NetworkId, Short};

/// A scraper that sends or takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request that are looked at; the first line is all that matters.
const REQUEST_BYTES: usize = 4_096;
/// Old histogram samples are folded at least this often, also without a scraper.
const UPKEEP: Duration = Duration::from_secs(5);

/// Binds the address, installs the recorder and answers from a thread of its own.
///
/// # Errors
/// If the address cannot be bound or the process has a recorder already; then nothing is running.
pub(crate) fn serve(addr: SocketAddr, network: &NetworkId) -> Result<(), String> {
    let listener = TcpListener::bind(addr).map_err(|error| format!("{addr}: {error}"))?;
    let handle = PrometheusBuilder::new()
        .add_global_label("network", Short(network).to_string())
        .install_recorder()
        .map_err(|error| error.to_string())?;
    let upkeep = handle.clone();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.into()).spawn(work).map_err(|error| error.to_string())
    };
    spawn("mosaik-metrics", Box::new(move || answer(&listener, &handle)))?;
    spawn(
        "mosaik-upkeep",
        Box::new(move || {
            loop {
                thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        }),
    )?;
    Ok(())
}

fn answer(listener: &TcpListener, handle: &PrometheusHandle) {
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| answer_one(stream, handle)) {
            tracing::debug!(%error, "a scrape failed");
        }
    }
}

fn answer_one(mut stream: TcpStream, handle: &PrometheusHandle) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut stream)?;
    let body = if request.split(' ').nth(1) == Some("/health") {
        "OK".to_owned()
    } else {
        handle.render()
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The head of a request, up to the blank line or a bound.
fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let started = Instant::now();
    let mut request = Vec::new();
    let mut chunk = [0; 512];
    while request.len() < REQUEST_BYTES && started.elapsed() < PATIENCE {
        let read = stream.read(&mut chunk)?;
        request.extend_from_slice(&chunk[..read]);
        if read == 0 || request.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}
