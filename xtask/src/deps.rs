//! `cargo xtask deps`: who may depend on whom.

use std::path::Path;

use crate::{
    command,
    finding::Finding,
    graph::{Graph, Package},
};

/// What a package of ours may be built with, of ours. `*` ends a name that stands for several.
///
/// Tests, benches and examples may use anything but `xtask`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mosaik-proto", &[]),
    ("mosaik-macros", &[]),
    ("mosaik-driver", &["mosaik-proto"]),
    ("mosaik-driver-*", &["mosaik-proto", "mosaik-driver"]),
    ("mosaik-collections", &["mosaik-proto", "mosaik-driver"]),
    ("mosaik-tickets", &["mosaik-proto"]),
    ("mosaik-tee", &["mosaik-proto"]),
    ("mosaik-sim", &["mosaik-proto", "mosaik-driver", "mosaik-macros", "mosaik-collections"]),
    (
        "mosaik",
        &[
            "mosaik-proto",
            "mosaik-driver",
            "mosaik-driver-*",
            "mosaik-macros",
            "mosaik-collections",
            "mosaik-tickets",
            "mosaik-tee",
        ],
    ),
    ("xtask", &[]),
];

/// All that proto is built with: every one works without an operating system.
const PROTO_USES: [&str; 10] = [
    "blake3",
    "bytes",
    "chrono",
    "ed25519-dalek",
    "getrandom",
    "postcard",
    "rand_chacha",
    "serde",
    "thiserror",
    "tracing",
];
/// Proto uses these for hosts only (feature `host`).
const PROTO_OPTIONAL: [&str; 1] = ["getrandom"];
/// Nothing below proto is one of these.
const NOT_UNDER_PROTO: [&str; 14] = [
    "tokio",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "mio",
    "socket2",
    "async-io",
    "async-executor",
    "smol",
    "rand",
    "getrandom",
    "iana-time-zone",
    "polling",
    "rustls",
];
const RUNTIMES: [&str; 10] = [
    "tokio",
    "smol",
    "async-std",
    "async-io",
    "async-executor",
    "async-global-executor",
    "mio",
    "polling",
    "monoio",
    "compio",
];
/// The packages that know no runtime; below them one may stand under quinn alone.
const NEUTRAL: [&str; 4] = ["mosaik-driver", "mosaik-collections", "mosaik-tee", "mosaik-sim"];

/// No tokio runs beside it: quinn uses its locks, which need neither a runtime nor sockets (mio).
const SMOL: &str = "mosaik-driver-smol";

/// Checks the manifests and what cargo makes of them.
pub(crate) fn deps(root: &Path) -> Vec<Finding> {
    let graph = match Graph::load(root, None) {
        Ok(graph) => graph,
        Err(finding) => return vec![finding],
    };
    let mut found = manifests(&graph);
    let host: Vec<&str> =
        NOT_UNDER_PROTO.into_iter().filter(|name| !PROTO_OPTIONAL.contains(name)).collect();
    found.extend(below(root, "mosaik-proto", &[], &NOT_UNDER_PROTO, None));
    found.extend(below(root, "mosaik-proto", &["--features", "host"], &host, None));
    for package in graph.ours().filter(|package| NEUTRAL.contains(&&*package.name)) {
        found.extend(below(root, &package.name, &["--all-features"], &RUNTIMES, Some("quinn")));
    }
    if graph.ours().any(|package| package.name == SMOL) {
        let features = ["--all-features"];
        found.extend(below(root, SMOL, &features, &["tokio", "smol"], Some("quinn")));
        found.extend(below(root, SMOL, &features, &["mio", "tokio-macros"], None));
    }
    found
}

/// What the manifests of our packages ask for.
fn manifests(graph: &Graph) -> Vec<Finding> {
    let ours: Vec<&str> = graph.ours().map(|package| &*package.name).collect();
    let mut found = Vec::new();
    for package in graph.ours() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| stands_for(name, &package.name))
        else {
            let what = "no rule says what it may depend on; add one to xtask/src/deps.rs";
            found.push(Finding::new(&package.name, what));
            continue;
        };
        let internal = package.asks.iter().filter(|ask| ours.contains(&&*ask.name));
        for ask in internal.filter(|ask| ask.name == "xtask" || !ask.is_dev()) {
            if !allowed.iter().any(|name| stands_for(name, &ask.name)) {
                found.push(Finding::new(&package.name, format!("may not depend on {}", ask.name)));
            }
        }
        if package.name == "mosaik-proto" {
            found.extend(proto_uses(package));
        }
        if NEUTRAL.contains(&&*package.name) {
            found.extend(neutral_asks(package));
        }
        if package.name == SMOL {
            found.extend(quinn_runtimes(package));
        }
    }
    found
}

fn proto_uses(proto: &Package) -> Vec<Finding> {
    let mut found = Vec::new();
    for ask in proto.asks.iter().filter(|ask| !ask.is_dev()) {
        if !PROTO_USES.contains(&&*ask.name) {
            found.push(Finding::new(&proto.name, format!("{} is not on its list", ask.name)));
        }
        if PROTO_OPTIONAL.contains(&&*ask.name) && !ask.optional {
            found.push(Finding::new(&proto.name, format!("{} must be optional", ask.name)));
        }
    }
    found
}

fn neutral_asks(package: &Package) -> Vec<Finding> {
    let mut found = Vec::new();
    for ask in package.asks.iter().filter(|ask| !ask.is_dev()) {
        if RUNTIMES.contains(&&*ask.name) {
            found.push(Finding::new(&package.name, format!("{} is a runtime", ask.name)));
        }
    }
    found.extend(quinn_runtimes(package));
    found
}

