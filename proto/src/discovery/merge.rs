//! Merging: what comes in passes the gate, changes the catalog, and is told to whom it concerns.

use core::time::Duration;

use super::{
    Action, Change, Counter, Discovery, News, PeerEntryVersion, Step, Timer, Tombstone,
    admit::{Candidate, Gate, Refused},
    catalog::Merged,
    frames::Item,
    wants::Why,
};
use crate::{
    ids::{LinkId, PeerId},
    limits,
    mutant::{self, Mutant},
    time::Instant,
};

/// First wait before our entry is raised again because of another holder of our key.
const RAISE_MIN: Duration = Duration::from_secs(1);
/// Longest such wait.
const RAISE_MAX: Duration = Duration::from_secs(60);
/// After this time without a clash the waits begin anew.
const RAISE_CALM: Duration = Duration::from_secs(600);

/// How an entry came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In the hello of a link.
    Hello(LinkId),
    /// In a frame, as news or as part of a sync.
    Frame(LinkId),
    /// From the application.
    Feed,
}

impl Source {
    const fn link(self) -> Option<LinkId> {
        match self {
            Self::Hello(link) | Self::Frame(link) => Some(link),
            Self::Feed => None,
        }
    }
}

/// Versions of ours that we did not sign, or forgot: how often, and how fast we jump above them.
#[derive(Debug)]
pub(super) struct Clash {
    count: u64,
    wait: Duration,
    next: Instant,
    asked: PeerEntryVersion,
    pending: Option<PeerEntryVersion>,
}

impl Clash {
    pub(super) fn new() -> Self {
        let asked = PeerEntryVersion::default();
        Self { count: 0, wait: RAISE_MIN, next: Instant::ZERO, asked, pending: None }
    }

    /// Distinct versions of ours seen that were not below our own.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

impl Discovery {
    /// Merges an item of a frame.
    pub(super) fn merge_item(&mut self, item: Item, link: LinkId, step: &mut Step<'_>) {
        let Some(outlet) = self.outlets.get_mut(&link).filter(|outlet| !outlet.closed) else {
            return;
        };
        // Known items are not worth a signature check, and cost nothing of the budget.
        let news = self.catalog.rank(&item.peer()) < Some(item.rank());
        if news && !outlet.takes_news(step.now.mono) {
            self.refused(Refused::Flood, step);
            return self.repair_later(link, step);
        }
        let (peer, rank, result) = match item {
            Item::Entry(entry) => {
                let (peer, rank) = (entry.id(), (entry.version(), false));
                let source = Source::Frame(link);
                (peer, rank, self.merge_entry(Candidate::Claimed(entry), source, step))
            }
            Item::Tombstone(tombstone) => {
                let (peer, rank) = (tombstone.peer(), (tombstone.version(), true));
                let result = self.merge_tombstone(tombstone, link, step);
                let own = self.links.get(&peer) == Some(&link);
                if own && matches!(result, Ok(()) | Err(Refused::Known)) {
                    step.out.push(Action::Retire(link));
                }
                (peer, rank, result)
            }
        };
        if result == Err(Refused::Known) && self.liveness.is_down(&peer) && !rank.1 {
            self.rumoured_alive(peer, step);
        }
        let Some(outlet) = self.outlets.get_mut(&link) else { return };
        if result.is_err_and(Refused::is_violation) {
            self.violated(link, step);
        } else if self.catalog.rank(&peer) > Some(rank) {
            // The other end is behind: it shall have what we have.
            outlet.tell(peer);
            self.ready.insert(link);
        } else {
            outlet.untell(&peer);
        }
    }

