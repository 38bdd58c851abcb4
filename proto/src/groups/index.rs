//! Places in a group's history, as users count them: by commands.

use core::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use crate::raft::Term;

/// The place of a command among all commands of a group. The first is 1; 0 is before the first.
/// No-ops, changes of membership and sessions are not counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Index(pub u64);

/// Commands that follow each other, both ends included.
pub type IndexRange = core::ops::RangeInclusive<Index>;

impl Index {
    /// Before the first command.
    pub const ZERO: Self = Self(0);

    /// True before the first command.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The place behind it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before it; 0 stays.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How far `other` is behind this, or 0.
    #[must_use]
    pub const fn distance(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<u64> for Index {
    fn from(index: u64) -> Self {
        Self(index)
    }
}

impl From<u32> for Index {
    fn from(index: u32) -> Self {
        Self(u64::from(index))
    }
}

impl From<usize> for Index {
    fn from(index: usize) -> Self {
        Self(index as u64)
    }
}

/// A negative number is before the first command, and so 0.
impl From<i32> for Index {
    fn from(index: i32) -> Self {
        Self(u64::try_from(index).unwrap_or(0))
    }
}

impl From<IndexRange> for Index {
    /// The last of them.
    fn from(range: IndexRange) -> Self {
        *range.end()
    }
}

impl From<Index> for u64 {
    fn from(index: Index) -> Self {
        index.0
    }
}

impl PartialEq<u64> for Index {
    fn eq(&self, other: &u64) -> bool {
        self.0 == *other
    }
}

/// Literals without a suffix are `i32`. A negative number is equal to no place.
impl PartialEq<i32> for Index {
    fn eq(&self, other: &i32) -> bool {
        u64::try_from(*other).is_ok_and(|other| self.0 == other)
    }
}

impl PartialEq<u64> for &Index {
    fn eq(&self, other: &u64) -> bool {
        self.0 == *other
    }
}

impl PartialEq<i32> for &Index {
    fn eq(&self, other: &i32) -> bool {
        **self == *other
    }
}

impl PartialOrd<u64> for Index {
    fn partial_cmp(&self, other: &u64) -> Option<Ordering> {
        self.0.partial_cmp(other)
    }
}

/// A negative number is before every place.
impl PartialOrd<i32> for Index {
    fn partial_cmp(&self, other: &i32) -> Option<Ordering> {
        Some(u64::try_from(*other).map_or(Ordering::Greater, |other| self.0.cmp(&other)))
    }
}

/// A command's place with the term in which it was appended. Ordered by term, then place.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    term: Term,
    index: Index,
}

impl Cursor {
    /// A place of a term.
    #[must_use]
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }

    /// The term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// The place.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// True before the first command.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.index.is_zero()
    }

    /// True if the other is ahead.
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        self < other
    }
}

impl PartialEq<Index> for Cursor {
    fn eq(&self, other: &Index) -> bool {
        self.index == *other
    }
}

impl PartialEq<u64> for Cursor {
    fn eq(&self, other: &u64) -> bool {
        self.index == *other
    }
}

/// Literals without a suffix are `i32`. A negative number is equal to no place.
impl PartialEq<i32> for Cursor {
    fn eq(&self, other: &i32) -> bool {
        self.index == *other
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.term, self.index)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_compare_as_people_write_them() {
        let index = Index(3);
        assert!(index == 3 && &index == 3 && index > 2 && index > -1 && index != -3);
        assert_eq!(Index::from(-7), 0);
        assert_eq!(Index::from(Index(2)..=Index(5)), 5);
        assert!(Cursor::new(Term(1), Index(9)) == 9 && Cursor::new(Term(1), Index(9)) == Index(9));
        assert!(Cursor::new(Term(1), Index(9)).is_behind(&Cursor::new(Term(2), Index(1))));
    }
}
