//! Who may name what: cores know no host, glue knows no runtime, adapters know no protocol.

use super::RustFile;
use crate::{
    finding::Finding,
    rust_source::{line_of, words},
};

/// Names that no core knows; order, clocks, threads and sockets are the driver's.
const NOT_IN_PROTO: [&str; 9] = [
    "HashMap",
    "HashSet",
    "std::time",
    "SystemTime",
    "Instant::now",
    "thread_rng",
    "tokio",
    "std::net",
    "std::thread",
];
/// Names of this machine's clock and entropy; `host.rs` alone may use them.
const HOST_ONLY: [&str; 5] = ["Utc::now", "Local::now", "getrandom", "OsRng", "rand::rng"];
const HOST: &str = "proto/src/host.rs";
/// Names that no neutral crate knows.
const RUNTIMES: [&str; 6] = ["tokio", "smol", "async_std", "async_io", "async_executor", "mio"];
const NEUTRAL: [&str; 4] = ["driver/src/", "collections/src/", "tee/src/", "sim/src/"];

pub(super) fn check(rust: &[RustFile<'_>]) -> Vec<Finding> {
    let host = rust.iter().find(|file| file.path == HOST).map(host_functions).unwrap_or_default();
    let mut found = Vec::new();
    for file in rust {
        if file.path.starts_with("proto/src/") {
            found.extend(core(file, &host));
        }
        if NEUTRAL.iter().any(|crates| file.path.starts_with(crates)) {
            let named =
                |word: &&str| file.naming_outside_tests(word, "this crate knows no runtime");
            found.extend(RUNTIMES.iter().flat_map(named));
        }
        if reads_no_actions(file.path) {
            found.extend(actions(file));
        }
    }
    found
}

fn core(file: &RustFile<'_>, host: &[String]) -> Vec<Finding> {
    let named = |word: &&str| file.naming(word, "no core may name it");
    let mut found: Vec<Finding> = NOT_IN_PROTO.iter().flat_map(named).collect();
    found.extend(file.naming_outside_tests("extern crate std", "proto is no_std"));
    if file.path == HOST {
        return found;
    }
    for word in HOST_ONLY {
        found.extend(
            file.naming(word, "this machine's clock and entropy are named in host.rs only"),
        );
    }
    for function in host {
        found.extend(file.naming(function, "is for hosts (host.rs), not for cores or their tests"));
    }
    let uses = file.source.uncommented.match_indices("\"host\"");
    for (at, _) in uses.filter(|(at, _)| !gates_the_module(file, *at)) {
        let line = line_of(&file.source.uncommented, at);
        found.push(Finding::at(file.path, line, "feature `host` adds host.rs and nothing else"));
    }
    found
}

/// True for the attribute of `mod host;` in `lib.rs`.
fn gates_the_module(file: &RustFile<'_>, at: usize) -> bool {
    let mut lines = file.source.uncommented[at..].lines().skip(1);
    file.path == "proto/src/lib.rs" && lines.next().is_some_and(|line| line.trim() == "mod host;")
}

/// `Type::function` for each associated function that `host.rs` adds.
///
/// Its methods are not seen here: proto built alone (`cargo xtask nostd`) has none of them.
fn host_functions(file: &RustFile<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let mut of = "";
    for line in file.source.code.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("impl ") {
            of = rest.trim_end_matches(['{', ' ']);
        }
        let function = line.strip_prefix("pub fn ").and_then(|rest| rest.split_once('('));
        if let Some((name, arguments)) = function
            && !arguments.contains("self")
        {
            names.push(format!("{of}::{name}"));
        }
    }
    names
}

/// Who may take actions apart: one place for all our drivers, and the example of a driver that is
/// none of ours (`docs/write-your-own-driver.md`).
const EXECUTORS: [&str; 3] = [
    "driver/src/task/execute",
    // Writes them down.
    "driver/src/conformance/transcript.rs",
    "examples/custom_driver.rs",
];

/// Actions are carried out in one place for all drivers.
fn reads_no_actions(path: &str) -> bool {
    let adapter = path.starts_with("driver-") && path.contains("/src/");
    let above = ["driver/src/", "src/", "examples/"].iter().any(|folder| path.starts_with(folder));
    (adapter || above) && !EXECUTORS.iter().any(|executor| path.starts_with(executor))
}

fn actions(file: &RustFile<'_>) -> Vec<Finding> {
    let code = &file.source.code;
    words(code, "Action")
        .filter(|at| code[at + "Action".len()..].starts_with("::"))
        .map(|at| {
            let what = "`Action::`: actions are matched in driver/src/task/execute.rs only";
            Finding::at(file.path, line_of(code, at), what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, tidy::rust_files, tree::Tree};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        texts(&check(&rust_files(&Tree::fake(files))))
    }

    #[test]
    fn cores_name_no_host() {
        let text =
            "use std::collections::HashMap; // HashSet\nlet a = \"tokio\";\nlet b = Utc::now();\n";
        let expected = [
            "proto/src/a.rs:1: `HashMap`: no core may name it",
            "proto/src/a.rs:3: `Utc::now`: this machine's clock and entropy are named in host.rs only",
        ];
        assert_eq!(found(&[("proto/src/a.rs", text)]), expected);
        assert_eq!(found(&[("driver/src/a.rs", text), (HOST, "Utc::now();")]), [""; 0]);
    }

    #[test]
    fn host_functions_and_the_host_feature_stay_in_their_room() {
        let lib = "#[cfg(feature = \"host\")]\nmod host;\n";
        let host = "impl Digest {\n    pub fn random() -> Self {}\n    pub fn left(&self) {}\n}\n";
        let core = "#[cfg(feature = \"host\")]\nfn a() { Digest::random(); Digest::randomly(); }\n";
        let expected = [
            "proto/src/a.rs:2: `Digest::random`: is for hosts (host.rs), not for cores or their tests",
            "proto/src/a.rs:1: feature `host` adds host.rs and nothing else",
        ];
        assert_eq!(
            found(&[("proto/src/lib.rs", lib), (HOST, host), ("proto/src/a.rs", core)]),
            expected
        );
    }

    #[test]
    fn neutral_crates_name_no_runtime_but_their_tests_may() {
        let text = "use tokio::spawn;\n#[cfg(test)]\nmod tests {\n    use tokio::spawn;\n}\n";
        assert_eq!(
            found(&[("driver/src/a.rs", text)]),
            ["driver/src/a.rs:1: `tokio`: this crate knows no runtime"]
        );
        assert_eq!(found(&[("driver-tokio/src/a.rs", text)]), [""; 0]);
    }

    #[test]
    fn actions_are_matched_in_one_place() {
        let text = "match action { Action::Dial { .. } => {} TheirAction::Dial => {} }";
        let why = "`Action::`: actions are matched in driver/src/task/execute.rs only";
        assert_eq!(
            found(&[("driver-tokio/src/a.rs", text)]),
            [format!("driver-tokio/src/a.rs:1: {why}")]
        );
        assert_eq!(
            found(&[("driver/src/task.rs", text)]),
            [format!("driver/src/task.rs:1: {why}")]
        );
        assert_eq!(
            found(&[("examples/quickstart.rs", text), ("examples/custom_driver/tcp.rs", text)]),
            [
                format!("examples/quickstart.rs:1: {why}"),
                format!("examples/custom_driver/tcp.rs:1: {why}")
            ]
        );
        assert_eq!(
            found(&[
                ("driver/src/task/execute.rs", text),
                ("examples/custom_driver.rs", text),
                ("sim/src/world.rs", text)
            ]),
            [""; 0]
        );
    }
}
