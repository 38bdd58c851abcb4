use std::{convert::Infallible, task::Context};

use super::*;
use crate::handle::framing::frame;

fn calls() -> Calls {
    let calls = Calls::default();
    calls.open_window(limits::COMMANDS_IN_FLIGHT, limits::COMMANDS_BYTES);
    calls
}

fn bytes(data: &[u8]) -> impl FnOnce(&mut BytesMut, bool) -> Result<usize, Infallible> {
    move |batch, long| {
        frame(
            batch,
            long,
            |batch| {
                batch.extend_from_slice(data);
                Ok(())
            },
            |_| Ok(()),
        )
    }
}

fn call(calls: &Calls, until: Until) -> Arc<Call> {
    calls.call(until, bytes(b"command")).expect("there is room").0
}

fn many(calls: &Calls, commands: usize) -> Arc<Call> {
    let call = Call::new(commands, Until::Applied);
    (0..commands).for_each(|_| {
        calls.push(&call, bytes(b"command")).expect("there is room");
    });
    call
}

fn poll(call: &Call) -> Option<Ending> {
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ending) => Some(ending),
        Poll::Pending => None,
    }
}

fn ended(calls: &Calls, first: u64, count: u32, outcome: Outcome) -> usize {
    let mut wakers = Vec::new();
    let word = Word { outcome, fenced: false, closed: None };
    calls.ended(first, count, &word, &mut wakers);
    wakers.len()
}

/// As the loop does, after a look at what is left to grow.
fn take(calls: &Calls) -> Option<Batch> {
    calls.take(Instant::ZERO).or_else(|| calls.take(Instant::ZERO + limits::COMMANDS_HOLD))
}

const fn committed(index: u64) -> Outcome {
    Outcome::Committed { index: Index(index) }
}

#[test]
fn commands_are_numbered_in_the_order_of_their_calls() {
    let calls = calls();
    call(&calls, Until::Applied);
    many(&calls, 3);
    let batch = take(&calls).expect("four wait");
    assert_eq!((batch.first, batch.count), (0, 4));
    let items: Vec<_> = item::Items::new(batch.data).map(Result::unwrap).collect();
    assert_eq!(items, [&b"command"[..]; 4]);
    assert!(take(&calls).is_none());
    call(&calls, Until::Applied);
    assert_eq!(take(&calls).map(|batch| (batch.first, batch.count)), Some((4, 1)));
}

#[test]
fn every_call_learns_its_own_outcome() {
    let calls = calls();
    let (a, b, c) = (call(&calls, Until::Applied), many(&calls, 3), call(&calls, Until::Applied));
    take(&calls);
    assert!([&a, &b, &c].map(|call| poll(call)).iter().all(Option::is_none));
    // The outcome cuts the second call in two.
    assert_eq!(ended(&calls, 0, 2, committed(10)), 1);
    assert_eq!(poll(&a), Some(Ending::Committed(Index(10), Index(10))));
    assert_eq!(poll(&b), None);
    assert_eq!(ended(&calls, 2, 3, committed(20)), 2);
    assert_eq!(poll(&b), Some(Ending::Committed(Index(11), Index(21))));
    assert_eq!(poll(&c), Some(Ending::Committed(Index(22), Index(22))));
}

#[test]
fn outcomes_may_come_out_of_order_and_differ() {
    let calls = calls();
    let (a, b, c) = (many(&calls, 2), many(&calls, 2), many(&calls, 2));
    take(&calls);
    ended(&calls, 2, 1, Outcome::Rejected(Rejection::Offline));
    ended(&calls, 4, 2, Outcome::Rejected(Rejection::Offline));
    ended(&calls, 3, 1, committed(9));
    ended(&calls, 0, 1, committed(7));
    ended(&calls, 1, 1, Outcome::Unknown);
    assert_eq!(poll(&a), Some(Ending::Unknown));
    assert_eq!(poll(&b), Some(Ending::Unknown), "one is in force, one is not");
    assert_eq!(poll(&c), Some(Ending::Rejected(Rejection::Offline)));
}

#[test]
fn commands_of_a_call_that_nobody_waits_for_stay_under_way() {
    let calls = calls();
    drop((call(&calls, Until::Applied), many(&calls, 2)));
    let c = call(&calls, Until::Applied);
    assert_eq!(take(&calls).map(|batch| batch.count), Some(4));
    assert_eq!(ended(&calls, 0, 3, committed(1)), 0, "nobody is to be woken");
    assert_eq!(poll(&c), None, "those were the outcomes of others");
    ended(&calls, 3, 1, committed(4));
    assert_eq!(poll(&c), Some(Ending::Committed(Index(4), Index(4))));
}

