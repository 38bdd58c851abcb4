//! The few primitives through which handles reach the loop. None blocks a thread.

pub(crate) mod broadcast;
pub(crate) mod cell;
pub(crate) mod reply;
