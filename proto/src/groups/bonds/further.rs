//! Further channels of a bond: for commands, and for snapshots.

use super::*;

impl Bonds {
    /// GRP-07: a further channel, of somebody with whom we are bonded on the same link.
    pub(super) fn on_further(
        &mut self,
        peer: PeerId,
        (channel, reader): (ChannelId, FrameReader),
        class: Class,
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        let bond = self.bond_mut(&peer);
        // Who opens one has taken our announcement, even if its READY comes later.
        let Some(bond) = bond.filter(|bond| bond.phase != Phase::Opening) else {
            return Err(CloseCode::GROUP_NOT_FOUND);
        };
        let slot = bond.slot(Which { class, accepted: true });
        let before = slot.and_then(|slot| slot.replace(Lane::new(channel, reader)));
        cx.shared.routes.insert(channel, Route::Bond(self.group, peer));
        if let Some(before) = before {
            cx.close(before.channel, CloseCode::DUPLICATE);
            self.events.push_back(BondEvent::Closed { peer, class, accepted: true });
        }
        self.raise(peer, cx);
        Ok(())
    }

    /// Whether a further channel can take a frame; opens it if it is ours to open.
    pub(super) fn has_room(&mut self, peer: &PeerId, which: Which, cx: &mut Cx<'_>) -> bool {
        let group = self.group;
        let Some(bond) = self.bond_mut(peer) else {
            return false;
        };
        if let Some(lane) = bond.lane(which) {
            return lane.debt < limits::CHANNEL_DEBT;
        }
        let Some(link) = cx.shared.links.get(peer).copied().filter(|_| !which.accepted) else {
            return false;
        };
        let channel = cx.open(link.link, Route::Bond(group, *peer));
        let mut lane = Lane::new(channel, FrameReader::new());
        lane.put_open(&Open { group, class: which.class, serial: cx.next_serial() }, &[], cx);
        if let Some(slot) = bond.slot(which) {
            *slot = Some(lane);
        }
        true
    }

    /// Ends a further channel: what is under way on it is of no use. The one who asks opens another when it
    /// has a question.
    pub(in crate::groups) fn hang_up(
        &mut self,
        peer: &PeerId,
        class: Class,
        accepted: bool,
        cx: &mut Cx<'_>,
    ) {
        let which = Which { class, accepted };
        let lane = self.bond_mut(peer).and_then(|bond| bond.slot(which)).and_then(Option::take);
        if let Some(lane) = lane {
            cx.close(lane.channel, CloseCode::CANCELLED);
        }
    }

    /// A further channel was ended by the other end.
    pub(super) fn forget_further(&mut self, peer: &PeerId, which: Which) {
        let slot = self.bond_mut(peer).and_then(|bond| bond.slot(which));
        if slot.and_then(Option::take).is_some() {
            let Which { class, accepted } = which;
            self.events.push_back(BondEvent::Closed { peer: *peer, class, accepted });
        }
    }
}
