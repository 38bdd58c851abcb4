//! The suites of `mosaik-driver` on smol.

#[path = "../../driver/tests/suites/mod.rs"]
mod suites;

mod on {
    use std::{cell::RefCell, future::Future, sync::Arc};

    use mosaik_driver_smol::{Executor, Smol, SmolRuntime, block_on};

    thread_local! {
        /// Where the test of this thread runs.
        static HERE: RefCell<Smol> = RefCell::default();
    }

    pub(crate) fn runtime() -> SmolRuntime {
        HERE.with_borrow(Clone::clone).runtime()
    }

    pub(crate) fn quinn() -> Arc<dyn quinn::Runtime> {
        runtime().quinn()
    }

    /// Everything in this thread.
    pub(crate) fn one_thread(test: impl Future<Output = ()>) {
        let executor = Arc::new(Executor::new());
        HERE.set(Smol::on(Arc::clone(&executor)));
        block_on(executor.run(test));
    }

    /// Tasks on the pool that all tests of this kind share.
    pub(crate) fn many_threads(test: impl Future<Output = ()>) {
        block_on(test);
    }

    /// A runtime with a thread that stops in the middle of everything.
    pub(crate) struct Mortal {
        runtime: SmolRuntime,
        end: futures::channel::oneshot::Sender<()>,
    }

    impl Mortal {
        pub(crate) fn new() -> Self {
            let executor = Arc::new(Executor::new());
            let runtime = Smol::on(Arc::clone(&executor)).runtime();
            let (end, ended) = futures::channel::oneshot::channel::<()>();
            std::thread::spawn(move || block_on(executor.run(ended)));
            Self { runtime, end }
        }

        pub(crate) fn quinn(&self) -> Arc<dyn quinn::Runtime> {
            self.runtime.quinn()
        }

        pub(crate) fn kill(self) {
            self.end.send(()).expect("it lives");
            // Its tasks stay where they are: nobody says goodbye.
        }
    }
}
