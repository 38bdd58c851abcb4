//! Carries out the jobs of a group: the only code that calls a machine to change it.

use std::{
    any::Any,
    cell::Cell,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread,
};

use bytes::Bytes;
use mosaik_proto::{
    Digest, NetworkId,
    groups::{Applying, Cursor, Index, Input, InstallFault},
    ids::GroupId,
    limits,
    raft::{LogIndex, Snapshot, Term},
    streams::item,
};

use super::{
    cell::GroupCell,
    jobs::Job,
    machine::{ApplyContext, StateMachine},
    reads::Verdict,
    slice::Slice,
    snapshots::{self, Whole},
    state_sync::StateSync,
};
use crate::datum::Datum;

/// A machine and how far it is.
#[derive(Debug)]
pub(crate) struct Hosted<M> {
    state: RwLock<State<M>>,
    /// Who is about to read it.
    readers: AtomicUsize,
}

/// How often the executor makes way for those who are about to read, before it goes on.
const YIELDS: usize = 256;

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
        let state = RwLock::new(State { machine, applied, failed: None });
        Self { state, readers: AtomicUsize::new(0) }
    }

    /// Panics of machines are caught inside the lock, so it is poisoned by none.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State<M>> {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        self.readers.fetch_sub(1, Ordering::Relaxed);
        state
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<M>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those in who waited meanwhile: a lock that is taken again at once is never theirs.
    fn make_way(&self) {
        for _ in 0..YIELDS {
            if self.readers.load(Ordering::Relaxed) == 0 {
                return;
            }
            thread::yield_now();
        }
    }
}

/// A [`Runner`] without its type.
pub(crate) trait Run: Send {
    /// Carries out one job. Wakers that are to be woken are added to `wakers`. What took too long is
    /// broken off: the rest of it comes back, to be carried out next, when others had their turn.
    fn carry_out(&mut self, job: Job, cell: &GroupCell, wakers: &mut Vec<Waker>) -> Option<Job>;
}

/// What the executor of a group owns.
pub(crate) struct Runner<M: StateMachine> {
    hosted: Arc<Hosted<M>>,
    sync: M::StateSync,
    fresh: Option<M>,
    /// Nothing was applied since the machine was new.
    untouched: bool,
    /// A machine that was restored, and waits for the store.
    restored: Option<Restored<M>>,
    slice: Slice,
}

/// A machine of a snapshot.
struct Restored<M> {
    machine: M,
    last: LogIndex,
    at: Cursor,
}

impl<M: StateMachine> Runner<M> {
    pub(crate) const fn new(hosted: Arc<Hosted<M>>, sync: M::StateSync, fresh: Option<M>) -> Self {
        let slice = Slice::new();
        Self { hosted, sync, fresh, untouched: true, restored: None, slice }
    }

    /// Has the machine apply a run, or as much of it as a slice of time holds: then the rest comes back.
    fn apply(&mut self, run: Applying, cell: &GroupCell) -> Option<Applying> {
        let state = &mut *self.hosted.write();
        if state.failed.is_some() {
            return None;
        }
        if run.void {
            state.applied = Cursor::new(run.term, Index(run.first.0 + u64::from(run.count) - 1));
            // Of a void run nobody knows here how large it was: that counts as much.
            cell.applied(state.applied, run.through(), limits::APPLY_BYTES);
            return None;
        }
        self.untouched = false;
        let context = Context {
            before: Cell::new(state.applied),
            at: Cell::new(Cursor::new(run.term, run.first)),
            group: cell.id,
            network: cell.network,
        };
        self.slice.begin(cell.now());
        let mut commands = Commands {
            data: &run.data,
            at: 0,
            next: run.first,
            over: false,
            context: &context,
            slice: &mut self.slice,
            cell,
            broken: None,
            command: PhantomData,
        };
        let machine = &mut state.machine;
        let applied = guarded(|| machine.apply_batch(&mut commands, &context));
        let (at, broken) = (commands.at, commands.broken.take());
        let idle = || (at == 0).then(|| "it took no command of a batch".to_owned());
        if let Some(why) = applied.err().or(broken).or_else(idle) {
            let at = LogIndex(run.entry.0 + (context.index().0 - run.first.0));
            tracing::error!(group = %cell.id, ?at, %why, "the state machine failed");
            state.failed = Some(why.as_str().into());
            cell.fence(&why);
            cell.report(Input::MachineFailed { at, what: why });
            return None;
        }
        let rest = rest_of(&run, at, context.index());
        let left = rest.as_ref().map_or(0, |rest| u64::from(rest.count));
        let last = run.first.0 + u64::from(run.count) - 1 - left;
        let through = LogIndex(run.through().0 - left);
        let bytes = run.cost() - rest.as_ref().map_or(0, Applying::cost);
        state.applied = Cursor::new(run.term, Index(last));
        cell.applied(state.applied, through, bytes);
        rest
    }

