//! Who is there: links prove life, silence ends it, and hearsay is only a reason to look.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use super::{Discovery, News, PeerEntryVersion, Step, Timer, wants::Why};
use crate::{
    ids::PeerId,
    limits,
    links::DownReason,
    mutant::{self, Mutant},
    time::{Instant, Now},
    wire::CloseCode,
};

/// A loop later than this is ill itself, and trusts its deadlines less.
const LATE: Duration = Duration::from_millis(500);
/// Links lost within this time of each other were perhaps lost for one reason.
const STORM_WINDOW: Duration = Duration::from_secs(5);
/// How long peers given up after many links were lost are redialled faster.
const STORM_LIFE: Duration = Duration::from_secs(30);
/// Who does not come back within this time is suspected aloud; it is given up later.
const DOUBT: Duration = Duration::from_secs(1);
/// Times that a check of hearsay is prolonged if no dial came to an end at all.
const CHECK_ROUNDS: u8 = 4;

/// What this node knows of the life of peers. Not replicated, and apart from news and state.
#[derive(Debug)]
pub(super) struct Liveness {
    /// Peers without a link that are given up unless one comes up in time.
    silent: BTreeMap<PeerId, Silent>,
    /// Peers that were given up.
    down: BTreeMap<PeerId, Down>,
    /// How many of them are being tried again; at most [`limits::REVIVALS`].
    trying: usize,
    /// Versions that were checked on hearsay a short time ago.
    checked: BTreeMap<PeerId, PeerEntryVersion>,
    /// Checks that may still be started, in millionths, and when that was so.
    checks: u64,
    checks_at: Instant,
    /// When links were lost, in the last [`STORM_WINDOW`].
    losses: VecDeque<Instant>,
    storm_until: Instant,
    /// By how much our loop was late, all in all.
    late: Duration,
    seen: Instant,
}

#[derive(Debug)]
struct Silent {
    version: PeerEntryVersion,
    since: Instant,
    /// The links know that we could not reach it.
    told: bool,
    /// [`Liveness::late`] when the deadline was set.
    late: Duration,
    evidence: Evidence,
    /// Times that [`limits::SILENCE_MAX`] passed without a result.
    rounds: u8,
}

/// What we know ourselves about a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Evidence {
    /// Nothing; others suspect it.
    Hearsay,
    /// Its link was lost. Links may wait before they dial, so this alone takes longer.
    Lost,
    /// A dial failed, or it said that it leaves.
    Failed,
}

#[derive(Debug)]
struct Down {
    /// Until the next attempt.
    wait: Duration,
    trying: bool,
    tried: Instant,
}

/// What the end of a link says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing: it lives, or we ended the link.
    Harmless,
    /// It leaves; its tombstone will tell.
    Farewell,
    /// It may be dead.
    Loss,
}

impl Liveness {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            silent: BTreeMap::new(),
            down: BTreeMap::new(),
            trying: 0,
            checked: BTreeMap::new(),
            checks: limits::CHECKS_PER_SECOND as u64 * 1_000_000,
            checks_at: now,
            losses: VecDeque::new(),
            storm_until: Instant::ZERO,
            late: Duration::ZERO,
            seen: now,
        }
    }

    /// Notes how late this step is, given the deadline that was armed (DISC-34).
    pub(super) fn observe(&mut self, now: Now, deadline: Option<Instant>) {
        let late = deadline.map_or(Duration::ZERO, |at| now.mono.since(at.max(self.seen)));
        if late > LATE && !mutant::on(Mutant::LateLoopBlamesOthers) {
            self.late += late;
        }
        self.seen = self.seen.max(now.mono);
    }

    pub(super) fn is_down(&self, peer: &PeerId) -> bool {
        self.down.contains_key(peer)
    }

    pub(super) fn forget_check(&mut self, peer: &PeerId) {
        self.checked.remove(peer);
    }

    /// Takes one of the checks that [`limits::CHECKS_PER_SECOND`] allows.
    fn take_check(&mut self, now: Instant) -> bool {
        let rate = u64::from(limits::CHECKS_PER_SECOND);
        let micros = u64::try_from(now.since(self.checks_at).as_micros()).unwrap_or(u64::MAX);
        self.checks = self.checks.saturating_add(micros.saturating_mul(rate)).min(rate * 1_000_000);
        self.checks_at = now;
        let allowed = self.checks >= 1_000_000;
        if allowed {
            self.checks -= 1_000_000;
        }
        allowed
    }

    /// A link was lost. If many are at once, it is probably us.
    fn lost(&mut self, now: Instant, links_left: usize) {
        while self.losses.front().is_some_and(|at| now.since(*at) > STORM_WINDOW)
            || self.losses.len() >= limits::LINKS
        {
            self.losses.pop_front();
        }
        self.losses.push_back(now);
        let known = links_left + self.losses.len();
        if known >= 4 && self.losses.len() * 10 > known * 3 {
            self.storm_until = now + STORM_LIFE;
        }
    }
}