#[test]
fn a_fed_command_is_settled_by_the_first_word() {
    let calls = calls();
    let (fed, executed, late) =
        (call(&calls, Until::Taken), call(&calls, Until::Applied), call(&calls, Until::Taken));
    take(&calls);
    let mut wakers = Vec::new();
    calls.taken(0, 2, Index(5), &mut wakers);
    assert_eq!(poll(&fed), Some(Ending::Committed(Index(5), Index(5))));
    assert_eq!(poll(&executed), None);
    ended(&calls, 0, 3, committed(5));
    assert_eq!(poll(&executed), Some(Ending::Committed(Index(6), Index(6))));
    assert_eq!(poll(&late), Some(Ending::Committed(Index(7), Index(7))));
}

#[test]
fn the_window_bounds_what_is_taken_and_what_is_accepted() {
    let calls = Calls::default();
    assert!(calls.call(Until::Applied, bytes(b"early")).is_ok(), "the usual window is assumed");
    assert!(take(&calls).is_none(), "the core has not opened it");
    assert!(calls.open_window(limits::COMMANDS_IN_FLIGHT, limits::COMMANDS_BYTES));
    assert!(take(&calls).is_some());
    for _ in 1..limits::COMMANDS_IN_FLIGHT {
        call(&calls, Until::Applied);
    }
    assert!(matches!(calls.call(Until::Applied, bytes(b"one more")), Err(Refused::Full)));
    let mut taken = 0;
    while let Some(batch) = take(&calls) {
        taken += batch.count;
    }
    assert_eq!(u64::from(taken), limits::COMMANDS_IN_FLIGHT - 1);
    let mut listener = None;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(calls.poll_room(&mut listener, &mut cx).is_pending());
    calls.open_window(limits::COMMANDS_IN_FLIGHT + 1, limits::COMMANDS_BYTES);
    assert!(calls.poll_room(&mut listener, &mut cx).is_ready());
    assert!(calls.call(Until::Applied, bytes(b"one more")).is_ok());
}

#[test]
fn a_command_above_the_window_goes_alone() {
    let calls = Calls::default();
    calls.open_window(100, 10);
    let large = [7; 100];
    calls.call(Until::Applied, bytes(b"small")).expect("room");
    assert_eq!(take(&calls).map(|batch| batch.count), Some(1));
    calls.call(Until::Applied, bytes(&large)).expect("room");
    assert!(take(&calls).is_none(), "another is under way");
    ended(&calls, 0, 1, committed(1));
    assert_eq!(take(&calls).map(|batch| batch.count), Some(1));
}

#[test]
fn at_the_end_everything_resolves() {
    let calls = calls();
    let (under_way, waits) = (call(&calls, Until::Applied), {
        take(&calls);
        call(&calls, Until::Applied)
    });
    let half = Call::new(2, Until::Applied);
    calls.push(&half, bytes(b"one of two")).expect("room");
    calls.end();
    assert_eq!(poll(&half), None, "the caller has the other");
    assert!(matches!(calls.push(&half, bytes(b"the other")), Err(Refused::Ended)));
    half.close(1);
    assert_eq!(poll(&under_way), Some(Ending::Unknown), "the core had it");
    assert_eq!(poll(&waits), Some(Ending::Closed(None)));
    assert_eq!(poll(&half), Some(Ending::Closed(None)));
    assert!(matches!(calls.call(Until::Applied, bytes(b"late")), Err(Refused::Ended)));
}

#[test]
fn a_call_that_was_handed_over_in_part_is_not_committed_at_the_end() {
    let calls = calls();
    let half = Call::new(2, Until::Applied);
    calls.push(&half, bytes(b"one of two")).expect("room");
    take(&calls);
    ended(&calls, 0, 1, committed(1));
    calls.end();
    assert!(matches!(calls.push(&half, bytes(b"the other")), Err(Refused::Ended)));
    half.close(1);
    assert_eq!(poll(&half), Some(Ending::Unknown), "one is in force, one is not");
}

#[test]
fn a_command_that_cannot_be_written_leaves_no_trace() {
    let calls = calls();
    call(&calls, Until::Applied);
    let broken = calls.call(Until::Applied, |batch, long| {
        frame(
            batch,
            long,
            |batch| {
                batch.extend_from_slice(b"half");
                Err("broken")
            },
            |_| Ok(()),
        )
    });
    assert!(matches!(broken, Err(Refused::Unwritten("broken"))));
    let checked = calls.call(Until::Applied, |batch, long| {
        frame(batch, long, |_| Ok(()), |_| Err("does not decode"))
    });
    assert!(matches!(checked, Err(Refused::Unwritten("does not decode"))));
    call(&calls, Until::Applied);
    let batch = take(&calls).expect("two wait");
    assert_eq!((batch.count, item::Items::new(batch.data).count()), (2, 2));
}

