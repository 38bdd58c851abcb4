//! The project's chores: `cargo xtask verify` reads, `cargo xtask fix` rewrites.
//!
//! Each chore is a function that returns findings; no findings, no complaint.

mod command;
mod compile;
mod deps;
mod finding;
mod graph;
mod licences;
mod loom;
mod mutants;
mod rust_source;
mod sim;
mod spdx;
mod tidy;
mod tree;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use finding::Finding;
use tree::Tree;

/// What a chore may need to know.
struct Context {
    root: PathBuf,
    /// For the simulator.
    time: Duration,
}

/// A chore's name, what it looks at, and the chore.
type Chore = (&'static str, &'static str, fn(&Context) -> Vec<Finding>);

/// What `verify` does, cheapest first.
const CHORES: [Chore; 12] = [
    ("fmt", "is everything formatted", |context| compile::fmt(&context.root)),
    ("tidy", "sizes, forbidden names, leftovers, spec rules without a test", |context| {
        tidy_up(&context.root)
    }),
    ("deps", "who depends on whom", |context| deps::deps(&context.root)),
    ("licences", "licences and sources of all that is built in", |context| {
        licences::licences(&context.root)
    }),
    ("nostd", "the cores alone, and without an operating system", |context| {
        compile::nostd(&context.root)
    }),
    ("clippy", "lints as errors", |context| compile::clippy(&context.root)),
    ("doc", "documentation, warnings as errors", |context| compile::doc(&context.root)),
    ("test", "cargo test --workspace", |context| compile::test(&context.root)),
    ("examples", "all build, those that end run", |context| compile::examples(&context.root)),
    ("loom", "the driver's hand-over points in every order of their steps", |context| {
        loom::loom(&context.root)
    }),
    ("sim", "seeds of the simulator (--seconds N, else 60)", |context| {
        sim::sim(&context.root, context.time)
    }),
    ("mutants", "known bugs, put back one by one, are seen by simulator and tests", |context| {
        mutants::mutants(&context.root)
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (chore, seconds) = match words[..] {
        [chore] => (chore, Some(60)),
        [chore @ ("verify" | "sim"), "--seconds", seconds] => (chore, seconds.parse().ok()),
        _ => ("", None),
    };
    let Some(seconds) = seconds else { return usage() };
    let context = Context { root: root(), time: Duration::from_secs(seconds) };
    match chore {
        "verify" => perform(&CHORES, &context),
        "fix" => perform(&[("fix", "", |context| compile::fix(&context.root))], &context),
        name => match CHORES.iter().find(|(chore, ..)| *chore == name) {
            Some(chore) => perform(&[*chore], &context),
            None => usage(),
        },
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "cargo xtask CHORE\n\n  verify    all of these; changes nothing (--seconds N for the simulator)"
    );
    for (name, about, _) in CHORES {
        eprintln!("  {name:<9} {about}");
    }
    eprintln!("  fix       the only one that rewrites: clippy --fix, fmt");
    ExitCode::from(2)
}

/// Does the chores, all of them even if one finds something, and sums up.
fn perform(chores: &[Chore], context: &Context) -> ExitCode {
    let mut bad = Vec::new();
    for (name, _, chore) in chores {
        println!("── {name}");
        let begin = Instant::now();
        let findings = chore(context);
        findings.iter().for_each(|finding| println!("{finding}"));
        let count = findings.iter().filter(|finding| !finding.warning).count();
        let verdict = if count == 0 { "ok".to_owned() } else { format!("{count} findings") };
        println!("── {name}: {verdict}, {:.1} s", begin.elapsed().as_secs_f32());
        if count > 0 {
            bad.push(*name);
        }
    }
    if bad.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("Not in order: {}", bad.join(", "));
    ExitCode::FAILURE
}

fn tidy_up(root: &Path) -> Vec<Finding> {
    match Tree::load(root) {
        Ok(tree) => tidy::tidy(&tree),
        Err(finding) => vec![finding],
    }
}

/// The workspace: the folder above this package's, as cargo tells when it runs us.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package
        .and_then(|package| package.parent().map(Path::to_path_buf))
        .unwrap_or_else(|| ".".into())
}
