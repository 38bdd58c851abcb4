//! The deadlines of discovery, all in one queue.

use super::{Discovery, Step};
use crate::{
    ids::{LinkId, PeerId, RequestId},
    limits,
};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The first step, so that a node without events begins too.
    Start,
    /// Re-sign and announce our entry.
    Announce,
    /// Jump above a version of ours that somebody else signed.
    Raise,
    /// We were alone for long enough.
    Seek,
    /// Choose the standing links anew.
    Standing,
    /// Farewells had their time.
    Farewell,
    /// A `sync_with` had its time.
    Request(RequestId),
    /// A round had its time.
    Round(LinkId),
    /// A link brought more news than we took: ask it again.
    Repair(LinkId),
    /// A chosen peer with a smaller id had its time to dial us.
    Courtesy(PeerId),
    /// A peer without a link is given up.
    Silence(PeerId),
    /// A check of hearsay is forgotten.
    Checked(PeerId),
    /// Try a peer again that was given up.
    Redial(PeerId),
    /// That attempt had its time.
    Redialled(PeerId),
    /// A peer named by an address book had its time.
    Hint(PeerId),
    /// An entry's version did not advance for `purge_after`.
    Purge(PeerId),
    /// A tombstone's life is over.
    Tombstone(PeerId),
}

impl Discovery {
    /// Serves the deadlines that are due, up to a bound; the others are due in the next step.
    pub(super) fn expire(&mut self, step: &mut Step<'_>) {
        for _ in 0..limits::TIMERS_PER_STEP {
            let Some(timer) = self.timers.pop_due(step.now.mono) else { return };
            match timer {
                Timer::Start => {}
                Timer::Announce => self.announce(step),
                Timer::Raise => self.raise_pending(step),
                Timer::Seek => self.seek(step),
                Timer::Standing => self.choose_standing(step),
                Timer::Farewell => self.departed(step),
                Timer::Request(request) => self.request_timed_out(request, step),
                Timer::Round(link) => self.round_timed_out(link, step),
                Timer::Repair(link) => self.begin_round(link, step),
                Timer::Courtesy(peer) => self.want_standing(peer, step),
                Timer::Silence(peer) => self.silence_over(peer, step),
                Timer::Checked(peer) => self.liveness.forget_check(&peer),
                Timer::Redial(peer) => self.redial(peer, step),
                Timer::Redialled(peer) => self.redialled(peer, step),
                Timer::Hint(peer) => self.end_hint(peer, step),
                Timer::Purge(peer) => self.purge(peer, step),
                Timer::Tombstone(peer) => self.catalog.forget_tombstone(&peer),
            }
        }
    }
}
