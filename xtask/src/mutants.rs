//! `cargo xtask mutants`: every known bug, put back, is seen by the simulator or by the Raft tests.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::{command, finding::Finding};

/// Puts the bugs in. Everything built with it is kept apart, and never shipped.
const FLAGS: (&str, &str) = ("RUSTFLAGS", "--cfg mosaik_mutants");
/// Apart from what everybody else builds, or each would build everything anew.
const FOLDER: &str = "target/mutants";
/// Seeds after which a bug counts as not seen.
const SEEDS: &str = "200";
/// Far more than it takes; what hangs is a finding.
const LIMIT: Duration = Duration::from_secs(600);

/// The test that puts the bugs of Raft back.
const OF_RAFT: [&str; 3] = ["mutants::every_mutant_is_caught", "--exact", "--nocapture"];

/// Builds simulator and Raft tests with the bugs in them, and runs both.
pub(crate) fn mutants(root: &Path) -> Vec<Finding> {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join(FOLDER), |folder| root.join(Path::new(&folder)).join("mutants"));
    let Some(folder) = folder.to_str() else {
        return vec![Finding::new("mutants", "the path of the target folder is no text")];
    };
    let env = [FLAGS, ("CARGO_TARGET_DIR", folder)];
    let mut findings = of_raft(root, &env).err().unwrap_or_default();
    findings.extend(of_nodes(root, folder, &env).err().unwrap_or_default());
    findings
}

fn of_nodes(root: &Path, folder: &str, env: &[(&str, &str)]) -> Result<(), Vec<Finding>> {
    let built = command::cargo_with(root, "build --release --locked -p mosaik-sim", env);
    if !built.is_empty() {
        return Err(built);
    }
    let program = format!("{folder}/release/mosaik-sim");
    run(root, &program, &["mutants", "--seeds", SEEDS])
}

fn of_raft(root: &Path, env: &[(&str, &str)]) -> Result<(), Vec<Finding>> {
    let build = "test --release --locked -p mosaik-proto --test raft --no-run";
    let built = command::cargo_with(root, build, env);
    if !built.is_empty() {
        return Err(built);
    }
    // Where it is: its name has a hash.
    let mut args: Vec<&str> = build.split(' ').collect();
    args.push("--message-format=json");
    let printed =
        command::capture_with(root, "cargo", &args, env).map_err(|finding| vec![finding])?;
    let program = executable(&printed)
        .ok_or_else(|| vec![Finding::new("mutants", "cargo does not say where the tests are")])?;
    run(root, &program, &OF_RAFT)
}

/// The test binary, by what cargo prints: a JSON object per line.
fn executable(printed: &str) -> Option<String> {
    let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| Some(line.get("executable")?.as_str()?.to_owned())).next_back()
}

fn run(root: &Path, program: &str, args: &[&str]) -> Result<(), Vec<Finding>> {
    let printed =
        command::capture_within(root, program, args, LIMIT).map_err(|found| vec![found])?;
    print!("{printed}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found() {
        let printed = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                       {\"reason\":\"compiler-artifact\",\"executable\":\"/t/raft-1\"}\n\
                       {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(printed).as_deref(), Some("/t/raft-1"));
        assert_eq!(executable("Finished"), None);
    }
}
