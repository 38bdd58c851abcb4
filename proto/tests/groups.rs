//! Cores of groups in a seeded world of links, disks, machines and crashes.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "commands are being wired")]

mod common;

#[path = "groups/cluster.rs"]
mod cluster;
#[path = "groups/commands.rs"]
mod commands;
#[path = "groups/disk.rs"]
mod disk;
#[path = "groups/forming.rs"]
mod forming;
#[path = "groups/invariants.rs"]
mod invariants;
#[path = "groups/keeping.rs"]
mod keeping;
#[path = "groups/lives.rs"]
mod lives;
#[path = "groups/machine.rs"]
mod machine;
#[cfg(mosaik_mutants)]
#[path = "groups/mutants.rs"]
mod mutants;
#[path = "groups/reference.rs"]
mod reference;
#[path = "groups/refusals.rs"]
mod refusals;
#[path = "groups/rivals.rs"]
mod rivals;
#[path = "groups/snapshots.rs"]
mod snapshots;
#[path = "groups/stores.rs"]
mod stores;
#[path = "groups/told.rs"]
mod told;
#[path = "groups/views.rs"]
mod views;
#[path = "groups/walks.rs"]
mod walks;