/// Runtimes that come by a feature.
fn quinn_runtimes(package: &Package) -> Vec<Finding> {
    let mut found = Vec::new();
    for ask in package.asks.iter().filter(|ask| !ask.is_dev()) {
        for feature in ask.features.iter().filter(|feature| feature.starts_with("runtime-")) {
            found.push(Finding::new(
                &package.name,
                format!("{}/{feature} brings a runtime", ask.name),
            ));
        }
    }
    found
}

/// `mosaik-driver-*` stands for every driver crate; a rule of that kind never stands for itself:
/// a driver crate's own list does not name it, so drivers do not import each other.
fn stands_for(rule: &str, name: &str) -> bool {
    rule.strip_suffix('*').map_or(rule == name, |begin| name.starts_with(begin))
}

/// Findings for what stands in a package's tree and may not; below `shelter` it may.
fn below(
    root: &Path,
    package: &str,
    features: &[&str],
    banned: &[&str],
    shelter: Option<&str>,
) -> Vec<Finding> {
    let mut args =
        vec!["tree", "--locked", "-p", package, "-e", "normal", "--prefix", "depth", "--no-dedupe"];
    args.extend(features);
    match command::capture(root, "cargo", &args) {
        Ok(tree) => in_tree(package, &tree, banned, shelter),
        Err(finding) => vec![finding],
    }
}

fn in_tree(package: &str, tree: &str, banned: &[&str], shelter: Option<&str>) -> Vec<Finding> {
    let mut way: Vec<&str> = Vec::new();
    let mut found: Vec<Finding> = Vec::new();
    for line in tree.lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (depth, rest) = line.split_at(digits);
        let (Ok(depth), Some(name)) = (depth.parse(), rest.split(' ').next()) else { continue };
        way.truncate(depth);
        way.push(name);
        let sheltered = shelter.is_some_and(|shelter| way.contains(&shelter));
        if depth > 0 && banned.contains(&name) && !sheltered {
            let finding =
                Finding::new(package, format!("brings {name} by way of {}", way.join(" > ")));
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, graph::Ask};

    fn graph(packages: Vec<(&str, Vec<Ask>)>) -> Graph {
        let mut graph = Graph::default();
        for (name, asks) in packages {
            graph.members.push(name.into());
            graph
                .packages
                .insert(name.into(), Package { name: name.into(), asks, ..Package::default() });
        }
        graph
    }

    fn on(name: &str) -> Ask {
        Ask { name: name.into(), ..Ask::default() }
    }

    fn dev(name: &str) -> Ask {
        Ask { kind: Some("dev".into()), ..on(name) }
    }

    #[test]
    fn the_house_as_drawn_is_accepted() {
        let found = manifests(&graph(vec![
            (
                "mosaik-proto",
                vec![on("bytes"), Ask { optional: true, ..on("getrandom") }, dev("proptest")],
            ),
            (
                "mosaik-driver",
                vec![on("mosaik-proto"), on("quinn"), dev("tokio"), dev("mosaik-sim")],
            ),
            ("mosaik-driver-tokio", vec![on("mosaik-driver"), on("tokio")]),
            ("mosaik-sim", vec![on("mosaik-proto")]),
            ("mosaik", vec![on("mosaik-driver-tokio")]),
        ]));
        assert_eq!(texts(&found), [""; 0]);
    }

    #[test]
    fn forbidden_ways_are_found() {
        let found = manifests(&graph(vec![
            ("mosaik-proto", vec![on("mosaik-sim"), on("tokio"), on("getrandom")]),
            (
                "mosaik-driver",
                vec![on("tokio"), Ask { features: vec!["runtime-tokio".into()], ..on("quinn") }],
            ),
            (
                "mosaik-driver-smol",
                vec![
                    on("mosaik-driver-tokio"),
                    on("async-io"),
                    Ask { features: vec!["runtime-smol".into()], ..on("quinn") },
                ],
            ),
            ("mosaik-driver-tokio", vec![dev("xtask")]),
            ("mosaik-sim", vec![]),
            ("mosaik-new", vec![]),
            ("xtask", vec![]),
        ]));
        let expected = [
            "mosaik-proto: may not depend on mosaik-sim",
            "mosaik-proto: mosaik-sim is not on its list",
            "mosaik-proto: tokio is not on its list",
            "mosaik-proto: getrandom must be optional",
            "mosaik-driver: tokio is a runtime",
            "mosaik-driver: quinn/runtime-tokio brings a runtime",
            "mosaik-driver-smol: may not depend on mosaik-driver-tokio",
            "mosaik-driver-smol: quinn/runtime-smol brings a runtime",
            "mosaik-driver-tokio: may not depend on xtask",
            "mosaik-new: no rule says what it may depend on; add one to xtask/src/deps.rs",
        ];
        assert_eq!(texts(&found), expected);
    }

    #[test]
    fn a_runtime_may_stand_under_quinn_alone() {
        let tree = "0driver v1\n1quinn v0.11\n2tokio v1 (*)\n1metrics v1\n2hyper v1\n3tokio v1\n";
        let found = texts(&in_tree("driver", tree, &RUNTIMES, Some("quinn")));
        assert_eq!(found, ["driver: brings tokio by way of driver > metrics > hyper > tokio"]);
        assert_eq!(in_tree("driver", tree, &RUNTIMES, None).len(), 2);
    }
}
