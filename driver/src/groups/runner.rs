//! Carries out the jobs of a group: the only code that calls a machine to change it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::Waker,
};

use bytes::Bytes;
use mosaik_proto::{
    NetworkId,
    groups::{Applying, Cursor, Index, Input},
    ids::GroupId,
    raft::{LogIndex, Term},
    streams::item,
};

use super::{
    cell::GroupCell,
    jobs::Job,
    machine::{ApplyContext, StateMachine},
    reads::Verdict,
    state_sync::StateSync,
};
use crate::datum::Datum;

/// A machine and how far it is.
#[derive(Debug)]
pub(crate) struct Hosted<M>(RwLock<State<M>>);

/// Behind the lock.
#[derive(Debug)]
pub(crate) struct State<M> {
    pub(crate) machine: M,
    pub(crate) applied: Cursor,
    /// Why it applies nothing more.
    pub(crate) failed: Option<Arc<str>>,
}

impl<M> Hosted<M> {
    pub(crate) const fn new(machine: M) -> Self {
        let applied = Cursor::new(Term(0), Index::ZERO);
        Self(RwLock::new(State { machine, applied, failed: None }))
    }

    /// Panics of machines are caught inside the lock, so it is poisoned by none.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State<M>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<M>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Runner`] without its type.
pub(crate) trait Run: Send {
    /// Carries out one job. Wakers that are to be woken are added to `wakers`.
    fn carry_out(&mut self, job: Job, cell: &GroupCell, wakers: &mut Vec<Waker>);
}

/// What the executor of a group owns.
pub(crate) struct Runner<M: StateMachine> {
    hosted: Arc<Hosted<M>>,
    sync: M::StateSync,
    fresh: Option<M>,
    /// Nothing was applied since the machine was new.
    untouched: bool,
}

impl<M: StateMachine> Runner<M> {
    pub(crate) const fn new(hosted: Arc<Hosted<M>>, sync: M::StateSync, fresh: Option<M>) -> Self {
        Self { hosted, sync, fresh, untouched: true }
    }

    fn apply(&mut self, run: &Applying, cell: &GroupCell) {
        let state = &mut *self.hosted.write();
        if state.failed.is_some() {
            return;
        }
        let last = Cursor::new(run.term, Index(run.first.0 + u64::from(run.count) - 1));
        if !run.void {
            self.untouched = false;
            let context = Context {
                before: Cell::new(state.applied),
                at: Cell::new(Cursor::new(run.term, run.first)),
                group: cell.id,
                network: cell.network,
            };
            let broken = RefCell::new(None);
            let machine = &mut state.machine;
            let applied = guarded(|| {
                let commands = Commands {
                    data: &run.data,
                    at: 0,
                    next: run.first,
                    context: &context,
                    broken: &broken,
                    command: PhantomData,
                };
                machine.apply_batch(commands, &context);
            });
            let why = applied.err().or_else(|| broken.take());
            if let Some(why) = why {
                let at = LogIndex(run.entry.0 + (context.index().0 - run.first.0));
                tracing::error!(group = %cell.id, ?at, %why, "the state machine failed");
                state.failed = Some(why.as_str().into());
                cell.fence(&why);
                cell.report(Input::MachineFailed { at, what: why });
                return;
            }
        }
        state.applied = last;
        cell.applied(last, run.through());
    }

    /// The history that the machine holds is lost.
    fn reset(&mut self, cell: &GroupCell) {
        let state = &mut *self.hosted.write();
        state.applied = Cursor::default();
        cell.reset();
        if self.untouched && state.failed.is_none() {
            return;
        }
        let Some(fresh) = self.fresh.take() else {
            let why = "its history was left for another, and it cannot begin anew";
            state.failed.get_or_insert_with(|| why.into());
            return cell.fence(why);
        };
        let old = std::mem::replace(&mut state.machine, fresh);
        let next = guarded(|| {
            drop(old);
            state.machine.fresh()
        });
        self.fresh = next.ok().flatten();
        self.untouched = true;
        state.failed = None;
        cell.unfence();
    }

    fn freeze(&mut self) -> Result<Bytes, String> {
        let state = self.hosted.read();
        if let Some(why) = &state.failed {
            return Err(why.to_string());
        }
        guarded(|| self.sync.freeze(&state.machine)).and_then(|frozen| frozen)
    }
}

impl<M: StateMachine> Run for Runner<M> {
    fn carry_out(&mut self, job: Job, cell: &GroupCell, wakers: &mut Vec<Waker>) {
        match job {
            Job::Apply(run) => self.apply(&run, cell),
            Job::Outcome { first, count, outcome } => {
                let fenced = self.hosted.read().failed.is_some();
                cell.ended(first, count, outcome, fenced, wakers);
            }
            Job::ReadReady(read) => cell.reads.answer(read, Verdict::Ready),
            Job::ReadFailed(read) => cell.reads.answer(read, Verdict::Failed),
            Job::Freeze { snapshot, head } => {
                let last = snapshot.last.index;
                match self.freeze() {
                    Ok(state) => cell.frozen(*snapshot, &head, state),
                    Err(why) => {
                        tracing::warn!(group = %cell.id, %why, "the machine cannot be frozen");
                        cell.report(Input::FreezeFailed(last));
                    }
                }
            }
            Job::Reset => self.reset(cell),
            Job::End => cell.end(),
        }
    }
}

/// Runs code of the application; a panic is told.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("(no text)"))
}

/// The commands of a run, decoded one by one.
struct Commands<'a, C> {
    data: &'a [u8],
    at: usize,
    next: Index,
    context: &'a Context,
    /// Why there are no more.
    broken: &'a RefCell<Option<String>>,
    command: PhantomData<fn() -> C>,
}

impl<C: Datum> Iterator for Commands<'_, C> {
    type Item = C;

    fn next(&mut self) -> Option<C> {
        if self.at == self.data.len() {
            return None;
        }
        self.context.step(self.next);
        self.next = self.next.next();
        let decoded = item::locate(self.data, self.at).map_err(|error| error.to_string()).and_then(
            |(start, length)| {
                self.at = start + length;
                let bytes = &self.data[start..self.at];
                C::decode(bytes).map_err(|error| format!("a command does not decode: {error}"))
            },
        );
        match decoded {
            Ok(command) => Some(command),
            Err(why) => {
                self.at = self.data.len();
                *self.broken.borrow_mut() = Some(why);
                None
            }
        }
    }
}

/// Where a machine is while it applies.
struct Context {
    before: Cell<Cursor>,
    at: Cell<Cursor>,
    group: GroupId,
    network: NetworkId,
}

impl Context {
    fn step(&self, index: Index) {
        let at = self.at.get();
        if index > at.index() {
            self.before.set(at);
            self.at.set(Cursor::new(at.term(), index));
        }
    }
}

impl ApplyContext for Context {
    fn index(&self) -> Index {
        self.at.get().index()
    }

    fn committed(&self) -> Cursor {
        self.before.get()
    }

    fn log_position(&self) -> Cursor {
        self.at.get()
    }

    fn current_term(&self) -> Term {
        self.at.get().term()
    }

    fn group_id(&self) -> &GroupId {
        &self.group
    }

    fn network_id(&self) -> &NetworkId {
        &self.network
    }
}
