//! Threads that run tasks.

use std::{env, future, sync::LazyLock, thread};

use async_executor::Executor;

/// How many threads there are is read from here, once.
const VARIABLE: &str = "MOSAIK_SMOL_THREADS";
/// Most threads without being told; beyond this they mostly wake each other.
const THREADS_MAX: usize = 4;

static POOL: LazyLock<Executor<'static>> = LazyLock::new(|| {
    let told = env::var(VARIABLE).ok().and_then(|number| number.parse().ok());
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let threads = told.unwrap_or_else(|| processors().min(THREADS_MAX)).max(1);
    for number in 0..threads {
        thread::Builder::new()
            .name(format!("mosaik-smol-{number}"))
            // Whoever has no task to run also looks for I/O, so one thread is enough for all.
            .spawn(|| async_io::block_on(POOL.run(future::pending::<()>())))
            .expect("a thread");
    }
    Executor::new()
});

/// The executor of all nodes that were not told where to run; its threads live as long as the
/// process.
///
/// # Panics
/// If the system gives no thread.
pub(crate) fn executor() -> &'static Executor<'static> {
    &POOL
}
