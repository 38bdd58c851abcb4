//! `Broadcast`: bounded, and whoever is too slow knows by how much.

use loom::{future::block_on, thread};

use crate::sync::broadcast::{Broadcast, RecvError};

pub(super) fn each_value_is_seen_or_counted() {
    let sender = Broadcast::new(1);
    let mut events = sender.subscribe();
    let sending = thread::spawn(move || {
        sender.send(1_u64);
        sender.send(2);
        sender.close();
    });
    let mut next = 1;
    loop {
        match block_on(events.recv()) {
            Ok(value) => {
                assert_eq!(value, next);
                next += 1;
            }
            Err(RecvError::Lagged(missed)) => next += missed,
            Err(RecvError::Closed) => break,
        }
    }
    assert_eq!(next, 3, "seen or counted");
    sending.join().unwrap();
}
