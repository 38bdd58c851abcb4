//! A sum.

use super::Model;

/// A counter, 0 in the beginning. A command that is lost or applied twice shows in the next read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// What it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterOp {
    /// Add this.
    Add(i64),
    /// What is the sum?
    Read,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterRet {
    /// It was added.
    Done,
    /// The sum.
    Value(i64),
}

impl Model for Counter {
    type State = i64;
    type Op = CounterOp;
    type Ret = CounterRet;

    fn start(&self) -> Self::State {
        0
    }

    fn step(&self, state: &Self::State, op: &Self::Op) -> (Self::State, Self::Ret) {
        match *op {
            CounterOp::Add(number) => (state.wrapping_add(number), CounterRet::Done),
            CounterOp::Read => (*state, CounterRet::Value(*state)),
        }
    }

    fn is_read(&self, _: &Self::Op, ret: &Self::Ret) -> bool {
        matches!(ret, CounterRet::Value(_))
    }
}
