//! Who has a link is there: nobody lets go of a peer it is linked with (INV-DISC-5).

use std::collections::BTreeSet;

use mosaik_proto::PeerId;

use crate::net::Process;

/// The checker.
#[derive(Debug, Default)]
pub struct Presence {
    linked: BTreeSet<(Process, PeerId)>,
}

impl Presence {
    /// A process has, or has no more, an admitted link to a peer.
    pub fn path(&mut self, process: Process, peer: PeerId, up: bool) {
        if up {
            self.linked.insert((process, peer));
        } else {
            self.linked.remove(&(process, peer));
        }
    }

    /// A process does not see a peer any more; `departed` if the peer said farewell.
    ///
    /// # Errors
    /// If they are linked and the peer did not say farewell.
    pub fn gone(&self, process: Process, peer: PeerId, departed: bool) -> Result<(), String> {
        if departed || !self.linked.contains(&(process, peer)) {
            return Ok(());
        }
        Err(format!("{process:?} gives {peer:?} up, to which it has a link"))
    }

    /// A process has ended.
    pub fn ended(&mut self, process: Process) {
        self.linked.retain(|(of, _)| *of != process);
    }
}
