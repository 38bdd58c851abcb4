//! What a chore reports.

use std::fmt;

/// One thing that a chore found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A warning is printed and fails nothing.
    pub(crate) warning: bool,
    place: String,
    what: String,
}

impl Finding {
    /// A finding that fails the chore.
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { warning: false, place: place.into(), what: what.into() }
    }

    /// A finding in a file; `line` counts from 1.
    pub(crate) fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{path}:{line}"), what)
    }

    /// A finding that is worth knowing and fails nothing.
    pub(crate) fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(place, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.warning { "warning: " } else { "" };
        write!(f, "{warning}{}: {}", self.place, self.what)
    }
}

/// The findings as text, for tests.
#[cfg(test)]
pub(crate) fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
