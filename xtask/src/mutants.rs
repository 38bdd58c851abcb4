//! `cargo xtask mutants`: every known bug, put back, is seen by the simulator.

use std::{path::Path, time::Duration};

use crate::{command, finding::Finding};

/// Puts the bugs in. Everything built with it is kept apart, and never shipped.
const FLAGS: (&str, &str) = ("RUSTFLAGS", "--cfg mosaik_mutants");
/// Apart from what everybody else builds, or each would build everything anew.
const FOLDER: &str = "target/mutants";
/// Seeds after which a bug counts as not seen.
const SEEDS: &str = "200";
/// Far more than it takes; what hangs is a finding.
const LIMIT: Duration = Duration::from_secs(600);

/// Builds the simulator with the bugs in it, and runs it.
pub(crate) fn mutants(root: &Path) -> Vec<Finding> {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join(FOLDER), |folder| root.join(Path::new(&folder)).join("mutants"));
    let Some(folder) = folder.to_str() else {
        return vec![Finding::new("mutants", "the path of the target folder is no text")];
    };
    let build = "build --release --locked -p mosaik-sim";
    let built = command::cargo_with(root, build, &[FLAGS, ("CARGO_TARGET_DIR", folder)]);
    if !built.is_empty() {
        return built;
    }
    let program = format!("{folder}/release/mosaik-sim");
    match command::capture_within(root, &program, &["mutants", "--seeds", SEEDS], LIMIT) {
        Ok(printed) => {
            print!("{printed}");
            Vec::new()
        }
        Err(finding) => vec![finding],
    }
}
