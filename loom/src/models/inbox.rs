//! `Inbox` and `Queued`: the loop sleeps, and nobody's news are forgotten.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll};

use loom::{future::block_on, sync::Mutex, thread};

use crate::sync::{
    cell::lock,
    inbox::{Inbox, Queued},
};

/// A source as links, channels and consumers are: news, and a mark.
#[derive(Debug, Default)]
struct Source {
    news: Mutex<VecDeque<u32>>,
    queued: Queued,
}

impl Source {
    fn tell(self: &Arc<Self>, news: u32, inbox: &Inbox<Arc<Self>>) {
        lock(&self.news).push_back(news);
        if self.queued.raise() {
            inbox.push(Arc::clone(self));
        }
    }

    fn take(&self) -> VecDeque<u32> {
        self.queued.lower();
        std::mem::take(&mut lock(&self.news))
    }
}

/// The loop of `driver/src/task.rs`: registers, pops until nothing is left, sleeps.
fn run(inbox: &Inbox<Arc<Source>>, most: usize) -> Vec<u32> {
    let mut heard = Vec::new();
    block_on(poll_fn(|cx| {
        inbox.register(cx.waker());
        while let Some(source) = inbox.pop() {
            heard.extend(source.take());
        }
        if heard.len() >= most { Poll::Ready(()) } else { Poll::Pending }
    }));
    heard
}

pub(super) fn no_news_are_forgotten() {
    let (inbox, source) = (Arc::new(Inbox::default()), Arc::new(Source::default()));
    let (theirs, teller) = (Arc::clone(&inbox), Arc::clone(&source));
    let telling = thread::spawn(move || {
        teller.tell(1, &theirs);
        teller.tell(2, &theirs);
    });
    assert_eq!(run(&inbox, 2), [1, 2]);
    telling.join().unwrap();
}

pub(super) fn a_source_is_queued_once() {
    let (inbox, source) = (Arc::new(Inbox::default()), Arc::new(Source::default()));
    let (theirs, teller) = (Arc::clone(&inbox), Arc::clone(&source));
    let telling = thread::spawn(move || teller.tell(1, &theirs));
    source.tell(2, &inbox);
    telling.join().unwrap();
    assert_eq!(std::iter::from_fn(|| inbox.pop()).count(), 1);
}

pub(super) fn two_sources_wake_one_loop() {
    let inbox = Arc::new(Inbox::default());
    let tell = |news| {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || Arc::new(Source::default()).tell(news, &inbox))
    };
    let (one, two) = (tell(1), tell(2));
    let mut heard = run(&inbox, 2);
    heard.sort_unstable();
    assert_eq!(heard, [1, 2]);
    one.join().unwrap();
    two.join().unwrap();
}
