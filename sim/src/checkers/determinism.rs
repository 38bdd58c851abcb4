//! One seed, one trace.

use std::fmt::Debug;

/// Runs twice and compares what comes out, which should hold a trace hash.
///
/// # Errors
/// If the runs differ.
pub fn check<T: PartialEq + Debug>(mut run: impl FnMut() -> T) -> Result<T, String> {
    let (first, second) = (run(), run());
    if first == second {
        Ok(first)
    } else {
        Err(format!("two runs of one seed differ: {first:?} and {second:?}"))
    }
}
