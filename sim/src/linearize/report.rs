//! What is said of a history that no order explains.

use std::fmt;

use super::{
    Bounds, Model, Operation,
    search::{Found, Search},
};

/// Operations that are printed at most; those that ended last before the answer.
const PRINTED: usize = 24;
/// Operations of the order before it that are printed.
const ORDERED: usize = 8;

/// A history that is not linearizable, cut behind the first answer that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The client that got that answer.
    pub client: u64,
    /// When it began to wait for it, and when it got it.
    pub time: (u64, u64),
    /// What was asked and answered.
    pub answer: String,
    /// Operations that began up to then; `answer` is one of them.
    pub operations: usize,
    /// The last of them and what was under way, one per line; the one in question is marked.
    pub lines: Vec<String>,
    /// The end of an order of everything else, and what the object holds behind it.
    pub before: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, answer, operations, lines, before, .. } = self;
        writeln!(f, "not linearizable: no order explains {answer} at client {client}")?;
        writeln!(f, "  the last {} of {operations} operations up to there:", lines.len())?;
        lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "  the others fit like this: {before}")
    }
}

/// Finds the shortest part of a history that is not linearizable: these operations are not.
pub(super) fn explain<M: Model>(
    model: &M,
    operations: &[Operation<M>],
    bounds: &Bounds,
) -> Violation {
    let answers = answers(operations);
    // What is linearizable stays so when it is cut. A part that is too hard to tell counts as such,
    // so that the result is not, even if it could be shorter.
    let (mut good, mut bad) = (0, answers.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        let part = cut(operations, &answers[..middle]);
        match Search::new(model, &part, bounds).run() {
            Found::Nothing => bad = middle,
            Found::Order { .. } | Found::TooMuch => good = middle,
        }
    }
    let part = cut(operations, &answers[..bad]);
    let (at, culprit) = answers[bad - 1];
    let others = cut(operations, &answers[..good]);
    let Operation { client, begun, .. } = operations[culprit];
    let began = |operation: &&Operation<M>| operation.begun <= at;
    Violation {
        client,
        time: (begun, at),
        answer: said(&operations[culprit]),
        operations: operations.iter().filter(began).count(),
        lines: lines(&part, (begun, at, client)),
        before: order(model, &others, bounds),
    }
}

/// When operations were answered, in that order, and which.
pub(super) fn answers<M: Model>(operations: &[Operation<M>]) -> Vec<(u64, usize)> {
    let answered = |at: usize| Some((operations[at].ended.as_ref()?.0, at));
    let mut answers: Vec<_> = (0..operations.len()).filter_map(answered).collect();
    answers.sort_unstable();
    answers
}

/// The operations as they were known after some of the answers.
pub(super) fn cut<M: Model>(
    operations: &[Operation<M>],
    answers: &[(u64, usize)],
) -> Vec<Operation<M>> {
    let until = answers.last().map_or(0, |(at, _)| *at);
    let mut known = vec![false; operations.len()];
    answers.iter().for_each(|(_, at)| known[*at] = true);
    let begun = operations.iter().zip(known).filter(|(operation, _)| operation.begun <= until);
    let as_known = |(operation, known): (&Operation<M>, bool)| {
        let ended = operation.ended.clone().filter(|_| known);
        Operation { ended, ..operation.clone() }
    };
    begun.map(as_known).collect()
}

fn said<M: Model>(Operation { op, ended, .. }: &Operation<M>) -> String {
    match ended {
        Some((_, ret)) => format!("{op:?} -> {ret:?}"),
        None => format!("{op:?} -> ?"),
    }
}

/// The last operations in the order of their beginnings.
fn lines<M: Model>(operations: &[Operation<M>], culprit: (u64, u64, u64)) -> Vec<String> {
    let ended = |operation: &Operation<M>| operation.ended.as_ref().map(|(at, _)| *at);
    let mut last: Vec<_> = operations.iter().collect();
    // The answered ones that ended last, and the unknown ones that began last.
    last.sort_by_key(|operation| ended(operation).unwrap_or(operation.begun));
    last.drain(..last.len().saturating_sub(PRINTED));
    last.sort_by_key(|operation| operation.begun);
    let seconds = |at: u64| format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000);
    let line = |operation: &Operation<M>| {
        let Operation { client, begun, .. } = operation;
        let end = ended(operation);
        let mark = if end.map(|end| (*begun, end, *client)) == Some(culprit) { '>' } else { ' ' };
        let (from, to) = (seconds(*begun), end.map_or_else(|| "?".to_owned(), seconds));
        format!("{mark} {from:>16} .. {to:<16} client {client:<4} {}", said(operation))
    };
    last.into_iter().map(line).collect()
}

/// The end of an order in which operations fit.
fn order<M: Model>(model: &M, operations: &[Operation<M>], bounds: &Bounds) -> String {
    let Found::Order { order, state } = Search::new(model, operations, bounds).run() else {
        return "too hard to tell".to_owned();
    };
    let skipped = order.len().saturating_sub(ORDERED);
    let mut text = if skipped > 0 { format!("{skipped} more; ") } else { String::new() };
    for at in &order[skipped..] {
        text += &said(&operations[*at]);
        text += "; ";
    }
    format!("{text}then it holds {state:?}")
}
