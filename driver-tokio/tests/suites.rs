//! The suites of `mosaik-driver` on tokio.

#[path = "../../driver/tests/suites/mod.rs"]
mod suites;

mod on {
    use std::{future::Future, sync::Arc};

    use mosaik_driver_tokio::TokioRuntime;
    use tokio::runtime::{Builder, Runtime};

    pub(crate) fn runtime() -> TokioRuntime {
        TokioRuntime::current()
    }

    pub(crate) fn quinn() -> Arc<dyn quinn::Runtime> {
        runtime().quinn()
    }

    pub(crate) fn one_thread(test: impl Future<Output = ()>) {
        Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    pub(crate) fn many_threads(test: impl Future<Output = ()>) {
        Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    pub(crate) struct Mortal(Runtime);

    impl Mortal {
        pub(crate) fn new() -> Self {
            Self(Builder::new_multi_thread().enable_all().build().expect("a runtime"))
        }

        pub(crate) fn quinn(&self) -> Arc<dyn quinn::Runtime> {
            TokioRuntime::with_handle(self.0.handle().clone()).quinn()
        }

        pub(crate) fn kill(self) {
            self.0.shutdown_background();
        }
    }
}
