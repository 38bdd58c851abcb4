//! What must hold after every step.

use std::collections::BTreeMap;

use mosaik_proto::raft::{Lineage, Role, Seat, Term};

use crate::cluster::Host;

#[derive(Debug, Default)]
pub(crate) struct Invariants {
    /// Who led a term of a lineage.
    leaders: BTreeMap<(Lineage, Term), Seat>,
}

impl Invariants {
    pub(crate) fn check(&mut self, at: usize, hosts: &[Host]) {
        let Some(status) = &hosts[at].status else { return };
        if let (Role::Leader, Some(lineage), Some(seat)) =
            (status.role, status.lineage, status.seat)
        {
            let first = *self.leaders.entry((lineage, status.term)).or_insert(seat);
            assert_eq!(first, seat, "one leader in {:?} of {lineage:?}", status.term);
        }
    }
}