    /// The history that the machine holds is lost.
    fn reset(&mut self, cell: &GroupCell) {
        self.restored = None;
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

    /// Takes an image of the machine, of which another thread makes bytes.
    fn freeze(&self, epoch: u64, snapshot: Snapshot, head: &Bytes, cell: &GroupCell) {
        let last = snapshot.last.index;
        let image = {
            let state = self.hosted.read();
            match &state.failed {
                Some(why) => Err(why.to_string()),
                None => guarded(|| self.sync.freeze(&state.machine)).and_then(|image| image),
            }
        };
        let refuse = move |cell: &GroupCell, why: String| {
            tracing::warn!(group = %cell.id, %why, "the machine cannot be frozen");
            cell.report(Input::FreezeFailed(last));
        };
        let image = match image {
            Ok(image) => image,
            Err(why) => return refuse(cell, why),
        };
        let (mut bytes, weak) = (head.to_vec(), cell.handle());
        let write = move || {
            let Some(cell) = weak.upgrade() else { return };
            match guarded(|| image.write(&mut bytes)) {
                Ok(()) => {
                    let digest = snapshots::digest_of(&bytes);
                    let whole = Whole { snapshot, bytes: bytes.into(), digest };
                    cell.snapshots.frozen(epoch, whole, &cell);
                }
                Err(why) => refuse(&cell, why),
            }
        };
        if let Err(error) = thread::Builder::new().name("mosaik-freeze".into()).spawn(write) {
            tracing::warn!(%error, "no thread to freeze a machine on");
            cell.report(Input::FreezeFailed(last));
        }
    }

    /// A machine with the state of a snapshot.
    fn restore(&self, snapshot: &Snapshot, bytes: &Bytes) -> Result<Restored<M>, String> {
        let part = snapshots::machine_part(bytes)?;
        let state = self.hosted.read();
        let machine = guarded(|| self.sync.restore(&state.machine, &part)).and_then(|it| it)?;
        let at = Cursor::new(snapshot.last.term, Index(snapshot.commands));
        Ok(Restored { machine, last: snapshot.last.index, at })
    }

    /// The restored machine takes the place of the present one.
    fn replace(&mut self, restored: Restored<M>, cell: &GroupCell) {
        let Restored { machine, last, at } = restored;
        let old = {
            let state = &mut *self.hosted.write();
            state.applied = at;
            std::mem::replace(&mut state.machine, machine)
        };
        self.untouched = false;
        // It may panic.
        let _ = guarded(|| drop(old));
        cell.applied(at, last, 0);
    }

    fn install(
        &mut self,
        epoch: u64,
        snapshot: &Snapshot,
        (bytes, digest): (u64, Digest),
        cell: &GroupCell,
    ) {
        let last = snapshot.last.index;
        let fetched = cell.snapshots.fetched(epoch);
        let restored = fetched
            .ok_or_else(|| InstallFault::Refused("nothing was fetched".into()))
            .and_then(|fetched| {
                snapshots::compare(&fetched, bytes, digest)?;
                let restored = self.restore(snapshot, &fetched).map_err(InstallFault::Refused)?;
                Ok((restored, fetched))
            });
        match restored {
            Ok((restored, fetched)) => {
                self.restored = Some(restored);
                if cell.snapshots.install(epoch, last, fetched, cell) {
                    self.installed(Ok(()), cell);
                }
            }
            Err(why) => cell.report(Input::InstallFailed { last, why }),
        }
    }

    /// The store has the snapshot as well, or refuses it.
    fn installed(&mut self, staged: Result<(), String>, cell: &GroupCell) {
        let Some(restored) = self.restored.take() else { return };
        let last = restored.last;
        cell.report(match staged {
            Ok(()) => {
                self.replace(restored, cell);
                Input::Installed(last)
            }
            Err(why) => Input::InstallFailed { last, why: InstallFault::Refused(why) },
        });
    }

    fn digest(&self, at: LogIndex, cell: &GroupCell) {
        let digest = {
            let state = self.hosted.read();
            let digest = || guarded(|| state.machine.digest()).ok().flatten();
            state.failed.is_none().then(digest).flatten()
        };
        if let Some(digest) = digest {
            cell.report(Input::StateDigest { at, digest });
        }
    }
}

impl<M: StateMachine> Run for Runner<M> {
    fn carry_out(&mut self, job: Job, cell: &GroupCell, wakers: &mut Vec<Waker>) -> Option<Job> {
        match job {
            Job::Apply(run) => {
                let rest = self.apply(run, cell);
                self.hosted.make_way();
                return rest.map(Job::Apply);
            }
            Job::Outcome { first, count, outcome } => {
                let fenced = self.hosted.read().failed.is_some();
                cell.ended(first, count, outcome, fenced, wakers);
            }
            Job::ReadReady(read) => cell.reads.answer(read, Verdict::Ready),
            Job::ReadFailed(read) => cell.reads.answer(read, Verdict::Failed),
            Job::Freeze { epoch, snapshot, head } => self.freeze(epoch, *snapshot, &head, cell),
            Job::Install { epoch, snapshot, bytes, digest } => {
                self.install(epoch, &snapshot, (bytes, digest), cell);
            }
            Job::Staged(staged) => self.installed(staged, cell),
            Job::Restore(loaded) => {
                let (loaded, whole) = *loaded;
                match self.restore(&whole.snapshot, &whole.bytes) {
                    Ok(restored) => {
                        self.replace(restored, cell);
                        snapshots::report_loaded(loaded, Some(&whole), cell);
                    }
                    Err(why) => snapshots::damaged(&why, cell),
                }
            }
            Job::Digest(at) => self.digest(at, cell),
            Job::ReadChunk { read, last, chunk } => {
                let data = cell.snapshots.chunk(last, chunk);
                cell.report(Input::Chunk { read, data });
            }
            Job::Reset => self.reset(cell),
            Job::End => cell.end(),
        }
        None
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

/// What is left of a run whose data was taken up to `at`, and whose last command taken is `last`.
fn rest_of(run: &Applying, at: usize, last: Index) -> Option<Applying> {
    let taken = last.0 + 1 - run.first.0;
    (at < run.data.len()).then(|| Applying {
        entry: LogIndex(run.entry.0 + taken),
        first: last.next(),
        count: run.count - taken as u32,
        data: run.data.slice(at..),
        ..*run
    })
}

/// The commands of a run, decoded one by one, as long as the slice lasts.
struct Commands<'a, C> {
    data: &'a [u8],
    at: usize,
    next: Index,
    over: bool,
    context: &'a Context,
    slice: &'a mut Slice,
    cell: &'a GroupCell,
    /// Why there are no more.
    broken: Option<String>,
    command: PhantomData<fn() -> C>,
}

impl<C: Datum> Iterator for Commands<'_, C> {
    type Item = C;

    fn next(&mut self) -> Option<C> {
        self.over |= self.at == self.data.len();
        // At least one in each slice.
        self.over |= self.at > 0 && self.slice.is_over(|| self.cell.now());
        if self.over {
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
                self.over = true;
                self.broken = Some(why);
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
