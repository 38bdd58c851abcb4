//! A counter that survives `kill -9`: start it, add to it, kill it, start it again.
//!
//! ```text
//! cargo run --example counter -- --data-dir data/one          # then type numbers
//! cargo run --example counter -- --data-dir data/two          # a second member, if you like a third
//! ```
//!
//! Each line is added to the counter; when `= 42, kept by 3 voters` is printed, the new value is on the
//! disks of a majority of them. An empty line only reads. Members on one host find each other.

use std::{
    error::Error,
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use mosaik::{
    discovery::Config,
    groups::{ApplyContext, LogReplaySync, StateMachine},
    *,
};
use tokio::time::timeout;

#[derive(Debug, Default)]
struct Counter(i64);

impl StateMachine for Counter {
    type Command = i64;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        unique_id!("mosaik.example.counter.v1")
    }

    fn apply(&mut self, by: i64, _: &dyn ApplyContext) {
        self.0 = self.0.wrapping_add(by);
    }

    fn query(&self, (): ()) -> i64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// Where this member keeps its part: `--data-dir <path>`.
fn data_dir() -> Result<PathBuf, String> {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--data-dir" {
            return args.next().map(PathBuf::from).ok_or_else(|| "--data-dir wants a path".into());
        }
    }
    Err("usage: counter --data-dir <path>".into())
}

/// A member is known by its key: it comes back with what it kept only under the same one.
fn secret_key(dir: &Path) -> io::Result<SecretKey> {
    let path = dir.join("key");
    if let Ok(bytes) = fs::read(&path)
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(SecretKey::from_bytes(&bytes));
    }
    let key = SecretKey::generate();
    fs::create_dir_all(dir)?;
    fs::write(path, key.to_bytes())?;
    Ok(key)
}

/// Prints a value that no member is ahead of.
async fn show(group: &Group<Counter>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let value = group.query((), Strong).await?;
    println!("= {value}, kept by {} voters", group.status().voters.len());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = data_dir()?;
    let network = Network::builder(NetworkId::from("counter"))
        .with_secret_key(secret_key(&dir)?)
        .with_discovery(Config::builder().with_local_discovery(true))
        .build()
        .await?;
    let group = network
        .groups()
        .with_key(GroupKey::from_secret("the counter of the example"))
        .with_state_machine(Counter::default())
        .with_data_dir(dir)
        .join();
    let mut online = pin!(group.when().online());
    while timeout(Duration::from_secs(1), &mut online).await.is_err() {
        let why = group.status().blocked.as_ref().map_or_else(String::new, ToString::to_string);
        eprintln!("waiting: {why}");
    }
    show(&group).await?;

    for line in io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            match line.trim().parse() {
                Ok(by) => drop(group.execute(by).await?),
                Err(_) => eprintln!("{line:?} is no number"),
            }
        }
        show(&group).await?;
    }
    drop(group);
    network.shutdown().await;
    Ok(())
}
