//! `Arrivals`: the lane of a consumer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{future::block_on, thread};

use crate::sync::arrivals::Arrivals;

fn next(arrivals: &Arrivals<u32, usize>) -> Option<u32> {
    block_on(poll_fn(|cx| arrivals.poll_next(Some(cx), |taken, _| *taken += 1)))
}

pub(super) fn all_are_taken_in_order() {
    let arrivals = Arc::new(Arrivals::<u32, usize>::default());
    let theirs = Arc::clone(&arrivals);
    let delivering = thread::spawn(move || {
        theirs.deliver(1, |_, _| {});
        theirs.deliver(2, |_, _| {});
        theirs.end();
    });
    assert_eq!((next(&arrivals), next(&arrivals), next(&arrivals)), (Some(1), Some(2), None));
    assert_eq!(arrivals.lock().side, 2, "noted under the lock");
    delivering.join().unwrap();
}

/// A reader that was polled in one task and is read on in another.
pub(super) fn a_reader_that_moved_is_woken() {
    let arrivals = Arc::new(Arrivals::<u32, usize>::default());
    let theirs = Arc::clone(&arrivals);
    let delivering = thread::spawn(move || theirs.deliver(1, |_, _| {}));
    let mut elsewhere = Context::from_waker(Waker::noop());
    let first = arrivals.poll_next(Some(&mut elsewhere), |_, _| {});
    if first != Poll::Ready(Some(1)) {
        assert_eq!(next(&arrivals), Some(1));
    }
    delivering.join().unwrap();
}
