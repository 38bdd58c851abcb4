//! The search for an order.

use std::collections::{BTreeMap, HashSet};

use super::{Bounds, Effort, Model, Operation};

/// How a search ended.
#[derive(Debug)]
pub(super) enum Found<S> {
    /// With an order of all that was answered, and some that was not: places in the slice that was
    /// given. And what the object holds then.
    Order { order: Vec<usize>, state: S },
    /// There is none.
    Nothing,
    /// At its bounds.
    TooMuch,
}

/// Where the list of events begins, and ends.
const HEAD: usize = 0;

/// The beginning or the answer of an answered operation, in a list of those that are not placed yet.
#[derive(Debug)]
struct Event {
    operation: usize,
    at: u64,
    is_answer: bool,
    /// It changes nothing, wherever it stands.
    is_read: bool,
    /// The other event of the operation.
    mate: usize,
    /// Equal operations with equal answers have the same number.
    kind: usize,
    before: usize,
    behind: usize,
}

/// Unknown operations that ask for the same thing, in the order in which they began.
#[derive(Debug)]
struct Class {
    operations: Vec<usize>,
    /// So many of them are placed: the first ones, since they can stand wherever later ones can.
    placed: usize,
}

/// What was appended to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The operation of this event.
    Answered(usize),
    /// The next of this class.
    Unknown(usize),
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    Anything,
    /// What comes behind a choice that led nowhere.
    Behind(Choice),
}

/// A choice and what was before it.
#[derive(Debug)]
struct Frame<S> {
    choice: Choice,
    state: S,
    set: u128,
    /// There was no need to try anything else.
    only: bool,
}

#[derive(Debug)]
pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M>],
    bounds: Bounds,
    events: Vec<Event>,
    /// By kind, the one that must be placed first, as of the step that is named.
    first_of: Vec<(u64, usize)>,
    classes: Vec<Class>,
    /// Answered operations without a place.
    left: usize,
    state: M::State,
    /// The sum of the [marks](mark) of all that is placed.
    set: u128,
    frames: Vec<Frame<M::State>>,
    seen: HashSet<(u128, M::State)>,
    effort: Effort,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(model: &'a M, operations: &'a [Operation<M>], bounds: &Bounds) -> Self {
        let (events, answered, kinds) = list(model, operations);
        let mut classes: BTreeMap<&M::Op, Vec<usize>> = BTreeMap::new();
        for (at, operation) in operations.iter().enumerate() {
            if operation.ended.is_none() {
                classes.entry(&operation.op).or_default().push(at);
            }
        }
        let class = |mut operations_of: Vec<usize>| {
            operations_of.sort_by_key(|at| operations[*at].begun);
            Class { operations: operations_of, placed: 0 }
        };
        let unknown = operations.len() - answered;
        Self {
            model,
            operations,
            bounds: *bounds,
            events,
            first_of: vec![(u64::MAX, HEAD); kinds],
            classes: classes.into_values().map(class).collect(),
            left: answered,
            state: model.start(),
            set: 0,
            frames: Vec::new(),
            seen: HashSet::new(),
            effort: Effort { answered, unknown, ..Effort::default() },
        }
    }

    pub(super) const fn effort(&self) -> Effort {
        self.effort
    }

    pub(super) fn run(&mut self) -> Found<M::State> {
        let mut cursor = Cursor::Anything;
        while self.left > 0 {
            if self.effort.steps > self.bounds.steps || self.seen.len() > self.bounds.situations {
                return Found::TooMuch;
            }
            cursor = if self.advance(cursor) {
                Cursor::Anything
            } else {
                match self.back() {
                    Some(choice) => Cursor::Behind(choice),
                    None => return Found::Nothing,
                }
            };
            self.effort.situations = self.seen.len();
        }
        Found::Order { order: self.order(), state: self.state.clone() }
    }

    /// What is placed, in its order.
    fn order(&self) -> Vec<usize> {
        let mut placed = vec![0; self.classes.len()];
        let place = |frame: &Frame<M::State>| match frame.choice {
            Choice::Answered(event) => self.events[event].operation,
            Choice::Unknown(class) => {
                placed[class] += 1;
                self.classes[class].operations[placed[class] - 1]
            }
        };
        self.frames.iter().map(place).collect()
    }

    /// Places one more operation; false if there is none that was not tried.
    fn advance(&mut self, cursor: Cursor) -> bool {
        let (mut at, mut class) = match cursor {
            Cursor::Anything => (self.events[HEAD].behind, 0),
            Cursor::Behind(Choice::Answered(event)) => (self.events[event].behind, 0),
            Cursor::Behind(Choice::Unknown(class)) => (HEAD, class + 1),
        };
        if matches!(cursor, Cursor::Anything)
            && let Some(event) = self.fitting_read()
        {
            let state = self.state.clone();
            return self.place(Choice::Answered(event), state, true);
        }
        let survey = self.survey();
        while at != HEAD && !self.events[at].is_answer {
            let Event { operation, kind, .. } = self.events[at];
            if self.first_of[kind] == (survey, at)
                && let Some(state) = self.step(operation)
                && !self.is_hidden(operation, &state)
                && self.place(Choice::Answered(at), state, false)
            {
                return true;
            }
            at = self.events[at].behind;
        }
        // Something is left, so there is an answer; what began behind it must come behind it.
        let until = self.first_answer();
        while let Some(Class { operations, placed }) = self.classes.get(class) {
            if let Some(operation) = operations.get(*placed).copied()
                && self.operations[operation].begun <= until
                && let Some(state) = self.step(operation)
                && state != self.state
                && !self.is_hidden(operation, &state)
                && self.place(Choice::Unknown(class), state, false)
            {
                return true;
            }
            class += 1;
        }
        false
    }

    /// A read that may come next and fits.
    fn fitting_read(&mut self) -> Option<usize> {
        let mut at = self.events[HEAD].behind;
        while at != HEAD && !self.events[at].is_answer {
            let Event { operation, is_read, behind, .. } = self.events[at];
            if is_read && self.step(operation).is_some() {
                return Some(at);
            }
            at = behind;
        }
        None
    }

    /// Of equal operations that may come next, the one that is answered first can stand wherever the
    /// others can, and nobody waits longer for it: only that one is tried.
    fn survey(&mut self) -> u64 {
        self.effort.steps += 1;
        let now = self.effort.steps;
        let mut at = self.events[HEAD].behind;
        while at != HEAD && !self.events[at].is_answer {
            let Event { kind, mate, behind, .. } = self.events[at];
            let (survey, first) = self.first_of[kind];
            if survey != now || mate < self.events[first].mate {
                self.first_of[kind] = (now, at);
            }
            at = behind;
        }
        now
    }

    /// What the object holds after an operation, if its answer fits.
    fn step(&mut self, operation: usize) -> Option<M::State> {
        self.effort.steps += 1;
        self.step_from(&self.state, operation)
    }

    fn step_from(&self, state: &M::State, operation: usize) -> Option<M::State> {
        let Operation { op, ended, .. } = &self.operations[operation];
        let (state, ret) = self.model.step(state, op);
        ended.as_ref().is_none_or(|(_, ended)| *ended == ret).then_some(state)
    }

    /// True if the last choice was unknown, and leaving it out would lead to this state as well.
    fn is_hidden(&self, operation: usize, state: &M::State) -> bool {
        let last = self.frames.last().filter(|last| matches!(last.choice, Choice::Unknown(_)));
        last.and_then(|last| self.step_from(&last.state, operation)).as_ref() == Some(state)
    }

    fn first_answer(&self) -> u64 {
        let mut at = self.events[HEAD].behind;
        while !self.events[at].is_answer {
            at = self.events[at].behind;
        }
        self.events[at].at
    }

    /// Appends a choice to the order, unless that leads where the search was before.
    fn place(&mut self, choice: Choice, state: M::State, only: bool) -> bool {
        let operation = match choice {
            Choice::Answered(event) => self.events[event].operation,
            Choice::Unknown(class) => {
                let Class { operations, placed } = &self.classes[class];
                operations[*placed]
            }
        };
        let set = self.set.wrapping_add(mark(operation));
        if !self.seen.insert((set, state.clone())) {
            return false;
        }
        match choice {
            Choice::Answered(event) => {
                self.left -= 1;
                self.unlink(event);
                self.unlink(self.events[event].mate);
            }
            Choice::Unknown(class) => self.classes[class].placed += 1,
        }
        let state = std::mem::replace(&mut self.state, state);
        self.frames.push(Frame { choice, state, set: self.set, only });
        self.set = set;
        true
    }

    /// Takes back the last choice to which there was another; `None` if there is none.
    fn back(&mut self) -> Option<Choice> {
        loop {
            let Frame { choice, state, set, only } = self.frames.pop()?;
            match choice {
                Choice::Answered(event) => {
                    self.left += 1;
                    self.link(self.events[event].mate);
                    self.link(event);
                }
                Choice::Unknown(class) => self.classes[class].placed -= 1,
            }
            (self.state, self.set) = (state, set);
            if !only {
                return Some(choice);
            }
        }
    }

    fn unlink(&mut self, event: usize) {
        let Event { before, behind, .. } = self.events[event];
        self.events[before].behind = behind;
        self.events[behind].before = before;
    }

    /// Undoes [`unlink`](Self::unlink); the last one first.
    fn link(&mut self, event: usize) {
        let Event { before, behind, .. } = self.events[event];
        self.events[before].behind = event;
        self.events[behind].before = event;
    }
}

