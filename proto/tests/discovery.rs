//! The discovery core, alone and in company.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "discovery/sybil.rs"]
mod sybil;
#[path = "discovery/world.rs"]
mod world;

#[path = "discovery/gate.rs"]
mod gate;
#[path = "discovery/liveness.rs"]
mod liveness;
#[path = "discovery/spread.rs"]
mod spread;
