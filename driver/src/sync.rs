//! The few primitives through which handles reach the loop. None blocks a thread.

pub(crate) mod answer;
pub(crate) mod arrivals;
pub(crate) mod broadcast;
pub(crate) mod cell;
pub(crate) mod inbox;
pub(crate) mod lane;
pub(crate) mod prim;
pub(crate) mod reply;
