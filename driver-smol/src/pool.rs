//! Threads that run tasks.
//!
//! One thread leads: it alone waits for work and for I/O. The others help when the leader has not
//! come to rest for a while, and go when they find nothing. If all of them waited at the executor,
//! each task would wake one of them, which mostly finds nothing to do: an item that goes back and
//! forth would cost half as much processor time again.

use std::{
    env,
    hint::spin_loop,
    sync::{
        Condvar, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use async_executor::Executor;

/// How many threads there are is read from here, once.
const VARIABLE: &str = "MOSAIK_SMOL_THREADS";
/// Most threads without being told; beyond this they mostly wake each other.
const THREADS_MAX: usize = 4;
/// Tasks in a row after which another thread is called to help. One item on its way from program to
/// program takes fewer.
const CALL_AFTER: usize = 12;
/// Tasks in a row after which the leader looks for I/O.
const LOOK_AFTER: usize = 128;
/// For so long a helper looks for more before it goes: a few times what it costs to call it again.
const LINGER: Duration = Duration::from_micros(40);

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let told = env::var(VARIABLE).ok().and_then(|number| number.parse().ok());
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let threads = told.unwrap_or_else(|| processors().min(THREADS_MAX)).max(1);
    for number in 0..threads {
        let run = move || if number == 0 { POOL.lead() } else { POOL.help() };
        let named = thread::Builder::new().name(format!("mosaik-smol-{number}"));
        named.spawn(run).expect("a thread");
    }
    Pool::default()
});

/// The executor of all nodes that were not told where to run; its threads live as long as the
/// process.
///
/// # Panics
/// If the system gives no thread.
pub(crate) fn executor() -> &'static Executor<'static> {
    &POOL.executor
}

#[derive(Default)]
struct Pool {
    executor: Executor<'static>,
    /// Helpers that rest.
    resting: AtomicUsize,
    /// Helpers that were called and have not got up yet.
    called: Mutex<usize>,
    call: Condvar,
}

impl Pool {
    fn lead(&self) {
        async_io::block_on(async {
            loop {
                self.executor.tick().await;
                if self.run(LOOK_AFTER) == LOOK_AFTER {
                    look_for_io().await;
                }
            }
        })
    }

    fn help(&self) {
        loop {
            self.rest();
            let mut since = Instant::now();
            while since.elapsed() < LINGER {
                if self.run(LOOK_AFTER) > 0 {
                    since = Instant::now();
                }
                spin_loop();
            }
        }
    }

    /// Runs tasks while there are any, at most so many; how many it were.
    fn run(&self, most: usize) -> usize {
        for count in 0..most {
            if !self.executor.try_tick() {
                return count;
            }
            if count % CALL_AFTER == CALL_AFTER - 1 {
                self.call_one();
            }
        }
        most
    }

    fn rest(&self) {
        self.resting.fetch_add(1, Ordering::Relaxed);
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.call.wait_while(called, |called| *called == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.resting.fetch_sub(1, Ordering::Relaxed);
    }

    fn call_one(&self) {
        // Whoever goes to rest right now is called the next time.
        if self.resting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if *called == 0 {
            *called = 1;
            self.call.notify_one();
        }
    }
}

/// Returns to the reactor once.
async fn look_for_io() {
    let mut looked = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut looked, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
