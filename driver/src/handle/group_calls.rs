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
        calls::{CallId, Ending, Refused, Until},
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
    cell: &GroupCell,
    ending: Ending,
    commands: impl FnOnce() -> Vec<M::Command>,
) -> Result<IndexRange, CommandError<M>> {
    match ending {
        Ending::Committed(first, last) => Ok(first..=last),
        Ending::Fenced(first, last) => Err(CommandError::Fenced(first..=last)),
        Ending::Rejected(Rejection::Offline) => Err(CommandError::Offline(commands())),
        Ending::Rejected(Rejection::Closed) => {
            let open = |view: &View| if view.closed { None } else { view.fenced() };
            Err(match cell.view.read(open) {
                Some(why) => CommandError::MachineFailed(commands(), why.to_string()),
                None => CommandError::GroupTerminated,
            })
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
    cell: Arc<GroupCell>,
    until: Until,
    command: Option<M::Command>,
    call: Option<CallId>,
    /// It never was.
    failed: Option<CommandError<M>>,
    room: Option<EventListener>,
}

impl<M: StateMachine> ExecuteFuture<M> {
    pub(super) fn new(
        cell: Arc<GroupCell>,
        writes: bool,
        until: Until,
        command: M::Command,
    ) -> Self {
        let mut this =
            Self { cell, until, command: Some(command), call: None, failed: None, room: None };
        if writes {
            this.push();
        } else {
            let commands = this.command.take().into_iter().collect();
            this.failed = Some(CommandError::Rejected(commands, Rejection::ReadOnly));
        }
        this
    }

    /// Hands the command over, if there is room.
    fn push(&mut self) {
        let Some(command) = &self.command else { return };
        match self.cell.calls.call(self.until, |batch, long| write(command, batch, long)) {
            Ok((call, first)) => {
                self.call = Some(call);
                if first {
                    self.cell.announce();
                }
            }
            Err(Refused::Full) => {}
            Err(Refused::Ended) => self.failed = Some(CommandError::GroupTerminated),
            Err(Refused::Unwritten(why)) => {
                let commands = self.command.take().into_iter().collect();
                self.failed = Some(unsendable(commands, why));
            }
        }
    }
}

impl<M: StateMachine> Unpin for ExecuteFuture<M> {}

impl<M: StateMachine> Future for ExecuteFuture<M> {
    type Output = Result<Index, CommandError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(call) = this.call {
                let Poll::Ready(ending) = this.cell.calls.poll(call, cx) else {
                    return Poll::Pending;
                };
                this.call = None;
                let commands = || this.command.take().into_iter().collect();
                return Poll::Ready(
                    result(&this.cell, ending, commands).map(|places| *places.start()),
                );
            }
            match this.cell.calls.poll_room(&mut this.room, cx) {
                Poll::Ready(()) => this.push(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<M: StateMachine> Drop for ExecuteFuture<M> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.cell.calls.forget(call);
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
    call: Option<CallId>,
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
        let mut this = Self { cell, commands, pushed: 0, call: None, failed: None, room: None };
        if this.commands.is_empty() {
            this.failed = Some(CommandError::NoCommands);
        } else if !writes {
            let commands = std::mem::take(&mut this.commands);
            this.failed = Some(CommandError::Rejected(commands, Rejection::ReadOnly));
        } else {
            this.call = Some(this.cell.calls.open(this.commands.len(), until));
            this.push();
        }
        this
    }

    /// Hands commands over while there is room.
    fn push(&mut self) {
        let Some(call) = self.call else { return };
        let mut first = false;
        while let Some(command) = self.commands.get(self.pushed) {
            match self.cell.calls.push(call, |batch, long| write(command, batch, long)) {
                Ok(alone) => first |= alone,
                Err(Refused::Full | Refused::Ended) => break,
                Err(Refused::Unwritten(why)) => {
                    self.give_up(call, why);
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
    fn give_up(&mut self, call: CallId, why: Unsendable<M::Command>) {
        self.cell.calls.forget(call);
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
            let Some(call) = this.call else { return Poll::Pending };
            if let Poll::Ready(ending) = this.cell.calls.poll(call, cx) {
                this.call = None;
                return Poll::Ready(result(&this.cell, ending, || {
                    std::mem::take(&mut this.commands)
                }));
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

impl<M: StateMachine> Drop for ExecuteManyFuture<M> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.cell.calls.forget(call);
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
        write!(f, "ExecuteFuture({:?})", self.call)
    }
}

impl<M: StateMachine> fmt::Debug for ExecuteManyFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecuteManyFuture({:?}, {} of {})", self.call, self.pushed, self.commands.len())
    }
}

impl<M: StateMachine> fmt::Debug for QueryFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryFuture({:?})", self.place)
    }
}
