//! The calls of this node and of those that forward theirs, put together.
//!
//! ```text
//!  execute ─► client ──ask──► intake (of the leader, here or there) ──► log ──► sessions ─► machine
//!               ▲                                                                   │
//!               └──────────────────────── outcome, behind the Apply ────────────────┘
//! ```

use bytes::Bytes;

use super::{
    Index, Output,
    client::Client,
    config::ConsensusConfig,
    control::Control,
    intake::{Asked, Intake, Why},
    places::Place,
    reads::Reads,
    sessions::Sessions,
};
use crate::{
    core::Outbox,
    ids::PeerId,
    raft::{Kind, Log, LogIndex, Origin, Run, Term},
    streams::item,
    time::Instant,
};

/// What a leader proposes to Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) kind: Kind,
    /// Entries.
    pub(super) count: u32,
    pub(super) origin: Origin,
    /// So many numbers of the session it uses up.
    numbers: u32,
    /// There are some before it that are in the log already, the first at this place.
    known: Option<Option<Index>>,
}

/// What becomes of commands that a leader was asked to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are in the log, the first at this place, if that is remembered.
    Known(Option<Index>),
    /// To be proposed; then [`Calls::appended`].
    Propose(Proposal, Bytes),
}

/// Commands and reads of one group at one member.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) sessions: Sessions,
    pub(super) intake: Intake,
    pub(super) client: Client,
    pub(super) reads: Reads,
    /// What is to be told to the host.
    pub(super) out: Outbox<Output>,
}

impl Calls {
    /// No calls. `nonce` is random.
    pub(super) fn new(me: PeerId, nonce: u64, timing: &ConsensusConfig) -> Self {
        let (command, forward) = (timing.command_timeout, timing.forward_timeout);
        Self {
            sessions: Sessions::default(),
            intake: Intake::default(),
            client: Client::new(me, nonce, command, forward),
            reads: Reads::new(timing.query_timeout),
            out: Outbox::new(),
        }
    }

    // --- leading ---------------------------------------------------------------------------

    /// Another leader, another term, or none. `handed` entries with `commands` commands are in the
    /// table of sessions.
    pub(super) fn on_leader(
        &mut self,
        leader: Option<(PeerId, Term)>,
        leads: bool,
        log: &Log,
        handed: LogIndex,
        commands: Index,
    ) {
        if leads {
            self.intake.rebuild(&self.sessions, log, handed, commands);
        } else {
            self.intake.clear();
        }
        self.client.on_leader(leader);
    }

    /// What to do with commands: `data` without any means that their numbers are to be skipped.
    pub(super) fn admit(
        &mut self,
        asked: &Asked,
        data: Bytes,
        handed: LogIndex,
    ) -> Result<Verdict, Why> {
        let admitted = self.intake.admit(&self.sessions, handed, asked)?;
        if admitted.known == asked.count {
            return Ok(Verdict::Known(admitted.index));
        }
        let numbers = asked.count - admitted.known;
        let number = asked.number + u64::from(admitted.known);
        let origin = Origin { session: asked.session, number };
        let known = (admitted.known > 0).then_some(admitted.index);
        let (kind, count, data) = if data.is_empty() {
            (Kind::Control, 1, Control::Skip { count: numbers }.encode())
        } else if admitted.known > 0 {
            (Kind::Commands, numbers, behind(&data, admitted.known).ok_or(Why::Gap)?)
        } else {
            (Kind::Commands, numbers, data)
        };
        Ok(Verdict::Propose(Proposal { kind, count, origin, numbers, known }, data))
    }

    /// The proposal was appended, behind which the log has `commands` commands. Returns the place of
    /// the first command that was asked for.
    pub(super) fn appended(&mut self, proposal: &Proposal, commands: u64) -> Option<Index> {
        let Proposal { kind, count, origin, numbers, known } = *proposal;
        let index = (kind == Kind::Commands).then(|| Index(commands + 1 - u64::from(count)));
        self.intake.appended(origin.session, numbers, index);
        known.unwrap_or(index)
    }

