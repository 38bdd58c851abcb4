//! The files of `driver/src/sync`, as they ship, on other primitives.

#[path = "../../driver/src/sync/answer.rs"]
pub(crate) mod answer;
#[path = "../../driver/src/sync/arrivals.rs"]
pub(crate) mod arrivals;
#[path = "../../driver/src/sync/broadcast.rs"]
pub(crate) mod broadcast;
#[path = "../../driver/src/sync/cell.rs"]
pub(crate) mod cell;
#[path = "../../driver/src/sync/inbox.rs"]
pub(crate) mod inbox;
#[path = "../../driver/src/sync/lane.rs"]
pub(crate) mod lane;
pub(crate) mod prim;
#[path = "../../driver/src/sync/reply.rs"]
pub(crate) mod reply;
