//! The replicated table of sessions: how far the commands of each client are applied.
//!
//! Every member keeps one and changes it by nothing but the entries of the log, in order, so all
//! tables are equal at equal places. It is part of every snapshot.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Index,
    places::{Place, Places},
};
use crate::{
    ids::PeerId,
    limits,
    mutant::{self, Mutant},
    raft::{LogIndex, Origin},
    wire,
};

/// One client's commands in one lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    peer: PeerId,
    nonce: u64,
    /// The number that comes next.
    next: u64,
    /// The last entry that used it.
    used: LogIndex,
    /// Where the last [`limits::SESSION_WINDOW`] numbers stand.
    places: Places,
}

/// All sessions. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    table: BTreeMap<u64, Session>,
}

impl Session {
    /// GRP-31: nobody used it for so long that it is over at `at`.
    const fn is_over(&self, at: LogIndex) -> bool {
        at.0.saturating_sub(self.used.0) > limits::SESSION_IDLE
    }
}

impl Sessions {
    /// GRP-30: the entry at `at` opens a session. Of too many the one that was used longest ago goes.
    pub(super) fn open(&mut self, at: LogIndex, peer: PeerId, nonce: u64) {
        self.table.retain(|_, session| !session.is_over(at));
        let of_peer = self.table.values().filter(|session| session.peer == peer).count();
        if of_peer >= limits::SESSIONS_PER_PEER {
            self.drop_oldest(|session| session.peer == peer);
        } else if self.table.len() >= limits::SESSIONS {
            self.drop_oldest(|_| true);
        }
        let session = Session { peer, nonce, next: 0, used: at, places: Places::default() };
        self.table.insert(at.0, session);
    }

    fn drop_oldest(&mut self, among: impl Fn(&Session) -> bool) {
        let candidates = self.table.iter().filter(|(_, session)| among(session));
        if let Some((&id, _)) = candidates.min_by_key(|(id, session)| (session.used, **id)) {
            self.table.remove(&id);
        }
    }

    /// Uses up `count` numbers of a session: by commands whose first entry is `first` and whose first
    /// place is `index`, or by one entry that skips them. False if they are void: GRP-30, the session
    /// is unknown, or, which no leader lets happen, the numbers do not follow.
    pub(super) fn apply(
        &mut self,
        origin: Origin,
        count: u32,
        first: LogIndex,
        index: Option<Index>,
    ) -> bool {
        let Some(session) = self.table.get_mut(&origin.session) else { return false };
        if mutant::on(Mutant::DuplicateAdmitted) && origin.number < session.next {
            return true;
        }
        if session.is_over(first) || session.next != origin.number {
            return false;
        }
        let count = u64::from(count);
        session.next += count;
        session.used = if index.is_some() { LogIndex(first.0 + count - 1) } else { first };
        session.places.push(Place { number: origin.number, count, index });
        session.places.forget_below(session.next.saturating_sub(limits::SESSION_WINDOW));
        session.places.keep(limits::SESSION_RANGES);
        true
    }

