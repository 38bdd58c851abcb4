//! Real processes, and hosts made of network namespaces, for acceptance tests.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod process;
pub(crate) mod role;

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

#[allow(unused_imports, reason = "as above")]
pub(crate) use self::process::Process;
#[allow(unused_imports, reason = "as above")]
pub(crate) use mosaik_sim::netns::Hosts;

/// A word that no other test uses, now or before.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// An example of this package, as `cargo test` builds it next to the tests.
///
/// # Panics
/// If it was not built: `cargo test --test …` alone does not.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the test is a file");
    let profile = test.ancestors().nth(2).expect("the test is in target/<profile>/deps");
    let path = profile.join("examples").join(name).with_extension(env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{path:?} is missing: cargo build --example {name}");
    path
}

/// A directory for `MOSAIK_RUNTIME_DIR` that is removed in the end. Its nodes find only each other.
#[derive(Debug)]
pub(crate) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// A new directory. The first node creates it, with the rights that it wants.
    pub(crate) fn new() -> Self {
        Self(env::temp_dir().join(unique("mosaik-test")))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
