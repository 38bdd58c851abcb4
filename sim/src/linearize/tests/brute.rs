//! Small random histories, against a search without tricks.

use super::*;

/// Tries every order.
fn brute<M: Model>(model: &M, operations: &[Operation<M>]) -> bool {
    fn go<M: Model>(
        model: &M,
        all: &[Operation<M>],
        placed: &mut [bool],
        state: &M::State,
    ) -> bool {
        let waits = |at: usize, placed: &[bool]| all[at].ended.is_some() && !placed[at];
        if (0..all.len()).all(|at| !waits(at, placed)) {
            return true;
        }
        (0..all.len()).any(|at| {
            let ended_before = |other: usize| {
                waits(other, placed)
                    && all[other].ended.as_ref().is_some_and(|(ended, _)| *ended < all[at].begun)
            };
            if placed[at] || (0..all.len()).any(ended_before) {
                return false;
            }
            let (after, ret) = model.step(state, &all[at].op);
            if all[at].ended.as_ref().is_some_and(|(_, ended)| *ended != ret) {
                return false;
            }
            placed[at] = true;
            let found = go(model, all, placed, &after);
            placed[at] = false;
            found
        })
    }
    go(model, operations, &mut vec![false; operations.len()], &model.start())
}

/// Operations with answers of a real order, of which some are changed afterwards.
fn small<M: Model>(
    model: &M,
    rng: &mut Rng,
    op: impl Fn(&mut Rng) -> M::Op,
    ret: impl Fn(&mut Rng) -> M::Ret,
) -> Vec<Operation<M>> {
    let count = 2 + rng.below(6);
    let mut all: Vec<_> = (0..count)
        .map(|client| {
            let (begun, lasts) = (rng.below(12), rng.below(8));
            let effect = begun + rng.below(lasts + 1);
            (effect, Operation { client, op: op(rng), begun, ended: None }, begun + lasts)
        })
        .collect();
    all.sort_by_key(|(effect, ..)| *effect);
    let mut state = model.start();
    for (_, operation, ended) in &mut all {
        let happens = !rng.chance(100_000);
        let (after, answer) = model.step(&state, &operation.op);
        if happens {
            state = after;
        }
        if !rng.chance(300_000) {
            let answer = if rng.chance(120_000) { ret(rng) } else { answer };
            operation.ended = Some((*ended, answer));
        }
    }
    all.into_iter().map(|(_, operation, _)| operation).collect()
}

/// Compares verdicts, and the shortest bad part with what brute force finds.
fn compare<M: Model>(
    model: &M,
    what: &str,
    op: impl Fn(&mut Rng) -> M::Op,
    ret: impl Fn(&mut Rng) -> M::Ret,
) {
    let (mut rng, mut bad) = (rng(what), 0);
    let rounds = 12_000;
    for round in 0..rounds {
        let operations = small(model, &mut rng, &op, &ret);
        let mut history = History::default();
        operations.iter().for_each(|operation| history.push(operation.clone()));
        let expected = brute(model, &operations);
        assert_eq!(is_linearizable(model, &history), expected, "{what} {round}: {operations:#?}");
        if !expected {
            bad += 1;
            let found = violation(model, &history);
            assert_eq!(found.time.1, first_bad(model, &operations), "{what} {round}: {found}");
        }
    }
    assert!(bad > rounds / 10 && bad < rounds * 9 / 10, "{what}: {bad} of {rounds} are bad");
}

/// When the first answer came that no order explains.
fn first_bad<M: Model>(model: &M, operations: &[Operation<M>]) -> u64 {
    let mut answers: Vec<_> = operations
        .iter()
        .enumerate()
        .filter_map(|(at, operation)| Some((operation.ended.as_ref()?.0, at)))
        .collect();
    answers.sort_unstable();
    let bad = answers.iter().enumerate().find(|(count, (until, _))| {
        let known = |at: usize| answers[..=*count].iter().any(|(_, known)| *known == at);
        let part: Vec<_> = operations
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.begun <= *until)
            .map(|(at, operation)| Operation {
                ended: operation.ended.clone().filter(|_| known(at)),
                ..operation.clone()
            })
            .collect();
        !brute(model, &part)
    });
    bad.expect("the whole is bad").1.0
}

#[test]
fn registers_agree_with_brute_force() {
    let value = |rng: &mut Rng| Some(rng.below(3)).filter(|value| *value > 0);
    let op = |rng: &mut Rng| match rng.below(4) {
        0 => RegisterOp::Put(1 + rng.below(2)),
        1 => RegisterOp::Cas(value(rng), 1 + rng.below(2)),
        _ => RegisterOp::Get,
    };
    compare(&Register, "register", op, |rng| match rng.below(5) {
        0 => RegisterRet::Done,
        1 => RegisterRet::Swapped(true),
        2 => RegisterRet::Swapped(false),
        _ => RegisterRet::Value(value(rng)),
    });
}

#[test]
fn counters_agree_with_brute_force() {
    let op = |rng: &mut Rng| match rng.below(2) {
        0 => CounterOp::Read,
        _ => CounterOp::Add(rng.below(3) as i64 - 1),
    };
    compare(&Counter, "counter", op, |rng| CounterRet::Value(rng.below(4) as i64));
}

#[test]
fn logs_agree_with_brute_force() {
    let op = |rng: &mut Rng| match rng.below(2) {
        0 => LogOp::Read,
        _ => LogOp::Append(rng.below(2)),
    };
    compare(&AppendLog, "log", op, |rng| match rng.below(2) {
        0 => LogRet::At(rng.below(3)),
        _ => LogRet::Content((0..rng.below(3)).map(|_| rng.below(2)).collect()),
    });
}
