//! Where tasks run.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use async_executor::Executor;

use crate::pool;

/// A task that can be kept.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A place for tasks. Clones are the same place.
#[derive(Clone, Default)]
pub(crate) enum Tasks {
    /// The pool that all nodes of the process share.
    #[default]
    Pool,
    /// An executor that somebody else runs.
    Executor(Arc<Executor<'static>>),
    /// Whatever a program has.
    Function(Arc<dyn Fn(Task) + Send + Sync>),
}

impl Tasks {
    /// Runs a task to its end. If it panics, it alone ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Pool => pool::executor().spawn(task).detach(),
            Self::Executor(executor) => executor.spawn(task).detach(),
            Self::Function(spawn) => spawn(Box::pin(task)),
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "Pool",
            Self::Executor(_) => "Executor",
            Self::Function(_) => "Function",
        })
    }
}
