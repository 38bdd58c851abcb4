//! `Answer`: the word on a call, from the executor and the loop to the caller.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{future::block_on, thread};

use crate::sync::answer::Answer;

fn add(answer: &Answer<u32>, says: u32) {
    if let Some(waker) = answer.add(1, says, |before, says| before + says) {
        waker.wake();
    }
}

fn wait(answer: &Answer<u32>) -> u32 {
    block_on(poll_fn(|cx| answer.poll(cx)))
}

/// The loop says one part and the executor the other.
pub(super) fn the_last_part_wakes() {
    let answer = Arc::new(Answer::new(2));
    let others = [1, 2].map(|says| {
        let theirs = Arc::clone(&answer);
        thread::spawn(move || add(&theirs, says))
    });
    assert_eq!(wait(&answer), 3);
    others.into_iter().for_each(|other| other.join().unwrap());
}

/// A future that was polled in one task and is awaited in another.
pub(super) fn who_moved_is_woken() {
    let answer = Arc::new(Answer::new(1));
    let theirs = Arc::clone(&answer);
    let other = thread::spawn(move || add(&theirs, 1));
    if answer.poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
        assert_eq!(wait(&answer), 1);
    }
    other.join().unwrap();
}
