//! One group of this node, as its handles, its executor, its store and the loop share it.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use mosaik_proto::{
    NetworkId,
    groups::{
        Blocked, Cursor, GroupConfig, Index, Input, Notice, OperatorError, Outcome, Output,
        Rejection, Status,
    },
    ids::{GroupId, RequestId},
    limits,
    raft::{LogIndex, Role, Term, Ticket, Write},
    time::Instant,
};

use super::{
    calls::{Batch, Calls, Word},
    jobs::{Job, Jobs},
    reads::Reads,
    runner::Run,
    settings::GroupConfig as Settings,
    snapshots::Snapshots,
    store::Store,
};
use crate::{
    handle::shared::{Clock, Shared},
    metrics::groups::GroupMetrics,
    storage::{self, LogStore},
    sync::{
        broadcast::Broadcast,
        cell::{Watched, lock},
        inbox::Queued,
    },
    task::inbox::{Inbox, Source},
};

/// What handles see besides positions.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) status: Arc<Status>,
    /// What the machine has to apply first: it is not online before that.
    pub(crate) awaits: Option<Index>,
    /// Why the machine serves no reads.
    pub(crate) fenced: Option<Arc<str>>,
    /// The group was left, or the node ended.
    pub(crate) closed: bool,
}

/// The handles of a group, by what they may.
#[derive(Debug, Default)]
struct Handles {
    writers: usize,
    readers: usize,
    /// What the core was told.
    may_vote: bool,
    left: bool,
}

/// Applied bytes that are worth waking the loop: the core only wants to know when there is room for
/// more.
const APPLIED_WORTH: usize = limits::APPLY_BYTES / 64;

/// What waits for the loop, besides commands and reads.
#[derive(Debug, Default)]
struct Mail {
    /// What the machine applied, if the core was not told yet, and so many bytes.
    applied: (LogIndex, usize),
    /// Reports of store and executor.
    reports: VecDeque<Input>,
    /// Bounded by [`limits::REQUESTS`], through `answers`.
    requests: VecDeque<Input>,
}

/// What became of a request.
pub(crate) type Answer = Arc<Watched<Option<Result<(), OperatorError>>>>;

#[derive(Debug, Default)]
struct Requests {
    last: u64,
    waiting: BTreeMap<RequestId, Answer>,
}

/// What a group is started with.
pub(crate) struct Start {
    pub(crate) config: GroupConfig,
    pub(crate) settings: Settings,
    pub(crate) hosted: Arc<dyn Any + Send + Sync>,
    pub(crate) runner: Box<dyn Run>,
    pub(crate) store: Option<Box<dyn LogStore>>,
}

/// See the module's documentation.
pub(crate) struct GroupCell {
    this: Weak<Self>,
    pub(crate) id: GroupId,
    pub(crate) network: NetworkId,
    pub(crate) settings: Settings,
    /// The machine: a [`Hosted`](super::runner::Hosted) of its type.
    pub(crate) hosted: Arc<dyn Any + Send + Sync>,
    pub(crate) calls: Calls,
    pub(crate) reads: Reads,
    pub(crate) view: Watched<View>,
    /// What the machine applied.
    pub(crate) applied: Watched<Cursor>,
    /// The end of the log.
    pub(crate) log: Watched<Cursor>,
    pub(crate) notices: Broadcast<Notice>,
    pub(crate) metrics: GroupMetrics,
    pub(crate) store: Arc<Store>,
    pub(crate) snapshots: Snapshots,
    config: GroupConfig,
    clock: Clock,
    inbox: Arc<Inbox>,
    queued: Queued,
    jobs: Jobs,
    /// Until the loop starts them.
    runner: Mutex<Option<Box<dyn Run>>>,
    log_store: Mutex<Option<Box<dyn LogStore>>>,
    mail: Mutex<Mail>,
    requests: Mutex<Requests>,
    handles: Mutex<Handles>,
}

