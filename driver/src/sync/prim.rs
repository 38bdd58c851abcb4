//! What the primitives here are made of. The package `loom/` compiles the files beside this one with
//! its own `prim`, and so tries the order of every step of the very code that ships (docs/loom.md):
//! locks, atomics and wakers of this folder come from here, never from `std`.

pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

pub(crate) use futures_util::task::AtomicWaker;
