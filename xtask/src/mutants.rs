//! `cargo xtask mutants`: every known bug, put back, is seen by the simulator or by the tests of Raft or
//! of groups.

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

/// The tests of the core that put bugs back.
const TESTS: [&str; 2] = ["raft", "groups"];
/// What does so in each.
const TEST: [&str; 3] = ["mutants::every_mutant_is_caught", "--exact", "--nocapture"];

/// Builds the simulator and these tests with the bugs in them, and runs all.
pub(crate) fn mutants(root: &Path) -> Vec<Finding> {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join(FOLDER), |folder| root.join(Path::new(&folder)).join("mutants"));
    let Some(folder) = folder.to_str() else {
        return vec![Finding::new("mutants", "the path of the target folder is no text")];
    };
    let env = [FLAGS, ("CARGO_TARGET_DIR", folder)];
    let mut findings = of_tests(root, &env).err().unwrap_or_default();
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

fn of_tests(root: &Path, env: &[(&str, &str)]) -> Result<(), Vec<Finding>> {
    let mut build = String::from("test --release --locked -p mosaik-proto --no-run");
    for test in TESTS {
        build.push_str(" --test ");
        build.push_str(test);
    }
    let built = command::cargo_with(root, &build, env);
    if !built.is_empty() {
        return Err(built);
    }
    // Where they are: their names have a hash.
    let mut args: Vec<&str> = build.split(' ').collect();
    args.push("--message-format=json");
    let printed =
        command::capture_with(root, "cargo", &args, env).map_err(|finding| vec![finding])?;
    let mut findings = Vec::new();
    for test in TESTS {
        let program = executable(&printed, test)
            .ok_or_else(|| vec![Finding::new("mutants", "cargo does not say where a test is")])?;
        findings.extend(run(root, &program, &TEST).err().unwrap_or_default());
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// The binary of a test, by what cargo prints: a JSON object per line.
fn executable(printed: &str, test: &str) -> Option<String> {
    let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_test = lines.filter(|line| line["target"]["name"] == test);
    of_test.find_map(|line| Some(line.get("executable")?.as_str()?.to_owned()))
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
    fn the_binaries_are_found() {
        let artifact = |name: &str, executable: &str| {
            let target = format!("\"target\":{{\"name\":\"{name}\"}}");
            format!("{{\"reason\":\"compiler-artifact\",{target},\"executable\":{executable}}}\n")
        };
        let library = artifact("mosaik_proto", "null");
        let (raft, groups) = (artifact("raft", "\"/t/raft-1\""), artifact("groups", "\"/t/g-2\""));
        let printed = format!("{library}{raft}{groups}{{\"reason\":\"build-finished\"}}\n");
        assert_eq!(executable(&printed, "raft").as_deref(), Some("/t/raft-1"));
        assert_eq!(executable(&printed, "groups").as_deref(), Some("/t/g-2"));
        assert_eq!(executable("Finished", "raft"), None);
    }
}
