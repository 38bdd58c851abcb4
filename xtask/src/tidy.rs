//! `cargo xtask tidy`: the house rules that a text search can see.

mod leftovers;
mod markdown;
mod purity;
mod sizes;
mod spec;

use std::ops::RangeInclusive;

use crate::{
    finding::Finding,
    rust_source::{RustSource, line_of, words},
    tree::Tree,
};

/// A Rust file of the project and what is known of it.
#[derive(Debug)]
struct RustFile<'a> {
    path: &'a str,
    text: &'a str,
    source: RustSource,
    /// The lines that only tests see; all of them in a test's own file.
    tests: Vec<RangeInclusive<usize>>,
}

impl<'a> RustFile<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let source = RustSource::new(text);
        let all = 1..=text.lines().count();
        let tests = if is_test_path(path) { vec![all] } else { source.test_lines() };
        Self { path, text, source, tests }
    }

    fn is_test_line(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// A finding for each place where the code names `word`.
    fn naming(&self, word: &str, why: &str) -> Vec<Finding> {
        words(&self.source.code, word)
            .map(|at| {
                let line = line_of(&self.source.code, at);
                Finding::at(self.path, line, format!("`{word}`: {why}"))
            })
            .collect()
    }

    /// As [`Self::naming`], outside of tests.
    fn naming_outside_tests(&self, word: &str, why: &str) -> Vec<Finding> {
        words(&self.source.code, word)
            .map(|at| line_of(&self.source.code, at))
            .filter(|&line| !self.is_test_line(line))
            .map(|line| Finding::at(self.path, line, format!("`{word}`: {why}")))
            .collect()
    }
}

/// Tests' own files, and the checkers and suites that other tests run.
fn is_test_path(path: &str) -> bool {
    let folder =
        |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
    folder("tests")
        || folder("benches")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.starts_with("driver/src/conformance")
        || path.starts_with("sim/src/check")
}

/// Everything that tidy finds in a tree.
pub(crate) fn tidy(tree: &Tree) -> Vec<Finding> {
    let rust = rust_files(tree);
    let mut found = sizes::check(&rust);
    found.extend(purity::check(&rust));
    found.extend(leftovers::check(tree, &rust));
    found.extend(markdown::check(tree));
    found.extend(spec::check(tree, &rust));
    found
}

fn rust_files(tree: &Tree) -> Vec<RustFile<'_>> {
    tree.ending(".rs").map(|file| RustFile::new(&file.path, &file.text)).collect()
}
