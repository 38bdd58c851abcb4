//! The proof that schedules and walks see: known bugs put back one by one, and what complains.
//!
//! Bugs are selected in the whole process, so this is the only test of its run: `cargo xtask mutants`
//! builds with `--cfg mosaik_mutants` and picks it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use mosaik_proto::mutant::{Mutant, select};

use crate::{
    commands, forming, lives, reference, refusals, rivals, snapshots, stores, told, walks::WALKS,
};

type Schedule = (&'static str, fn());

macro_rules! schedules {
    ($($file:ident { $($name:ident)* })*) => {
        &[$($((stringify!($name), $file::$name as fn()),)*)*]
    };
}

/// All tests of groups but the walks.
const SCHEDULES: &[Schedule] = schedules! {
    forming {
        three_that_know_each_other_form_at_once
        grp_10_one_alone_founds_when_it_has_waited
        durable_members_form_too
        all_apart_become_one
    }
    lives {
        grp_21_pair_of_memory_members_one_restarts
        four_of_which_two_restart
        durable_members_that_all_restart_know_everything
        a_sole_durable_member_serves_at_once_after_its_restart
        one_of_three_loses_its_store_and_is_refilled
        grp_17_two_of_three_lose_theirs_and_the_operator_recovers
        grp_28_who_votes_under_a_new_seat_is_not_to_be_called_gone
        grp_28_after_a_restart_of_all_nobody_is_online_before_it_has_everything
        grp_17_recovery_of_a_compacted_log
        grp_17_recovery_is_refused_where_it_would_lose
        grp_16_a_copy_of_a_lost_lineage_goes_on
        grp_18_a_rolled_back_store_is_noticed
        grp_24_leaving_leaders_stop_nobody_for_long
        grp_24_when_all_leave_at_once_nobody_waits_for_those_who_left
        grp_24_a_leader_that_leaves_asks_another_if_the_first_goes_too
        grp_24_the_last_voter_in_memory_hands_on_to_who_came_back
        grp_22_observers_copy_and_never_lead
        grp_23_an_observer_becomes_a_voter_and_back
        grp_25_the_lead_is_handed_over
        grp_26_a_failed_machine_hands_over
        first_command_with_two_learners_one_crashes
        promoted_learner_cut_off_leaves_unaware
        half_cut_off_but_alive_must_not_elect
        grp_29_the_store_of_another_peer_is_left_alone
    }
    rivals {
        grp_12_two_provisional_lineages_meet_both_growing
        provisional_with_commands_meets_established
        grp_14_two_established_conflict_and_both_serve
        v1a_the_rank_counts_what_is_not_committed
        v1b_command_in_flight_when_rivals_meet
        v2b_chain_of_three_lineages_voter_away
        v3_founder_dies_inside_first_change
        v4_empty_group_founder_never_returns
        founders_three_with_two_present_refuses
        grp_12_a_history_that_was_handed_on_does_not_yield
    }
    stores {
        v8_rolled_back_seat_votes_again
        v8b_copy_of_running_store
        grp_19_a_store_that_fails_is_begun_anew
        grp_19_who_has_no_store_says_so_to_all_who_wait
        grp_19_a_member_that_joins_again_has_another_seat
        late_append_of_dead_founder_adopted_after_its_restart
        v7_late_rank_of_ended_lineage
        sole_durable_voter_crashes_between_persist_and_send_of_first_change
        grp_17_survivors_follow_the_one_who_recovered
        grp_20_a_slow_machine_is_not_flooded
    }
    commands {
        commands_of_every_member_are_applied_everywhere
        a_lost_leader_costs_no_command
        grp_36_nobody_leads_and_every_command_ends
        grp_22_who_may_not_vote_may_not_write
        grp_34_ways_that_are_cut_again_and_again_lose_nothing
        grp_24_a_founder_that_leaves_at_once_leaves_its_commands
        s12_a_leader_that_is_none_any_more_serves_no_reads
        s12_reads_see_everything_that_was_acknowledged_before
        l3_a_command_needs_no_other_to_follow
        l10_commands_of_a_leader_that_was_cut_off_end_when_it_is_back
        l14_a_member_that_applies_nothing_more_says_so_to_all_who_wait
    }
    snapshots {
        grp_41_s14_what_is_compacted_survives_a_restart
        grp_40_a_fetch_ends_though_the_log_grows_meanwhile
        grp_43_a_newcomer_gets_what_the_log_does_not_hold_any_more
        l4_a_source_that_dies_in_the_middle_is_replaced
        l11_who_fetches_still_votes
        grp_45_a_member_that_serves_wrong_bytes_is_not_believed
        s13_a_short_history_gives_way_to_a_compacted_one
        s15_sessions_are_part_of_snapshots
        grp_48_a_follower_that_went_astray_is_fenced
        grp_48_a_leader_that_went_astray_is_fenced_and_hands_over
        grp_48_equal_states_are_left_alone
        grp_49_a_log_that_cannot_be_compacted_is_replayed
        grp_47_nothing_is_handed_over_while_a_snapshot_is_installed
    }
    reference {
        s01_rivals_of_equal_length_do_not_merge
        s02_rivals_of_different_length_keep_no_false_prefix
        s03_the_minority_does_not_override_the_majority
        s04_a_leader_that_is_cut_off_acknowledges_nothing
        s05_no_quorum_shrinks_after_an_election
        s06_those_who_commit_are_those_who_elect
        s07_who_forgot_its_vote_has_none
        s09_what_is_cut_off_was_never_applied
        s18_two_ways_to_one_state_give_one_snapshot
        l01_a_joiner_catches_up_under_steady_writes
        l02_voters_that_reconnect_do_not_wait_for_each_other
        l06_links_that_come_and_go_leave_one_bond_each
        l09_who_lost_only_the_leader_does_not_depose_it
        l12_readers_without_a_writer_are_offline
        l08_large_commands_that_cross_do_not_wait_for_each_other
    }
    refusals {
        grp_02_a_proof_of_another_link_is_none
        grp_02_who_has_another_secret_is_no_member
        grp_22_who_may_not_vote_any_more_writes_nothing
        grp_16_a_copy_that_is_cut_off_goes_on_for_nobody
        raft_12_a_newcomer_votes_when_it_has_the_log
        raft_19_the_third_voter_is_not_given_up
        grp_38_a_machine_that_lags_answers_no_read
    }
    told {
        grp_27_positions_are_published_seldom_and_the_rest_at_once
        grp_28_a_member_says_why_it_is_not_online
    }
};

/// Tests that are in these files and not among the schedules.
fn left_out() -> Vec<&'static str> {
    let files = [
        include_str!("commands.rs"),
        include_str!("forming.rs"),
        include_str!("lives.rs"),
        include_str!("reference.rs"),
        include_str!("refusals.rs"),
        include_str!("rivals.rs"),
        include_str!("snapshots.rs"),
        include_str!("stores.rs"),
        include_str!("told.rs"),
    ];
    let tests = files.into_iter().flat_map(|file| file.split("#[test]\n").skip(1));
    let names = tests.filter_map(|test| test.split_once("fn ")?.1.split('(').next());
    names.filter(|name| SCHEDULES.iter().all(|(known, _)| known != name)).collect()
}

