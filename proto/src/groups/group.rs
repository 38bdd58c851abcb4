//! One group at one member: bonds, lineage, commands, snapshots put together.

use super::{GroupConfig, Input, Output, bonds::Bonds, context::Cx};
use crate::{time::Instant, wire::CloseCode};

/// One group at one member.
#[derive(Debug)]
pub(super) struct Group {
    config: GroupConfig,
    /// The registry tells them of links and channels.
    pub(super) bonds: Bonds,
    closed: bool,
}

impl Group {
    /// Takes part from now on.
    pub(super) fn join(config: GroupConfig, _cx: &mut Cx<'_>) -> Self {
        let bonds = Bonds::new(&config);
        Self { config, bonds, closed: false }
    }

    /// The host has something.
    pub(super) fn on_input(&mut self, input: Input, cx: &mut Cx<'_>) {
        if matches!(input, Input::Leave) && !self.closed {
            self.closed = true;
            self.bonds.close_all(CloseCode::GRACEFUL_SHUTDOWN, cx);
            cx.output(self.config.id, Output::Closed);
        }
    }

    /// The deadline may have passed.
    pub(super) fn on_timeout(&mut self, _cx: &mut Cx<'_>) {}

    /// Ends every step that had to do with this group: takes what the bonds learnt.
    pub(super) fn settle(&mut self, _cx: &mut Cx<'_>) {
        while self.bonds.next_event().is_some() {}
    }

    /// When [`on_timeout`](Self::on_timeout) would change something.
    pub(super) fn deadline(&self) -> Option<Instant> {
        None
    }

    /// [`Output::Closed`] was said: nothing more happens.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }
}
