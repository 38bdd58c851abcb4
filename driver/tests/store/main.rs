//! Stores against a model, on a disk that fails in every way it can.
#![expect(clippy::unwrap_used, reason = "also in the helpers of tests")]

#[path = "../../../tests/support/asked_store.rs"]
mod asked_store;
mod crashes;
mod files;
mod flips;
mod model;
mod models;
mod sim_disk;
mod threads;
