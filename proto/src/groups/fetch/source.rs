//! A member from whom a snapshot is fetched.

use alloc::collections::VecDeque;

use super::Effect;
use crate::{
    core::Outbox,
    groups::frames::{Frame, Manifest},
    ids::PeerId,
    limits,
    time::Instant,
};

/// A question that was not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Of which attempt.
    pub(super) attempt: u64,
    pub(super) chunk: u64,
}

/// What is known of one member, from its first question to the end of its channel.
#[derive(Debug)]
pub(super) struct Source {
    /// What it said that it has.
    pub(super) offer: Option<Manifest>,
    pub(super) asked_manifest: bool,
    /// Chunks that it was asked for; it answers in this order.
    asked: VecDeque<Asked>,
    /// When it said something last, or was asked something after silence was all right.
    heard: Instant,
}

impl Source {
    pub(super) const fn new(now: Instant) -> Self {
        Self { offer: None, asked_manifest: false, asked: VecDeque::new(), heard: now }
    }

    /// When it has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.owes().then(|| self.heard + limits::FETCH_SILENCE)
    }

    fn owes(&self) -> bool {
        self.asked_manifest || !self.asked.is_empty()
    }

    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn ask_manifest(&mut self, me: PeerId, now: Instant, out: &mut Outbox<Effect>) {
        if self.asked_manifest {
            return;
        }
        if !self.owes() {
            self.heard = now;
        }
        self.asked_manifest = true;
        out.push(Effect::Send(me, Frame::FetchManifest));
    }

    /// True if it may be asked for one more chunk.
    pub(super) fn has_room(&self) -> bool {
        self.asked.len() < limits::FETCH_ASKS
    }

    /// Chunks that it owes.
    pub(super) fn load(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn ask(&mut self, chunk: u64, attempt: u64, now: Instant) {
        if !self.owes() {
            self.heard = now;
        }
        self.asked.push_back(Asked { attempt, chunk });
    }

    /// It answers: to which question?
    pub(super) fn answer(&mut self, now: Instant) -> Option<Asked> {
        self.heard = now;
        self.asked.pop_front()
    }

    /// The chunks of this attempt that it owes.
    pub(super) fn chunks_of(&self, attempt: u64) -> impl Iterator<Item = u64> + '_ {
        self.asked.iter().filter(move |asked| asked.attempt == attempt).map(|asked| asked.chunk)
    }

    /// True if nothing is lost by forgetting it.
    pub(super) fn is_of_no_use(&self) -> bool {
        self.offer.is_none() && !self.owes()
    }
}