/// The events of the answered operations in their order, how many such operations there are, and of
/// how many kinds. What happens at the same moment may be in any order: beginnings come first.
fn list<M: Model>(model: &M, operations: &[Operation<M>]) -> (Vec<Event>, usize, usize) {
    let mut order = Vec::new();
    let mut kinds: BTreeMap<(&M::Op, &M::Ret), usize> = BTreeMap::new();
    for (at, Operation { op, begun, ended, .. }) in operations.iter().enumerate() {
        if let Some((ended, ret)) = ended {
            let next = kinds.len();
            let kind = *kinds.entry((op, ret)).or_insert(next);
            let is_read = model.is_read(op, ret);
            order.push((*begun, false, at, kind, is_read));
            order.push(((*ended).max(*begun), true, at, kind, is_read));
        }
    }
    order.sort_unstable();
    let mut events = vec![Event {
        operation: 0,
        at: 0,
        is_answer: false,
        is_read: false,
        mate: HEAD,
        kind: 0,
        before: HEAD,
        behind: HEAD,
    }];
    let mut begun = vec![HEAD; operations.len()];
    for (at, is_answer, operation, kind, is_read) in order.iter().copied() {
        let here = events.len();
        let mate = std::mem::replace(&mut begun[operation], here);
        if is_answer {
            events[mate].mate = here;
        }
        let before = here - 1;
        events.push(Event { operation, at, is_answer, is_read, mate, kind, before, behind: HEAD });
        events[before].behind = here;
    }
    events[HEAD].before = events.len() - 1;
    (events, order.len() / 2, kinds.len())
}

/// 128 bits that stand for an operation.
fn mark(operation: usize) -> u128 {
    let half = |salt: u64| mix(mix(operation as u64 ^ salt).wrapping_add(salt));
    (half(0x9e37_79b9_7f4a_7c15) as u128) << 64 | half(0xc2b2_ae3d_27d4_eb4f) as u128
}

/// The last steps of SplitMix64.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
