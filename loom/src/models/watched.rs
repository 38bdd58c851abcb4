//! `Watched`: level-triggered.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use loom::{future::block_on, thread};

use crate::sync::cell::Watched;

fn at_least(watched: &Watched<u32>, least: u32) -> impl Future<Output = u32> {
    watched.until(move |value| (*value >= least).then_some(*value))
}

pub(super) fn a_waiter_sees_the_last_change() {
    let watched = Arc::new(Watched::new(0));
    let writer = Arc::clone(&watched);
    let writing = thread::spawn(move || {
        writer.change(|value| *value = 1);
        writer.change_if(|value| {
            *value = 2;
            true
        });
    });
    assert_eq!(block_on(at_least(&watched, 2)), 2);
    writing.join().unwrap();
}

pub(super) fn all_waiters_are_woken() {
    let watched = Arc::new(Watched::new(0));
    let other = Arc::clone(&watched);
    let waiting = thread::spawn(move || block_on(at_least(&other, 1)));
    let writer = Arc::clone(&watched);
    let writing = thread::spawn(move || writer.change(|value| *value = 1));
    assert_eq!(block_on(at_least(&watched, 1)), 1);
    assert_eq!(waiting.join().unwrap(), 1);
    writing.join().unwrap();
}

pub(super) fn who_gives_up_takes_no_wake_up_along() {
    let watched = Arc::new(Watched::new(0));
    let other = Arc::clone(&watched);
    let giving_up = thread::spawn(move || {
        let mut waiting = pin!(at_least(&other, 1));
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    });
    let writer = Arc::clone(&watched);
    let writing = thread::spawn(move || writer.change(|value| *value = 1));
    assert_eq!(block_on(at_least(&watched, 1)), 1);
    giving_up.join().unwrap();
    writing.join().unwrap();
}
