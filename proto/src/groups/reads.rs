//! Linearizable reads of this node: those of one moment share one question to Raft.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Output;
use crate::{
    core::Outbox,
    limits,
    mutant::{self, Mutant},
    raft::LogIndex,
    time::Instant,
};

/// Reads in the order of their calls: first those that wait for the machine, then those that share the
/// question under way, then those that came later.
#[derive(Debug)]
pub(super) struct Reads {
    timeout: Duration,
    waiting: VecDeque<(u64, Instant)>,
    /// So many of the first may be served once the machine was handed everything up to there.
    ready: VecDeque<(usize, LogIndex)>,
    /// So many behind those share the question.
    asked: usize,
    question: u64,
    open: bool,
}

impl Reads {
    /// No reads.
    pub(super) const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            asked: 0,
            question: 0,
            open: false,
        }
    }

    /// A read of the host.
    pub(super) fn read(&mut self, id: u64, now: Instant, out: &mut Outbox<Output>) {
        if self.waiting.len() >= limits::GROUP_READS {
            return out.push(Output::ReadFailed(id));
        }
        self.waiting.push_back((id, now + self.timeout));
    }

    /// The question to ask Raft now, if there is one. GRP-38: it covers the reads that came before it
    /// and no others.
    pub(super) fn next(&mut self) -> Option<u64> {
        let ready: usize = self.ready.iter().map(|(count, _)| count).sum();
        let fresh = self.waiting.len() - ready - self.asked;
        if self.open || fresh == 0 {
            return None;
        }
        self.open = true;
        self.question += 1;
        self.asked = fresh;
        Some(self.question)
    }

    /// Raft answers: everything up to `index` has to be applied.
    pub(super) fn on_answer(&mut self, question: u64, index: LogIndex) {
        if self.open && question == self.question {
            self.open = false;
            if mutant::on(Mutant::ReadJoinsLate) {
                let ready: usize = self.ready.iter().map(|(count, _)| count).sum();
                self.asked = self.waiting.len() - ready;
            }
            let count = core::mem::take(&mut self.asked);
            if count > 0 {
                self.ready.push_back((count, index));
            }
        }
    }

    /// Raft did not take the question.
    pub(super) fn on_refused(&mut self, out: &mut Outbox<Output>) {
        self.open = false;
        let ready: usize = self.ready.iter().map(|(count, _)| count).sum();
        for (id, _) in self.waiting.drain(ready..ready + self.asked) {
            out.push(Output::ReadFailed(id));
        }
        self.asked = 0;
    }

    /// The machine was handed everything up to `handed`.
    pub(super) fn serve(&mut self, handed: LogIndex, out: &mut Outbox<Output>) {
        let at_once = mutant::on(Mutant::ReadBeforeApplied);
        let is_served = |(_, index): &mut (usize, LogIndex)| *index <= handed || at_once;
        while let Some((count, _)) = self.ready.pop_front_if(is_served) {
            self.waiting.drain(..count).for_each(|(id, _)| out.push(Output::ReadReady(id)));
        }
    }

    /// Raft begins anew in another lineage: what is open is asked again there.
    pub(super) fn ask_again(&mut self) {
        self.ready.clear();
        self.asked = 0;
        self.open = false;
    }

    /// No read is served any more.
    pub(super) fn fail_all(&mut self, out: &mut Outbox<Output>) {
        self.waiting.drain(..).for_each(|(id, _)| out.push(Output::ReadFailed(id)));
        self.ready.clear();
        self.asked = 0;
    }

    /// Fails the reads that took too long.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox<Output>) {
        while let Some((id, _)) = self.waiting.pop_front_if(|(_, deadline)| *deadline <= now) {
            out.push(Output::ReadFailed(id));
            match self.ready.front_mut() {
                Some((count, _)) => {
                    *count -= 1;
                    if *count == 0 {
                        self.ready.pop_front();
                    }
                }
                None => self.asked = self.asked.saturating_sub(1),
            }
        }
    }

    /// When the next read fails.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, deadline)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn told(out: &mut Outbox<Output>) -> Vec<(u64, bool)> {
        let word = |output| match output {
            Output::ReadReady(id) => (id, true),
            Output::ReadFailed(id) => (id, false),
            other => panic!("not of a read: {other:?}"),
        };
        out.drain().map(word).collect()
    }

    #[test]
    fn grp_38_a_question_covers_the_reads_before_it_and_no_others() {
        let (mut reads, mut out) = (Reads::new(TIMEOUT), Outbox::new());
        assert_eq!(reads.next(), None);
        reads.read(1, at(0), &mut out);
        reads.read(2, at(0), &mut out);
        assert_eq!(reads.next(), Some(1));
        reads.read(3, at(1), &mut out);
        assert_eq!(reads.next(), None, "one at a time");
        reads.on_answer(1, LogIndex(5));
        reads.serve(LogIndex(4), &mut out);
        assert_eq!(told(&mut out), [], "not applied yet");
        assert_eq!(reads.next(), Some(2));
        reads.on_answer(1, LogIndex(9));
        reads.serve(LogIndex(5), &mut out);
        assert_eq!(told(&mut out), [(1, true), (2, true)]);
        reads.on_answer(2, LogIndex(6));
        reads.serve(LogIndex(6), &mut out);
        assert_eq!(told(&mut out), [(3, true)]);
    }

    #[test]
    fn grp_38_a_read_ends_by_its_deadline_and_stays_ended() {
        let (mut reads, mut out) = (Reads::new(TIMEOUT), Outbox::new());
        reads.read(1, at(0), &mut out);
        assert_eq!(reads.next(), Some(1));
        reads.read(2, at(500), &mut out);
        assert_eq!(reads.deadline(), Some(at(2_000)));
        reads.on_timeout(at(2_000), &mut out);
        assert_eq!(told(&mut out), [(1, false)]);
        assert_eq!(reads.next(), None, "Raft still looks for an answer");
        reads.on_answer(1, LogIndex(5));
        reads.serve(LogIndex(5), &mut out);
        assert_eq!(told(&mut out), [], "the second came after the question");
        assert_eq!(reads.next(), Some(2));
        reads.on_answer(2, LogIndex(5));
        reads.on_timeout(at(2_500), &mut out);
        reads.serve(LogIndex(5), &mut out);
        assert_eq!(told(&mut out), [(2, false)]);
        assert_eq!(reads.deadline(), None);
    }

    #[test]
    fn grp_38_another_lineage_is_asked_again() {
        let (mut reads, mut out) = (Reads::new(TIMEOUT), Outbox::new());
        reads.read(1, at(0), &mut out);
        assert_eq!(reads.next(), Some(1));
        reads.on_answer(1, LogIndex(70));
        reads.read(2, at(0), &mut out);
        assert_eq!(reads.next(), Some(2));
        reads.ask_again();
        assert_eq!(reads.next(), Some(3));
        reads.on_answer(2, LogIndex(71));
        reads.on_answer(3, LogIndex(4));
        reads.serve(LogIndex(4), &mut out);
        assert_eq!(told(&mut out), [(1, true), (2, true)]);
        reads.read(3, at(0), &mut out);
        assert_eq!(reads.next(), Some(4));
        reads.on_refused(&mut out);
        assert_eq!(told(&mut out), [(3, false)]);
        reads.read(4, at(0), &mut out);
        reads.fail_all(&mut out);
        assert_eq!(told(&mut out), [(4, false)]);
    }
}
