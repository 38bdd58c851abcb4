//! After quiet everybody sees exactly those who are there, as they are now.

use std::collections::BTreeMap;

use mosaik_proto::{NetworkId, PeerId, discovery::PeerEntryVersion};

/// What one running node is and sees.
#[derive(Clone, Debug)]
pub struct View {
    /// The node.
    pub peer: PeerId,
    /// Its network.
    pub network: NetworkId,
    /// The version of its own entry.
    pub version: PeerEntryVersion,
    /// The others that it sees.
    pub sees: BTreeMap<PeerId, PeerEntryVersion>,
}

/// Compares all running nodes with what each of them sees.
///
/// # Errors
/// The first difference.
pub fn check(views: &[View]) -> Result<(), String> {
    let mut networks = BTreeMap::<NetworkId, BTreeMap<PeerId, PeerEntryVersion>>::new();
    for view in views {
        networks.entry(view.network).or_default().insert(view.peer, view.version);
    }
    for view in views {
        let mut expected = networks[&view.network].clone();
        expected.remove(&view.peer);
        if view.sees == expected {
            continue;
        }
        let missing: Vec<_> =
            expected.keys().filter(|peer| !view.sees.contains_key(peer)).collect();
        let extra: Vec<_> = view.sees.keys().filter(|peer| !expected.contains_key(peer)).collect();
        let stale = expected
            .iter()
            .filter(|(peer, version)| view.sees.get(peer).is_some_and(|seen| seen != *version));
        let stale: Vec<_> = stale.map(|(peer, _)| peer).collect();
        return Err(format!(
            "{:?} of {} sees {}: missing {missing:?}, extra {extra:?}, stale {stale:?}",
            view.peer,
            expected.len() + 1,
            view.sees.len()
        ));
    }
    Ok(())
}
