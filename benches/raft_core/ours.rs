//! Our members.

use std::collections::VecDeque;

use bytes::{BufMut as _, BytesMut};
use mosaik_proto::{
    Core as _, Outbox, PeerId,
    raft::{
        Action, Config, Event, Kind, LogIndex, Message, Origin, Raft, Role, Seat, SeatId, Stored,
    },
    rng::Rng,
    streams::item,
    time::Instant,
};

use crate::{COMPACT_EVERY, Group};

pub(crate) struct Ours {
    members: Vec<Raft>,
    seats: Vec<Seat>,
    inbox: VecDeque<(usize, usize, Message)>,
    out: Outbox<Action>,
    outstanding: usize,
    payload: usize,
    batch: BytesMut,
    committed: u64,
    compacted: u64,
    messages: u64,
}

impl Ours {
    pub(crate) fn new(outstanding: usize, payload: usize) -> Self {
        let seats: Vec<Seat> = (0..3)
            .map(|n| Seat { peer: PeerId::from_bytes([n + 1; 32]), id: SeatId([n; 16]) })
            .collect();
        let now = Instant::from_millis(1);
        let rng = Rng::new([7; 32]);
        let found = Raft::found(Config::new(seats[0]), rng.clone(), now);
        let empty =
            |seat: &Seat| Raft::new(Config::new(*seat), Stored::default(), rng.fork("m"), now);
        let members = std::iter::once(found).chain(seats[1..].iter().map(empty)).collect();
        let mut group = Self {
            members,
            seats: seats.clone(),
            inbox: VecDeque::new(),
            out: Outbox::new(),
            outstanding,
            payload,
            batch: BytesMut::new(),
            committed: 0,
            compacted: 0,
            messages: 0,
        };
        group.step(0, Event::Timeout);
        for at in 0..3 {
            for other in (0..3).filter(|other| *other != at) {
                group.step(at, Event::Linked { seat: seats[other], can_vote: true });
            }
        }
        group.deliver();
        group.turn();
        assert_eq!(group.members[0].role(), Role::Leader);
        assert_eq!(group.members[0].membership().voters.len(), 3);
        assert!(!group.members[0].membership().is_joint());
        group
    }

    fn step(&mut self, at: usize, event: Event) {
        self.members[at].handle(Instant::from_millis(1), event, &mut self.out);
        let seats = &self.seats;
        for action in self.out.drain() {
            match action {
                Action::Send { to, message } => {
                    let to = seats.iter().position(|seat| *seat == to).expect("a member");
                    self.inbox.push_back((at, to, message));
                }
                Action::Apply(run) if at == 0 => self.committed += run.commands(),
                _ => {}
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.inbox.pop_front() {
            self.messages += u64::from(!matches!(message, Message::Commit { .. }));
            let from = self.seats[from];
            self.step(to, Event::Message { from, message });
        }
    }
}

impl Group for Ours {
    fn turn(&mut self) -> u64 {
        let before = self.committed;
        self.batch.reserve(self.outstanding * (item::SHORT + self.payload));
        for n in 0..self.outstanding {
            let length = item::short(self.payload).expect("a short one");
            self.batch.put_slice(&length);
            self.batch.put_bytes(n as u8, self.payload);
        }
        let (count, data) = (self.outstanding as u32, self.batch.split().freeze());
        let (kind, origin, asker) = (Kind::Commands, Origin::default(), None);
        self.step(0, Event::Propose { kind, count, origin, data, asker });
        self.deliver();
        if self.committed - self.compacted >= COMPACT_EVERY {
            self.compacted = self.committed;
            for at in 0..3 {
                let commit = LogIndex(self.members[at].commit().0);
                self.step(at, Event::Compact(commit));
            }
        }
        self.committed - before
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