impl Discovery {
    /// A link came up: its peer is alive.
    pub(super) fn alive(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.end_silence(peer, step);
        self.end_down(peer, step);
        if self.catalog.revive(&peer) {
            self.standing_changed(peer, true, step);
            self.show(peer, Some(News::Discovered), step);
            self.relay(peer, None);
        }
    }

    /// A link ended, and no other took its place.
    pub(super) fn link_lost(&mut self, peer: PeerId, reason: DownReason, step: &mut Step<'_>) {
        if self.catalog.signed(&peer).is_none() {
            return;
        }
        match Ending::of(reason) {
            Ending::Harmless => {}
            Ending::Farewell => self.begin_silence(peer, Evidence::Failed, step),
            Ending::Loss => {
                self.liveness.lost(step.now.mono, self.links.len());
                self.wants.add(peer, Why::Check, Vec::new(), step.out);
                self.begin_silence(peer, Evidence::Lost, step);
            }
        }
    }

    /// A dial failed.
    pub(super) fn dial_failed(&mut self, peer: PeerId, step: &mut Step<'_>) {
        if self.catalog.signed(&peer).is_some() && !self.is_linked(&peer) {
            self.wants.add(peer, Why::Check, Vec::new(), step.out);
            self.begin_silence(peer, Evidence::Failed, step);
        }
    }

    /// Somebody says that a peer is dead. We look for ourselves (DISC-32).
    pub(super) fn suspected(
        &mut self,
        peer: PeerId,
        version: PeerEntryVersion,
        step: &mut Step<'_>,
    ) {
        let visible = self.catalog.signed(&peer).is_some_and(|e| e.update_version() == version);
        let known = self.liveness.silent.contains_key(&peer)
            || self.liveness.checked.get(&peer) == Some(&version);
        if mutant::on(Mutant::HearsayBelieved) && visible {
            return self.give_up(peer, step);
        }
        if !visible || known || self.is_linked(&peer) {
            return;
        }
        if !self.liveness.take_check(step.now.mono) {
            return;
        }
        self.liveness.checked.insert(peer, version);
        self.timers.set(Timer::Checked(peer), Some(step.now.mono + limits::CHECK_MEMORY));
        self.wants.add(peer, Why::Check, Vec::new(), step.out);
        self.begin_silence(peer, Evidence::Hearsay, step);
    }

    /// Somebody holds a peer for alive that we gave up. Again we look for ourselves (DISC-33).
    pub(super) fn rumoured_alive(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let Some(down) = self.liveness.down.get(&peer) else { return };
        // Rumours bring the next attempt forward, but attempts keep their distance.
        let soon = step.now.mono.max(down.tried + limits::CHECK_MEMORY);
        let planned = self.timers.at(&Timer::Redial(peer));
        let sooner = planned.is_some_and(|at| soon < at);
        if !down.trying && sooner && self.liveness.take_check(step.now.mono) {
            self.timers.set(Timer::Redial(peer), Some(soon));
        }
    }

    /// A peer's version advanced: what was thought of the old one does not hold.
    pub(super) fn version_advanced(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.end_down(peer, step);
    }

    /// A peer left, or was purged: its life is not our concern any more.
    pub(super) fn stop_watching(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.end_silence(peer, step);
        self.end_down(peer, step);
    }

    /// The silence of a peer lasted to its deadline.
    pub(super) fn silence_over(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let late = self.liveness.late;
        let version = self.catalog.signed(&peer).map(|entry| entry.update_version());
        let Some(silent) = self.liveness.silent.get_mut(&peer) else { return };
        let evidence = silent.evidence;
        let wait = if late > silent.late {
            let wait = late - silent.late;
            silent.late = late;
            Some(wait.min(limits::SILENCE_MAX))
        } else if let Some(version) = version.filter(|version| *version != silent.version) {
            (silent.version, silent.since, silent.told) = (version, step.now.mono, false);
            Some(DOUBT)
        } else if !silent.told {
            silent.told = true;
            let left = (silent.since + limits::SILENCE_MAX).since(step.now.mono);
            self.suspect_aloud(peer);
            Some(left)
        } else if silent.rounds < evidence.rounds() {
            silent.rounds += 1;
            Some(limits::SILENCE_MAX)
        } else {
            None
        };
        if let Some(wait) = wait {
            self.timers.set(Timer::Silence(peer), Some(step.now.mono + wait));
            return;
        }
        self.end_silence(peer, step);
        if evidence > Evidence::Hearsay {
            self.give_up(peer, step);
        }
    }

    /// It is time to try a peer again that was given up.
    pub(super) fn redial(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let Some(down) = self.liveness.down.get_mut(&peer) else { return };
        if self.liveness.trying >= limits::REVIVALS {
            // Those that live end their attempt within round trips; so this wait is of dead ones.
            let wait = self.rng.jittered(limits::REVIVE_MIN, 2);
            self.timers.set(Timer::Redial(peer), Some(step.now.mono + wait));
            return;
        }
        self.liveness.trying += 1;
        down.trying = true;
        down.tried = step.now.mono;
        self.timers.cancel(&Timer::Redial(peer));
        self.timers.set(Timer::Redialled(peer), Some(step.now.mono + limits::ATTEMPT));
        // Its entry is hidden, so links would not know where it was.
        self.wants.add(peer, Why::Revive, self.catalog.last_addrs(&peer), step.out);
    }

