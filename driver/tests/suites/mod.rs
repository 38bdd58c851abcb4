//! Tests of the seams for every driver crate, which runs them with its runtime.
//!
//! The crate's test program has a module `on` with
//!
//! - `runtime()` and `quinn()`, its runtime as the event loop and as quinn see it,
//! - `one_thread(future)` and `many_threads(future)`, two ways to run a test,
//! - `Mortal`, a runtime that can be killed in the middle of everything.

/// Makes a test of each function that is named here.
macro_rules! tests {
    ($run:ident: $($test:ident)*) => {
        mod $run {
            $(
                #[test]
                fn $test() {
                    crate::on::$run(super::$test());
                }
            )*
        }
    };
}

mod runtime;
mod socket;
mod stranger;
mod transport;
