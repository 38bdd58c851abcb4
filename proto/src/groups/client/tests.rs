//! This node's commands, one by one.

use alloc::vec::Vec;

use super::*;
use crate::streams::item;
use crate::{
    groups::{places::Place, sessions::Sessions},
    raft::LogIndex,
};

const ME: PeerId = PeerId::from_bytes([1; 32]);
const LEADER: PeerId = PeerId::from_bytes([2; 32]);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn client() -> Client {
    let mut client = Client::new(ME, 0, Duration::from_secs(30), Duration::from_secs(2));
    client.on_leader(Some((LEADER, Term(1))));
    client
}

/// A client with session 3.
fn open() -> (Client, Outbox<Output>) {
    let (mut client, mut out) = (client(), Outbox::new());
    execute(&mut client, 0, 1, &mut out);
    assert_eq!(client.next(at(0)), Some(Ask::Open { nonce: 1, attempt: 1 }));
    assert_eq!(client.next(at(0)), None);
    client.on_opened(3, &ME, 1);
    (client, out)
}

fn execute(client: &mut Client, first: u64, count: u32, out: &mut Outbox<Output>) {
    let data: Vec<u8> = (0..count).flat_map(|_| [0, 1, 7]).collect();
    client.execute(first, count, data.into(), at(0), out);
}

/// What is asked for: number, count, whether it skips.
fn asked(client: &mut Client, now: Instant) -> Vec<(u64, u32, bool)> {
    core::iter::from_fn(|| client.next(now))
        .map(|ask| match ask {
            Ask::Commands { number, count, data, .. } => (number, count, data.is_empty()),
            Ask::Open { .. } => panic!("a session is open"),
        })
        .collect()
}

fn outcomes(out: &mut Outbox<Output>) -> Vec<(u64, u32, Outcome)> {
    out.drain()
        .filter_map(|output| match output {
            Output::Outcome { first, count, outcome } => Some((first, count, outcome)),
            _ => None,
        })
        .collect()
}

fn applied(client: &mut Client, number: u64, count: u64, index: u64, out: &mut Outbox<Output>) {
    client.on_applied(Place { number, count, index: Some(Index(index)) }, out);
}

const fn committed(index: u64) -> Outcome {
    Outcome::Committed { index: Index(index) }
}

#[test]
fn s10_execute_confirms_the_command_not_a_place() {
    // GRP-35: the leader had it at place 9 and was lost; another command stands there now.
    let (mut client, mut out) = open();
    assert_eq!(asked(&mut client, at(0)), [(0, 1, false)]);
    client.on_taken(client.attempt, 0, Some(Index(9)), at(1), &mut out);
    client.on_leader(Some((ME, Term(2))));
    assert_eq!(outcomes(&mut out), []);
    assert_eq!(asked(&mut client, at(2)), [(0, 1, false)], "it is sent again");
    applied(&mut client, 0, 1, 12, &mut out);
    assert_eq!(outcomes(&mut out), [(0, 1, committed(12))]);
}

#[test]
fn s11_a_timeout_is_no_leave_to_apply_twice() {
    // GRP-33, GRP-36: its number is kept, and used up by nothing if nobody has it.
    let (mut client, mut out) = open();
    assert_eq!(asked(&mut client, at(0)), [(0, 1, false)]);
    client.on_timeout(at(30_000), &mut out);
    assert_eq!(outcomes(&mut out), [(0, 1, Outcome::Unknown)]);
    client.on_leader(Some((ME, Term(2))));
    execute(&mut client, 1, 2, &mut out);
    assert_eq!(asked(&mut client, at(30_000)), [(0, 1, true), (1, 2, false)]);
    applied(&mut client, 0, 1, 5, &mut out);
    applied(&mut client, 1, 2, 6, &mut out);
    assert_eq!(outcomes(&mut out), [(1, 2, committed(6))], "the late one has its outcome");
}

#[test]
fn grp_36_what_was_never_sent_is_rejected() {
    let (mut client, mut out) = open();
    client.on_leader(None);
    client.on_timeout(at(29_999), &mut out);
    assert_eq!((outcomes(&mut out).len(), client.deadline()), (0, Some(at(30_000))));
    client.on_timeout(at(30_000), &mut out);
    assert_eq!(outcomes(&mut out), [(0, 1, Outcome::Rejected(Rejection::Offline))]);
    assert!(client.is_idle() && client.deadline().is_none());
}

