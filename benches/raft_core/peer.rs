//! tikv's members.

use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, EntryType, Message},
    storage::MemStorage,
};

use crate::{COMPACT_EVERY, Group};

pub(crate) struct Peer {
    members: Vec<RawNode<MemStorage>>,
    inbox: Vec<Message>,
    outstanding: usize,
    payload: usize,
    committed: u64,
    compacted: u64,
    applied: [u64; 3],
    messages: u64,
}

impl Peer {
    pub(crate) fn new(outstanding: usize, payload: usize) -> Self {
        let voters = ConfState::from((vec![1, 2, 3], vec![]));
        let member = |id| {
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 3,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 4096,
                check_quorum: true,
                pre_vote: true,
                batch_append: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state(voters.clone());
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            RawNode::new(&config, storage, &logger).expect("a sound configuration")
        };
        let mut group = Self {
            members: (1..=3).map(member).collect(),
            inbox: Vec::new(),
            outstanding,
            payload,
            committed: 0,
            compacted: 0,
            applied: [0; 3],
            messages: 0,
        };
        group.members[0].campaign().expect("a follower campaigns");
        group.deliver();
        assert_eq!(group.members[0].raft.state, StateRole::Leader);
        group.turn();
        group
    }

    fn ready(&mut self, at: usize) {
        while self.members[at].has_ready() {
            let node = &mut self.members[at];
            let mut ready = node.ready();
            self.inbox.extend(ready.take_messages());
            let mut committed = ready.take_committed_entries();
            if !ready.entries().is_empty() {
                node.mut_store().wl().append(ready.entries()).expect("contiguous entries");
            }
            if let Some(hard) = ready.hs() {
                node.mut_store().wl().set_hardstate(hard.clone());
            }
            self.inbox.extend(ready.take_persisted_messages());
            let mut light = node.advance(ready);
            self.inbox.extend(light.take_messages());
            committed.extend(light.take_committed_entries());
            node.advance_apply();
            if let Some(last) = committed.last() {
                self.applied[at] = last.index;
            }
            let commands = committed.iter().filter(|entry| {
                entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty()
            });
            if at == 0 {
                self.committed += commands.count() as u64;
            }
        }
    }

    fn deliver(&mut self) {
        (0..3).for_each(|at| self.ready(at));
        while !self.inbox.is_empty() {
            for message in std::mem::take(&mut self.inbox) {
                self.messages += 1;
                let at = message.to as usize - 1;
                self.members[at].step(message).expect("a message of a member");
            }
            (0..3).for_each(|at| self.ready(at));
        }
    }
}

impl Group for Peer {
    fn turn(&mut self) -> u64 {
        let before = self.committed;
        for n in 0..self.outstanding {
            let data = vec![n as u8; self.payload];
            self.members[0].propose(Vec::new(), data).expect("the leader takes it");
        }
        self.deliver();
        if self.committed - self.compacted >= COMPACT_EVERY {
            self.compacted = self.committed;
            for (at, applied) in self.applied.into_iter().enumerate() {
                self.members[at].mut_store().wl().compact(applied).expect("it is applied");
            }
        }
        self.committed - before
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
