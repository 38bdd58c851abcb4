//! Which items of a producer's log went to nobody yet.

use alloc::{collections::BTreeMap, vec::Vec};

/// Disjoint ranges of sequence numbers, as first and end. There are never more than items in the
/// log, and seldom more than a few: consumers send runs.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    ranges: BTreeMap<u64, u64>,
}

impl Unsent {
    /// Items `first..end` are new.
    pub(super) fn add(&mut self, first: u64, end: u64) {
        match self.ranges.last_entry() {
            Some(mut last) if *last.get() == first => *last.get_mut() = end,
            _ if first < end => drop(self.ranges.insert(first, end)),
            _ => {}
        }
    }

    /// Items `first..end` are of no interest any more; those of them that were are returned.
    pub(super) fn remove(&mut self, first: u64, end: u64) -> Vec<(u64, u64)> {
        let mut removed = Vec::new();
        while let Some((&from, &to)) = self.ranges.range(..end).next_back() {
            if to <= first {
                break;
            }
            self.ranges.remove(&from);
            if to > end {
                self.ranges.insert(end, to);
            }
            if from < first {
                self.ranges.insert(from, first);
            }
            removed.push((from.max(first), to.min(end)));
        }
        removed.reverse();
        removed
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a set of numbers would.
        #[test]
        fn ranges_are_a_set(steps in proptest::collection::vec((0u64..60, 0u64..20), 1..40)) {
            let (mut unsent, mut model) = (Unsent::default(), BTreeSet::new());
            let mut next = 0;
            for (at, length) in steps {
                unsent.add(next, next + length % 4);
                model.extend(next..next + length % 4);
                next += length % 4;
                let removed = unsent.remove(at, at + length);
                let expected: Vec<u64> =
                    (at..at + length).filter(|number| model.remove(number)).collect();
                let removed: Vec<u64> = removed.into_iter().flat_map(|(a, b)| a..b).collect();
                prop_assert_eq!(removed, expected);
                prop_assert!(unsent.ranges.len() <= model.len());
            }
        }
    }
}