impl GroupCell {
    pub(crate) fn new(start: Start, shared: &Shared) -> Arc<Self> {
        let Start { config, settings, hosted, runner, store } = start;
        let id = config.id;
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            id,
            network: shared.network,
            settings,
            hosted,
            calls: Calls::default(),
            reads: Reads::default(),
            view: Watched::new(View::new(&config)),
            applied: Watched::default(),
            log: Watched::default(),
            notices: Broadcast::new(limits::GROUP_NOTICES),
            metrics: shared.metrics.group(&id),
            store: Arc::default(),
            snapshots: Snapshots::default(),
            config,
            clock: shared.clock.clone(),
            inbox: Arc::clone(&shared.inbox),
            queued: Queued::default(),
            jobs: Jobs::default(),
            runner: Mutex::new(Some(runner)),
            log_store: Mutex::new(store),
            mail: Mutex::default(),
            requests: Mutex::default(),
            handles: Mutex::default(),
        })
    }

    // --- the loop's side -------------------------------------------------------------------

    /// The next thing to tell the core; call until there is nothing.
    pub(crate) fn take(&self, now: Instant) -> Option<Input> {
        self.queued.lower();
        let mail = {
            let mail = &mut *lock(&self.mail);
            let next = mail.applied().or_else(|| mail.reports.pop_front());
            let next = next.or_else(|| self.can_vote());
            next.or_else(|| mail.requests.pop_front())
        };
        if mail.is_some() {
            return mail;
        }
        if let Some(read) = self.reads.take() {
            return Some(Input::Read(read));
        }
        if let Some(Batch { first, count, data }) = self.calls.take(now) {
            self.metrics.taken(first, count, self.clock.now().mono);
            return Some(Input::Execute { first, count, data });
        }
        let handles = &mut *lock(&self.handles);
        let leaves = handles.all() == 0 && !handles.left && !self.calls.has_waiting();
        leaves.then(|| {
            handles.left = true;
            Input::Leave
        })
    }

    /// The loop has looked and will not take yet: the next announcement counts again.
    pub(crate) fn defer(&self) {
        self.queued.lower();
    }

    /// True if something waits besides commands and reads.
    pub(crate) fn has_mail(&self) -> bool {
        let mail = lock(&self.mail);
        mail.is_worth() || !mail.reports.is_empty() || !mail.requests.is_empty()
    }

    /// True if the group was left.
    pub(crate) fn is_over(&self) -> bool {
        self.view.read(|view| view.closed)
    }

    fn can_vote(&self) -> Option<Input> {
        let handles = &mut *lock(&self.handles);
        let may = handles.writers > 0;
        // Who has no handles leaves as what it was.
        let changed = may != handles.may_vote && handles.all() > 0;
        changed.then(|| {
            handles.may_vote = may;
            Input::CanVote(may)
        })
    }

    /// Starts the store, and gives the first input of the group.
    pub(crate) fn open(&self) -> Input {
        let mut config = self.config.clone();
        {
            let handles = &mut *lock(&self.handles);
            config.can_vote = handles.writers > 0;
            handles.may_vote = config.can_vote;
        }
        if let Some(store) = lock(&self.log_store).take() {
            self.store.start(store, Weak::clone(&self.this), self);
        }
        Input::Join(Box::new(config))
    }

    /// What carries out the jobs; `None` if it runs already.
    pub(crate) fn executor(self: &Arc<Self>) -> Option<Executor> {
        let runner = lock(&self.runner).take()?;
        Some(Executor { cell: Arc::clone(self), runner, jobs: VecDeque::new(), wakers: Vec::new() })
    }

    /// Carries out what the core asks for. True if the group is over.
    pub(crate) fn output(&self, output: Output) -> bool {
        match output {
            Output::Persist { ticket, write } => self.persist(ticket, *write),
            Output::RememberBoot { seat, boot } => self.store.remember_boot(seat, boot, self),
            Output::Wipe => {
                self.snapshots.reset();
                self.store.wipe(self);
            }
            Output::Apply(run) => self.jobs.push(Job::Apply(run)),
            Output::Outcome { first, count, outcome } => {
                self.jobs.push(Job::Outcome { first, count, outcome });
            }
            Output::ReadReady(read) => self.jobs.push(Job::ReadReady(read)),
            Output::ReadFailed(read) => self.jobs.push(Job::ReadFailed(read)),
            Output::Freeze { snapshot, head } => {
                let epoch = self.snapshots.epoch();
                self.job(Job::Freeze { epoch, snapshot, head });
            }
            Output::Install { snapshot, head: _, bytes, digest } => {
                let epoch = self.snapshots.epoch();
                self.job(Job::Install { epoch, snapshot, bytes, digest });
            }
            Output::Reset => {
                self.snapshots.reset();
                self.jobs.push(Job::Reset);
            }
            Output::TakeDigest(at) => self.job(Job::Digest(at)),
            Output::Compact(last) => self.snapshots.compact(last, self),
            Output::FetchBegin { snapshot, bytes: _ } => {
                self.snapshots.fetch_begin(*snapshot, self);
            }
            Output::FetchChunk(chunk) => self.snapshots.fetch_chunk(chunk, self),
            Output::FetchCancel => self.snapshots.fetch_cancel(),
            Output::ReadChunk { read, last, chunk } => {
                self.job(Job::ReadChunk { read, last, chunk });
            }
            Output::Taken { first, count, index } => {
                let mut wakers = Vec::new();
                self.calls.taken(first, count, index, &mut wakers);
                wakers.into_iter().for_each(Waker::wake);
            }
            Output::Window { commands, bytes } => {
                if self.calls.open_window(commands, bytes) {
                    self.announce();
                }
            }
            Output::Reply { request, result } => self.answer(request, result),
            Output::Status(status) => self.show(*status),
            Output::LogPosition(at) => self.log.change(|log| *log = at),
            Output::Notice(notice) => {
                tracing::warn!(group = %self.id, ?notice, "a group has something to tell");
                self.notices.send(notice);
            }
            Output::Closed => {
                self.jobs.push(Job::End);
                return true;
            }
        }
        false
    }

    fn persist(&self, ticket: Ticket, write: Write) {
        let begins = write.reset.as_ref().is_some_and(|base| base.last.index > LogIndex(0));
        self.store.write(ticket, write, self);
        if begins {
            // The log begins with another snapshot from now on.
            self.store.submit(storage::Task::OpenSnapshot, self);
        }
    }

    fn show(&self, status: Status) {
        self.metrics.status(&status);
        let log = status.log;
        self.log.change_if(|known| std::mem::replace(known, log) != log);
        let applied = self.applied.read(|at| at.index());
        self.view.change(|view| {
            // Who waits until the group is online finds what was in force then.
            if status.online && !view.status.online && applied < status.committed {
                view.awaits = Some(status.committed);
            }
            view.status = Arc::new(status);
        });
        // The executor may have been faster.
        self.note_applied(self.applied.read(|at| at.index()));
    }

    fn note_applied(&self, index: Index) {
        self.view.change_if(|view| view.awaits.take_if(|awaited| *awaited <= index).is_some());
    }

    /// The node has ended: everything resolves, after what is being carried out.
    pub(crate) fn shut(&self) {
        let started = lock(&self.runner).take().is_none();
        if started {
            self.jobs.push(Job::End);
        } else {
            self.end();
        }
    }

    // --- the executor's and the store's side -----------------------------------------------

    /// Something for the core. Of writes each is reported: Raft counts one when all before it were.
    pub(crate) fn report(&self, input: Input) {
        lock(&self.mail).reports.push_back(input);
        self.announce();
    }

    /// For threads that outlive the group.
    pub(crate) fn handle(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// The node's monotonic time.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now().mono
    }

    /// Something for the executor.
    pub(crate) fn job(&self, job: Job) {
        self.jobs.push(job);
    }

    /// The machine holds everything up to `through`, `bytes` more than before as the core counts them.
    pub(crate) fn applied(&self, at: Cursor, through: LogIndex, bytes: usize) {
        self.applied.change(|applied| *applied = at);
        self.note_applied(at.index());
        self.metrics.committed.set(at.index().0 as f64);
        let worth = {
            let mail = &mut *lock(&self.mail);
            mail.applied = (through, mail.applied.1 + bytes);
            mail.is_worth()
        };
        if worth {
            self.announce();
        }
    }

    /// The machine is to begin anew.
    pub(crate) fn reset(&self) {
        lock(&self.mail).applied = Default::default();
        self.applied.change(|applied| *applied = Cursor::default());
        self.view.change_if(|view| view.awaits.take().is_some());
    }

    pub(crate) fn fence(&self, why: &str) {
        self.view.change(|view| view.fenced = Some(why.into()));
    }

    pub(crate) fn unfence(&self) {
        self.view.change(|view| view.fenced = None);
    }

    pub(crate) fn ended(
        &self,
        first: u64,
        count: u32,
        outcome: Outcome,
        fenced: bool,
        wakers: &mut Vec<Waker>,
    ) {
        let why = |view: &View| if view.closed { None } else { view.fenced() };
        let closed = matches!(outcome, Outcome::Rejected(Rejection::Closed));
        let closed = closed.then(|| self.view.read(why)).flatten();
        if self.calls.ended(first, count, &Word { outcome, fenced, closed }, wakers) {
            self.announce();
        }
        self.metrics.ended(first, count, outcome, self.clock.now().mono);
    }

    /// Everything resolves. Later calls change nothing.
    pub(crate) fn end(&self) {
        self.calls.end();
        self.reads.end();
        let waiting = std::mem::take(&mut lock(&self.requests).waiting);
        for answer in waiting.into_values() {
            answer.change(|answer| *answer = Some(Err(OperatorError::Closed)));
        }
        // Who looks at a handle later must not take the node for a leader.
        self.view.change(|view| {
            view.closed = true;
            let status = Arc::make_mut(&mut view.status);
            (status.role, status.leader, status.online) = (Role::Follower, None, false);
            status.bonds.clear();
        });
        self.notices.close();
        self.store.close();
    }

    // --- the handles' side -----------------------------------------------------------------

    /// Puts the group into the loop's inbox.
    pub(crate) fn announce(&self) {
        if self.queued.raise()
            && let Some(this) = self.this.upgrade()
        {
            self.inbox.push(Source::Group(this));
        }
    }

    /// One handle more, unless the last one is already gone.
    pub(crate) fn adopt(&self, writes: bool) -> bool {
        let handles = &mut *lock(&self.handles);
        if handles.left {
            return false;
        }
        *handles.of(writes) += 1;
        true
    }

    /// One handle more, made from one that is alive.
    pub(crate) fn join(&self, writes: bool) {
        *lock(&self.handles).of(writes) += 1;
    }

    /// One handle less.
    pub(crate) fn leave(&self, writes: bool) {
        *lock(&self.handles).of(writes) -= 1;
    }

    /// Sends a request to the core; it is on its way when this returns.
    pub(crate) fn request(&self, input: impl FnOnce(RequestId) -> Input) -> Answer {
        let answer = Answer::default();
        {
            let requests = &mut *lock(&self.requests);
            let closed = self.view.read(|view| view.closed);
            if closed || requests.waiting.len() >= limits::REQUESTS {
                let why = if closed { OperatorError::Closed } else { OperatorError::TimedOut };
                answer.change(|answer| *answer = Some(Err(why)));
                return answer;
            }
            requests.last += 1;
            let id = RequestId(requests.last);
            requests.waiting.insert(id, Arc::clone(&answer));
            lock(&self.mail).requests.push_back(input(id));
        }
        self.announce();
        answer
    }

    fn answer(&self, request: RequestId, result: Result<(), OperatorError>) {
        let waiting = lock(&self.requests).waiting.remove(&request);
        if let Some(answer) = waiting {
            answer.change(|answer| *answer = Some(result));
        }
    }
}