    /// The attempt did not help.
    pub(super) fn redialled(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.wants.release(peer, Why::Revive, step.out);
        let Some(down) = self.liveness.down.get_mut(&peer) else { return };
        if core::mem::replace(&mut down.trying, false) {
            self.liveness.trying -= 1;
        }
        // Evicted from the catalog meanwhile: nothing is left that could be revived.
        if self.catalog.given_up(&peer).is_none() {
            self.liveness.down.remove(&peer);
            return;
        }
        down.wait = (down.wait * 2).min(limits::REVIVE_MAX);
        let wait = self.rng.jittered(down.wait, 8);
        self.timers.set(Timer::Redial(peer), Some(step.now.mono + wait));
    }

    fn give_up(&mut self, peer: PeerId, step: &mut Step<'_>) {
        debug_assert!(!self.is_linked(&peer));
        if !self.catalog.give_up(step.now.mono, peer) {
            return;
        }
        let now = step.now.mono;
        let storm = now < self.liveness.storm_until;
        let known = Duration::from_secs(self.catalog.signed_count() as u64);
        let calm = known.clamp(limits::REVIVE_MIN, limits::REVIVE_MANY);
        let wait = if storm { calm.min(limits::REVIVE_STORM) } else { calm };
        self.liveness.down.insert(peer, Down { wait, trying: false, tried: now });
        let wait = self.rng.jittered(wait, 8);
        self.timers.set(Timer::Redial(peer), Some(now + wait));
        self.standing_changed(peer, false, step);
        self.hide(peer, step);
    }

    /// The others may look for themselves.
    fn suspect_aloud(&mut self, peer: PeerId) {
        let Some(entry) = self.catalog.signed(&peer) else { return };
        if mutant::on(Mutant::DeathUntold) {
            return;
        }
        let version = entry.update_version();
        for (link, outlet) in &mut self.outlets {
            outlet.suspect(peer, version);
            self.ready.insert(*link);
        }
    }

    fn begin_silence(&mut self, peer: PeerId, evidence: Evidence, step: &mut Step<'_>) {
        let Some(entry) = self.catalog.signed(&peer) else { return };
        let version = entry.update_version();
        let late = self.liveness.late;
        let now = step.now.mono;
        let new = Silent { version, since: now, told: false, late, evidence, rounds: 0 };
        let silent = self.liveness.silent.entry(peer).or_insert(new);
        // The dial of a check that had its time came to an end: no need to wait for the next round.
        let failed = evidence == Evidence::Failed && silent.evidence < evidence;
        let verdict = failed && silent.rounds > 0;
        silent.evidence = silent.evidence.max(evidence);
        if verdict {
            self.timers.set(Timer::Silence(peer), Some(now));
        } else if self.timers.at(&Timer::Silence(peer)).is_none() {
            self.timers.set(Timer::Silence(peer), Some(now + DOUBT));
        }
    }

    fn end_silence(&mut self, peer: PeerId, step: &mut Step<'_>) {
        self.liveness.silent.remove(&peer);
        self.timers.cancel(&Timer::Silence(peer));
        self.wants.release(peer, Why::Check, step.out);
    }

    fn end_down(&mut self, peer: PeerId, step: &mut Step<'_>) {
        if let Some(down) = self.liveness.down.remove(&peer) {
            self.liveness.trying -= usize::from(down.trying);
            self.timers.cancel(&Timer::Redial(peer));
            self.timers.cancel(&Timer::Redialled(peer));
            self.wants.release(peer, Why::Revive, step.out);
        }
    }
}

impl Evidence {
    /// How often the deadline moves if no dial has come to an end.
    const fn rounds(self) -> u8 {
        match self {
            Self::Hearsay => CHECK_ROUNDS,
            Self::Lost => 1,
            Self::Failed => 0,
        }
    }
}

impl Ending {
    fn of(reason: DownReason) -> Self {
        match reason {
            DownReason::Timeout
            | DownReason::Lost
            | DownReason::Finished
            | DownReason::Local(CloseCode::TIMEOUT) => Self::Loss,
            DownReason::Closed(code) => match code {
                CloseCode::GRACEFUL_SHUTDOWN | CloseCode::SUCCESS | CloseCode::CANCELLED => {
                    Self::Farewell
                }
                CloseCode::IDLE
                | CloseCode::BUSY
                | CloseCode::NOT_ADMITTED
                | CloseCode::UNKNOWN_PEER
                | CloseCode::PROTOCOL_VIOLATION => Self::Harmless,
                _ => Self::Loss,
            },
            DownReason::Local(_) => Self::Harmless,
        }
    }
}
