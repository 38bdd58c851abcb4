//! Where the commands of one session stand: numbers as ranges, a range for each stretch.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Index;

/// Numbers that follow each other, and where their commands stand, which follow each other too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The first number.
    pub(super) number: u64,
    /// How many.
    pub(super) count: u64,
    /// The place of the first; `None` if the numbers were used up by nothing.
    pub(super) index: Option<Index>,
}

/// The places of one session, in order and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    ranges: VecDeque<Place>,
}

impl Place {
    /// The number behind the last.
    pub(super) const fn end(&self) -> u64 {
        self.number + self.count
    }

    /// The part from `number` on, which is one of them.
    const fn from(self, number: u64) -> Self {
        let gone = number - self.number;
        let index = match self.index {
            Some(index) => Some(Index(index.0 + gone)),
            None => None,
        };
        Self { number, count: self.count - gone, index }
    }

    /// True if `next` goes on where this ends.
    fn goes_on(&self, next: &Self) -> bool {
        self.end() == next.number
            && match (self.index, next.index) {
                (Some(mine), Some(next)) => mine.0 + self.count == next.0,
                (None, None) => true,
                _ => false,
            }
    }
}

impl Places {
    /// Adds the numbers behind the last.
    pub(super) fn push(&mut self, place: Place) {
        match self.ranges.back_mut() {
            Some(last) if last.goes_on(&place) => last.count += place.count,
            _ => self.ranges.push_back(place),
        }
    }

    /// Where a number stands, and those that follow it in the same stretch.
    pub(super) fn find(&self, number: u64) -> Option<Place> {
        let at = self.ranges.partition_point(|place| place.end() <= number);
        let place = self.ranges.get(at).filter(|place| place.number <= number)?;
        Some(place.from(number))
    }

    /// Forgets the numbers below `number`.
    pub(super) fn forget_below(&mut self, number: u64) {
        while let Some(first) = self.ranges.front_mut() {
            if first.number >= number {
                return;
            }
            if first.end() > number {
                *first = first.from(number);
                return;
            }
            self.ranges.pop_front();
        }
    }

    /// Forgets the oldest stretches, so that no more than `most` are kept.
    pub(super) fn keep(&mut self, most: usize) {
        while self.ranges.len() > most {
            self.ranges.pop_front();
        }
    }

    /// True if they are in order, without gaps, at most `most` stretches, and end before `next`.
    pub(super) fn is_sound(&self, next: u64, most: usize) -> bool {
        let mut end = None;
        let whole = self.ranges.iter().all(|place| {
            let follows = end.is_none_or(|end| end == place.number);
            let last = place.number.checked_add(place.count);
            let fits = place.index.is_none_or(|i| i.0.checked_add(place.count).is_some());
            end = last;
            follows && place.count > 0 && last.is_some() && fits
        });
        whole && self.ranges.len() <= most && end.is_none_or(|end| end == next)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However numbers come, each is found where it was put until it is forgotten.
        #[test]
        fn numbers_are_found(
            parts in proptest::collection::vec((1u64..9, proptest::option::of(0u64..3)), 1..40),
            forget in 0u64..200,
        ) {
            let (mut places, mut model) = (Places::default(), Vec::new());
            let mut index = 1;
            for (count, gap) in parts {
                let at = gap.map(|gap| Index(index + gap));
                index = at.map_or(index, |at| at.0 + count);
                let number = model.len() as u64;
                places.push(Place { number, count, index: at });
                model.extend((0..count).map(|i| at.map(|at| Index(at.0 + i))));
            }
            places.forget_below(forget);
            prop_assert!(places.is_sound(model.len() as u64, usize::MAX));
            for (number, at) in (0..).zip(&model) {
                let found = places.find(number);
                prop_assert_eq!(found.is_some(), number >= forget);
                if let Some(found) = found {
                    prop_assert_eq!((found.number, found.index), (number, *at));
                }
            }
            prop_assert_eq!(places.find(model.len() as u64), None);
        }
    }

    #[test]
    fn stretches_that_follow_are_one() {
        let mut places = Places::default();
        for i in 0..100 {
            places.push(Place { number: i * 3, count: 3, index: Some(Index(7 + i * 3)) });
        }
        assert_eq!(places.ranges.len(), 1);
        places.push(Place { number: 300, count: 1, index: Some(Index(400)) });
        places.push(Place { number: 301, count: 1, index: None });
        assert_eq!(places.ranges.len(), 3);
        places.keep(2);
        assert_eq!(places.find(299), None);
        assert_eq!(places.find(300).unwrap().index, Some(Index(400)));
    }
}
