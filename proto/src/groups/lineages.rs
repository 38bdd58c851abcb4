//! Taking part in a history: founding one, following one, leaving one.

use super::{
    Index, Notice, Output,
    applying::Handing,
    context::Cx,
    control::Control,
    frames::Announcement,
    group::{Group, half, new_seat},
    standing::{self, Own, Verdict},
    state::{Standing, State},
};
use crate::{
    ids::PeerId,
    mutant::{self, Mutant},
    raft::{self, Founders, Lineage, Membership, Raft, Seat, Snapshot, Stored, sole},
    rng::Rng,
};

impl Group {
    /// Looks at who says what, and does what follows from it.
    pub(super) fn decide(&mut self, cx: &mut Cx<'_>) {
        self.judge_own();
        if matches!(self.state, State::Loading) || self.leaving.is_some() {
            self.found_at = None;
            return;
        }
        let (claim, orphaned, waited) = (self.claim(), self.is_orphaned(), self.waited);
        let shaking = self.bonds.is_shaking(cx);
        let durable = self.config.durable;
        let own = Own { claim, orphaned, durable, waited, shaking };
        let verdict = standing::decide(&own, &self.claims());
        if !matches!(verdict, Verdict::Wait | Verdict::Found) {
            (self.found_at, self.waited) = (None, false);
        }
        match verdict {
            Verdict::Wait => self.wait(cx),
            Verdict::Found => self.found(cx),
            Verdict::Fork => self.fork(cx),
            Verdict::Drop => self.leave_lineage(cx),
            Verdict::Follow(lineage) => self.follow(lineage, cx),
            Verdict::Stay | Verdict::Conflict(..) => {}
        }
        self.note_conflict(verdict, cx);
    }

    /// GRP-21: tells Raft under which seats others are there, in whatever lineage: a voter that came
    /// back empty is no voter any more, also where it found another lineage first.
    pub(super) fn meet_seats(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &mut self.state else { return };
        let seat = |(peer, said): (PeerId, &Announcement)| Seat { peer, id: said.seat };
        let met: alloc::vec::Vec<Seat> = self.bonds.peers().map(seat).collect();
        if standing.met != met && !mutant::on(Mutant::SeatsNotMet) {
            standing.met.clone_from(&met);
            self.raft(raft::Event::Met(met), cx);
        }
    }

    fn claims(&self) -> alloc::vec::Vec<standing::Claim> {
        self.bonds
            .peers()
            .filter(|(_, said)| !said.left)
            .map(|(peer, said)| claim(peer, said))
            .collect()
    }

    /// GRP-12: a lineage is established for ever once its log lists a second voter, or holds a command
    /// that the founder has on disk or that founders were required for.
    pub(super) fn judge_own(&mut self) {
        let counts = self.config.durable || self.config.founders != Founders::Anybody;
        let State::Member(standing) = &mut self.state else { return };
        let raft = &standing.raft;
        let crowd = raft.membership().sets().any(|set| set.len() > 1);
        let kept = counts && raft.holds() && raft.log().commands() > 0;
        // A voter that did not found is the second that the log lists, even where the founder left in the
        // same change; of a log without its beginning nobody knows who voted then.
        let heir = raft.holds() && !standing.founded;
        let compacted = raft.log().base().index.0 > 0 && !standing.founded;
        let handed_on = heir || compacted || standing.parent.is_some();
        if !standing.established && (crowd || kept || handed_on && raft.log().commands() > 0) {
            standing.established = true;
        }
    }

    /// GRP-10: a founder gives the others time to be met.
    fn wait(&mut self, cx: &Cx<'_>) {
        let timing = &self.config.timing;
        let jitter = u64::try_from(timing.election_timeout_jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = core::time::Duration::from_nanos(self.rng.below(jitter));
        let at = cx.now() + timing.bootstrap_delay + timing.election_timeout + jitter;
        self.found_at.get_or_insert(at);
    }

    fn note_conflict(&mut self, verdict: Verdict, cx: &mut Cx<'_>) {
        let conflict = match verdict {
            Verdict::Conflict(peer, lineage) => Some((peer, lineage)),
            _ => None,
        };
        if self.conflict != conflict {
            self.conflict = conflict;
            self.published.dirty = true;
            if let Some((_, lineage)) = conflict {
                self.notice(Notice::Conflict(lineage), cx);
            }
        }
    }

    /// GRP-16: each voter that this copy lists is here under another seat: nobody holds that lineage any
    /// more.
    fn is_orphaned(&self) -> bool {
        let State::Member(standing) = &self.state else { return false };
        let voters = standing.raft.membership().seats();
        let gone = |seat: &Seat| {
            let silent = mutant::on(Mutant::SilentVotersGone) && !self.is_linked(seat);
            self.is_superseded(seat) || silent
        };
        let lost = !voters.is_empty() && voters.iter().all(gone);
        lost && !standing.raft.holds()
    }

    fn raft_config(&self, seat: Seat, lineage: Lineage) -> raft::Config {
        let timing = &self.config.timing;
        raft::Config {
            seat,
            lineage,
            can_vote: self.config.can_vote,
            durable: self.config.durable,
            election_timeout: timing.election_timeout,
            election_jitter: timing.election_timeout_jitter,
            heartbeat: timing.heartbeat_interval,
            dead_voter_timeout: timing.dead_voter_timeout,
            max_voters: self.config.max_voters,
            founders: self.config.founders.clone(),
        }
    }

    /// GRP-10: the sole voter of a new lineage. Only an empty member founds: one with a copy leaves that
    /// first.
    fn found(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Member(_)) {
            self.leave_lineage(cx);
        }
        let (State::Empty, Some(seat)) = (&self.state, self.seat) else { return };
        (self.found_at, self.waited) = (None, false);
        let lineage = self.new_lineage();
        let config = self.raft_config(seat, lineage);
        let raft = Raft::found(config, self.fresh_rng(), cx.now());
        let mut standing = Standing::new(raft, lineage, sole(seat), 0);
        standing.founded = true;
        self.enter(standing, cx);
        self.raft(raft::Event::Timeout, cx);
    }

