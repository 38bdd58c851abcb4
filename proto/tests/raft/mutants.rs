//! The proof that schedules and walks see: known bugs put back one by one, and what complains.
//!
//! Bugs are selected in the whole process, so this is the only test of its run: `cargo xtask mutants`
//! builds with `--cfg mosaik_mutants` and picks it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use mosaik_proto::mutant::{Mutant, select};

use crate::{rules, scenarios, schedules, walks::WALKS, words};

type Schedule = (&'static str, fn());

macro_rules! schedules {
    ($($file:ident { $($name:ident)* })*) => {
        [$($((stringify!($name), $file::$name as fn()),)*)*]
    };
}

const SCHEDULES: &[Schedule] = &schedules! {
    schedules {
        raft_11_a_swap_of_voters_needs_both_sets
        raft_10_two_leaders_two_changes
        half_rule_with_one_step_change
        raft_07_a_dropped_leader_deposed_before_the_final_set_campaigns
        raft_07_a_leaver_deposed_before_the_final_set_campaigns
        raft_11_who_votes_alone_lets_others_in_itself
        learner_ahead_of_voters
        raft_09_half_that_is_cut_off_but_alive_must_not_elect
        joint_change_while_half_superseded
        four_of_which_two_restart
        founder_dies_inside_first_change
        sole_durable_voter_crashes_between_persist_and_send_of_first_change
        raft_02_a_vote_counts_after_a_restart
        raft_02_a_vote_counts_after_its_winner_was_heard
        raft_05_a_vote_that_is_lost_elected_nobody
        raft_06_a_late_write_of_entries_that_are_gone_commits_nothing
        stale_ack_of_old_seat_is_not_counted
        raft_16_who_installs_follows_no_older_leader
        raft_13_an_answer_to_an_earlier_life_is_no_answer
        raft_13_a_question_ends_with_the_leader_that_was_asked
    }
    scenarios {
        raft_12_the_founder_leads_alone_until_the_first_command
        raft_04_a_minority_acknowledges_nothing_and_catches_up
        raft_04_a_leader_that_hears_nobody_has_another_campaign
        raft_01_pre_vote_keeps_terms_low
        a_member_without_a_disk_comes_back_as_another_seat
        pair_of_memory_members_one_restarts
        raft_17_leadership_is_handed_over
        raft_19_a_leader_that_leaves_is_succeeded
        raft_13_reads_are_answered_everywhere_and_not_by_a_minority
        raft_15_who_catches_up_over_a_slow_path_is_sent_everything_once
        raft_16_who_is_far_behind_fetches_a_snapshot
        raft_figure_8_is_not_committed
        raft_05_a_vote_in_flight_is_lost_with_its_voter
        raft_06_a_late_write_vouches_only_for_what_is_still_there
        a_founder_that_restarts_still_votes_alone
    }
    rules {
        raft_02_one_vote_per_term_also_after_a_restart
        raft_03_who_hears_a_leader_topples_nobody
        raft_10_no_change_before_an_entry_of_the_own_term_is_committed
        raft_11_who_votes_alone_writes_the_change_before_it_sends_it
        raft_11_the_old_set_counts_until_the_change_is_written
        raft_12_learners_get_committed_entries_only
        raft_12_a_learner_that_is_silent_gets_no_seat
        raft_14_founders_come_first
        raft_15_a_long_conflict_is_resolved_by_term
        raft_15_what_is_there_already_is_not_touched
        raft_15_a_new_leader_does_not_send_the_log_again
        raft_17_nothing_is_handed_to_who_cannot_be_reached
        raft_14_the_named_come_before_others
        raft_18_a_question_is_not_dropped
        raft_18_what_waits_is_bounded
        raft_19_a_dead_voter_is_replaced_or_dropped
    }
    words {
        raft_08_the_next_entry_tells_of_a_commit
        raft_08_who_waits_hears_at_once
    }
};

/// Seeds of each kind of walk after which a bug counts as not seen by walks.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1_000)
}

/// What a schedule or walk complains of, if it does.
fn complaint(run: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(run)).err().map(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(90).collect()
    })
}

/// The schedules that complain, each with what.
fn broken_schedules() -> Vec<(&'static str, String)> {
    let complaints = SCHEDULES.iter().map(|(name, run)| Some((*name, complaint(run)?)));
    complaints.flatten().collect()
}

/// The lowest seed that fails a walk, which, and how; on all processors.
fn broken_walk() -> Option<(u64, &'static str, String)> {
    let (next, limit) = (AtomicU64::new(0), AtomicU64::new(seeds()));
    let found = Mutex::new(None::<(u64, &'static str, String)>);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= limit.load(Ordering::Relaxed) {
                return;
            }
            let failed = WALKS.iter().find_map(|walk| {
                complaint(|| walk.run(seed)).map(|complaint| (seed, walk.name, complaint))
            });
            let Some(failed) = failed else { continue };
            // Lower seeds that others are at still count, higher ones do not.
            limit.fetch_min(seed, Ordering::Relaxed);
            let mut found = found.lock().unwrap();
            if found.as_ref().is_none_or(|before| seed < before.0) {
                *found = Some(failed);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().unwrap()
}

#[test]
fn every_mutant_is_caught() {
    // Complaints are results here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = 0;
    println!("{:<23}{:<26}{:>6}  schedules", "mutant", "walk", "seeds");
    let only = std::env::var("ONLY").unwrap_or_default();
    for mutant in Mutant::OF_RAFT {
        if !format!("{mutant:?}").contains(&only) {
            continue;
        }
        select(Some(mutant));
        let (schedules, walk) = (broken_schedules(), broken_walk());
        let survived = schedules.is_empty() && walk.is_none();
        survivors += u32::from(survived);
        let (name, verdict) = (format!("{mutant:?}"), if survived { "SURVIVED" } else { "-" });
        let (walk, seed) = walk.map_or_else(
            || (verdict, "-".into()),
            |(seed, walk, _)| (walk, (seed + 1).to_string()),
        );
        let schedule = schedules.first().map_or("-", |(name, _)| *name);
        let more = schedules.len().saturating_sub(1);
        let more = if more > 0 { format!(" +{more}") } else { String::new() };
        println!("{name:<23}{walk:<26}{seed:>6}  {schedule}{more}");
    }
    select(None);
    let (schedules, walk) = (broken_schedules(), broken_walk());
    println!(
        "without a mutant: {} seeds of {} walks, {schedules:?} {walk:?}",
        seeds(),
        WALKS.len()
    );
    drop(std::panic::take_hook());
    assert_eq!((survivors, schedules, walk), (0, Vec::new(), None));
}
