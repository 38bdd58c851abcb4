//! Whom discovery needs a link to, and why.

use alloc::{collections::BTreeMap, vec::Vec};
use core::net::SocketAddr;

use super::Action;
use crate::{core::Outbox, ids::PeerId};

/// Why discovery needs a link to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Why {
    /// The application named it: bootstrap, or `dial`. Never released.
    Named = 1,
    /// A `sync_with` waits.
    Sync = 2,
    /// A standing link.
    Standing = 4,
    /// Its link was lost, or it is suspected: we look for ourselves.
    Check = 8,
    /// It was given up; now and then we try again.
    Revive = 16,
    /// An address book names it.
    Hint = 32,
}

/// The reasons for each peer. Links hear of the first and of the last one only.
#[derive(Debug, Default)]
pub(super) struct Wants {
    reasons: BTreeMap<PeerId, u8>,
}

impl Wants {
    /// Adds a reason; new addresses are always passed on.
    pub(super) fn add(
        &mut self,
        peer: PeerId,
        why: Why,
        addrs: Vec<SocketAddr>,
        out: &mut Outbox<Action>,
    ) {
        let reasons = self.reasons.entry(peer).or_insert(0);
        let first = *reasons == 0;
        *reasons |= why as u8;
        if first || !addrs.is_empty() {
            out.push(Action::Want { peer, addrs });
        }
    }

    /// Removes a reason, if it was there.
    pub(super) fn release(&mut self, peer: PeerId, why: Why, out: &mut Outbox<Action>) {
        let Some(reasons) = self.reasons.get_mut(&peer) else { return };
        *reasons &= !(why as u8);
        if *reasons == 0 {
            self.reasons.remove(&peer);
            out.push(Action::Unwant(peer));
        }
    }

    /// True if this reason holds for a peer.
    pub(super) fn has(&self, peer: &PeerId, why: Why) -> bool {
        self.reasons.get(peer).is_some_and(|reasons| reasons & why as u8 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hear_of_the_first_and_last_reason() {
        let mut wants = Wants::default();
        let mut out = Outbox::new();
        let peer = PeerId::from_bytes([1; 32]);
        wants.add(peer, Why::Sync, Vec::new(), &mut out);
        wants.add(peer, Why::Standing, Vec::new(), &mut out);
        wants.release(peer, Why::Sync, &mut out);
        wants.release(peer, Why::Sync, &mut out);
        assert_eq!(out.len(), 1);
        wants.release(peer, Why::Standing, &mut out);
        wants.release(peer, Why::Standing, &mut out);
        assert_eq!(out.len(), 2);
        assert!(matches!(out.iter().last(), Some(Action::Unwant(p)) if *p == peer));
    }
}