    /// GRP-37: the log goes on in another lineage, and no session does.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    fn session(&self, id: u64, at: LogIndex) -> Option<&Session> {
        self.table.get(&id).filter(|session| !session.is_over(at))
    }

    /// Whose a session is, and the number that comes next; `None` if it is unknown at `at`.
    pub(super) fn next(&self, id: u64, at: LogIndex) -> Option<(PeerId, u64)> {
        self.session(id, at).map(|session| (session.peer, session.next))
    }

    /// Where a number of a session stands, if that is still remembered.
    pub(super) fn place(&self, id: u64, number: u64) -> Option<Place> {
        self.table.get(&id)?.places.find(number)
    }

    /// The session that this opening opened.
    pub(super) fn opened_by(&self, peer: &PeerId, nonce: u64) -> Option<u64> {
        let mut table = self.table.iter();
        table
            .find(|(_, session)| session.peer == *peer && session.nonce == nonce)
            .map(|(id, _)| *id)
    }

    /// The table as a snapshot behind `at` holds it: the same bytes on every member.
    pub(super) fn encode(&self, at: LogIndex) -> Bytes {
        let live: Vec<(&u64, &Session)> =
            self.table.iter().filter(|(_, session)| !session.is_over(at)).collect();
        if mutant::on(Mutant::SessionsNotFrozen) {
            return wire::encode(&live[..0]);
        }
        wire::encode(&live)
    }

    /// What [`encode`](Self::encode) made; `None` if it is nothing of the kind.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let live: Vec<(u64, Session)> = wire::decode(bytes).ok()?;
        let rising = live.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = live
            .iter()
            .all(|(_, session)| session.places.is_sound(session.next, limits::SESSION_RANGES));
        let fits = live.len() <= limits::SESSIONS;
        (rising && sound && fits).then(|| Self { table: live.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn run(sessions: &mut Sessions, id: u64, number: u64, count: u32, at: u64) -> bool {
        let origin = Origin { session: id, number };
        sessions.apply(origin, count, LogIndex(at), Some(Index(at)))
    }

    #[test]
    fn grp_30_an_unknown_session_is_void_and_opens_nothing() {
        let mut sessions = Sessions::default();
        assert!(!run(&mut sessions, 1, 0, 3, 10));
        assert_eq!(sessions, Sessions::default());
        sessions.open(LogIndex(11), peer(1), 5);
        assert_eq!(sessions.opened_by(&peer(1), 5), Some(11));
        assert_eq!(sessions.opened_by(&peer(2), 5), None);
        assert!(run(&mut sessions, 11, 0, 3, 12));
        assert!(!run(&mut sessions, 11, 0, 3, 15), "these numbers are used up");
        assert!(!run(&mut sessions, 11, 4, 1, 15), "a gap");
        assert!(run(&mut sessions, 11, 3, 1, 15));
        assert_eq!(sessions.next(11, LogIndex(15)), Some((peer(1), 4)));
        assert_eq!(sessions.place(11, 2).unwrap().index, Some(Index(14)));
    }

    #[test]
    fn grp_31_sessions_expire_by_the_log() {
        let mut sessions = Sessions::default();
        sessions.open(LogIndex(1), peer(1), 0);
        assert!(run(&mut sessions, 1, 0, 1, 2));
        let last = 2 + limits::SESSION_IDLE;
        assert!(run(&mut sessions.clone(), 1, 1, 1, last));
        assert!(!run(&mut sessions, 1, 1, 1, last + 1), "nobody used it for too long");
        assert_eq!(sessions.next(1, LogIndex(last + 1)), None);
        let gone = Sessions::decode(&sessions.encode(LogIndex(last + 1))).unwrap();
        assert_eq!(gone, Sessions::default(), "what is over is in no snapshot");
    }

    #[test]
    fn grp_31_of_too_many_the_longest_unused_goes() {
        let mut sessions = Sessions::default();
        for at in 1..=limits::SESSIONS as u64 {
            sessions.open(LogIndex(at), PeerId::from_bytes([0; 32].map(|_: u8| at as u8)), at);
        }
        // 256 peers have 16 each, and so many are allowed.
        let at = LogIndex(5_000);
        assert_eq!(sessions.table.len(), limits::SESSIONS);
        assert!(run(&mut sessions, 1, 0, 1, 4_999), "the first is used again");
        sessions.open(at, peer(3), 0);
        assert_eq!(sessions.next(3, at), None, "of its peer's the oldest");
        assert_eq!(sessions.table.len(), limits::SESSIONS);
        assert_eq!(sessions.next(1, at).unwrap().1, 1);
    }

    proptest! {
        /// GRP-32: the same entries make the same table and the same bytes, however they are cut into
        /// runs, and whether or not a snapshot lay in between.
        #[test]
        fn grp_32_tables_are_equal_at_equal_places(
            entries in proptest::collection::vec((0u8..5, 1u32..40, any::<bool>()), 1..60),
            cut in 1u32..7,
        ) {
            let (mut whole, mut cuts) = (Sessions::default(), Sessions::default());
            let (mut at, mut index) = (1, 1);
            for who in 0..4 {
                whole.open(LogIndex(at), peer(who), 0);
                cuts.open(LogIndex(at), peer(who), 0);
                at += 1;
            }
            for (who, count, freeze) in entries {
                let id = u64::from(who) + 1;
                let number = whole.next(id, LogIndex(at)).map_or(0, |(_, next)| next);
                let origin = Origin { session: id, number };
                let place = Some(Index(index));
                let applied = whole.apply(origin, count, LogIndex(at), place);
                prop_assert_eq!(applied, who < 4);
                let mut done = 0;
                while done < count {
                    let part = cut.min(count - done);
                    let (at, place) = (at + u64::from(done), Some(Index(index + u64::from(done))));
                    let applied = cuts.apply(origin.behind(done), part, LogIndex(at), place);
                    prop_assert_eq!(applied, who < 4);
                    done += part;
                }
                at += u64::from(count);
                index += u64::from(count);
                if freeze {
                    cuts = Sessions::decode(&cuts.encode(LogIndex(at))).unwrap();
                }
                prop_assert_eq!(whole.encode(LogIndex(at)), cuts.encode(LogIndex(at)));
            }
            prop_assert_eq!(whole, cuts);
        }
    }
}
