//! Histories whose verdict is known.

use super::*;
use CounterOp::{Add, Read};
use RegisterOp::{Cas, Get, Put};
use RegisterRet::{Done, Swapped, Value};

fn register(lines: &[Line<Register>]) -> bool {
    is_linearizable(&Register, &history(lines.iter().cloned()))
}

fn counter(lines: &[(u64, u64, Option<u64>, CounterOp, i64)]) -> bool {
    let line = |(client, from, to, op, value): (u64, u64, Option<u64>, CounterOp, i64)| {
        let ret = if op == Read { CounterRet::Value(value) } else { CounterRet::Done };
        (client, from, to, op, ret)
    };
    is_linearizable(&Counter, &history(lines.iter().copied().map(line)))
}

#[test]
fn nothing_is_linearizable() {
    assert!(register(&[]));
    assert!(register(&[(1, 0, None, Put(1), Done)]));
}

#[test]
fn a_stale_read_is_not() {
    let put = [(1, 0, Some(1), Put(1), Done), (1, 2, Some(3), Put(2), Done)];
    let read = |from, value| (2, from, Some(from + 1), Get, Value(Some(value)));
    assert!(register(&[put[0], put[1], read(4, 2)]));
    assert!(!register(&[put[0], put[1], read(4, 1)]));
    assert!(register(&[put[0], put[1], read(2, 1)]), "they overlap");
    // New, then old: also among reads that overlap the write.
    let slow = (1, 2, Some(20), Put(2), Done);
    assert!(register(&[put[0], slow, read(4, 1), read(6, 2)]));
    assert!(!register(&[put[0], slow, read(4, 2), read(6, 1)]));
}

#[test]
fn a_lost_write_is_not() {
    assert!(!register(&[(1, 0, Some(1), Put(1), Done), (2, 2, Some(3), Get, Value(None))]));
    assert!(!counter(&[(1, 0, Some(1), Add(1), 0), (2, 2, Some(3), Read, 0)]));
    let swaps = [
        (1, 0, Some(9), Cas(None, 1), Swapped(true)),
        (2, 0, Some(9), Cas(None, 2), Swapped(true)),
    ];
    assert!(!register(&swaps), "both won");
    assert!(register(&[swaps[0], (2, 0, Some(9), Cas(None, 2), Swapped(false))]));
}

#[test]
fn a_duplicate_is_not() {
    let add = (1, 0, Some(1), Add(1), 0);
    assert!(counter(&[add, (2, 2, Some(3), Read, 1)]));
    assert!(!counter(&[add, (2, 2, Some(3), Read, 2)]));
    // An unknown one that was retried by somebody who forgot that it was tried.
    let unknown = (3, 0, None, Add(1), 0);
    assert!(counter(&[add, unknown, (2, 2, Some(3), Read, 2)]));
    assert!(!counter(&[add, unknown, (2, 2, Some(3), Read, 3)]));
    let log = |first, second, content: &[u64]| {
        let content = LogRet::Content(content.iter().copied().collect());
        is_linearizable(
            &AppendLog,
            &history([
                (1, 0, Some(1), LogOp::Append(7), LogRet::At(first)),
                (1, 2, Some(3), LogOp::Append(8), LogRet::At(second)),
                (2, 4, Some(5), LogOp::Read, content),
            ]),
        )
    };
    assert!(log(0, 1, &[7, 8]));
    assert!(!log(0, 2, &[7, 7, 8]));
    assert!(!log(0, 1, &[8, 7]));
}

#[test]
fn an_unknown_write_shows_late_or_never_but_not_early_or_twice() {
    let unknown = (1, 0, None, Put(1), Done);
    let put = (2, 2, Some(3), Put(2), Done);
    let read = |from, value| (3, from, Some(from + 1), Get, Value(Some(value)));
    assert!(register(&[unknown, put, read(4, 2), read(6, 2)]), "never");
    assert!(register(&[unknown, put, read(4, 2), read(60, 1)]), "late");
    assert!(!register(&[unknown, put, read(4, 1), read(6, 2)]), "gone again");
    let again = (2, 8, Some(9), Put(2), Done);
    assert!(!register(&[unknown, put, read(4, 1), again, read(10, 1)]), "twice");
    let later = (1, 6, None, Put(1), Done);
    assert!(!register(&[later, put, read(4, 1)]), "before it began");
}

