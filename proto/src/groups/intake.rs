//! What a leader takes into the log: every number of a session once, and in order.
//!
//! The table of sessions knows the entries that were handed to the machine. Behind them lies the
//! tail of the log, committed or not; the intake knows the numbers in it. It is made anew with
//! every election, and costs a run of commands as much as one command.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Index,
    control::Control,
    places::{Place, Places},
    sessions::Sessions,
};
use crate::{
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::{Kind, Log, LogIndex, Refused, Run},
};

/// Why a leader does not take commands. They are not in its log, and nothing behind them of the same
/// attempt will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// It does not lead, or hands over.
    NotLeader,
    /// Commands before them are missing.
    Gap,
    /// The session is unknown: it was never opened in this lineage, or has ended.
    NoSession,
    /// The founders are not all there.
    Founders,
    /// The log is full.
    LogFull,
    /// The sender may not write.
    ReadOnly,
}

impl From<Refused> for Why {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotLeader | Refused::Transferring | Refused::TooManyReads => Self::NotLeader,
            Refused::Founders => Self::Founders,
            Refused::LogFull => Self::LogFull,
        }
    }
}

/// Commands that somebody wants in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Whose they are.
    pub(super) peer: PeerId,
    /// The session.
    pub(super) session: u64,
    /// The number of the first.
    pub(super) number: u64,
    /// How many.
    pub(super) count: u32,
    /// Rises when the sender begins again: what is left of earlier attempts is not wanted any more.
    pub(super) attempt: u64,
}

/// What is to be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// So many of them are in the log already.
    pub(super) known: u32,
    /// Where the first stands if it is known, and is remembered, and is a command.
    pub(super) index: Option<Index>,
}

/// One session as the end of the log shows it.
#[derive(Debug)]
struct Seen {
    peer: PeerId,
    nonce: u64,
    /// The entry that opens it is in the tail.
    opening: bool,
    /// The number that comes next.
    next: u64,
    attempt: u64,
    /// Where the numbers in the tail stand.
    tail: Places,
}

/// The leader's side of commands. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Intake {
    seen: BTreeMap<u64, Seen>,
    /// Sessions up to here belong to the lineage that this one was made from.
    fork: LogIndex,
}

