//! What `cargo metadata` says of the packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{command, finding::Finding};

/// A package: one of ours or one from a registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// `None` for a package in a folder.
    pub(crate) source: Option<String>,
    pub(crate) manifest: PathBuf,
    /// What its manifest asks for, for all features and platforms.
    pub(crate) asks: Vec<Ask>,
}

/// A line of a manifest's dependencies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) requirement: String,
    pub(crate) optional: bool,
    pub(crate) features: Vec<String>,
    pub(crate) in_folder: bool,
}

impl Ask {
    /// True for a dependency that only tests, benches and examples have.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// All packages and, by id, what each is built with (development dependencies left out).
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) members: Vec<String>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Asks cargo, with all features; `platform` is a target triple.
    pub(crate) fn load(root: &Path, platform: Option<&str>) -> Result<Self, Finding> {
        let mut args = vec!["metadata", "--format-version", "1", "--locked", "--all-features"];
        args.extend(platform.into_iter().flat_map(|triple| ["--filter-platform", triple]));
        let text = command::capture(root, "cargo", &args)?;
        let value = serde_json::from_str(&text)
            .map_err(|error| Finding::new("cargo metadata", error.to_string()))?;
        Ok(Self::parse(&value))
    }

    /// Reads cargo's answer (format version 1).
    pub(crate) fn parse(metadata: &Value) -> Self {
        let packages = list(&metadata["packages"]).map(|p| (text(&p["id"]), package(p))).collect();
        let members = list(&metadata["workspace_members"]).map(text).collect();
        let built_with = |node: &Value| {
            let kept = list(&node["deps"])
                .filter(|dep| list(&dep["dep_kinds"]).any(|kind| kind["kind"] != "dev"));
            kept.map(|dep| text(&dep["pkg"])).collect()
        };
        let edges =
            list(&metadata["resolve"]["nodes"]).map(|n| (text(&n["id"]), built_with(n))).collect();
        Self { packages, members, edges }
    }

    /// Our own packages.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// Every package that ours are built with, ours included.
    pub(crate) fn built(&self) -> Vec<&Package> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&String> = self.members.iter().collect();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        reached.into_iter().filter_map(|id| self.packages.get(id)).collect()
    }
}

fn package(value: &Value) -> Package {
    Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        licence: value["license"].as_str().map(str::to_owned),
        source: value["source"].as_str().map(str::to_owned),
        manifest: PathBuf::from(text(&value["manifest_path"])),
        asks: list(&value["dependencies"]).map(ask).collect(),
    }
}

fn ask(value: &Value) -> Ask {
    Ask {
        name: text(&value["name"]),
        kind: value["kind"].as_str().map(str::to_owned),
        requirement: text(&value["req"]),
        optional: value["optional"] == true,
        features: list(&value["features"]).map(text).collect(),
        in_folder: value["path"].is_string(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_built_leaves_out_dev_dependencies() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "dependencies": [] });
        let dep = |to: &str, kind: Value| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("ours"), package("normal"), package("build"), package("dev")],
            "workspace_members": ["ours"],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [dep("normal", Value::Null), dep("dev", json!("dev"))] },
                { "id": "normal", "deps": [dep("build", json!("build"))] },
            ] },
        });
        let graph = Graph::parse(&metadata);
        let names: Vec<&str> = graph.built().iter().map(|package| &*package.name).collect();
        assert_eq!(names, ["build", "normal", "ours"]);
    }
}