#[test]
fn unknown_ones_may_build_on_each_other() {
    let unknown = |from, expected, new| (1, from, None, Cas(Some(expected), new), Swapped(true));
    let put = (2, 0, Some(1), Put(1), Done);
    let read = |value| (3, 8, Some(9), Get, Value(Some(value)));
    let chain = [put, unknown(4, 2, 3), unknown(3, 1, 2), unknown(2, 3, 4)];
    for value in 1..=4 {
        assert!(register(&[&chain[..], &[read(value)]].concat()), "{value}");
    }
    assert!(!register(&[&chain[..], &[read(5)]].concat()));
    let without = [&chain[..2], &chain[3..], &[read(4)]].concat();
    assert!(!register(&without), "a link is missing");
}

#[test]
fn what_was_refused_counts_for_nothing() {
    let mut history = History::default();
    let put = history.begun(1, Put(1), 0);
    let read = history.begun(2, Get, 5);
    history.ended(read, Value(None), 6);
    assert!(is_linearizable(&Register, &history), "unknown");
    history.ended(put, Done, 1);
    assert!(!is_linearizable(&Register, &history));
    history.refused(put);
    assert!(is_linearizable(&Register, &history));
    assert_eq!(history.operations().count(), 1);
}

#[test]
fn the_first_answer_that_no_order_explains_is_named() {
    let second = 1_000_000_000;
    let lines = [
        (1, 0, Some(second), Put(1), Done),
        (2, 2 * second, Some(4 * second), Get, Value(Some(1))),
        (3, 2 * second, Some(3 * second), Get, Value(None)),
        (3, 5 * second, Some(6 * second), Get, Value(Some(9))),
        (4, 0, None, Put(9), Done),
    ];
    let found = violation(&Register, &history(lines));
    assert_eq!((found.client, found.time), (3, (2 * second, 3 * second)));
    assert_eq!(found.answer, "Get -> Value(None)");
    let text = found.to_string();
    assert!(text.contains(">      2.000000000 .. 3.000000000      client 3"), "{text}");
    assert!(text.contains("Put(1) -> Done; then it holds Some(1)"), "{text}");
    assert!(text.contains("Get -> ?"), "client 2 is not answered yet: {text}");
    assert!(!text.contains("Value(Some(9))"), "later answers do not matter: {text}");
}

#[test]
fn keys_are_checked_one_by_one() {
    let good = || history([(1, 0, Some(1), Put(1), Done), (1, 4, None, Get, Done)]);
    let bad = history([(1, 0, Some(1), Get, Value(Some(1)))]);
    let mut keys = BTreeMap::from([("a", good()), ("b", good())]);
    let effort = check_each(&Register, &keys, &Bounds::default()).unwrap();
    assert_eq!((effort.answered, effort.unknown), (2, 2));
    keys.insert("c", bad);
    let complaint = check_each(&Register, &keys, &Bounds::default()).unwrap_err();
    assert!(complaint.key == "c" && complaint.to_string().contains("Some(1)"), "{complaint}");
}

#[test]
fn bounds_end_a_search() {
    // No sum of distinct powers of two is odd, and there are 2^20 of them.
    let mut lines: Vec<_> =
        (1..=20).map(|bit| (1, 0, None, Add(1 << bit), CounterRet::Done)).collect();
    lines.push((2, 1, Some(2), Read, CounterRet::Value(1)));
    let history = history(lines);
    let few = |bounds| matches!(check(&Counter, &history, &bounds), Err(Complaint::Undecided(_)));
    assert!(few(Bounds { steps: 10_000, ..Bounds::default() }));
    assert!(few(Bounds { situations: 1_000, ..Bounds::default() }));
}
