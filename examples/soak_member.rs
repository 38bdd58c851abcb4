//! A durable member of a group, as the soak run uses it: `cargo run --release -p mosaik-sim -- soak`.
//!
//! It reads questions from standard input and writes answers to standard output, a line each
//! (`mosaik_sim::soak::protocol`), until it is killed or its input ends.

use std::{
    error::Error,
    io::{BufRead, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use clap::Parser;
use mosaik::{
    discovery::EndpointAddr,
    groups::{
        ApplyContext, CommandError, Image, Member, SnapshotMachine, SnapshotSync, StateMachine,
    },
    *,
};
use mosaik_sim::soak::{
    Store,
    protocol::{Answer, Ask, Command, Update, VOTES},
};

/// A member of the group that the soak run uses.
#[derive(Parser, Debug)]
struct Options {
    /// The network, and what the group's key is made of.
    #[arg(long)]
    network: String,
    /// What this member's key is made of: it keeps it when it starts again.
    #[arg(long)]
    secret: String,
    /// Where it listens.
    #[arg(long)]
    bind: IpAddr,
    /// Where it keeps what it must not forget.
    #[arg(long)]
    dir: PathBuf,
    /// Members that must be there before the first command.
    #[arg(long)]
    founders: usize,
}

/// The store of the soak run as a replicated machine. Commands travel as they are printed.
#[derive(Debug, Default)]
struct Machine(Store);

/// A question to it.
#[derive(Debug)]
enum Question {
    Value(u64),
    Swapped { client: u64, number: u64 },
    All,
}

/// Its answer.
#[derive(Debug)]
enum Said {
    Value(Option<u64>),
    Swapped(Option<bool>),
    All(Box<Store>),
}

impl StateMachine for Machine {
    type Command = String;
    type Query = Question;
    type QueryResult = Said;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik.soak")
    }

    fn apply(&mut self, command: String, _: &dyn ApplyContext) {
        self.0.apply(&command.parse().expect("a command of ours"));
    }

    fn query(&self, question: Question) -> Said {
        match question {
            Question::Value(key) => Said::Value(self.0.value(key)),
            Question::Swapped { client, number } => Said::Swapped(self.0.swapped(client, number)),
            Question::All => Said::All(Box::new(self.0.clone())),
        }
    }

    fn state_sync(&self) -> Self::StateSync {
        SnapshotSync::default()
    }

    fn fresh(&self) -> Option<Self> {
        Some(Self::default())
    }

    fn digest(&self) -> Option<Digest> {
        Some(Digest::from(self.0.to_string().as_str()))
    }
}

/// The store's text is its snapshot.
impl SnapshotMachine for Machine {
    fn freeze(&self) -> Image {
        let store = self.0.clone();
        Image::later(move |bytes| bytes.extend_from_slice(store.to_string().as_bytes()))
    }

    fn restore(&self, bytes: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(std::str::from_utf8(bytes)?.parse()?))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let network = Network::builder(options.network.as_str())
        .with_secret_key(Digest::from(options.secret.as_str()))
        .with_addresses([SocketAddr::new(options.bind, 0)])
        .with_discovery(discovery::Config::builder().no_auto_bootstrap())
        .build()
        .await?;
    say(&Answer::Address(network.local().addr().to_string()));
    let group = network
        .groups()
        .with_key(GroupKey::from_secret(options.network.as_str()))
        .with_state_machine(Machine::default())
        .with_data_dir(&options.dir)
        .with_founders(options.founders)
        .join();
    let group = Arc::new(group);
    tokio::spawn({
        let online = group.when().online();
        async move {
            online.await;
            say(&Answer::Online);
        }
    });
    let runtime = tokio::runtime::Handle::current();
    let asked = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.parse() {
                Ok(ask) => on(ask, &network, &group, &runtime),
                Err(error) => eprintln!("{error}"),
            }
        }
    });
    asked.await?;
    // Nobody is interested any more: what goes on in the background may not hold us.
    std::process::exit(0)
}

fn say(answer: &Answer) {
    let mut out = std::io::stdout().lock();
    // Nobody listens: the end of the input says so, too.
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
}

/// Begins to answer. Commands are on their way when this returns.
fn on(ask: Ask, network: &Network, group: &Arc<Group<Machine>>, runtime: &tokio::runtime::Handle) {
    match ask {
        Ask::Known(address) => match address.parse::<EndpointAddr>() {
            Ok(address) => {
                let discovery = network.discovery().clone();
                runtime.spawn(async move { discovery.dial(address).await });
            }
            Err(error) => eprintln!("{address}: {error}"),
        },
        Ask::Execute(id, command) => {
            let (group, executed) = (Arc::clone(group), group.execute(command.to_string()));
            runtime.spawn(async move {
                let answer = match executed.await {
                    Ok(_) => Answer::Done(id, swapped(&group, &command).await),
                    Err(error) => failed(id, &error),
                };
                say(&answer);
            });
        }
        Ask::Read(id, key) => {
            let asked = group.query(Question::Value(key), Strong);
            runtime.spawn(async move {
                say(&match asked.await.map(|answer| answer.into()) {
                    Ok(Said::Value(value)) => Answer::Value(id, value),
                    Ok(other) => Answer::Refused(id, format!("{other:?}")),
                    Err(error) => Answer::Refused(id, error.to_string()),
                });
            });
        }
        Ask::Dump(id) => {
            let asked = group.query(Question::All, Strong);
            runtime.spawn(async move {
                say(&match asked.await.map(|answer| answer.into()) {
                    Ok(Said::All(store)) => Answer::Dump(id, store),
                    Ok(other) => Answer::Refused(id, format!("{other:?}")),
                    Err(error) => Answer::Refused(id, error.to_string()),
                });
            });
        }
        Ask::Status(id) => {
            let status = group.status();
            let is_mine = |voter: &Member| Some(voter.seat) == status.seat;
            let votes = if status.voters.iter().any(is_mine) { VOTES } else { "copies" };
            say(&Answer::Status(id, format!("{votes}: {status:?}")));
        }
    }
}

/// What a swap did, asked of this member, which has just applied it.
async fn swapped(group: &Group<Machine>, command: &Command) -> Option<bool> {
    let Command { client, number, update, .. } = *command;
    if matches!(update, Update::Put(_)) {
        return None;
    }
    match group.query(Question::Swapped { client, number }, Weak).await.ok()?.into() {
        Said::Swapped(swapped) => swapped,
        Said::Value(_) | Said::All(_) => None,
    }
}

fn failed(id: u64, error: &CommandError<Machine>) -> Answer {
    match error {
        CommandError::Offline(_)
        | CommandError::Rejected(..)
        | CommandError::NoCommands
        | CommandError::Encoding(..)
        | CommandError::Decoding(..)
        | CommandError::MachineFailed(..)
        | CommandError::TooLarge(..) => Answer::Refused(id, error.to_string()),
        CommandError::Unknown(_) | CommandError::GroupTerminated => {
            Answer::Unknown(id, error.to_string())
        }
        // It is in force.
        CommandError::Fenced(_) => Answer::Done(id, None),
    }
}