#[test]
fn large_and_small_commands_share_a_batch() {
    let calls = calls();
    let large = vec![1; 40_000];
    for data in [&b"a"[..], &large, b"b", b"c"] {
        calls.call(Until::Applied, bytes(data)).expect("room");
    }
    let batch = take(&calls).expect("four wait");
    let lengths: Vec<_> = item::Items::new(batch.data).map(|item| item.unwrap().len()).collect();
    assert_eq!(lengths, [1, 40_000, 1, 1]);
}

#[test]
fn who_was_woken_is_waited_for_once() {
    let calls = calls();
    let take = || calls.take(Instant::ZERO).map(|batch| batch.count);
    let twice = || [call(&calls, Until::Applied), call(&calls, Until::Applied)];
    let two = twice();
    assert_eq!(take(), Some(2), "nobody was woken before");
    let wait = |two: [Arc<Call>; 2], first| {
        two.iter().for_each(|call| assert_eq!(poll(call), None));
        assert_eq!(ended(&calls, first, 2, committed(first)), 2);
        assert!(two.iter().all(|call| poll(call).is_some()));
    };
    wait(two, 0);
    let one = call(&calls, Until::Applied);
    assert_eq!((take(), deferred(&calls)), (None, true), "the other may be on its way");
    let other = call(&calls, Until::Applied);
    assert_eq!((take(), deferred(&calls)), (Some(2), false), "it was");
    wait([one, other], 2);
    call(&calls, Until::Applied);
    assert_eq!(take(), None);
    assert_eq!((take(), deferred(&calls)), (Some(1), false), "it was not");
    assert_eq!((take(), deferred(&calls)), (None, false), "nothing waits");
    call(&calls, Until::Applied);
    assert_eq!(take(), Some(1), "whoever waits any longer waits for nobody");
}

#[test]
fn callers_are_waited_for_while_others_come() {
    let calls = calls();
    let three = [(); 3].map(|()| call(&calls, Until::Applied));
    calls.take(Instant::ZERO).expect("three wait");
    three.iter().for_each(|call| assert_eq!(poll(call), None));
    assert_eq!(ended(&calls, 0, 3, committed(0)), 3);
    for _ in 0..2 {
        call(&calls, Until::Applied);
        assert!(calls.take(Instant::ZERO).is_none());
        assert!(deferred(&calls), "another came since the last look");
    }
    assert_eq!(calls.take(Instant::ZERO).map(|batch| batch.count), Some(2), "nobody came");
}

fn deferred(calls: &Calls) -> bool {
    calls.again() == Some(Again::NextTurn)
}

#[test]
fn a_small_batch_waits_beside_what_is_under_way() {
    let calls = calls();
    let take = |now| calls.take(now).map(|batch| batch.count);
    let call = || calls.call(Until::Applied, bytes(b"command")).expect("there is room").1;
    let ended = |first, count| {
        let word = Word { outcome: committed(1), fenced: false, closed: None };
        calls.ended(first, count, &word, &mut Vec::new())
    };
    let (now, then) = (Instant::ZERO, Instant::ZERO + limits::COMMANDS_HOLD);
    assert!(call(), "the loop is told of the first");
    assert!(!call() && !call());
    assert_eq!(take(now), Some(3), "nothing is under way");
    assert!(call());
    assert_eq!((take(now), calls.again()), (None, Some(Again::At(then))), "one beside three");
    assert!(!call(), "two beside three");
    assert!(call(), "three are not few: the loop is told");
    assert!(!call(), "once");
    assert_eq!((take(now), calls.again()), (Some(4), None));
    assert!(call() && !call());
    assert_eq!(take(now), None, "two beside seven");
    assert!(!ended(0, 3), "two beside four");
    assert!(ended(3, 2), "two beside two");
    assert_eq!(take(now), Some(2));
    assert!(call());
    assert_eq!((take(now), take(then)), (None, Some(1)), "no word came");
    assert!(call());
    assert_eq!(take(now), None);
    let large = vec![0; limits::BATCH_BYTES as usize];
    assert!(calls.call(Until::Applied, bytes(&large)).unwrap().1, "a full batch waits for nothing");
    assert_eq!(take(now), Some(2));
}