impl Intake {
    /// Forgets everything: this member does not lead.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.fork = LogIndex(0);
    }

    /// Looks through the tail of the log, behind what the table holds: up to `handed`, which has
    /// `commands` commands.
    pub(super) fn rebuild(
        &mut self,
        sessions: &Sessions,
        log: &Log,
        handed: LogIndex,
        commands: Index,
    ) {
        self.clear();
        if mutant::on(Mutant::TailNotSearched) {
            return;
        }
        let mut index = commands;
        for run in log.runs().filter(|run| run.end().index > handed) {
            let gone = (handed.0 + 1).saturating_sub(run.first.0) as u32;
            match run.kind {
                Kind::Commands => {
                    let (number, count) = (run.origin.behind(gone).number, run.count - gone);
                    let place =
                        Place { number, count: u64::from(count), index: Some(index.next()) };
                    self.put(sessions, handed, run.origin.session, place);
                    index.0 += u64::from(count);
                }
                Kind::Control => self.rebuild_control(sessions, handed, run),
                Kind::Noop | Kind::Membership => {}
            }
        }
    }

    fn rebuild_control(&mut self, sessions: &Sessions, handed: LogIndex, run: &Run) {
        match Control::decode(&run.data) {
            Some(Control::OpenSession { peer, nonce }) => self.opening(run.first, peer, nonce),
            Some(Control::Skip { count }) => {
                let (number, count) = (run.origin.number, u64::from(count));
                let place = Place { number, count, index: None };
                self.put(sessions, handed, run.origin.session, place);
            }
            Some(Control::Fork { .. }) => self.forked(run.first),
            Some(Control::Mark | Control::Compare | Control::Yield { .. }) | None => {}
        }
    }

    /// Numbers of a session that the tail was found to hold. What does not follow is void.
    fn put(&mut self, sessions: &Sessions, handed: LogIndex, session: u64, place: Place) {
        if let Some(seen) = self.look(sessions, handed, session)
            && seen.next == place.number
        {
            seen.next = place.end();
            seen.tail.push(place);
        }
    }

    /// GRP-30: a session that is alive at the table's place, or opened behind it.
    fn look(&mut self, sessions: &Sessions, handed: LogIndex, id: u64) -> Option<&mut Seen> {
        if id <= self.fork.0 {
            return None;
        }
        let known = sessions.next(id, handed);
        if known.is_none() && self.seen.get(&id).is_some_and(|seen| !seen.opening) {
            self.seen.remove(&id);
        }
        match known {
            Some((peer, next)) => Some(self.seen.entry(id).or_insert_with(|| Seen {
                peer,
                nonce: 0,
                opening: false,
                next,
                attempt: 0,
                tail: Places::default(),
            })),
            None => self.seen.get_mut(&id),
        }
    }

    /// GRP-32: says what of these commands may enter the log: what is behind the last number of their
    /// session in the whole log, and nothing if there is a gap.
    pub(super) fn admit(
        &mut self,
        sessions: &Sessions,
        handed: LogIndex,
        asked: &Asked,
    ) -> Result<Admitted, Why> {
        let seen = self.look(sessions, handed, asked.session);
        let seen = seen.filter(|seen| seen.peer == asked.peer).ok_or(Why::NoSession)?;
        if asked.attempt < seen.attempt || asked.number > seen.next {
            return Err(Why::Gap);
        }
        seen.attempt = asked.attempt;
        if asked.number == seen.next || mutant::on(Mutant::DuplicateAdmitted) {
            return Ok(Admitted { known: 0, index: None });
        }
        let place = seen.tail.find(asked.number);
        let place = place.or_else(|| sessions.place(asked.session, asked.number));
        let known = (seen.next - asked.number).min(u64::from(asked.count)) as u32;
        Ok(Admitted { known, index: place.and_then(|place| place.index) })
    }

    /// The next `count` numbers of a session were appended: commands from `index` on, or an entry that
    /// skips them.
    pub(super) fn appended(&mut self, session: u64, count: u32, index: Option<Index>) {
        if let Some(seen) = self.seen.get_mut(&session) {
            let place = Place { number: seen.next, count: u64::from(count), index };
            seen.next = place.end();
            seen.tail.push(place);
        }
    }

    /// True if an opening is to be appended; false if it is in the log, or too many of that peer are
    /// in the tail.
    pub(super) fn admit_opening(&self, sessions: &Sessions, peer: &PeerId, nonce: u64) -> bool {
        let opening = |seen: &&Seen| seen.opening && seen.peer == *peer;
        let twin = |seen: &Seen| seen.nonce == nonce;
        self.seen.values().filter(opening).count() < limits::SESSIONS_PER_PEER
            && !self.seen.values().filter(opening).any(twin)
            && sessions.opened_by(peer, nonce).is_none_or(|id| id <= self.fork.0)
    }

    /// The entry at `at`, which opens a session, was appended.
    pub(super) fn opening(&mut self, at: LogIndex, peer: PeerId, nonce: u64) {
        let tail = Places::default();
        let seen = Seen { peer, nonce, opening: true, next: 0, attempt: 0, tail };
        self.seen.insert(at.0, seen);
    }

    /// The entry at `at` was appended, behind which the sessions before it are no more (GRP-37).
    pub(super) fn forked(&mut self, at: LogIndex) {
        self.fork = at;
        self.seen.retain(|id, _| *id > at.0);
    }

    /// The table holds the numbers of a session below `number`.
    pub(super) fn applied(&mut self, session: u64, number: u64) {
        if let Some(seen) = self.seen.get_mut(&session) {
            seen.tail.forget_below(number);
        }
    }

    /// The table holds the session opened at `at`, and may have dropped others for it.
    pub(super) fn opened(&mut self, sessions: &Sessions, at: LogIndex) {
        if let Some(seen) = self.seen.get_mut(&at.0) {
            seen.opening = false;
        }
        self.seen.retain(|id, seen| seen.opening || sessions.next(*id, at).is_some());
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::raft::{Origin, Term};

    const ME: PeerId = PeerId::from_bytes([1; 32]);
    const YOU: PeerId = PeerId::from_bytes([2; 32]);

    fn ask(session: u64, number: u64, count: u32) -> Asked {
        Asked { peer: ME, session, number, count, attempt: 0 }
    }

    const fn new(known: u32) -> Result<Admitted, Why> {
        Ok(Admitted { known, index: None })
    }

    fn known(known: u32, index: u64) -> Result<Admitted, Why> {
        Ok(Admitted { known, index: Some(Index(index)) })
    }

    fn open() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.open(LogIndex(2), ME, 7);
        sessions
    }

    #[test]
    fn grp_32_numbers_enter_once_and_without_gaps() {
        let (sessions, at) = (open(), LogIndex(2));
        let mut intake = Intake::default();
        assert_eq!(intake.admit(&sessions, at, &ask(3, 0, 1)), Err(Why::NoSession));
        assert_eq!(intake.admit(&sessions, at, &ask(2, 1, 1)), Err(Why::Gap));
        assert_eq!(intake.admit(&sessions, at, &ask(2, 0, 5)), new(0));
        intake.appended(2, 5, Some(Index(1)));
        assert_eq!(
            intake.admit(&sessions, at, &ask(2, 0, 5)),
            known(5, 1),
            "uncommitted, but there"
        );
        assert_eq!(intake.admit(&sessions, at, &ask(2, 3, 5)), known(2, 4), "three are new");
        assert_eq!(intake.admit(&sessions, at, &ask(2, 5, 1)), new(0));
        assert_eq!(intake.admit(&sessions, at, &ask(2, 6, 1)), Err(Why::Gap));
        let theirs = Asked { peer: YOU, ..ask(2, 5, 1) };
        assert_eq!(intake.admit(&sessions, at, &theirs), Err(Why::NoSession), "not their session");
    }

    #[test]
    fn grp_32_what_is_applied_is_still_known() {
        let (mut sessions, mut intake) = (open(), Intake::default());
        assert_eq!(intake.admit(&sessions, LogIndex(2), &ask(2, 0, 5)), new(0));
        intake.appended(2, 5, Some(Index(1)));
        let at = LogIndex(7);
        let origin = Origin { session: 2, number: 0 };
        assert!(sessions.apply(origin, 5, LogIndex(3), Some(Index(1))));
        intake.applied(2, 5);
        assert_eq!(intake.admit(&sessions, at, &ask(2, 1, 4)), known(4, 2));
        intake.clear();
        assert_eq!(intake.admit(&sessions, at, &ask(2, 1, 4)), known(4, 2), "another leader");
        assert_eq!(intake.admit(&sessions, at, &ask(2, 5, 4)), new(0));
    }

    #[test]
    fn grp_34_what_is_left_of_an_earlier_attempt_is_not_taken() {
        let (sessions, at, mut intake) = (open(), LogIndex(2), Intake::default());
        let second = Asked { attempt: 2, ..ask(2, 0, 1) };
        assert_eq!(intake.admit(&sessions, at, &second), new(0));
        intake.appended(2, 1, Some(Index(1)));
        assert_eq!(intake.admit(&sessions, at, &ask(2, 1, 1)), Err(Why::Gap));
    }

    /// A log: a session opened, five commands, three numbers skipped, two commands more.
    fn tail() -> Log {
        let mut log = Log::default();
        let opening = Control::OpenSession { peer: ME, nonce: 7 }.encode();
        let entry = |log: &Log, kind| Run::empty(Term(1), log.last().index.next(), kind);
        let origin = |number| Origin { session: 2, number };
        log.append(entry(&log, Kind::Noop));
        log.append(Run { data: opening, ..entry(&log, Kind::Control) });
        let commands = |count: u32| -> Vec<u8> { (0..count).flat_map(|_| [0, 1, 9]).collect() };
        let run = entry(&log, Kind::Commands);
        log.append(Run { count: 5, data: commands(5).into(), origin: origin(0), ..run });
        let data = Control::Skip { count: 3 }.encode();
        log.append(Run { data, origin: origin(5), ..entry(&log, Kind::Control) });
        let run = entry(&log, Kind::Commands);
        log.append(Run { count: 2, data: commands(2).into(), origin: origin(8), ..run });
        log
    }

    #[test]
    fn grp_32_a_new_leader_finds_what_is_in_its_log() {
        let (log, mut intake) = (tail(), Intake::default());
        let empty = Sessions::default();
        intake.rebuild(&empty, &log, LogIndex(0), Index(0));
        assert_eq!(intake.admit(&empty, LogIndex(0), &ask(2, 8, 3)), known(2, 6));
        assert_eq!(intake.admit(&empty, LogIndex(0), &ask(2, 6, 1)), new(1), "skipped");
        assert_eq!(intake.admit(&empty, LogIndex(0), &ask(2, 11, 3)), Err(Why::Gap));
        assert!(!intake.admit_opening(&empty, &ME, 7), "it is in the log");
        assert!(intake.admit_opening(&empty, &YOU, 7));
        // A part of the run is applied.
        let mut sessions = open();
        assert!(sessions.apply(Origin { session: 2, number: 0 }, 2, LogIndex(3), Some(Index(1))));
        intake.rebuild(&sessions, &log, LogIndex(4), Index(2));
        assert_eq!(intake.admit(&sessions, LogIndex(4), &ask(2, 2, 3)), known(3, 3));
        assert_eq!(intake.admit(&sessions, LogIndex(4), &ask(2, 10, 3)), new(0));
        assert!(!intake.admit_opening(&sessions, &ME, 7), "it is applied");
    }

    #[test]
    fn v9_two_forks_one_session() {
        // GRP-37: a lineage that was made from another takes nothing of that one's sessions.
        let (mut log, mut intake) = (tail(), Intake::default());
        let data = Control::Fork { from: crate::raft::Lineage([3; 16]) }.encode();
        let at = log.last().index.next();
        log.append(Run { data, ..Run::empty(Term(2), at, Kind::Control) });
        let mut sessions = open();
        intake.rebuild(&sessions, &log, LogIndex(2), Index(0));
        assert_eq!(intake.admit(&sessions, LogIndex(2), &ask(2, 10, 1)), Err(Why::NoSession));
        assert_eq!(intake.admit(&sessions, LogIndex(2), &ask(2, 9, 1)), Err(Why::NoSession));
        assert!(intake.admit_opening(&sessions, &ME, 7), "it has to be opened anew");
        sessions.clear();
        assert_eq!(sessions.next(2, at), None);
    }
}
