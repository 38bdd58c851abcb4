//! Standing links: to whom a node keeps a link only because it knows them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{ops::Bound, time::Duration};

use super::{Discovery, Step, Timer, wants::Why};
use crate::{ids::PeerId, limits, rng::Rng};

/// How long changes of the catalog may gather before the links are chosen anew.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How long the peer with the larger id waits for the other one to dial.
const COURTESY: Duration = Duration::from_secs(1);

/// A place on the ring. Hashed, so that nobody can choose its neighbours by choosing its key.
type Place = [u8; 32];

/// Chooses the standing links (DISC-40, DISC-41).
#[derive(Debug)]
pub(super) struct Standing {
    me: PeerId,
    /// The visible signed peers by place.
    ring: BTreeMap<Place, PeerId>,
    /// The choice that holds.
    chosen: BTreeSet<PeerId>,
    /// Those of `chosen` that were drawn.
    drawn: BTreeSet<PeerId>,
    /// Everybody is chosen.
    mesh: bool,
}

/// What a new choice changed.
#[derive(Debug, Default)]
struct Choice {
    added: Vec<PeerId>,
    removed: Vec<PeerId>,
}

impl Standing {
    pub(super) const fn new(me: PeerId) -> Self {
        Self {
            me,
            ring: BTreeMap::new(),
            chosen: BTreeSet::new(),
            drawn: BTreeSet::new(),
            mesh: true,
        }
    }

    /// A peer became visible or invisible.
    pub(super) fn update(&mut self, peer: PeerId, visible: bool) {
        if visible {
            self.ring.insert(place(&peer), peer);
        } else {
            self.ring.remove(&place(&peer));
        }
    }

    pub(super) fn is_chosen(&self, peer: &PeerId) -> bool {
        self.chosen.contains(peer)
    }

    /// Chooses anew: O(log n) on the ring, O(`FULL_MESH_PEERS`) in the mesh.
    fn choose(&mut self, rng: &mut Rng) -> Choice {
        // A node at the border between the two shapes does not swing.
        let border = limits::FULL_MESH_PEERS + usize::from(self.mesh) * limits::FULL_MESH_PEERS / 4;
        self.mesh = self.ring.len() <= border;
        let wanted: BTreeSet<PeerId> = if self.mesh {
            self.drawn.clear();
            self.ring.values().copied().collect()
        } else {
            self.on_ring(rng)
        };
        let added = wanted.difference(&self.chosen).copied().collect();
        let removed = self.chosen.difference(&wanted).copied().collect();
        self.chosen = wanted;
        Choice { added, removed }
    }

    fn on_ring(&mut self, rng: &mut Rng) -> BTreeSet<PeerId> {
        let here = place(&self.me);
        let mut wanted = BTreeSet::new();
        wanted.extend(self.behind(here));
        wanted.extend(self.before(here));
        let ring = &self.ring;
        self.drawn.retain(|peer| ring.contains_key(&place(peer)) && !wanted.contains(peer));
        // Places are hashes, so whoever follows a random place is a random peer.
        for _ in 0..4 * limits::RANDOM_LINKS {
            if self.drawn.len() >= limits::RANDOM_LINKS {
                break;
            }
            if let Some(peer) = self.behind(rng.bytes()).filter(|peer| !wanted.contains(peer)) {
                self.drawn.insert(peer);
            }
        }
        wanted.extend(&self.drawn);
        wanted
    }

    fn behind(&self, place: Place) -> Option<PeerId> {
        let mut behind = self.ring.range((Bound::Excluded(place), Bound::Unbounded));
        behind.next().or_else(|| self.ring.first_key_value()).map(|(_, peer)| *peer)
    }

    fn before(&self, place: Place) -> Option<PeerId> {
        self.ring.range(..place).next_back().or_else(|| self.ring.last_key_value()).map(|(_, p)| *p)
    }
}

fn place(peer: &PeerId) -> Place {
    *blake3::hash(peer.as_bytes()).as_bytes()
}

impl Discovery {
    /// A peer became visible or invisible: the links are chosen anew a little later.
    pub(super) fn standing_changed(&mut self, peer: PeerId, visible: bool, step: &mut Step<'_>) {
        self.standing.update(peer, visible);
        if self.timers.at(&Timer::Standing).is_none() {
            self.timers.set(Timer::Standing, Some(step.now.mono + DEBOUNCE));
        }
        if !visible && self.standing.chosen.remove(&peer) {
            self.standing.drawn.remove(&peer);
            self.drop_standing(peer, step);
        }
    }

    /// Chooses the standing links and wants them.
    pub(super) fn choose_standing(&mut self, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Standing);
        let Choice { added, removed } = self.standing.choose(&mut self.rng);
        removed.into_iter().for_each(|peer| self.drop_standing(peer, step));
        for peer in added {
            // Both ends choose each other, but for drawn ones: then only one of them dials at once.
            let waits = self.me > peer && !self.standing.drawn.contains(&peer);
            if waits && !self.is_linked(&peer) {
                self.timers.set(Timer::Courtesy(peer), Some(step.now.mono + COURTESY));
            } else {
                self.wants.add(peer, Why::Standing, Vec::new(), step.out);
            }
        }
    }

    /// A chosen peer is linked, or had its time to dial: we want the link too.
    pub(super) fn want_standing(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Courtesy(peer));
        if self.standing.is_chosen(&peer) && !self.wants.has(&peer, Why::Standing) {
            self.wants.add(peer, Why::Standing, Vec::new(), step.out);
        }
    }

    fn drop_standing(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Courtesy(peer));
        self.wants.release(peer, Why::Standing, step.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    #[test]
    fn disc_40_a_small_network_is_a_full_mesh_and_a_large_one_a_ring_with_chords() {
        let mut rng = Rng::new([5; 32]);
        let mut standing = Standing::new(peer(0));
        (1..=32).for_each(|n| standing.update(peer(n), true));
        assert_eq!(standing.choose(&mut rng).added.len(), 32);
        (33..=1000).for_each(|n| standing.update(peer(n), true));
        standing.choose(&mut rng);
        assert_eq!(standing.chosen.len(), 2 + limits::RANDOM_LINKS);
        let again = standing.choose(&mut rng);
        assert!(again.added.is_empty() && again.removed.is_empty(), "a choice lasts");
        (20..=1000).for_each(|n| standing.update(peer(n), false));
        standing.choose(&mut rng);
        assert_eq!(standing.chosen.len(), 19);
    }

    #[test]
    fn disc_41_ring_neighbours_choose_each_other() {
        let all: Vec<PeerId> = (0..100).map(peer).collect();
        let chosen: BTreeMap<PeerId, BTreeSet<PeerId>> = all
            .iter()
            .map(|me| {
                let mut standing = Standing::new(*me);
                all.iter().filter(|p| *p != me).for_each(|p| standing.update(*p, true));
                standing.choose(&mut Rng::new(*me.as_bytes()));
                let neighbours = standing.chosen.difference(&standing.drawn).copied().collect();
                (*me, neighbours)
            })
            .collect();
        for (me, neighbours) in &chosen {
            assert_eq!(neighbours.len(), 2);
            assert!(neighbours.iter().all(|other| chosen[other].contains(me)));
        }
    }
}
