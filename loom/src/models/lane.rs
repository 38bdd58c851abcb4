//! `Lane`: the handles of a producer on one side, the loop on the other.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use bytes::BytesMut;
use loom::{
    future::block_on,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::sync::{
    cell::Watched,
    inbox::Inbox,
    lane::{Lane, Refused, Taken},
};

/// A producer as `driver/src/handle/producer.rs` has it: its lane, whether it is online, the inbox.
struct Cell {
    lane: Lane,
    status: Watched<bool>,
    online: AtomicBool,
    inbox: Inbox<()>,
}

/// What the loop was told, in order.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    opened: bool,
    items: Vec<u8>,
    closed: bool,
}

impl Cell {
    /// With one handle, and `most` items that may wait.
    fn new(most: usize, window: u64, online: bool) -> Arc<Self> {
        let lane = Lane::new(most, 0);
        assert!(lane.adopt());
        lane.open_window(window, u64::MAX);
        let (status, online) = (Watched::new(online), AtomicBool::new(online));
        Arc::new(Self { lane, status, online, inbox: Inbox::default() })
    }

    /// As the above, and the loop knows it.
    fn opened(most: usize, window: u64, online: bool) -> Arc<Self> {
        let cell = Self::new(most, window, online);
        assert!(matches!(cell.lane.take(|| true), Taken::Open));
        cell
    }

    fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    fn announce(&self) {
        if self.lane.raise() {
            self.inbox.push(());
        }
    }

    fn push(&self, item: u8, reserved: bool) -> Result<(), Refused<()>> {
        let write = |batch: &mut BytesMut, _| {
            batch.extend_from_slice(&[0, 1, item]);
            Ok(1)
        };
        if self.lane.push(reserved, || self.is_online(), write)? {
            self.announce();
        }
        Ok(())
    }

    /// `Producer::poll_room`, with the two listeners of `Producer::send`.
    fn ready(&self, reserve: bool) -> impl Future<Output = bool> {
        let (mut room, mut online) = (None, None);
        poll_fn(move |cx| {
            match self.status.poll_until(&mut online, cx, |online| online.then_some(())) {
                Poll::Ready(()) => self.lane.poll_room(&mut room, reserve, cx),
                Poll::Pending => Poll::Pending,
            }
        })
    }

    /// `Producer::send`; false at the end.
    fn send(&self, item: u8) -> bool {
        loop {
            match self.push(item, false) {
                Ok(()) => return true,
                Err(Refused::Full | Refused::Offline) => {}
                Err(_) => return false,
            }
            if !block_on(self.ready(false)) {
                return false;
            }
        }
    }

    /// `Producer::drop`.
    fn leave(&self) {
        if self.lane.leave() {
            self.announce();
        }
    }

    /// `Task::on_producer`: after a batch that is not full the loop does not look again.
    fn on_producer(&self, heard: &mut Heard) {
        loop {
            match self.lane.take(|| self.is_online()) {
                Taken::Open => heard.opened = true,
                Taken::Batch { items, payload, data } => {
                    assert!(!heard.closed && u64::from(items) == payload);
                    assert_eq!(data.len(), 3 * items as usize);
                    heard.items.extend(data.chunks(3).map(|item| item[2]));
                    if !self.lane.has_ended() {
                        return;
                    }
                }
                Taken::Close => {
                    assert!(!std::mem::replace(&mut heard.closed, true), "once");
                    return;
                }
                Taken::Nothing => return,
            }
        }
    }

