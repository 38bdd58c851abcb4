//! Entries are what their owner signed, their versions never go back, and farewells are final.

use std::collections::{BTreeMap, BTreeSet};

use mosaik_proto::{
    Digest, PeerId,
    discovery::{PeerEntry, PeerEntryVersion},
    node::Event,
};

use crate::net::Process;

/// The checker.
#[derive(Debug, Default)]
pub struct Versions {
    signed: BTreeMap<(PeerId, PeerEntryVersion), Digest>,
    seen: BTreeMap<(Process, PeerId), PeerEntryVersion>,
    departed: BTreeMap<PeerId, PeerEntryVersion>,
    /// Who has let whom go because of a farewell.
    let_go: BTreeSet<(Process, PeerId)>,
    /// Those whose present step takes what others say.
    told: BTreeSet<Process>,
}

impl Versions {
    /// A process is about to handle an event.
    pub fn event(&mut self, process: Process, event: &Event) {
        if matches!(event, Event::Data { .. }) {
            self.told.insert(process);
        } else {
            self.told.remove(&process);
        }
    }

    /// A host signed its entry.
    pub fn signed(&mut self, entry: &PeerEntry) {
        self.signed.insert((entry.id(), entry.update_version()), entry.digest());
    }

    /// A host said farewell in this version.
    pub fn departed(&mut self, peer: PeerId, version: PeerEntryVersion) {
        self.departed.insert(peer, version);
        // Letting it go before was about another departure.
        self.let_go.retain(|(_, other)| *other != peer);
    }

    /// True if what a process sees of a peer is over by the peer's own word.
    #[must_use]
    pub fn has_departed(&self, process: Process, peer: &PeerId) -> bool {
        let seen = self.seen.get(&(process, *peer)).copied().unwrap_or_default();
        self.departed.get(peer).is_some_and(|last| seen <= *last)
    }

    /// A process does not see a peer any more. By somebody's word it lets go only of who said farewell
    /// (DISC-35): whoever is silent is given up by timers, whatever others say (DISC-32), and that is
    /// not for good (DISC-38): it may come back in the same version, to say the farewell here as well.
    pub fn gone(&mut self, process: Process, peer: PeerId) {
        // Letting an older version go says nothing of the last farewell.
        let seen = self.seen.get(&(process, peer));
        let last = seen.is_some() && seen == self.departed.get(&peer);
        if last && self.told.contains(&process) {
            self.let_go.insert((process, peer));
        }
    }

    /// A process sees an entry.
    ///
    /// # Errors
    /// If it was never signed like that, is older than one seen before, or is over for good.
    pub fn seen(&mut self, process: Process, entry: &PeerEntry) -> Result<(), String> {
        let (peer, version) = (entry.id(), entry.update_version());
        if self.signed.get(&(peer, version)) != Some(&entry.digest()) {
            return Err(format!("{process:?} sees {peer:?} in {version}, which it never signed"));
        }
        let before = self.seen.insert((process, peer), version).unwrap_or_default();
        if version < before {
            return Err(format!("{process:?} sees {peer:?} go back from {before} to {version}"));
        }
        let over = self.departed.get(&peer).is_some_and(|last| version <= *last);
        if over && self.let_go.contains(&(process, peer)) {
            return Err(format!("{process:?} sees {peer:?} in {version} again after its farewell"));
        }
        Ok(())
    }
}
