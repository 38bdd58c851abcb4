//! Threads that run tasks.
//!
//! One thread leads: it alone waits for work and for I/O. The others help when the leader has not
//! come to rest for a while, and go when they find nothing. If all of them waited at the executor,
//! each task would wake one of them, which mostly finds nothing to do: an item that goes back and
//! forth would cost half as much processor time again.
//!
//! A task that blocks must not stop all nodes of the process: while there are tasks, the first helper
//! looks now and then whether the leader gets on, and leads in its place until it does.

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
/// How often the first helper looks whether the leader gets on.
const WATCH: Duration = Duration::from_millis(200);

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let told = env::var(VARIABLE).ok().and_then(|number| number.parse().ok());
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let threads = told.unwrap_or_else(|| processors().min(THREADS_MAX)).max(1);
    for number in 0..threads {
        let run = move || if number == 0 { POOL.lead() } else { POOL.help(number == 1) };
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
    /// Helpers that rest, and those that help.
    resting: AtomicUsize,
    helping: AtomicUsize,
    /// Helpers that were called and have not got up yet.
    called: Mutex<usize>,
    call: Condvar,
    /// Times that the leader looked for work.
    steps: AtomicUsize,
}

impl Pool {
    fn lead(&self) {
        async_io::block_on(async {
            loop {
                self.executor.tick().await;
                let all = self.run(LOOK_AFTER, 1) < LOOK_AFTER;
                self.steps.fetch_add(1, Ordering::Relaxed);
                if !all {
                    look_for_io().await;
                }
            }
        })
    }

    /// Leads until the leader does again.
    fn stand_in(&self, steps: usize) {
        async_io::block_on(async {
            while self.steps.load(Ordering::Relaxed) == steps {
                self.executor.tick().await;
                if self.run(LOOK_AFTER, 1) == LOOK_AFTER {
                    look_for_io().await;
                }
            }
        });
    }

    fn help(&self, watches: bool) {
        let mut steps = 0;
        loop {
            let called = self.rest(if watches { WATCH } else { Duration::MAX });
            let before = std::mem::replace(&mut steps, self.steps.load(Ordering::Relaxed));
            if !called {
                // A leader that waits takes a task sooner than we come here.
                if steps == before && self.executor.try_tick() {
                    self.stand_in(steps);
                }
                continue;
            }
            self.helping.fetch_add(1, Ordering::Relaxed);
            let mut since = Instant::now();
            while since.elapsed() < LINGER {
                if self.run(LOOK_AFTER, usize::MAX) > 0 {
                    since = Instant::now();
                }
                spin_loop();
            }
            self.helping.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Runs tasks while there are any, at most so many; how many it were. Calls for help while there
    /// are fewer than so many `helpers`: the leader wants one, and more come if that one finds as
    /// much to do as the leader did.
    fn run(&self, most: usize, helpers: usize) -> usize {
        for count in 0..most {
            if !self.executor.try_tick() {
                return count;
            }
            if count % CALL_AFTER == CALL_AFTER - 1
                && self.helping.load(Ordering::Relaxed) < helpers
            {
                self.call_one();
            }
        }
        most
    }

    /// Waits for a call; false if none came for so long.
    fn rest(&self, longest: Duration) -> bool {
        self.resting.fetch_add(1, Ordering::Relaxed);
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.call.wait_timeout_while(called, longest, |called| *called == 0);
        let (mut called, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.resting.fetch_sub(1, Ordering::Relaxed);
        let was_called = *called > 0;
        *called = 0;
        was_called
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
