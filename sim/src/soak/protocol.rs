//! What is said between the soak run and its members: one line each, over standard input and output.

use std::{fmt, str::FromStr};

use super::store::Store;

/// With this begins the [`Answer::Status`] of a member that votes.
pub const VOTES: &str = "votes";

/// A change of the store that all members hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whose.
    pub client: u64,
    /// Its number: a client counts from 0 and uses none twice.
    pub number: u64,
    /// Of which key.
    pub key: u64,
    /// What it does.
    pub update: Update,
}

/// What a command does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Hold this.
    Put(u64),
    /// Hold the second if you hold the first.
    Cas(Option<u64>, u64),
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Another member is there.
    Known(String),
    /// Execute a command; names the question.
    Execute(u64, Command),
    /// Read a key, linearizably.
    Read(u64, u64),
    /// Give all that you hold, linearizably.
    Dump(u64),
    /// Say how you are.
    Status(u64),
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Where it can be reached.
    Address(String),
    /// It can execute commands.
    Online,
    /// The command is in force; for a swap whether it happened, if that is known.
    Done(u64, Option<bool>),
    /// What the key holds.
    Value(u64, Option<u64>),
    /// All that it holds.
    Dump(u64, Box<Store>),
    /// The command never was in force and never will be; the read was not served.
    Refused(u64, String),
    /// Nobody knows.
    Unknown(u64, String),
    /// How it is, for people; begins with [`VOTES`] if it is a voter of a group under its present seat.
    Status(u64, String),
}

/// A line that nobody says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a line of the protocol: {0}")]
pub struct NoLine(pub(super) String);

fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, number, key, update } = self;
        write!(f, "{client} {number} {key} ")?;
        match update {
            Update::Put(value) => write!(f, "put {value}"),
            Update::Cas(expected, new) => write!(f, "cas {} {new}", or_dash(*expected)),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => write!(f, "known {address}"),
            Self::Execute(id, command) => write!(f, "execute {id} {command}"),
            Self::Read(id, key) => write!(f, "read {id} {key}"),
            Self::Dump(id) => write!(f, "dump {id}"),
            Self::Status(id) => write!(f, "status {id}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text may not begin another line.
        let flat = |text: &str| text.replace(['\n', '\r'], " ");
        match self {
            Self::Address(address) => write!(f, "address {address}"),
            Self::Online => write!(f, "online"),
            Self::Done(id, None) => write!(f, "done {id} -"),
            Self::Done(id, Some(swapped)) => write!(f, "done {id} {swapped}"),
            Self::Value(id, value) => write!(f, "value {id} {}", or_dash(*value)),
            Self::Dump(id, store) => write!(f, "dump {id} {store}"),
            Self::Refused(id, why) => write!(f, "refused {id} {}", flat(why)),
            Self::Unknown(id, why) => write!(f, "unknown {id} {}", flat(why)),
            Self::Status(id, text) => write!(f, "status {id} {}", flat(text)),
        }
    }
}

/// The words of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        Some(word).filter(|word| !word.is_empty())
    }

    fn number(&mut self) -> Option<u64> {
        self.word()?.parse().ok()
    }

    fn dashed(&mut self) -> Option<Option<u64>> {
        match self.word()? {
            "-" => Some(None),
            word => word.parse().ok().map(Some),
        }
    }

    fn rest(&mut self) -> String {
        self.0.to_owned()
    }

    fn command(&mut self) -> Option<Command> {
        let (client, number, key) = (self.number()?, self.number()?, self.number()?);
        let update = match self.word()? {
            "put" => Update::Put(self.number()?),
            "cas" => Update::Cas(self.dashed()?, self.number()?),
            _ => return None,
        };
        Some(Command { client, number, key, update })
    }

    fn ask(&mut self) -> Option<Ask> {
        Some(match self.word()? {
            "known" => Ask::Known(self.rest()),
            "execute" => Ask::Execute(self.number()?, self.command()?),
            "read" => Ask::Read(self.number()?, self.number()?),
            "dump" => Ask::Dump(self.number()?),
            "status" => Ask::Status(self.number()?),
            _ => return None,
        })
    }

    fn answer(&mut self) -> Option<Answer> {
        Some(match self.word()? {
            "address" => Answer::Address(self.rest()),
            "online" => Answer::Online,
            "done" => {
                let id = self.number()?;
                let swapped = match self.word()? {
                    "-" => None,
                    word => Some(word.parse().ok()?),
                };
                Answer::Done(id, swapped)
            }
            "value" => Answer::Value(self.number()?, self.dashed()?),
            "dump" => Answer::Dump(self.number()?, Box::new(self.0.parse().ok()?)),
            "refused" => Answer::Refused(self.number()?, self.rest()),
            "unknown" => Answer::Unknown(self.number()?, self.rest()),
            "status" => Answer::Status(self.number()?, self.rest()),
            _ => return None,
        })
    }
}

impl FromStr for Command {
    type Err = NoLine;

    fn from_str(line: &str) -> Result<Self, NoLine> {
        Words(line).command().ok_or_else(|| NoLine(line.to_owned()))
    }
}

impl FromStr for Ask {
    type Err = NoLine;

    fn from_str(line: &str) -> Result<Self, NoLine> {
        Words(line).ask().ok_or_else(|| NoLine(line.to_owned()))
    }
}

impl FromStr for Answer {
    type Err = NoLine;

    fn from_str(line: &str) -> Result<Self, NoLine> {
        Words(line).answer().ok_or_else(|| NoLine(line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_said() {
        let command = |update| Command { client: 1, number: 2, key: 3, update };
        let asks = [
            Ask::Known("aa@127.0.0.1:1,127.0.0.1:2".into()),
            Ask::Execute(7, command(Update::Put(9))),
            Ask::Execute(7, command(Update::Cas(None, 9))),
            Ask::Execute(7, command(Update::Cas(Some(8), 9))),
            Ask::Read(1, 2),
            Ask::Dump(3),
            Ask::Status(3),
        ];
        for ask in asks {
            assert_eq!(ask.to_string().parse(), Ok(ask));
        }
        let mut store = Store::default();
        for number in [0, 1, 2, 5, 5] {
            store.apply(&Command { number, ..command(Update::Cas(None, 9)) });
        }
        let answers = [
            Answer::Address("aa@b:1".into()),
            Answer::Online,
            Answer::Done(1, None),
            Answer::Done(1, Some(true)),
            Answer::Value(1, None),
            Answer::Value(1, Some(2)),
            Answer::Dump(1, Box::new(store)),
            Answer::Dump(1, Box::default()),
            Answer::Refused(1, "not now".into()),
            Answer::Unknown(1, String::new()),
            Answer::Status(1, "leader: yes".into()),
        ];
        for answer in answers {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
        assert!("execute 1 2 3 4 drop 5".parse::<Ask>().is_err());
        assert!("done x -".parse::<Answer>().is_err());
    }
}