    /// The leader did not take what was asked for; see [`Client::on_refused`].
    pub(super) fn on_refused(
        &mut self,
        attempt: u64,
        number: u64,
        why: Why,
        handed: LogIndex,
        now: Instant,
    ) {
        self.client.on_refused(attempt, number, why, now, &mut self.out);
        if self.client.is_ending() {
            self.client.check_session(&self.sessions, handed);
        }
    }

    // --- the log ---------------------------------------------------------------------------

    /// Commands are about to be handed to the machine, the first as `first`. False if they are void.
    /// Outcomes in `out` belong behind them.
    pub(super) fn hand(&mut self, run: &Run, first: Index) -> bool {
        let applied = self.sessions.apply(run.origin, run.count, run.first, Some(first));
        self.used_up(run, run.count, applied, Some(first));
        applied
    }

    fn used_up(&mut self, run: &Run, count: u32, applied: bool, index: Option<Index>) {
        let Origin { session, number } = run.origin;
        let place = Place { number, count: u64::from(count), index };
        self.intake.applied(session, place.end());
        let ours = self.client.session() == Some(session);
        match (ours, applied) {
            (true, true) => self.client.on_applied(place, &mut self.out),
            (true, false) => self.client.on_session_over(),
            (false, _) => {}
        }
        if self.client.is_ending() {
            self.client.check_session(&self.sessions, run.first);
        }
    }

    /// An entry of the group's own is in force.
    pub(super) fn hand_control(&mut self, run: &Run, control: &Control) {
        match control {
            Control::OpenSession { peer, nonce } => {
                self.sessions.open(run.first, *peer, *nonce);
                self.intake.opened(&self.sessions, run.first);
                self.client.on_opened(run.first.0, peer, *nonce);
                self.client.check_session(&self.sessions, run.first);
            }
            Control::Skip { count } => {
                let applied = self.sessions.apply(run.origin, *count, run.first, None);
                self.used_up(run, *count, applied, None);
            }
            Control::Fork { .. } => self.sessions.clear(),
            Control::Mark | Control::Compare | Control::Yield { .. } => {}
        }
    }

    /// The table of sessions becomes that of a snapshot up to `at`. False if it is none.
    pub(super) fn install(&mut self, table: &[u8], at: LogIndex) -> bool {
        let Some(sessions) = Sessions::decode(table) else { return false };
        self.sessions = sessions;
        self.client.on_installed(&self.sessions, at, &mut self.out);
        true
    }

    /// This member leaves its lineage for another or none; see [`Client::on_lineage_left`].
    pub(super) fn on_lineage_left(&mut self, superseded: bool) {
        self.sessions.clear();
        self.intake.clear();
        self.client.on_lineage_left(superseded, &mut self.out);
        self.reads.ask_again();
    }

    /// The log goes on in another lineage: its sessions are over there, behind the entry that says so.
    pub(super) fn on_fork(&mut self) {
        self.intake.clear();
        self.client.on_lineage_left(false, &mut self.out);
        self.reads.ask_again();
    }

    // --- time ------------------------------------------------------------------------------

    /// Carries out what is due.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.client.on_timeout(now, &mut self.out);
        self.reads.on_timeout(now, &mut self.out);
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.client.deadline(), self.reads.deadline()].into_iter().flatten().min()
    }
}

/// The commands behind the first `count`.
fn behind(data: &Bytes, count: u32) -> Option<Bytes> {
    let end = item::prefix(data, 0, u64::from(count), u64::MAX, usize::MAX).ok()?.end;
    Some(data.slice(end..))
}

