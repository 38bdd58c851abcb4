//! The futures of commands and queries.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use event_listener::EventListener;
use mosaik_proto::{
    groups::{Index, IndexRange, Rejection},
    limits,
};

use super::{
    framing::frame,
    group::QueryResultAt,
    group_error::{CommandError, QueryError},
};
use crate::{
    datum::Datum,
    groups::{
        StateMachine,
        calls::{Call, Ending, Refused, Until},
        cell::{GroupCell, View},
        reads::{self, Place, Verdict},
        runner::{self, Hosted},
    },
};

enum Unsendable<D: Datum> {
    Encoding(D::EncodeError),
    Decoding(D::DecodeError),
    TooLarge(usize),
}

/// Appends a command to a batch, if all members can read it.
fn write<D: Datum>(command: &D, batch: &mut BytesMut, long: bool) -> Result<usize, Unsendable<D>> {
    let encode = |batch: &mut BytesMut| command.encode_into(batch).map_err(Unsendable::Encoding);
    frame(batch, long, encode, |bytes| {
        if bytes.len() > limits::COMMAND_BYTES {
            return Err(Unsendable::TooLarge(bytes.len()));
        }
        // A command that does not decode would fence every member, for ever.
        D::decode(bytes).map(drop).map_err(Unsendable::Decoding)
    })
}

fn unsendable<M: StateMachine>(
    commands: Vec<M::Command>,
    why: Unsendable<M::Command>,
) -> CommandError<M> {
    match why {
        Unsendable::Encoding(error) => CommandError::Encoding(commands, error),
        Unsendable::Decoding(error) => CommandError::Decoding(commands, error),
        Unsendable::TooLarge(bytes) => CommandError::TooLarge(commands, bytes),
    }
}

fn result<M: StateMachine>(
    ending: Ending,
    commands: impl FnOnce() -> Vec<M::Command>,
) -> Result<IndexRange, CommandError<M>> {
    match ending {
        Ending::Committed(first, last) => Ok(first..=last),
        Ending::Fenced(first, last) => Err(CommandError::Fenced(first..=last)),
        Ending::Rejected(Rejection::Offline) => Err(CommandError::Offline(commands())),
        Ending::Closed(None) => Err(CommandError::GroupTerminated),
        Ending::Closed(Some(why)) => {
            Err(CommandError::MachineFailed(commands(), String::from(&*why)))
        }
        Ending::Rejected(why) => Err(CommandError::Rejected(commands(), why)),
        Ending::Unknown => Err(CommandError::Unknown(commands())),
    }
}

/// One command under way: resolves to its place.
///
/// Dropping it does not withdraw the command. Cancel safe.
#[must_use = "whether the command is in force is known to who waits"]
pub struct ExecuteFuture<M: StateMachine> {
    command: Option<M::Command>,
    stage: Stage<M>,
}

/// How far a command is.
enum Stage<M: StateMachine> {
    /// There was no room for it. Only then the group is needed: handles of it are counted, and
    /// thousands of callers on several threads would all change that one count for each command.
    Waits { cell: Arc<GroupCell>, until: Until, room: Option<EventListener> },
    /// It was handed over.
    Called(Arc<Call>),
    /// It never was; `None` when that was told.
    Failed(Option<CommandError<M>>),
}

impl<M: StateMachine> ExecuteFuture<M> {
    pub(super) fn new(
        cell: &Arc<GroupCell>,
        writes: bool,
        until: Until,
        command: M::Command,
    ) -> Self {
        let mut command = Some(command);
        let stage = if writes {
            Self::push(cell, until, &mut command).unwrap_or_else(|| Stage::Waits {
                cell: Arc::clone(cell),
                until,
                room: None,
            })
        } else {
            let commands = command.take().into_iter().collect();
            Stage::Failed(Some(CommandError::Rejected(commands, Rejection::ReadOnly)))
        };
        Self { command, stage }
    }

    /// Hands the command over, if there is room.
    fn push(cell: &GroupCell, until: Until, command: &mut Option<M::Command>) -> Option<Stage<M>> {
        let it = command.as_ref()?;
        Some(match cell.calls.call(until, |batch, long| write(it, batch, long)) {
            Ok((call, first)) => {
                if first {
                    cell.announce();
                }
                Stage::Called(call)
            }
            Err(Refused::Full) => return None,
            Err(Refused::Ended) => Stage::Failed(Some(CommandError::GroupTerminated)),
            Err(Refused::Unwritten(why)) => {
                let commands = command.take().into_iter().collect();
                Stage::Failed(Some(unsendable(commands, why)))
            }
        })
    }
}

impl<M: StateMachine> Unpin for ExecuteFuture<M> {}

impl<M: StateMachine> Future for ExecuteFuture<M> {
    type Output = Result<Index, CommandError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Called(call) => {
                    let Poll::Ready(ending) = call.poll(cx) else { return Poll::Pending };
                    this.stage = Stage::Failed(None);
                    let commands = || this.command.take().into_iter().collect();
                    return Poll::Ready(result(ending, commands).map(|places| *places.start()));
                }
                Stage::Waits { cell, until, room } => match cell.calls.poll_room(room, cx) {
                    Poll::Ready(()) => {
                        if let Some(stage) = Self::push(cell, *until, &mut this.command) {
                            this.stage = stage;
                        }
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Failed(error) => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
            }
        }
    }
}

/// Several commands under way: resolves to their places.
///
/// Dropping it does not withdraw the commands. Cancel safe.
#[must_use = "whether the commands are in force is known to who waits"]
pub struct ExecuteManyFuture<M: StateMachine> {
    cell: Arc<GroupCell>,
    commands: Vec<M::Command>,
    /// How many were handed over.
    pushed: usize,
    call: Option<Arc<Call>>,
    failed: Option<CommandError<M>>,
    room: Option<EventListener>,
}

