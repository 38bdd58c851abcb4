//! Serving a snapshot to members that fetch it.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use bytes::Bytes;

use super::{
    Output,
    fetch::Effect,
    frames::{Frame, Manifest},
};
use crate::{
    Digest,
    core::Outbox,
    ids::PeerId,
    limits,
    raft::{LogIndex, Term},
};

/// What a member asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// What can be fetched.
    Manifest,
    /// A chunk of this snapshot.
    Chunk { last: LogIndex, digest: Digest, chunk: u64 },
}

/// What others asked for. Each is answered in the order of its questions, and every question once
/// (GRP-46).
#[derive(Debug, Default)]
pub(super) struct Serving {
    asked: BTreeMap<PeerId, VecDeque<Question>>,
    /// Reads under way: whose first question each is for. One per member.
    reads: BTreeMap<u64, PeerId>,
    last_read: u64,
    /// Whose turn it was last.
    turn: Option<PeerId>,
}

impl Serving {
    /// A member asks.
    pub(super) fn ask(&mut self, from: PeerId, question: Question, out: &mut Outbox<Effect>) {
        let asked = self.asked.entry(from).or_default();
        // Its window, and what it needs to know before.
        if asked.len() > limits::FETCH_ASKS {
            return out.push(Effect::Violation(from));
        }
        asked.push_back(question);
    }

    /// Its channel ended: what it asked there is not answered.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.asked.remove(&peer);
        self.reads.retain(|_, reader| *reader != peer);
    }

    /// Answers what can be answered at once, and reads for the others while their channels take it:
    /// one answer each, the next when the channel took that. `debt` is what was handed to it and not
    /// sent yet.
    pub(super) fn pump(
        &mut self,
        held: Option<&Manifest>,
        term: Term,
        debt: impl Fn(PeerId) -> u64,
        out: &mut Outbox<Effect>,
    ) {
        let turn = self.turn;
        let waits = |peer: &PeerId| !self.reads.values().any(|reader| reader == peer);
        let mut peers = self.asked.keys().copied().filter(waits).collect::<Vec<_>>();
        peers.sort_unstable_by_key(|peer| (Some(*peer) <= turn, *peer));
        for peer in peers {
            if debt(peer) >= limits::CHANNEL_DEBT {
                continue;
            }
            match self.asked.get(&peer).and_then(|asked| asked.front().copied()) {
                Some(Question::Chunk { last, digest, chunk }) if has(held, last, digest, chunk) => {
                    self.read(peer, last, chunk, out);
                }
                Some(Question::Chunk { chunk, .. }) => {
                    self.answer(peer, Frame::NoChunk { chunk }, out);
                }
                Some(Question::Manifest) => {
                    // GRP-47: by now it is known to be committed, and not only since it was frozen.
                    let manifest = held.map(|held| Box::new(Manifest { term, ..held.clone() }));
                    self.answer(peer, Frame::Manifest(manifest), out);
                }
                None => {}
            }
        }
    }

    /// Has a chunk read, unless others are busy.
    fn read(&mut self, peer: PeerId, last: LogIndex, chunk: u64, out: &mut Outbox<Effect>) {
        if self.reads.len() < limits::CHUNK_READS {
            self.last_read += 1;
            self.reads.insert(self.last_read, peer);
            self.turn = Some(peer);
            let read = self.last_read;
            out.push(Effect::Output(Output::ReadChunk { read, last, chunk }));
        }
    }

    /// Answers the first question of a member.
    fn answer(&mut self, peer: PeerId, frame: Frame, out: &mut Outbox<Effect>) {
        if let Some(asked) = self.asked.get_mut(&peer) {
            asked.pop_front();
            if asked.is_empty() {
                self.asked.remove(&peer);
            }
            out.push(Effect::Send(peer, frame));
        }
    }

    /// The host read a chunk. True if it could not, though the snapshot is what is held.
    pub(super) fn on_read(
        &mut self,
        read: u64,
        data: Option<Bytes>,
        held: Option<&Manifest>,
        out: &mut Outbox<Effect>,
    ) -> bool {
        // Nothing to answer if the asker is gone.
        let Some(peer) = self.reads.remove(&read) else { return false };
        let question = self.asked.get(&peer).and_then(|asked| asked.front().copied());
        let Some(Question::Chunk { last, digest, chunk }) = question else { return false };
        let failed = data.is_none() && has(held, last, digest, chunk);
        let frame = match data {
            Some(data) => Frame::Chunk { chunk, data },
            None => Frame::NoChunk { chunk },
        };
        self.answer(peer, frame, out);
        failed
    }
}

