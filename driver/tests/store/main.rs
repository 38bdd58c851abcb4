//! Stores against a model, on a disk that fails in every way it can.
#![allow(missing_docs)]

mod crashes;
mod files;
mod flips;
mod model;
mod models;
mod sim_disk;
mod threads;
