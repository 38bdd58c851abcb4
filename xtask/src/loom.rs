//! `cargo xtask loom`: the driver's hand-over points hold in every order of their steps.

use std::{path::Path, time::Duration};

use crate::{command, finding::Finding};

/// Makes event-listener and our primitives loom's. quinn and tokio must never see it, which is why
/// `loom/` is a workspace of its own.
const FLAGS: (&str, &str) = ("RUSTFLAGS", "--cfg loom");
/// Apart from what everybody else builds, or each would build everything anew.
const FOLDER: &str = "target/loom";
const MANIFEST: &str = "loom/Cargo.toml";
/// Far more than it takes; what hangs is a finding.
const LIMIT: Duration = Duration::from_secs(300);

/// Builds the models, and checks them all.
pub(crate) fn loom(root: &Path) -> Vec<Finding> {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join(FOLDER), |folder| root.join(Path::new(&folder)).join("loom"));
    let Some(folder) = folder.to_str() else {
        return vec![Finding::new("loom", "the path of the target folder is no text")];
    };
    let mut found = command::cargo(root, &format!("fmt --check --manifest-path {MANIFEST}"));
    let build = format!("build --release --locked --manifest-path {MANIFEST}");
    let built = command::cargo_with(root, &build, &[FLAGS, ("CARGO_TARGET_DIR", folder)]);
    if !built.is_empty() {
        found.extend(built);
        return found;
    }
    match command::capture_within(root, &format!("{folder}/release/mosaik-loom"), &[], LIMIT) {
        Ok(printed) => print!("{printed}"),
        Err(finding) => found.push(finding),
    }
    found
}
