//! Known histories, small ones against a search without any tricks, and large ones.

mod brute;
mod known;
mod large;

use mosaik_proto::rng::Rng;

use super::*;

/// An operation: client, from, to (`None`: unknown), what, and the answer.
type Line<M> = (u64, u64, Option<u64>, <M as Model>::Op, <M as Model>::Ret);

fn history<M: Model>(lines: impl IntoIterator<Item = Line<M>>) -> History<M> {
    let mut history = History::default();
    for (client, begun, ended, op, ret) in lines {
        let ended = ended.map(|at| (at, ret));
        history.push(Operation { client, op, begun, ended });
    }
    history
}

fn rng(what: &str) -> Rng {
    Rng::new([5; 32]).fork(what)
}

fn is_linearizable<M: Model>(model: &M, history: &History<M>) -> bool {
    match check(model, history, &Bounds::default()) {
        Ok(_) => true,
        Err(Complaint::Violation(_)) => false,
        Err(Complaint::Undecided(effort)) => panic!("undecided: {effort:?}"),
    }
}

fn violation<M: Model>(model: &M, history: &History<M>) -> Violation {
    match check(model, history, &Bounds::default()) {
        Err(Complaint::Violation(violation)) => *violation,
        other => panic!("no violation: {other:?}"),
    }
}
