//! Freezing what a machine holds, so that the log need not be kept (GRP-40, GRP-41).
//!
//! ```text
//!   leader: the log is long ──► Control::Mark in the log ──► every member that applies it
//!                                                              freezes its machine there
//!   every member: frozen ──► the store's log begins behind the mark; Raft keeps a tail of it
//! ```

use alloc::boxed::Box;

use bytes::Bytes;

use super::{
    FrozenHead, GroupConfig, Output,
    fetch::Effect,
    frames::Manifest,
    head,
    serving::{Question, Serving},
};
use crate::{
    Digest,
    core::Outbox,
    ids::PeerId,
    limits,
    raft::{Log, LogIndex, Snapshot, Term},
};

/// The snapshot of one member, and the next one.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The machine can be frozen.
    enabled: bool,
    /// Bytes of the log that call for a mark, and that are kept behind one.
    after: u64,
    tail: u64,
    /// What can be read from the host.
    held: Option<Manifest>,
    /// What is being frozen, and the length of its head.
    freezing: Option<(Box<Snapshot>, u32)>,
    /// The mark that this leader put into the log and that is not applied yet.
    marked: Option<LogIndex>,
    /// Freezes that failed since the last that did not.
    failures: u64,
    serving: Serving,
}

impl Snapshots {
    /// Nothing is frozen yet.
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            enabled: config.snapshots,
            after: config.snapshot_after,
            tail: config.log_tail,
            held: None,
            freezing: None,
            marked: None,
            failures: 0,
            serving: Serving::default(),
        }
    }

    /// The store has one that the log begins with.
    pub(super) fn loaded(&mut self, snapshot: Snapshot, frozen: &FrozenHead) {
        let head = frozen.head.len() as u32;
        let FrozenHead { bytes, digest, .. } = *frozen;
        self.held = Some(Manifest { term: Term(0), snapshot, head, bytes, digest });
    }

    /// The history is another one: nothing is frozen of it.
    pub(super) fn reset(&mut self) {
        (self.held, self.freezing, self.marked, self.failures) = (None, None, None, 0);
    }

    /// What can be fetched from this member.
    #[cfg(test)]
    pub(super) const fn held(&self) -> Option<&Manifest> {
        self.held.as_ref()
    }

    // --- marks -----------------------------------------------------------------------------

    /// GRP-40: true if this leader is to put a mark into the log. `fetched` says that a member fetches
    /// the snapshot at present: it would have to begin anew.
    pub(super) fn wants_mark(&self, log: &Log, fetched: impl FnOnce() -> bool) -> bool {
        if !self.enabled || self.marked.is_some() || self.freezing.is_some() {
            return false;
        }
        if self.held.is_none() && log.base().index > LogIndex(0) && self.failures == 0 {
            // Nobody can be told what the log does not hold any more.
            return true;
        }
        // What failed is not tried again at once.
        let kept = self.tail + self.after / 8 * self.failures.min(8);
        let more = |after| log.weight() > kept + after;
        more(self.after) && (more(self.patience()) || !fetched())
    }

    /// Bytes of the log that are waited for while the present snapshot is fetched: as many as it has, for
    /// who gets them faster than the log grows, and some round trips.
    fn patience(&self) -> u64 {
        let trips = self.after.max(limits::FETCH_WINDOW as u64) * limits::SNAPSHOT_PATIENCE;
        let bytes = self.held.as_ref().map_or(0, |held| held.bytes);
        trips.saturating_add(bytes).min(limits::LOG_BYTES / 4 * 3)
    }

    /// The mark is in the log.
    pub(super) fn marked(&mut self, at: LogIndex) {
        self.marked = Some(at);
    }

    /// Entries from here on are gone.
    pub(super) fn truncated(&mut self, from: LogIndex) {
        self.marked = self.marked.filter(|at| *at < from);
    }

    /// This member does not lead any more: somebody else cares for marks.
    pub(super) fn deposed(&mut self) {
        self.marked = None;
    }

    // --- freezing --------------------------------------------------------------------------

    /// GRP-41: a mark is next to be applied, and all before it was handed over. `idle` says that the
    /// host is not busy with a snapshot that is being fetched.
    pub(super) fn freeze(
        &mut self,
        snapshot: Snapshot,
        sessions: &[u8],
        idle: bool,
        out: &mut Outbox<Effect>,
    ) {
        if self.marked.is_some_and(|at| at <= snapshot.last.index) {
            self.marked = None;
        }
        if !self.enabled || !idle || self.freezing.is_some() {
            return;
        }
        let Some(head) = head::encode(&snapshot, sessions) else {
            tracing::error!("the sessions do not fit into a snapshot");
            self.failures += 1;
            return;
        };
        let snapshot = Box::new(snapshot);
        self.freezing = Some((snapshot.clone(), head.len() as u32));
        out.push(Effect::Output(Output::Freeze { snapshot, head }));
    }

    /// True while the host freezes.
    pub(super) const fn is_freezing(&self) -> bool {
        self.freezing.is_some()
    }

    /// It is frozen. Returns up to where Raft may forget the log.
    pub(super) fn on_frozen(
        &mut self,
        snapshot: &Snapshot,
        bytes: u64,
        digest: Digest,
        log: &Log,
        out: &mut Outbox<Effect>,
    ) -> Option<LogIndex> {
        let (frozen, head) = self.freezing.take_if(|(frozen, _)| **frozen == *snapshot)?;
        self.failures = 0;
        let last = frozen.last;
        self.held = Some(Manifest { term: Term(0), snapshot: *frozen, head, bytes, digest });
        out.push(Effect::Output(Output::Compact(last)));
        Some(last.index.min(log.before_tail(self.tail)))
    }

    /// It could not be frozen; the log stays.
    pub(super) fn on_freeze_failed(&mut self, at: LogIndex) {
        if self.freezing.take_if(|(frozen, _)| frozen.last.index == at).is_some() {
            self.failures += 1;
        }
    }

    /// A fetched snapshot is in force, and can be read from now on.
    pub(super) fn installed(&mut self, manifest: Manifest) {
        self.freezing = None;
        self.held = Some(manifest);
    }

    // --- serving ---------------------------------------------------------------------------

    /// A member asks what can be fetched, or for a chunk of it.
    pub(super) fn on_ask(&mut self, from: PeerId, question: Question, out: &mut Outbox<Effect>) {
        self.serving.ask(from, question, out);
    }

    /// The host read a chunk, or could not.
    pub(super) fn on_read(&mut self, read: u64, data: Option<Bytes>, out: &mut Outbox<Effect>) {
        if self.serving.on_read(read, data, self.held.as_ref(), out) {
            // GRP-46: what cannot be read is not offered any more.
            self.held = None;
        }
    }

    /// A member's channel ended.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.serving.lost(peer);
    }

    /// Answers what can be answered; follows whatever may have changed that. `term` is Raft's, and
    /// `debt` what was handed to a member's channel and not sent yet.
    pub(super) fn serve(
        &mut self,
        term: Term,
        debt: impl Fn(PeerId) -> u64,
        out: &mut Outbox<Effect>,
    ) {
        self.serving.pump(self.held.as_ref(), term, debt, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Kind, Lineage, Position, Run, Seat, SeatId, sole};

    /// A log with so many bytes of entries, 64 KiB each.
    fn log(bytes: u64) -> Log {
        let mut log = Log::default();
        while log.weight() <= bytes {
            let data = Bytes::from_static(&[0; 64 * 1024]);
            let run = Run::empty(Term(1), log.last().index.next(), Kind::Control);
            log.append(Run { data, ..run });
        }
        log
    }

    fn with(snapshots: bool) -> Snapshots {
        let id = Digest::from("it");
        Snapshots::new(&GroupConfig { snapshots, ..GroupConfig::new(id, id) })
    }

    fn snapshot(last: u64) -> Snapshot {
        let seat = Seat { peer: PeerId::from_bytes([1; 32]), id: SeatId([1; 16]) };
        let last = Position { term: Term(1), index: LogIndex(last) };
        Snapshot { lineage: Lineage([1; 16]), last, membership: sole(seat), commands: 1 }
    }

    fn freeze(snapshots: &mut Snapshots, last: u64) -> bool {
        let mut out = Outbox::new();
        snapshots.freeze(snapshot(last), b"sessions", true, &mut out);
        out.len() == 1
    }

    fn frozen(snapshots: &mut Snapshots, last: u64, log: &Log) -> (Option<u64>, usize) {
        let (mut out, digest) = (Outbox::new(), Digest::from("it"));
        let kept = snapshots.on_frozen(&snapshot(last), 10_000, digest, log, &mut out);
        (kept.map(|index| index.0), out.len())
    }

    const ENOUGH: u64 = limits::SNAPSHOT_AFTER_BYTES + limits::LOG_TAIL_BYTES;

    /// GRP-40: a mark when the log is long, one at a time; later while one fetches the present one.
    #[test]
    fn grp_40_a_long_log_calls_for_a_mark() {
        let (short, long) = (log(ENOUGH / 2), log(ENOUGH));
        let mut snapshots = with(true);
        assert!(!snapshots.wants_mark(&short, || false) && snapshots.wants_mark(&long, || false));
        assert!(!snapshots.wants_mark(&long, || true));
        let longest =
            log(limits::SNAPSHOT_AFTER_BYTES * limits::SNAPSHOT_PATIENCE + limits::LOG_TAIL_BYTES);
        assert!(snapshots.wants_mark(&longest, || true), "but not for ever");
        snapshots.marked(LogIndex(700));
        assert!(!snapshots.wants_mark(&long, || false));
        snapshots.truncated(LogIndex(701));
        assert!(!snapshots.wants_mark(&long, || false));
        snapshots.truncated(LogIndex(700));
        assert!(snapshots.wants_mark(&long, || false), "the mark was cut off");
        snapshots.marked(LogIndex(700));
        assert!(freeze(&mut snapshots, 700));
        assert!(!snapshots.wants_mark(&long, || false), "it is being frozen");
    }

    /// GRP-49: a machine that cannot be frozen keeps its log.
    #[test]
    fn grp_49_without_snapshots_there_are_no_marks() {
        let mut snapshots = with(false);
        let longest =
            log(limits::SNAPSHOT_AFTER_BYTES * limits::SNAPSHOT_PATIENCE + limits::LOG_TAIL_BYTES);
        assert!(!snapshots.wants_mark(&longest, || false));
        assert!(!freeze(&mut snapshots, 500));
    }

    /// GRP-40: a leader that cannot give what its log does not hold any more makes a new one.
    #[test]
    fn grp_40_without_a_snapshot_to_offer_a_mark_is_due_at_once() {
        let mut compacted = log(ENOUGH / 2);
        compacted.compact(LogIndex(10));
        let mut snapshots = with(true);
        assert!(snapshots.wants_mark(&compacted, || false));
        snapshots.loaded(
            snapshot(10),
            &FrozenHead { head: Bytes::new(), bytes: 9, digest: Digest::from("it") },
        );
        assert!(!snapshots.wants_mark(&compacted, || false));
    }

    /// GRP-41: what is frozen may be forgotten, but for a tail; the store forgets all of it.
    #[test]
    fn grp_41_a_tail_of_the_log_stays() {
        let long = log(ENOUGH);
        let last = long.last().index.0;
        let mut snapshots = with(true);
        assert_eq!(frozen(&mut snapshots, last, &long), (None, 0), "nobody asked for it");
        assert!(freeze(&mut snapshots, last));
        assert!(!freeze(&mut snapshots, last), "one at a time");
        let (kept, said) = frozen(&mut snapshots, last, &long);
        let mut shorter = long.clone();
        shorter.compact(LogIndex(kept.unwrap()));
        let tail = limits::LOG_TAIL_BYTES..limits::LOG_TAIL_BYTES + 128 * 1024;
        assert!(tail.contains(&shorter.weight()) && said == 1);
        assert_eq!(snapshots.held().unwrap().snapshot, snapshot(last));
        // A mark that is further back than the tail.
        assert!(freeze(&mut snapshots, 20));
        assert_eq!(frozen(&mut snapshots, 20, &long).0, Some(20));
    }

    /// GRP-41: a freeze that fails changes nothing, and is tried again when the log has grown.
    #[test]
    fn grp_41_a_freeze_that_failed_changes_nothing() {
        let long = log(ENOUGH);
        let mut snapshots = with(true);
        assert!(freeze(&mut snapshots, 500));
        snapshots.on_freeze_failed(LogIndex(499));
        assert!(snapshots.is_freezing(), "that was another");
        snapshots.on_freeze_failed(LogIndex(500));
        assert!(!snapshots.is_freezing() && snapshots.held().is_none());
        assert!(!snapshots.wants_mark(&long, || false));
        assert!(snapshots.wants_mark(&log(ENOUGH + limits::LOG_TAIL_BYTES), || false));
        assert_eq!(frozen(&mut snapshots, 500, &long), (None, 0), "a late report");
    }

    /// While the host keeps a snapshot that is fetched, it cannot keep another.
    #[test]
    fn nothing_is_frozen_while_another_is_fetched() {
        let mut snapshots = with(true);
        snapshots.marked(LogIndex(500));
        let mut out = Outbox::new();
        snapshots.freeze(snapshot(500), b"", false, &mut out);
        assert!(out.is_empty() && !snapshots.is_freezing());
        assert!(snapshots.wants_mark(&log(ENOUGH), || false), "there will be another mark");
    }

    /// What is of an earlier history is forgotten.
    #[test]
    fn a_new_history_begins_without_snapshots() {
        let long = log(ENOUGH);
        let mut snapshots = with(true);
        assert!(freeze(&mut snapshots, 20));
        snapshots.reset();
        assert_eq!(frozen(&mut snapshots, 20, &long), (None, 0));
        assert!(snapshots.held().is_none());
    }
}
