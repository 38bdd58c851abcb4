//! Raft members in a seeded world of links, disks and crashes.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "raft/cluster.rs"]
mod cluster;
#[path = "raft/invariants.rs"]
mod invariants;
#[cfg(mosaik_mutants)]
#[path = "raft/mutants.rs"]
mod mutants;
#[path = "raft/rules.rs"]
mod rules;
#[path = "raft/scenarios.rs"]
mod scenarios;
#[path = "raft/schedules.rs"]
mod schedules;
#[path = "raft/walks.rs"]
mod walks;
#[path = "raft/words.rs"]
mod words;
