//! Did clients see one copy of the data, used by one of them at a time?
//!
//! # Theory of operation
//!
//! A [`History`] holds what clients asked for and what they were answered, with the moments at which
//! they asked and heard. It is *linearizable* if there is one order of all operations that a
//! sequential [`Model`] answers alike, and that keeps the order of any two of which one was
//! answered before the other began.
//!
//! An operation without an answer (the client crashed, or its time was up) is *unknown*: it may take
//! effect at any moment after it began, also long after everybody gave up, or never. One that was
//! refused for certain is taken [back](History::refused).
//!
//! [`check`] searches depth first for such an order (Wing and Gong 1993, Lowe 2017): it appends any
//! operation that began before the first answer that is still missing, and comes back from where it
//! cannot go on. A pair of (operations placed, state) is never tried twice. What keeps it fast:
//!
//! - A read that fits is placed at once: that is never wrong.
//! - Of answered operations that are equal the one that was answered first goes first.
//! - Unknown operations are tried last. One that changes nothing need not be placed; of equal ones the
//!   first is as good as any; and one whose effect the next operation hides could as well be left out.
//!
//! Sets of operations are remembered by a sum of 128 random bits each, so two may be taken for one
//! with a probability of about 2^-80 for the longest histories that the bounds allow.
//!
//! Independent objects are checked one by one ([`check_each`]): a history is linearizable if the part
//! of each key is. The search is exponential at worst; [`Bounds`] end it without a verdict.
//!
//! A history that cannot be ordered is cut behind the first answer that no order explains, and a
//! [`Violation`] says what was known there.

mod append_log;
mod counter;
mod register;
mod report;
mod search;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, hash::Hash};

use self::search::{Found, Search};
pub use self::{
    append_log::{AppendLog, Content, LogOp, LogRet},
    counter::{Counter, CounterOp, CounterRet},
    register::{Register, RegisterOp, RegisterRet},
    report::Violation,
};

/// Steps of the search through one history, about ten seconds.
pub const STEPS: u64 = 20_000_000;
/// Situations of one history that the search remembers, some hundred MiB.
pub const SITUATIONS: usize = 4_000_000;

/// Answers in the part of a history that is looked at first; each next one holds four times as many.
const FIRST_PART: usize = 256;

/// An object as one client alone would see it.
pub trait Model: fmt::Debug {
    /// What it holds.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What it is asked for.
    type Op: Clone + Ord + fmt::Debug;
    /// What it answers.
    type Ret: Clone + Ord + fmt::Debug;

    /// What it holds in the beginning.
    fn start(&self) -> Self::State;

    /// What it holds after an operation, and what it answers.
    fn step(&self, state: &Self::State, op: &Self::Op) -> (Self::State, Self::Ret);

    /// True if an operation that is answered so changes nothing, whatever the state. Saying false is
    /// never wrong, only slow.
    fn is_read(&self, op: &Self::Op, ret: &Self::Ret) -> bool;
}

/// One operation of one client.
#[derive(Debug)]
pub struct Operation<M: Model> {
    /// Who asked.
    pub client: u64,
    /// For what.
    pub op: M::Op,
    /// When it asked.
    pub begun: u64,
    /// When it was answered, and what; `None` if nobody knows whether it took effect.
    pub ended: Option<(u64, M::Ret)>,
}

impl<M: Model> Clone for Operation<M> {
    fn clone(&self) -> Self {
        let Self { client, op, begun, ended } = self;
        Self { client: *client, op: op.clone(), begun: *begun, ended: ended.clone() }
    }
}

/// Names an operation of one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(usize);

/// What clients did to one object. Moments are nanoseconds of any clock that all of them share.
#[derive(Debug)]
pub struct History<M: Model> {
    operations: Vec<Option<Operation<M>>>,
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        Self { operations: Vec::new() }
    }
}

impl<M: Model> History<M> {
    /// A client asks. As long as nothing else is said, the outcome is unknown.
    pub fn begun(&mut self, client: u64, op: M::Op, at: u64) -> OperationId {
        self.operations.push(Some(Operation { client, op, begun: at, ended: None }));
        OperationId(self.operations.len() - 1)
    }

    /// It is answered.
    pub fn ended(&mut self, id: OperationId, ret: M::Ret, at: u64) {
        if let Some(operation) = &mut self.operations[id.0] {
            operation.ended = Some((at, ret));
        }
    }

    /// It certainly did not take effect and never will.
    pub fn refused(&mut self, id: OperationId) {
        self.operations[id.0] = None;
    }

    /// An operation as a whole.
    pub fn push(&mut self, operation: Operation<M>) {
        self.operations.push(Some(operation));
    }

    /// What was asked, but for what was refused.
    pub fn operations(&self) -> impl Iterator<Item = &Operation<M>> {
        self.operations.iter().flatten()
    }
}

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Steps of one search.
    pub steps: u64,
    /// Situations that one search remembers.
    pub situations: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { steps: STEPS, situations: SITUATIONS }
    }
}

/// What a check cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Operations that were answered.
    pub answered: usize,
    /// Operations whose outcome nobody knows.
    pub unknown: usize,
    /// Steps of the search.
    pub steps: u64,
    /// Situations remembered at most.
    pub situations: usize,
}

impl Effort {
    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.steps += other.steps;
        self.situations = self.situations.max(other.situations);
    }
}

/// Why a history was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Complaint {
    /// No order explains it.
    #[error("{0}")]
    Violation(Box<Violation>),
    /// The bounds were too low to tell.
    #[error("undecided after {} steps and {} situations", .0.steps, .0.situations)]
    Undecided(Effort),
}

/// The complaint about the history of one key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("key {key:?}: {complaint}")]
pub struct KeyComplaint<K: fmt::Debug> {
    /// Which.
    pub key: K,
    /// What is wrong with it.
    pub complaint: Complaint,
}

/// Checks one history.
///
/// # Errors
/// It is not linearizable, or that could not be told.
pub fn check<M: Model>(
    model: &M,
    history: &History<M>,
    bounds: &Bounds,
) -> Result<Effort, Complaint> {
    let operations: Vec<_> = history.operations().cloned().collect();
    let answers = report::answers(&operations);
    let (mut length, mut steps) = (FIRST_PART, 0);
    // A violation is found in the part that holds it, not in all that follows from it.
    loop {
        let whole = length >= answers.len();
        let part = if whole { Vec::new() } else { report::cut(&operations, &answers[..length]) };
        let part = if whole { &operations } else { &part };
        let mut search = Search::new(model, part, bounds);
        let found = search.run();
        steps += search.effort().steps;
        let effort = Effort { steps, ..search.effort() };
        match found {
            Found::Order { .. } if whole => return Ok(effort),
            Found::Order { .. } => length *= 4,
            Found::Nothing => {
                let violation = report::explain(model, part, bounds);
                return Err(Complaint::Violation(Box::new(violation)));
            }
            Found::TooMuch => return Err(Complaint::Undecided(effort)),
        }
    }
}

/// Checks the history of each key; they do not depend on each other.
///
/// # Errors
/// The first that is not linearizable, or could not be told.
pub fn check_each<K: Ord + Clone + fmt::Debug, M: Model>(
    model: &M,
    histories: &BTreeMap<K, History<M>>,
    bounds: &Bounds,
) -> Result<Effort, KeyComplaint<K>> {
    let mut effort = Effort::default();
    for (key, history) in histories {
        let checked = check(model, history, bounds);
        effort.add(checked.map_err(|complaint| KeyComplaint { key: key.clone(), complaint })?);
    }
    Ok(effort)
}