/// True if `data` is `count` whole commands, none too large; nothing stands for skipped ones.
pub(super) fn is_sound(data: &[u8], count: u32) -> bool {
    let (mut at, mut left) = (0, count);
    while at < data.len() && left > 0 {
        match item::locate(data, at) {
            Ok((start, length)) if length <= crate::limits::COMMAND_BYTES => at = start + length,
            _ => return false,
        }
        left -= 1;
    }
    count > 0 && at == data.len() && (left == 0 || data.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Lineage;

    const ME: PeerId = PeerId::from_bytes([1; 32]);

    fn entry(at: u64, kind: Kind, origin: Origin, data: Bytes) -> Run {
        Run { origin, data, ..Run::empty(Term(1), LogIndex(at), kind) }
    }

    fn control(calls: &mut Calls, at: u64, control: Control) {
        let run = entry(at, Kind::Control, Origin::default(), control.encode());
        calls.hand_control(&run, &control);
    }

    #[test]
    fn v9_a_fork_knows_no_session_of_the_old_lineage() {
        // GRP-37: two forks of one lineage must not both apply what one client is told of by both.
        let mut calls = Calls::new(ME, 0, &ConsensusConfig::default());
        control(&mut calls, 2, Control::OpenSession { peer: ME, nonce: 7 });
        let command = |at, number| {
            let data = Bytes::from_static(&[0, 1, 9]);
            entry(at, Kind::Commands, Origin { session: 2, number }, data)
        };
        assert!(calls.hand(&command(3, 0), Index(1)), "what the old lineage had");
        control(&mut calls, 4, Control::Fork { from: Lineage([1; 16]) });
        assert!(!calls.hand(&command(5, 1), Index(2)), "void");
        let asked = Asked { peer: ME, session: 2, number: 1, count: 1, attempt: 0 };
        let data = Bytes::from_static(&[0, 1, 9]);
        assert_eq!(calls.admit(&asked, data, LogIndex(5)), Err(Why::NoSession));
    }

    #[test]
    fn grp_32_a_known_part_is_not_appended_again() {
        let mut calls = Calls::new(ME, 0, &ConsensusConfig::default());
        control(&mut calls, 2, Control::OpenSession { peer: ME, nonce: 7 });
        let mut admit = |number, count: u32, data: &'static [u8]| {
            let asked = Asked { peer: ME, session: 2, number, count, attempt: 0 };
            let verdict = calls.admit(&asked, Bytes::from_static(data), LogIndex(2));
            if let Ok(Verdict::Propose(proposal, _)) = &verdict {
                let commands = proposal.origin.number + u64::from(proposal.count);
                calls.appended(proposal, commands);
            }
            verdict
        };
        let first = admit(0, 2, &[0, 1, 7, 0, 1, 8]);
        assert!(matches!(first, Ok(Verdict::Propose(..))));
        let Ok(Verdict::Propose(proposal, data)) = admit(1, 2, &[0, 1, 8, 0, 1, 9]) else {
            panic!("the third is new");
        };
        assert_eq!((proposal.origin.number, proposal.count, &data[..]), (2, 1, &[0, 1, 9][..]));
        assert_eq!(admit(0, 3, &[0, 1, 7, 0, 1, 8, 0, 1, 9]), Ok(Verdict::Known(Some(Index(1)))));
        let Ok(Verdict::Propose(proposal, data)) = admit(2, 3, &[]) else {
            panic!("two are to be skipped");
        };
        assert_eq!((proposal.kind, proposal.count), (Kind::Control, 1));
        assert_eq!(Control::decode(&data), Some(Control::Skip { count: 2 }));
    }

    #[test]
    fn grp_32_only_whole_commands_are_taken_from_others() {
        assert!(is_sound(&[0, 1, 7, 0, 0], 2));
        assert!(is_sound(&[], 5), "numbers to be skipped");
        assert!(!is_sound(&[], 0) && !is_sound(&[0, 1, 7], 2) && !is_sound(&[0, 1, 7, 0, 0], 1));
        assert!(!is_sound(&[0, 2, 7], 1), "cut off");
        let mut large = item::long(crate::limits::COMMAND_BYTES).to_vec();
        large.resize(item::LONG + crate::limits::COMMAND_BYTES, 0);
        assert!(is_sound(&large, 1));
        let mut larger = item::long(crate::limits::COMMAND_BYTES + 1).to_vec();
        larger.resize(item::LONG + crate::limits::COMMAND_BYTES + 1, 0);
        assert!(!is_sound(&larger, 1), "one byte over the limit");
    }
}
