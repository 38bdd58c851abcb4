//! `Replies`: each request is answered, or given up, and the loop knows which.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use loom::{future::block_on, sync::atomic::AtomicBool, thread};
use mosaik_proto::discovery::CommandError;

use crate::sync::reply::{Replies, Reply};

pub(super) fn an_answer_reaches_who_waits() {
    let replies = Arc::new(Replies::default());
    let id = replies.open().unwrap();
    let reply = Reply::new(Arc::clone(&replies), Ok(id), |_| panic!("it is waited for"));
    let answering = thread::spawn(move || replies.answer(id, Err(CommandError::Busy)));
    assert_eq!(block_on(reply), Err(CommandError::Busy));
    answering.join().unwrap();
}

/// As when a future moves from one task to another.
pub(super) fn an_answer_finds_the_latest_waker() {
    let replies = Arc::new(Replies::default());
    let id = replies.open().unwrap();
    let mut reply = Reply::new(Arc::clone(&replies), Ok(id), |_| panic!("it is waited for"));
    let answering = thread::spawn(move || replies.answer(id, Ok(())));
    let first = Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop()));
    if first == Poll::Pending {
        assert_eq!(block_on(reply), Ok(()));
    }
    answering.join().unwrap();
}

/// The loop is told to give a request up exactly if it had not answered it.
pub(super) fn given_up_or_answered() {
    let replies = Arc::new(Replies::default());
    let id = replies.open().unwrap();
    let flag = || Arc::new(AtomicBool::new(false));
    let (told, begun, answered) = (flag(), flag(), flag());
    let telling = Arc::clone(&told);
    let on_drop = move |_| assert!(!telling.swap(true, Ordering::SeqCst), "once");
    let mut reply = Reply::new(Arc::clone(&replies), Ok(id), on_drop);
    let (begin, end) = (Arc::clone(&begun), Arc::clone(&answered));
    let answering = thread::spawn(move || {
        begin.store(true, Ordering::SeqCst);
        replies.answer(id, Ok(()));
        end.store(true, Ordering::SeqCst);
    });
    let polled = Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop()));
    let answered = answered.load(Ordering::SeqCst);
    drop(reply);
    let begun = begun.load(Ordering::SeqCst);
    let told = told.load(Ordering::SeqCst);
    assert!(!told || !answered && polled.is_pending(), "what is answered is not given up");
    assert!(told || begun, "what is not answered is given up");
    answering.join().unwrap();
}

pub(super) fn the_end_answers_everything() {
    let replies = Arc::new(Replies::default());
    let ours = Arc::clone(&replies);
    let ending = thread::spawn(move || replies.close());
    // One opened before the end or during it, two at the same time as it is given up.
    let given_up = Reply::new(Arc::clone(&ours), ours.open(), |_| {});
    let waiting = Reply::new(Arc::clone(&ours), ours.open(), |_| {});
    drop(given_up);
    assert_eq!(block_on(waiting), Err(CommandError::ShuttingDown));
    ending.join().unwrap();
    assert_eq!(ours.open(), Err(CommandError::ShuttingDown));
}
