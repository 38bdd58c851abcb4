//! How often the stores of others were started: an older copy of one starts with a number that was
//! seen before.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    limits,
    mutant::{self, Mutant},
    raft::Seat,
};

/// What was seen of one store.
#[derive(Clone, Copy, Debug)]
struct Seen {
    boot: u64,
    /// Which start that was; not known of what was seen before this member's own start.
    start: Option<u64>,
    /// Rises with every change: what was raised longest ago goes first.
    at: u64,
}

/// What a member's start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The one that was seen last.
    Known,
    /// A later one, which is to be remembered.
    Later,
    /// GRP-18: another one of the same number, or an earlier one: its store is an older copy.
    RolledBack,
}

/// The highest boot number of each seat.
#[derive(Debug, Default)]
pub(super) struct Boots {
    seen: BTreeMap<Seat, Seen>,
    changes: u64,
}

impl Boots {
    /// What the store remembers.
    pub(super) fn new(stored: Vec<(Seat, u64)>) -> Self {
        let mut boots = Self::default();
        for (seat, boot) in stored {
            boots.remember(seat, boot, None);
        }
        boots
    }

    /// A member says which start of its store it is.
    pub(super) fn meet(&mut self, seat: Seat, boot: u64, start: u64) -> Start {
        // Who comes back under its old seat without a store has none to number.
        if mutant::on(Mutant::BootIgnored) || mutant::on(Mutant::SeatReused) {
            return Start::Known;
        }
        let met = match self.seen.get(&seat) {
            Some(seen) if boot < seen.boot => return Start::RolledBack,
            Some(seen) if boot == seen.boot => match seen.start {
                Some(known) if known != start => return Start::RolledBack,
                Some(_) => return Start::Known,
                None => Start::Known,
            },
            _ => Start::Later,
        };
        self.remember(seat, boot, Some(start));
        met
    }

    fn remember(&mut self, seat: Seat, boot: u64, start: Option<u64>) {
        self.changes += 1;
        self.seen.insert(seat, Seen { boot, start, at: self.changes });
        if self.seen.len() > limits::REMEMBERED_BOOTS {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(seat, _)| *seat);
            oldest.map(|seat| self.seen.remove(&seat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::PeerId, raft::SeatId};

    fn seat(peer: u8) -> Seat {
        Seat { peer: PeerId::from_bytes([peer; 32]), id: SeatId([peer; 16]) }
    }

    #[test]
    fn grp_18_a_start_that_was_seen_before_is_that_of_an_older_copy() {
        let mut boots = Boots::new(Vec::from([(seat(1), 3)]));
        assert_eq!(boots.meet(seat(1), 3, 70), Start::Known, "the start seen before ours");
        assert_eq!(boots.meet(seat(1), 3, 71), Start::RolledBack);
        assert_eq!(boots.meet(seat(1), 4, 71), Start::Later);
        assert_eq!(boots.meet(seat(1), 4, 71), Start::Known);
        assert_eq!(boots.meet(seat(1), 3, 70), Start::RolledBack);
        assert_eq!(boots.meet(seat(2), 0, 1), Start::Later);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut boots = Boots::default();
        for at in 0..limits::REMEMBERED_BOOTS as u32 + 9 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&at.to_be_bytes());
            boots.meet(Seat { id: SeatId(id), ..seat(1) }, 1, 1);
        }
        assert_eq!(boots.seen.len(), limits::REMEMBERED_BOOTS);
    }
}
