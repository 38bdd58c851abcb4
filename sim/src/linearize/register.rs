//! A value that is replaced as a whole.

use super::Model;

/// A register: one key of a map. It is empty in the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterOp {
    /// Hold this.
    Put(u64),
    /// What do you hold?
    Get,
    /// Hold the second if you hold the first.
    Cas(Option<u64>, u64),
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterRet {
    /// It was put.
    Done,
    /// That is what it holds.
    Value(Option<u64>),
    /// True if it held the first.
    Swapped(bool),
}

impl Model for Register {
    type State = Option<u64>;
    type Op = RegisterOp;
    type Ret = RegisterRet;

    fn start(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, op: &Self::Op) -> (Self::State, Self::Ret) {
        match *op {
            RegisterOp::Put(value) => (Some(value), RegisterRet::Done),
            RegisterOp::Get => (*state, RegisterRet::Value(*state)),
            RegisterOp::Cas(expected, new) if *state == expected => {
                (Some(new), RegisterRet::Swapped(true))
            }
            RegisterOp::Cas(..) => (*state, RegisterRet::Swapped(false)),
        }
    }

    fn is_read(&self, _: &Self::Op, ret: &Self::Ret) -> bool {
        matches!(ret, RegisterRet::Value(_) | RegisterRet::Swapped(false))
    }
}
