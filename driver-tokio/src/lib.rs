//! mosaik on tokio.

mod runtime;

pub use runtime::{TokioRuntime, TokioTimer};
