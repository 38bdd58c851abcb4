//! The chores that let cargo judge: fmt, clippy, test, doc, nostd, examples; and the fixer.

use std::{path::Path, time::Duration};

use crate::{
    command::{self, cargo, cargo_with},
    finding::Finding,
};

/// Targets without an operating system: a microcontroller, and a browser or a plugin.
const BARE: [&str; 2] = ["thumbv7m-none-eabi", "wasm32-unknown-unknown"];
/// The examples that end by themselves, and a word of what each prints: those that the README
/// begins with, one per runtime, and the one that a driver's author begins with.
const EXAMPLES: [(&str, &str); 5] = [
    ("quickstart", "21.5"),
    ("orderbook", "10 orders, 7 trades, the same on 3 matchers"),
    ("quickstart_smol", "21.5"),
    ("custom_driver", "200000 of 200000 items arrived"),
    ("simulate", "seed 20: well"),
];
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// Is everything formatted?
pub(crate) fn fmt(root: &Path) -> Vec<Finding> {
    cargo(root, "fmt --all --check")
}

/// Does clippy have anything to say?
pub(crate) fn clippy(root: &Path) -> Vec<Finding> {
    let mut found = cargo(root, "clippy --locked --workspace --all-targets -- -D warnings");
    found.extend(cargo(
        root,
        "clippy --locked -p mosaik --all-targets --features prometheus,smol -- -D warnings",
    ));
    found.extend(cargo(
        root,
        "clippy --locked -p mosaik --no-default-features --features smol -- -D warnings",
    ));
    found
}

/// Do the tests pass?
pub(crate) fn test(root: &Path) -> Vec<Finding> {
    let mut found = cargo(root, "test --workspace");
    // What the README shows needs both runtimes.
    found.extend(cargo(root, "test -p mosaik --features smol --doc"));
    found
}

/// Does every page of the documentation build, with every link?
pub(crate) fn doc(root: &Path) -> Vec<Finding> {
    cargo_with(root, "doc --locked --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])
}

/// Do the cores build without an operating system, and alone with their tests?
pub(crate) fn nostd(root: &Path) -> Vec<Finding> {
    // In the workspace other crates switch proto's features on; alone it has none.
    let mut found = cargo(root, "check --locked -p mosaik-proto --all-targets");
    let installed = command::capture(root, "rustup", &["target", "list", "--installed"]);
    for target in BARE {
        let here =
            installed.as_ref().is_ok_and(|list| list.lines().any(|line| line.trim() == target));
        if here || command::run(root, "rustup", &["target", "add", target], &[]).is_empty() {
            found.extend(cargo(root, &format!("build --locked -p mosaik-proto --target {target}")));
        } else {
            println!("skipped: target cannot be had ({target})");
        }
    }
    found
}

/// Do the examples build, and do those that end print what they promise?
pub(crate) fn examples(root: &Path) -> Vec<Finding> {
    let mut found = cargo(root, "build --locked --examples --features smol");
    if !found.is_empty() {
        return found;
    }
    for (name, expected) in EXAMPLES {
        let args = ["run", "-q", "--features", "smol", "--example", name];
        match command::capture_within(root, "cargo", &args, EXAMPLE_LIMIT) {
            Ok(printed) if printed.contains(expected) => print!("{printed}"),
            Ok(printed) => {
                found.push(Finding::new(name, format!("printed {printed:?}, not {expected}")))
            }
            Err(finding) => found.push(finding),
        }
    }
    found
}

/// Rewrites what fmt and clippy can mend by themselves.
pub(crate) fn fix(root: &Path) -> Vec<Finding> {
    let mut found =
        cargo(root, "clippy --workspace --all-targets --fix --allow-dirty --allow-staged");
    found.extend(cargo(root, "fmt --all"));
    found
}