/// True if that chunk is one of what is held.
fn has(held: Option<&Manifest>, last: LogIndex, digest: Digest, chunk: u64) -> bool {
    held.is_some_and(|held| {
        (held.snapshot.last.index, held.digest) == (last, digest)
            && chunk < held.bytes.div_ceil(limits::SNAPSHOT_CHUNK as u64)
    })
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use super::*;
    use crate::raft::{Lineage, Position, Snapshot};

    fn peer(name: u8) -> PeerId {
        PeerId::from_bytes([name; 32])
    }

    fn held(last: u64, chunks: u64) -> Manifest {
        let last = Position { term: Term(1), index: LogIndex(last) };
        let snapshot = Snapshot { lineage: Lineage([1; 16]), last, ..Snapshot::default() };
        let bytes = chunks * limits::SNAPSHOT_CHUNK as u64;
        Manifest { term: Term(0), snapshot, head: 9, bytes, digest: Digest::from("it") }
    }

    fn chunk(last: u64, chunk: u64) -> Question {
        Question::Chunk { last: LogIndex(last), digest: Digest::from("it"), chunk }
    }

    /// What came out, as text: reads, and answers with the name of whom they go to.
    fn said(out: &mut Outbox<Effect>) -> Vec<alloc::string::String> {
        let name = |peer: PeerId| peer.as_bytes()[0];
        let text = |effect| match effect {
            Effect::Output(Output::ReadChunk { read, chunk, .. }) => {
                alloc::format!("read {read}: {chunk}")
            }
            Effect::Send(to, Frame::Chunk { chunk, .. }) => alloc::format!("{}: {chunk}", name(to)),
            Effect::Send(to, Frame::NoChunk { chunk }) => {
                alloc::format!("{}: no {chunk}", name(to))
            }
            Effect::Send(to, Frame::Manifest(manifest)) => {
                let term = manifest.map(|manifest| manifest.term.0);
                alloc::format!("{}: manifest {term:?}", name(to))
            }
            Effect::Violation(peer) => alloc::format!("{} breaks the rules", name(peer)),
            other => panic!("{other:?}"),
        };
        out.drain().map(text).collect()
    }

    struct Bench {
        serving: Serving,
        held: Option<Manifest>,
        debt: RefCell<BTreeMap<PeerId, u64>>,
        out: Outbox<Effect>,
    }

    impl Bench {
        fn new(held: Option<Manifest>) -> Self {
            let (serving, debt, out) = (Serving::default(), RefCell::default(), Outbox::new());
            Self { serving, held, debt, out }
        }

        fn ask(&mut self, name: u8, question: Question) {
            self.serving.ask(peer(name), question, &mut self.out);
        }

        fn pump(&mut self) -> Vec<alloc::string::String> {
            let debt = |peer| self.debt.borrow().get(&peer).copied().unwrap_or(0);
            self.serving.pump(self.held.as_ref(), Term(5), debt, &mut self.out);
            said(&mut self.out)
        }

        fn read(&mut self, read: u64, found: bool) -> bool {
            let data = found.then(|| Bytes::from_static(b"bytes"));
            self.serving.on_read(read, data, self.held.as_ref(), &mut self.out)
        }
    }

    /// GRP-46: questions are answered in their order, each once; one read at a time for each member.
    #[test]
    fn grp_46_answers_come_in_the_order_of_questions() {
        let mut bench = Bench::new(Some(held(100, 3)));
        let questions =
            [chunk(100, 1), chunk(90, 0), Question::Manifest, chunk(100, 3), chunk(100, 0)];
        questions.into_iter().for_each(|question| bench.ask(1, question));
        assert_eq!(bench.pump(), ["read 1: 1"]);
        assert!(bench.pump().is_empty());
        assert!(!bench.read(1, true));
        assert_eq!(bench.pump(), ["1: 1", "1: no 0"]);
        assert_eq!(bench.pump(), ["1: manifest Some(5)"]);
        assert_eq!(bench.pump(), ["1: no 3"], "there is no such chunk");
        assert_eq!(bench.pump(), ["read 2: 0"]);
        assert!(!bench.read(2, true));
        assert_eq!(bench.pump(), ["1: 0"]);
        assert!(bench.serving.asked.is_empty());
    }

    /// GRP-46: nothing is read for whose channel is full, and not more than a few for all.
    #[test]
    fn grp_46_what_is_read_is_bounded_and_shared() {
        let mut bench = Bench::new(Some(held(100, 9)));
        for name in 1..=6 {
            bench.ask(name, chunk(100, u64::from(name)));
            bench.ask(name, chunk(100, 0));
        }
        bench.debt.borrow_mut().insert(peer(2), limits::CHANNEL_DEBT);
        assert_eq!(bench.pump(), ["read 1: 1", "read 2: 3", "read 3: 4", "read 4: 5"]);
        assert!(!bench.read(1, true));
        bench.debt.borrow_mut().clear();
        assert_eq!(bench.pump(), ["1: 1", "read 5: 6"], "whose turn it is comes first");
        assert!(!bench.read(2, true));
        assert_eq!(bench.pump(), ["3: 3", "read 6: 0"]);
    }

    /// GRP-46: more questions than a window are a violation; who is gone is not answered.
    #[test]
    fn grp_46_a_flood_of_questions_is_refused() {
        let mut bench = Bench::new(Some(held(100, 9)));
        (0..=limits::FETCH_ASKS).for_each(|_| bench.ask(1, chunk(100, 0)));
        assert_eq!(bench.pump(), ["read 1: 0"]);
        bench.ask(1, chunk(100, 0));
        assert_eq!(said(&mut bench.out), ["1 breaks the rules"]);
        bench.serving.lost(peer(1));
        assert!(!bench.read(1, true));
        assert!(bench.pump().is_empty());
    }

    /// GRP-46: what cannot be read is known to be lost, unless it was replaced meanwhile.
    #[test]
    fn grp_46_what_cannot_be_read_is_not_offered_any_more() {
        let mut bench = Bench::new(Some(held(100, 9)));
        bench.ask(1, chunk(100, 0));
        assert_eq!(bench.pump(), ["read 1: 0"]);
        assert!(bench.read(1, false));
        bench.held = None;
        bench.ask(1, Question::Manifest);
        assert_eq!(bench.pump(), ["1: no 0", "1: manifest None"]);
        bench.held = Some(held(100, 9));
        bench.ask(1, chunk(100, 0));
        assert_eq!(bench.pump(), ["read 2: 0"]);
        bench.held = Some(held(200, 9));
        assert!(!bench.read(2, false));
        assert_eq!(bench.pump(), ["1: no 0"]);
    }
}
