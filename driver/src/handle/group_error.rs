//! Why a command or a query failed, and what that means.

use std::fmt;

use mosaik_proto::{
    groups::{IndexRange, Rejection},
    limits,
};

use crate::{datum::Datum, groups::StateMachine};

type EncodeError<M> = <<M as StateMachine>::Command as Datum>::EncodeError;
type DecodeError<M> = <<M as StateMachine>::Command as Datum>::DecodeError;

/// Why commands are not known to be in force. Unless said otherwise nothing changed, nothing will be
/// applied later, and the commands come back.
pub enum CommandError<M: StateMachine> {
    /// No leader was found in time. Try again.
    Offline(Vec<M::Command>),
    /// They were refused. Trying again helps if the reason goes.
    Rejected(Vec<M::Command>, Rejection),
    /// There are none.
    NoCommands,
    /// The group was left, or its node ended.
    GroupTerminated,
    /// This member's machine failed, or its state is not that of the others; says why. Ask another member.
    MachineFailed(Vec<M::Command>, String),
    /// One could not be encoded.
    Encoding(Vec<M::Command>, EncodeError<M>),
    /// One does not decode from its own encoding: no member could apply it.
    Decoding(Vec<M::Command>, DecodeError<M>),
    /// One has this many bytes, above [`limits::COMMAND_BYTES`].
    TooLarge(Vec<M::Command>, usize),
    /// **They may be in force, or come into force later, each at most once**: the leader that had them was
    /// lost before it could say. Look at the state before trying again.
    Unknown(Vec<M::Command>),
    /// **They are in force**, but this member did not apply them: its machine failed, or lost its
    /// history ([`Group::status`](crate::groups::Group::status) says which). Ask another member.
    Fenced(IndexRange),
}

impl<M: StateMachine> CommandError<M> {
    /// The commands, where they come back. Of those that may be in force ([`Unknown`](Self::Unknown)) too.
    #[must_use]
    pub fn into_commands(self) -> Vec<M::Command> {
        match self {
            Self::Offline(commands)
            | Self::Rejected(commands, _)
            | Self::Encoding(commands, _)
            | Self::Decoding(commands, _)
            | Self::TooLarge(commands, _)
            | Self::MachineFailed(commands, _)
            | Self::Unknown(commands) => commands,
            Self::NoCommands | Self::GroupTerminated | Self::Fenced(_) => Vec::new(),
        }
    }

    /// True if nothing changed and never will by this call: trying again applies the commands once.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown(_) | Self::Fenced(_))
    }
}

impl<M: StateMachine> fmt::Display for CommandError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("no leader was found in time; nothing changed"),
            Self::Rejected(_, why) => write!(f, "the command was refused: {why}; nothing changed"),
            Self::NoCommands => f.write_str("there are no commands"),
            Self::GroupTerminated => f.write_str("the group was left"),
            Self::MachineFailed(_, why) => write!(f, "this member takes no commands: {why}"),
            Self::Encoding(_, error) => write!(f, "a command could not be encoded: {error}"),
            Self::Decoding(_, error) => {
                write!(f, "a command does not decode from its encoding: {error}")
            }
            Self::TooLarge(_, bytes) => {
                let limit = limits::COMMAND_BYTES;
                write!(f, "a command has {bytes} bytes, above the limit of {limit}")
            }
            Self::Unknown(_) => {
                f.write_str("it is not known whether the command is, or will be, in force")
            }
            Self::Fenced(at) => write!(
                f,
                "the command is in force at {} to {}, but this member's machine did not apply it",
                at.start(),
                at.end()
            ),
        }
    }
}

impl<M: StateMachine> fmt::Debug for CommandError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("Offline"),
            Self::Rejected(_, why) => f.debug_tuple("Rejected").field(why).finish(),
            Self::NoCommands => f.write_str("NoCommands"),
            Self::GroupTerminated => f.write_str("GroupTerminated"),
            Self::MachineFailed(_, why) => f.debug_tuple("MachineFailed").field(why).finish(),
            Self::Encoding(_, error) => f.debug_tuple("Encoding").field(error).finish(),
            Self::Decoding(_, error) => f.debug_tuple("Decoding").field(error).finish(),
            Self::TooLarge(_, bytes) => f.debug_tuple("TooLarge").field(bytes).finish(),
            Self::Unknown(_) => f.write_str("Unknown"),
            Self::Fenced(at) => f.debug_tuple("Fenced").field(at).finish(),
        }
    }
}

impl<M: StateMachine> std::error::Error for CommandError<M> {}

/// Why a query was not answered.
pub enum QueryError<M: StateMachine> {
    /// No leader confirmed in time that nothing newer is in force. Try again, or ask for
    /// [`Weak`](crate::groups::Consistency::Weak).
    Offline(M::Query),
    /// [`limits::GROUP_READS`] linearizable reads wait already.
    Busy(M::Query),
    /// The group was left, or its node ended.
    GroupTerminated(M::Query),
    /// This member's machine serves no reads any more; says why. Ask another member.
    Fenced(M::Query, String),
    /// The machine panicked over the query; says what. Its state did not change.
    Panicked(String),
}

impl<M: StateMachine> QueryError<M> {
    /// The query, unless the machine had it.
    pub fn into_query(self) -> Option<M::Query> {
        match self {
            Self::Offline(query)
            | Self::Busy(query)
            | Self::GroupTerminated(query)
            | Self::Fenced(query, _) => Some(query),
            Self::Panicked(_) => None,
        }
    }
}

impl<M: StateMachine> fmt::Display for QueryError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("no leader answered in time"),
            Self::Busy(_) => f.write_str("too many linearizable reads wait"),
            Self::GroupTerminated(_) => f.write_str("the group was left"),
            Self::Fenced(_, why) => {
                write!(f, "this member's state machine serves no reads any more: {why}")
            }
            Self::Panicked(what) => write!(f, "the state machine failed over the query: {what}"),
        }
    }
}

impl<M: StateMachine> fmt::Debug for QueryError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("Offline"),
            Self::Busy(_) => f.write_str("Busy"),
            Self::GroupTerminated(_) => f.write_str("GroupTerminated"),
            Self::Fenced(_, why) => f.debug_tuple("Fenced").field(why).finish(),
            Self::Panicked(what) => f.debug_tuple("Panicked").field(what).finish(),
        }
    }
}

impl<M: StateMachine> std::error::Error for QueryError<M> {}
