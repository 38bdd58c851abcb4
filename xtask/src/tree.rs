//! The project's text files, as git sees them.

use std::{fs, path::Path};

use crate::{command, finding::Finding};

/// A text file of the project.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the workspace root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files that are tracked, or would be by `git add`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the tree at `root`; binary files and deleted ones are left out.
    pub(crate) fn load(root: &Path) -> Result<Self, Finding> {
        let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listing = command::capture(root, "git", &args)?;
        let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let read = |path: &str| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            Some(File { path: path.to_owned(), text })
        };
        Ok(Self { files: paths.into_iter().filter_map(read).collect() })
    }

    /// A tree that exists in a test only.
    #[cfg(test)]
    pub(crate) fn fake(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File { path: path.into(), text: text.into() };
        Self { files: files.iter().map(file).collect() }
    }

    /// The files whose names end so.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }
}