    /// GRP-16, GRP-17: a new lineage that begins with the log of this one.
    pub(super) fn fork(&mut self, cx: &mut Cx<'_>) {
        let (State::Member(standing), Some(seat)) = (&self.state, self.seat) else { return };
        let log = standing.raft.log();
        let behind = log.runs().map(raft::Run::commands).sum::<u64>();
        let (last, commands) = (log.base(), log.commands() - behind);
        let lineage = self.new_lineage();
        self.fork_behind(Snapshot { lineage, last, membership: sole(seat), commands }, cx);
    }

    /// The same, where the part of the log up to `base` is in a snapshot.
    pub(super) fn fork_behind(&mut self, base: Snapshot, cx: &mut Cx<'_>) {
        let (State::Member(standing), Some(seat)) = (&self.state, self.seat) else { return };
        let parent = Some((standing.lineage, Index(standing.raft.log().commands())));
        let mark = Control::Fork { from: standing.lineage }.encode();
        let config = self.raft_config(seat, base.lineage);
        let mut next = Standing::new(
            Raft::fork(
                config,
                &standing.raft,
                base.clone(),
                mark,
                Rng::new(self.rng.bytes()),
                cx.now(),
            ),
            base.lineage,
            base.membership,
            base.commands,
        );
        next.parent = parent;
        self.calls.on_fork();
        self.enter(next, cx);
        self.raft(raft::Event::Timeout, cx);
    }

    /// GRP-15: an empty member of a lineage that somebody else has.
    fn follow(&mut self, lineage: Lineage, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Member(_)) {
            self.leave_lineage(cx);
        }
        let (State::Empty, Some(seat)) = (&self.state, self.seat) else { return };
        let config = self.raft_config(seat, lineage);
        let raft = Raft::new(config, Stored::default(), self.fresh_rng(), cx.now());
        self.enter(Standing::new(raft, lineage, Membership::default(), 0), cx);
    }

    /// What a store held.
    pub(super) fn resume(&mut self, lineage: Lineage, stored: Stored, cx: &mut Cx<'_>) {
        let Some(seat) = self.seat else { return };
        let Snapshot { last: _, membership, commands, .. } = stored.base.clone();
        self.handing = Handing::behind(&stored.base);
        let config = self.raft_config(seat, lineage);
        let raft = Raft::new(config, stored, self.fresh_rng(), cx.now());
        self.enter(Standing::new(raft, lineage, membership, commands), cx);
    }

    /// What follows is said in this lineage, so the others are told first.
    fn enter(&mut self, standing: Standing, cx: &mut Cx<'_>) {
        self.state = State::Member(standing.into());
        self.tenure += 1;
        self.reset_sync(cx);
        self.moved(cx);
    }

    /// This member's lineage or seat is another.
    fn moved(&mut self, cx: &mut Cx<'_>) {
        self.dirty.bonds = true;
        self.dirty.standing = true;
        self.published.dirty = true;
        self.judge_own();
        self.announce(cx);
    }

    /// Leaves a lineage for another, and says what is lost by it.
    fn leave_lineage(&mut self, cx: &mut Cx<'_>) {
        let State::Member(standing) = &self.state else { return };
        let (lineage, lost) = (standing.lineage, standing.raft.log().commands());
        if lost > 0 {
            self.notice(Notice::Superseded { lineage, lost }, cx);
        }
        self.begin_anew(cx);
    }

    /// GRP-19: begins as an empty member under a new seat. With a store that takes a while.
    pub(super) fn begin_anew(&mut self, cx: &mut Cx<'_>) {
        if !self.handing.index().is_zero() {
            self.output(cx, Output::Reset);
            if !self.config.restartable {
                self.fenced.get_or_insert_with(|| "its history was lost".into());
            }
        }
        // What a provisional founder has in its log alone is in no other.
        let alone = matches!(&self.state, State::Member(standing)
            if standing.raft.holds() && !standing.established && !standing.shared);
        self.calls.on_lineage_left(alone);
        self.handing = Handing::default();
        self.tenure += 1;
        self.reset_sync(cx);
        if self.config.durable {
            self.wiping = true;
            self.state = State::Loading;
            self.output(cx, Output::Wipe);
        } else {
            self.seat = Some(new_seat(self.me, &mut self.rng));
            self.state = State::Empty;
        }
        self.moved(cx);
    }

    pub(super) fn new_lineage(&mut self) -> Lineage {
        Lineage(half(&mut self.rng))
    }

    fn fresh_rng(&mut self) -> Rng {
        Rng::new(self.rng.bytes())
    }
}

/// What a bonded member says of itself.
fn claim(peer: PeerId, said: &Announcement) -> standing::Claim {
    standing::Claim {
        peer,
        seat: said.seat,
        can_vote: said.can_vote,
        lineage: said.lineage,
        holds: said.holds,
        leads: said.leads,
        follows: said.follows.is_some(),
        established: said.established,
        commands: said.commands,
        parent: said.parent,
    }
}