/// Seeds of each kind of walk after which a bug counts as not seen by walks.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

/// What a schedule or walk complains of, if it does.
fn complaint(run: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(run)).err().map(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(90).collect()
    })
}

/// Does work on all processors.
fn everywhere(work: impl Fn() + Sync) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(&work))));
}

/// A schedule that complains: which of all, what it says, and after how many milliseconds.
type Broken = (usize, String, u128);

/// The schedules that complain, in their order.
fn broken_schedules() -> Vec<Broken> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    everywhere(|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, run)) = SCHEDULES.get(at) else { return };
            let since = Instant::now();
            if let Some(complaint) = complaint(run) {
                let broken = (at, complaint, since.elapsed().as_millis());
                found.lock().unwrap().push(broken);
            }
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort_unstable();
    found
}

/// The lowest seed that fails a walk, which, and how.
fn broken_walk() -> Option<(u64, &'static str, String)> {
    let (next, limit) = (AtomicU64::new(0), AtomicU64::new(seeds()));
    let found = Mutex::new(None::<(u64, &'static str, String)>);
    everywhere(|| {
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
    });
    found.into_inner().unwrap()
}

#[test]
fn every_mutant_is_caught() {
    // Complaints are results here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = 0;
    println!("{:<23}{:<33}{:>6}  schedules, the first with its ms", "mutant", "walk", "seeds");
    let only = std::env::var("ONLY").unwrap_or_default();
    for mutant in Mutant::OF_GROUPS {
        if !format!("{mutant:?}").contains(&only) {
            continue;
        }
        select(Some(mutant));
        let (schedules, walk) = (broken_schedules(), broken_walk());
        let survived = schedules.is_empty() && walk.is_none();
        survivors += u32::from(survived);
        let (name, verdict) = (format!("{mutant:?}"), if survived { "SURVIVED" } else { "-" });
        if std::env::var("COMPLAINTS").is_ok() {
            for (at, what, millis) in &schedules {
                println!("    {} {millis} ms: {what}", SCHEDULES[*at].0);
            }
            println!("    {walk:?}");
        }
        let (walk, seed) = walk.map_or_else(
            || (verdict, "-".into()),
            |(seed, walk, _)| (walk, (seed + 1).to_string()),
        );
        let schedule = schedules
            .first()
            .map_or_else(|| "-".into(), |(at, _, millis)| format!("{} {millis}", SCHEDULES[*at].0));
        let more = schedules.len().saturating_sub(1);
        let more = if more > 0 { format!(" +{more}") } else { String::new() };
        println!("{name:<23}{walk:<33}{seed:>6}  {schedule}{more}");
    }
    select(None);
    let (schedules, walk) = (broken_schedules(), broken_walk());
    let (seeds, walks) = (seeds(), WALKS.len());
    println!("without a mutant: {seeds} seeds of {walks} walks, {schedules:?} {walk:?}");
    println!("tests that no mutant is shown to: {:?}", left_out());
    drop(std::panic::take_hook());
    assert_eq!((survivors, schedules, walk), (0, Vec::new(), None));
}
