//! `cargo xtask licences`: every package that is built in is permissively licensed and from
//! crates.io. The policy stands in `deny.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{
    command,
    finding::Finding,
    graph::{Graph, Package},
    spdx,
};

const POLICY: &str = "deny.toml";
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `deny.toml` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    targets: Vec<String>,
    allow: Vec<String>,
}

/// Checks the graph of every platform that `deny.toml` names; asks cargo-deny too, where it is installed.
pub(crate) fn licences(root: &Path) -> Vec<Finding> {
    let policy = match fs::read_to_string(root.join(POLICY)) {
        Ok(text) => Policy::parse(&text),
        Err(error) => return vec![Finding::new(POLICY, error.to_string())],
    };
    if policy.allow.is_empty() || policy.targets.is_empty() {
        return vec![Finding::new(POLICY, "needs [graph] targets and [licenses] allow")];
    }
    let mut found = Vec::new();
    let mut built: BTreeMap<(String, String), Package> = BTreeMap::new();
    for target in &policy.targets {
        match Graph::load(root, Some(target)) {
            Ok(graph) => {
                found.extend(graph.ours().flat_map(wildcards));
                let packages = graph.built().into_iter().cloned();
                built.extend(
                    packages
                        .map(|package| ((package.name.clone(), package.version.clone()), package)),
                );
            }
            Err(finding) => found.push(finding),
        }
    }
    let packages: Vec<&Package> = built.values().collect();
    println!("{} packages on {} platforms", packages.len(), policy.targets.len());
    found.extend(check(root, &packages, &policy.allow));
    found.extend(duplicates(&packages));
    let mut once = BTreeSet::new();
    found.retain(|finding| once.insert(finding.to_string()));
    if command::capture(root, "cargo", &["deny", "--version"]).is_ok() {
        found.extend(command::cargo(root, "deny --locked check licenses bans sources"));
    } else {
        println!("cargo-deny is not installed: its own check is left out");
    }
    found
}

impl Policy {
    /// Reads the two lists; all else in the file is for cargo-deny.
    fn parse(text: &str) -> Self {
        let list = |section: &str, key: &str| {
            let mut inside = false;
            let mut entry = String::new();
            for line in text.lines() {
                let line = line.split('#').next().unwrap_or_default().trim();
                if line.starts_with('[') && entry.is_empty() {
                    inside = line == format!("[{section}]");
                } else if inside
                    && (!entry.is_empty() || line.split('=').next().map(str::trim) == Some(key))
                {
                    entry.push_str(line);
                    if line.ends_with(']') {
                        break;
                    }
                }
            }
            entry.split('"').skip(1).step_by(2).map(str::to_owned).collect()
        };
        Self { targets: list("graph", "targets"), allow: list("licenses", "allow") }
    }
}

fn check(root: &Path, packages: &[&Package], allow: &[String]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let place = format!("{} {}", package.name, package.version);
        match package.licence.as_deref().map(|licence| (licence, spdx::satisfied(licence, allow))) {
            Some((_, Some(true))) => {}
            Some((licence, Some(false))) => {
                found.push(Finding::new(&place, format!("licence {licence} is not allowed")))
            }
            Some((licence, None)) => {
                found.push(Finding::new(&place, format!("licence {licence:?} cannot be read")))
            }
            None => found.push(Finding::new(&place, "names no licence")),
        }
        match package.source.as_deref() {
            Some(REGISTRY) => {}
            None if package.manifest.starts_with(root) => {}
            None => found.push(Finding::new(place, "comes from a folder outside the workspace")),
            Some(source) => {
                found.push(Finding::new(place, format!("comes from {source}, not from crates.io")))
            }
        }
    }
    found
}

fn wildcards(package: &Package) -> Vec<Finding> {
    let any = package
        .asks
        .iter()
        .filter(|ask| ask.requirement == "*" && !(ask.in_folder && ask.is_dev()));
    any.map(|ask| Finding::new(&package.name, format!("takes any version of {}", ask.name)))
        .collect()
}

fn duplicates(packages: &[&Package]) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    several
        .map(|(name, versions)| {
            Finding::warning(name, format!("is built in versions {}", versions.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, graph::Ask};

    fn package(name: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            manifest: format!("/x/{name}/Cargo.toml").into(),
            ..Package::default()
        }
    }

    #[test]
    fn the_policy_is_read_from_deny_toml() {
        let text = "# no\n[graph]\ntargets = [\"a\"]\n[licenses]\nallow = [ # yes\n  \"MIT\",\n  \"X WITH E\",\n]\n[bans]\nallow = [\"no\"]\n";
        let expected =
            Policy { targets: vec!["a".into()], allow: vec!["MIT".into(), "X WITH E".into()] };
        assert_eq!(Policy::parse(text), expected);
    }

    #[test]
    fn licences_and_sources_are_checked() {
        let packages = [
            package("good", Some("MIT OR GPL-3.0"), Some(REGISTRY)),
            package("ours", Some("MIT"), None),
            package("copyleft", Some("AGPL-3.0"), Some(REGISTRY)),
            package("silent", None, Some(REGISTRY)),
            package("odd", Some("MIT OR"), Some("git+https://example.invalid/odd")),
        ];
        let mut stray = package("stray", Some("MIT"), None);
        stray.manifest = "/y/Cargo.toml".into();
        let all: Vec<&Package> = packages.iter().chain([&stray]).collect();
        let expected = [
            "copyleft 1.0.0: licence AGPL-3.0 is not allowed",
            "silent 1.0.0: names no licence",
            "odd 1.0.0: licence \"MIT OR\" cannot be read",
            "odd 1.0.0: comes from git+https://example.invalid/odd, not from crates.io",
            "stray 1.0.0: comes from a folder outside the workspace",
        ];
        assert_eq!(texts(&check(Path::new("/x"), &all, &["MIT".into()])), expected);
    }

    #[test]
    fn duplicates_warn_and_wildcards_fail() {
        let one = package("a", None, None);
        let two = Package { version: "2.0.0".into(), ..one.clone() };
        let found = duplicates(&[&one, &two]);
        assert_eq!(texts(&found), ["warning: a: is built in versions 1.0.0, 2.0.0"]);
        assert!(found[0].warning);
        let any = Ask { name: "b".into(), requirement: "*".into(), ..Ask::default() };
        assert_eq!(
            texts(&wildcards(&Package { asks: vec![any], ..one })),
            ["a: takes any version of b"]
        );
    }
}