impl<M: StateMachine> ExecuteManyFuture<M> {
    pub(super) fn new(
        cell: Arc<GroupCell>,
        writes: bool,
        until: Until,
        commands: Vec<M::Command>,
    ) -> Self {
        let (pushed, call, failed, room) = (0, None, None, None);
        let mut this = Self { cell, commands, pushed, call, failed, room };
        if this.commands.is_empty() {
            this.failed = Some(CommandError::NoCommands);
        } else if !writes {
            let commands = std::mem::take(&mut this.commands);
            this.failed = Some(CommandError::Rejected(commands, Rejection::ReadOnly));
        } else {
            this.call = Some(Call::new(this.commands.len(), until));
            this.push();
        }
        this
    }

    /// Hands commands over while there is room.
    fn push(&mut self) {
        let Some(call) = &self.call else { return };
        let mut first = false;
        while let Some(command) = self.commands.get(self.pushed) {
            match self.cell.calls.push(call, |batch, long| write(command, batch, long)) {
                Ok(alone) => first |= alone,
                Err(Refused::Full) => break,
                Err(Refused::Ended) => {
                    call.close(self.commands.len() - self.pushed);
                    self.pushed = self.commands.len();
                    break;
                }
                Err(Refused::Unwritten(why)) => {
                    self.give_up(why);
                    break;
                }
            }
            self.pushed += 1;
        }
        if first {
            self.cell.announce();
        }
    }

    /// One cannot be sent: those behind it are not, those before it are under way.
    fn give_up(&mut self, why: Unsendable<M::Command>) {
        self.call = None;
        let unsent = self.commands.split_off(self.pushed);
        self.failed = Some(unsendable(unsent, why));
    }
}

impl<M: StateMachine> Unpin for ExecuteManyFuture<M> {}

impl<M: StateMachine> Future for ExecuteManyFuture<M> {
    type Output = Result<IndexRange, CommandError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            let Some(call) = &this.call else { return Poll::Pending };
            if let Poll::Ready(ending) = call.poll(cx) {
                this.call = None;
                return Poll::Ready(result(ending, || std::mem::take(&mut this.commands)));
            }
            if this.pushed == this.commands.len() {
                return Poll::Pending;
            }
            match this.cell.calls.poll_room(&mut this.room, cx) {
                Poll::Ready(()) => this.push(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A query under way: resolves to the answer. Cancel safe.
#[must_use = "the answer comes only to who waits for it"]
pub struct QueryFuture<M: StateMachine> {
    hosted: Arc<Hosted<M>>,
    cell: Arc<GroupCell>,
    query: Option<M::Query>,
    /// Waits for the word that nothing newer is in force; `None` if that does not matter.
    place: Result<Option<Place>, reads::Refused>,
}

impl<M: StateMachine> QueryFuture<M> {
    pub(super) fn new(
        cell: Arc<GroupCell>,
        hosted: Arc<Hosted<M>>,
        query: M::Query,
        strong: bool,
    ) -> Self {
        let place = if strong {
            cell.reads.join().map(|(place, first)| {
                if first {
                    cell.announce();
                }
                Some(place)
            })
        } else {
            Ok(None)
        };
        Self { hosted, cell, query: Some(query), place }
    }

    fn ask(&self, query: M::Query) -> Result<QueryResultAt<M>, QueryError<M>> {
        let (closed, fenced) = self.cell.view.read(|view| (view.closed, view.fenced()));
        if closed {
            return Err(QueryError::GroupTerminated(query));
        }
        let state = self.hosted.read();
        if let Some(why) = state.failed.as_ref().or(fenced.as_ref()) {
            return Err(QueryError::Fenced(query, why.to_string()));
        }
        let at_position = state.applied.index();
        catch_unwind(AssertUnwindSafe(|| state.machine.query(query)))
            .map(|result| QueryResultAt { result, at_position })
            .map_err(|panic| QueryError::Panicked(runner::message(&*panic)))
    }
}

impl<M: StateMachine> Unpin for QueryFuture<M> {}

impl<M: StateMachine> Future for QueryFuture<M> {
    type Output = Result<QueryResultAt<M>, QueryError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let verdict = match &mut this.place {
            Ok(None) => Verdict::Ready,
            Ok(Some(place)) => match place.poll(cx) {
                Poll::Ready(verdict) => verdict,
                Poll::Pending => return Poll::Pending,
            },
            Err(reads::Refused::Ended) => Verdict::Ended,
            Err(reads::Refused::Full) => {
                return this
                    .query
                    .take()
                    .map_or(Poll::Pending, |query| Poll::Ready(Err(QueryError::Busy(query))));
            }
        };
        let Some(query) = this.query.take() else { return Poll::Pending };
        Poll::Ready(match verdict {
            Verdict::Ready => this.ask(query),
            Verdict::Ended => Err(QueryError::GroupTerminated(query)),
            Verdict::Failed | Verdict::Waiting => {
                let fenced = this.cell.view.read(View::fenced);
                Err(match fenced {
                    Some(why) => QueryError::Fenced(query, why.to_string()),
                    None => QueryError::Offline(query),
                })
            }
        })
    }
}

impl<M: StateMachine> fmt::Debug for ExecuteFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Waits { .. } => "ExecuteFuture(waits for room)",
            Stage::Called(_) => "ExecuteFuture(under way)",
            Stage::Failed(_) => "ExecuteFuture(over)",
        })
    }
}

impl<M: StateMachine> fmt::Debug for ExecuteManyFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecuteManyFuture({} of {})", self.pushed, self.commands.len())
    }
}

impl<M: StateMachine> fmt::Debug for QueryFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryFuture({:?})", self.place)
    }
}
