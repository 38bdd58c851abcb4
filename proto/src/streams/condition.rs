//! Conditions over a set of connected peers: `minimum_of(2)`, `with_tags`, `unmet`.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::discovery::PeerEntry;

type PeerTest = Arc<dyn Fn(&PeerEntry) -> bool + Send + Sync>;

/// Holds if at least so many connected peers pass all tests (or, inverted, if not).
#[derive(Clone)]
pub struct Condition {
    minimum: usize,
    inverted: bool,
    tests: Vec<PeerTest>,
}

impl Condition {
    /// At least `minimum` peers.
    #[must_use]
    pub const fn at_least(minimum: usize) -> Self {
        Self { minimum, inverted: false, tests: Vec::new() }
    }

    /// With another minimum; replaces the one before.
    #[must_use]
    pub fn minimum_of(mut self, minimum: usize) -> Self {
        self.minimum = minimum;
        self
    }

    /// Counts only peers that also pass this test.
    #[must_use]
    pub fn with_predicate(
        mut self,
        test: impl Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.tests.push(Arc::new(test));
        self
    }

    /// Holds when the rest does not. Saying it twice is saying it once.
    #[must_use]
    pub fn unmet(mut self) -> Self {
        self.inverted = true;
        self
    }

    /// Evaluates the condition over the connected peers.
    pub fn is_met<'a>(&self, peers: impl Iterator<Item = &'a PeerEntry>) -> bool {
        let count = peers.filter(|peer| self.tests.iter().all(|test| test(peer))).count();
        (count >= self.minimum) != self.inverted
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.inverted { "not " } else { "" };
        write!(f, "{not}at least {} with {} tests", self.minimum, self.tests.len())
    }
}
