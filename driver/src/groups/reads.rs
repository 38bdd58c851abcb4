//! Linearizable reads that wait: those of one turn of the loop share one question.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use mosaik_proto::limits;

use crate::sync::cell::lock;

/// What became of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    #[default]
    Waiting,
    /// Everything before it is applied.
    Ready,
    /// It may not be served: no leader answered in time.
    Failed,
    /// The group was left.
    Ended,
}

/// The reads of one turn.
#[derive(Debug, Default)]
pub(crate) struct Batch(Mutex<Answer>);

#[derive(Debug, Default)]
struct Answer {
    verdict: Verdict,
    wakers: Vec<Waker>,
}

/// The place of one read in its batch.
#[derive(Debug)]
pub(crate) struct Place {
    batch: Arc<Batch>,
    waker: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Collects the reads of this turn.
    open: Option<Arc<Batch>>,
    opened: usize,
    /// Asked and not answered, with their number of reads. Bounded by [`limits::GROUP_READS`].
    asked: BTreeMap<u64, (Arc<Batch>, usize)>,
    waiting: usize,
    ended: bool,
}

/// The reads of one node in one group.
#[derive(Debug, Default)]
pub(crate) struct Reads(Mutex<State>);

/// Why a read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Ended,
    /// Too many wait.
    Full,
}

impl Reads {
    /// A place among the reads of this turn. True if it is the first.
    pub(crate) fn join(&self) -> Result<(Place, bool), Refused> {
        let state = &mut *lock(&self.0);
        if state.ended {
            return Err(Refused::Ended);
        }
        if state.waiting >= limits::GROUP_READS {
            return Err(Refused::Full);
        }
        state.waiting += 1;
        state.opened += 1;
        let first = state.open.is_none();
        let batch = Arc::clone(state.open.get_or_insert_default());
        Ok((Place { batch, waker: None }, first))
    }

    /// The question of this turn.
    pub(crate) fn take(&self) -> Option<u64> {
        let state = &mut *lock(&self.0);
        let batch = state.open.take()?;
        state.next += 1;
        let reads = std::mem::take(&mut state.opened);
        state.asked.insert(state.next, (batch, reads));
        Some(state.next)
    }

    /// The answer to a question.
    pub(crate) fn answer(&self, read: u64, verdict: Verdict) {
        let asked = {
            let state = &mut *lock(&self.0);
            let asked = state.asked.remove(&read);
            state.waiting -= asked.as_ref().map_or(0, |(_, reads)| *reads);
            asked
        };
        if let Some((batch, _)) = asked {
            batch.answer(verdict);
        }
    }

    /// The group was left.
    pub(crate) fn end(&self) {
        let all: Vec<_> = {
            let state = &mut *lock(&self.0);
            state.ended = true;
            let asked = std::mem::take(&mut state.asked).into_values().map(|(batch, _)| batch);
            asked.chain(state.open.take()).collect()
        };
        all.iter().for_each(|batch| batch.answer(Verdict::Ended));
    }
}

impl Batch {
    fn answer(&self, verdict: Verdict) {
        let wakers = {
            let answer = &mut *lock(&self.0);
            answer.verdict = verdict;
            std::mem::take(&mut answer.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// The answer. A place that is dropped costs one needless wake-up.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let answer = &mut *lock(&self.batch.0);
        if answer.verdict != Verdict::Waiting {
            return Poll::Ready(answer.verdict);
        }
        match self.waker {
            Some(at) if answer.wakers[at].will_wake(cx.waker()) => {}
            Some(at) => answer.wakers[at] = cx.waker().clone(),
            None => {
                self.waker = Some(answer.wakers.len());
                answer.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(place: &mut Place) -> Option<Verdict> {
        match place.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => Some(verdict),
            Poll::Pending => None,
        }
    }

    #[test]
    fn reads_of_one_turn_share_a_question() {
        let reads = Reads::default();
        let ((mut a, first), (mut b, second)) = (reads.join().unwrap(), reads.join().unwrap());
        assert!(first && !second, "only the first has to tell the loop");
        let question = reads.take().expect("two wait");
        assert_eq!(reads.take(), None);
        // Made after the question was asked: what it says may be older than this read.
        let (mut late, first) = reads.join().unwrap();
        assert!(first);
        assert_eq!(poll(&mut a), None);
        reads.answer(question, Verdict::Ready);
        assert_eq!((poll(&mut a), poll(&mut b)), (Some(Verdict::Ready), Some(Verdict::Ready)));
        assert_eq!(poll(&mut late), None);
        reads.end();
        assert_eq!(poll(&mut late), Some(Verdict::Ended));
        assert_eq!(reads.join().err(), Some(Refused::Ended));
    }

    #[test]
    fn reads_that_wait_are_bounded() {
        let reads = Reads::default();
        let places: Vec<_> = (0..limits::GROUP_READS).map(|_| reads.join().unwrap()).collect();
        assert_eq!(reads.join().err(), Some(Refused::Full));
        let question = reads.take().expect("many wait");
        assert_eq!(reads.join().err(), Some(Refused::Full), "they wait until the answer");
        drop(places);
        reads.answer(question, Verdict::Failed);
        assert!(reads.join().is_ok());
    }
}