    /// The loop, until it has heard enough.
    fn run(&self, heard: &mut Heard, enough: impl Fn(&Heard) -> bool) {
        block_on(poll_fn(|cx| {
            self.inbox.register(cx.waker());
            while self.inbox.pop().is_some() {
                self.on_producer(heard);
            }
            if enough(heard) { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    fn hear(&self, count: usize) -> Vec<u8> {
        let mut heard = Heard::default();
        self.run(&mut heard, |heard| heard.items.len() >= count);
        heard.items
    }
}

pub(super) fn items_reach_the_loop_in_order() {
    let cell = Cell::opened(4, 10, true);
    let sender = Arc::clone(&cell);
    let sending = thread::spawn(move || assert!(sender.send(1) && sender.send(2)));
    assert_eq!(cell.hear(2), [1, 2]);
    sending.join().unwrap();
}

pub(super) fn a_sender_waits_for_room() {
    let cell = Cell::opened(1, 10, true);
    let sender = Arc::clone(&cell);
    let sending = thread::spawn(move || assert!(sender.send(1) && sender.send(2)));
    assert_eq!(cell.hear(2), [1, 2]);
    sending.join().unwrap();
}

/// The core opens the window while an item arrives.
pub(super) fn a_window_opens_for_what_waits() {
    let cell = Cell::opened(4, 0, true);
    let sender = Arc::clone(&cell);
    let sending = thread::spawn(move || assert!(sender.send(1)));
    cell.on_producer(&mut Heard::default());
    cell.lane.open_window(1, u64::MAX);
    if cell.lane.has_waiting() {
        cell.announce();
    }
    assert_eq!(cell.hear(1), [1]);
    sending.join().unwrap();
}

/// The loop changes both under the lock, as `Channels::apply`.
pub(super) fn a_sender_waits_for_online() {
    let cell = Cell::opened(1, 10, false);
    let sender = Arc::clone(&cell);
    let sending = thread::spawn(move || assert!(sender.send(1)));
    cell.status.change(|status| {
        *status = true;
        cell.online.store(true, Ordering::Release);
    });
    if cell.lane.has_waiting() {
        cell.announce();
    }
    assert_eq!(cell.hear(1), [1]);
    sending.join().unwrap();
}

/// Whatever was accepted is taken or given back.
pub(super) fn the_end_wakes_a_sender() {
    let cell = Cell::opened(1, 10, true);
    let sender = Arc::clone(&cell);
    let sending = thread::spawn(move || usize::from(sender.send(1)) + usize::from(sender.send(2)));
    let mut heard = Heard::default();
    cell.on_producer(&mut heard);
    let left: usize = cell.lane.end().iter().map(|batch| batch.len() / 3).sum();
    assert_eq!(sending.join().unwrap(), heard.items.len() + left);
}

/// Two sinks and one place: whoever gives it back, unused or used, wakes the other.
pub(super) fn a_place_given_back_is_taken() {
    let cell = Cell::opened(1, 10, true);
    let held = Arc::new(AtomicBool::new(false));
    let (other, theirs) = (Arc::clone(&cell), Arc::clone(&held));
    let giving_up = thread::spawn(move || {
        assert!(block_on(other.ready(true)));
        assert!(!theirs.swap(true, Ordering::AcqRel), "two hold one place");
        theirs.store(false, Ordering::Release);
        other.lane.release();
    });
    assert!(block_on(cell.ready(true)));
    assert!(!held.swap(true, Ordering::AcqRel), "two hold one place");
    assert!(matches!(cell.push(0, false), Err(Refused::Full)), "it is held for us");
    held.store(false, Ordering::Release);
    cell.push(1, true).unwrap();
    let mut heard = Heard::default();
    cell.on_producer(&mut heard);
    assert_eq!(heard.items, [1]);
    giving_up.join().unwrap();
    assert!(cell.push(2, false).is_ok(), "no place is held any more");
}

pub(super) fn the_last_handle_closes_behind_its_items() {
    let cell = Cell::new(4, 10, true);
    cell.lane.join();
    let (one, two) = (Arc::clone(&cell), Arc::clone(&cell));
    let first = thread::spawn(move || {
        assert!(one.send(1));
        one.leave();
    });
    let second = thread::spawn(move || two.leave());
    let mut heard = Heard::default();
    cell.run(&mut heard, |heard| heard.closed);
    assert_eq!(heard, Heard { opened: true, items: vec![1], closed: true });
    first.join().unwrap();
    second.join().unwrap();
}

/// Somebody opens the stream once more while its last handle goes.
pub(super) fn adopted_or_closed() {
    let cell = Cell::opened(4, 10, true);
    let other = Arc::clone(&cell);
    let adopting = thread::spawn(move || {
        let alive = other.lane.adopt();
        (alive, alive && other.send(1))
    });
    cell.leave();
    let mut heard = Heard::default();
    cell.run(&mut heard, |heard| heard.closed || !heard.items.is_empty() || !cell.lane.has_ended());
    let (alive, sent) = adopting.join().unwrap();
    cell.on_producer(&mut heard);
    assert_eq!(alive, !heard.closed);
    assert_eq!(sent, !heard.items.is_empty());
}
