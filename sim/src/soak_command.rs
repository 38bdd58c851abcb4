//! The command `soak`.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{Args, ValueEnum};
use mosaik_sim::{
    netns::Hosts,
    soak::{self, Cut, Options, Place},
};

/// Which way members are cut off.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ways {
    /// What a member sends is lost, or what it is sent.
    OneWay,
    /// Both.
    TwoWay,
}

/// Durable members in processes of their own, killed with SIGKILL and started again at random, and cut
/// off by black holes if asked to, while clients write and read. Ends with a verdict.
#[derive(Args, Debug)]
pub(crate) struct Soak {
    /// For how long things happen.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Members.
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Clients.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Keys that they use.
    #[arg(long, default_value_t = 100)]
    keys: u64,
    /// A client pauses up to so many milliseconds between two operations.
    #[arg(long, default_value_t = 100)]
    pause: u64,
    /// Repeats a schedule; what the operating system makes of it is its own affair.
    #[arg(long)]
    seed: Option<u64>,
    /// Also cut members off: each is on a host made of a network namespace. Needs root and `ip`.
    #[arg(long, value_enum)]
    cut: Option<Ways>,
    /// Also delete the directory of a killed member, or flip a bit in it: it must come back empty, be filled
    /// again and vote again.
    #[arg(long)]
    damage: bool,
    /// The program of a member; without it the example `soak_member` is built.
    #[arg(long)]
    member: Option<PathBuf>,
    /// Where members keep what they keep; removed if all is well.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Soak {
    /// Runs it, prints a summary, and gives the exit code.
    pub(crate) fn run(&self) -> u8 {
        match self.begin() {
            Ok(code) => code,
            Err(error) => {
                println!("the run could not be made: {error}");
                1
            }
        }
    }

    fn begin(&self) -> Result<u8, String> {
        let random = RandomState::new().hash_one("soak");
        let hosts = match self.cut {
            None => None,
            Some(_) => {
                match Hosts::new(u8::try_from(self.members).map_err(|_| "too many members")?) {
                    Ok(hosts) => Some(hosts),
                    Err(reason) => {
                        println!("skipped, no network namespaces here: {reason}");
                        return Ok(0);
                    }
                }
            }
        };
        let program = self.member.clone().map_or_else(build, Ok)?;
        let name = format!("mosaik-soak-{random:016x}");
        let dir = self.dir.clone().unwrap_or_else(|| env::temp_dir().join(&name));
        let options = Options {
            members: self.members,
            clients: usize::from(self.clients),
            keys: self.keys.max(1),
            time: Duration::from_secs_f64(self.minutes.clamp(0.05, 1_440.0) * 60.0),
            pause: Duration::from_millis(self.pause),
            cut: self.cut.map(|ways| match ways {
                Ways::OneWay => Cut::OneWay,
                Ways::TwoWay => Cut::TwoWay,
            }),
            damage: self.damage,
            ..Options::new(self.seed.unwrap_or(random >> 40), dir.clone())
        };
        println!("seed {}, {:.0?}", options.seed, options.time);
        let launch = |place: &Place<'_>| member(&program, &name, self.members, place);
        let summary = soak::run(&options, hosts.as_ref(), &launch)?;
        println!("{summary}");
        Ok(match &summary.failure {
            None => {
                let _ = std::fs::remove_dir_all(&dir);
                0
            }
            Some(failure) => {
                println!("stores and logs are in {}", dir.display());
                failure.exit_code()
            }
        })
    }
}

/// The command of a member.
fn member(program: &Path, name: &str, members: usize, place: &Place<'_>) -> Command {
    let (mut command, bind) = match place.host {
        Some((hosts, index)) => (hosts.command(index, program), hosts.addr(index).to_string()),
        None => (Command::new(program), "127.0.0.1".to_owned()),
    };
    let secret = format!("{name} {}", place.index);
    command.args(["--network", name, "--secret", &secret, "--bind", &bind]);
    command.args(["--founders", &members.to_string(), "--dir"]).arg(&place.dir);
    command
}

/// Builds the example, as this program was built, and finds it.
fn build() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().ok_or("no folder")?;
    let program = folder.join("examples/soak_member").with_extension(env::consts::EXE_EXTENSION);
    let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR"))
    else {
        return Err("cargo does not run this program: name one with --member".to_owned());
    };
    let mut command = Command::new(cargo);
    let root = Path::new(&manifest).join("../Cargo.toml");
    command.args(["build", "-q", "-p", "mosaik", "--example", "soak_member", "--manifest-path"]);
    command.arg(root);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    match command.status() {
        Ok(status) if status.success() && program.exists() => Ok(program),
        Ok(status) => Err(format!("{command:?}: {status}, {} is missing", program.display())),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