#[test]
fn s16_what_the_leader_cannot_take_is_told() {
    // GRP-36: a full log; the number that was given is used up by nothing.
    let (mut client, mut out) = open();
    execute(&mut client, 1, 2, &mut out);
    assert_eq!(asked(&mut client, at(0)), [(0, 1, false), (1, 2, false)]);
    client.on_taken(client.attempt, 0, Some(Index(1)), at(0), &mut out);
    client.on_refused(client.attempt, 1, Why::LogFull, at(0), &mut out);
    assert_eq!(outcomes(&mut out), [(1, 2, Outcome::Rejected(Rejection::LogFull))]);
    execute(&mut client, 3, 1, &mut out);
    assert_eq!(asked(&mut client, at(0)), [], "not at once");
    assert_eq!(asked(&mut client, at(50)), [(1, 2, true), (3, 1, false)]);
    client.on_refused(client.attempt, 1, Why::Founders, at(50), &mut out);
    client.on_timeout(at(30_000), &mut out);
    let ends = [(0, 1, Outcome::Unknown), (3, 1, Outcome::Rejected(Rejection::Founders))];
    assert_eq!(outcomes(&mut out), ends);
}

#[test]
fn grp_34_no_word_in_time_is_asked_for_again() {
    let (mut client, mut out) = open();
    assert_eq!(asked(&mut client, at(0)), [(0, 1, false)]);
    let first = client.attempt;
    client.on_progress(at(1_500));
    client.on_timeout(at(2_000), &mut out);
    assert_eq!(asked(&mut client, at(2_000)), [], "bytes were still moving");
    client.on_timeout(at(3_500), &mut out);
    assert_eq!(asked(&mut client, at(3_500)), [(0, 1, false)]);
    client.on_refused(first, 0, Why::LogFull, at(3_501), &mut out);
    assert_eq!(outcomes(&mut out), [], "an answer to the earlier attempt");
}

#[test]
fn grp_34_a_late_refusal_says_nothing_of_what_was_sent_since() {
    let (mut client, mut out) = open();
    execute(&mut client, 1, 1, &mut out);
    assert_eq!(asked(&mut client, at(0)).len(), 2);
    let first = client.attempt;
    client.on_refused(first, 0, Why::NotLeader, at(0), &mut out);
    assert_eq!(asked(&mut client, at(50)), [(0, 1, false), (1, 1, false)]);
    client.on_refused(first, 1, Why::LogFull, at(50), &mut out);
    assert_eq!(outcomes(&mut out), [], "the leader may well have taken it now");
    client.on_refused(client.attempt, 1, Why::LogFull, at(50), &mut out);
    assert_eq!(outcomes(&mut out), [(1, 1, Outcome::Rejected(Rejection::LogFull))]);
}

#[test]
fn grp_37_a_lost_lineage_takes_what_it_may_have() {
    for (superseded, end) in
        [(false, Outcome::Unknown), (true, Outcome::Rejected(Rejection::Superseded))]
    {
        let (mut client, mut out) = open();
        assert_eq!(asked(&mut client, at(0)), [(0, 1, false)]);
        execute(&mut client, 1, 1, &mut out);
        client.on_lineage_left(superseded, &mut out);
        assert_eq!(outcomes(&mut out), [(0, 1, end)]);
        client.on_leader(Some((LEADER, Term(1))));
        assert!(matches!(client.next(at(0)), Some(Ask::Open { nonce: 2, .. })));
        client.on_opened(3, &ME, 1);
        assert_eq!(client.next(at(0)), None, "that was another one");
        client.on_opened(8, &ME, 2);
        assert_eq!(asked(&mut client, at(0)), [(0, 1, false)], "the second, as the first");
    }
}

#[test]
fn grp_39_the_window_opens_as_commands_end() {
    let (mut client, mut out) = (client(), Outbox::new());
    let window = |out: &mut Outbox<Output>| {
        out.drain().find_map(|output| match output {
            Output::Window { commands, bytes } => Some((commands, bytes)),
            _ => None,
        })
    };
    client.open_window(&mut out);
    let all = (limits::COMMANDS_IN_FLIGHT, limits::COMMANDS_BYTES);
    assert_eq!(window(&mut out), Some(all));
    let quarter = limits::COMMANDS_IN_FLIGHT as u32 / 4;
    execute(&mut client, 0, quarter - 1, &mut out);
    execute(&mut client, u64::from(quarter) - 1, 1, &mut out);
    assert!(matches!(client.next(at(0)), Some(Ask::Open { .. })));
    client.on_opened(3, &ME, 1);
    assert_eq!(asked(&mut client, at(0)).len(), 2);
    applied(&mut client, 0, u64::from(quarter) - 1, 1, &mut out);
    client.open_window(&mut out);
    assert_eq!(window(&mut out), None);
    applied(&mut client, u64::from(quarter) - 1, 1, u64::from(quarter), &mut out);
    client.open_window(&mut out);
    assert_eq!(window(&mut out).unwrap().0, all.0 + u64::from(quarter));
}