impl Mail {
    const fn is_worth(&self) -> bool {
        self.applied.1 >= APPLIED_WORTH
    }

    fn applied(&mut self) -> Option<Input> {
        self.is_worth().then(|| {
            self.applied.1 = 0;
            Input::Applied(self.applied.0)
        })
    }
}

impl Handles {
    const fn all(&self) -> usize {
        self.writers + self.readers
    }

    const fn of(&mut self, writes: bool) -> &mut usize {
        if writes { &mut self.writers } else { &mut self.readers }
    }
}

impl View {
    fn new(config: &GroupConfig) -> Self {
        let blocked = if config.durable { Blocked::Loading } else { Blocked::Alone };
        let status = Status {
            role: Role::Follower,
            can_vote: config.can_vote,
            term: Term(0),
            leader: None,
            seat: None,
            lineage: None,
            forked_from: None,
            voters: Vec::new(),
            learners: Vec::new(),
            bonds: std::collections::BTreeSet::new(),
            log: Cursor::default(),
            committed: Index::ZERO,
            durable: Index::ZERO,
            online: false,
            blocked: Some(blocked),
            tolerates: 0,
        };
        Self { status: Arc::new(status), awaits: None, fenced: None, closed: false }
    }

    /// Why this member's machine serves no reads and takes no commands.
    pub(crate) fn fenced(&self) -> Option<Arc<str>> {
        match (&self.fenced, &self.status.blocked) {
            (Some(why), _) => Some(Arc::clone(why)),
            (None, Some(Blocked::Fenced(why))) => Some(why.as_str().into()),
            _ => None,
        }
    }

    /// Writes and reads work here.
    pub(crate) fn is_online(&self) -> bool {
        self.status.online && self.awaits.is_none() && self.fenced.is_none() && !self.closed
    }
}

impl fmt::Debug for GroupCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCell").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Jobs that the executor does before it lets others run.
const JOBS: usize = 256;

/// Carries out the jobs of one group, in a task beside the loop.
pub(crate) struct Executor {
    cell: Arc<GroupCell>,
    runner: Box<dyn Run>,
    jobs: VecDeque<Job>,
    wakers: Vec<Waker>,
}

impl Unpin for Executor {}

impl Future for Executor {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..JOBS {
            let Some(job) = this.jobs.pop_front() else {
                this.wakers.drain(..).for_each(Waker::wake);
                match this.cell.jobs.poll(&mut this.jobs, cx) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            };
            let last = matches!(job, Job::End);
            if let Some(rest) = this.runner.carry_out(job, &this.cell, &mut this.wakers) {
                this.jobs.push_front(rest);
                break;
            }
            if last {
                this.wakers.drain(..).for_each(Waker::wake);
                return Poll::Ready(());
            }
        }
        this.wakers.drain(..).for_each(Waker::wake);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
