//! The background thread of the books of this process: started when there is something to do,
//! ended when there has not been for a while.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::book::lock;

/// How long the thread stays without anything to do.
const LINGER: Duration = Duration::from_secs(5);

/// Somebody with work for the background thread.
pub(super) trait Chore: Send + Sync {
    /// Does what is due and says when to come back; `None` if only after the next [`wake`].
    fn round(&self) -> Option<Instant>;
}

struct Desk {
    running: bool,
    chores: Vec<Arc<dyn Chore>>,
    /// Calls of [`wake`].
    asked: u64,
    /// How many of them have had a whole round since.
    served: u64,
}

static DESK: Mutex<Desk> =
    Mutex::new(Desk { running: false, chores: Vec::new(), asked: 0, served: 0 });
static WORK: Condvar = Condvar::new();
static DONE: Condvar = Condvar::new();

/// Has a round done soon. The result is for [`wait`].
pub(super) fn wake(chore: Arc<dyn Chore>) -> u64 {
    let mut desk = lock(&DESK);
    if !desk.chores.iter().any(|known| Arc::ptr_eq(known, &chore)) {
        desk.chores.push(chore);
    }
    desk.asked += 1;
    if desk.running {
        WORK.notify_one();
    } else {
        // Whoever wakes next tries again.
        match thread::Builder::new().name("mosaik-books".into()).spawn(run) {
            Ok(_) => desk.running = true,
            Err(error) => tracing::warn!(%error, "no thread for the address book"),
        }
    }
    desk.asked
}

/// Blocks until the round that [`wake`] asked for is over, or cannot be.
pub(super) fn wait(asked: u64) {
    let mut desk = lock(&DESK);
    while desk.running && desk.served < asked {
        desk = DONE.wait(desk).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn run() {
    let mut desk = lock(&DESK);
    loop {
        let asked = desk.asked;
        let chores = desk.chores.clone();
        drop(desk);
        let mut next: Vec<_> = chores.iter().map(|chore| chore.round()).collect();
        drop(chores);

        desk = lock(&DESK);
        desk.served = asked;
        DONE.notify_all();
        if desk.asked != asked {
            continue;
        }
        // Nobody woke us, so these are still the same chores.
        let mut keep = next.iter().map(Option::is_some);
        desk.chores.retain(|_| keep.next().unwrap_or(true));
        next.retain(Option::is_some);
        let rest = next
            .into_iter()
            .flatten()
            .min()
            .map_or(LINGER, |at| at.saturating_duration_since(Instant::now()));
        let (back, timeout) = WORK
            .wait_timeout_while(desk, rest, |desk| desk.asked == asked)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        desk = back;
        if timeout.timed_out() && desk.chores.is_empty() {
            desk.running = false;
            return;
        }
    }
}