#[test]
fn grp_39_numbers_under_way_are_bounded() {
    let (mut client, mut out) = open();
    assert_eq!(asked(&mut client, at(0)).len(), 1);
    // Given up, and yet to be used up: the host may execute as many again.
    client.on_timeout(at(30_000), &mut out);
    let all = limits::COMMANDS_IN_FLIGHT as u32;
    execute(&mut client, 1, all, &mut out);
    assert_eq!(asked(&mut client, at(30_000)), [(0, 1, true)]);
    applied(&mut client, 0, 1, 1, &mut out);
    assert_eq!(asked(&mut client, at(30_000)), [(1, all, false)]);
}

#[test]
fn grp_35_a_snapshot_resolves_what_it_covers() {
    let (mut client, mut out) = open();
    execute(&mut client, 1, 3, &mut out);
    execute(&mut client, 4, 1, &mut out);
    assert_eq!(asked(&mut client, at(0)).len(), 3);
    let mut sessions = Sessions::default();
    sessions.open(LogIndex(3), ME, 1);
    let origin = |number| crate::raft::Origin { session: 3, number };
    assert!(sessions.apply(origin(0), 1, LogIndex(4), Some(Index(1))));
    assert!(sessions.apply(origin(1), 2, LogIndex(9), Some(Index(6))));
    client.on_installed(&sessions, LogIndex(10), &mut out);
    let ends = [(0, 1, committed(1)), (1, 2, committed(6))];
    assert_eq!(outcomes(&mut out), ends);
    applied(&mut client, 3, 2, 8, &mut out);
    assert_eq!(outcomes(&mut out), [(3, 1, committed(8)), (4, 1, committed(9))]);
    // A table that does not know the session any more says nothing about what was sent.
    execute(&mut client, 5, 1, &mut out);
    assert_eq!(asked(&mut client, at(0)).len(), 1);
    execute(&mut client, 6, 1, &mut out);
    client.on_installed(&Sessions::default(), LogIndex(90), &mut out);
    assert_eq!(outcomes(&mut out), [(5, 1, Outcome::Unknown)]);
}

#[test]
fn grp_39_what_is_too_much_for_a_frame_goes_in_several() {
    let (mut client, mut out) = open();
    let large = limits::APPEND_BYTES / 2;
    let mut data = Vec::new();
    for length in [large, large, 2 * large, 7] {
        item::append(&mut data, &alloc::vec![0; length]);
    }
    client.execute(1, 4, data.into(), at(0), &mut out);
    let parts = [(0, 1, false), (1, 1, false), (2, 1, false), (3, 1, false), (4, 1, false)];
    assert_eq!(asked(&mut client, at(0)), parts);
    applied(&mut client, 0, 1, 1, &mut out);
    applied(&mut client, 1, 1, 2, &mut out);
    assert_eq!(outcomes(&mut out), [(0, 1, committed(1)), (1, 1, committed(2))]);
    let mut small = Vec::new();
    (0..100).for_each(|_| item::append(&mut small, &[0; 16]));
    client.execute(5, 100, small.into(), at(0), &mut out);
    assert_eq!(asked(&mut client, at(0)), [(5, 100, false)]);
}

#[test]
fn l14_what_is_closed_stays_closed() {
    let (mut client, mut out) = open();
    execute(&mut client, 1, 2, &mut out);
    assert_eq!(client.next(at(0)).map(|_| ()), Some(()), "the first is sent");
    client.close(Rejection::Closed, &mut out);
    let closed = Outcome::Rejected(Rejection::Closed);
    assert_eq!(outcomes(&mut out), [(0, 1, Outcome::Unknown), (1, 2, closed)]);
    client.refuse(None);
    execute(&mut client, 3, 1, &mut out);
    assert_eq!(outcomes(&mut out), [(3, 1, closed)]);
    assert!(client.is_idle() && client.deadline().is_none());
}
