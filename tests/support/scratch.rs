//! A directory for one test, which is deleted behind it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use mosaik::UniqueId;

/// A directory that nobody else uses.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = env::temp_dir().join(format!("mosaik-{}", UniqueId::random()));
        fs::create_dir_all(&path).expect("room for a directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