    /// Merges an entry, wherever it comes from: the only way into the catalog (DISC-02).
    pub(super) fn merge_entry(
        &mut self,
        candidate: Candidate,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<(), Refused> {
        let drift = self.config.max_time_drift.unwrap_or(limits::DRIFT_MAX);
        let peer = candidate.id();
        let kept = self.is_linked(&peer) || self.wants.has(&peer, Why::Named);
        let gate = Gate { catalog: &self.catalog, now: step.now, drift, kept };
        let entry = gate.entry(candidate).inspect_err(|refused| self.refused(*refused, step))?;
        let merged = self.catalog.merge_entry(step.now.mono, entry, kept)?;
        if self.catalog.remove_unsigned(&peer) {
            step.out.push(Action::Publish(Change::UnsignedGone(peer)));
        }
        self.timers.cancel(&Timer::Tombstone(peer));
        if let Some(life) = self.config.purge_after {
            self.timers.set(Timer::Purge(peer), Some(step.now.mono + life));
        }
        self.version_advanced(peer, step);
        let news = match merged {
            Merged::Discovered => Some(News::Discovered),
            Merged::Updated => Some(News::Updated),
            Merged::Resigned => None,
        };
        if merged == Merged::Discovered {
            self.standing_changed(peer, true, step);
        }
        if merged == Merged::Resigned {
            self.publish(peer, None, step);
        } else {
            self.show(peer, news.filter(|_| source != Source::Feed), step);
        }
        self.relay(peer, source.link());
        Ok(())
    }

    fn merge_tombstone(
        &mut self,
        tombstone: Tombstone,
        link: LinkId,
        step: &mut Step<'_>,
    ) -> Result<(), Refused> {
        let drift = self.config.max_time_drift.unwrap_or(limits::DRIFT_MAX);
        let gate = Gate { catalog: &self.catalog, now: step.now, drift, kept: false };
        gate.tombstone(&tombstone).inspect_err(|refused| self.refused(*refused, step))?;
        let peer = tombstone.peer();
        let gone = self.catalog.merge_tombstone(step.now.mono, tombstone)?;
        if mutant::on(Mutant::TombstoneForgotten) {
            self.catalog.forget_tombstone(&peer);
        }
        self.ended(peer, gone, step);
        let until = step.now.mono + limits::TOMBSTONE_LIFE;
        self.timers.set(Timer::Tombstone(peer), Some(until));
        self.relay(peer, Some(link));
        Ok(())
    }

    /// A peer's version did not advance for `purge_after` (DISC-37).
    pub(super) fn purge(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let gone = self.catalog.purge(step.now.mono, peer);
        self.ended(peer, gone, step);
    }

    fn ended(&mut self, peer: PeerId, gone: bool, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Purge(peer));
        self.stop_watching(peer, step);
        if gone {
            self.standing_changed(peer, false, step);
            self.hide(peer, step);
        }
    }

    fn refused(&mut self, refused: Refused, step: &mut Step<'_>) {
        if !matches!(refused, Refused::Known | Refused::Own { above: None }) {
            step.out.push(Action::Count(Counter::Refused(refused)));
        }
        if let Refused::Own { above: Some(above) } = refused {
            self.clashed(above, step);
        }
    }

    // --- telling ----------------------------------------------------------------------------

    /// A visible entry is told to the application and to siblings.
    pub(super) fn show(&mut self, peer: PeerId, news: Option<News>, step: &mut Step<'_>) {
        self.publish(peer, news, step);
        step.out.push(Action::Changed(peer));
        self.company_changed(step);
    }

    /// A peer is not visible any more.
    pub(super) fn hide(&mut self, peer: PeerId, step: &mut Step<'_>) {
        step.out.push(Action::Publish(Change::Gone { peer, departed: true }));
        step.out.push(Action::Changed(peer));
        self.company_changed(step);
    }

    /// Tells the host again what is visible of a peer.
    pub(super) fn republish(&self, peer: PeerId, step: &mut Step<'_>) {
        if self.catalog.signed(&peer).is_some() {
            self.publish(peer, None, step);
        } else {
            step.out.push(Action::Publish(Change::Gone { peer, departed: false }));
        }
    }

    fn publish(&self, peer: PeerId, news: Option<News>, step: &mut Step<'_>) {
        let Some(entry) = self.catalog.signed(&peer).cloned() else { return };
        let since = self.catalog.since(&peer).unwrap_or(step.now.mono);
        step.out.push(Action::Publish(Change::Entry { entry, since, news }));
    }

    /// A new item goes to all links but the one that it came by (DISC-20).
    pub(super) fn relay(&mut self, peer: PeerId, from: Option<LinkId>) {
        for (link, outlet) in &mut self.outlets {
            if Some(*link) != from && outlet.peer != peer {
                outlet.tell(peer);
                self.ready.insert(*link);
            }
        }
    }

    // --- our own key ------------------------------------------------------------------------

    /// A version of ours is out there that is not below our own: jump above it, but not in a race
    /// with somebody else who does the same (DISC-05).
    fn clashed(&mut self, above: PeerEntryVersion, step: &mut Step<'_>) {
        let clash = &mut self.clash;
        if self.departing || above <= clash.asked || Some(above) <= clash.pending {
            return;
        }
        clash.count += 1;
        if step.now.mono < clash.next {
            clash.pending = Some(above);
            self.timers.set(Timer::Raise, Some(clash.next));
        } else {
            self.raise_above(above, step);
        }
    }

    fn raise_above(&mut self, above: PeerEntryVersion, step: &mut Step<'_>) {
        let clash = &mut self.clash;
        if step.now.mono.since(clash.next) > RAISE_CALM {
            clash.wait = RAISE_MIN;
        }
        tracing::warn!(%above, "our key signed an entry elsewhere, or before our clock went back");
        clash.asked = above;
        clash.next = step.now.mono + clash.wait;
        clash.wait = (clash.wait * 2).min(RAISE_MAX);
        step.out.push(Action::Raise { above });
    }

    /// The wait for the next jump is over.
    pub(super) fn raise_pending(&mut self, step: &mut Step<'_>) {
        let Some(above) = self.clash.pending.take() else { return };
        let ours = self.catalog.local().map(|entry| entry.update_version());
        if ours.is_none_or(|ours| ours <= above) {
            self.raise_above(above, step);
        }
    }
}
