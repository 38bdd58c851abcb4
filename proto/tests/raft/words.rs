//! RAFT-08: who hears of a commit, and when. Three members on wires without delay.

use std::{collections::VecDeque, time::Duration};

use mosaik_proto::{
    Core as _, Outbox,
    limits::COMMIT_WORD,
    raft::{Action, Config, Event, Kind, LogIndex, Message, Origin, Raft, Seat, Stored},
    rng::Rng,
    streams::item,
    time::Instant,
};

use crate::cluster::seat;

struct Trio {
    members: Vec<Raft>,
    now: Instant,
    wires: VecDeque<(usize, usize, Message)>,
    /// Words of commits to each member.
    words: [u32; 3],
}

impl Trio {
    /// The first leads, all vote and have everything.
    fn new() -> Self {
        let (now, rng) = (Instant::from_millis(1), Rng::new([3; 32]));
        let config = |host| Config::new(seat(host, 0));
        let found = Raft::found(config(0), rng.fork("founder"), now);
        let empty = |host| Raft::new(config(host), Stored::default(), rng.fork("m"), now);
        let members = vec![found, empty(1), empty(2)];
        let mut trio = Self { members, now, wires: VecDeque::new(), words: [0; 3] };
        trio.feed(0, Event::Timeout);
        for at in 0..3 {
            for other in (0..3).filter(|other| *other != at) {
                trio.feed(at, Event::Linked { seat: seat(other, 0), can_vote: true });
            }
        }
        trio.deliver();
        trio.propose(None);
        assert_eq!(trio.members[0].membership().voters.len(), 3);
        assert_eq!(trio.commits(), [trio.members[0].commit(); 3], "changes are told at once");
        trio.words = [0; 3];
        trio
    }

    fn feed(&mut self, at: usize, event: Event) {
        let mut out = Outbox::new();
        self.members[at].handle(self.now, event, &mut out);
        for action in out.drain() {
            if let Action::Send { to, message } = action {
                let to = (0..3).find(|host| seat(*host, 0) == to).unwrap();
                self.words[to] += u32::from(matches!(message, Message::Commit { .. }));
                self.wires.push_back((at, to, message));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.wires.pop_front() {
            self.feed(to, Event::Message { from: seat(from, 0), message });
        }
    }

    fn propose_as(&mut self, kind: Kind, asker: Option<Seat>) {
        let mut data = item::short(1).unwrap().to_vec();
        data.push(7);
        let (data, origin) = (data.into(), Origin::default());
        self.feed(0, Event::Propose { kind, count: 1, origin, data, asker });
        self.deliver();
    }

    fn propose(&mut self, asker: Option<Seat>) {
        self.propose_as(Kind::Commands, asker);
    }

    /// The leader's timer fires as often as it is due before then.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.members[0].deadline().filter(|at| *at <= end) {
            self.now = at;
            self.feed(0, Event::Timeout);
            self.deliver();
        }
        self.now = end;
    }

    fn commits(&self) -> [LogIndex; 3] {
        [0, 1, 2].map(|at| self.members[at].commit())
    }

    /// How far the others are behind the leader.
    fn behind(&self) -> [u64; 2] {
        let [leader, one, other] = self.commits();
        [leader.0 - one.0, leader.0 - other.0]
    }
}

#[test]
pub(crate) fn raft_08_the_next_entry_tells_of_a_commit() {
    let mut trio = Trio::new();
    for _ in 0..1_000 {
        trio.propose(None);
        assert_eq!(trio.behind(), [1, 1], "nobody waits for it");
        trio.pass(COMMIT_WORD / 20);
    }
    assert_eq!(trio.words, [0; 3], "for 50 words' time");
    trio.pass(COMMIT_WORD);
    assert_eq!((trio.behind(), trio.words), ([0, 0], [0, 1, 1]), "none came");
    trio.pass(COMMIT_WORD * 20);
    assert_eq!(trio.words, [0, 1, 1], "once");
}

#[test]
pub(crate) fn raft_08_who_waits_hears_at_once() {
    let mut trio = Trio::new();
    trio.propose(Some(seat(2, 0)));
    assert_eq!((trio.behind(), trio.words), ([1, 0], [0, 0, 1]));
    trio.propose(Some(seat(0, 0)));
    assert_eq!(trio.behind(), [1, 1]);
    trio.propose_as(Kind::Control, None);
    assert_eq!(trio.behind(), [0, 0], "what is not a command concerns all");
}
