//! The small worlds of `scenario::single`, and hostile hosts, over a few seeds.

use std::time::Duration;

use mosaik_sim::{
    Failure, Swarm,
    scenario::{Faults, mutants::PROGRAMS, single},
};

fn seeds(run: fn(u64) -> Result<(), Failure>, seeds: u64) {
    for seed in 1..=seeds {
        run(seed).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn str_13_a_closing_producer_sends_what_it_accepted() {
    seeds(single::drain, 5);
}

#[test]
fn the_window_opens_when_who_held_it_dies() {
    seeds(single::holder_dies, 5);
}

#[test]
fn str_08_who_took_everything_is_not_too_slow() {
    seeds(single::idle, 5);
}

#[test]
fn s14_who_is_refused_waits() {
    seeds(single::stuck, 3);
}

#[test]
fn d2_farewells_are_final() {
    seeds(single::farewell, 3);
}

#[test]
fn who_dies_unseen_is_missed_by_all() {
    seeds(single::silent_death, 1);
}

#[test]
fn link_04_crossed_dials_leave_one_link_at_once() {
    seeds(single::crossed, 20);
}

#[test]
fn d11_a_late_loop_blames_itself_first() {
    seeds(single::late_loop, 5);
}

/// W2, D5, D7, D9, S6: whatever one peer says, the others keep every promise among themselves.
#[test]
fn hostile_peers_break_nothing() {
    for seed in 4_000..4_006 {
        let run = Faults {
            swarm: Some(Swarm { hostile: true, ..Swarm::NONE }),
            faults: Duration::from_secs(12),
            until: Duration::from_secs(60),
            strict: true,
            ..Faults::new(seed)
        };
        run.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

/// In this build no bug is put back, and none can be.
#[test]
fn builds_for_others_have_no_mutants() {
    use mosaik_proto::mutant::{Mutant, on};
    const { assert!(!on(Mutant::ResumeLate)) };
    let all = || Mutant::OF_NODES.iter().chain(&Mutant::OF_RAFT).chain(&Mutant::OF_GROUPS);
    assert!(all().all(|mutant| !on(*mutant)));
    assert!(!PROGRAMS.is_empty());
}
