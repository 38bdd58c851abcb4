//! What must hold in every order. A waiter that nobody wakes is a deadlock, which loom reports.

mod answer;
mod arrivals;
mod broadcast;
mod inbox;
mod lane;
mod reply;
mod watched;

/// Every model by its name.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("watched::a_waiter_sees_the_last_change", watched::a_waiter_sees_the_last_change),
    ("watched::all_waiters_are_woken", watched::all_waiters_are_woken),
    ("watched::who_gives_up_takes_no_wake_up_along", watched::who_gives_up_takes_no_wake_up_along),
    ("broadcast::each_value_is_seen_or_counted", broadcast::each_value_is_seen_or_counted),
    ("reply::an_answer_reaches_who_waits", reply::an_answer_reaches_who_waits),
    ("reply::an_answer_finds_the_latest_waker", reply::an_answer_finds_the_latest_waker),
    ("reply::given_up_or_answered", reply::given_up_or_answered),
    ("reply::the_end_answers_everything", reply::the_end_answers_everything),
    ("inbox::no_news_are_forgotten", inbox::no_news_are_forgotten),
    ("inbox::a_source_is_queued_once", inbox::a_source_is_queued_once),
    ("inbox::two_sources_wake_one_loop", inbox::two_sources_wake_one_loop),
    ("lane::items_reach_the_loop_in_order", lane::items_reach_the_loop_in_order),
    ("lane::a_sender_waits_for_room", lane::a_sender_waits_for_room),
    ("lane::a_window_opens_for_what_waits", lane::a_window_opens_for_what_waits),
    ("lane::a_sender_waits_for_online", lane::a_sender_waits_for_online),
    ("lane::the_end_wakes_a_sender", lane::the_end_wakes_a_sender),
    ("lane::a_place_given_back_is_taken", lane::a_place_given_back_is_taken),
    (
        "lane::the_last_handle_closes_behind_its_items",
        lane::the_last_handle_closes_behind_its_items,
    ),
    ("lane::adopted_or_closed", lane::adopted_or_closed),
    ("answer::the_last_part_wakes", answer::the_last_part_wakes),
    ("answer::who_moved_is_woken", answer::who_moved_is_woken),
    ("arrivals::all_are_taken_in_order", arrivals::all_are_taken_in_order),
    ("arrivals::a_reader_that_moved_is_woken", arrivals::a_reader_that_moved_is_woken),
];
